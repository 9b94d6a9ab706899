//! The driver of ComposioProject: gather, validate, plan, execute, report, and again until there is nothing to do. It
//! decides nothing itself.

mod adopt;
mod apply_settings;
mod delete;
mod execute;
mod gather;
mod own_key;
mod prove;
mod publish;
mod report;
mod settings_status;
mod settle;
mod wish;
mod without_calls;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span, warn};

use self::execute::Order;
use self::gather::{Facts, Kept, Known};
use super::cached::CachedProject;
use super::context::Context;
use super::guard::guarded;
use super::in_use::organization_of;
use super::{finalizer, watch};
use crate::composio::{BootInstant, SharedBudget};
use crate::crd::{ComposioProject, ComposioProjectSpec, DeletionPolicy, SecretSpec};
use crate::domain::budget::Lane;
use crate::domain::condition::Outcome;
use crate::domain::drift::DriftSpec;
use crate::domain::failure::{Class, Failure};
use crate::domain::plan::{Cost, Scope, Step, Wish, plan, validate, wanted_lane};
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::takeover::TakeOverSpec;
use crate::domain::world::{Desired, EntryNames, Pass, SecretWish};

/// Longest time of one pass; what has been sent to Composio goes on in a task of its own.
const PASS_DEADLINE: Duration = Duration::from_secs(90);
/// Looks that there was no room for come again within this time, when there is.
const LOOKS_SPREAD: Duration = Duration::from_secs(30);
/// Most actions of one pass: the longest legal way has about twelve.
const MOST_ACTIONS: usize = 20;

/// The controller of one namespace (or of all): its cache, and the future that runs it.
pub fn controller(
    context: Arc<Context>,
    api: Api<DeserializeGuard<CachedProject>>,
    wake: impl Stream<Item = ObjectRef<ComposioProject>> + Send + 'static,
    workers: u16,
    stop: CancellationToken,
) -> (Store<CachedProject>, impl Future<Output = ()>) {
    let (reader, writer) = store();
    let deletions = context.clone();
    let events = watch::objects(api, CachedProject::bare);
    let changes = watch::cached(events, reader.clone(), writer, move |object| deleted(&deletions, object));
    let (store, stopped) = (reader.clone(), stop.clone());
    let run = Controller::for_stream(changes, reader.clone())
        .with_config(Config::default().concurrency(workers))
        .reconcile_on(wake.map(|project| project.into_kind_unchecked(())))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, |_, error: &Infallible, _| match *error {}, context)
        .for_each(|_| futures::future::ready(()));
    (reader, watch::to_its_end(store, run, stopped))
}

/// A resource is gone: whoever waits for its claim may go on, and what it left uncertain has to be settled.
fn deleted(context: &Context, object: &CachedProject) {
    let Some(uid) = object.uid() else { return };
    context.failures.forget(&uid);
    context.key_suspicions.forget(&uid);
    context.looks.forget(&uid);
    for waiter in context.waiters.take(None, Some(&uid)) {
        // The receiver lives as long as the process.
        let _ = context.wake.projects.send(waiter);
    }
    super::claims::wake_owned_by(context, &uid);
    context.withdraw(object.organization(), &uid);
    context.wake_if_ending(object.organization());
}

async fn reconcile(cached: Arc<CachedProject>, context: Arc<Context>) -> Result<Action, Infallible> {
    let object = match cached.unpacked() {
        Ok(object) => object,
        Err(error) => {
            warn!(%error, "an object of the cache cannot be read");
            return Ok(Action::requeue(Context::jittered(context.observe_interval)));
        }
    };
    let span = info_span!(
        "project",
        object.namespace = object.namespace().unwrap_or_default(),
        object.name = object.name_any(),
        object.uid = object.uid().unwrap_or_default(),
    );
    let reconcile = async {
        let (mut facts, uid) = (Facts::default(), object.uid().unwrap_or_default());
        let pass = Box::pin(pass(&context, &object, &mut facts));
        let result = guarded(PASS_DEADLINE, pass).await;
        let outcome = match result {
            Ok(step) => {
                context.failures.forget(&uid);
                Outcome::Step(step)
            }
            // A conflict says nothing about the next try.
            Err(failure) if failure.class == Class::Conflict => Outcome::Failed(failure, 1),
            Err(failure) => {
                let in_a_row = context.failures.count(&uid);
                Outcome::Failed(failure, in_a_row)
            }
        };
        settings_status::conclude(&context, &facts, &outcome);
        Ok(report::report(&context, &object, &facts, &outcome).await)
    };
    reconcile.instrument(span).await
}

/// One pass; `facts` keeps what it has seen, also when it fails.
async fn pass(context: &Context, object: &ComposioProject, facts: &mut Facts) -> Result<Step, Failure> {
    if object.metadata.deletion_timestamp.is_some() {
        return Box::pin(delete::pass(context, object, facts)).await;
    }
    context.leads()?;
    let namespace = object.namespace().unwrap_or_default();
    let scope = context.scope(&namespace, organization_of(object)).await?;
    keep_finalizer(context, object, &scope, facts).await?;
    let (mut done, mut kept) = (Pass::default(), Kept::default());
    let binding = object.status.as_ref().and_then(|status| status.binding.as_ref());
    let bound_to = binding.map(|binding| binding.name.as_str());
    for _ in 0..MOST_ACTIONS {
        context.leads()?;
        let wish = wish(object, &scope);
        let view = context.organizations.view(&wish.organization, &wish.uid);
        let desired = match validate(wish.clone(), &view) {
            Ok(desired) => desired,
            Err(step) => {
                let is_away = matches!(
                    step,
                    Step::Wait(Reason::OrganizationNotReady | Reason::OrganizationNotFound, ..)
                );
                if is_away {
                    without_calls::keep_secret(context, wish, bound_to, facts).await?;
                }
                return Ok(step);
            }
        };
        let organization = context.organization(&desired.organization)?;
        let (begun, now) = (BootInstant::now(), organization.client.server_now());
        let known = Known { bound_to, settings_interval: organization.settings_interval };
        let gathered =
            gather::gather(context, begun, now, &desired, &done, known, std::mem::take(&mut kept)).await?;
        facts.saw(&desired, &gathered.world);
        let budget = organization.client.budget();
        facts.look_left = look_left(context, &desired, known.settings_interval);
        match plan(&desired, &gathered.world) {
            Step::Do(action) => {
                let permit = match action.cost() {
                    Cost::Mutation(lane) => match budget.permit(lane, &desired.uid).await {
                        Ok(permit) => Some(permit),
                        // Others were faster: what can be done without calls comes first.
                        Err(_) => continue,
                    },
                    Cost::Nothing | Cost::Calls(_) => None,
                };
                let lane = action.cost().lane().unwrap_or(Lane::Work);
                let order = Order { action, permit };
                match execute::execute(context, &organization, &desired, gathered, order, &mut done).await {
                    Err(failure) if failure.reason == Reason::Throttled => {
                        return Ok(throttled(budget, lane, &desired.uid));
                    }
                    result => kept = result?,
                }
            }
            Step::Wait(Reason::Throttled, ..) => {
                let lane = wanted_lane(&desired, &gathered.world).unwrap_or(Lane::Work);
                return Ok(throttled(budget, lane, &desired.uid));
            }
            Step::Fail(failure) => return Err(failure),
            step => return Ok(step),
        }
    }
    Err(Failure::transient("there was always something left to do"))
}

/// How long until the next look at the settings: by the schedule or, where that has passed, when there is room for it.
fn look_left(context: &Context, desired: &Desired, interval: Duration) -> Option<Duration> {
    let left = context.looks.due_in(&desired.uid, interval);
    match desired.room.left(Lane::Observe) {
        Some(closed) if left.is_zero() => Some(closed + LOOKS_SPREAD.mul_f64(Context::spread())),
        _ => Some(left).filter(|left| !left.is_zero()),
    }
}

/// The resource of this UID waits from now on for the budget, behind those who wait already.
fn throttled(budget: &SharedBudget, lane: Lane, uid: &str) -> Step {
    Step::Wait(Reason::Throttled, String::new(), budget.wait(lane, uid))
}

/// The finalizer is there before anything that it stands for, and not where everything is retained. Where nothing may be
/// made, none is added; what has one keeps it, except in the operator's own namespace.
async fn keep_finalizer(
    context: &Context,
    object: &ComposioProject,
    scope: &Scope,
    facts: &mut Facts,
) -> Result<(), Failure> {
    let deletes = object.spec.deletion_policy.is_some_and(|policy| policy != DeletionPolicy::Retain);
    match (finalizer::has(object), deletes && *scope != Scope::Own) {
        (false, true) if *scope == Scope::Allowed => {
            let _in_use = context.use_organization(organization_of(object)).await?;
            facts.object = Some(finalizer::add(&context.client, object).await?);
        }
        (true, false) => {
            finalizer::disown(&context.client, object).await?;
            facts.object = Some(finalizer::remove(&context.client, object).await?);
        }
        _ => {}
    }
    Ok(())
}

/// The spec with its defaults, which stand here and in the descriptions of the fields. Destructured without `..`.
fn wish(object: &ComposioProject, scope: &Scope) -> Wish {
    let ComposioProjectSpec {
        organization_ref,
        project_name,
        adopt,
        on_project_missing,
        on_invalid_key,
        settings,
        on_drift,
        secret,
        deletion_policy,
        suspend,
    } = &object.spec;
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let secret = secret.clone().unwrap_or_default();
    let status = object.status.as_ref().and_then(|status| status.project.as_ref());
    Wish {
        scope: scope.clone(),
        uid: object.uid().unwrap_or_default(),
        organization: organization_ref
            .as_ref()
            .and_then(|reference| reference.name.clone())
            .unwrap_or_else(|| "default".to_owned()),
        project_name: project_name.clone().unwrap_or_else(|| name.clone()),
        settings: settings.as_ref().map(Settings::from).unwrap_or_default(),
        drift: DriftSpec {
            policy: wish::on_drift(*on_drift),
            is_asked: wish::is_look_asked(object),
            trouble: wish::trouble(object),
        },
        secret: secret_wish(secret, &name),
        is_suspended: suspend.unwrap_or(false),
        deletion_policy: deletion_policy.map(Into::into).unwrap_or_default(),
        take_over: TakeOverSpec {
            adopt: adopt.as_ref().and_then(wish::adopt),
            on_missing: wish::on_missing(*on_project_missing),
            suspicion: wish::suspicion(object),
        },
        key_health: wish::key_health(object, *on_invalid_key),
        known_as: status.map(|project| project.name.clone()),
        namespace,
        name,
    }
}

fn secret_wish(spec: SecretSpec, name: &str) -> SecretWish {
    let SecretSpec { name: secret_name, keys, template, labels, annotations } = spec;
    let keys = keys.unwrap_or_default();
    let entries = EntryNames {
        api_key: keys.api_key.unwrap_or_else(|| "COMPOSIO_API_KEY".to_owned()),
        project_id: keys.project_id.unwrap_or_else(|| "COMPOSIO_PROJECT_ID".to_owned()),
        base_url: keys.base_url,
    };
    SecretWish {
        name: secret_name.unwrap_or_else(|| name.to_owned()),
        entries,
        template,
        labels,
        annotations,
    }
}
