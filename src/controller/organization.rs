//! ComposioOrganization: reads the key, proves it with one call, and tells everybody whether calls may be made.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::Event;
use kube::runtime::{Controller, PredicateConfig, WatchStreamExt};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};
use url::Url;

use super::context::Context;
use super::metrics::{Kind, PassOutcome};
use super::organizations::{Organization, State};
use super::{api_error, status, watch};
use crate::composio::Client;
use crate::crd::{
    ComposioOrganization, ComposioOrganizationSpec, ComposioOrganizationStatus, DEFAULT_ENDPOINT,
};
use crate::domain::answer::{CallError, CredentialProblem};
use crate::domain::condition::Condition;
use crate::domain::failure::backoff;
use crate::domain::key::ApiKey;
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;

/// Most passes at once.
const WORKERS: u16 = 4;
/// Longest distance to the next try where only Composio's side can help.
const LONGEST_RETRY: Duration = Duration::from_mins(5);

/// What a pass has found out.
enum Verdict {
    Ready(Box<Organization>),
    Not(Reason, String),
    /// The breaker forbids a probe for this long; everything stays as it is.
    Wait(Duration),
}

/// The controller of the operator's namespace. `became_ready` is called with the name of an organization for which calls
/// have become possible.
pub fn controller(
    context: Arc<Context>,
    wake: impl Stream<Item = ObjectRef<ComposioOrganization>> + Send + 'static,
    became_ready: impl Fn(&str) + Send + Sync + 'static,
    stop: CancellationToken,
) -> (Store<ComposioOrganization>, impl Future<Output = ()>) {
    let api: Api<DeserializeGuard<ComposioOrganization>> =
        Api::namespaced(context.client.clone(), &context.namespace);
    let (reader, writer) = store();
    let deletions = context.clone();
    let changes = watch::objects(api)
        .inspect(move |event| {
            if let Ok(Event::Delete(object)) = event {
                deletions.organizations.remove(&object.name_any());
            }
        })
        .reflect(writer)
        .applied_objects()
        .predicate_filter(watch::relevance, PredicateConfig::default());
    let became_ready = Arc::new(became_ready);
    let run = Controller::for_stream(changes, reader.clone())
        .with_config(Config::default().concurrency(WORKERS))
        .reconcile_on(wake)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(
            move |object, context| reconcile(object, context, became_ready.clone()),
            |_, error: &Infallible, _| match *error {},
            context,
        )
        .for_each(|_| futures::future::ready(()));
    (reader, run)
}

async fn reconcile(
    object: Arc<ComposioOrganization>,
    context: Arc<Context>,
    became_ready: Arc<impl Fn(&str)>,
) -> Result<Action, Infallible> {
    let name = object.name_any();
    let span = info_span!("organization", object.name = name);
    let pass = async {
        let verdict = if object.metadata.deletion_timestamp.is_some() {
            Verdict::Not(Reason::Suspended, "it is being deleted".to_owned())
        } else {
            probe(&context, &object).await
        };
        let (reason, detail, id) = match verdict {
            Verdict::Wait(left) => return Action::requeue(left),
            Verdict::Ready(organization) => {
                let id = organization.id.as_ref().map(ToString::to_string);
                context.failures.forget(&object.uid().unwrap_or_default());
                if context.organizations.set(&name, State::Ready(Arc::new(*organization))) {
                    became_ready(&name);
                }
                (Reason::KeyAccepted, String::new(), id)
            }
            Verdict::Not(reason, detail) => {
                context.organizations.set(&name, State::NotReady(reason));
                (reason, detail, None)
            }
        };
        report(&context, &object, reason, &detail, id).await
    };
    Ok(pass.instrument(span).await)
}

/// One look at key and endpoint, with at most one remote call.
async fn probe(context: &Context, object: &ComposioOrganization) -> Verdict {
    let name = object.name_any();
    let ComposioOrganizationSpec {
        api_key_secret_ref,
        endpoint,
        project_name_template,
        project_defaults,
        suspend,
    } = &object.spec;
    if suspend.unwrap_or(false) {
        return Verdict::Not(Reason::Suspended, String::new());
    }
    let entry = api_key_secret_ref.key.as_deref().unwrap_or("apiKey");
    let key = match read_key(context, &api_key_secret_ref.name, entry).await {
        Ok(key) => key,
        Err(verdict) => return verdict,
    };
    if let Some(left) = context.organizations.breaker_left(&name, &key) {
        return Verdict::Wait(left);
    }
    let known = match context.organizations.get(&name) {
        Some(State::Ready(known)) => Some(known),
        _ => None,
    };
    let url = endpoint.as_ref().and_then(|endpoint| endpoint.url.as_deref()).unwrap_or(DEFAULT_ENDPOINT);
    let client = match known.as_ref().filter(|known| known.client.base_url() == url.trim_end_matches('/')) {
        // Server time and pauses are kept.
        Some(known) => known.client.clone(),
        None => match client(context, url) {
            Ok(client) => client,
            Err(problem) => return Verdict::Not(Reason::EndpointInvalid, format!("{url:?}: {problem}")),
        },
    };
    let id = match client.probe(&key).await {
        Ok(id) => id
            .or_else(|| known.as_ref().filter(|known| known.key.is(&key)).and_then(|known| known.id.clone())),
        Err(CallError::Throttled(left)) => return Verdict::Wait(left.unwrap_or(Duration::from_secs(10))),
        Err(error) => return refused(&error),
    };
    let defaults = project_defaults.as_ref().and_then(|defaults| defaults.settings.as_ref());
    Verdict::Ready(Box::new(Organization {
        name,
        template: project_name_template.clone().unwrap_or_else(|| "{name}".to_owned()),
        defaults: defaults.map(Settings::from).unwrap_or_default(),
        client,
        key,
        id,
        settings_endpoint: known.map(|known| known.settings_endpoint.clone()).unwrap_or_default(),
    }))
}

fn client(context: &Context, url: &str) -> Result<Client, String> {
    let base = Url::parse(url).map_err(|error| error.to_string())?;
    Client::new(base, context.limits, context.call_metrics.clone()).map_err(|error| error.to_string())
}

async fn read_key(context: &Context, name: &str, entry: &str) -> Result<ApiKey, Verdict> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &context.namespace);
    let missing = |detail: String| Verdict::Not(Reason::KeySecretMissing, detail);
    let secret = match api.get_opt(name).await {
        Ok(secret) => secret,
        Err(error) => return Err(Verdict::Not(Reason::TransientFailure, api_error::words(&error))),
    };
    let secret = secret.ok_or_else(|| missing(format!("Secret {name:?}")))?;
    let value = secret.data.as_ref().and_then(|data| data.get(entry));
    let value = value.ok_or_else(|| missing(format!("Secret {name:?} has no entry {entry:?}")))?;
    let text = std::str::from_utf8(&value.0)
        .map_err(|_| missing(format!("Secret {name:?}, entry {entry:?}: not text")))?;
    ApiKey::parse(text).map_err(|problem| missing(format!("Secret {name:?}, entry {entry:?}: {problem}")))
}

fn refused(error: &CallError) -> Verdict {
    let words = error.to_string();
    Verdict::Not(
        match error {
            CallError::Credential(CredentialProblem::Address, _) => Reason::AddressNotAllowed,
            CallError::Credential(..) | CallError::Forbidden(_) => Reason::KeyInvalid,
            _ => Reason::EndpointUnreachable,
        },
        words,
    )
}

async fn report(
    context: &Context,
    object: &ComposioOrganization,
    reason: Reason,
    detail: &str,
    id: Option<String>,
) -> Action {
    let is_ready = reason == Reason::KeyAccepted;
    let outcome = if is_ready { PassOutcome::Done } else { PassOutcome::Stalled };
    context.metrics.pass(Kind::ComposioOrganization, outcome);
    let before = object.status.clone().unwrap_or_default();
    let message = reason.message(detail);
    let mut now = vec![Condition { kind: "Ready", status: is_ready, reason, message: message.clone() }];
    if reason.stalls() {
        now.push(Condition { kind: "Stalled", status: true, reason, message: message.clone() });
    } else if !is_ready && reason != Reason::Suspended {
        now.push(Condition { kind: "Reconciling", status: true, reason, message: message.clone() });
    }
    let generation = object.metadata.generation;
    let after = ComposioOrganizationStatus {
        observed_generation: generation,
        conditions: status::api_conditions(&before.conditions, &now, generation),
        organization_id: id.or_else(|| before.organization_id.clone()),
    };
    let api: Api<ComposioOrganization> = Api::namespaced(context.client.clone(), &context.namespace);
    match status::patch(&api, object, Some(&before), &after).await {
        Ok(is_written) => {
            let old = status::find(&before.conditions, "Ready").map(|ready| ready.reason.as_str());
            if is_written && old != Some(reason.as_str().as_str()) && reason != Reason::Suspended {
                if is_ready {
                    info!("{message}");
                } else {
                    warn!(?reason, "{message}");
                }
                context.events.publish(object, is_ready, reason, &message).await;
            }
        }
        Err(_) => return Action::requeue(Duration::from_secs(1)),
    }
    if is_ready || reason == Reason::Suspended {
        return Action::requeue(Context::jittered(context.observe_interval));
    }
    let failures = context.failures.count(&object.uid().unwrap_or_default());
    Action::requeue(backoff(failures.saturating_add(2), Context::spread(), None).min(LONGEST_RETRY))
}
