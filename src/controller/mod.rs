//! The Kubernetes side. Each kind is reconciled by the same five verbs: gather, validate, plan, execute, report; the two
//! in the middle are `domain`'s.

pub mod api_error;
pub mod brake;
pub mod budgets;
pub mod capabilities;
pub mod claims;
pub mod confirm;
pub mod context;
pub mod endpoint;
pub mod events;
pub mod evidence;
pub mod finalizer;
pub mod fleet;
pub mod guard;
pub mod header;
pub mod identity;
pub mod in_use;
pub mod ledger;
pub mod looks;
pub mod memory;
pub mod metrics;
pub mod organization;
pub mod organizations;
pub mod project;
pub mod scope;
pub mod secret_watch;
pub mod secrets;
pub mod status;
pub mod stray;
pub mod sweep;
pub mod tombstones;
pub mod walks;
pub mod watch;
