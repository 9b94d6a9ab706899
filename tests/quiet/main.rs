//! Quiet: what a converged fleet and a restart must not do. Counted, never timed: writes at a proxy in front of the API
//! server, calls in the emulator's journal, passes in the operator's metrics.
#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod converged;
mod restart;
mod scene;
