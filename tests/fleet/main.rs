//! Scenarios of the fleet: one sweep for everybody, what it finds, what it must not believe, and what it costs.
#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod asked;
mod counts;
mod missing;
mod quiet;
mod scene;
mod shared;
mod vanished;
