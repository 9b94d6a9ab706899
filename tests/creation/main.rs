//! Scenarios of creation on a real control plane and the emulator: one sentence per test.
#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod answers;
mod cost;
mod identity;
mod keys;
mod organizations;
mod settings;
