//! What to do next for one project: one readable list of precedence. Pure; the shell executes one action and asks again.
//!
//! claim → key → settings → Secret → record → health of the key. Suspension, namespace and organization come before, in `validate`, which
//! needs no look at the world. A resource that is being deleted goes another way: [`leave`].

mod adopt;
mod create;
mod delete;
mod health;
mod key;
#[cfg(test)]
mod laws;
mod missing;
#[cfg(test)]
mod model;
mod orphan;
mod secret;
mod settings;
#[cfg(test)]
mod tests;
mod validate;

use std::time::Duration;

pub(crate) use self::create::name_taken;
pub use self::delete::{LeaveStep, Leaving, Reach, is_deletion_open, leave};
pub use self::orphan::{OrphanSeen, OrphanStep, orphan};
pub use self::secret::{superseded_left, without_calls};
pub use self::settings::open as open_settings;
pub use self::validate::{Scope, Wish, validate};
use super::budget::{Lane, Room};
use super::claim::{Claim, Illegal, Phase, Record, Superseded};
use super::failure::Failure;
use super::reason::Reason;
use super::settings::Settings;
use super::takeover::ProvenKey;
use super::world::{ClaimView, Desired, SecretView, World};

/// What one look at the world leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Not ours to touch: not a single write.
    Ignore,
    /// Do this, then look again.
    Do(Action),
    /// Something else has to happen first; look again after this time at the latest.
    Wait(Reason, String, Duration),
    /// A person has to act.
    Stall(Reason, String),
    /// Something that was tried has failed; what did not depend on it is done.
    Fail(Failure),
    /// Everything that the spec asks is so.
    Done,
}

/// One thing to do. At most one remote mutation, framed by writes of the claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Write the claim (create it where there is none), which announces `attempt`; then create the project.
    CreateProject {
        /// With the attempt in it.
        claim: Box<Claim>,
        /// Its number.
        attempt: u32,
        /// To be given at creation.
        config: Option<Settings>,
    },
    /// Write the claim, nothing else.
    WriteClaim(Box<Claim>),
    /// Write the claim, then end the pass with this failure.
    Conclude(Box<Claim>, Failure),
    /// Walk over the organization's list, and read the project by id where it is worth it.
    ReadEvidence,
    /// Write the claim, which announces `attempt`; then have a new key issued.
    AcquireKey {
        /// With the announcement in it.
        claim: Box<Claim>,
        /// Its number.
        attempt: u32,
    },
    /// Write the claim, which announces it; then delete its project, which is ours for certain, empty, and can never
    /// have a key.
    DeleteUnusable(Box<Claim>),
    /// The claim's project was deleted for an owner that is gone: tombstone, then remove the claim.
    Bury,
    /// Read the claim's project by id.
    ReadProject,
    /// Read the settings with the project's key.
    ReadSettings {
        /// What the look is for: `Observe` is the one of the schedule.
        lane: Lane,
    },
    /// Change these members with the project's key.
    PatchSettings(Settings),
    /// Prove the key that was found in the Secret; if it lives, write the claim with it.
    ProveKey,
    /// Prove the claim's key by a call of its own.
    ProveOwnKey {
        /// What the look is for: `Observe` is the one of the schedule where no settings can be read, or repeats what the
        /// status says already.
        lane: Lane,
    },
    /// Read which keys the claim's project has; if that of the claim is among them, prove it once more.
    ReadKeys {
        /// What the look is for.
        lane: Lane,
    },
    /// Create or update the Secret.
    PublishSecret,
    /// Remove a Secret that was renamed away, if it is still ours; then write the claim, which does not know it any more.
    RemoveSuperseded(Superseded, Box<Claim>),
    /// Look at the project that `spec.adopt` names, or that the key in the resource's Secret may open, and at that key.
    ReadCandidate,
    /// Write the claim, which takes up a project that nobody has a claim of, with its key where that was proven.
    TakeUp {
        /// With the project in it.
        claim: Box<Claim>,
        /// Its key.
        key: Option<Box<ProvenKey>>,
    },
    /// Look for the claim's project by id and, if it is not known so, in the whole list.
    LookForProject {
        /// What the look is for.
        lane: Lane,
    },
}

impl Action {
    /// What it needs of the organization's budget.
    pub fn cost(&self) -> Cost {
        match self {
            Action::WriteClaim(_)
            | Action::Conclude(..)
            | Action::PublishSecret
            | Action::RemoveSuperseded(..)
            | Action::TakeUp { .. }
            | Action::Bury => Cost::Nothing,
            Action::ReadEvidence
            | Action::ReadProject
            | Action::PatchSettings(_)
            | Action::ProveKey
            | Action::ReadCandidate => Cost::Calls(Lane::Work),
            Action::ReadSettings { lane }
            | Action::ProveOwnKey { lane }
            | Action::ReadKeys { lane }
            | Action::LookForProject { lane } => Cost::Calls(*lane),
            Action::CreateProject { .. } => Cost::Mutation(Lane::Work),
            Action::AcquireKey { .. } | Action::DeleteUnusable(_) => Cost::Mutation(Lane::Urgent),
        }
    }
}

/// What an action needs of the organization's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// No call to Composio.
    Nothing,
    /// Calls that ask the budget for themselves.
    Calls(Lane),
    /// A mutation that is announced, and for which there must be room before that.
    Mutation(Lane),
}

impl Cost {
    /// The lane of its calls; `None` where there are none.
    pub fn lane(self) -> Option<Lane> {
        match self {
            Cost::Nothing => None,
            Cost::Calls(lane) | Cost::Mutation(lane) => Some(lane),
        }
    }
}

/// Distance to the next look where only another object's change helps, and a watch tells of it.
pub const WATCHED: Duration = Duration::from_mins(10);
/// The same where the watch may tell of it between two reads of one pass.
const HELD: Duration = Duration::from_secs(30);
/// Distance to the next look where a task of this process is about to finish.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// Decides. An illegal transition is a fault of ours and ends as [`Reason::InternalError`].
pub fn plan(desired: &Desired, world: &World) -> Step {
    match decide(desired, world) {
        Ok(Step::Do(action)) => closed(desired, &action).map_or(Step::Do(action), throttled),
        Ok(step) => step,
        Err(illegal) => Step::Stall(Reason::InternalError, illegal.to_string()),
    }
}

/// The lane of what is to be done next, whether there is room for it or not; `None` where that needs no call.
pub fn wanted_lane(desired: &Desired, world: &World) -> Option<Lane> {
    match plan(&Desired { room: Room::default(), ..desired.clone() }, world) {
        Step::Do(action) => action.cost().lane(),
        _ => None,
    }
}

/// How long there is no room for the action.
fn closed(desired: &Desired, action: &Action) -> Option<Duration> {
    action.cost().lane().and_then(|lane| desired.room.left(lane))
}

fn decide(desired: &Desired, world: &World) -> Result<Step, Illegal> {
    let record = match &world.claim {
        ClaimView::Unreadable(why) => return Ok(Step::Stall(Reason::ClaimUnreadable, why.clone())),
        ClaimView::Absent => return create::first(desired, world),
        ClaimView::Present(record) => record,
    };
    if record.claim.owner().uid != desired.uid {
        return Ok(take_over(desired, world, record));
    }
    if world.is_in_flight {
        let awaited = if record.claim.phase() == Phase::Owned { Reason::Rotating } else { Reason::Creating };
        return Ok(Step::Wait(awaited, String::new(), IN_FLIGHT));
    }
    let step = match record.claim.phase() {
        Phase::Creating => create::creating(desired, world, &record.claim),
        Phase::KeyPending => key::pending(desired, world, &record.claim),
        Phase::Deleting => delete::undecided(world, &record.claim),
        Phase::Owned => owned(desired, world, record),
    };
    step.map(|step| adopt::mismatch(desired, &record.claim, step))
}

/// The claim belongs to another resource. While that exists, this one waits; afterwards the same namespace (by UID)
/// takes the claim back, since a resource may be renamed; another one needs a grant: it must not inherit a key.
fn take_over(desired: &Desired, world: &World, record: &Record) -> Step {
    let (theirs, ours) = (record.claim.owner(), &world.owner);
    // In a ledger that was restored for a namespace that was not there yet, its UID is empty: the first of that name has
    // it, and only for a resource of the same name.
    let is_restored = theirs.namespace_uid.is_empty() && theirs.name == ours.name;
    let same_namespace =
        theirs.namespace == ours.namespace && (theirs.namespace_uid == ours.namespace_uid || is_restored);
    if world.is_held {
        let holder = if same_namespace {
            format!("ComposioProject {:?}", theirs.name)
        } else {
            "a ComposioProject of another namespace".to_owned()
        };
        let detail = format!("{holder} manages {:?}", record.claim.project_name().as_str());
        return Step::Wait(Reason::ClaimHeld, detail, HELD);
    }
    if !same_namespace && !desired.take_over.permit.grants(record.claim.project_id()) {
        return Step::Stall(Reason::RebindDenied, format!("{:?}", record.claim.project_name().as_str()));
    }
    if desired.is_suspended {
        return suspended();
    }
    Step::Do(Action::WriteClaim(Box::new(record.claim.clone().rebound(ours.clone()))))
}

fn owned(desired: &Desired, world: &World, record: &Record) -> Result<Step, Illegal> {
    let claim = &record.claim;
    if !claim.attempts().is_empty() && world.settling.left(claim.attempts()).is_zero() {
        return Ok(Step::Do(Action::WriteClaim(Box::new(claim.clone().settled()))));
    }
    let key = health::next(desired, world, claim)?;
    if desired.is_suspended {
        // What is finished must not overwrite or replace a key that was found meanwhile.
        let found = secret::unproven_key(world).filter(|_| claim.is_rotation_open());
        return found.map_or_else(|| finished(desired, world, claim, key), Ok);
    }
    if let Some(step) = secret::unproven_key(world) {
        return Ok(step);
    }
    // A Secret that was there before is restored whatever the settings need; the first one comes after them.
    if claim.published().is_some()
        && let Some(step @ Step::Do(_)) = secret::publish(desired, world, claim)?
    {
        return Ok(step);
    }
    let missing = missing::next(desired, world, claim)?;
    // A failure of the settings does not keep the key from its workloads: it is reported after the Secret.
    let settings = settings::next(desired, world, claim)?;
    // What replaces a key can be published for certain where the present one is.
    let is_ours = matches!(world.secret, SecretView::Ours { .. });
    let first = match (&missing, &key, &settings) {
        (missing::Next::There, health::Next::Do(action), _) if is_ours => Some(action),
        (missing::Next::There, health::Next::Fine, settings::Next::Do(action)) => Some(action),
        _ => None,
    };
    if let Some(action) = first.filter(|action| closed(desired, action).is_none()) {
        return Ok(Step::Do(action.clone()));
    }
    if let Some(step) = secret::publish(desired, world, claim)?.or_else(|| secret::superseded(world, claim)) {
        return Ok(step);
    }
    match missing {
        missing::Next::Later(step) => return Ok(step),
        missing::Next::Do(action) => return Ok(Step::Do(action)),
        missing::Next::There => {}
    }
    match key {
        health::Next::Later(step) => return Ok(step),
        health::Next::Do(action) => return Ok(Step::Do(action)),
        health::Next::Fine => {}
    }
    if let Some(step) = health::look(desired, world, claim) {
        return Ok(step);
    }
    Ok(match settings {
        settings::Next::Stall(reason, detail) => Step::Stall(reason, detail),
        settings::Next::Fail(failure) => Step::Fail(failure),
        settings::Next::Do(action) => Step::Do(action),
        settings::Next::Synced => Step::Done,
    })
}

/// What is still done about the key of a suspended resource: a replacement that was announced comes to its end, which is
/// that the workloads have a key that works.
fn finished(desired: &Desired, world: &World, claim: &Claim, key: health::Next) -> Result<Step, Illegal> {
    if !claim.is_rotation_open() {
        return Ok(suspended());
    }
    let is_stored = !claim.is_key_announced();
    if is_stored && let Some(step @ Step::Do(Action::PublishSecret)) = secret::publish(desired, world, claim)?
    {
        return Ok(step);
    }
    Ok(match (key, health::look(desired, world, claim)) {
        (health::Next::Do(action), _) if !is_stored => Step::Do(action),
        // The proof that it lives.
        (health::Next::Do(action @ Action::WriteClaim(_)), _) => Step::Do(action),
        (health::Next::Fine, Some(step)) => step,
        _ => suspended(),
    })
}

/// What must hold before the first remote call, and before each later creation.
fn preflight(desired: &Desired, world: &World) -> Option<Step> {
    if desired.is_suspended {
        return Some(suspended());
    }
    if let SecretView::Foreign(whose) = &world.secret {
        return Some(secret_conflict(whose));
    }
    settings::preflight(desired)
}

fn throttled(left: Duration) -> Step {
    Step::Wait(Reason::Throttled, String::new(), left)
}

fn secret_conflict(whose: &str) -> Step {
    Step::Stall(Reason::SecretConflict, whose.to_owned())
}

pub(super) fn suspended() -> Step {
    Step::Wait(Reason::Suspended, String::new(), WATCHED)
}
