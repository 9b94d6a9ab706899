//! The end of a project, by each policy and in every hard case: one sentence per test.
#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod policies;
