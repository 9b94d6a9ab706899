//! Calls with their claim writes, in tasks of their own: bounded by their own deadlines, never cancelled by a timed-out
//! pass or a shutdown. An answer that carries an id or a key is in the claim before anything else is done with it.

use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument, error, warn};

use crate::composio::{Announced, BootInstant, Lead};
use crate::controller::api_error::{is_conflict, words};
use crate::controller::budgets::Budgets;
use crate::controller::context::Context;
use crate::controller::ledger::Ledger;
use crate::controller::organizations::Organization;
use crate::domain::answer::{Answer, CallError};
use crate::domain::budget::Lane;
use crate::domain::claim::{Claim, DeletionOutcome, Illegal, Merge, Record, merge};
use crate::domain::failure::{Failure, backoff};
use crate::domain::ids::ProjectId;
use crate::domain::settings::Settings;
use crate::domain::world::ClaimView;

/// How long the write of an answer is tried again: as long as an API server may be away for an upgrade.
const PATIENCE: Duration = Duration::from_mins(15);

/// Longest time of one write; a connection that is half open must not keep an answer for ever.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);

/// Runs `work` in a task of its own and waits for it. `claim_name` counts as in flight until it ends.
pub(super) async fn detached<T: Send + 'static>(
    context: &Context,
    claim_name: String,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Failure> {
    let guard = context.in_flight.enter(claim_name);
    let task = async move {
        let result = work.await;
        drop(guard);
        result
    };
    let task = context.tasks.spawn(task.in_current_span());
    task.await.map_err(|error| Failure::bug(format!("the task of a call ended early: {error}")))
}

/// The same with a deadline.
async fn bounded<T>(work: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    let elapsed = |elapsed: tokio::time::error::Elapsed| kube::Error::Service(elapsed.into());
    tokio::time::timeout(WRITE_DEADLINE, work).await.map_err(elapsed)?
}

/// What a task needs; all of it shared or cheap to clone.
#[derive(Clone)]
pub(super) struct Settlement {
    pub(super) ledger: Ledger,
    pub(super) budgets: Budgets,
    pub(super) organization: Arc<Organization>,
    /// The claim as it was written with the announcement.
    pub(super) announced: Record,
    /// Number of the announced attempt.
    pub(super) attempt: u32,
    /// Longest time from an announcement to its last possible effect.
    pub(super) settle: Duration,
}

impl Settlement {
    /// Puts an answer into the claim, whatever the claim has become; returns it as it was written, where that was possible.
    /// `config` was accepted with a creation.
    pub(super) async fn absorb(&self, answer: &Answer, config: Option<Settings>) -> Option<Record> {
        self.key_served();
        let secret = self.ledger.fingerprint_key();
        let mut discard = None;
        let decide = |current: Option<&Record>| match merge(
            current,
            &self.announced.uid,
            self.attempt,
            answer,
            secret,
        ) {
            Merge::Write(claim, key) => {
                let claim = *claim;
                let claim = match (&config, answer) {
                    (Some(config), Answer::Created { time, .. }) if claim.applied_settings().is_none() => {
                        claim.with_settings(config.clone(), *time)?
                    }
                    _ => claim,
                };
                Ok(Some((claim, key)))
            }
            Merge::Discard(id) => {
                discard = Some(id);
                Ok(None)
            }
            Merge::Drop => {
                warn!(
                    "an answer came for a claim that is gone, another's, or about to lose its project; it is dropped"
                );
                Ok(None)
            }
        };
        let written = self.rewrite(decide).await;
        if let Some(id) = discard {
            self.discard(&id).await;
        }
        written
    }

    /// The organization's key was good for a mutation.
    fn key_served(&self) {
        self.budgets.forget_breaker(&self.organization.name, &self.organization.key);
    }

    /// Changes the claim, if it is still the one that made the announcement.
    pub(super) async fn amend(&self, change: impl Fn(Claim) -> Result<Claim, Illegal>) {
        self.rewrite(|current| match current.filter(|record| record.uid == self.announced.uid) {
            Some(record) => Ok(Some((change(record.claim.clone())?, record.key.clone()))),
            None => Ok(None),
        })
        .await;
    }

    /// Writes what `decide` makes of the claim; after a conflict of what the claim has become, until it is written. Returns
    /// the claim then.
    async fn rewrite(
        &self,
        mut decide: impl FnMut(
            Option<&Record>,
        ) -> Result<Option<(Claim, Option<crate::domain::key::ApiKey>)>, Illegal>,
    ) -> Option<Record> {
        let (started, mut failures) = (BootInstant::now(), 0);
        let mut current = Some(self.announced.clone());
        loop {
            let written = match (decide(current.as_ref()), &current) {
                (Err(illegal), _) => {
                    error!(%illegal, "an answer does not fit the claim");
                    return None;
                }
                (Ok(Some((claim, key))), Some(record)) => {
                    bounded(self.ledger.update(record, &claim, key.as_ref())).await
                }
                (Ok(_), _) => return None,
            };
            let problem = match written {
                Ok(record) => return Some(record),
                Err(problem) => problem,
            };
            if started.elapsed() > PATIENCE {
                error!(error = words(&problem), "an answer of Composio could not be written to its claim");
                return None;
            }
            if !is_conflict(&problem) {
                failures += 1;
                warn!(error = words(&problem), "writing an answer of Composio to its claim is tried again");
                tokio::time::sleep(backoff(failures, 0.5, None).min(Duration::from_secs(5))).await;
            }
            match bounded(self.ledger.get(&self.announced.claim.name())).await {
                Ok(ClaimView::Present(record)) => current = Some(*record),
                Ok(ClaimView::Absent) => current = None,
                // Never overwritten; the attempt stays open in it.
                Ok(ClaimView::Unreadable(why)) => {
                    error!(why, "an answer came for an unreadable claim");
                    return None;
                }
                Err(_) => {}
            }
        }
    }

    /// Deletes the project that our own answer has just made and that no claim can hold. Nobody else has its id or key.
    async fn discard(&self, id: &ProjectId) {
        warn!(project.id = %id, "a creation was answered for a claim that is gone or has another project; its project is deleted");
        let (organization, started, mut failures) = (&self.organization, BootInstant::now(), 0);
        // The answer alone is the right to do this, and a successor knows nothing of it.
        let client = organization.client.led_by(Lead::always());
        while started.elapsed() < PATIENCE {
            // Somebody may have taken it over meanwhile: what a claim holds is not touched. The gate counts from before
            // the look.
            let permit = match client.budget().permit(Lane::Urgent, id.as_str()).await {
                Ok(permit) => permit,
                Err(left) => {
                    tokio::time::sleep(left).await;
                    continue;
                }
            };
            let announced = Announced::new(BootInstant::now(), permit);
            match self.ledger.is_claimed(id, "").await {
                Ok(true) => return warn!(project.id = %id, "another claim has it by now; it is not deleted"),
                Ok(false) => {}
                Err(problem) => {
                    failures += 1;
                    warn!(error = words(&problem), "the claims cannot be listed; it is tried again");
                    tokio::time::sleep(backoff(failures, 0.5, None)).await;
                    continue;
                }
            }
            match client.delete_project(&organization.key, announced, id, false).await {
                Ok(_) | Err(CallError::NotFound(_)) => return,
                Err(problem) => warn!(project.id = %id, error = %problem, "the deletion is tried again"),
            }
            failures += 1;
            tokio::time::sleep(backoff(failures, 0.5, None)).await;
        }
        error!(project.id = %id, "a project that no claim can hold was not deleted; delete it by hand");
    }

    /// Takes a creation back that had no effect. A conflict is noted on the attempts that stay open.
    pub(super) async fn refused(&self, error: &CallError) {
        let is_conflict = matches!(error, CallError::AlreadyExists(_));
        self.amend(|claim| Ok(claim.refused(self.attempt, is_conflict))).await;
    }

    /// Takes the announcement of a key back that was not issued; a project that is gone is created again.
    pub(super) async fn key_refused(&self, is_missing: bool) {
        self.amend(|claim| match is_missing {
            true => claim.key_missed(self.attempt, self.settle),
            false => Ok(claim.key_refused(self.attempt)),
        })
        .await;
    }

    /// Takes the announced deletion back; not where an earlier one is open, because that one may still be carried out.
    pub(super) async fn deletion_undone(&self, is_earlier_open: bool) {
        if !is_earlier_open {
            self.deletion_answered(DeletionOutcome::Undone).await;
        }
    }

    /// Notes the answer to the deletion that was announced, and to no other.
    pub(super) async fn deletion_answered(&self, outcome: DeletionOutcome) {
        if matches!(outcome, DeletionOutcome::Done(_)) {
            self.key_served();
        }
        let started_time = self.announced.claim.deletion_started_time();
        self.amend(|claim| claim.deletion_answered(started_time, outcome.clone())).await;
    }
}
