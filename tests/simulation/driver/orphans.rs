//! Claims whose owner is gone. Mirrors `controller::claims`.

use std::time::Duration;

use composio_operator::domain::failure::{Failure, backoff};
use composio_operator::domain::plan::{OrphanSeen, OrphanStep};

use super::gather::is_held;
use super::{evidence, execute, sabotage};
use crate::cluster::Refused;
use crate::laws;
use crate::realm::{Ctx, MINUTE, Realm, Time};

pub(crate) const PASS_DEADLINE: Time = MINUTE;
/// Most steps of one pass.
const MOST_STEPS: usize = 5;

/// One pass over a claim.
pub(crate) async fn reconcile(ctx: Ctx, name: String) {
    let result = pass(&ctx, &name).await;
    ctx.with(|realm| finish(realm, ctx.me, &name, &result));
}

/// Notes when the next look at a claim is.
pub(crate) fn finish(
    realm: &mut Realm,
    process: usize,
    name: &str,
    result: &Result<Option<Duration>, Failure>,
) {
    let after = match result {
        Ok(after) => after.unwrap_or(Duration::from_mins(9)),
        Err(_) => backoff(3, 0.5, None),
    };
    realm.tell(|| format!("p{process} claim {name} looked at, again after {after:?}"));
    let is_unsettled = realm.is_unsettled(name);
    let now = realm.now;
    let process = &mut realm.processes[process];
    process.running_claims.remove(name);
    if is_unsettled {
        process.look_at_claim(name, now + Time::try_from(after.as_millis()).unwrap_or(MINUTE));
    }
}

async fn pass(ctx: &Ctx, name: &str) -> Result<Option<Duration>, Failure> {
    let mut seen = OrphanSeen::default();
    for _ in 0..MOST_STEPS {
        let Some(record) = ctx.read(|realm| realm.cluster.claims.get(name).cloned()).await? else {
            return Ok(None);
        };
        if is_held(ctx, record.claim.owner()).await? {
            return Ok(None);
        }
        let (now, server_now) = (ctx.now(), ctx.server_now());
        let settling = ctx.process(|process| process.settling(&record, now, server_now));
        let is_in_flight = sabotage::is_in_flight(ctx, name);
        let step = sabotage::orphan(ctx, &record.claim, is_in_flight, &seen, settling);
        match step.map_err(|illegal| Failure::bug(illegal.to_string()))? {
            OrphanStep::Keep => return Ok(None),
            OrphanStep::Wait(after) => return Ok(Some(after)),
            OrphanStep::Bury => {
                let buried = ctx.write(|realm| realm.bury(Some(&record))).await;
                return buried.map(|()| None).map_err(Refused::failure);
            }
            OrphanStep::Remove => {
                let removed = ctx.write(|realm| realm.remove_claim(&record)).await;
                return removed.map(|()| None).map_err(Refused::failure);
            }
            OrphanStep::ReadEvidence => {
                let found = evidence::walk(ctx, &record).await;
                seen.evidence = Some(found.map_err(|error| execute::failure(ctx, error))?);
            }
            OrphanStep::ReadProject => {
                ctx.with(|realm| laws::judges_deletion(realm, &record.claim));
                let id = execute::project_id(&record.claim)?;
                let is_gone = evidence::is_gone(ctx, &id).await;
                seen.exists = Some(!is_gone.map_err(|error| execute::failure(ctx, error))?);
            }
            OrphanStep::Write(claim) => {
                ctx.with(|realm| realm.count("a claim without owner was settled"));
                let written =
                    ctx.write(|realm| realm.update_claim(&record, &claim, record.key.as_ref())).await;
                written.map_err(Refused::failure)?;
                seen = OrphanSeen::default();
            }
        }
    }
    Ok(Some(Duration::from_secs(1)))
}
