//! What has happened so far, in numbers; shared by everybody who makes things happen.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Steps,
    Kills,
    Stops,
    Restarts,
    SelfEnded,
    ConnectionCuts,
    ServerRestarts,
    Behind,
    Made,
    Edits,
    Deleted,
    SecretsTouched,
    StatusWiped,
    KeysRevoked,
    NamespacesDeleted,
    NamespacesMade,
}

/// How many [`Count`]s there are.
const COUNTS: usize = 16;

/// All counts.
#[derive(Debug, Default)]
pub(super) struct Tally([AtomicU64; COUNTS]);

impl Tally {
    /// One more.
    pub(super) fn add(&self, count: Count) {
        self.0[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub(super) fn get(&self, count: Count) -> u64 {
        self.0[count as usize].load(Ordering::Relaxed)
    }
}
