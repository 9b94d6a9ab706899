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
use crate::domain::answer::{CallError, CredentialProblem};
use crate::domain::claim::{Claim, Phase, Record};
use crate::domain::failure::Failure;
use crate::domain::plan::{Action, name_taken};
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::world::{Capability, ClaimView, Desired, Pass, SettingsView, World};

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
    let work = Work {
        context,
        organization,
        desired,
        world: &world,
    };
    match action {
        Action::CreateProject {
            claim,
            attempt,
            config,
        } => {
            pass.has_mutated = true;
            work.create(&claim, attempt, config).await
        }
        Action::AcquireKey { claim, attempt } => {
            pass.has_mutated = true;
            pass.is_key_refused = work.acquire_key(&claim, attempt).await?;
            Ok(())
        }
        Action::DeleteUnusable(claim) => {
            *pass = Pass {
                has_mutated: true,
                ..Pass::default()
            };
            work.delete(&claim).await
        }
        Action::WriteClaim(claim) => work.write_claim(&claim).await.map(drop),
        Action::Conclude(claim, failure) => Err(work.write_claim(&claim).await.err().unwrap_or(failure)),
        Action::ReadEvidence => {
            let record = work.record()?;
            let found = evidence::walk(context, organization, record)
                .await
                .map_err(|error| work.failure(error))?;
            pass.evidence = Some(found);
            Ok(())
        }
        Action::ReadProject => {
            let id = work
                .record()?
                .claim
                .project_id()
                .ok_or_else(|| Failure::bug("a claim without its project"))?;
            let found = organization.client.read_project(&organization.key, id).await;
            pass.exists = Some(found.map_err(|error| work.failure(error))?.is_some());
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

struct Work<'a> {
    context: &'a Context,
    organization: &'a Arc<Organization>,
    desired: &'a Desired,
    world: &'a World,
}

impl Work<'_> {
    fn record(&self) -> Result<&Record, Failure> {
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
        if claim.phase() == Phase::KeyPending
            && claim.origin() == Some(crate::domain::claim::Origin::Recovered)
        {
            self.context.metrics.recovered();
        }
        Ok(written)
    }

    /// The resource as it is now: a key or a project for one that is gone, or that was made again, helps nobody.
    async fn still_there(&self) -> Result<(), Failure> {
        let api: Api<ComposioProject> = Api::namespaced(self.context.client.clone(), &self.desired.namespace);
        let found = api
            .get_opt(&self.desired.name)
            .await
            .map_err(|error| failure("reading the resource", &error))?;
        let is_same = |found: &ComposioProject| {
            found.uid().as_ref() == Some(&self.desired.uid) && found.metadata.deletion_timestamp.is_none()
        };
        match found.is_some_and(|found| is_same(&found)) {
            true => Ok(()),
            false => Err(Failure::conflict("the resource is being deleted")),
        }
    }

    fn settlement(&self, announced: Record, attempt: u32) -> Settlement {
        let (ledger, organization) = (self.context.ledger.clone(), self.organization.clone());
        Settlement {
            ledger,
            organization,
            announced,
            attempt,
            settle: self.world.settling.settle,
        }
    }

    /// Claim, call, claim. The gate counts from before the first write, so that a process that was stopped while it
    /// waited for the API server does not send either.
    async fn create(&self, claim: &Claim, attempt: u32, config: Option<Settings>) -> Result<(), Failure> {
        self.still_there().await?;
        let announced = Announced(BootInstant::now());
        let record = self.write_claim(claim).await?;
        self.context
            .sightings
            .settling(&record, self.world.settling.now, self.world.settling.settle);
        let has_others = record.claim.attempts().len() > 1;
        let settlement = self.settlement(record, attempt);
        let name = self.desired.project_name.clone();
        let error = detached(self.context, claim.name(), async move {
            let organization = &settlement.organization;
            let result = organization
                .client
                .create_project(&organization.key, announced, &name, config.as_ref())
                .await;
            match &result {
                Ok(answer) => settlement.absorb(answer, config).await,
                Err(error) if error.settles_creation() => settlement.refused(error).await,
                Err(_) => {}
            }
            result.err()
        })
        .await?;
        match error {
            None => {
                self.context.organizations.close_breaker(&self.organization.name);
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
        let listed = self
            .organization
            .client
            .list_projects(&self.organization.key)
            .await
            .unwrap_or_default();
        let name = self.desired.project_name.as_str();
        let found = listed
            .into_iter()
            .find(|project| project.name == name && !project.deleted);
        if let Some(found) = &found {
            info!(project.id = %found.id, project.name = name, "the name is taken by another project");
        }
        name_taken(self.desired, found.map(|found| found.created_at))
    }

    /// Returns whether Composio refuses to issue a key.
    async fn acquire_key(&self, claim: &Claim, attempt: u32) -> Result<bool, Failure> {
        let id = claim
            .project_id()
            .ok_or_else(|| Failure::bug("a claim without its project"))?
            .clone();
        let announced = Announced(BootInstant::now());
        let record = self.write_claim(claim).await?;
        self.context
            .sightings
            .settling(&record, self.world.settling.now, self.world.settling.settle);
        let settlement = self.settlement(record, attempt);
        let error = detached(self.context, claim.name(), async move {
            let organization = &settlement.organization;
            let result = organization
                .client
                .regenerate_key(&organization.key, announced, &id)
                .await;
            match &result {
                Ok(answer) => settlement.absorb(answer, None).await,
                Err(error) if error.is_definite() => {
                    settlement
                        .key_refused(matches!(error, CallError::NotFound(_)))
                        .await;
                }
                Err(_) => {}
            }
            result.err()
        })
        .await?;
        match error {
            None => Ok(false),
            Some(CallError::Forbidden(_)) => Ok(true),
            // Gone, or so young that it is not known everywhere yet: the claim says which. Not asked again at once.
            Some(CallError::NotFound(words)) => Err(self.failure(CallError::Unknown {
                words,
                status: Some(404),
            })),
            Some(error) => Err(self.failure(error)),
        }
    }

    async fn delete(&self, claim: &Claim) -> Result<(), Failure> {
        let id = claim
            .project_id()
            .ok_or_else(|| Failure::bug("a claim without its project"))?
            .clone();
        let announced = Announced(BootInstant::now());
        let record = self.write_claim(claim).await?;
        self.context
            .sightings
            .settling(&record, self.world.settling.now, self.world.settling.settle);
        let settlement = self.settlement(record, 0);
        let error = detached(self.context, claim.name(), async move {
            let organization = &settlement.organization;
            let result = organization
                .client
                .delete_project(&organization.key, announced, &id)
                .await;
            match &result {
                Ok(()) => settlement.deletion_answered(true).await,
                Err(error) if error.is_definite() => settlement.deletion_answered(false).await,
                Err(_) => {}
            }
            result.err()
        })
        .await?;
        match error {
            None => Ok(()),
            Some(CallError::Forbidden(words)) => Err(Failure::terminal(Reason::KeyUnavailable, words)),
            Some(error) => Err(self.failure(error)),
        }
    }

    async fn read_settings(&self, is_patched: bool) -> Result<SettingsView, Failure> {
        let key = self
            .record()?
            .key
            .as_ref()
            .ok_or_else(|| Failure::bug("settings without a key"))?;
        match self.organization.client.read_settings(key).await {
            Ok(observed) => {
                self.organization.settings_endpoint.set(Capability::Available);
                Ok(SettingsView::Seen { observed, is_patched })
            }
            Err(error) => self.settings_failure(error, is_patched).await,
        }
    }

    async fn patch_settings(&self, members: &Settings) -> Result<SettingsView, Failure> {
        let key = self
            .record()?
            .key
            .as_ref()
            .ok_or_else(|| Failure::bug("settings without a key"))?;
        match self.organization.client.patch_settings(key, members).await {
            Ok(()) => Ok(SettingsView::Patched),
            Err(CallError::Rejected(words) | CallError::Forbidden(words)) => {
                let detail = format!("{}: {words}", members.fields());
                Ok(SettingsView::Failed(Failure::terminal(
                    Reason::SettingsNotApplied,
                    detail,
                )))
            }
            Err(error) => self.settings_failure(error, true).await,
        }
    }

    /// Tells an endpoint that is gone from a key that is dead and from a passing fault (API 7.3).
    async fn settings_failure(&self, error: CallError, is_patched: bool) -> Result<SettingsView, Failure> {
        let is_gone = match &error {
            CallError::NotFound(_) => true,
            CallError::Unknown { status, .. } => {
                status.is_some_and(|status| [200, 404, 405, 410, 501].contains(&status))
            }
            CallError::Credential(CredentialProblem::Address, words) => {
                return Ok(SettingsView::Failed(Failure::terminal(
                    Reason::AddressNotAllowed,
                    words.clone(),
                )));
            }
            CallError::Credential(..) | CallError::Forbidden(_) => {
                return self.key_or_endpoint(error, is_patched).await;
            }
            _ => false,
        };
        if is_gone {
            self.organization.settings_endpoint.set(Capability::Unavailable);
            return Ok(SettingsView::Unseen);
        }
        Ok(SettingsView::Failed(self.failure(error)))
    }

    /// 401 or 403: with a key that works elsewhere it is the endpoint that is gone. A fresh key may be unknown for some
    /// seconds (API 16.11), so that the endpoint is asked once more after the proof.
    async fn key_or_endpoint(&self, error: CallError, is_patched: bool) -> Result<SettingsView, Failure> {
        let record = self.record()?;
        let key = record
            .key
            .as_ref()
            .ok_or_else(|| Failure::bug("settings without a key"))?;
        match self.organization.client.prove_key(key).await {
            Ok(()) => match self.organization.client.read_settings(key).await {
                Ok(observed) => Ok(SettingsView::Seen { observed, is_patched }),
                Err(CallError::Credential(..) | CallError::Forbidden(_)) => {
                    self.organization.settings_endpoint.set(Capability::Unavailable);
                    Ok(SettingsView::Unseen)
                }
                Err(error) => Ok(SettingsView::Failed(Failure::transient(error.to_string()))),
            },
            Err(CallError::Credential(CredentialProblem::ProjectKey, words)) => {
                let issued = record.claim.key().map(|key| key.issued_time);
                let is_fresh = issued
                    .is_some_and(|issued| self.world.settling.now.duration_since(issued).as_secs() < 60);
                let failure = if is_fresh {
                    Failure::transient(words)
                } else {
                    Failure::terminal(Reason::KeyRejected, words)
                };
                Ok(SettingsView::Failed(failure))
            }
            Err(_) => Ok(SettingsView::Failed(Failure::transient(error.to_string()))),
        }
    }

    /// Creates the Secret, or updates it by `resourceVersion`.
    async fn publish(&self, existing: Option<&Secret>) -> Result<(), Failure> {
        self.still_there().await?;
        let (record, desired) = (self.record()?, self.desired);
        let secret = match existing {
            Some(existing) => secrets::updated(existing, desired, record),
            None => secrets::new(desired, record),
        };
        let invalid = |problem: crate::domain::template::InvalidTemplate| {
            Failure::terminal(Reason::SpecInvalid, problem.to_string())
        };
        let secret = secret
            .map_err(invalid)?
            .ok_or_else(|| Failure::bug("a Secret without a key"))?;
        let api: Api<Secret> = Api::namespaced(self.context.client.clone(), &desired.namespace);
        let written = match existing {
            Some(_) => api.replace(&desired.secret.name, &post_params(), &secret).await,
            None => api.create(&post_params(), &secret).await,
        };
        written
            .map(drop)
            .map_err(|error| secret_failure(&desired.secret.name, &error))
    }

    /// What a call that brought nothing means for this pass, and for everybody else of the organization.
    fn failure(&self, error: CallError) -> Failure {
        self.context.call_failure(self.organization, error)
    }
}
