//! Kubernetes Events: on transitions only, best effort.

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tracing::warn;

use super::api_error::words;
use crate::domain::reason::Reason;

/// Publishes Events; cheap to clone.
#[derive(Clone)]
pub struct Events {
    client: Client,
    reporter: Reporter,
}

impl Events {
    /// Events of this program; `instance` tells replicas apart.
    pub fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: "composio-operator".to_owned(), instance: Some(instance) };
        Self { client, reporter }
    }

    /// Publishes one. A failure is logged and otherwise ignored: an Event must never replace the outcome it is about.
    pub async fn publish<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        is_normal: bool,
        reason: Reason,
        note: &str,
    ) {
        let event = Event {
            type_: if is_normal { EventType::Normal } else { EventType::Warning },
            reason: reason.as_str(),
            note: Some(note.to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        // A recorder of its own: one that is shared takes a second Event of a reason for a repetition of the first, and
        // keeps the words of that.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, &object.object_ref(&())).await {
            warn!(error = words(&error), "Event was not published");
        }
    }
}
