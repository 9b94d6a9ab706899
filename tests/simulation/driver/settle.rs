//! Calls with their claim writes, in tasks of their own. Mirrors `controller::project::settle`.

use std::cell::RefCell;
use std::rc::Rc;

use composio_operator::domain::answer::{Answer, CallError};
use composio_operator::domain::claim::{Claim, DeletionOutcome, Illegal, Merge, Receipt, Record};
use composio_operator::domain::failure::Failure;
use composio_operator::domain::ids::ProjectId;
use composio_operator::domain::key::ApiKey;
use composio_operator::domain::settings::Settings;

use super::{evidence, sabotage};
use crate::cluster::Refused;
use crate::guard::Guard;
use crate::laws;
use crate::process::SETTLE;
use crate::realm::{Ctx, MINUTE, NEVER, Role, SECOND, Time, timestamp};
use crate::remote::{Mutation, Reply};

/// How long the write of an answer is tried again.
const PATIENCE: Time = 15 * MINUTE;

/// A claim and its key, to be written.
type Change = Option<(Claim, Option<ApiKey>)>;

#[derive(Clone)]
pub(super) struct Settlement {
    pub(super) ctx: Ctx,
    /// The claim as it was written with the announcement.
    pub(super) announced: Record,
    pub(super) attempt: u32,
    /// Accepted with a creation.
    pub(super) config: Option<Settings>,
    /// An earlier deletion may still be carried out.
    pub(super) is_repeated: bool,
}

/// Runs the call in a task of its own and waits for it. The claim counts as in flight until it ends.
pub(super) async fn detached(
    settlement: Settlement,
    mutation: Mutation,
    begun: Time,
) -> Result<Option<CallError>, Failure> {
    let ctx = settlement.ctx.clone();
    let name = settlement.announced.claim.project_name().to_string();
    ctx.process(|process| process.in_flight.insert(name.clone()));
    let slot = Rc::new(RefCell::new(None));
    let (filled, inner) = (slot.clone(), ctx.clone());
    let task = async move {
        let result = settlement.carry_out(mutation, begun).await;
        inner.process(|process| process.in_flight.remove(&name));
        *filled.borrow_mut() = Some(result);
    };
    let task = ctx.with(|realm| realm.spawn(ctx.me, Role::Call, NEVER, task));
    ctx.join(task).await;
    let result = slot.borrow_mut().take();
    result.ok_or_else(|| Failure::bug("the task of a call ended early"))
}

fn receipt() -> Receipt {
    Receipt { request_id: "request".to_owned(), revoke_job_id: None }
}

impl Settlement {
    async fn carry_out(&self, mutation: Mutation, begun: Time) -> Option<CallError> {
        let result = self.ctx.call(&mutation, Some((&self.announced, self.attempt, begun))).await;
        match (&mutation, &result) {
            (_, Ok(Reply::Created { id, key })) => {
                let time = self.ctx.server_now();
                self.absorb(&Answer::Created { id: id.clone(), key: key.clone(), time }).await;
            }
            (Mutation::Regenerate(id), Ok(Reply::Regenerated { key, born })) => {
                let time = timestamp(*born);
                self.absorb(&Answer::Regenerated { id: id.clone(), key: key.clone(), time }).await;
            }
            (_, Ok(_)) => self.deletion_answered(DeletionOutcome::Done(receipt())).await,
            (Mutation::Create { .. }, Err(error)) if error.settles_creation() => self.refused(error).await,
            (Mutation::Regenerate(id), Err(CallError::NotFound(_))) => {
                self.key_refused(evidence::is_gone(&self.ctx, id).await.unwrap_or(false)).await;
            }
            (Mutation::Regenerate(_), Err(error)) if error.is_definite() => self.key_refused(false).await,
            (Mutation::Delete(_), Err(CallError::NotFound(_))) => {}
            (Mutation::Delete(_), Err(error)) if error.is_definite() => {
                self.deletion_undone().await;
            }
            (_, Err(_)) => {}
        }
        result.err()
    }

    async fn absorb(&self, answer: &Answer) {
        let mut discard = None;
        let mut is_dropped = false;
        let decide = |current: Option<&Record>| match sabotage::merge(
            &self.ctx,
            current,
            &self.announced.uid,
            self.attempt,
            answer,
        ) {
            Merge::Write(claim, key) => {
                let claim = match (&self.config, answer) {
                    (Some(config), Answer::Created { time, .. }) if claim.applied_settings().is_none() => {
                        claim.with_settings(config.clone(), *time)?
                    }
                    _ => *claim,
                };
                Ok(Some((self.cleared(claim), key)))
            }
            Merge::Discard(id) => {
                discard = Some(id);
                Ok(None)
            }
            Merge::Drop => {
                is_dropped = true;
                Ok(None)
            }
        };
        self.rewrite(decide).await;
        self.ctx
            .with(|realm| laws::absorbed(realm, &self.announced, answer, discard.is_some() || is_dropped));
        if let Some(id) = discard.filter(|_| self.ctx.has(Guard::Discard)) {
            self.discard(&id).await;
        }
    }

    /// Without the guard: an answer clears all attempts.
    fn cleared(&self, claim: Claim) -> Claim {
        if self.ctx.has(Guard::OwnAttemptOnly) { claim } else { claim.settled() }
    }

    async fn amend(&self, change: impl Fn(Claim) -> Result<Claim, Illegal>) {
        self.rewrite(|current| match current.filter(|record| record.uid == self.announced.uid) {
            Some(record) => Ok(Some((change(record.claim.clone())?, record.key.clone()))),
            None => Ok(None),
        })
        .await;
    }

    /// Writes what `decide` makes of the claim; after a conflict of what the claim has become, until it is written.
    async fn rewrite(&self, mut decide: impl FnMut(Option<&Record>) -> Result<Change, Illegal>) {
        let started = self.ctx.now();
        let mut current = Some(self.announced.clone());
        loop {
            let written = match (decide(current.as_ref()), &current) {
                (Err(illegal), _) => {
                    let law = format!("an answer fits its claim: {illegal}");
                    return self.ctx.with(|realm| realm.laws.breaks(&law));
                }
                (Ok(Some((claim, key))), Some(record)) => {
                    self.ctx.write(|realm| realm.update_claim(record, &claim, key.as_ref())).await
                }
                (Ok(_), _) => return,
            };
            let Err(problem) = written else { return };
            if self.ctx.now() - started > PATIENCE {
                return self.ctx.with(|realm| realm.laws.gave_up());
            }
            if problem == Refused::Lost {
                self.ctx.sleep(SECOND).await;
            } else {
                self.ctx.with(|realm| realm.count("an answer that met a conflict"));
                if !self.ctx.has(Guard::AnswerMerged) {
                    return;
                }
            }
            let name = self.announced.claim.project_name().as_str();
            if let Ok(found) = self.ctx.read(|realm| realm.cluster.claims.get(name).cloned()).await {
                current = found;
            }
        }
    }

    /// Deletes the project that our own answer has just made and that no claim can hold.
    async fn discard(&self, id: &ProjectId) {
        self.ctx.with(|realm| realm.count("a project that no claim could hold was deleted"));
        let started = self.ctx.now();
        while self.ctx.now() - started < PATIENCE {
            match self.ctx.call(&Mutation::Delete(id.clone()), None).await {
                Ok(_) | Err(CallError::NotFound(_)) => return,
                Err(_) => self.ctx.sleep(2 * SECOND).await,
            }
        }
        self.ctx.with(|realm| realm.laws.gave_up());
    }

    async fn refused(&self, error: &CallError) {
        let is_conflict = matches!(error, CallError::AlreadyExists(_));
        let clears = is_conflict && !self.ctx.has(Guard::OtherAttemptOpen);
        self.amend(|claim| {
            let claim = self.cleared(claim.refused(self.attempt, is_conflict));
            Ok(if clears { claim.settled() } else { claim })
        })
        .await;
    }

    async fn key_refused(&self, is_missing: bool) {
        self.amend(|claim| match is_missing {
            true => claim.key_missed(self.attempt, SETTLE),
            false => Ok(claim.key_refused(self.attempt)),
        })
        .await;
    }

    pub(super) async fn deletion_undone(&self) {
        if !self.is_repeated || !self.ctx.has(Guard::EarlierDeletion) {
            self.deletion_answered(DeletionOutcome::Undone).await;
        }
    }

    async fn deletion_answered(&self, outcome: DeletionOutcome) {
        let started_time = self.announced.claim.deletion_started_time();
        self.amend(|claim| claim.deletion_answered(started_time, outcome.clone())).await;
    }
}
