//! The map of composio-operator. Floors, from the ground up; an upper floor may use a lower one, never the reverse
//! (`tests/architecture.rs` checks it):
//!
//! | Floor | What lives there |
//! | --- | --- |
//! | [`domain`] | pure decisions: names, keys, the claim and its legal transitions, what to do next |
//! | [`crd`] | the schema types that users write |
//! | [`composio`] | the typed client of the Composio API |
//! | [`controller`] | the Kubernetes side: gather, execute, report; the ledger and the published Secrets |
//! | [`process`] | settings, logs, metrics, probes, shutdown |

pub mod composio;
pub mod controller;
pub mod crd;
pub mod domain;
pub mod process;
