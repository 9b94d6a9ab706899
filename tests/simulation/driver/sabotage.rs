//! Where guards are taken away: what goes into the decisions, and what comes out of them, as it would be without one.
//! With all guards in force nothing here changes anything.

use std::time::Duration;

use composio_operator::domain::answer::Answer;
use composio_operator::domain::claim::{
    Attempt, Claim, Illegal, Merge, Owner, Phase, Record, merge as merged,
};
use composio_operator::domain::evidence::{Detail, Settling};
use composio_operator::domain::plan::{self, Action, OrphanSeen, OrphanStep, Step};
use composio_operator::domain::world::{ClaimView, Desired, SecretView, World};
use jiff::{SignedDuration, Timestamp};

use crate::guard::Guard;
use crate::realm::Ctx;

/// The clocks, as far as they are looked at.
pub(super) fn settling(ctx: &Ctx, claim: &Claim, mut settling: Settling) -> Settling {
    if !ctx.has(Guard::SettleByOwnClock) {
        settling.seen_for = Duration::MAX;
    }
    if !ctx.has(Guard::TwoEmptyWalks) {
        settling.nothing_for = settling.nothing_for.map(|_| Duration::MAX);
    }
    let is_unsettled = match claim.phase() {
        Phase::KeyPending => !ctx.has(Guard::KeySettle),
        Phase::Deleting => !ctx.has(Guard::DeletionSettle),
        Phase::Creating | Phase::Owned => false,
    };
    if is_unsettled {
        settling.settle = Duration::ZERO;
    }
    settling
}

/// The same for a resource that leaves.
pub(super) fn leaving(ctx: &Ctx, claim: &Claim, settling: Settling) -> Settling {
    let mut settling = self::settling(ctx, claim, settling);
    if !ctx.has(Guard::LeavingSettle) {
        settling.settle = Duration::ZERO;
        settling.nothing_for = Some(Duration::MAX);
    }
    settling
}

/// The decision; without the server's clock as if much of its time had passed.
pub(super) fn plan(ctx: &Ctx, desired: &Desired, world: &World) -> Step {
    if !ctx.has(Guard::OncePerHour) {
        return plan::plan(desired, &World { claim: long_replaced(&world.claim), ..world.clone() });
    }
    if ctx.has(Guard::SettleByServerClock) {
        return plan::plan(desired, world);
    }
    let mut later = world.clone();
    later.settling.now += SignedDuration::from_hours(1);
    let real = |claim: Box<Claim>| Box::new(retimed(&claim, later.settling.now, world.settling.now));
    match plan::plan(desired, &later) {
        Step::Do(Action::CreateProject { claim, attempt, config }) => {
            Step::Do(Action::CreateProject { claim: real(claim), attempt, config })
        }
        Step::Do(Action::AcquireKey { claim, attempt }) => {
            Step::Do(Action::AcquireKey { claim: real(claim), attempt })
        }
        Step::Do(Action::DeleteUnusable(claim)) => Step::Do(Action::DeleteUnusable(real(claim))),
        step => step,
    }
}

/// As if the last replacement of a key that was answered were long ago.
fn long_replaced(view: &ClaimView) -> ClaimView {
    let ClaimView::Present(record) = view else { return view.clone() };
    let Some((last, _)) = record.claim.last_rotation().filter(|_| !record.claim.is_key_doubtful()) else {
        return view.clone();
    };
    let mut json = serde_json::to_value(&record.claim).unwrap();
    let long_ago = last.started_time - SignedDuration::from_hours(2);
    json["rotation"]["startedTime"] = serde_json::to_value(long_ago).unwrap();
    ClaimView::Present(Box::new(Record {
        claim: serde_json::from_value(json).unwrap(),
        ..(**record).clone()
    }))
}

/// A claim with one moment replaced by another.
fn retimed(claim: &Claim, from: Timestamp, to: Timestamp) -> Claim {
    let json = serde_json::to_string(claim).unwrap();
    serde_json::from_str(&json.replace(&from.to_string(), &to.to_string())).unwrap()
}

/// Whether somebody who does not wait looks at the outcome of a creation.
pub(super) fn is_impatient(ctx: &Ctx) -> bool {
    let patience =
        [Guard::SettleByOwnClock, Guard::SettleByServerClock, Guard::OrphanSettle, Guard::LeavingSettle];
    patience.into_iter().any(|guard| !ctx.has(guard))
}

pub(super) fn orphan(
    ctx: &Ctx,
    claim: &Claim,
    is_in_flight: bool,
    seen: &OrphanSeen,
    settling: Settling,
) -> Result<OrphanStep, Illegal> {
    let mut settling = self::settling(ctx, claim, settling);
    if !ctx.has(Guard::OrphanSettle) && claim.phase() == Phase::Creating {
        settling.settle = Duration::ZERO;
        settling.nothing_for = Some(Duration::MAX);
    }
    if !ctx.has(Guard::SettleByServerClock) {
        settling.now += SignedDuration::from_hours(1);
    }
    plan::orphan(claim, is_in_flight, seen, &settling)
}

pub(super) fn is_held(ctx: &Ctx, is_held: bool) -> bool {
    is_held && ctx.has(Guard::HolderAlive)
}

/// Without the guard a namespace is known by its name.
pub(super) fn owner(ctx: &Ctx, mut owner: Owner, record: Option<&Record>) -> Owner {
    let theirs = record.map(|record| record.claim.owner());
    if let Some(theirs) = theirs.filter(|_| !ctx.has(Guard::NamespaceUid))
        && theirs.namespace == owner.namespace
    {
        owner.namespace_uid.clone_from(&theirs.namespace_uid);
    }
    owner
}

pub(super) fn secret(ctx: &Ctx, view: SecretView) -> SecretView {
    match view {
        SecretView::Foreign(_) if !ctx.has(Guard::ForeignSecret) => {
            SecretView::Ours { uid: String::new(), has_key: false, is_current: false }
        }
        view => view,
    }
}

pub(super) fn created_time(ctx: &Ctx, created: Timestamp, attempts: &[Attempt]) -> Timestamp {
    let youngest = attempts.iter().map(|attempt| attempt.started_time).max();
    youngest.filter(|_| !ctx.has(Guard::Window)).unwrap_or(created)
}

pub(super) fn detail(ctx: &Ctx, detail: Detail, created: Timestamp) -> Detail {
    match ctx.has(Guard::Untouched) && ctx.has(Guard::Window) {
        true => detail,
        // A project outside every window is as touched as it is.
        false if ctx.has(Guard::Untouched) && (detail.is_used || detail.keys.len() != 1) => detail,
        false => Detail { keys: vec![created], is_used: false },
    }
}

pub(super) fn merge(
    ctx: &Ctx,
    current: Option<&Record>,
    announced_by: &str,
    attempt: u32,
    answer: &Answer,
) -> Merge {
    let secret = ctx.with(|realm| realm.fingerprint_key.clone());
    if !ctx.has(Guard::ReplacementDoubt) {
        return match merged(current, announced_by, attempt, answer, &secret) {
            Merge::Write(claim, key) if !claim.is_key_announced() => {
                let mut json = serde_json::to_value(&*claim).unwrap();
                json["rotation"].as_object_mut().map(|rotation| rotation.remove("doubtfulSince"));
                Merge::Write(Box::new(serde_json::from_value(json).unwrap()), key)
            }
            merge => merge,
        };
    }
    let doubtful = current.filter(|record| record.claim.is_key_doubtful() && !ctx.has(Guard::DoubtfulKey));
    let Some(record) = doubtful else {
        return merged(current, announced_by, attempt, answer, &secret);
    };
    let mut json = serde_json::to_value(&record.claim).unwrap();
    json.as_object_mut().unwrap().remove("rotation");
    let record = Record { claim: serde_json::from_value(json).unwrap(), ..record.clone() };
    merged(Some(&record), announced_by, attempt, answer, &secret)
}
