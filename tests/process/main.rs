//! The real binary as a process: killed, stopped and shut down at exact points, its command line, its probes.
//!
//! What a running operator does to resources is tested in process, in `creation`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where something is not as expected, in the functions that tests share too"
)]

mod command_line;
mod creation;
mod deletion;
mod frozen;
mod openmetrics;
mod probes;
mod recovery;
mod scene;
mod shutdown;
mod unlucky;
mod writes;
