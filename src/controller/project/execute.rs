//! Execute: one action, with at most one remote mutation, framed by writes of the claim.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use tracing::info;

use super::gather::Gathered;
use super::settle::{Settlement, detached};
use crate::composio::{Announced, BootInstant};
use crate::controller::api_error::{failure, secret_failure};
use crate::controller::context::Context;
use crate::controller::evidence;
use crate::controller::ledger::post_params;
use crate::controller::organizations::Organization;
use crate::controller::secrets;
use crate::crd::ComposioProject;
use crate::domain::answer::CallError;
use crate::domain::claim::{Claim, DeletionOutcome, Origin, Phase, Record};
use crate::domain::failure::Failure;
use crate::domain::ids::ProjectId;
use crate::domain::plan::{Action, name_taken};
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::world::{ClaimView, Desired, Pass, SettingsView, World};

/// Carries the action out and notes in `pass` what it has shown.
pub(super) async fn execute(
    context: &Context,
    organization: &Arc<Organization>,
    desired: &Desired,
    gathered: Gathered,
    action: Action,
    pass: &mut Pass,
) -> Result<(), Failure> {
    let Gathered { world, secret } = gathered;
    // Evidence is about the claim as it was.
    if !matches!(action, Action::ReadEvidence) {
        pass.evidence = None;
    }
    let work = Work { context, organization, desired, world: &world };
    match action {
        Action::CreateProject { claim, attempt, config } => {
            pass.has_mutated = true;
            work.create(&claim, attempt, config).await
        }
        Action::AcquireKey { claim, attempt } => {
            pass.has_mutated = true;
            pass.is_key_refused = work.acquire_key(&claim, attempt).await?;
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
            let id = project_id(&work.record()?.claim)?;
            let is_gone = organization.client.is_gone(&organization.key, &id).await;
            pass.exists = Some(!is_gone.map_err(|error| work.failure(error))?);
            Ok(())
        }
        Action::ReadSettings => {
            pass.settings = work.read_settings(pass.settings == SettingsView::Patched).await?;
            Ok(())
        }
        Action::PatchSettings(members) => {
            pass.has_mutated = true;
            pass.settings = work.patch_settings(&members).await?;
            Ok(())
        }
        Action::PublishSecret => {
            pass.has_mutated = true;
            work.publish(secret.as_ref()).await
        }
    }
}

/// What every action needs.
pub(super) struct Work<'a> {
    pub(super) context: &'a Context,
    pub(super) organization: &'a Arc<Organization>,
    pub(super) desired: &'a Desired,
    pub(super) world: &'a World,
}

fn project_id(claim: &Claim) -> Result<ProjectId, Failure> {
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
            ClaimView::Present(record) => ledger.update(record, claim, record.key.as_ref()).await,
            ClaimView::Absent => ledger.create(claim).await,
            ClaimView::Unreadable(why) => {
                return Err(Failure::terminal(Reason::ClaimUnreadable, why.clone()));
            }
        };
        let written = written.map_err(|error| failure("writing the claim", &error))?;
        if claim.phase() == Phase::KeyPending && claim.origin() == Some(Origin::Recovered) {
            self.context.metrics.recovered();
        }
        Ok(written)
    }

    /// The resource as it is now: a key or a project for one that is gone, or that was made again, helps nobody.
    async fn still_there(&self) -> Result<(), Failure> {
        let api: Api<ComposioProject> = Api::namespaced(self.context.client.clone(), &self.desired.namespace);
        let found =
            api.get_opt(&self.desired.name).await.map_err(|error| failure("reading the resource", &error))?;
        let is_same = |found: &ComposioProject| {
            found.uid().as_ref() == Some(&self.desired.uid) && found.metadata.deletion_timestamp.is_none()
        };
        match found.is_some_and(|found| is_same(&found)) {
            true => Ok(()),
            false => Err(Failure::conflict("the resource is being deleted")),
        }
    }

    /// Claim, call, claim: the frame of every mutation. The claim is written with its announcement; `work` then sends
    /// and settles in a task of its own. The gate counts from before the write, so that a process that was stopped while
    /// it waited for the API server does not send either.
    async fn announced<W>(
        &self,
        claim: &Claim,
        attempt: u32,
        work: impl FnOnce(Settlement, Announced) -> W,
    ) -> Result<Option<CallError>, Failure>
    where
        W: Future<Output = Option<CallError>> + Send + 'static,
    {
        let begun = Announced(BootInstant::now());
        self.context.leads()?;
        let announced = self.write_claim(claim).await?;
        let (now, settle) = (self.world.settling.now, self.world.settling.settle);
        self.context.sightings.settling(&announced, now, settle);
        let (ledger, organization) = (self.context.ledger.clone(), self.organization.clone());
        let settlement = Settlement { ledger, organization, announced, attempt, settle };
        detached(self.context, claim.name(), work(settlement, begun)).await
    }

    async fn create(&self, claim: &Claim, attempt: u32, config: Option<Settings>) -> Result<(), Failure> {
        self.still_there().await?;
        let has_others = claim.attempts().len() > 1;
        let name = self.desired.project_name.clone();
        let create = |settlement: Settlement, announced| async move {
            let Organization { client, key, .. } = &*settlement.organization;
            let result = client.create_project(key, announced, &name, config.as_ref()).await;
            match &result {
                Ok(answer) => settlement.absorb(answer, config).await,
                Err(error) if error.settles_creation() => settlement.refused(error).await,
                Err(_) => {}
            }
            result.err()
        };
        match self.announced(claim, attempt, create).await? {
            None => {
                self.context.organizations.close_breaker(&self.organization.name);
                if self.organization.id.is_none() {
                    // Its first project shows the organization's id.
                    self.context.wake_organization(&self.organization.name);
                }
                Ok(())
            }
            // The plan looks the outcome up.
            Some(error) if !error.settles_creation() => {
                info!(%error, "the outcome of a creation is unknown");
                Ok(())
            }
            Some(CallError::AlreadyExists(_)) if has_others => Ok(()),
            Some(CallError::AlreadyExists(_)) => Err(self.taken().await),
            Some(CallError::Rejected(words)) => Err(Failure::terminal(Reason::SpecRejected, words)),
            Some(error) => Err(self.failure(error)),
        }
    }

    /// Somebody else has the name. Its id is for the log only: a tenant must not learn it.
    async fn taken(&self) -> Failure {
        let name = self.desired.project_name.as_str();
        let Ok(listed) = self.organization.client.list_projects(&self.organization.key).await else {
            return Failure::terminal(Reason::NameTaken, format!("{name:?}"));
        };
        let found = listed.into_iter().find(|project| project.name == name && !project.deleted);
        if let Some(found) = &found {
            info!(project.id = %found.id, project.name = name, "the name is taken by another project");
        }
        name_taken(self.desired, found.map(|found| found.created_at))
    }

    /// Returns whether Composio refuses to issue a key.
    async fn acquire_key(&self, claim: &Claim, attempt: u32) -> Result<bool, Failure> {
        let id = project_id(claim)?;
        let regenerate = |settlement: Settlement, announced| async move {
            let Organization { client, key, .. } = &*settlement.organization;
            let result = client.regenerate_key(key, announced, &id).await;
            match &result {
                Ok(answer) => settlement.absorb(answer, None).await,
                // One witness alone never decides that something is gone.
                Err(CallError::NotFound(_)) => {
                    settlement.key_refused(client.is_gone(key, &id).await.unwrap_or(false)).await;
                }
                Err(error) if error.is_definite() => settlement.key_refused(false).await,
                Err(_) => {}
            }
            result.err()
        };
        match self.announced(claim, attempt, regenerate).await? {
            None => Ok(false),
            Some(CallError::Forbidden(_)) => Ok(true),
            // Gone, or so young that it is not known everywhere yet: the claim says which. Not asked again at once.
            Some(error) => Err(self.failure(error)),
        }
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

    /// Creates the Secret, or updates it by `resourceVersion`.
    async fn publish(&self, existing: Option<&Secret>) -> Result<(), Failure> {
        let begun = BootInstant::now();
        self.still_there().await?;
        let (record, desired) = (self.record()?, self.desired);
        let secret = match existing {
            Some(existing) => secrets::updated(existing, desired, record),
            None => secrets::new(desired, record),
        };
        let invalid = |problem: crate::domain::template::InvalidTemplate| {
            Failure::terminal(Reason::SpecInvalid, problem.to_string())
        };
        let secret = secret.map_err(invalid)?.ok_or_else(|| Failure::bug("a Secret without a key"))?;
        let api: Api<Secret> = Api::namespaced(self.context.client.clone(), &desired.namespace);
        // A process that was stopped in between must not write: the namespace may be another team's by now.
        if begun.elapsed() >= self.context.limits.gate {
            return Err(Failure::conflict("the look at the resource is too old"));
        }
        self.context.leads()?;
        let written = match existing {
            Some(_) => api.replace(&desired.secret.name, &post_params(), &secret).await,
            None => api.create(&post_params(), &secret).await,
        };
        written.map(drop).map_err(|error| secret_failure(&desired.secret.name, &error))
    }

    /// What a call that brought nothing means for this pass, and for everybody else of the organization.
    pub(super) fn failure(&self, error: CallError) -> Failure {
        self.context.call_failure(self.organization, error)
    }
}
