//! Report: status if it differs, one Event on a transition, metrics, the next look. On every way out of a pass.

use std::time::Duration;

use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use tracing::{info, warn};

use super::gather::Facts;
use super::settings_status::{drift, put_back, settings_known, tell_drift};
use super::wish;
use crate::controller::context::Context;
use crate::controller::guard::guarded;
use crate::controller::metrics::{Kind, PassOutcome};
use crate::controller::status;
use crate::crd::{
    Binding, ComposioProject, ComposioProjectStatus, DeletionPolicy, EffectiveStatus, KeyStatus,
    LastRotation, ProjectStatus,
};
use crate::domain::condition::{Known, Last, Outcome, conditions};
use crate::domain::failure::{Class, Failure, backoff};
use crate::domain::plan::Step;
use crate::domain::reason::Reason;
use crate::domain::world::SecretView;

/// Longest time of one report.
const REPORT_DEADLINE: Duration = Duration::from_secs(15);

pub(super) async fn report(
    context: &Context,
    object: &ComposioProject,
    facts: &Facts,
    outcome: &Outcome,
) -> Action {
    let object = facts.object.as_ref().unwrap_or(object);
    context.metrics.pass(Kind::ComposioProject, pass_outcome(outcome));
    log(outcome);
    remember_waiting(context, object, facts, outcome);
    put_back(context, object, facts).await;
    match guarded(REPORT_DEADLINE, write(context, object, facts, outcome)).await {
        Ok(()) => next(context, facts, outcome),
        // The cache is behind, or somebody else has written: the next pass sees what is there.
        Err(failure) if failure.class == Class::Conflict => Action::requeue(Duration::from_secs(1)),
        // What the pass has done is done: it is not repeated any sooner for the sake of the status.
        Err(failure) => {
            warn!(error = %failure, "the status was not written");
            next(context, facts, outcome)
        }
    }
}

async fn write(
    context: &Context,
    object: &ComposioProject,
    facts: &Facts,
    outcome: &Outcome,
) -> Result<(), Failure> {
    let before = object.status.clone().unwrap_or_default();
    let Some(after) = status(object, &before, facts, outcome) else { return Ok(()) };
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<ComposioProject> = Api::namespaced(context.client.clone(), &namespace);
    if status::patch(&api, object, Some(&before), &after).await? {
        announce(context, object, &before, &after).await;
        tell_drift(context, object, &before, &after).await;
    }
    Ok(())
}

fn pass_outcome(outcome: &Outcome) -> PassOutcome {
    match outcome {
        Outcome::Step(Step::Done) => PassOutcome::Done,
        Outcome::Step(Step::Wait(..)) => PassOutcome::Waiting,
        Outcome::Step(Step::Stall(..)) => PassOutcome::Stalled,
        Outcome::Step(Step::Ignore | Step::Do(_)) => PassOutcome::Ignored,
        Outcome::Step(Step::Fail(_)) | Outcome::Failed(..) => PassOutcome::Failed,
    }
}

fn log(outcome: &Outcome) {
    match outcome {
        Outcome::Failed(failure, in_a_row) if failure.class != Class::Conflict => {
            warn!(reason = ?failure.reason, in_a_row, error = %failure, "the pass failed");
        }
        Outcome::Step(Step::Stall(reason, detail)) => warn!(?reason, "{}", reason.message(detail)),
        _ => {}
    }
}

fn remember_waiting(context: &Context, object: &ComposioProject, facts: &Facts, outcome: &Outcome) {
    if let (Outcome::Step(Step::Wait(Reason::ClaimHeld, ..)), Some(holder)) = (outcome, &facts.holder) {
        let reference = kube::runtime::reflector::ObjectRef::from_obj(object);
        context.waiters.wait(reference, holder.claim_name.clone(), holder.uid.clone());
    }
}

/// The status after the pass; `None` where it stays as it is.
fn status(
    object: &ComposioProject,
    before: &ComposioProjectStatus,
    facts: &Facts,
    outcome: &Outcome,
) -> Option<ComposioProjectStatus> {
    let generation = object.metadata.generation;
    let is_stalled = before.observed_generation == generation
        && status::find(&before.conditions, "Stalled").is_some_and(|stalled| stalled.status == "True");
    let last = Last { ready: last_ready(before, facts), is_stalled };
    let now = conditions(outcome, last, secret_known(facts, outcome), settings_known(facts, outcome))?;
    let mut conditions = status::api_conditions(&before.conditions, &now, generation);
    // What was not looked at in this pass stays as it was.
    for kind in ["SecretPublished", "SettingsSynced"] {
        if status::find(&conditions, kind).is_none() {
            conditions.extend(status::find(&before.conditions, kind).cloned());
        }
    }
    let deletion_policy = object.spec.deletion_policy.unwrap_or(DeletionPolicy::Retain);
    let mut after = ComposioProjectStatus {
        observed_generation: generation,
        conditions,
        last_handled_reconcile_at: wish::request(object),
        effective: Some(EffectiveStatus {
            deletion_policy: Some(deletion_policy),
            on_drift: Some(wish::on_drift(object.spec.on_drift).into()),
            on_project_missing: Some(wish::on_missing(object.spec.on_project_missing).into()),
            on_invalid_key: Some(wish::on_invalid_key(object.spec.on_invalid_key).into()),
        }),
        drift: drift(facts, outcome, &before.drift),
        ..before.clone()
    };
    if let Some(record) = &facts.record {
        let claim = &record.claim;
        after.project = Some(ProjectStatus {
            id: claim.project_id().map(ToString::to_string),
            name: claim.project_name().to_string(),
            organization_id: claim
                .organization_id()
                .or(facts.organization_id.as_ref())
                .map(ToString::to_string),
            origin: claim.origin().map(|origin| format!("{origin:?}")),
        });
        let published =
            facts.desired.as_ref().filter(|_| matches!(facts.secret, Some(SecretView::Ours { .. })));
        after.binding = published.map(|desired| Binding { name: desired.secret.name.clone() });
        after.key = claim.key().filter(|_| published.is_some()).map(|key| KeyStatus {
            masked: key.masked.clone(),
            fingerprint: key.fingerprint.clone(),
            issued_time: key.issued_time,
        });
        if let Some((rotation, reason)) = claim.last_rotation() {
            after.last_rotation = Some(LastRotation { time: rotation.started_time, reason: reason.into() });
        }
    }
    Some(after)
}

/// The last Ready, where it may stay: true for a published key, or false because the project is missing.
fn last_ready(before: &ComposioProjectStatus, facts: &Facts) -> Known {
    let (ready, missing) = (status::find(&before.conditions, "Ready")?, Reason::ProjectMissing);
    let has_key = |secret: &SecretView| matches!(secret, SecretView::Ours { has_key: true, .. });
    match ready.status == "True" {
        true if facts.secret.as_ref().is_none_or(has_key) => {
            Some((true, reason_of(&ready.reason), ready.message.clone()))
        }
        false if ready.reason == missing.as_str() => Some((false, missing, ready.message.clone())),
        _ => None,
    }
}

/// A `Ready=True` is about one of these two.
fn reason_of(reason: &str) -> Reason {
    if reason == Reason::Suspended.as_str() { Reason::Suspended } else { Reason::Reconciled }
}

fn secret_known(facts: &Facts, outcome: &Outcome) -> Known {
    let name = &facts.desired.as_ref()?.secret.name;
    let (reason, detail) = outcome.reason()?;
    let is_about_secret = matches!(reason, Reason::SecretRefused | Reason::SecretConflict);
    Some(match facts.secret.as_ref()? {
        _ if is_about_secret => (false, reason, reason.message(detail)),
        SecretView::Ours { .. } => {
            (true, Reason::Reconciled, format!("Secret {name:?} holds the project's key"))
        }
        SecretView::Foreign(whose) => (false, Reason::SecretConflict, Reason::SecretConflict.message(whose)),
        SecretView::Absent => (false, reason, reason.message(detail)),
    })
}

/// One Event when a project becomes Ready, and one for each transition to trouble.
async fn announce(
    context: &Context,
    object: &ComposioProject,
    before: &ComposioProjectStatus,
    after: &ComposioProjectStatus,
) {
    let state = |status: &ComposioProjectStatus| {
        let ready = status::find(&status.conditions, "Ready");
        ready.map(|ready| (ready.status == "True", ready.reason.clone(), ready.message.clone()))
    };
    let (old, Some((is_ready, reason, message))) = (state(before), state(after)) else {
        return;
    };
    let was_ready = old.as_ref().is_some_and(|(was_ready, ..)| *was_ready);
    if let Some(LastRotation { reason, .. }) =
        after.last_rotation.as_ref().filter(|last| before.last_rotation.as_ref() != Some(*last))
    {
        let note = format!("the key was replaced ({reason:?}); every other key of the project is dead");
        context.events.publish(object, true, Reason::Rotating, &note).await;
    }
    let is_new_reason = old.as_ref().is_none_or(|(_, old_reason, _)| *old_reason != reason);
    let is_stalled = status::find(&after.conditions, "Stalled").is_some();
    if is_ready && !was_ready && reason == Reason::Reconciled.as_str() {
        let name = after.project.as_ref().map(|project| project.name.clone()).unwrap_or_default();
        let binding = after.binding.as_ref().map(|binding| binding.name.clone()).unwrap_or_default();
        let note = format!("project {name:?} is ready, its key is in Secret {binding:?}");
        info!("{note}");
        context.events.publish(object, true, Reason::Reconciled, &note).await;
        if before.observed_generation.is_none_or(|observed| observed < 0)
            && let Some(created) = object.creation_timestamp()
        {
            let since = jiff::Timestamp::now().duration_since(created.0);
            context.metrics.ready(Duration::try_from(since).unwrap_or_default());
        }
    } else if !is_ready && ((is_stalled && is_new_reason) || (was_ready && !is_ready)) {
        let known = Reason::ALL.into_iter().find(|known| known.as_str() == reason);
        context.events.publish(object, false, known.unwrap_or(Reason::InternalError), &message).await;
    }
}

fn next(context: &Context, facts: &Facts, outcome: &Outcome) -> Action {
    // The next look at the settings has its moment.
    let longest = Context::jittered(context.observe_interval);
    let longest = facts.look_left.map_or(longest, |left| longest.min(left + Duration::from_millis(10)));
    if let (Outcome::Step(Step::Done), Some(left)) = (outcome, facts.superseded_left)
        && left < longest
    {
        return Action::requeue(left + Duration::from_millis(10));
    }
    match outcome {
        Outcome::Step(Step::Ignore) => Action::await_change(),
        Outcome::Step(Step::Do(_) | Step::Fail(_) | Step::Done | Step::Stall(..)) => Action::requeue(longest),
        Outcome::Step(Step::Wait(_, _, after)) if *after >= longest => Action::requeue(longest),
        Outcome::Step(Step::Wait(_, _, after)) => Action::requeue(*after),
        Outcome::Failed(failure, in_a_row) => Action::requeue(match failure.class {
            Class::Conflict => backoff(1, Context::spread(), None),
            Class::Transient => backoff(*in_a_row, Context::spread(), failure.retry_after),
            Class::Terminal | Class::Bug => longest,
        }),
    }
}
