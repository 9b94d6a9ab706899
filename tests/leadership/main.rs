//! Several replicas of the real binary: which of them works, what the others do meanwhile, and that no change of the lead
//! doubles a project or loses an answer. The laws behind it are in `domain::lease`.
#![expect(
    clippy::expect_used,
    reason = "a test ends where something is not as expected, in the functions that tests share too"
)]

mod handover;
mod lease;
mod load;
mod stage;
mod stopped;
