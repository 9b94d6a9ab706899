//! Settings that stay set: looks once per interval, drift that is corrected or reported, an endpoint that is gone.

mod drift;
mod gone;
mod looks;
mod members;
mod scene;
