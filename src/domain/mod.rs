//! Pure decisions. No clock, no randomness, no client: whatever they need comes in as a value.

pub mod absence;
pub mod answer;
pub mod brake;
pub mod breaker;
pub mod budget;
pub mod claim;
pub mod condition;
pub mod drift;
pub mod evidence;
pub mod failure;
pub mod fleet;
pub mod header;
pub mod held;
pub mod ids;
pub mod key;
pub mod lease;
pub mod plan;
pub mod reason;
pub mod redact;
pub mod settings;
pub mod takeover;
pub mod template;
pub mod world;
