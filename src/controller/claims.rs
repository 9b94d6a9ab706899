//! Claims as objects of their own: one metadata watch on the operator's namespace, which also tells of changed
//! organization keys, and the reconcile of claims whose owner is gone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, future};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{Controller, WatchStreamExt};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::api_error::failure;
use super::context::Context;
use super::evidence;
use super::guard::guarded;
use super::ledger::{
    OWNER_NAME_ANNOTATION, OWNER_NAMESPACE_LABEL, OWNER_UID_ANNOTATION, PHASE_LABEL, is_unsettled,
};
use super::metrics::{Kind, PassOutcome};
use super::watch;
use crate::domain::claim::Record;
use crate::domain::failure::{Class, Failure, backoff};
use crate::domain::plan::{OrphanSeen, OrphanStep, orphan};
use crate::domain::world::ClaimView;

/// Most passes over orphans at once: they are few.
const WORKERS: u16 = 2;
/// Longest time of one pass.
const PASS_DEADLINE: Duration = Duration::from_mins(1);
/// Distance to the next look while the organization is stopped.
const STOPPED: Duration = Duration::from_secs(30);
/// Most steps of one pass.
const MOST_STEPS: usize = 5;

type ClaimMeta = PartialObjectMeta<Secret>;

/// The controller; `secret_changed` is told of every other Secret of the namespace that comes, changes or goes.
pub fn controller(
    context: Arc<Context>,
    wake: impl Stream<Item = ObjectRef<ClaimMeta>> + Send + 'static,
    secret_changed: impl Fn(&str) + Send + Sync + 'static,
    stop: CancellationToken,
) -> (Store<ClaimMeta>, impl Future<Output = ()>) {
    let api: Api<ClaimMeta> = Api::namespaced(context.client.clone(), &context.namespace);
    let (reader, writer) = store();
    let told = context.clone();
    let refusals = watch::refusals(api.namespace());
    let changes = watcher(api, watcher::Config::default().page_size(500))
        .default_backoff()
        .inspect(refusals)
        .inspect(move |event| {
            if let Ok(Event::Apply(secret) | Event::InitApply(secret) | Event::Delete(secret)) = event {
                if secret.labels().contains_key(PHASE_LABEL) {
                    wake_waiters(&told, &secret.name_any());
                } else {
                    secret_changed(&secret.name_any());
                }
            }
        })
        .filter_map(|event| future::ready(unsettled(event)))
        .reflect(writer)
        .applied_objects();
    let (store, stopped) = (reader.clone(), stop.clone());
    let run = Controller::for_stream(changes, reader.clone())
        .with_config(Config::default().concurrency(WORKERS))
        .reconcile_on(wake)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, |_, error: &Infallible, _| match *error {}, context)
        .for_each(|_| future::ready(()));
    (reader, watch::to_its_end(store, run, stopped))
}

/// Only claims that are not settled are kept in memory: a settled one leaves the store, and none enters it.
fn unsettled(event: watcher::Result<Event<ClaimMeta>>) -> Option<watcher::Result<Event<ClaimMeta>>> {
    match event {
        Ok(Event::Apply(claim)) if !is_unsettled(&claim) => Some(Ok(Event::Delete(claim))),
        Ok(Event::InitApply(claim)) if !is_unsettled(&claim) => None,
        Ok(event) => Some(Ok(event.modify(|claim| claim.metadata.managed_fields = None))),
        Err(error) => Some(Err(error)),
    }
}

fn wake_waiters(context: &Context, claim_name: &str) {
    for waiter in context.waiters.take(Some(claim_name), None) {
        // The receiver lives as long as the process.
        let _ = context.wake.projects.send(waiter);
    }
}

/// Looks at the unsettled claims of a resource that is gone.
pub fn wake_owned_by(context: &Context, uid: &str) {
    for claim in context.unsettled_claims() {
        if claim.annotations().get(OWNER_UID_ANNOTATION).is_some_and(|owner| owner == uid) {
            // The receiver lives as long as the process.
            let _ = context.wake.claims.send(ObjectRef::from_obj(&*claim));
        }
    }
}

async fn reconcile(claim: Arc<ClaimMeta>, context: Arc<Context>) -> Result<Action, Infallible> {
    let (name, uid) = (claim.name_any(), claim.uid().unwrap_or_default());
    // The end of its owner wakes it; not where the watch was down when that came, so that the next look is not far.
    if has_owner(&context, &claim) {
        return Ok(Action::requeue(Context::jittered(context.limits.settle())));
    }
    Ok(match guarded(PASS_DEADLINE, pass(&context, &name)).await {
        Ok(after) => {
            context.failures.forget(&uid);
            context.metrics.pass(Kind::Claim, PassOutcome::Done);
            Action::requeue(after.unwrap_or_else(|| Context::jittered(context.observe_interval)))
        }
        Err(failure) => {
            context.metrics.pass(Kind::Claim, PassOutcome::Failed);
            if failure.class != Class::Conflict {
                warn!(claim.name = name, error = %failure, "an orphaned claim could not be settled");
            }
            Action::requeue(backoff(context.failures.count(&uid), Context::spread(), failure.retry_after))
        }
    })
}

/// Whether the caches have its owner: the pass of that looks after it.
fn has_owner(context: &Context, claim: &ClaimMeta) -> bool {
    let annotation = |name: &str| claim.annotations().get(name).map(String::as_str).unwrap_or_default();
    let namespace = claim.labels().get(OWNER_NAMESPACE_LABEL).map(String::as_str).unwrap_or_default();
    context.in_use.has(namespace, annotation(OWNER_NAME_ANNOTATION), annotation(OWNER_UID_ANNOTATION))
}

/// Settles one claim if its owner is gone; returns when to look again, where that is known.
async fn pass(context: &Context, name: &str) -> Result<Option<Duration>, Failure> {
    let mut seen = OrphanSeen::default();
    for _ in 0..MOST_STEPS {
        context.leads()?;
        let claim = context.ledger.get(name).await.map_err(|error| failure("reading a claim", &error))?;
        let ClaimView::Present(record) = claim else {
            return Ok(None);
        };
        if context.is_held(record.claim.owner()).await? {
            return Ok(None);
        }
        if context.organizations.is_stopped(record.claim.organization()) {
            return Ok(Some(STOPPED));
        }
        let organization = context.organization(record.claim.organization());
        let now =
            organization.as_ref().map_or_else(|_| jiff::Timestamp::now(), |known| known.client.server_now());
        let settling = context.sightings.settling(&record, now, context.limits.settle());
        let is_in_flight = context.in_flight.contains(name);
        let step = orphan(&record.claim, is_in_flight, &seen, &settling);
        match step.map_err(|illegal| Failure::bug(illegal.to_string()))? {
            OrphanStep::Keep => return Ok(None),
            OrphanStep::Wait(after) => return Ok(Some(after)),
            OrphanStep::Remove => return remove(context, &record).await.map(|()| None),
            OrphanStep::Bury => {
                let buried = context.ledger.bury(&record, now).await;
                buried.map_err(|error| failure("writing a tombstone", &error))?;
                info!(claim.name = name, "the project of a deleted resource is gone");
                return Ok(None);
            }
            OrphanStep::ReadEvidence => {
                let organization = organization?;
                let found = evidence::walk(context, &organization, &record).await;
                seen.evidence = Some(found.map_err(|error| context.call_failure(&organization, error))?);
            }
            OrphanStep::ReadProject => {
                let organization = organization?;
                seen.exists = Some(!context.is_gone(&organization, &record.claim).await?);
            }
            OrphanStep::Write(claim) => {
                let written = context.ledger.update(&record, &claim, record.key.as_ref()).await;
                written.map_err(|error| failure("writing a claim", &error))?;
                info!(claim.name = name, claim.phase = ?claim.phase(), "what a deleted resource left uncertain is settled");
                seen = OrphanSeen::default();
            }
        }
    }
    Ok(Some(Duration::from_secs(1)))
}

async fn remove(context: &Context, record: &Record) -> Result<(), Failure> {
    context.ledger.remove(record).await.map_err(|error| failure("removing a claim", &error))?;
    info!(claim.name = record.claim.name(), "a claim without project and owner was removed");
    Ok(())
}
