//! The handle by which test code steers and observes the emulator. Everything is synchronous and can be called from any thread.
//!
//! A method that is given an unknown organization or project panics: the test is wrong and must stop there.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::exchange::Shared;
use super::faults::{Fault, FaultRule};
use super::gates::Gate;
use super::journal::{Entry, Operation};
use super::modes::{Modes, OrganizationOptions, View};
use super::snapshot::{Organization, OrganizationSummary, ProjectState, ThirdPartyProject};
use super::state::{KeyState, Lie, OrganizationState, Project};

/// Steers and observes an [`Emulator`](super::Emulator). Clones are the same handle.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl fmt::Debug for Control {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Control").finish_non_exhaustive()
    }
}

/// Organizations.
impl Control {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Makes an organization with one key.
    ///
    /// # Panics
    ///
    /// The id is in use.
    pub fn add_organization(&self, options: OrganizationOptions) -> Organization {
        let name = options.name.clone();
        let (id, key) =
            known(self.shared.lock().add_organization(options), "a free organization id, not", &name);
        Organization { id, name, key }
    }

    /// All organizations, in order of their ids.
    pub fn organizations(&self) -> Vec<OrganizationSummary> {
        self.shared.lock().summaries()
    }

    /// The switches of an organization.
    pub fn modes(&self, organization: &str) -> Modes {
        self.organization(organization, |known| known.modes.clone())
    }

    /// Turns switches of an organization; takes effect with the next request.
    pub fn set_modes(&self, organization: &str, change: impl FnOnce(&mut Modes)) {
        self.organization(organization, |known| change(&mut known.modes));
    }

    /// Lists show the state of now until `list_view` is changed again.
    pub fn freeze_list(&self, organization: &str) {
        self.organization(organization, |known| {
            known.modes.list_view = View::FrozenAt(known.commits);
        });
    }

    /// Gives an organization one more key.
    pub fn add_organization_key(&self, organization: &str) -> String {
        self.organization(organization, OrganizationState::add_key)
    }

    /// Ends an organization key. False: there is no such living key.
    pub fn revoke_organization_key(&self, key: &str) -> bool {
        self.shared.lock().revoke_organization_key(key)
    }

    /// Other traffic: takes so many requests out of the budget of the window.
    pub fn burn_budget(&self, organization: &str, requests: u32) {
        self.organization(organization, |known| known.burn(requests));
    }

    /// Begins a new window.
    pub fn reset_budget(&self, organization: &str) {
        self.organization(organization, |known| known.budget.reset());
    }

    fn organization<T>(&self, id: &str, with: impl FnOnce(&mut OrganizationState) -> T) -> T {
        known(self.shared.lock().organizations.get_mut(id).map(with), "a known organization, not", id)
    }
}

/// What third parties do, and what there is. None of this appears in the journal: only requests do.
impl Control {
    /// Somebody else makes a project.
    pub fn create_project(&self, organization: &str, project: ThirdPartyProject) -> ProjectState {
        known(
            self.shared.lock().third_party_creates(organization, project),
            "a known organization, not",
            organization,
        )
    }

    /// Somebody else deletes a project. False: it was deleted before, or never there.
    pub fn delete_project(&self, project_id: &str) -> bool {
        let state = &mut *self.shared.lock();
        state.find(project_id).is_some_and(|place| state.end_project(place, false))
    }

    /// Somebody else revokes all keys of a project; gives how many there were.
    pub fn revoke_project_keys(&self, project_id: &str) -> usize {
        self.project_mut(project_id, |project| project.keys.drain(..).count())
    }

    /// Somebody makes one more key in the dashboard; gives it.
    pub fn add_project_key(&self, project_id: &str) -> String {
        known(self.shared.lock().add_project_key(project_id), "a live project, not", project_id)
    }

    /// Changes what a project key may do. False: there is no such living key.
    pub fn set_key_state(&self, key: &str, state: KeyState) -> bool {
        self.shared.lock().key_mut(key).map(|key| key.state = state).is_some()
    }

    /// Somebody changes a setting in the dashboard; `null` unsets it. The value is not checked.
    pub fn set_setting(&self, project_id: &str, member: &str, value: Value) {
        self.project_mut(project_id, |project| project.set_setting(member, value));
    }

    /// Somebody subscribes to triggers of the project, now.
    pub fn subscribe(&self, project_id: &str) {
        let subscribed = self.shared.lock().subscribe(project_id);
        known(subscribed.then_some(()), "a known project, not", project_id);
    }

    /// One witness lies about a project until [`tell_the_truth`](Self::tell_the_truth).
    pub fn lie(&self, project_id: &str, lie: Lie) {
        self.project_mut(project_id, |project| project.lies.insert(lie));
    }

    /// No witness lies about a project any more.
    pub fn tell_the_truth(&self, project_id: &str) {
        self.project_mut(project_id, |project| project.lies.clear());
    }

    /// The live projects of an organization, oldest first.
    pub fn projects(&self, organization: &str) -> Vec<ProjectState> {
        self.shared.lock().project_states(organization, false)
    }

    /// All projects of an organization, deleted ones too, oldest first.
    pub fn all_projects(&self, organization: &str) -> Vec<ProjectState> {
        self.shared.lock().project_states(organization, true)
    }

    /// A project, also a deleted one.
    pub fn project(&self, project_id: &str) -> Option<ProjectState> {
        let state = &*self.shared.lock();
        state.find(project_id).map(|place| ProjectState::from(&state.projects[place]))
    }

    /// The id of the project that a key opens, if it opens one now.
    pub fn project_of_key(&self, key: &str) -> Option<String> {
        let state = &mut *self.shared.lock();
        let lives = state.key_mut(key).is_some_and(|key| key.state == KeyState::Live);
        let place = state.project_of_key(key).filter(|_| lives)?;
        Some(state.projects[place].id.clone())
    }

    fn project_mut<T>(&self, id: &str, with: impl FnOnce(&mut Project) -> T) -> T {
        known(self.shared.lock().find_mut(id).map(with), "a known project, not", id)
    }
}

/// Faults.
impl Control {
    /// Puts a rule in force, after all that are; gives its number.
    pub fn inject(&self, rule: FaultRule) -> u64 {
        if let Some(id) = &rule.organization {
            self.organization(id, |_| ());
        }
        self.shared.lock().rules.add(rule)
    }

    /// The next `times` requests of one operation in one organization fail in this way.
    pub fn fault(&self, organization: &str, operation: Operation, fault: Fault, times: u32) -> u64 {
        self.inject(FaultRule::new(fault).organization(organization).operation(operation).times(times))
    }

    /// Whether a rule is in force: not taken back, and not used up.
    pub fn is_in_force(&self, id: u64) -> bool {
        self.shared.lock().rules.active().iter().any(|active| active.id == id)
    }

    /// Takes a rule back. False: it is used up or was never there.
    pub fn clear_fault(&self, id: u64) -> bool {
        self.shared.lock().rules.retain(|active| active.id != id) > 0
    }

    /// Takes back all rules of one organization.
    pub fn clear_faults(&self, organization: &str) {
        let of_others = |rule: &FaultRule| rule.organization.as_deref() != Some(organization);
        self.shared.lock().rules.retain(|active| of_others(&active.rule));
    }

    /// How many rules of one organization are not used up.
    pub fn faults_left(&self, organization: &str) -> usize {
        let of_it = |rule: &FaultRule| rule.organization.as_deref() == Some(organization);
        self.shared.lock().rules.active().iter().filter(|active| of_it(&active.rule)).count()
    }

    /// The gate of this name, made closed at first use.
    pub fn gate(&self, name: &str) -> Gate {
        self.shared.lock().gates.named(name)
    }
}

/// The journal.
impl Control {
    /// All entries since the last clearing, oldest first.
    pub fn journal(&self) -> Vec<Entry> {
        self.journal_since(0)
    }

    /// A place in the journal: the number of the youngest request.
    pub fn mark(&self) -> u64 {
        self.shared.lock().journal.mark()
    }

    /// The entries of requests that arrived after a mark.
    pub fn journal_since(&self, mark: u64) -> Vec<Entry> {
        self.shared.lock().journal.since(mark).to_vec()
    }

    /// Forgets all entries. Other tests that share the emulator lose theirs too; prefer a [`mark`](Self::mark).
    pub fn clear_journal(&self) {
        self.shared.lock().journal.clear();
    }

    /// Requests of one operation, whatever their outcome.
    pub fn count(&self, organization: &str, operation: Operation) -> usize {
        self.count_since(0, organization, operation)
    }

    /// Requests of one operation after a mark.
    pub fn count_since(&self, mark: u64, organization: &str, operation: Operation) -> usize {
        self.tally(mark, organization, operation, |_| true)
    }

    /// Requests of one operation that changed the state.
    pub fn committed(&self, organization: &str, operation: Operation) -> usize {
        self.committed_since(0, organization, operation)
    }

    /// Requests of one operation after a mark that changed the state.
    pub fn committed_since(&self, mark: u64, organization: &str, operation: Operation) -> usize {
        self.tally(mark, organization, operation, |entry| entry.committed)
    }

    /// The requests of an organization that changed the state, in order of their effects.
    pub fn effects(&self, organization: &str) -> Vec<Entry> {
        let of_it = |entry: &&Entry| entry.committed && entry.organization.as_deref() == Some(organization);
        let mut effects: Vec<Entry> =
            self.shared.lock().journal.since(0).iter().filter(of_it).cloned().collect();
        effects.sort_by_key(|entry| entry.commit);
        effects
    }

    /// Requests to no route of the API: followed redirects, wrong paths. A good client makes none.
    pub fn unknown_routes(&self) -> usize {
        self.shared.lock().journal.since(0).iter().filter(|entry| entry.operation.is_none()).count()
    }

    fn tally(
        &self,
        mark: u64,
        organization: &str,
        operation: Operation,
        also: impl Fn(&Entry) -> bool,
    ) -> usize {
        let shared = self.shared.lock();
        let of_it = |entry: &&Entry| {
            entry.organization.as_deref() == Some(organization)
                && entry.operation == Some(operation)
                && also(entry)
        };
        shared.journal.since(mark).iter().filter(of_it).count()
    }
}

#[expect(clippy::panic, reason = "a test that names something unknown is wrong and must stop there")]
#[track_caller]
fn known<T>(found: Option<T>, wanted: &str, given: &str) -> T {
    found.unwrap_or_else(|| panic!("the emulator needs {wanted} {given}"))
}
