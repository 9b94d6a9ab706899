//! An emulator of the Composio API: organizations, projects, settings and keys, in memory, over HTTP on a loopback port.
//!
//! Written from the contract (`API n` cites its section n), above all section 15, and never from the types of a client.
//! It serves operations 1 to 7 of API 4 and `GET /toolkits/categories` for `/api/v3` and `/api/v3.1`.
//!
//! Where it is stricter than the service is known to be: more than one credential in a request is refused (400), as are
//! bodies without `Content-Type: application/json`. Where it is nastier: a request has its effect also after the caller has
//! gone; [`Modes`], [`Lie`]s and [`Fault`]s make it fail in every way that the contract leaves possible.
//!
//! Test code steers it with [`Control`]. The same by HTTP, for people and other languages: see `GET /_emulator`.
//! Those routes give full keys and need no credential; they are for tests, on a loopback address.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use testbed::emulator::{Emulator, Fault, Operation, Options, OrganizationOptions, Point};
//!
//! let emulator = Emulator::start(Options::default()).await?;
//! let control = emulator.control();
//! let acme = control.add_organization(OrganizationOptions::named("acme"));
//! control.fault(&acme.id, Operation::Create, Fault::Cut { point: Point::AfterCommit }, 1);
//! // ... let a client with `acme.key` create a project at `emulator.url()`; it sees a cut connection ...
//! assert_eq!(control.committed(&acme.id, Operation::Create), 1);
//! # Ok(())
//! # }
//! ```

mod admin;
mod answer;
mod auth;
mod budget;
mod control;
mod errors;
mod exchange;
mod faults;
mod gates;
mod identifiers;
mod journal;
mod modes;
mod operations;
mod routes;
mod server;
mod settings;
mod snapshot;
mod state;

pub use control::Control;
pub use faults::{Fault, FaultRule, LateAnswer, Point, Which};
pub use gates::Gate;
pub(crate) use identifiers::redact;
pub use identifiers::{KEY_MARKER, ORG_KEY_MARKER};
pub use journal::{CredentialKind, Entry, Operation, Outcome};
pub use modes::{Modes, OrganizationOptions, Plan, SettingsMode, View};
pub use server::{Emulator, Options};
pub use snapshot::{Organization, OrganizationSummary, ProjectState, ThirdPartyProject};
pub use state::{KeyState, Lie};
