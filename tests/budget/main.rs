//! The organization's budget: the ceiling, who goes first, yielding to others, the breaker, what is visible of it. One
//! sentence per test. Times are those of the emulator's journal: what must not be sent earlier, or more of within a minute.
#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod breaker;
mod ceiling;
mod scene;
mod shared;
mod visible;
