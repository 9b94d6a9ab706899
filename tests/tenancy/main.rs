//! What a hostile tenant can write, with a tenant's real rights in a namespace of its own: whatever it is, the operator
//! makes no call for it, leaves the projects, claims and Secrets of others as they are byte by byte, and tells nothing
//! about them. One sentence per test.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where something is not as expected, in the functions that tests share too"
)]

mod adoption;
mod deletion;
mod names;
mod namespaces;
mod scene;
mod scope;
mod secrets;
mod spec;
mod status;
