//! Organizations: whose they are, a ledger that was moved, their end, the brake on deletions, `release`. One sentence per
//! test.
#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod brake;
mod endpoint;
mod in_use;
mod mismatch;
mod moved;
mod namespaced;
mod release;
mod scene;
mod selector;
