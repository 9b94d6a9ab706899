//! What a process does. Mirrors `controller::project` (`mod`, `report`); the parts below say what they mirror. It takes
//! its decisions from `domain::plan`, as the operator does, and has no laws but those of single steps.

mod calls;
mod evidence;
mod execute;
mod gather;
mod leave;
pub(crate) mod orphans;
mod own_key;
mod sabotage;
pub(crate) mod secrets;
mod settings;
mod settle;

use std::rc::Rc;

use composio_operator::domain::budget::Room;
use composio_operator::domain::condition::Outcome;
use composio_operator::domain::drift::DriftSpec;
use composio_operator::domain::failure::{Class, Failure, backoff};
use composio_operator::domain::ids::ProjectId;
use composio_operator::domain::plan::{Scope, Step, Wish, open_settings, validate};
use composio_operator::domain::reason::Reason;
use composio_operator::domain::takeover::{Permits, Suspicion, TakeOverSpec};
use composio_operator::domain::world::{
    ClaimView, Desired, KeyHealth, OrganizationFacts, OrganizationView, Pass,
};

use self::execute::Work;
use crate::cluster::{Key, Refused, Resource, namespace_name, resource_name};
use crate::realm::{Ctx, MINUTE, Realm, SECOND, Time};

/// Longest time of one pass.
pub(crate) const PASS_DEADLINE: Time = 90 * SECOND;
/// Most actions of one pass of the driver.
const MOST_ACTIONS: usize = 20;
/// Longest time between two looks.
const OBSERVE: Time = 10 * MINUTE;

pub(crate) use self::settings::of as settings_of;

/// One pass over a resource, with its report.
pub(crate) async fn reconcile(ctx: Ctx, key: Key) {
    let Some(object) = ctx.process(|process| process.cache.get(&key).cloned()) else {
        return ctx.process(|process| {
            process.running.remove(&key);
            process.due.remove(&key);
        });
    };
    let mut known_as = None;
    let mut known_id = None;
    let result = match object.is_leaving {
        true => leave::pass(&ctx, key, &object).await,
        false => pass(&ctx, key, &object, &mut known_as, &mut known_id).await,
    };
    let outcome = ctx.with(|realm| outcome(realm, ctx.me, &object, result));
    let known_as = known_as.or_else(|| object.known_as.clone());
    let known_id = known_id.or_else(|| object.known_id.clone());
    let is_reported = is_reported(&outcome, object.is_reported);
    let is_same = known_as == object.known_as && known_id == object.known_id && !object.is_doubted;
    let is_same = is_same && is_reported == object.is_reported;
    let status = match (&outcome, is_same || object.is_leaving) {
        (Outcome::Step(Step::Ignore), _) | (_, true) => Ok(()),
        _ => {
            let version = Some(object.resource_version);
            ctx.write(|realm| realm.cluster.write_status(key, version, known_as, known_id, is_reported)).await
        }
    };
    ctx.with(|realm| finish(realm, ctx.me, key, &object, &outcome, status));
}

/// Whether the status says that something is wrong with the key.
fn is_reported(outcome: &Outcome, before: bool) -> bool {
    match outcome {
        Outcome::Step(Step::Stall(reason, _) | Step::Wait(reason, ..)) => {
            matches!(reason, Reason::KeyRejected | Reason::RotationNotEnabled)
        }
        Outcome::Step(_) => false,
        Outcome::Failed(..) => before,
    }
}

/// A pass that took too long.
pub(crate) fn overdue(realm: &mut Realm, process: usize, key: Key) {
    realm.count("a pass that took too long");
    if let Some(object) = realm.processes[process].cache.get(&key).cloned() {
        let result = Err(Failure::transient("the pass took too long"));
        let outcome = outcome(realm, process, &object, result);
        finish(realm, process, key, &object, &outcome, Ok(()));
    } else {
        realm.processes[process].running.remove(&key);
    }
}

fn outcome(realm: &mut Realm, process: usize, object: &Resource, result: Result<Step, Failure>) -> Outcome {
    let failures = &mut realm.processes[process].failures;
    match result {
        Ok(step) => {
            failures.remove(&object.uid);
            Outcome::Step(step)
        }
        Err(failure) if failure.class == Class::Conflict => Outcome::Failed(failure, 1),
        Err(failure) => {
            let count = failures.entry(object.uid.clone()).or_default();
            *count += 1;
            Outcome::Failed(failure, *count)
        }
    }
}

/// Notes how a pass ended, and when the next look is.
fn finish(
    realm: &mut Realm,
    process: usize,
    key: Key,
    object: &Rc<Resource>,
    outcome: &Outcome,
    status: Result<(), Refused>,
) {
    let spread = u8::try_from(realm.dice.between(0, 100)).unwrap();
    let observe = OBSERVE - OBSERVE / 5 * Time::from(spread) / 100;
    let spread = f64::from(spread) / 100.0;
    let after = match outcome {
        _ if status == Err(Refused::Conflict) => Some(SECOND),
        Outcome::Step(Step::Ignore) => None,
        Outcome::Step(Step::Wait(_, _, after)) => {
            Some(Time::try_from(after.as_millis()).unwrap_or(observe).min(observe))
        }
        Outcome::Step(_) => Some(observe),
        Outcome::Failed(failure, in_a_row) => {
            let backoff = match failure.class {
                Class::Conflict => backoff(1, spread, None),
                _ => backoff(*in_a_row, spread, failure.retry_after),
            };
            let is_final = matches!(failure.class, Class::Terminal | Class::Bug);
            Some(if is_final { observe } else { Time::try_from(backoff.as_millis()).unwrap_or(observe) })
        }
    };
    realm.tell(|| format!("p{process} {key:?} {} => {}", object.uid, told(outcome)));
    realm.laws.ended(key, &object.uid, outcome);
    let now = realm.now;
    let process = &mut realm.processes[process];
    process.running.remove(&key);
    // What was asked for meanwhile counts.
    if let Some(after) = after {
        process.look_at(key, now + after);
    }
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Step(step) => format!("{step:?}"),
        Outcome::Failed(failure, in_a_row) => format!("failed {in_a_row}: {failure}"),
    }
}

async fn pass(
    ctx: &Ctx,
    key: Key,
    object: &Rc<Resource>,
    known_as: &mut Option<String>,
    known_id: &mut Option<ProjectId>,
) -> Result<Step, Failure> {
    leave::keep_finalizer(ctx, key, object).await?;
    let mut done = Pass::default();
    for _ in 0..MOST_ACTIONS {
        let wish = wish(key, object);
        let view = ctx.with(|realm| organization(realm, ctx.me));
        let desired = match validate(wish, &view) {
            Ok(desired) => desired,
            Err(step) => return Ok(step),
        };
        let gathered = gather::gather(ctx, key, object, &desired, &done).await?;
        if gathered.is_mine {
            *known_as = Some(desired.project_name.to_string());
            if let ClaimView::Present(record) = &gathered.world.claim {
                *known_id = record.claim.project_id().cloned();
            }
        }
        let step = sabotage::plan(ctx, &desired, &gathered.world);
        ctx.with(|realm| crate::laws::step(realm, &desired, &gathered.world, &step));
        match step {
            Step::Do(action) => {
                let work = Work { ctx, key, object, desired: &desired, gathered: &gathered };
                execute::execute(work, action, &mut done).await?;
            }
            Step::Fail(failure) => return Err(failure),
            step => {
                conclude(ctx, &desired, &gathered, &done, &step);
                return Ok(step);
            }
        }
    }
    ctx.with(|realm| realm.laws.breaks("a pass comes to an end"));
    Err(Failure::transient("there was always something left to do"))
}

/// Differences that stay after a look are not tried again before the next; `controller::project::settings_status`.
fn conclude(ctx: &Ctx, desired: &Desired, gathered: &gather::Gathered, done: &Pass, step: &Step) {
    let has_ended = matches!(step, Step::Done | Step::Stall(..)) && done.has_looked_at_settings();
    if let (true, ClaimView::Present(record)) = (has_ended, &gathered.world.claim) {
        let has_differences = !open_settings(desired, &record.claim).is_empty();
        ctx.process(|process| process.concluded(desired, has_differences));
    }
}

fn wish(key: Key, object: &Resource) -> Wish {
    let (namespace, name) = (namespace_name(key.0), resource_name(key));
    let spec = &object.spec;
    Wish {
        uid: object.uid.clone(),
        deletion_policy: spec.policy,
        take_over: TakeOverSpec { adopt: None, on_missing: spec.on_missing, suspicion: suspicion(object) },
        key_health: KeyHealth {
            on_invalid: spec.on_invalid,
            is_asked: object.is_doubted,
            is_reported: object.is_reported,
        },
        scope: Scope::Allowed,
        organization: "default".to_owned(),
        project_name: spec.project_name.clone().unwrap_or_else(|| name.clone()),
        settings: settings_of(spec.settings),
        drift: DriftSpec::default(),
        secret: secrets::wish(spec.secret),
        is_suspended: spec.suspend,
        known_as: object.known_as.clone(),
        namespace,
        name,
    }
}

/// Why the project is looked for: a person has asked.
fn suspicion(object: &Resource) -> Suspicion {
    if object.is_doubted { Suspicion::Asked } else { Suspicion::None }
}

fn organization(realm: &mut Realm, process: usize) -> OrganizationView {
    let (now, process) = (realm.now, &realm.processes[process]);
    let left = process.throttled_until - now;
    OrganizationView::Ready(OrganizationFacts {
        id: None,
        template: "prod-{name}".to_owned(),
        defaults: settings_of(0),
        settings_endpoint: process.capability,
        regenerate_key: process.regenerates,
        permits: Permits::default(),
        base_url: String::new(),
        room: match left > 0 {
            true => Room::paused(std::time::Duration::from_millis(left.unsigned_abs())),
            false => Room::default(),
        },
    })
}
