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
use super::guard::guarded;
use super::metrics::{Kind, PassOutcome};
use super::organizations::{Organization, State};
use super::{api_error, status, watch};
use crate::composio::Client;
use crate::crd::{
    AdoptionPolicy, ComposioOrganization, ComposioOrganizationSpec, ComposioOrganizationStatus,
    DEFAULT_ENDPOINT, GrantSpec,
};
use crate::domain::answer::{CallError, CredentialProblem};
use crate::domain::condition::Condition;
use crate::domain::failure::{Class, Failure, backoff};
use crate::domain::ids::ProjectId;
use crate::domain::key::ApiKey;
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::takeover::{Grant, Permits};

/// Most passes at once.
const WORKERS: u16 = 4;
/// Longest distance to the next try where only Composio's side can help.
const LONGEST_RETRY: Duration = Duration::from_mins(5);

/// Longest time of one pass: the probe has its own deadline below this.
const PASS_DEADLINE: Duration = Duration::from_mins(1);
/// Longest time of one report.
const REPORT_DEADLINE: Duration = Duration::from_secs(15);
/// How many transient failures in a row it takes to stop the organization.
const PATIENCE: u32 = 3;

/// What a pass has found out.
enum Verdict {
    Ready(Box<Organization>),
    /// No calls, for this reason; look again after this time, where that is known.
    Not(Reason, String, Option<Duration>),
    /// Nothing: everything stays as it is for this long.
    Keep(Duration),
}

impl Verdict {
    fn not(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Not(reason, detail.into(), None)
    }

    /// May pass by itself, and says nothing about the key.
    fn is_transient(&self) -> bool {
        matches!(self, Self::Not(Reason::EndpointUnreachable | Reason::TransientFailure, ..))
    }
}

/// The controller of the operator's namespace. `became_ready` is called with the name of an organization for which calls
/// have become possible, or for whose projects something else applies.
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
    let bare =
        |metadata| ComposioOrganization { metadata, spec: ComposioOrganizationSpec::default(), status: None };
    let changes = watch::objects(api, bare)
        .inspect(move |event| {
            if let Ok(Event::Delete(object)) = event {
                deletions.organizations.remove(&object.name_any());
            }
        })
        .reflect(writer)
        .applied_objects()
        .predicate_filter(watch::relevance, PredicateConfig::default());
    context.organizations.watched(reader.clone());
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
        let probed = guarded(PASS_DEADLINE, async { Ok(probe(&context, &object).await) }).await;
        let verdict = probed.unwrap_or_else(|failure| Verdict::not(failure.reason, failure.detail));
        let uid = object.uid().unwrap_or_default();
        let failures = if verdict.is_transient() { context.failures.count(&uid) } else { 0 };
        let is_ready = matches!(context.organizations.get(&name), Some(State::Ready(_)));
        let is_observed = object.status.as_ref().and_then(|status| status.observed_generation)
            == object.metadata.generation;
        if verdict.is_transient() && failures < PATIENCE && is_ready && is_observed {
            return Action::requeue(backoff(failures, Context::spread(), None));
        }
        let (reason, detail, id, after) = match verdict {
            Verdict::Keep(left) => return Action::requeue(left),
            Verdict::Ready(organization) => {
                let id = organization.id.as_ref().map(ToString::to_string);
                context.failures.forget(&uid);
                if context.organizations.set(&name, uid, State::Ready(Arc::new(*organization))) {
                    became_ready(&name);
                }
                (Reason::KeyAccepted, String::new(), id, None)
            }
            Verdict::Not(reason, detail, after) => {
                context.organizations.set(&name, uid, State::NotReady(reason));
                (reason, detail, None, after)
            }
        };
        let reported = report(&context, &object, reason, &detail, id);
        match guarded(REPORT_DEADLINE, reported).await {
            Ok(()) => next(&context, &object, reason, after),
            Err(failure) if failure.class == Class::Conflict => Action::requeue(Duration::from_secs(1)),
            Err(failure) => {
                warn!(error = %failure, "the status was not written");
                Action::requeue(LONGEST_RETRY)
            }
        }
    };
    Ok(pass.instrument(span).await)
}

/// When to look again.
fn next(context: &Context, object: &ComposioOrganization, reason: Reason, after: Option<Duration>) -> Action {
    if let Some(after) = after {
        return Action::requeue(after);
    }
    if matches!(reason, Reason::KeyAccepted | Reason::Suspended) {
        return Action::requeue(Context::jittered(context.observe_interval));
    }
    let failures = context.failures.count(&object.uid().unwrap_or_default());
    Action::requeue(backoff(failures.saturating_add(2), Context::spread(), None).min(LONGEST_RETRY))
}

/// One look at key and endpoint, with at most one remote call.
async fn probe(context: &Context, object: &ComposioOrganization) -> Verdict {
    let name = object.name_any();
    let ComposioOrganizationSpec {
        api_key_secret_ref,
        endpoint,
        project_name_template,
        project_defaults,
        grants,
        adoption,
        suspend,
    } = &object.spec;
    if suspend.unwrap_or(false) {
        return Verdict::not(Reason::Suspended, "");
    }
    let entry = api_key_secret_ref.key.as_deref().unwrap_or("apiKey");
    let key = match read_key(context, &api_key_secret_ref.name, entry).await {
        Ok(key) => key,
        Err(verdict) => return verdict,
    };
    if let Some((reason, left)) = context.organizations.breaker(&name, &key) {
        return Verdict::Not(reason, String::new(), Some(left));
    }
    let known = context.organizations.last(&name);
    let url = endpoint.as_ref().and_then(|endpoint| endpoint.url.as_deref()).unwrap_or(DEFAULT_ENDPOINT);
    let client = match known.as_ref().filter(|known| known.client.base_url() == url.trim_end_matches('/')) {
        // Server time and pauses are kept.
        Some(known) => known.client.clone(),
        None => match client(context, url) {
            Ok(client) => client,
            Err(problem) => return Verdict::not(Reason::EndpointInvalid, format!("{url:?}: {problem}")),
        },
    };
    let id = match client.probe(&key).await {
        Ok(id) => id
            .or_else(|| known.as_ref().filter(|known| known.key.is(&key)).and_then(|known| known.id.clone())),
        Err(CallError::Throttled(left)) => return Verdict::Keep(left.unwrap_or(Duration::from_secs(10))),
        Err(error) => return refused(&error),
    };
    let defaults = project_defaults.as_ref().and_then(|defaults| defaults.settings.as_ref());
    Verdict::Ready(Box::new(Organization {
        name,
        template: project_name_template.clone().unwrap_or_else(|| "{name}".to_owned()),
        defaults: defaults.map(Settings::from).unwrap_or_default(),
        permits: permits(grants.as_deref().unwrap_or_default(), *adoption),
        client,
        key,
        id,
        settings_endpoint: known.map(|known| known.settings_endpoint.clone()).unwrap_or_default(),
    }))
}

fn permits(grants: &[GrantSpec], adoption: Option<AdoptionPolicy>) -> Permits {
    // The schema has checked the ids; one that could not be sent would permit nothing.
    let id = |id: &String| ProjectId::try_from(id.clone());
    let grant = |grant: &GrantSpec| {
        let GrantSpec { project_name, namespace, project_id } = grant;
        let project_id = project_id.as_ref().map(id).transpose().ok()?;
        Some(Grant { project_name: project_name.clone(), namespace: namespace.clone(), project_id })
    };
    let with_key = adoption == Some(AdoptionPolicy::WithKey);
    Permits { grants: grants.iter().filter_map(grant).collect(), with_key }
}

fn client(context: &Context, url: &str) -> Result<Client, String> {
    let base = Url::parse(url).map_err(|error| error.to_string())?;
    let client = Client::new(base, context.limits, context.call_metrics.clone());
    client.map(|client| client.led_by(context.lead.clone())).map_err(|error| error.to_string())
}

async fn read_key(context: &Context, name: &str, entry: &str) -> Result<ApiKey, Verdict> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &context.namespace);
    let missing = |detail: String| Verdict::not(Reason::KeySecretMissing, detail);
    let secret = match api.get_opt(name).await {
        Ok(secret) => secret,
        Err(error) => return Err(Verdict::not(Reason::TransientFailure, api_error::words(&error))),
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
    Verdict::not(
        match error {
            CallError::Credential(CredentialProblem::Address, _) => Reason::AddressNotAllowed,
            CallError::Credential(..) | CallError::Forbidden(_) => Reason::KeyInvalid,
            _ => Reason::EndpointUnreachable,
        },
        words,
    )
}

/// Status if it differs, and an Event when the reason has changed.
async fn report(
    context: &Context,
    object: &ComposioOrganization,
    reason: Reason,
    detail: &str,
    id: Option<String>,
) -> Result<(), Failure> {
    let is_accepted = reason == Reason::KeyAccepted;
    let outcome = if is_accepted { PassOutcome::Done } else { PassOutcome::Stalled };
    context.metrics.pass(Kind::ComposioOrganization, outcome);
    let before = object.status.clone().unwrap_or_default();
    let old = status::find(&before.conditions, "Ready");
    // Suspended keeps the last Ready, so that whoever waits for it ends.
    let was_ready = old.is_some_and(|ready| ready.status == "True");
    let is_ready = is_accepted || (reason == Reason::Suspended && was_ready);
    let message = reason.message(detail);
    let condition = |kind, status| Condition { kind, status, reason, message: message.clone() };
    let mut now = vec![condition("Ready", is_ready)];
    if reason.stalls() {
        now.push(condition("Stalled", true));
    } else if !is_accepted && reason != Reason::Suspended {
        now.push(condition("Reconciling", true));
    }
    let generation = object.metadata.generation;
    let after = ComposioOrganizationStatus {
        observed_generation: generation,
        conditions: status::api_conditions(&before.conditions, &now, generation),
        organization_id: id.or_else(|| before.organization_id.clone()),
    };
    let is_new_reason = old.is_none_or(|old| old.reason != reason.as_str());
    let api: Api<ComposioOrganization> = Api::namespaced(context.client.clone(), &context.namespace);
    let is_written = status::patch(&api, object, Some(&before), &after).await?;
    if is_written && is_new_reason && reason != Reason::Suspended {
        if is_accepted {
            info!("{message}");
        } else {
            warn!(?reason, "{message}");
        }
        context.events.publish(object, is_accepted, reason, &message).await;
    }
    Ok(())
}
