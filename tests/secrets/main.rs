//! Scenarios of the published Secret on a real control plane and the emulator: one sentence per test. The matrix of
//! docs/behaviour.md names them.
#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod proven;
mod published;
mod renamed;
mod restored;
mod scene;
