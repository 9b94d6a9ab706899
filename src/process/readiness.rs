//! Readiness as a set of named gates; `/readyz` names those that are closed.

use std::sync::{Arc, Mutex, PoisonError};

/// What must have happened before the operator counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Both CustomResourceDefinitions are established.
    CrdsEstablished,
    /// The ledger of the operator's namespace is open.
    LedgerOpen,
    /// All watches have their first list.
    CachesSynced,
}

const ALL: [(Gate, &str); 3] = [
    (Gate::CrdsEstablished, "crds-established"),
    (Gate::LedgerOpen, "ledger-open"),
    (Gate::CachesSynced, "caches-synced"),
];

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Vec<Gate>>>);

impl Readiness {
    /// This has happened.
    pub fn open(&self, gate: Gate) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(gate);
    }

    /// Names of the gates that are closed.
    pub fn closed(&self) -> Vec<&'static str> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ALL.iter().filter(|(gate, _)| !open.contains(gate)).map(|(_, name)| *name).collect()
    }
}
