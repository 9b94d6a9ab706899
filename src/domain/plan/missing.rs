//! A project that somebody else has deleted. Two witnesses decide, the read by id and the complete list, and only when both
//! have said so twice, a settle time apart. They are asked when something points to it: a sweep that does not list it, a key
//! that Composio rejects and a read that does not know the project, or a person. No read for every project, and no walk for
//! a single one: that would be a storm.

use std::time::Duration;

use super::{Action, Step};
use crate::domain::budget::Lane;
use crate::domain::claim::{Claim, Illegal};
use crate::domain::failure::Failure;
use crate::domain::reason::Reason;
use crate::domain::takeover::{MissingPolicy, Presence, Suspicion};
use crate::domain::world::{Desired, KeyCheck, KeysSeen, World};

/// What the suspicion leads to.
pub(super) enum Next {
    /// Nothing: the project is there, as far as anything shows.
    There,
    /// This, now.
    Do(Action),
    /// This, after what the workloads need is done.
    Later(Step),
}

/// For a claim with a project whose key is settled.
pub(super) fn next(desired: &Desired, world: &World, claim: &Claim) -> Result<Next, Illegal> {
    let spec = &desired.take_over.spec;
    let is_key_rejected =
        matches!((&world.pass.key, &world.pass.keys), (KeyCheck::Rejected(_), Some(KeysSeen::NoProject)));
    let is_suspected = spec.suspicion != Suspicion::None
        || world.take_over.gone_for.is_some()
        || world.take_over.is_doubted
        || is_key_rejected;
    if !is_suspected {
        return Ok(Next::There);
    }
    let settle = world.settling.settle;
    let left = settle.saturating_sub(world.take_over.gone_for.unwrap_or_default());
    let seen = world.pass.take_over.presence.as_ref();
    match seen.filter(|(id, _)| Some(id) == claim.project_id()).map(|(_, presence)| *presence) {
        None if world.take_over.gone_for.is_some() && !left.is_zero() => {
            Ok(Next::Later(doubted(desired, claim, left)))
        }
        None => {
            let is_asked = spec.suspicion == Suspicion::Asked;
            let lane = if is_asked { Lane::Work } else { Lane::Observe };
            Ok(Next::Do(Action::LookForProject { lane }))
        }
        Some(Presence::There | Presence::Withheld) => Ok(Next::There),
        // Whoever waits is told as soon as the list is there.
        Some(Presence::Unclear) => Ok(Next::Later(doubted(desired, claim, settle))),
        Some(Presence::Gone) => Ok(Next::Later(doubted(desired, claim, left.max(settle / 8)))),
        Some(Presence::GoneAgain) if spec.on_missing == MissingPolicy::Recreate => {
            Ok(Next::Do(Action::WriteClaim(Box::new(claim.clone().lost()?))))
        }
        Some(Presence::GoneAgain) => Ok(Next::Later(Step::Stall(Reason::ProjectMissing, named(claim)))),
    }
}

/// Not proven yet: what was Ready stays so, and what was reported stays reported.
fn doubted(desired: &Desired, claim: &Claim, left: Duration) -> Step {
    let left = left.max(Duration::from_millis(200));
    match desired.take_over.spec.suspicion {
        Suspicion::Reported => Step::Wait(Reason::ProjectMissing, named(claim), left),
        Suspicion::None | Suspicion::Asked => Step::Fail(Failure {
            retry_after: Some(left),
            ..Failure::transient(format!(
                "{} was not found at Composio and is looked for once more",
                named(claim)
            ))
        }),
    }
}

fn named(claim: &Claim) -> String {
    let id = claim.project_id().map(ToString::to_string).unwrap_or_default();
    format!("project {:?} ({id})", claim.project_name().as_str())
}
