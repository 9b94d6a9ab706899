//! Settings after creation: read, change what differs, read back. What was accepted stands in the claim; later drift is
//! not looked for here.

use super::{Action, Step};
use crate::domain::claim::{Claim, Illegal};
use crate::domain::failure::{Class, Failure};
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::world::{Capability, Desired, SettingsView, World};

/// What the settings need.
pub(super) enum Next {
    /// Nothing.
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

/// The members that are not known to be applied.
pub(super) fn open(desired: &Desired, claim: &Claim) -> Settings {
    let applied = claim.applied_settings().map(|applied| applied.values.clone()).unwrap_or_default();
    desired.settings.differing_from(&applied)
}

pub(super) fn next(desired: &Desired, world: &World, claim: &Claim) -> Result<Next, Illegal> {
    let open = open(desired, claim);
    if open.is_empty() {
        return Ok(Next::Synced);
    }
    Ok(match &world.pass.settings {
        SettingsView::Failed(failure) if failure.class == Class::Terminal => {
            Next::Stall(failure.reason, failure.detail.clone())
        }
        SettingsView::Failed(failure) => Next::Fail(failure.clone()),
        _ if desired.settings_endpoint == Capability::Unavailable => {
            Next::Stall(Reason::SettingsUnavailable, open.fields())
        }
        SettingsView::Unseen | SettingsView::Patched => Next::Do(Action::ReadSettings),
        SettingsView::Seen { observed, is_patched } => {
            let missing = desired.settings.differing_from(observed);
            if missing.is_empty() {
                let claim = claim.clone().with_settings(desired.settings.clone(), world.settling.now)?;
                Next::Do(Action::WriteClaim(Box::new(claim)))
            } else if *is_patched {
                Next::Stall(Reason::SettingsNotApplied, missing.fields())
            } else {
                Next::Do(Action::PatchSettings(missing))
            }
        }
    })
}
