//! The published Secret: when it is written, what is recorded of it, when one that was renamed away is removed, and the
//! key in it that the claim does not know. Whose a Secret is, `controller::secrets` tells.

use std::time::Duration;

use super::{Action, Step, secret_conflict};
use crate::domain::claim::{Claim, Illegal, Phase, Published, Superseded};
use crate::domain::world::{Desired, SecretView, World};

/// A key that was found and is worth a proof comes before everything that would overwrite or replace it.
pub(super) fn unproven_key(world: &World) -> Option<Step> {
    let version = world.unproven_key.as_ref()?;
    (world.pass.disproved.as_ref() != Some(version)).then_some(Step::Do(Action::ProveKey))
}

/// What is to be done about the Secret of an `Owned` claim; `None` where it is as it must be.
pub(super) fn publish(desired: &Desired, world: &World, claim: &Claim) -> Result<Option<Step>, Illegal> {
    if let Some(earlier) = &world.earlier {
        return Ok(Some(Step::Do(record(world, claim, earlier.clone())?)));
    }
    Ok(match &world.secret {
        SecretView::Foreign(whose) => Some(secret_conflict(whose)),
        SecretView::Absent | SecretView::Ours { is_current: false, .. } => {
            Some(Step::Do(Action::PublishSecret))
        }
        SecretView::Ours { uid, is_current: true, .. } => {
            let published = Published { name: desired.secret.name.clone(), uid: uid.clone() };
            // The first one not in the pass that wrote it: until then the process remembers it, and it is known by the
            // key in it, and a creation stays within its writes. Later ones at once.
            let is_due = !world.pass.has_mutated || claim.published().is_some();
            match is_due && claim.published() != Some(&published) {
                true => Some(Step::Do(record(world, claim, published)?)),
                false => None,
            }
        }
    })
}

/// Puts the UID of the published Secret on record.
pub(super) fn record(world: &World, claim: &Claim, published: Published) -> Result<Action, Illegal> {
    let claim = claim.clone().publishing(published, world.settling.now)?;
    Ok(Action::WriteClaim(Box::new(claim)))
}

/// A Secret that was renamed away is removed when workloads have had time to change over.
pub(super) fn superseded(world: &World, claim: &Claim) -> Option<Step> {
    let due = claim.superseded().iter().find(|old| left(world, old).is_zero())?;
    let claim = Box::new(claim.clone().without_superseded(&due.uid));
    Some(Step::Do(Action::RemoveSuperseded(due.clone(), claim)))
}

/// Time until the next superseded Secret is to be removed.
pub fn superseded_left(world: &World, claim: &Claim) -> Option<Duration> {
    claim.superseded().iter().map(|old| left(world, old)).min()
}

fn left(world: &World, old: &Superseded) -> Duration {
    let age = Duration::try_from(world.settling.now.duration_since(old.since_time)).unwrap_or_default();
    world.superseded_retention.saturating_sub(age)
}

/// What of all this is done while no calls may be made, with what the claim alone knows. `None`: nothing.
pub fn without_calls(desired: &Desired, world: &World, claim: &Claim) -> Result<Option<Action>, Illegal> {
    let is_idle = desired.is_suspended || world.is_in_flight || unproven_key(world).is_some();
    if is_idle || claim.phase() != Phase::Owned {
        return Ok(None);
    }
    Ok(match publish(desired, world, claim)? {
        Some(Step::Do(action)) => Some(action),
        _ => None,
    })
}
