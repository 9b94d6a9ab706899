//! Readiness as a set of named gates; `/readyz` names those that are closed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What must have happened before the operator counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Both CustomResourceDefinitions are established.
    CrdsEstablished,
    /// The Lease has been looked at, so that this process may lead one day; without leader election, once the definitions
    /// are established.
    LeaseObserved,
    /// The ledger of the operator's namespace is open.
    LedgerOpen,
    /// All watches have their first list.
    CachesSynced,
}

const ALL: [(Gate, &str); 4] = [
    (Gate::CrdsEstablished, "crds-established"),
    (Gate::LeaseObserved, "lease-observed"),
    (Gate::LedgerOpen, "ledger-open"),
    (Gate::CachesSynced, "caches-synced"),
];

/// What a standby can have done: the rest is for the one that leads, and a rollout must not wait for it.
const OF_STANDBY: [Gate; 2] = [Gate::CrdsEstablished, Gate::LeaseObserved];

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    open: Vec<Gate>,
    is_standby: bool,
}

impl Readiness {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This has happened.
    pub fn open(&self, gate: Gate) {
        let mut state = self.state();
        if !state.open.contains(&gate) {
            state.open.push(gate);
        }
    }

    /// Whether this process waits for the lead.
    pub fn stand_by(&self, is_standby: bool) {
        self.state().is_standby = is_standby;
    }

    /// Names of the gates that are closed and count.
    pub fn closed(&self) -> Vec<&'static str> {
        let State { open, is_standby } = &*self.state();
        let counts = |gate: &Gate| !is_standby || OF_STANDBY.contains(gate);
        ALL.iter().filter(|(gate, _)| !open.contains(gate) && counts(gate)).map(|(_, name)| *name).collect()
    }
}
