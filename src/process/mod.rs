//! The process: settings, logs, metrics, probes, start-up and shutdown. What is reconciled, and how, is `controller`'s.

mod http;
mod leader;
pub mod metrics;
mod print_crds;
mod readiness;
mod release;
mod run;
pub mod settings;
mod telemetry;
mod vitals;

pub use self::print_crds::print_crds;
pub use self::readiness::{Gate, Readiness};
pub use self::release::release;
pub use self::run::{Operator, run};
pub use self::telemetry::init as init_logs;
