//! Gates: places where requests wait until a test lets them go. A gate has a name, so that a fault rule, also one that
//! came over the admin route, can refer to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

/// A named place where requests wait. Works across runtimes and threads; clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    name: String,
    permits: Arc<Semaphore>,
    arrivals: watch::Sender<usize>,
}

impl Gate {
    fn closed(name: &str) -> Self {
        Self { name: name.to_owned(), permits: Arc::new(Semaphore::new(0)), arrivals: watch::Sender::new(0) }
    }

    /// Its name, for [`Fault::Hold`](super::Fault::Hold) and [`Fault::CommitLate`](super::Fault::CommitLate).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets everybody pass, now and later. It cannot be closed again; take a gate of another name.
    pub fn open(&self) {
        self.permits.close();
    }

    /// Lets `requests` requests pass, waiting ones first.
    pub fn pass(&self, requests: usize) {
        self.permits.add_permits(requests);
    }

    /// How many requests have reached it so far.
    pub fn arrivals(&self) -> usize {
        *self.arrivals.borrow()
    }

    /// Resolves as soon as `requests` requests have reached it. Put a deadline around it.
    pub async fn arrived(&self, requests: usize) {
        // The sender lives in `self`, so the channel cannot close while this waits.
        let _ = self.arrivals.subscribe().wait_for(|arrivals| *arrivals >= requests).await;
    }

    /// Waits here until the gate is open or lets this request pass.
    pub(super) async fn wait(&self) {
        self.arrivals.send_modify(|arrivals| *arrivals += 1);
        // A closed semaphore is an open gate.
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
    }
}

/// All gates by name.
#[derive(Debug, Default)]
pub(super) struct Gates(BTreeMap<String, Gate>);

impl Gates {
    /// The gate of this name, made closed at first use.
    pub(super) fn named(&mut self, name: &str) -> Gate {
        self.0.entry(name.to_owned()).or_insert_with(|| Gate::closed(name)).clone()
    }

    /// All gates that have been named, in order of their names.
    pub(super) fn all(&self) -> impl Iterator<Item = &Gate> {
        self.0.values()
    }
}
