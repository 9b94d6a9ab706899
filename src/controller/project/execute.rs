//! Execute: one action, with at most one remote mutation, framed by writes of the claim.

use std::sync::Arc;

use tracing::info;

use super::gather::{Gathered, Kept};
use super::prove::{Proof, prove};
use super::publish::{publish, remove_superseded, still_there};
use super::settle::{Settlement, detached};
use crate::composio::{Announced, BootInstant, Listing, Permit};
use crate::controller::api_error::failure;
use crate::controller::context::Context;
use crate::controller::evidence;
use crate::controller::organizations::Organization;
use crate::controller::secrets::UnprovenKey;
use crate::domain::answer::CallError;
use crate::domain::claim::{Claim, DeletionOutcome, Origin, Phase, Record};
use crate::domain::failure::Failure;
use crate::domain::ids::ProjectId;
use crate::domain::plan::{Action, name_taken};
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::world::{ClaimView, Desired, Pass, World};

/// What is to be done, and the permit of the budget where it is an announced mutation.
pub(super) struct Order {
    pub(super) action: Action,
    pub(super) permit: Option<Permit>,
}

/// Carries the action out and notes in `pass` what it has shown; returns what need not be read again after it.
pub(super) async fn execute(
    context: &Context,
    organization: &Arc<Organization>,
    desired: &Desired,
    gathered: Gathered,
    Order { action, permit }: Order,
    pass: &mut Pass,
) -> Result<Kept, Failure> {
    let Gathered { begun, world, secret, unproven_key } = gathered;
    let begun = permit.map(|permit| Announced::new(begun, permit));
    // Evidence is about the claim as it was.
    if !matches!(action, Action::ReadEvidence) {
        pass.evidence = None;
    }
    let work = Work { context, organization, desired, begun, world: &world };
    let done: Result<(), Failure> = match action {
        Action::CreateProject { claim, attempt, config } => {
            pass.has_mutated = true;
            let written = work.create(&claim, attempt, config).await?;
            let claim = written.map(|record| ClaimView::Present(Box::new(record)));
            return Ok(Kept { claim, secret: secret.into() });
        }
        Action::AcquireKey { claim, attempt } => {
            pass.has_mutated = true;
            pass.asked_for_key(work.acquire_key(&claim, attempt).await?);
            Ok(())
        }
        Action::DeleteUnusable(claim) => {
            *pass = Pass { has_mutated: true, ..Pass::default() };
            work.delete(&claim).await
        }
        Action::WriteClaim(claim) => work.write_claim(&claim).await.map(drop),
        Action::Conclude(claim, failure) => Err(work.write_claim(&claim).await.err().unwrap_or(failure)),
        Action::ReadEvidence => {
            let record = work.record()?;
            let found =
                evidence::walk(context, organization, record).await.map_err(|error| work.failure(error))?;
            pass.evidence = Some(found);
            Ok(())
        }
        Action::Bury => {
            let buried = context.ledger.bury(work.record()?, work.world.settling.now).await;
            buried.map_err(|error| failure("writing the tombstone", &error))
        }
        Action::ReadProject => {
            pass.exists = Some(!context.is_gone(organization, &work.record()?.claim).await?);
            Ok(())
        }
        Action::ReadSettings { lane } => {
            work.look_at_settings(pass, lane).await?;
            return Ok(Kept { claim: Some(world.claim), secret: secret.into() });
        }
        Action::ProveOwnKey { lane } => {
            work.prove_own_key(pass, lane).await?;
            return Ok(Kept { claim: Some(world.claim), secret: secret.into() });
        }
        Action::PatchSettings(members) => {
            pass.has_mutated = true;
            pass.saw_settings(work.patch_settings(&members).await?);
            work.note_key(&pass.key);
            Ok(())
        }
        Action::PublishSecret => {
            pass.has_mutated = true;
            let written = publish(context, desired, work.record()?, secret.as_ref()).await?;
            work.close_gap()?;
            return Ok(Kept { claim: Some(world.claim), secret: Some(written).into() });
        }
        Action::ProveKey => {
            pass.disproved = work.prove_key(unproven_key).await?;
            Ok(())
        }
        Action::ReadKeys { lane } => {
            let (keys, lives) = work.read_keys(lane).await?;
            pass.saw_keys(keys, lives);
            work.note_key(&pass.key);
            Ok(())
        }
        Action::RemoveSuperseded(old, claim) => {
            remove_superseded(context, desired, &old).await?;
            work.write_claim(&claim).await.map(drop)
        }
        Action::ReadCandidate => {
            pass.take_over.candidate = Some(work.read_candidate(secret.as_ref()).await?);
            Ok(())
        }
        Action::TakeUp { claim, key } => {
            pass.take_over.candidate = None;
            work.take_up(&claim, key.as_deref()).await
        }
        Action::LookForProject { lane } => {
            pass.take_over.presence = Some(work.look_for_project(lane).await?);
            Ok(())
        }
    };
    done.map(|()| Kept::default())
}

/// What every action needs.
pub(super) struct Work<'a> {
    pub(super) context: &'a Context,
    pub(super) organization: &'a Arc<Organization>,
    pub(super) desired: &'a Desired,
    /// From when on the gate counts, for what is announced.
    begun: Option<Announced>,
    pub(super) world: &'a World,
}

pub(super) fn project_id(claim: &Claim) -> Result<ProjectId, Failure> {
    claim.project_id().cloned().ok_or_else(|| Failure::bug("a claim without its project"))
}

impl Work<'_> {
    /// The claim that the action is about.
    pub(super) fn record(&self) -> Result<&Record, Failure> {
        match &self.world.claim {
            ClaimView::Present(record) => Ok(record),
            ClaimView::Absent | ClaimView::Unreadable(_) => Err(Failure::bug("an action without its claim")),
        }
    }

    async fn write_claim(&self, claim: &Claim) -> Result<Record, Failure> {
        let ledger = &self.context.ledger;
        let written = match &self.world.claim {
            // A claim that lost its project has lost its key.
            ClaimView::Present(record) => {
                ledger.update(record, claim, record.key.as_ref().filter(|_| claim.key().is_some())).await
            }
            ClaimView::Absent => ledger.create(claim, None).await,
            ClaimView::Unreadable(why) => {
                return Err(Failure::terminal(Reason::ClaimUnreadable, why.clone()));
            }
        };
        let written = written.map_err(|error| failure("writing the claim", &error))?;
        let was_creating = self.record().is_ok_and(|record| record.claim.phase() == Phase::Creating);
        if was_creating && claim.origin() == Some(Origin::Recovered) {
            self.context.metrics.recovered();
        }
        if !claim.is_rotation_open() {
            // Proven: it had no effect, or its key is published.
            self.context.gaps.end(&written.uid);
        }
        Ok(written)
    }

    /// Claim, call, claim: the frame of every mutation. The claim is written with its announcement; `work` then sends
    /// and settles in a task of its own. The gate counts from the look that dates the announcement, so that a process that
    /// was stopped anywhere between them does not send: its project would be born outside its window.
    pub(super) async fn announced<W>(
        &self,
        claim: &Claim,
        attempt: u32,
        work: impl FnOnce(Settlement, Announced) -> W,
    ) -> Result<W::Output, Failure>
    where
        W: Future<Output: Send> + Send + 'static,
    {
        self.context.leads()?;
        let begun = self.begun.ok_or_else(|| Failure::bug("a mutation without a permit of the budget"))?;
        let announced = self.write_claim(claim).await?;
        let (now, settle) = (self.world.settling.now, self.world.settling.settle);
        self.context.sightings.settling(&announced, now, settle);
        let (ledger, organization) = (self.context.ledger.clone(), self.organization.clone());
        let budgets = self.context.organizations.budgets.clone();
        let settlement = Settlement { ledger, budgets, organization, announced, attempt, settle };
        detached(self.context, claim.name(), work(settlement, begun)).await
    }

    /// Returns the claim as the answer has made it, where it was written.
    async fn create(
        &self,
        claim: &Claim,
        attempt: u32,
        config: Option<Settings>,
    ) -> Result<Option<Record>, Failure> {
        still_there(self.context, self.desired).await?;
        let has_others = claim.attempts().len() > 1;
        let name = self.desired.project_name.clone();
        let create = |settlement: Settlement, announced| async move {
            let Organization { client, key, .. } = &*settlement.organization;
            let result = client.create_project(key, announced, &name, config.as_ref()).await;
            match result {
                Ok(answer) => Ok(settlement.absorb(&answer, config).await),
                Err(error) => {
                    if error.settles_creation() {
                        settlement.refused(&error).await;
                    }
                    Err(error)
                }
            }
        };
        match self.announced(claim, attempt, create).await? {
            Ok(written) => {
                // Its settings are as given, and its key is new.
                self.context.looks.looked(&self.desired.uid);
                if self.organization.id.is_none() {
                    // Its first project shows the organization's id.
                    self.context.wake_organization(&self.organization.name);
                }
                Ok(written)
            }
            // The plan looks the outcome up.
            Err(error) if !error.settles_creation() => {
                info!(%error, "the outcome of a creation is unknown");
                Ok(None)
            }
            Err(CallError::AlreadyExists(_)) if has_others => Ok(None),
            Err(CallError::AlreadyExists(_)) => Err(self.taken().await),
            Err(CallError::Rejected(words)) => Err(Failure::terminal(Reason::SpecRejected, words)),
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Somebody else has the name. Its id is for the log only: a tenant must not learn it.
    async fn taken(&self) -> Failure {
        let name = self.desired.project_name.as_str();
        let Ok(listing) = self.recent_listing().await else {
            return Failure::terminal(Reason::NameTaken, format!("{name:?}"));
        };
        let found = listing.named(name);
        if let Some(found) = found {
            info!(project.id = %found.id, project.name = name, "the name is taken by another project");
        }
        name_taken(self.desired, found.map(|found| found.created_at))
    }

    /// A list that decides nothing by what it does not have, so that it need not be of this moment.
    pub(super) async fn recent_listing(&self) -> Result<Arc<Listing>, CallError> {
        let since = BootInstant::now().earlier(self.world.settling.settle / 8);
        self.organization.listed(since).await
    }

    async fn delete(&self, claim: &Claim) -> Result<(), Failure> {
        let id = project_id(claim)?;
        let delete = |settlement: Settlement, announced| async move {
            let Organization { client, key, .. } = &*settlement.organization;
            let result = client.delete_project(key, announced, &id, false).await;
            match &result {
                Ok(receipt) => settlement.deletion_answered(DeletionOutcome::Done(receipt.clone())).await,
                // Two witnesses tell, when it is settled.
                Err(CallError::NotFound(_)) => {}
                Err(error) if error.is_definite() => {
                    settlement.deletion_answered(DeletionOutcome::Undone).await;
                }
                Err(_) => {}
            }
            result.err()
        };
        match self.announced(claim, 0, delete).await? {
            None | Some(CallError::NotFound(_)) => Ok(()),
            Some(CallError::Forbidden(words)) => Err(Failure::terminal(Reason::KeyUnavailable, words)),
            Some(error) => Err(self.failure(error)),
        }
    }

    /// Proves the key that was found in the Secret, and takes it up if it lives. Returns the version of the Secret if it
    /// does not.
    async fn prove_key(&self, found: Option<UnprovenKey>) -> Result<Option<String>, Failure> {
        let UnprovenKey { key, stamp, version } =
            found.ok_or_else(|| Failure::bug("a proof without a key"))?;
        let (record, now) = (self.record()?, self.world.settling.now);
        let id = project_id(&record.claim)?;
        match prove(self.organization, &id, &key).await {
            Proof::Lives => {}
            Proof::Dead | Proof::NotOfThisProject => return Ok(Some(version)),
            Proof::Unsure(error) => return Err(self.failure(error)),
        }
        // Without a stamp it counts as old as the project, so that any answer of the API is younger.
        let issued_time = stamp.or(record.claim.created_time()).map_or(now, |time| time.min(now));
        let ledger = &self.context.ledger;
        let claim = record.taking_up(&key, issued_time, ledger.fingerprint_key());
        let claim = claim.map_err(|illegal| Failure::bug(illegal.to_string()))?;
        let written = ledger.update(record, &claim, Some(&key)).await;
        written.map_err(|error| failure("writing the claim", &error))?;
        info!(project.id = %id, secret.name = self.desired.secret.name, "a living key of the project was found in its Secret and is taken into the claim");
        Ok(None)
    }

    /// What a call that brought nothing means for this pass, and for everybody else of the organization.
    pub(super) fn failure(&self, error: CallError) -> Failure {
        self.context.call_failure(self.organization, error)
    }
}
