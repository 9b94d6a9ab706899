//! Settings after creation: read, change what differs, read back; and the look once in each interval, which is at the same
//! time the proof that the project's key lives. What was seen last stands in the claim, so that neither a restart nor a pass
//! for another reason costs a call.

use super::{Action, Step};
use crate::domain::budget::Lane;
use crate::domain::claim::{Claim, Illegal};
use crate::domain::drift::DriftPolicy;
use crate::domain::failure::{Class, Failure};
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::world::{Capability, Desired, KeyCheck, SettingsView, World};

/// What the settings need.
pub(super) enum Next {
    /// Nothing: they are as wanted, or differ and are only to be reported.
    Synced,
    /// This, now.
    Do(Action),
    /// A person.
    Stall(Reason, String),
    /// Another try.
    Fail(Failure),
}

/// Settings that could never be applied are refused before the project is made.
pub(super) fn preflight(desired: &Desired) -> Option<Step> {
    let could_never = !desired.settings.is_empty()
        && !desired.settings.can_be_inline()
        && desired.settings_endpoint == Capability::Unavailable;
    could_never.then(|| Step::Stall(Reason::SettingsIncomplete, desired.settings.fields()))
}

/// The members that are not known to be as wanted.
pub fn open(desired: &Desired, claim: &Claim) -> Settings {
    match claim.applied_settings() {
        Some(applied) => desired.settings.differing_from(&applied.values),
        None => desired.settings.clone(),
    }
}

pub(super) fn next(desired: &Desired, world: &World, claim: &Claim) -> Result<Next, Illegal> {
    let open = open(desired, claim);
    Ok(match &world.pass.settings {
        SettingsView::Unseen => unseen(desired, world, claim, &open)?,
        SettingsView::Patched => Next::Do(Action::ReadSettings { lane: Lane::Work }),
        SettingsView::Failed(failure) => failed(desired, world, failure, &open),
        SettingsView::Seen { observed, is_patched } => seen(desired, world, claim, observed, *is_patched)?,
    })
}

/// They have to be looked at, and if need be changed, before everything is as wanted.
fn is_needed(world: &World, open: &Settings) -> bool {
    !open.is_empty() && !world.look.is_tried
}

fn unseen(desired: &Desired, world: &World, claim: &Claim, open: &Settings) -> Result<Next, Illegal> {
    // Where there is no room for a look that nobody waits for, nobody waits for the room either.
    let is_due = world.look.is_due && desired.room.left(Lane::Observe).is_none();
    if desired.settings_endpoint == Capability::Unavailable {
        let proves = is_due && world.pass.key == KeyCheck::Unseen;
        return Ok(if proves {
            Next::Do(Action::ProveOwnKey { lane: Lane::Observe })
        } else {
            settled(desired, world, open)
        });
    }
    if is_needed(world, open) {
        return Ok(Next::Do(Action::ReadSettings { lane: Lane::Work }));
    }
    if is_due {
        return Ok(Next::Do(Action::ReadSettings { lane: Lane::Observe }));
    }
    // What is not managed any more may change unseen. Where nobody can look, the memory is all there is, and is kept.
    if let Some(applied) = claim.applied_settings()
        && !desired.settings_endpoint.is_gone()
        && let managed = applied.values.only(&desired.settings)
        && managed != applied.values
    {
        let claim = claim.clone().with_settings(managed, applied.time)?;
        return Ok(Next::Do(Action::WriteClaim(Box::new(claim))));
    }
    Ok(settled(desired, world, open))
}

/// The API shows them. What is seen is in the claim before anything follows from it that would hide it.
fn seen(
    desired: &Desired,
    world: &World,
    claim: &Claim,
    observed: &Settings,
    is_patched: bool,
) -> Result<Next, Illegal> {
    let missing = desired.settings.differing_from(observed);
    let corrects = !missing.is_empty() && !is_patched && desired.drift.policy == DriftPolicy::Correct;
    let seen = desired.settings.as_seen(observed);
    let is_known = match claim.applied_settings() {
        Some(applied) => applied.values == seen,
        None => desired.settings.is_empty(),
    };
    let is_hidden = !missing.differing_from(&open(desired, claim)).is_empty();
    if !is_known && (!corrects || is_hidden) {
        let claim = claim.clone().with_settings(seen, world.settling.now)?;
        return Ok(Next::Do(Action::WriteClaim(Box::new(claim))));
    }
    Ok(match desired.drift.policy {
        _ if missing.is_empty() => Next::Synced,
        DriftPolicy::Report => Next::Synced,
        DriftPolicy::Correct if is_patched => Next::Stall(Reason::SettingsNotApplied, missing.fields()),
        DriftPolicy::Correct => Next::Do(Action::PatchSettings(missing)),
    })
}

fn failed(desired: &Desired, world: &World, failure: &Failure, open: &Settings) -> Next {
    match failure.class {
        // The key may not use the endpoint: that matters only where something is to be changed.
        Class::Terminal if failure.reason == Reason::SettingsUnavailable && is_content(desired, open) => {
            Next::Synced
        }
        Class::Terminal => Next::Stall(failure.reason, failure.detail.clone()),
        _ if is_needed(world, open) => Next::Fail(failure.clone()),
        // A look that nobody waits for has failed: what was known stays so until the next one.
        _ => settled(desired, world, open),
    }
}

/// Nothing is to be changed.
fn is_content(desired: &Desired, open: &Settings) -> bool {
    open.is_empty() || desired.drift.policy == DriftPolicy::Report
}

/// Without a further look: what the last one has shown still holds.
fn settled(desired: &Desired, world: &World, open: &Settings) -> Next {
    if is_content(desired, open) {
        return Next::Synced;
    }
    if desired.settings_endpoint.is_gone() {
        return Next::Stall(Reason::SettingsUnavailable, open.fields());
    }
    match &desired.drift.trouble {
        // With Composio's own words.
        Some((reason, detail)) if world.look.is_tried && reason.stalls() => {
            Next::Stall(*reason, detail.clone())
        }
        _ => Next::Stall(Reason::SettingsNotApplied, open.fields()),
    }
}
