//! What this process knows of each organization: whether calls may be made, with which client and key. Written by the
//! organization's reconcile, read by the projects'.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::composio::{BootInstant, Client};
use crate::domain::ids::OrganizationId;
use crate::domain::key::ApiKey;
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::world::{Capability, OrganizationFacts, OrganizationView};

/// How long a settings endpoint that is gone is not tried again.
const REPROBE: Duration = Duration::from_hours(6);

/// An organization for which calls may be made.
pub struct Organization {
    /// Name of the ComposioOrganization.
    pub name: String,
    /// `spec.projectNameTemplate` or its default.
    pub template: String,
    /// `spec.projectDefaults.settings`.
    pub defaults: Settings,
    /// Client of its endpoint.
    pub client: Client,
    /// Its key.
    pub key: ApiKey,
    /// Its id at Composio, once known.
    pub id: Option<OrganizationId>,
    /// Whether its settings endpoint answers; shared by all values of one organization.
    pub settings_endpoint: Arc<SettingsEndpoint>,
}

/// Whether a settings endpoint answers, and since when that is known.
#[derive(Default)]
pub struct SettingsEndpoint(Mutex<Option<(Capability, BootInstant)>>);

impl SettingsEndpoint {
    /// What is known; nothing after six hours of absence, so that it is tried again.
    pub fn get(&self) -> Capability {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((Capability::Unavailable, since)) if since.elapsed() > REPROBE => Capability::Unknown,
            Some((capability, _)) => capability,
            None => Capability::Unknown,
        }
    }

    /// Notes what a call has shown.
    pub fn set(&self, capability: Capability) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((capability, BootInstant::now()));
    }
}

/// State of one ComposioOrganization.
#[derive(Clone)]
pub enum State {
    /// Calls may be made.
    Ready(Arc<Organization>),
    /// No calls; why.
    NotReady(Reason),
}

/// A key that Composio refused during ordinary work, until a probe or a new key says otherwise.
struct Breaker {
    key: ApiKey,
    in_a_row: u32,
    closed_until: Option<Instant>,
}

/// All organizations of this process.
#[derive(Default)]
pub struct Organizations {
    states: RwLock<HashMap<String, State>>,
    breakers: Mutex<HashMap<String, Breaker>>,
}

impl Organizations {
    /// The state; `None` where there is no such ComposioOrganization.
    pub fn get(&self, name: &str) -> Option<State> {
        self.states.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Takes a new state over; returns whether calls have become possible.
    pub fn set(&self, name: &str, state: State) -> bool {
        let is_ready = matches!(state, State::Ready(_));
        let mut states = self.states.write().unwrap_or_else(PoisonError::into_inner);
        let before = states.insert(name.to_owned(), state);
        is_ready && !matches!(before, Some(State::Ready(_)))
    }

    /// Forgets a ComposioOrganization that was deleted.
    pub fn remove(&self, name: &str) {
        self.states.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// For a decision on a project.
    pub fn view(&self, name: &str) -> OrganizationView {
        let organization = match self.get(name) {
            None => return OrganizationView::NotFound,
            Some(State::NotReady(reason)) => return OrganizationView::NotReady(reason.text().to_owned()),
            Some(State::Ready(organization)) => organization,
        };
        if let Some(left) = organization.client.paused_for() {
            return OrganizationView::Paused(left);
        }
        OrganizationView::Ready(OrganizationFacts {
            id: organization.id.clone(),
            template: organization.template.clone(),
            defaults: organization.defaults.clone(),
            settings_endpoint: organization.settings_endpoint.get(),
            base_url: organization.client.base_url().to_owned(),
        })
    }

    /// Composio refused the key during ordinary work: nobody calls until the organization's reconcile has probed, with
    /// growing distance.
    pub fn open_breaker(&self, organization: &Organization, reason: Reason) {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Breaker { key: organization.key.clone(), in_a_row: 0, closed_until: None };
        let breaker = breakers.entry(organization.name.clone()).or_insert_with(fresh);
        // Many calls may fail at once; they count once.
        if breaker.closed_until.is_none_or(|until| until <= Instant::now()) {
            breaker.in_a_row += 1;
            let distance = Duration::from_secs(1 << breaker.in_a_row.min(8)).min(Duration::from_mins(5));
            breaker.closed_until = Some(Instant::now() + distance);
        }
        drop(breakers);
        self.set(&organization.name, State::NotReady(reason));
    }

    /// How long the breaker forbids even a probe with this key; a new key is probed at once.
    pub fn breaker_left(&self, name: &str, key: &ApiKey) -> Option<Duration> {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        if breakers.get(name).is_some_and(|breaker| !breaker.key.is(key)) {
            breakers.remove(name);
        }
        let until = breakers.get(name)?.closed_until?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// A mutation has succeeded: the key is good for what it is needed for.
    pub fn close_breaker(&self, name: &str) {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
