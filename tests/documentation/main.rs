//! Documentation that cannot rot: tables are compared with what the code says, links with what they lead to, and names with
//! what is called so. `UPDATE_DOCS=1 cargo test --test documentation` writes the tables anew.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a document that cannot be read fails its test, with the reason"
)]

mod behaviour;
mod commands;
mod defaults;
mod links;
mod metrics;
mod names;
mod reasons;
mod reference;
mod resources;
mod tables;
