//! ComposioOrganizations outside the operator's namespace: nothing of them is used, and their status says so, once. Only
//! where every namespace is managed: with `--watch-namespaces` there may be another operator for the others, and no right.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::PartialObjectMeta;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::store;
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{Controller, PredicateConfig, WatchStreamExt};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::api_error::failure;
use super::context::Context;
use super::guard::guarded;
use super::{status, watch};
use crate::crd::{ComposioOrganization, ComposioOrganizationStatus};
use crate::domain::condition::Condition;
use crate::domain::failure::{Class, Failure, backoff};
use crate::domain::reason::Reason;

/// Longest time of one pass.
const PASS_DEADLINE: Duration = Duration::from_secs(30);

type Stray = PartialObjectMeta<ComposioOrganization>;

/// The controller: metadata of those of other namespaces only.
pub fn controller(context: Arc<Context>, stop: CancellationToken) -> impl Future<Output = ()> {
    let api: Api<Stray> = Api::all(context.client.clone());
    let elsewhere = format!("metadata.namespace!={}", context.namespace);
    let (reader, writer) = store();
    let changes = watcher(api, watcher::Config::default().page_size(500).fields(&elsewhere))
        .default_backoff()
        .inspect(watch::refusals(None))
        .map_ok(|event| event.modify(|stray| stray.metadata.managed_fields = None))
        .reflect(writer)
        .applied_objects()
        .predicate_filter(watch::relevance, PredicateConfig::default());
    let (store, stopped) = (reader.clone(), stop.clone());
    let run = Controller::for_stream(changes, reader)
        .with_config(Config::default().concurrency(1))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, |_, error: &Infallible, _| match *error {}, context)
        .for_each(|_| futures::future::ready(()));
    watch::to_its_end(store, run, stopped)
}

async fn reconcile(stray: Arc<Stray>, context: Arc<Context>) -> Result<Action, Infallible> {
    let uid = stray.uid().unwrap_or_default();
    Ok(match guarded(PASS_DEADLINE, tell(&context, &stray)).await {
        Ok(()) => {
            context.failures.forget(&uid);
            Action::await_change()
        }
        Err(failure) => {
            if failure.class != Class::Conflict {
                let (namespace, name) = (stray.namespace(), stray.name_any());
                warn!(object.namespace = ?namespace, object.name = name, error = %failure, "an organization of another namespace was not told so");
            }
            Action::requeue(backoff(context.failures.count(&uid), Context::spread(), None))
        }
    })
}

async fn tell(context: &Context, stray: &Stray) -> Result<(), Failure> {
    context.leads()?;
    let namespace = stray.namespace().unwrap_or_default();
    let api: Api<ComposioOrganization> = Api::namespaced(context.client.clone(), &namespace);
    let found = api.get_opt(&stray.name_any()).await;
    let found = found.map_err(|error| failure("reading an organization of another namespace", &error))?;
    let Some(object) = found.filter(|found| found.metadata.deletion_timestamp.is_none()) else {
        return Ok(());
    };
    let (reason, generation) = (Reason::WrongNamespace, object.metadata.generation);
    let before = object.status.clone().unwrap_or_default();
    // Another operator, whose namespace this is, reports on it.
    if status::find(&before.conditions, "Ready").is_some_and(|ready| ready.reason != reason.as_str()) {
        return Ok(());
    }
    // Which namespace that is, is none of a tenant's business.
    let message = reason.message("");
    let now = [("Ready", false), ("Stalled", true)].map(|(kind, status)| Condition {
        kind,
        status,
        reason,
        message: message.clone(),
    });
    let after = ComposioOrganizationStatus {
        observed_generation: generation,
        conditions: status::api_conditions(&before.conditions, &now, generation),
        ..before.clone()
    };
    if status::patch(&api, &object, Some(&before), &after).await? {
        context.events.publish(&object, false, reason, &message).await;
    }
    Ok(())
}
