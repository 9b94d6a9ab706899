//! The end of a resource whose policy is to delete its project: what has to happen before its finalizer falls. Also how an
//! announced deletion is settled where the resource is not, or no longer, being deleted.

use std::time::Duration;

use super::create::look_again;
use super::{Action, IN_FLIGHT, OrphanSeen, Step};
use crate::domain::claim::{Attempt, Claim, Illegal, Origin, Phase, Purpose};
use crate::domain::evidence::{Settling, Verdict, judge};
use crate::domain::ids::ProjectId;
use crate::domain::reason::Reason;
use crate::domain::world::{ClaimView, DeletionPolicy, World};

/// Whether calls may be made for the resource's organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Yes.
    Open,
    /// Not before this time.
    Paused(Duration),
    /// Not at present; a change of the organization wakes the resource.
    Waiting(String),
    /// Not until a person acts; why.
    Blocked(String),
}

/// What the end of a resource depends on. It has the finalizer.
pub struct Leaving<'a> {
    /// The policy in force: what the resource says now; `Retain` where the CustomResourceDefinition itself is going.
    pub policy: DeletionPolicy,
    /// The claim whose owner it is, by UID.
    pub claim: &'a ClaimView,
    /// The id in its status. A hint: it may cost a read, and never authorises anything.
    pub known_id: Option<&'a ProjectId>,
    /// The id, of the claim or of the status, stands in a claim of another owner, or in a tombstone.
    pub is_settled_elsewhere: bool,
    /// A task of this process is waiting for an answer for this claim.
    pub is_in_flight: bool,
    /// Whether calls may be made.
    pub reach: &'a Reach,
    /// Clocks for what is announced and unsettled.
    pub settling: &'a Settling,
    /// What this pass has seen.
    pub seen: &'a OrphanSeen,
}

/// What to do next for a resource that is being deleted.
#[derive(Debug, Clone, PartialEq)]
pub enum LeaveStep {
    /// Remove the finalizer. With `Retain`, the owner reference of the Secret before that.
    Release,
    /// Remove the claim: nothing exists of it, or somebody else's claim has the project.
    RemoveClaim,
    /// Walk over the organization's list.
    ReadEvidence,
    /// Look whether this project is there.
    ReadProject(ProjectId),
    /// Write the claim.
    Write(Box<Claim>),
    /// Write the claim, which announces it; then delete its project, if the policy is still in force.
    Delete(Box<Claim>),
    /// The project is gone: tombstone, then remove the claim.
    Bury,
    /// Look again after this time at the latest.
    Wait(Reason, String, Duration),
    /// A person has to act.
    Stall(Reason, String),
}

/// Decides on a resource that is being deleted.
pub fn leave(leaving: &Leaving<'_>) -> Result<LeaveStep, Illegal> {
    if leaving.policy == DeletionPolicy::Retain {
        return Ok(LeaveStep::Release);
    }
    let step = match leaving.claim {
        ClaimView::Unreadable(why) => LeaveStep::Stall(Reason::ClaimUnreadable, why.clone()),
        ClaimView::Absent => without_claim(leaving),
        ClaimView::Present(record) => with_claim(leaving, &record.claim)?,
    };
    let is_call = matches!(step, LeaveStep::ReadEvidence | LeaveStep::ReadProject(_) | LeaveStep::Delete(_));
    Ok(match leaving.reach {
        _ if !is_call => step,
        Reach::Open => step,
        Reach::Paused(left) => LeaveStep::Wait(Reason::Throttled, String::new(), *left),
        Reach::Waiting(why) => LeaveStep::Wait(Reason::Deleting, why.clone(), super::WATCHED),
        Reach::Blocked(why) => LeaveStep::Stall(Reason::DeletionBlocked, why.clone()),
    })
}

fn without_claim(leaving: &Leaving<'_>) -> LeaveStep {
    match (leaving.known_id, leaving.seen.exists) {
        (None, _) | (_, Some(false)) => LeaveStep::Release,
        (Some(_), _) if leaving.is_settled_elsewhere => LeaveStep::Release,
        (Some(id), None) => LeaveStep::ReadProject(id.clone()),
        (Some(id), Some(true)) => LeaveStep::Stall(Reason::ClaimMissing, format!("project {id}")),
    }
}

fn with_claim(leaving: &Leaving<'_>, claim: &Claim) -> Result<LeaveStep, Illegal> {
    if leaving.is_in_flight {
        return Ok(LeaveStep::Wait(Reason::Deleting, String::new(), IN_FLIGHT));
    }
    if claim.phase() == Phase::Creating {
        return creating(leaving, claim);
    }
    if leaving.is_settled_elsewhere && claim.origin() != Some(Origin::Created) {
        return Ok(LeaveStep::RemoveClaim);
    }
    // A creation that commits late would make the project again.
    let left = leaving.settling.left(claim.attempts());
    if !left.is_zero() {
        return Ok(LeaveStep::Wait(Reason::Deleting, String::new(), left));
    }
    match claim.phase() {
        Phase::Deleting => deleting(leaving, claim),
        _ => announced(leaving, claim.clone().settled()),
    }
}

fn creating(leaving: &Leaving<'_>, claim: &Claim) -> Result<LeaveStep, Illegal> {
    let attempts = claim.attempts();
    if attempts.is_empty() {
        return Ok(LeaveStep::RemoveClaim);
    }
    let Some(evidence) = &leaving.seen.evidence else { return Ok(LeaveStep::ReadEvidence) };
    let settling = leaving.settling;
    let wait = |left| LeaveStep::Wait(Reason::ResolvingOutcome, String::new(), left);
    Ok(match judge(attempts, evidence, settling) {
        Verdict::Ours(id, created_time) => {
            LeaveStep::Write(Box::new(claim.clone().recovered(id, created_time)?))
        }
        Verdict::Wait(left) => wait(look_again(left, settling.settle)),
        Verdict::Absent | Verdict::Taken(_) => LeaveStep::RemoveClaim,
        // One empty walk does not prove that nothing comes any more.
        Verdict::Again => wait(until_proven(settling)),
    })
}

fn announced(leaving: &Leaving<'_>, claim: Claim) -> Result<LeaveStep, Illegal> {
    let purpose = match leaving.policy {
        DeletionPolicy::DeleteAndRevoke => Purpose::DeleteAndRevoke,
        DeletionPolicy::Delete | DeletionPolicy::Retain => Purpose::Delete,
    };
    Ok(LeaveStep::Delete(Box::new(claim.announce_deletion(leaving.settling.now, purpose)?)))
}

/// A deletion was announced. Composio's word that it is done, and an id that is not known any more, are two witnesses;
/// without that word the look itself has two.
fn deleting(leaving: &Leaving<'_>, claim: &Claim) -> Result<LeaveStep, Illegal> {
    let Some(id) = claim.project_id() else { return Ok(LeaveStep::RemoveClaim) };
    let has_receipt = claim.deletion().is_some_and(|deletion| deletion.receipt.is_some());
    let left = deletion_left(claim, leaving.settling);
    // A project that was made just now may be unknown everywhere (API 16, 17), to the deletion too.
    let young = young_for(claim, leaving.settling);
    Ok(match leaving.seen.exists {
        None => LeaveStep::ReadProject(id.clone()),
        Some(false) if !has_receipt && !young.is_zero() => {
            LeaveStep::Wait(Reason::Deleting, String::new(), look_again(young, leaving.settling.settle))
        }
        Some(false) => LeaveStep::Bury,
        Some(true) if has_receipt && !left.is_zero() => {
            LeaveStep::Wait(Reason::Deleting, String::new(), look_again(left, leaving.settling.settle))
        }
        Some(true) => announced(leaving, claim.clone().settled())?,
    })
}

/// Time until a project that is not found is not merely too young to be known.
fn young_for(claim: &Claim, settling: &Settling) -> Duration {
    let age = claim.created_time().map(|created| settling.now.duration_since(created));
    let age = age.map_or(settling.settle, |age| Duration::try_from(age).unwrap_or_default());
    settling.settle.saturating_sub(age)
}

/// The claim is `Deleting`, its owner is not being deleted, and nobody is waiting for the answer: when it is settled, a
/// look tells.
pub(super) fn undecided(world: &World, claim: &Claim) -> Result<Step, Illegal> {
    let is_replaced = is_replaced(claim);
    let left = deletion_left(claim, &world.settling);
    if !left.is_zero() {
        let reason = if is_replaced { Reason::AcquiringKey } else { Reason::ResolvingOutcome };
        return Ok(Step::Wait(reason, String::new(), left));
    }
    let claim = claim.clone();
    Ok(Step::Do(match world.pass.exists {
        None => Action::ReadProject,
        Some(true) => Action::WriteClaim(Box::new(claim.kept()?)),
        Some(false) if is_replaced => Action::WriteClaim(Box::new(claim.gone()?)),
        Some(false) => Action::Bury,
    }))
}

/// Its project is deleted only to be made again.
pub(super) fn is_replaced(claim: &Claim) -> bool {
    claim.deletion().is_some_and(|deletion| deletion.purpose == Purpose::Replace)
}

/// Time until the announced deletion is settled.
pub(super) fn deletion_left(claim: &Claim, settling: &Settling) -> Duration {
    let started_time = claim.deletion_started_time().unwrap_or(settling.now);
    settling.left(&[Attempt { number: 0, started_time, conflict: false }])
}

/// Whether a deletion that was announced earlier may still be carried out. Then it does not count that the next one was
/// refused or not sent: the claim stays `Deleting`, and a look tells when it is settled.
pub fn is_deletion_open(claim: &Claim, settling: &Settling) -> bool {
    claim.phase() == Phase::Deleting && !deletion_left(claim, settling).is_zero()
}

/// Time until a second empty walk is a settle time away from the first.
pub(super) fn until_proven(settling: &Settling) -> Duration {
    let left = settling.settle.saturating_sub(settling.nothing_for.unwrap_or_default());
    left.max(Duration::from_millis(200))
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::domain::claim::{Owner, Record};
    use crate::domain::ids::ProjectName;

    /// A claim whose project was made at this time; then its deletion was announced.
    fn deleting(born: Timestamp) -> Claim {
        let text = |text: &str| text.to_owned();
        let (namespace, namespace_uid, name, uid) = (text("team"), text("n"), text("shop"), text("r"));
        let project_name = ProjectName::try_from(text("shop")).unwrap();
        let owner = Owner { namespace, namespace_uid, name, uid };
        let (claim, _) = Claim::new(owner, text("default"), None, project_name).announce(born).unwrap();
        let claim = claim.recovered(ProjectId::try_from(text("pr_1")).unwrap(), born).unwrap();
        claim.settled().announce_deletion(born, Purpose::Delete).unwrap()
    }

    fn settling(now: Timestamp, seen_for: Duration) -> Settling {
        Settling { now, settle: Duration::from_secs(65), seen_for, nothing_for: None }
    }

    /// What follows for a project that nobody knows, so long after it was made and its deletion was announced.
    fn unknown_after(seconds: i64) -> LeaveStep {
        let born = Timestamp::from_second(1_700_000_000).unwrap();
        let record = Record {
            claim: deleting(born),
            key: None,
            uid: "c".to_owned(),
            resource_version: "1".to_owned(),
        };
        let settling = settling(born + SignedDuration::from_secs(seconds), Duration::ZERO);
        leave(&Leaving {
            policy: DeletionPolicy::Delete,
            claim: &ClaimView::Present(Box::new(record)),
            known_id: None,
            is_settled_elsewhere: false,
            is_in_flight: false,
            reach: &Reach::Open,
            settling: &settling,
            seen: &OrphanSeen { evidence: None, exists: Some(false) },
        })
        .unwrap()
    }

    #[test]
    fn a_project_that_is_too_young_to_be_known_is_not_buried_because_nobody_knows_it() {
        assert!(matches!(unknown_after(1), LeaveStep::Wait(Reason::Deleting, ..)));
        assert_eq!(unknown_after(65), LeaveStep::Bury);
    }

    #[test]
    fn a_deletion_is_open_until_it_is_settled_by_both_clocks() {
        let born = Timestamp::from_second(1_700_000_000).unwrap();
        let (claim, minutes) = (deleting(born), SignedDuration::from_mins(2));
        assert!(is_deletion_open(&claim, &settling(born, Duration::from_secs(65))));
        assert!(is_deletion_open(&claim, &settling(born + minutes, Duration::from_secs(64))));
        assert!(!is_deletion_open(&claim, &settling(born + minutes, Duration::from_secs(65))));
        assert!(!is_deletion_open(&claim.kept().unwrap(), &settling(born, Duration::ZERO)));
    }
}
