//! Settings that stay set: looks once per interval, drift that is corrected or reported, an endpoint that is gone.
#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod drift;
mod gone;
mod looks;
mod members;
mod scene;
