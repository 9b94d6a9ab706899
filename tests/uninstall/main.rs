//! An uninstall, and definitions that change: one after another, because these tests delete and change the
//! CustomResourceDefinitions of their control plane.
#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod orders;
mod scene;
mod unreadable;
