//! The typed client of the Composio API: one `call` for everything, one function per endpoint. It knows nothing of
//! Kubernetes, and decides nothing: retries are the controller's, which knows what is safe.

mod budget;
mod client;
mod clock;
mod error;
mod lead;
mod listing;
mod metrics;
mod projects;
mod roots;
mod settings;

pub use self::budget::{Permit, SharedBudget};
pub use self::client::{Announced, Client, Limits, is_loopback};
pub use self::clock::BootInstant;
pub use self::lead::Lead;
pub use self::listing::{ListedProject, Listing};
pub use self::metrics::{CallMetrics, CallOutcome, Operation};
pub use self::projects::ProjectDetail;
pub use self::roots::Roots;
