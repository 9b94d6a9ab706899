//! The walk for evidence, and the two witnesses. Mirrors `controller::evidence` and `composio::projects`.

use composio_operator::domain::answer::CallError;
use composio_operator::domain::claim::Record;
use composio_operator::domain::evidence::{Evidence, Found, in_window};
use composio_operator::domain::ids::ProjectId;

use super::sabotage;
use crate::process::SETTLE;
use crate::realm::{Ctx, timestamp};

pub(super) async fn walk(ctx: &Ctx, record: &Record) -> Result<Evidence, CallError> {
    let (name, attempts) = (record.claim.project_name().as_str(), record.claim.attempts());
    let (now, server_now) = (ctx.now(), ctx.server_now());
    let is_settled =
        ctx.process(|process| process.settling(record, now, server_now)).left(attempts).is_zero();
    let is_settled = is_settled || sabotage::is_impatient(ctx);
    let listed = ctx
        .look(|realm| {
            let listed = realm.remote.listed(name, realm.now);
            listed.map(|project| (project.id.clone(), timestamp(project.born)))
        })
        .await?;
    let now = ctx.now();
    ctx.process(|process| process.walked(&record.uid, is_settled && listed.is_none(), now));
    let Some((id, created_time)) = listed else { return Ok(Evidence { is_settled, found: None }) };
    let is_claimed = ctx.read(|realm| is_claimed(realm, &id, name)).await;
    let is_claimed = is_claimed.map_err(|error| CallError::NotSent(error.to_string()))?;
    let created_time = sabotage::created_time(ctx, created_time, attempts);
    let is_candidate = !is_claimed && in_window(attempts, created_time, SETTLE);
    let detail = match is_candidate {
        true => ctx.look(|realm| realm.remote.read(&id, realm.now)).await?,
        false => None,
    };
    let detail = detail.map(|detail| sabotage::detail(ctx, detail, created_time));
    Ok(Evidence { is_settled, found: Some(Found { id, created_time, is_claimed, detail }) })
}

fn is_claimed(realm: &crate::realm::Realm, id: &ProjectId, except: &str) -> bool {
    let mut others = realm.cluster.claims.iter().filter(|(name, _)| *name != except);
    others.any(|(_, record)| record.claim.project_id() == Some(id))
}

/// Whether a project is gone by two witnesses.
pub(super) async fn is_gone(ctx: &Ctx, id: &ProjectId) -> Result<bool, CallError> {
    if ctx.look(|realm| realm.remote.read(id, realm.now)).await?.is_some() {
        return Ok(false);
    }
    ctx.look(|realm| !realm.remote.lists(id, realm.now)).await
}
