//! Complete walks over an organization's list, shared: whoever needs one says from when on it must have begun, and all who
//! need one at the same time get the same. What follows from a list is decided elsewhere.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, Shared};

use super::organizations::Organization;
use crate::composio::{BootInstant, Client, Listing};
use crate::domain::answer::CallError;
use crate::domain::budget::Lane;
use crate::domain::ids::ProjectId;
use crate::domain::key::ApiKey;

/// How long a list is kept for those who come a little later and whom it still serves.
const KEPT: Duration = Duration::from_secs(30);

/// How a walk ended.
type Outcome = Result<Arc<Listing>, CallError>;

/// The walks of one organization with one key; clones share them.
#[derive(Clone, Default)]
pub struct Walks(Arc<Mutex<State>>);

/// At most one walk at a time in each lane, so that nobody waits for one that the budget lets through later.
#[derive(Default)]
struct State {
    urgent: Option<Walk>,
    work: Option<Walk>,
    observe: Option<Walk>,
    kept: Option<Arc<Listing>>,
}

/// A walk that waits for the one before it, or is under way.
#[derive(Clone)]
struct Walk {
    begun: Arc<OnceLock<BootInstant>>,
    outcome: Shared<BoxFuture<'static, Outcome>>,
}

impl State {
    fn lane(&mut self, lane: Lane) -> &mut Option<Walk> {
        match lane {
            Lane::Urgent => &mut self.urgent,
            Lane::Work => &mut self.work,
            Lane::Observe => &mut self.observe,
        }
    }
}

impl Walks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of a walk that was begun at `since` or later. One that was begun earlier does not count, the next one
    /// does. An error is for all who wait for that walk; whoever asks afterwards causes another.
    pub async fn listed(&self, client: &Client, key: &ApiKey, since: BootInstant) -> Outcome {
        let outcome = {
            let mut state = self.state();
            if let Some(kept) = state.kept.as_ref().filter(|kept| kept.begun >= since) {
                return Ok(kept.clone());
            }
            let lane = state.lane(client.lane());
            let before = lane.take();
            let serves = |walk: &Walk| walk.begun.get().is_none_or(|begun| *begun >= since);
            let walk = match before {
                Some(walk) if serves(&walk) => walk,
                before => self.after(before, client, key),
            };
            lane.insert(walk).outcome.clone()
        };
        outcome.await
    }

    /// A walk after the one that is under way. In a task of its own: who waits for it may be cut off.
    fn after(&self, before: Option<Walk>, client: &Client, key: &ApiKey) -> Walk {
        let (walks, client, key) = (self.clone(), client.clone(), key.clone());
        let begun = Arc::new(OnceLock::new());
        let now = begun.clone();
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // Whatever it has shown.
                let _ = before.outcome.await;
            }
            now.get_or_init(BootInstant::now);
            let outcome = client.list_projects(&key).await.map(Arc::new);
            walks.ended(client.lane(), &now, &outcome);
            outcome
        });
        let stopped = |_| Err(CallError::NotSent("the walk over the list was stopped".to_owned()));
        Walk { begun, outcome: task.map(move |ended| ended.unwrap_or_else(stopped)).boxed().shared() }
    }

    fn ended(&self, lane: Lane, begun: &Arc<OnceLock<BootInstant>>, outcome: &Outcome) {
        let mut state = self.state();
        if state.lane(lane).as_ref().is_some_and(|walk| Arc::ptr_eq(&walk.begun, begun)) {
            *state.lane(lane) = None;
        }
        let Ok(listing) = outcome else { return };
        state.kept = Some(listing.clone());
        let (walks, listing) = (self.clone(), Arc::downgrade(listing));
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            let mut state = walks.state();
            if state.kept.as_ref().is_some_and(|kept| Arc::as_ptr(kept) == listing.as_ptr()) {
                state.kept = None;
            }
        });
    }
}

impl Organization {
    /// A complete list of this very organization, from a walk that was begun at `since` or later.
    pub async fn listed(&self, since: BootInstant) -> Outcome {
        self.listed_by(&self.client, since).await
    }

    /// The same with the client of another lane.
    pub async fn listed_by(&self, client: &Client, since: BootInstant) -> Outcome {
        let listing = self.walks.listed(client, &self.key, since).await?;
        match (&listing.organization_id, &self.id) {
            (Some(shown), Some(known)) if shown != known => {
                Err(CallError::NotSent(format!("the list is {shown}'s, not {known}'s")))
            }
            _ => Ok(listing),
        }
    }

    /// Whether a project is gone by two witnesses, the read by id and the whole list: one alone may be behind, or may not
    /// be the API's own.
    pub async fn is_gone(&self, id: &ProjectId) -> Result<bool, CallError> {
        if self.client.read_project(&self.key, id).await?.is_some() {
            return Ok(false);
        }
        Ok(!self.listed(BootInstant::now()).await?.contains(id))
    }
}
