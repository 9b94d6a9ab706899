//! The chart, judged by the real helm and the real API server: what it renders, and what an installation, an upgrade and the
//! end of one come to.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as expected, in the functions that tests share too"
)]

mod alerts;
mod dashboard;
mod install;
mod pods;
mod policies;
mod policy;
mod render;
mod restrained;
mod schemas;
mod served;
