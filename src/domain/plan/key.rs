//! From a known project to a known key.

use super::{Action, Step, missing, preflight, secret, suspended};
use crate::domain::claim::{Claim, Illegal, Origin, Purpose};
use crate::domain::reason::Reason;
use crate::domain::world::{Desired, SecretView, World};

/// A project of ours without a key may be replaced for this long after its creation.
const REPLACEABLE_SECONDS: i64 = 3600;
/// A claim that has announced so many creations is not started over again: then it does not help.
const MOST_REPLACEMENTS: u32 = 3;

/// The claim is `KeyPending`.
pub(super) fn pending(desired: &Desired, world: &World, claim: &Claim) -> Result<Step, Illegal> {
    let announced = claim.rotation().filter(|_| claim.is_key_announced());
    if let Some(rotation) = announced {
        // An earlier regenerate may still commit and would kill a key issued now. No workload has a key yet, so that
        // waiting until it is settled costs nothing.
        let left = world.settling.left_of(rotation.started_time);
        if !left.is_zero() {
            return Ok(Step::Wait(Reason::AcquiringKey, String::new(), left));
        }
    } else if desired.is_suspended {
        return Ok(suspended());
    }
    // After a restored ledger the project may be in use: a regenerate, or a deletion, would take its key away.
    if let Some(step) = secret::unproven_key(world) {
        return Ok(step);
    }
    if world.pass.is_key_refused {
        return if desired.is_suspended { Ok(suspended()) } else { refused(world, claim) };
    }
    if announced.is_none() && matches!(world.secret, SecretView::Foreign(_)) {
        return Ok(preflight(desired, world).unwrap_or_else(suspended));
    }
    // What we have made ourselves is made again; what was adopted may be missed.
    if claim.origin() == Some(Origin::Adopted) && !claim.is_key_announced() {
        match missing::next(desired, world, claim)? {
            missing::Next::Do(action) => return Ok(Step::Do(action)),
            missing::Next::Later(step) => return Ok(step),
            missing::Next::There => {}
        }
    }
    let (claim, attempt) = claim.clone().announce_key(world.settling.now)?;
    Ok(Step::Do(Action::AcquireKey { claim: Box::new(claim), attempt }))
}

/// Composio issues no key by regenerate. A project that this claim made just now is empty and useless: it may be made
/// again, this time with a key in the answer. Anything else is kept.
fn refused(world: &World, claim: &Claim) -> Result<Step, Illegal> {
    let is_ours_for_certain = claim.origin() == Some(Origin::Created) && claim.published().is_none();
    let is_young = claim
        .created_time()
        .is_some_and(|created| world.settling.now.duration_since(created).as_secs() < REPLACEABLE_SECONDS);
    if is_ours_for_certain && is_young && claim.last_attempt() < MOST_REPLACEMENTS {
        let claim = claim.clone().announce_deletion(world.settling.now, Purpose::Replace)?;
        return Ok(Step::Do(Action::DeleteUnusable(Box::new(claim))));
    }
    let id = claim.project_id().map(ToString::to_string).unwrap_or_default();
    Ok(Step::Stall(Reason::KeyUnavailable, format!("project {id}")))
}
