//! The day after: a new cluster takes up what the lost one had, and one project moves between two that live. Two real control
//! planes, real operators with the rights and settings of the chart, one emulator, and the commands of the documents, word for
//! word.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what cannot be prepared or read fails its test")]

mod cluster;
mod document;
mod fleet;
mod moving;
mod older;
mod restored;

use tokio::sync::Mutex;

/// Each scenario starts clusters, which is as much as this machine should do at once.
static ONE: Mutex<()> = Mutex::const_new(());
