//! What every reconcile is given: clients, ledger, organizations, memory.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api_error::failure;
use super::brake::Brake;
use super::events::Events;
use super::in_use::InUse;
use super::ledger::Ledger;
use super::looks::Looks;
use super::memory::{Absences, Failures, Gaps, InFlight, KeySuspicions, Sightings, Waiters};
use super::metrics::ReconcileMetrics;
use super::organizations::{Organization, Organizations, State};
use super::scope::Namespaces;
use super::secret_watch::Publications;
use crate::composio::{CallMetrics, Lead, Limits};
use crate::crd::{ComposioOrganization, ComposioProject};
use crate::domain::answer::{CallError, CredentialProblem};
use crate::domain::claim::{Claim, Owner};
use crate::domain::failure::Failure;
use crate::domain::reason::Reason;

/// Why the absence of a project proves nothing.
pub(super) const NO_PROOF: &str = "Composio has not shown yet that the key is of this organization, so that the absence of a project proves nothing";

fn not_ready(detail: String, retry_after: Option<Duration>) -> Failure {
    Failure { reason: Reason::OrganizationNotReady, retry_after, ..Failure::transient(detail) }
}

/// Asks for a look at one object, from outside its own watch.
#[derive(Clone)]
pub struct Wake {
    /// At ComposioProjects.
    pub projects: UnboundedSender<ObjectRef<ComposioProject>>,
    /// At ComposioOrganizations.
    pub organizations: UnboundedSender<ObjectRef<ComposioOrganization>>,
    /// At claims.
    pub claims: UnboundedSender<ObjectRef<PartialObjectMeta<Secret>>>,
}

/// See the module.
pub struct Context {
    /// Client of the API server.
    pub client: Client,
    /// The operator's own namespace.
    pub namespace: String,
    /// The ledger in it.
    pub ledger: Ledger,
    /// State of the organizations.
    pub organizations: Organizations,
    /// Bounds of the safety protocols.
    pub limits: Limits,
    /// Whether this process leads.
    pub lead: Lead,
    /// Longest time between two looks at anything.
    pub observe_interval: Duration,
    /// Labels of the namespaces.
    pub namespaces: Namespaces,
    /// Distance between two sweeps over an organization's list.
    pub sweep_interval: Duration,
    /// Which organizations are in use.
    pub in_use: InUse,
    /// Deletions within the hour.
    pub brake: Brake,
    /// First sights of what is announced.
    pub sightings: Sightings,
    /// Looks at the settings.
    pub looks: Looks,
    /// Projects that were not found.
    pub absences: Absences,
    /// Keys that were rejected.
    pub key_suspicions: KeySuspicions,
    /// Keys that are being replaced.
    pub gaps: Gaps,
    /// Claims whose answer is awaited.
    pub in_flight: InFlight,
    /// Resources that wait for a claim.
    pub waiters: Waiters,
    /// Published Secrets, as far as the watch on them needs to know.
    pub publications: Publications,
    /// How long a Secret stays after `spec.secret.name` has changed.
    pub superseded_retention: Duration,
    /// Failures in a row.
    pub failures: Failures,
    /// Ends looks that nobody waits for, at shutdown.
    pub stop: CancellationToken,
    /// Calls with their claim writes: awaited at shutdown, never cancelled.
    pub tasks: TaskTracker,
    /// Asks for looks.
    pub wake: Wake,
    /// Events.
    pub events: Events,
    /// Metrics of passes.
    pub metrics: ReconcileMetrics,
    /// Metrics of calls.
    pub call_metrics: CallMetrics,
    /// Cache of the claims that are not settled; set once, when its watch is made.
    pub claims: OnceLock<Store<PartialObjectMeta<Secret>>>,
}

impl Context {
    /// Nothing is begun and nothing is written by a process that does not lead any more; only the answers that it waits
    /// for are put into their claims.
    pub fn leads(&self) -> Result<(), Failure> {
        if self.lead.is_held() { Ok(()) } else { Err(Failure::conflict("another process leads now")) }
    }

    /// The claims that are not settled, as far as the watch knows.
    pub fn unsettled_claims(&self) -> Vec<Arc<PartialObjectMeta<Secret>>> {
        self.claims.get().map(Store::state).unwrap_or_default()
    }

    /// An organization for which calls may be made.
    pub fn organization(&self, name: &str) -> Result<Arc<Organization>, Failure> {
        match self.organizations.get(name) {
            Some(State::Ready(organization)) => Ok(organization),
            // It was ready a moment ago.
            _ => Err(not_ready(String::new(), None)),
        }
    }

    /// Asks for a look at a project.
    pub fn wake_project(&self, namespace: &str, name: &str) {
        // The receiver lives as long as the process.
        let _ = self.wake.projects.send(ObjectRef::new(name).within(namespace));
    }

    /// Asks for a look at an organization.
    pub fn wake_organization(&self, name: &str) {
        // The receiver lives as long as the process.
        let _ = self.wake.organizations.send(ObjectRef::new(name).within(&self.namespace));
    }

    /// Asks for a look at every organization.
    pub fn wake_organizations(&self) {
        self.organizations.names().iter().for_each(|name| self.wake_organization(name));
    }

    /// Whether a claim's owner still exists, by UID. A namespace that this process may not read counts as yes.
    pub async fn is_held(&self, owner: &Owner) -> Result<bool, Failure> {
        let api: Api<ComposioProject> = Api::namespaced(self.client.clone(), &owner.namespace);
        match api.get_opt(&owner.name).await {
            Ok(found) => Ok(found.is_some_and(|found| found.uid().as_ref() == Some(&owner.uid))),
            Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(true),
            Err(error) => Err(failure("reading the claim's owner", &error)),
        }
    }

    /// Whether a claim's project is gone, by two witnesses of the organization that the claim belongs to.
    pub async fn is_gone(&self, organization: &Organization, claim: &Claim) -> Result<bool, Failure> {
        let id = claim.project_id().ok_or_else(|| Failure::bug("a claim without its project"))?;
        let is_gone = organization.is_gone(id).await;
        match is_gone.map_err(|error| self.call_failure(organization, error))? {
            true if !organization.proves_absence(claim) => Err(Failure::transient(NO_PROOF)),
            is_gone => Ok(is_gone),
        }
    }

    /// What a call with the organization's key that brought nothing means for the pass that made it, and, where the key
    /// was refused, for everybody else: the breaker opens and the organization is probed.
    pub fn call_failure(&self, organization: &Organization, error: CallError) -> Failure {
        let refusal = match &error {
            CallError::Credential(CredentialProblem::Address, _) => Some(Reason::AddressNotAllowed),
            // The scope of a project's key says nothing of the organization's.
            CallError::Credential(CredentialProblem::Scope, _) => None,
            CallError::Credential(..) | CallError::Forbidden(_) => Some(Reason::KeyInvalid),
            _ => None,
        };
        if let Some(reason) = refusal {
            self.organizations.open_breaker(organization, reason, &error.to_string());
            self.wake_organization(&organization.name);
            return not_ready(error.to_string(), None);
        }
        match error {
            CallError::Throttled(retry_after) => {
                Failure { reason: Reason::Throttled, ..not_ready(String::new(), retry_after) }
            }
            CallError::Rejected(words) => Failure::terminal(Reason::SpecRejected, words),
            error => Failure::transient(error.to_string()),
        }
    }

    /// A number in 0..1 that differs from call to call, for spreading.
    pub fn spread() -> f64 {
        let mut random = [0; 4];
        // Without randomness everything comes at the same moment, which is no fault.
        let _ = getrandom::fill(&mut random);
        f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX)
    }

    /// `time`, shortened by up to a fifth, so that not everything comes at the same moment.
    pub fn jittered(time: Duration) -> Duration {
        time.mul_f64(1.0 - 0.2 * Self::spread())
    }
}
