//! The sweep: one walk over an organization's list per interval, for everybody. It counts, it raises the suspicion that
//! projects are missing, and it is the organization's probe. What the list means is `domain::fleet`'s, what was shown is
//! remembered in `fleet`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::PartialObjectMeta;
use tracing::{Instrument, info, info_span, warn};

use super::api_error::failure;
use super::cached::CachedProject;
use super::context::Context;
use super::fleet::{Fleet, Sweep};
use super::guard::guarded;
use super::ledger::{
    CLAIMS, ORGANIZATION_LABEL, OWNER_NAME_ANNOTATION, OWNER_NAMESPACE_LABEL, OWNER_UID_ANNOTATION,
    PHASE_LABEL, PROJECT_ID_ANNOTATION,
};
use super::organizations::{Organization, State};
use crate::composio::BootInstant;
use crate::crd::{ComposioOrganization, ComposioOrganizationStatus, ProjectCounts, UnmanagedStatus};
use crate::domain::budget::Lane;
use crate::domain::claim::Phase;
use crate::domain::failure::Failure;
use crate::domain::fleet::{Absent, Claimed, Counts, Listed, Mark, Owner, Unmanaged, compare, withheld};
use crate::domain::ids::{OrganizationId, ProjectId};
use crate::domain::reason::Reason;

/// Longest time of one sweep. One that hangs, or panics, must not be the last.
const SWEEP_DEADLINE: Duration = Duration::from_hours(6);
/// Most characters of a name that is repeated in status; Composio's own limit is lower, but other people's may be anything.
const LONGEST_NAME: usize = 128;

/// The UIDs of the resources that exist, and which of them are reported missing.
type Owners = HashMap<Mark, bool>;

/// Starts a sweep if one is due or asked for; returns the time to the next look at that.
pub(super) fn keep_sweeping(
    context: &Arc<Context>,
    object: &ComposioOrganization,
    organization: &Arc<Organization>,
) -> Duration {
    if object.metadata.deletion_timestamp.is_some() {
        return context.observe_interval;
    }
    let (fleet, distance) = (&organization.fleet, context.limits.settle() / 8);
    if context.in_use.all().is_none() {
        return distance;
    }
    let due = due(context, object, fleet);
    match fleet.starts_in(due, distance) {
        // Its end wakes the organization.
        None => context.observe_interval,
        Some(left) if left.is_zero() => {
            fleet.begin();
            let span = info_span!("sweep", object.name = organization.name);
            tokio::spawn(run(context.clone(), organization.clone()).instrument(span));
            context.observe_interval
        }
        Some(left) => left,
    }
}

/// Time until the next sweep is due: the interval after the last one, shortened by up to a tenth, which the UID decides. The
/// first one comes soon after the organization.
fn due(context: &Context, object: &ComposioOrganization, fleet: &Fleet) -> Duration {
    let interval = context.sweep_interval;
    let spread = Mark::of(&object.uid().unwrap_or_default()).fraction();
    let distance = interval.mul_f64(1.0 - spread / 10.0);
    let stated = object.status.as_ref().and_then(|status| status.last_sweep_time.as_ref());
    // What the clock of another process or machine has said may be in the future: it was before this process knew of it.
    let passed = |since: Option<&Time>| {
        let since = since.map_or(Timestamp::UNIX_EPOCH, |since| since.0);
        Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default().max(fleet.age())
    };
    let (passed, distance) = match (fleet.latest(), stated) {
        (Some(latest), _) => (latest.begun.elapsed(), distance),
        (None, Some(stated)) => (passed(Some(stated)), distance),
        (None, None) => (passed(object.creation_timestamp().as_ref()), interval / 10),
    };
    distance.saturating_sub(passed)
}

impl Context {
    /// A sweep has asked for everybody within the interval, so that no probe is needed. An empty list has not shown whose it
    /// is, which the first project does.
    pub(super) fn is_swept(&self, name: &str) -> bool {
        let longest = self.sweep_interval.mul_f64(1.2);
        let last = self.organizations.last(name);
        last.is_some_and(|known| known.id.is_some() && known.fleet.vouches(longest))
    }

    /// The organization as it is now, if calls may still be made with the key that it was swept with.
    fn still(&self, swept: &Organization) -> Option<Arc<Organization>> {
        match self.organizations.get(&swept.name) {
            Some(State::Ready(now)) if Arc::ptr_eq(&now.fleet, &swept.fleet) => Some(now),
            _ => None,
        }
    }

    /// The status `before`, with what the last sweep has shown.
    pub(super) fn swept_status(
        &self,
        name: &str,
        before: &ComposioOrganizationStatus,
    ) -> ComposioOrganizationStatus {
        let Some(sweep) = self.organizations.last(name).and_then(|known| known.fleet.latest()) else {
            return before.clone();
        };
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let Counts { managed, retained, unmanaged } = sweep.counts;
        let (managed, retained, unmanaged) = (count(managed), count(retained), count(unmanaged));
        let named = |project: &Unmanaged| UnmanagedStatus {
            id: project.id.to_string(),
            name: project.name.chars().take(LONGEST_NAME).collect(),
        };
        ComposioOrganizationStatus {
            projects: Some(ProjectCounts { managed, retained, unmanaged }),
            newest_unmanaged: sweep.newest.iter().map(named).collect(),
            last_sweep_time: Some(Time(sweep.time)),
            ..before.clone()
        }
    }
}

async fn run(context: Arc<Context>, organization: Arc<Organization>) {
    let (name, fleet, started) = (&organization.name, &organization.fleet, Instant::now());
    let swept = guarded(SWEEP_DEADLINE, sweep(&context, &organization));
    let swept = context.stop.run_until_cancelled(swept).await;
    let Some(swept) = swept else { return };
    context.metrics.swept(swept.is_ok(), started.elapsed());
    let sweep = match swept {
        Ok(sweep) => Some(Arc::new(sweep)),
        Err(failure) => {
            warn!(error = %failure, "the sweep has failed");
            None
        }
    };
    let waiting = fleet.ended(sweep.clone());
    if let Some(sweep) = &sweep {
        context.absences.swept(sweep.begun, |id| sweep.living.binary_search(&Mark::of(id.as_str())).is_ok());
        let is_judged =
            |(id, absent): &(&ProjectId, &Absent)| !absent.is_reported && !sweep.withheld.contains(*id);
        context.suspect(sweep, is_judged);
    }
    for waiting in waiting {
        context.wake_project(waiting.namespace.as_deref().unwrap_or_default(), &waiting.name);
    }
    context.wake_organization(name);
}

impl Context {
    /// Has resources look for their projects, which a sweep has not listed.
    pub(super) fn suspect(&self, sweep: &Sweep, is_judged: impl Fn(&(&ProjectId, &Absent)) -> bool) {
        for (id, absent) in sweep.absent.iter().filter(is_judged) {
            self.absences.suspect(id, sweep.begun);
            self.wake_project(&absent.namespace, &absent.name);
        }
    }

    fn owners(&self) -> Result<Owners, Failure> {
        let objects =
            self.in_use.all().ok_or_else(|| Failure::transient("the resources are not known yet"))?;
        let owner = |object: Arc<CachedProject>| {
            let (_, reason) = object.readiness();
            let is_reported = reason == Some(Reason::ProjectMissing);
            Some((Mark::of(object.uid()?.as_str()), is_reported))
        };
        Ok(objects.filter_map(owner).collect())
    }
}

/// Claims, then the list, then what is absent once more in the claims.
async fn sweep(context: &Arc<Context>, organization: &Arc<Organization>) -> Result<Sweep, Failure> {
    let (begun, time) = (BootInstant::now(), Timestamp::now());
    let owners = context.owners()?;
    let reading = |error: kube::Error| failure("reading the claims", &error);
    let mut claims = Vec::new();
    let read =
        context.ledger.each(CLAIMS, |claim| claims.extend(claimed(context, organization, &owners, claim)));
    read.await.map_err(reading)?;
    let marks: HashSet<Mark> = claims.iter().map(|claim: &Claimed| claim.project).collect();
    context.absences.keep(|id| marks.contains(&Mark::of(id.as_str())));
    drop(marks);
    let (asked, of) = (context.clone(), organization.clone());
    let client = organization.client.in_lane(Lane::Observe).only_while(move || asked.still(&of).is_some());
    let listing = organization.listed_by(&client, BootInstant::now()).await;
    let listing = listing.map_err(|error| context.call_failure(organization, error))?;
    // The first project may have shown the id meanwhile.
    let id = still_id(context, organization)?;
    let is_shown = listing.organization_id.is_some() && listing.organization_id == id;
    if !is_shown && claims.iter().any(|claim| claim.is_of_organization) {
        return Err(Failure::transient("the list has not shown whose it is, so that it proves nothing"));
    }
    let listed = listing.living().iter();
    let listed = listed.map(|project| Listed {
        id: &project.id,
        name: &project.name,
        created_time: project.created_at,
    });
    let settle = SignedDuration::try_from(context.limits.settle()).unwrap_or_default();
    let young = listing.begun_time.checked_sub(settle).unwrap_or(Timestamp::UNIX_EPOCH);
    let census = compare(&claims, listed, young);
    drop(claims);
    let absent = context.still_absent(organization, &owners, &census.absent).await.map_err(reading)?;
    still_id(context, organization)?;
    let confirmed = context.confirmed_vanished(&organization.name, &absent).await?;
    let withheld = withheld(&absent, census.counts.managed, &confirmed);
    if !absent.is_empty() {
        info!(absent = absent.len(), withheld = withheld.len(), "projects are not in the list");
    }
    context.metrics.sweep_calls(listing.pages);
    Ok(Sweep {
        begun,
        time,
        counts: census.counts,
        newest: census.newest,
        living: census.living,
        absent,
        withheld,
    })
}

/// The id that the key has shown by now. A list of an organization that was suspended or stopped during the walk, or has
/// another key, decides nothing.
fn still_id(context: &Context, swept: &Organization) -> Result<Option<OrganizationId>, Failure> {
    let still =
        context.still(swept).ok_or_else(|| Failure::transient("the organization has changed meanwhile"))?;
    Ok(still.id.clone())
}

/// A claim with a project, as a judgement wants it.
fn claimed(
    context: &Context,
    organization: &Organization,
    owners: &Owners,
    claim: &PartialObjectMeta<Secret>,
) -> Option<Claimed> {
    let project = Mark::of(claim.annotations().get(PROJECT_ID_ANNOTATION)?);
    let (labels, deleting) = (claim.labels(), format!("{:?}", Phase::Deleting));
    let is_watched =
        labels.get(OWNER_NAMESPACE_LABEL).is_some_and(|namespace| context.in_use.watches(namespace));
    let exists =
        claim.annotations().get(OWNER_UID_ANNOTATION).is_some_and(|uid| owners.contains_key(&Mark::of(uid)));
    let owner = match exists {
        _ if !is_watched => Owner::Unjudged,
        true if labels.get(PHASE_LABEL) == Some(&deleting) => Owner::Unjudged,
        // A list may be behind, and must not make ten new projects look like ten that have vanished.
        true if age(claim) < context.limits.settle() => Owner::Unjudged,
        true => Owner::Exists,
        false => Owner::Gone,
    };
    let is_of_organization = labels.get(ORGANIZATION_LABEL) == Some(&organization.name);
    Some(Claimed { project, is_of_organization, owner })
}

fn age(claim: &PartialObjectMeta<Secret>) -> Duration {
    let born = claim.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |born| born.0);
    Duration::try_from(Timestamp::now().duration_since(born)).unwrap_or_default()
}

impl Context {
    /// The claims that still have one of these projects: during the walk some may have been deleted in good order.
    async fn still_absent(
        &self,
        organization: &Organization,
        owners: &Owners,
        absent: &BTreeSet<Mark>,
    ) -> Result<BTreeMap<ProjectId, Absent>, kube::Error> {
        let mut found = BTreeMap::new();
        if absent.is_empty() {
            return Ok(found);
        }
        let still = |claim: &PartialObjectMeta<Secret>| {
            let known = claimed(self, organization, owners, claim)?;
            let is_absent = absent.contains(&known.project) && known.owner == Owner::Exists;
            let (labels, annotations) = (claim.labels(), claim.annotations());
            let id = ProjectId::try_from(annotations.get(PROJECT_ID_ANNOTATION)?.clone()).ok();
            let is_reported = *owners.get(&Mark::of(annotations.get(OWNER_UID_ANNOTATION)?))?;
            let namespace = labels.get(OWNER_NAMESPACE_LABEL)?.clone();
            let name = annotations.get(OWNER_NAME_ANNOTATION)?.clone();
            Some((id?, Absent { namespace, name, is_reported }))
                .filter(|_| is_absent && known.is_of_organization)
        };
        self.ledger.each(CLAIMS, |claim| found.extend(still(claim))).await?;
        Ok(found)
    }

    /// Which of the absent projects an administrator has confirmed. Those that have come back have to be confirmed again.
    async fn confirmed_vanished(
        &self,
        name: &str,
        absent: &BTreeMap<ProjectId, Absent>,
    ) -> Result<BTreeSet<ProjectId>, Failure> {
        let known = self.ledger.header().await?.header.organization(name).cloned().unwrap_or_default();
        if known.confirmed_vanished.iter().all(|id| absent.contains_key(id)) {
            return Ok(known.confirmed_vanished);
        }
        self.leads()?;
        let keep = |id: &ProjectId| absent.contains_key(id);
        let written =
            self.ledger.change_header(|header| header.organization_mut(name).confirmed_vanished.retain(keep));
        Ok(written.await?.header.organization(name).cloned().unwrap_or_default().confirmed_vanished)
    }
}
