//! Kubernetes Events: on transitions only, best effort.

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tracing::warn;

use super::api_error::words;
use crate::domain::reason::Reason;

/// Publishes Events; cheap to clone.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    /// Events of this program; `instance` tells replicas apart.
    pub fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: "composio-operator".to_owned(), instance: Some(instance) };
        Self(Recorder::new(client, reporter))
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
        if let Err(error) = self.0.publish(&event, &object.object_ref(&())).await {
            warn!(error = words(&error), "Event was not published");
        }
    }
}
