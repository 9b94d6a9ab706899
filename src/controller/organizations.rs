//! What this process knows of each organization: whether calls may be made, with which client and key. Written by the
//! organization's reconcile, read by the projects'. Which ComposioOrganizations there are, only their watch knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::reflector::Store;

use super::budgets::Budgets;
use super::capabilities::Capabilities;
use super::fleet::Fleet;
use super::walks::Walks;
use crate::composio::Client;
use crate::crd::{ComposioOrganization, NamespaceSelectorSpec, RECONCILE_ANNOTATION};
use crate::domain::budget::Lane;
use crate::domain::claim::Claim;
use crate::domain::ids::OrganizationId;
use crate::domain::key::ApiKey;
use crate::domain::plan::Reach;
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::takeover::Permits;
use crate::domain::world::{Capability, OrganizationFacts, OrganizationView};

/// An organization for which calls may be made.
#[derive(Clone)]
pub struct Organization {
    /// Name of the ComposioOrganization.
    pub name: String,
    /// `spec.projectNameTemplate` or its default.
    pub template: String,
    /// `spec.projectDefaults.settings`.
    pub defaults: Settings,
    /// `spec.grants` and `spec.adoption`.
    pub permits: Permits,
    /// `spec.namespaceSelector`; which namespaces are meant is decided by the object's own.
    pub selector: Option<NamespaceSelectorSpec>,
    /// Client of its endpoint.
    pub client: Client,
    /// Its key.
    pub key: ApiKey,
    /// Its id at Composio, once this key has shown it.
    pub id: Option<OrganizationId>,
    /// It is not known to be another organization: this key has shown the pinned id, or none is pinned. Without that,
    /// what is not there proves nothing.
    pub is_identified: bool,
    /// `spec.limits.deletionsPerHour`; zero is no limit.
    pub deletions_per_hour: u32,
    /// What it can do; shared by all values of one ComposioOrganization.
    pub capabilities: Arc<Capabilities>,
    /// How far two reads of one project's settings are apart; grows with the number of its projects.
    pub settings_interval: Duration,
    /// Walks over its list with this key; shared by all values with it.
    pub walks: Walks,
    /// What sweeps with this key have shown; shared likewise.
    pub fleet: Arc<Fleet>,
}

impl Organization {
    /// Whether it proves anything about a claim's project that this key does not find it: with another organization's key
    /// all witnesses agree, and are wrong.
    pub fn proves_absence(&self, claim: &Claim) -> bool {
        let (known, shown) = (claim.organization_id(), self.id.as_ref());
        self.is_identified && known.is_none_or(|known| Some(known) == shown)
    }
}

/// State of one ComposioOrganization.
#[derive(Clone)]
pub enum State {
    /// Calls may be made.
    Ready(Arc<Organization>),
    /// No calls; why.
    NotReady(Reason),
    /// Its key has not been proven yet.
    Unproven,
}

struct Known {
    /// UID of the ComposioOrganization: one that was made again is another.
    uid: String,
    state: State,
    /// As it was when calls were possible last.
    last: Option<Arc<Organization>>,
}

/// For the deletion of the resource of this UID.
fn open(organization: &Organization, waiter: &str) -> (Reach, Option<Arc<Organization>>) {
    if !organization.is_identified {
        let why = "its key has not shown yet that it belongs to the organization";
        return (Reach::Waiting(format!("organization {:?}: {why}", organization.name)), None);
    }
    let urgent = Organization { client: organization.client.in_lane(Lane::Urgent), ..organization.clone() };
    let room = urgent.client.budget().room(waiter);
    (room.urgent.map_or(Reach::Open, Reach::Paused), Some(Arc::new(urgent)))
}

/// Takes a new state over; returns whether its projects should look again.
fn set(all: &mut HashMap<String, Known>, name: &str, uid: String, state: State) -> bool {
    // What a pass of one that was deleted meanwhile has left says nothing about the one that was made again.
    let before = all.remove(name).filter(|known| known.uid == uid);
    let changes = match (&state, before.as_ref().map(|known| &known.state)) {
        (State::Ready(now), Some(State::Ready(before))) => {
            let all = |known: &Organization| {
                (known.id.clone(), known.is_identified, known.deletions_per_hour, known.permits.clone())
            };
            (&now.defaults, &now.selector, now.client.base_url(), all(now))
                != (&before.defaults, &before.selector, before.client.base_url(), all(before))
        }
        (State::Ready(_), _) => true,
        _ => false,
    };
    let last = match &state {
        State::Ready(now) => Some(now.clone()),
        _ => before.and_then(|known| known.last),
    };
    all.insert(name.to_owned(), Known { uid, state, last });
    changes
}

/// What a person can ask for: the spec's generation, and the value of the annotation.
type Asked = (Option<i64>, Option<String>);

fn asked_of(object: &ComposioOrganization) -> Asked {
    (object.metadata.generation, object.annotations().get(RECONCILE_ANNOTATION).cloned())
}

/// All organizations of this process.
#[derive(Default)]
pub struct Organizations {
    known: RwLock<HashMap<String, Known>>,
    /// Budget and breaker of each.
    pub budgets: Budgets,
    /// By UID: generation and request of the last probe.
    asked: Mutex<HashMap<String, Asked>>,
    objects: OnceLock<Store<ComposioOrganization>>,
}

impl Organizations {
    /// With budgets that somebody else looks at as well.
    pub fn new(budgets: Budgets) -> Self {
        Self { budgets, ..Self::default() }
    }

    /// Takes the cache of the watch over; once, before anybody asks.
    pub fn watched(&self, objects: Store<ComposioOrganization>) {
        let _ = self.objects.set(objects);
    }

    /// The ComposioOrganization itself, whatever its state.
    pub fn object(&self, name: &str) -> Option<Arc<ComposioOrganization>> {
        self.objects.get()?.find(|object| object.name_any() == name)
    }

    /// The state; `None` where there is no such ComposioOrganization.
    pub fn get(&self, name: &str) -> Option<State> {
        let object = self.object(name)?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(name).filter(|known| object.uid().as_ref() == Some(&known.uid));
        Some(known.map_or(State::Unproven, |known| match &known.state {
            // From the last failure on, and not only when its reconcile has looked.
            State::Ready(organization) if organization.client.budget().has_lost_contact() => {
                State::NotReady(Reason::EndpointUnreachable)
            }
            state => state.clone(),
        }))
    }

    /// Whether no probe was sent yet with this spec and this request for a look.
    pub fn is_asked(&self, object: &ComposioOrganization) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get(&object.uid().unwrap_or_default()) != Some(&asked_of(object))
    }

    /// A probe is sent, and what a person has asked for is done.
    pub fn probed(&self, object: &ComposioOrganization) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(object.uid().unwrap_or_default(), asked_of(object));
    }

    /// What the deletion of the resource of this UID may do. A missing key Secret does not stop them as long as this process remembers the key: it often
    /// goes together with the projects.
    pub fn for_deletion(&self, name: &str, waiter: &str) -> (Reach, Option<Arc<Organization>>) {
        let blocked = |why: &str| (Reach::Blocked(format!("organization {name:?}: {why}")), None);
        match self.get(name) {
            None => blocked(Reason::OrganizationNotFound.text()),
            Some(State::Unproven) => (Reach::Waiting(String::new()), None),
            Some(State::Ready(organization)) => open(&organization, waiter),
            Some(State::NotReady(reason)) => match self.last(name) {
                Some(last) if reason == Reason::KeySecretMissing => {
                    match self.budgets.breaker(name, &last.key) {
                        // Composio has refused the remembered key as well.
                        Some((refusal, ..)) => blocked(refusal.text()),
                        None => open(&last, waiter),
                    }
                }
                _ if reason.stalls() || reason == Reason::Suspended => blocked(reason.text()),
                _ => (Reach::Waiting(format!("organization {name:?}: {}", reason.text())), None),
            },
        }
    }

    /// Names of all ComposioOrganizations.
    pub fn names(&self) -> Vec<String> {
        self.objects
            .get()
            .map(Store::state)
            .unwrap_or_default()
            .iter()
            .map(|known| known.name_any())
            .collect()
    }

    /// Whether it is being deleted.
    pub fn is_ending(&self, name: &str) -> bool {
        self.object(name).is_some_and(|object| object.metadata.deletion_timestamp.is_some())
    }

    /// Whether not even the operator's own records may be settled: nobody knows yet whose they are.
    pub fn is_stopped(&self, name: &str) -> bool {
        let stops = |reason| matches!(reason, Reason::LedgerMoved | Reason::OrganizationMismatch);
        match self.get(name) {
            Some(State::Unproven) => true,
            Some(State::NotReady(reason)) => stops(reason),
            Some(State::Ready(_)) | None => false,
        }
    }

    /// The name of one that stands for `id` and is older than `object`, by time and then by UID. `names` have shown the id;
    /// those whose spec states it have not, as long as the organization has no project.
    pub fn elder(
        &self,
        object: &ComposioOrganization,
        id: &OrganizationId,
        names: &[&str],
    ) -> Option<String> {
        let age =
            |object: &ComposioOrganization| (object.creation_timestamp().map(|born| born.0), object.uid());
        let objects = self.objects.get().map(Store::state).unwrap_or_default();
        let is_elder = |other: &&Arc<ComposioOrganization>| {
            let name = other.name_any();
            let states_it = other.spec.organization_id.as_deref() == Some(id.as_str());
            let stands_for_it = states_it || names.contains(&name.as_str());
            name != object.name_any() && stands_for_it && age(other) < age(object)
        };
        objects.iter().find(is_elder).map(|elder| elder.name_any())
    }

    /// As the organization was when calls were possible last.
    pub fn last(&self, name: &str) -> Option<Arc<Organization>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(name)?.last.clone()
    }

    /// Whether the settings endpoint answers, as far as this process knows or the status of an earlier one says.
    pub fn settings_endpoint(&self, name: &str) -> Capability {
        if let Some(last) = self.last(name) {
            return last.capabilities.settings.get();
        }
        let object = self.object(name);
        let status = object.as_ref().and_then(|object| object.status.as_ref()?.capabilities.as_ref());
        Capabilities::hinted(status).settings.get()
    }

    /// Calls may not be made.
    pub fn refuse(&self, name: &str, uid: String, reason: Reason) {
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        set(&mut all, name, uid, State::NotReady(reason));
    }

    /// Calls may be made; returns whether its projects should look again: they have become possible, or what applies to
    /// them has changed. Only an answer of Composio, `is_proven`, overrules what work has met since the pass began: without
    /// one, `None` means that calls are not possible any more.
    pub fn accept(&self, uid: String, organization: Arc<Organization>, is_proven: bool) -> Option<bool> {
        let (name, budget) = (organization.name.clone(), organization.client.budget().clone());
        let was_lost = is_proven && budget.contact_restored();
        if is_proven {
            self.budgets.shut_breaker(&name);
        }
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let is_ready = |known: &Known| known.uid == uid && matches!(known.state, State::Ready(_));
        let is_ready = all.get(&name).is_some_and(is_ready);
        if !is_proven && (!is_ready || budget.has_lost_contact()) {
            return None;
        }
        Some(set(&mut all, &name, uid, State::Ready(organization)) || was_lost)
    }

    /// Forgets a ComposioOrganization that was deleted.
    pub fn remove(&self, name: &str) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.budgets.remove(name);
    }

    /// For a decision on the project of the resource of this UID.
    pub fn view(&self, name: &str, waiter: &str) -> OrganizationView {
        match self.get(name) {
            None => OrganizationView::NotFound,
            Some(State::Unproven) => OrganizationView::NotReady("its key has not been proven yet".to_owned()),
            Some(State::NotReady(reason)) => OrganizationView::NotReady(reason.text().to_owned()),
            Some(State::Ready(_)) if self.is_ending(name) => {
                OrganizationView::NotReady("it is being deleted".to_owned())
            }
            Some(State::Ready(organization)) => OrganizationView::Ready(OrganizationFacts {
                id: organization.id.clone(),
                template: organization.template.clone(),
                defaults: organization.defaults.clone(),
                permits: organization.permits.clone(),
                settings_endpoint: organization.capabilities.settings.get(),
                regenerate_key: organization.capabilities.regenerate_key.get(),
                base_url: organization.client.base_url().to_owned(),
                room: organization.client.budget().room(waiter),
            }),
        }
    }

    /// Composio refused the key during ordinary work: nobody calls until the organization's reconcile has probed, with
    /// growing distance. A late refusal of a key that was replaced changes nothing.
    pub fn open_breaker(&self, organization: &Organization, reason: Reason, words: &str) {
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = all.get_mut(&organization.name) else { return };
        if known.last.as_ref().is_none_or(|last| !last.key.is(&organization.key)) {
            return;
        }
        known.state = State::NotReady(reason);
        drop(all);
        self.budgets.open_breaker(&organization.name, &organization.key, reason, words);
    }
}
