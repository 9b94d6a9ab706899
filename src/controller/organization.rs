//! ComposioOrganization: reads the key, proves it with one call, and tells everybody whether calls may be made.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::Event;
use kube::runtime::{Controller, PredicateConfig, WatchStreamExt};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use super::capabilities::Capabilities;
use super::context::Context;
use super::guard::guarded;
use super::identity::Seen;
use super::metrics::{Kind, PassOutcome};
use super::organizations::{Organization, State};
use super::sweep::keep_sweeping;
use super::{api_error, status, watch};
use crate::composio::Client;
use crate::crd::{
    AdoptionPolicy, CapabilitiesStatus, ComposioOrganization, ComposioOrganizationSpec,
    ComposioOrganizationStatus, GrantSpec, HeldStatus,
};
use crate::domain::answer::{CallError, CredentialProblem};
use crate::domain::brake::DEFAULT_LIMIT;
use crate::domain::budget::Lane;
use crate::domain::condition::Condition;
use crate::domain::failure::{Class, Failure, backoff};
use crate::domain::header::Identity;
use crate::domain::held::{Held, HeldKind};
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
/// Distance between two looks at an organization that is being deleted.
const ENDING: Duration = Duration::from_secs(5);

/// What a pass has found out.
enum Verdict {
    Ready(Box<Organization>, Seen),
    /// No calls, for this reason; look again after this time, where that is known.
    Not(Reason, String, Option<Duration>),
    /// A probe with this key was refused, or not answered.
    Refused(Reason, String, ApiKey),
    /// Nothing: everything stays as it is for this long.
    Keep(Duration),
}

impl Verdict {
    fn not(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Not(reason, detail.into(), None)
    }

    fn failed(failure: Failure) -> Self {
        Self::not(failure.reason, failure.detail)
    }

    /// May pass by itself, and says nothing about the key.
    fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Refused(Reason::EndpointUnreachable, ..)
                | Self::Not(Reason::EndpointUnreachable | Reason::TransientFailure, ..)
        )
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
                // A younger one with the same id may go on.
                deletions.wake_organizations();
            }
        })
        .reflect(writer)
        .applied_objects()
        .predicate_filter(watch::relevance, PredicateConfig::default());
    context.organizations.watched(reader.clone());
    let became_ready = Arc::new(became_ready);
    let (store, stopped) = (reader.clone(), stop.clone());
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
    (reader, watch::to_its_end(store, run, stopped))
}

async fn reconcile(
    object: Arc<ComposioOrganization>,
    context: Arc<Context>,
    became_ready: Arc<impl Fn(&str)>,
) -> Result<Action, Infallible> {
    let name = object.name_any();
    let span = info_span!("organization", object.name = name);
    let pass = async {
        let looked = guarded(PASS_DEADLINE, async { Ok(look(&context, &object).await) }).await;
        let Look { verdict, held, is_confirmed } = looked.unwrap_or_else(Look::failed);
        if is_confirmed {
            became_ready(&name);
        }
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
            Verdict::Ready(organization, seen) => {
                let (id, organization) =
                    (organization.id.as_ref().map(ToString::to_string), Arc::new(*organization));
                context.failures.forget(&uid);
                let is_proven = !matches!(seen, Seen::Unasked);
                match context.organizations.accept(uid, organization.clone(), is_proven) {
                    Some(true) => became_ready(&name),
                    Some(false) => {}
                    // Work was refused during the pass: the next one tells of that.
                    None => return Action::requeue(Duration::from_secs(1)),
                }
                // Calls may be made all the same, and its projects go on.
                let vanished = held.iter().flatten().find(|held| held.kind == HeldKind::FleetVanished);
                let (reason, detail) = vanished.map_or((Reason::KeyAccepted, String::new()), |held| {
                    (Reason::FleetVanished, format!("{} projects", held.count))
                });
                (reason, detail, id, Some(keep_sweeping(&context, &object, &organization)))
            }
            Verdict::Not(reason, detail, after) => {
                context.organizations.refuse(&name, uid, reason);
                (reason, detail, None, after)
            }
            Verdict::Refused(reason, detail, key) => {
                context.organizations.refuse(&name, uid, reason);
                let left = context.organizations.budgets.open_breaker(&name, &key, reason, &detail);
                (reason, detail, None, Some(left))
            }
        };
        let (reason, detail, after) = in_use(&context, &object, (reason, detail, after)).await;
        let reported =
            report(&context, &object, Finding { reason, detail: &detail, id, held: held.as_deref() });
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

/// What a pass has seen.
struct Look {
    verdict: Verdict,
    /// Nothing if that could not be told.
    held: Option<Vec<Held>>,
    /// Held deletions were confirmed, and their projects may go on.
    is_confirmed: bool,
}

impl Look {
    fn failed(failure: Failure) -> Self {
        Self { verdict: Verdict::failed(failure), held: None, is_confirmed: false }
    }
}

/// Header, key, endpoint, identity, and what is held. A ledger that is not confirmed stops everything but the look itself.
async fn look(context: &Context, object: &ComposioOrganization) -> Look {
    // Looks that the end of its projects asks for need not ask Composio each time, nor does anybody after a sweep; what a
    // person asks for does.
    let (is_asked, is_about_held) =
        (context.organizations.is_asked(object), context.take_unprobed(&object.name_any()));
    let is_needless = is_about_held || context.is_swept(&object.name_any());
    let is_due = (is_asked || !is_needless) && object.metadata.deletion_timestamp.is_none();
    let (header, moved) = match context.moved(object).await {
        Ok(found) => found,
        Err(failure) => return Look::failed(failure),
    };
    let verdict = match (probe(context, object, (is_asked, is_due)).await, &moved) {
        (_, Some(held)) => Verdict::not(Reason::LedgerMoved, format!("it has {} records", held.count)),
        (Verdict::Ready(mut organization, seen), None) => {
            match context.identify(object, &header, &mut organization, &seen).await {
                Ok(Identity::Accepted) => Verdict::Ready(organization, seen),
                Ok(Identity::Other(why)) => Verdict::not(Reason::OrganizationMismatch, why),
                Ok(Identity::Unclear(left)) => Verdict::Keep(left),
                Err(failure) => Verdict::failed(failure),
            }
        }
        (verdict, None) => verdict,
    };
    let (deletions, is_confirmed) = match context.held_or_let_go(object).await {
        Ok(found) => found,
        Err(failure) => return Look::failed(failure),
    };
    let vanished = match context.vanished_or_let_go(object, &header).await {
        Ok(found) => found,
        Err(failure) => return Look::failed(failure),
    };
    let held = moved.into_iter().chain(deletions).chain(vanished).collect();
    Look { verdict, held: Some(held), is_confirmed }
}

/// Keeps the finalizer. An organization that is being deleted says what it waits for.
async fn in_use(
    context: &Context,
    object: &ComposioOrganization,
    found: (Reason, String, Option<Duration>),
) -> (Reason, String, Option<Duration>) {
    let count = match context.keep_in_use(object).await {
        Ok(count) => count,
        Err(failure) => {
            warn!(error = %failure, "the finalizer of the organization is not as it should be");
            return (found.0, found.1, Some(ENDING));
        }
    };
    if object.metadata.deletion_timestamp.is_none() || count == 0 {
        return found;
    }
    let (reason, _, _) = found;
    let problem = if reason == Reason::KeyAccepted { "" } else { reason.text() };
    let comma = if problem.is_empty() { "" } else { ", and " };
    (Reason::InUse, format!("{count} with a finalizer{comma}{problem}"), Some(ENDING))
}

/// When to look again.
fn next(context: &Context, object: &ComposioOrganization, reason: Reason, after: Option<Duration>) -> Action {
    let observe = Context::jittered(context.observe_interval);
    if after.is_some() || reason == Reason::Suspended {
        return Action::requeue(after.map_or(observe, |after| after.min(observe)));
    }
    let failures = context.failures.count(&object.uid().unwrap_or_default());
    Action::requeue(backoff(failures.saturating_add(2), Context::spread(), None).min(LONGEST_RETRY))
}

/// One look at key and endpoint, with at most one remote call.
async fn probe(
    context: &Context,
    object: &ComposioOrganization,
    (is_asked, is_due): (bool, bool),
) -> Verdict {
    let name = object.name_any();
    let ComposioOrganizationSpec {
        api_key_secret_ref,
        // `identity`'s.
        organization_id: _,
        endpoint,
        namespace_selector,
        project_name_template,
        project_defaults,
        limits,
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
    if let Some((reason, words, left)) = context.organizations.budgets.breaker(&name, &key)
        && !is_asked
    {
        return Verdict::Not(reason, words, Some(left));
    }
    let known = context.organizations.last(&name);
    let budget = context.budget(&name);
    let requests = limits.as_ref().and_then(|limits| limits.requests_per_minute);
    budget.configure(requests.and_then(|limit| u32::try_from(limit).ok()));
    let last = known.as_ref().map(|known| &known.client);
    let client = match context.client_of(endpoint.as_ref(), last, &budget).await {
        Ok(client) => client,
        Err(failure) => return Verdict::failed(failure),
    };
    let is_ready = matches!(context.organizations.get(&name), Some(State::Ready(_)));
    let proven = known.as_ref().filter(|known| is_ready && known.key.is(&key));
    let proven = proven.filter(|known| known.client.is_like(&client));
    let probed = if is_due || proven.is_none() {
        context.organizations.probed(object);
        Some(probing(&client, is_ready).probe(&key).await)
    } else {
        None
    };
    let seen = match probed {
        None => Seen::Unasked,
        Some(Ok(id)) => id.map_or(Seen::Nothing, Seen::Id),
        // What the spec says applies all the same.
        Some(Err(CallError::Throttled(_))) if proven.is_some() => Seen::Unasked,
        Some(Err(CallError::Throttled(left))) => {
            return Verdict::Keep(left.unwrap_or(Duration::from_secs(10)));
        }
        Some(Err(error)) => return refused(&error, key),
    };
    let id = proven.filter(|_| matches!(seen, Seen::Unasked)).and_then(|known| known.id.clone());
    let is_same = |known: &&Arc<Organization>| known.key.is(&key) && known.client.is_like(&client);
    let shared = known.as_ref().filter(is_same).map(|known| (known.walks.clone(), known.fleet.clone()));
    let (walks, fleet) = shared.unwrap_or_default();
    let defaults = project_defaults.as_ref().and_then(|defaults| defaults.settings.as_ref());
    let deletions = limits.as_ref().and_then(|limits| limits.deletions_per_hour);
    let organization = Organization {
        name,
        template: project_name_template.clone().unwrap_or_else(|| "{name}".to_owned()),
        defaults: defaults.map(Settings::from).unwrap_or_default(),
        selector: namespace_selector.clone(),
        permits: permits(grants.as_deref().unwrap_or_default(), *adoption),
        client,
        key,
        id,
        is_identified: false,
        deletions_per_hour: deletions.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(DEFAULT_LIMIT),
        capabilities: known.map_or_else(|| Arc::new(hinted(object)), |known| known.capabilities.clone()),
        settings_interval: context
            .settings_interval(&object.name_any(), &budget)
            .unwrap_or(context.observe_interval),
        walks,
        fleet,
    };
    Verdict::Ready(Box::new(organization), seen)
}

/// What the status of an earlier process says.
fn hinted(object: &ComposioOrganization) -> Capabilities {
    Capabilities::hinted(object.status.as_ref().and_then(|status| status.capabilities.as_ref()))
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

/// Where all of it waits for the probe, that is no mere look.
fn probing(client: &Client, is_ready: bool) -> Client {
    client.in_lane(if is_ready { Lane::Observe } else { Lane::Urgent })
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

fn refused(error: &CallError, key: ApiKey) -> Verdict {
    Verdict::Refused(
        match error {
            CallError::Credential(CredentialProblem::Address, _) => Reason::AddressNotAllowed,
            CallError::Credential(..) | CallError::Forbidden(_) => Reason::KeyInvalid,
            _ => Reason::EndpointUnreachable,
        },
        error.to_string(),
        key,
    )
}

/// What there is to say.
struct Finding<'a> {
    reason: Reason,
    detail: &'a str,
    id: Option<String>,
    held: Option<&'a [Held]>,
}

/// What is held, as the status has it. As long as there is something of a kind, its time stays.
fn held_status(before: &[HeldStatus], held: &[Held]) -> Vec<HeldStatus> {
    let status = |held: &Held| {
        let kind = held.kind.as_str();
        let since = before.iter().find(|old| old.kind == kind).map(|old| old.since_time.clone());
        HeldStatus {
            kind: kind.to_owned(),
            count: i32::try_from(held.count).unwrap_or(i32::MAX),
            token: held.token.clone(),
            since_time: since.unwrap_or_else(|| Time(jiff::Timestamp::now())),
        }
    };
    held.iter().map(status).collect()
}

/// What is known now; what an earlier process has said stays until something is known.
fn capabilities(
    context: &Context,
    object: &ComposioOrganization,
    before: &ComposioOrganizationStatus,
) -> Option<CapabilitiesStatus> {
    let before = before.capabilities.as_ref();
    match context.organizations.last(&object.name_any()) {
        Some(organization) => organization.capabilities.status(before),
        None => before.cloned(),
    }
}

/// Status if it differs, and an Event when the reason has changed.
async fn report(
    context: &Context,
    object: &ComposioOrganization,
    finding: Finding<'_>,
) -> Result<(), Failure> {
    let Finding { reason, detail, id, held } = finding;
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
        capabilities: capabilities(context, object, &before),
        limits: context.limits_status(&object.name_any(), before.limits.as_ref()),
        held: held.map_or_else(|| before.held.clone(), |held| held_status(&before.held, held)),
        ..context.swept_status(&object.name_any(), &before)
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
