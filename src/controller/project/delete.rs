//! The driver of a ComposioProject that is being deleted: looks, lets [`leave`] decide, does one thing, and looks again.
//! It needs no valid spec, no namespace permission and creates nothing in the resource's namespace.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, CustomResourceExt, ResourceExt};
use serde_json::Value;
use tracing::info;

use super::gather::Facts;
use super::settle::{Settlement, detached};
use crate::composio::{Announced, BootInstant};
use crate::controller::api_error::failure;
use crate::controller::context::Context;
use crate::controller::organizations::Organization;
use crate::controller::{evidence, finalizer};
use crate::crd::ComposioProject;
use crate::domain::answer::CallError;
use crate::domain::brake::Permit;
use crate::domain::budget::Lane;
use crate::domain::claim::{Claim, DeletionOutcome, Origin, Purpose, Record};
use crate::domain::evidence::Settling;
use crate::domain::failure::{Class, Failure};
use crate::domain::ids::{ProjectId, ProjectName, claim_name};
use crate::domain::plan::{LeaveStep, Leaving, OrphanSeen, Reach, Step, WATCHED, is_deletion_open, leave};
use crate::domain::reason::Reason;
use crate::domain::world::{ClaimView, DeletionPolicy};

/// Most steps of one pass: the longest way has about eight.
const MOST_STEPS: usize = 12;

/// Distance to the next look where Composio has taken a deletion in and still shows the project.
const SENT: Duration = Duration::from_secs(5);

/// The resource as it is now, read without its schema, so that one which this release cannot read can be deleted too.
struct Subject {
    object: ComposioProject,
    policy: DeletionPolicy,
    organization: String,
    known_id: Option<ProjectId>,
    known_name: Option<ProjectName>,
}

/// What this pass has seen and done.
#[derive(Default)]
struct Done {
    seen: OrphanSeen,
    is_settled: bool,
    has_sent: bool,
}

/// One pass; `facts` keeps what the report needs.
pub(super) async fn pass(
    context: &Context,
    object: &ComposioProject,
    facts: &mut Facts,
) -> Result<Step, Failure> {
    let mut done = Done::default();
    for _ in 0..MOST_STEPS {
        context.leads()?;
        let Some(subject) = subject(context, object).await? else { return Ok(Step::Ignore) };
        facts.object = Some(subject.object.clone());
        let uid = subject.object.uid().unwrap_or_default();
        let claim = claim_of(context, &subject).await?;
        let (name, known_id) = match &claim {
            ClaimView::Present(record) => (record.claim.organization().to_owned(), record.claim.project_id()),
            ClaimView::Absent | ClaimView::Unreadable(_) => {
                (subject.organization.clone(), subject.known_id.as_ref())
            }
        };
        let (reach, organization) = context.organizations.for_deletion(&name, &uid);
        let record = present(&claim);
        let begun = BootInstant::now();
        let settling = settling(context, organization.as_deref(), record);
        let step = leave(&Leaving {
            policy: subject.policy,
            claim: &claim,
            known_id: subject.known_id.as_ref().filter(|_| !done.is_settled),
            is_settled_elsewhere: is_settled_elsewhere(context, record, known_id).await?,
            is_in_flight: record.is_some_and(|record| context.in_flight.contains(&record.claim.name())),
            reach: &reach,
            settling: &settling,
            seen: &done.seen,
        });
        let step = step.map_err(|illegal| Failure::bug(illegal.to_string()))?;
        let step = if context.organizations.is_stopped(&name) { unwritten(step, &reach) } else { step };
        let work = Work { context, organization, subject: &subject, record, begun, settling };
        let end = match work.execute(step, &mut done).await {
            Err(failure) if failure.reason == Reason::Throttled => Some(work.throttled()),
            end => end?,
        };
        if let Some(end) = end {
            return Ok(end);
        }
    }
    Err(Failure::transient("there was always something left to do"))
}

/// While nobody knows whose the ledger is, it is not written either.
fn unwritten(step: LeaveStep, reach: &Reach) -> LeaveStep {
    match (step, reach) {
        (LeaveStep::RemoveClaim | LeaveStep::Bury | LeaveStep::Write(_), Reach::Blocked(why)) => {
            LeaveStep::Stall(Reason::DeletionBlocked, why.clone())
        }
        (LeaveStep::RemoveClaim | LeaveStep::Bury | LeaveStep::Write(_), _) => {
            LeaveStep::Wait(Reason::Deleting, String::new(), WATCHED)
        }
        (step, _) => step,
    }
}

fn present(claim: &ClaimView) -> Option<&Record> {
    match claim {
        ClaimView::Present(record) => Some(record),
        ClaimView::Absent | ClaimView::Unreadable(_) => None,
    }
}

/// Reads the resource live; `None` where there is nothing of ours to do for it.
async fn subject(context: &Context, object: &ComposioProject) -> Result<Option<Subject>, Failure> {
    let resource = ComposioProject::api_resource();
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &resource);
    let found =
        api.get_opt(&object.name_any()).await.map_err(|error| failure("reading the resource", &error))?;
    let is_leaving = |found: &DynamicObject| {
        found.uid() == object.uid() && found.metadata.deletion_timestamp.is_some() && finalizer::has(found)
    };
    let Some(found) = found.filter(is_leaving) else { return Ok(None) };
    let text = |pointer: &str| found.data.pointer(pointer).and_then(Value::as_str).map(ToOwned::to_owned);
    let policy = match text("/spec/deletionPolicy").as_deref() {
        Some("Delete") => DeletionPolicy::Delete,
        Some("DeleteAndRevoke") => DeletionPolicy::DeleteAndRevoke,
        // What a later release means by another word is not known here, and nothing is destroyed by guessing.
        _ => DeletionPolicy::Retain,
    };
    let is_in_force = policy == DeletionPolicy::Retain || !is_definition_going(context, &resource).await?;
    Ok(Some(Subject {
        policy: if is_in_force { policy } else { DeletionPolicy::Retain },
        organization: text("/spec/organizationRef/name").unwrap_or_else(|| "default".to_owned()),
        known_id: text("/status/project/id").and_then(|id| ProjectId::try_from(id).ok()),
        known_name: text("/status/project/name").and_then(|name| ProjectName::try_from(name).ok()),
        object: ComposioProject { metadata: found.metadata.clone(), ..object.clone() },
    }))
}

/// Whether the CustomResourceDefinition itself is being deleted, which would delete every project. Without the right to
/// look at it, what everybody may see tells: a definition that is going does not offer `create` any more.
async fn is_definition_going(context: &Context, resource: &ApiResource) -> Result<bool, Failure> {
    let api: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    match api.get_metadata_opt(&format!("{}.{}", resource.plural, resource.group)).await {
        Ok(found) => Ok(found.is_none_or(|found| found.metadata.deletion_timestamp.is_some())),
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            let served = context.client.list_api_group_resources(&resource.api_version).await;
            let served = served.map_err(|error| failure("reading what the API server offers", &error))?;
            let mut offered = served.resources.iter().filter(|offer| offer.name == resource.plural);
            Ok(!offered.any(|offer| offer.verbs.iter().any(|verb| verb == "create")))
        }
        Err(error) => Err(failure("reading the CustomResourceDefinition", &error)),
    }
}

/// The claim whose owner the resource is. Where to look first, the status says; whose a claim is, only the claim says.
async fn claim_of(context: &Context, subject: &Subject) -> Result<ClaimView, Failure> {
    let uid = subject.object.uid().unwrap_or_default();
    let read = |error: kube::Error| failure("reading the claim", &error);
    if let Some(name) = &subject.known_name {
        let claim = context.ledger.get(&claim_name(&subject.organization, name)).await.map_err(read)?;
        if present(&claim).is_some_and(|record| record.claim.owner().uid == uid) {
            return Ok(claim);
        }
    }
    let namespace = subject.object.namespace().unwrap_or_default();
    match context.ledger.owned_by(&namespace, &uid).await.map_err(read)? {
        Some(name) => context.ledger.get(&name).await.map_err(read),
        None => Ok(ClaimView::Absent),
    }
}

fn settling(context: &Context, organization: Option<&Organization>, record: Option<&Record>) -> Settling {
    let (now, settle) = (
        organization.map_or_else(jiff::Timestamp::now, |known| known.client.server_now()),
        context.limits.settle(),
    );
    match record {
        Some(record) => context.sightings.settling(record, now, settle),
        None => Settling { now, settle, seen_for: std::time::Duration::ZERO, nothing_for: None },
    }
}

/// Whether another claim or a tombstone has the project. An id from our own answer cannot be in another claim.
async fn is_settled_elsewhere(
    context: &Context,
    record: Option<&Record>,
    id: Option<&ProjectId>,
) -> Result<bool, Failure> {
    let Some(id) = id else { return Ok(false) };
    let read = |error: kube::Error| failure("reading the ledger", &error);
    match record {
        Some(record) if record.claim.origin() == Some(Origin::Created) => Ok(false),
        Some(record) => context.ledger.is_claimed(id, &record.claim.name()).await.map_err(read),
        None => Ok(context.ledger.is_buried(id).await.map_err(read)?
            || context.ledger.is_claimed(id, "").await.map_err(read)?),
    }
}

struct Work<'a> {
    context: &'a Context,
    organization: Option<Arc<Organization>>,
    subject: &'a Subject,
    record: Option<&'a Record>,
    /// When `settling` was taken, which dates the announcement: from here the gate counts.
    begun: BootInstant,
    settling: Settling,
}

impl Work<'_> {
    /// Carries one step out; returns how the pass ends, if it does.
    async fn execute(&self, step: LeaveStep, done: &mut Done) -> Result<Option<Step>, Failure> {
        let ledger = &self.context.ledger;
        let writing = |error: kube::Error| failure("writing the claim", &error);
        match step {
            LeaveStep::Release => return self.release().await.map(Some),
            LeaveStep::Wait(Reason::Throttled, ..) => return Ok(Some(self.throttled())),
            LeaveStep::Wait(reason, detail, after) => return Ok(Some(Step::Wait(reason, detail, after))),
            LeaveStep::Stall(reason, detail) => return Ok(Some(Step::Stall(reason, detail))),
            LeaveStep::RemoveClaim => {
                ledger.remove(self.record()?).await.map_err(writing)?;
                *done = Done { is_settled: true, ..Done::default() };
            }
            LeaveStep::Bury => {
                ledger.bury(self.record()?, self.settling.now).await.map_err(writing)?;
                *done = Done { is_settled: true, ..Done::default() };
                info!(project.id = ?self.record()?.claim.project_id(), "the project is deleted");
            }
            LeaveStep::Write(claim) => {
                let record = self.record()?;
                ledger.update(record, &claim, record.key.as_ref()).await.map_err(writing)?;
                done.seen = OrphanSeen::default();
            }
            LeaveStep::ReadEvidence => {
                let organization = self.organization()?;
                let found = evidence::walk(self.context, organization, self.record()?).await;
                done.seen.evidence = Some(found.map_err(|error| self.failure(error))?);
            }
            LeaveStep::ReadProject(id) => done.seen.exists = Some(self.exists(&id).await?),
            // Sent once in this pass, and its project is still shown: Composio is given time.
            LeaveStep::Delete(_) if done.has_sent => {
                return Ok(Some(Step::Wait(Reason::Deleting, String::new(), SENT)));
            }
            LeaveStep::Delete(claim) => {
                if let Some(held) = self.brake(&claim).await? {
                    return Ok(Some(held));
                }
                let (budget, uid) = (self.organization()?.client.budget(), self.subject.object.uid());
                let Ok(permit) = budget.permit(Lane::Urgent, &uid.unwrap_or_default()).await else {
                    return Ok(Some(self.throttled()));
                };
                *done = Done { has_sent: true, ..Done::default() };
                let is_earlier_open = is_deletion_open(&self.record()?.claim, &self.settling);
                let deleted = self.delete(&claim, Announced::new(self.begun, permit)).await;
                let is_undone = |failure: &Failure| {
                    let is_definite =
                        failure.class == Class::Conflict || failure.reason == Reason::DeletionBlocked;
                    is_definite && !is_earlier_open
                };
                if deleted.as_ref().is_err_and(is_undone) {
                    let id = claim.project_id().map(ProjectId::as_str).unwrap_or_default();
                    self.context.give_back(claim.organization(), id);
                }
                deleted?;
            }
        }
        Ok(None)
    }

    fn record(&self) -> Result<&Record, Failure> {
        self.record.ok_or_else(|| Failure::bug("a step without its claim"))
    }

    fn organization(&self) -> Result<&Arc<Organization>, Failure> {
        self.organization.as_ref().ok_or_else(|| Failure::bug("a call without its organization"))
    }

    fn failure(&self, error: CallError) -> Failure {
        match &self.organization {
            Some(organization) => self.context.call_failure(organization, error),
            None => Failure::transient(error.to_string()),
        }
    }

    /// How the pass ends where the budget has no room: the resource waits behind those who wait already.
    fn throttled(&self) -> Step {
        let uid = self.subject.object.uid().unwrap_or_default();
        let wait = |known: &Arc<Organization>| known.client.budget().wait(Lane::Urgent, &uid);
        Step::Wait(Reason::Throttled, String::new(), self.organization.as_ref().map_or(SENT, wait))
    }

    /// How the pass ends where the organization has deleted too many projects lately.
    async fn brake(&self, claim: &Claim) -> Result<Option<Step>, Failure> {
        let organization = self.organization()?;
        let (uid, id) = (self.subject.object.uid().unwrap_or_default(), claim.project_id());
        let id = id.ok_or_else(|| Failure::bug("a deletion without a project"))?;
        Ok(match self.context.may_delete(organization, &uid, id.as_str()).await? {
            Permit::Granted => None,
            Permit::Held(left) => {
                let detail = format!("organization {:?}", organization.name);
                Some(Step::Wait(Reason::DeletionHeld, detail, left.clamp(Duration::from_secs(1), WATCHED)))
            }
        })
    }

    /// Lets the resource go. What is retained must not go with it.
    async fn release(&self) -> Result<Step, Failure> {
        let client = &self.context.client;
        if self.subject.policy == DeletionPolicy::Retain {
            finalizer::disown(client, &self.subject.object).await?;
        }
        finalizer::remove(client, &self.subject.object).await?;
        let uid = self.subject.object.uid().unwrap_or_default();
        let name =
            self.record.map_or(self.subject.organization.as_str(), |record| record.claim.organization());
        self.context.withdraw(name, &uid);
        self.context.wake_if_ending(name);
        Ok(Step::Ignore)
    }

    /// Composio's word that the project is deleted is one witness, and the read by id the other; without that word it
    /// takes the list as well.
    async fn exists(&self, id: &ProjectId) -> Result<bool, Failure> {
        let organization = self.organization()?;
        let Organization { client, key, .. } = &**organization;
        let exists = match self.record.map(|record| &record.claim) {
            Some(claim) if claim.deletion().is_some_and(|deletion| deletion.receipt.is_some()) => {
                client.read_project(key, id).await.map(|found| found.is_some())
            }
            Some(claim) => return Ok(!self.context.is_gone(organization, claim).await?),
            None => organization.is_gone(id).await.map(|is_gone| !is_gone),
        };
        exists.map_err(|error| self.failure(error))
    }

    /// Claim, a live look whether the policy is still in force, call, claim.
    async fn delete(&self, claim: &Claim, begun: Announced) -> Result<(), Failure> {
        let record = self.record()?;
        let is_open = is_deletion_open(&record.claim, &self.settling);
        self.context.leads()?;
        let announced = self.context.ledger.update(record, claim, record.key.as_ref()).await;
        let announced = announced.map_err(|error| failure("writing the claim", &error))?;
        self.context.sightings.settling(&announced, self.settling.now, self.settling.settle);
        let id = claim.project_id().cloned().ok_or_else(|| Failure::bug("a claim without its project"))?;
        let revoke = claim.deletion().is_some_and(|open| open.purpose == Purpose::DeleteAndRevoke);
        let settlement = Settlement {
            ledger: self.context.ledger.clone(),
            budgets: self.context.organizations.budgets.clone(),
            organization: self.organization()?.clone(),
            announced,
            attempt: 0,
            settle: self.settling.settle,
        };
        let now = subject(self.context, &self.subject.object).await?;
        if now.is_none_or(|now| now.policy != self.subject.policy) {
            settlement.deletion_undone(is_open).await;
            return Err(Failure::conflict("the policy is not in force any more"));
        }
        let send = async move {
            let Organization { client, key, .. } = &*settlement.organization;
            let result = client.delete_project(key, begun, &id, revoke).await;
            match &result {
                Ok(receipt) => settlement.deletion_answered(DeletionOutcome::Done(receipt.clone())).await,
                // Not by itself a proof: the look that follows tells.
                Err(CallError::NotFound(_)) => {}
                Err(error) if error.is_definite() => {
                    settlement.deletion_undone(is_open).await;
                }
                Err(_) => {}
            }
            result.err()
        };
        match detached(self.context, claim.name(), send).await? {
            None | Some(CallError::NotFound(_)) => Ok(()),
            Some(CallError::Forbidden(words) | CallError::Rejected(words)) => {
                Err(Failure::terminal(Reason::DeletionBlocked, format!("Composio refuses: {words}")))
            }
            Some(error) => Err(self.failure(error)),
        }
    }
}
