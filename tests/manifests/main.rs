//! Manifests as users meet them, against a real API server: which are refused at apply and with which words, which are
//! accepted, and what `kubectl` tells about them. The controller does not run here.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as expected, in the functions that tests share too"
)]

mod accepted;
mod changes;
mod cluster;
mod earlier;
mod examples;
mod generated;
mod kubectl;
mod refused;
mod schema;
