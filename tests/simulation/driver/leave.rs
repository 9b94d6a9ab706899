//! The end of a resource whose policy is to delete its project. Mirrors `controller::project::delete`, without the brake.

use std::rc::Rc;
use std::time::Duration;

use composio_operator::domain::answer::CallError;
use composio_operator::domain::claim::{Claim, Origin, Purpose, Record};
use composio_operator::domain::evidence::Settling;
use composio_operator::domain::failure::Failure;
use composio_operator::domain::ids::ProjectId;
use composio_operator::domain::plan::{LeaveStep, Leaving, OrphanSeen, Reach, Step, is_deletion_open, leave};
use composio_operator::domain::reason::Reason;
use composio_operator::domain::world::{ClaimView, DeletionPolicy};

use super::settle::{Settlement, detached};
use super::{evidence, execute, sabotage};
use crate::cluster::{Key, Refused, Resource};
use crate::guard::Guard;
use crate::process::SETTLE;
use crate::realm::{Ctx, Time};
use crate::remote::Mutation;

/// Most steps of one pass.
const MOST_STEPS: usize = 12;

/// What this pass has seen and done.
#[derive(Default)]
struct Done {
    seen: OrphanSeen,
    is_settled: bool,
}

/// One pass over a resource that is being deleted.
pub(super) async fn pass(ctx: &Ctx, key: Key, object: &Rc<Resource>) -> Result<Step, Failure> {
    let mut done = Done::default();
    for _ in 0..MOST_STEPS {
        let Some(subject) = subject(ctx, key, &object.uid).await? else { return Ok(Step::Ignore) };
        let record = ctx
            .read(|realm| {
                let mut claims = realm.cluster.claims.values();
                claims.find(|record| record.claim.owner().uid == subject.uid).cloned()
            })
            .await?;
        let record = record.as_ref();
        let known_id = record.map_or(subject.known_id.as_ref(), |record| record.claim.project_id());
        let begun = ctx.now();
        let settling = settling(ctx, record);
        let name = record.map(|record| record.claim.project_name().to_string());
        let claim = record.map_or(ClaimView::Absent, |record| ClaimView::Present(Box::new(record.clone())));
        let step = leave(&Leaving {
            policy: subject.spec.policy,
            claim: &claim,
            known_id: subject.known_id.as_ref().filter(|_| !done.is_settled),
            is_settled_elsewhere: is_settled_elsewhere(ctx, record, known_id).await?,
            is_in_flight: name.is_some_and(|name| sabotage::is_in_flight(ctx, &name)),
            reach: &reach(ctx),
            settling: &settling,
            seen: &done.seen,
        });
        let step = step.map_err(|illegal| Failure::bug(illegal.to_string()))?;
        let work = Work { ctx, key, subject: &subject, record, begun, settling };
        if let Some(end) = work.execute(step, &mut done).await? {
            return Ok(end);
        }
    }
    Err(Failure::transient("there was always something left to do"))
}

/// The resource as it is now, if it is to be released by us.
async fn subject(ctx: &Ctx, key: Key, uid: &str) -> Result<Option<Rc<Resource>>, Failure> {
    let found = ctx.read(|realm| realm.cluster.resources.get(&key).cloned()).await?;
    Ok(found.filter(|found| found.uid == uid && found.is_leaving && found.has_finalizer))
}

fn reach(ctx: &Ctx) -> Reach {
    let left = ctx.process(|process| process.throttled_until) - ctx.now();
    if left > 0 { Reach::Paused(Duration::from_millis(left.unsigned_abs())) } else { Reach::Open }
}

fn settling(ctx: &Ctx, record: Option<&Record>) -> Settling {
    let (looked, now) = (ctx.now(), ctx.server_now());
    match record {
        Some(record) => {
            let settling = ctx.process(|process| process.settling(record, looked, now));
            sabotage::leaving(ctx, &record.claim, settling)
        }
        None => Settling { now, settle: SETTLE, seen_for: Duration::ZERO, nothing_for: None },
    }
}

async fn is_settled_elsewhere(
    ctx: &Ctx,
    record: Option<&Record>,
    id: Option<&ProjectId>,
) -> Result<bool, Failure> {
    let Some(id) = id else { return Ok(false) };
    match record {
        Some(record) if record.claim.origin() == Some(Origin::Created) => Ok(false),
        _ => {
            let name = record.map(|record| record.claim.project_name().as_str());
            ctx.read(|realm| {
                let mut others = realm.cluster.claims.iter();
                let is_claimed = others.any(|(other, found)| {
                    Some(other.as_str()) != name && found.claim.project_id() == Some(id)
                });
                is_claimed || (record.is_none() && realm.cluster.buried.contains(id))
            })
            .await
        }
    }
}

struct Work<'a> {
    ctx: &'a Ctx,
    key: Key,
    subject: &'a Rc<Resource>,
    record: Option<&'a Record>,
    /// From when on the gate counts.
    begun: Time,
    settling: Settling,
}

impl Work<'_> {
    async fn execute(&self, step: LeaveStep, done: &mut Done) -> Result<Option<Step>, Failure> {
        match step {
            LeaveStep::Release => {
                let released = self.ctx.write(|realm| realm.release(self.key, &self.subject.uid)).await;
                return released.map(|()| Some(Step::Ignore)).map_err(Refused::failure);
            }
            LeaveStep::Wait(reason, detail, after) => return Ok(Some(Step::Wait(reason, detail, after))),
            LeaveStep::Stall(reason, detail) => return Ok(Some(Step::Stall(reason, detail))),
            LeaveStep::RemoveClaim => {
                let record = self.record()?;
                self.ctx.write(|realm| realm.remove_claim(record)).await.map_err(Refused::failure)?;
                done.is_settled = true;
            }
            LeaveStep::Bury => {
                let record = self.record()?;
                self.ctx.write(|realm| realm.bury(Some(record))).await.map_err(Refused::failure)?;
                done.is_settled = true;
            }
            LeaveStep::Write(claim) => {
                self.write(&claim).await?;
                done.seen = OrphanSeen::default();
            }
            LeaveStep::ReadEvidence => {
                let found = evidence::walk(self.ctx, self.record()?).await;
                done.seen.evidence = Some(found.map_err(|error| execute::failure(self.ctx, error))?);
            }
            LeaveStep::ReadProject(id) => {
                let exists = self.exists(&id).await;
                done.seen.exists = Some(exists.map_err(|error| execute::failure(self.ctx, error))?);
            }
            LeaveStep::Delete(claim) => {
                done.seen = OrphanSeen::default();
                self.delete(&claim).await?;
            }
        }
        Ok(None)
    }

    fn record(&self) -> Result<&Record, Failure> {
        self.record.ok_or_else(|| Failure::bug("a step without its claim"))
    }

    async fn write(&self, claim: &Claim) -> Result<Record, Failure> {
        let record = self.record()?;
        let written = self.ctx.write(|realm| realm.update_claim(record, claim, record.key.as_ref())).await;
        written.map_err(Refused::failure)
    }

    async fn exists(&self, id: &ProjectId) -> Result<bool, CallError> {
        let deletion = self.record.and_then(|record| record.claim.deletion());
        match deletion.is_some_and(|deletion| deletion.receipt.is_some()) {
            true => self.ctx.look(|realm| realm.remote.read(id, realm.now).is_some()).await,
            false => evidence::is_gone(self.ctx, id).await.map(|is_gone| !is_gone),
        }
    }

    /// Claim, a live look whether the policy is still in force, call, claim.
    async fn delete(&self, claim: &Claim) -> Result<(), Failure> {
        let begun = if self.ctx.has(Guard::GateFromLook) { self.begun } else { self.ctx.now() };
        let is_repeated = is_deletion_open(&self.record()?.claim, &self.settling);
        let announced = self.write(claim).await?;
        let (now, server_now) = (self.ctx.now(), self.settling.now);
        self.ctx.process(|process| process.settling(&announced, now, server_now));
        let id = execute::project_id(claim)?;
        let purpose = claim.deletion().map(|open| open.purpose);
        self.ctx.with(|realm| {
            realm.count(match purpose {
                Some(Purpose::DeleteAndRevoke) => "a deletion with revocation was announced",
                _ => "a deletion was announced",
            });
        });
        let settlement =
            Settlement { ctx: self.ctx.clone(), announced, attempt: 0, config: None, is_repeated };
        if self.ctx.has(Guard::PolicyInForce) {
            let now = subject(self.ctx, self.key, &self.subject.uid).await?;
            if now.is_none_or(|now| now.spec.policy != self.subject.spec.policy) {
                settlement.deletion_undone().await;
                return Err(Failure::conflict("the policy is not in force any more"));
            }
        }
        match detached(settlement, Mutation::Delete(id), begun).await? {
            None | Some(CallError::NotFound(_)) => Ok(()),
            Some(CallError::Forbidden(words)) => Err(Failure::terminal(Reason::DeletionBlocked, words)),
            Some(error) => Err(execute::failure(self.ctx, error)),
        }
    }
}

/// The finalizer is there before anything that it stands for, and not where everything is retained.
pub(super) async fn keep_finalizer(ctx: &Ctx, key: Key, object: &Resource) -> Result<(), Failure> {
    let is_wanted = object.spec.policy != DeletionPolicy::Retain;
    if object.has_finalizer == is_wanted {
        return Ok(());
    }
    let kept = ctx.write(|realm| realm.cluster.write_finalizer(key, &object.uid, is_wanted)).await;
    kept.map_err(Refused::failure)
}
