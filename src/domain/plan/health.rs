//! Whether the key of an `Owned` claim works, and its replacement where it does not. A key is dead when Composio rejects it
//! and a second witness, the project's own list of keys, agrees; then `spec.onInvalidKey` decides. What was announced and
//! never answered is settled by proofs of the stored key, and repeated where that is dead, because we have killed it.

use std::time::Duration;

use jiff::Timestamp;

use super::{Action, Step, secret};
use crate::domain::budget::Lane;
use crate::domain::claim::{Claim, Illegal, Published, RotationReason};
use crate::domain::evidence::may_be_unseen;
use crate::domain::failure::{Class, Failure};
use crate::domain::reason::Reason;
use crate::domain::world::{
    Capability, Desired, InvalidKeyPolicy, KeyCheck, KeysSeen, OwnKey, SecretView, SettingsView, World,
};

/// Distance of two replacements for the same reason, where both were answered.
const BETWEEN: Duration = Duration::from_hours(1);

/// So long after a key another one may be born of the same request.
const TWICE: Duration = Duration::from_secs(10);

/// What this pass's look at the key leads to.
pub(super) enum Next {
    /// Nothing.
    Fine,
    /// This, now: what follows needs a key that works.
    Do(Action),
    /// This, after what the workloads need is done.
    Later(Step),
}

/// What follows from what was seen of the key of an `Owned` claim.
pub(super) fn next(desired: &Desired, world: &World, claim: &Claim) -> Result<Next, Illegal> {
    match &world.pass.key {
        // A new key could not be published.
        _ if matches!(world.secret, SecretView::Foreign(_)) => Ok(Next::Fine),
        KeyCheck::Unseen => Ok(Next::Fine),
        KeyCheck::Lives => Ok(lives(world, claim)),
        KeyCheck::Rejected(words) => rejected(desired, world, claim, words),
    }
}

/// The look itself, after what the workloads need is done; `None` where nothing points to it. Where it was asked for, a look
/// at the settings has come before, which is the same proof.
pub(super) fn look(desired: &Desired, world: &World, claim: &Claim) -> Option<Step> {
    let health = &desired.key_health;
    let is_wanted =
        claim.is_rotation_open() || health.is_asked || health.is_reported || world.is_key_suspected;
    if world.pass.key != KeyCheck::Unseen || !is_wanted {
        return None;
    }
    Some(match &world.pass.settings {
        SettingsView::Failed(failure) if failure.class == Class::Terminal => {
            Step::Stall(failure.reason, failure.detail.clone())
        }
        SettingsView::Failed(failure) => Step::Fail(failure.clone()),
        _ => Step::Do(Action::ProveOwnKey { lane: lane(desired, world, claim) }),
    })
}

/// What proves a replacement, or leads to one, goes first; nobody waits for a look that only repeats what the status says
/// already.
fn lane(desired: &Desired, world: &World, claim: &Claim) -> Lane {
    let health = &desired.key_health;
    let is_repeated = health.is_reported && !health.is_asked;
    match &world.pass.key {
        _ if claim.is_rotation_open() => Lane::Urgent,
        KeyCheck::Rejected(_) if !is_repeated => Lane::Urgent,
        _ if health.is_asked => Lane::Work,
        _ => Lane::Observe,
    }
}

/// The last of those that are not answered may still be carried out until it is settled.
fn lives(world: &World, claim: &Claim) -> Next {
    let Some(rotation) = claim.rotation().filter(|rotation| rotation.is_open()) else {
        return Next::Fine;
    };
    let open = rotation.open_since().map(|_| world.settling.left_of(rotation.started_time));
    match open.filter(|left| !left.is_zero()) {
        Some(left) => Next::Later(Step::Wait(Reason::Rotating, String::new(), left)),
        None => Next::Do(Action::WriteClaim(Box::new(claim.clone().key_proven()))),
    }
}

fn rejected(desired: &Desired, world: &World, claim: &Claim, words: &str) -> Result<Next, Illegal> {
    let undecided = |what: &str| {
        let detail = format!("Composio rejects the project's key ({words}), {what}");
        Ok(Next::Later(Step::Fail(Failure::transient(detail))))
    };
    let is_fresh = claim.key().is_some_and(|key| world.settling.is_fresh(key.issued_time));
    match &world.pass.keys {
        _ if is_fresh => undecided("which was issued a moment ago and may not be known everywhere yet"),
        None => Ok(Next::Do(Action::ReadKeys { lane: lane(desired, world, claim) })),
        Some(KeysSeen::NoProject) => undecided("and one of two witnesses does not know the project"),
        Some(KeysSeen::Listed { own: OwnKey::Listed, .. }) => undecided("and still lists it"),
        Some(KeysSeen::Listed { own: OwnKey::Unlisted | OwnKey::Expired, others }) => {
            dead(desired, world, claim, words, others)
        }
    }
}

/// The key works nowhere any more. `others` are the births of the project's other keys.
fn dead(
    desired: &Desired,
    world: &World,
    claim: &Claim,
    words: &str,
    others: &[Timestamp],
) -> Result<Next, Illegal> {
    let stall = |reason, detail: String| Ok(Next::Later(Step::Stall(reason, detail)));
    let is_open = claim.is_key_doubtful();
    let foreign = if is_unseen(world, claim, others) { 0 } else { others.len() };
    match desired.key_health.on_invalid {
        // What we have killed ourselves we replace, whatever the spec says.
        InvalidKeyPolicy::Report if !is_open => return stall(Reason::KeyRejected, words.to_owned()),
        InvalidKeyPolicy::RegenerateIfNoneLeft | InvalidKeyPolicy::Report if foreign > 0 => {
            let detail =
                format!("{words}; the project has other keys ({foreign}), which a new one would kill");
            return stall(Reason::KeyRejected, detail);
        }
        InvalidKeyPolicy::RegenerateIfNoneLeft | InvalidKeyPolicy::Regenerate | InvalidKeyPolicy::Report => {}
    }
    if let Some((last, _)) = claim.last_rotation().filter(|_| !is_open)
        && let left = BETWEEN.saturating_sub(age(world, last.started_time))
        && !left.is_zero()
    {
        let detail =
            format!("{words}; it was replaced less than an hour ago, and is replaced again after it");
        return Ok(Next::Later(Step::Wait(Reason::KeyRejected, detail, left)));
    }
    let is_known_refused = desired.regenerate_key == Capability::Unavailable && !desired.key_health.is_asked;
    if world.pass.is_key_refused || is_known_refused {
        return stall(Reason::RotationNotEnabled, words.to_owned());
    }
    replace(desired, world, claim)
}

/// Whether the only other key is one that we have had issued and never seen: its answer was lost, or a gateway carried the
/// request out twice, and answered with the key that the second time has killed.
fn is_unseen(world: &World, claim: &Claim, others: &[Timestamp]) -> bool {
    let Some(rotation) = claim.rotation() else { return false };
    let is_lost = rotation
        .open_since()
        .is_some_and(|first| may_be_unseen(others, first, rotation.started_time, world.settling.settle));
    let issued = claim.key().map(|key| key.issued_time);
    is_lost || issued.is_some_and(|issued| may_be_unseen(others, issued, issued, TWICE))
}

fn replace(desired: &Desired, world: &World, claim: &Claim) -> Result<Next, Illegal> {
    // Until its UID is on record, the Secret is known by the key in it.
    if let (None, SecretView::Ours { uid, .. }) = (claim.published(), &world.secret) {
        let published = Published { name: desired.secret.name.clone(), uid: uid.clone() };
        return Ok(Next::Do(secret::record(world, claim, published)?));
    }
    let (claim, attempt) = claim.clone().announce_rotation(world.settling.now, RotationReason::InvalidKey)?;
    Ok(Next::Do(Action::AcquireKey { claim: Box::new(claim), attempt }))
}

fn age(world: &World, time: Timestamp) -> Duration {
    Duration::try_from(world.settling.now.duration_since(time)).unwrap_or_default()
}
