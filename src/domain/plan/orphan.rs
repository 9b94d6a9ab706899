//! Claims whose owner is gone. What is known is kept (*retained*); what is uncertain is settled by evidence or a read;
//! what never came to be is removed.

use std::time::Duration;

use super::create::look_again;
use super::delete;
use crate::domain::claim::{Claim, Illegal, Phase};
use crate::domain::evidence::{Evidence, Settling, Verdict, judge};

/// What to do with an ownerless claim.
#[derive(Debug, Clone, PartialEq)]
pub enum OrphanStep {
    /// Nothing: it is retained.
    Keep,
    /// Nothing exists of it: remove it.
    Remove,
    /// Its project was deleted: tombstone, then remove it.
    Bury,
    /// Walk over the organization's list first.
    ReadEvidence,
    /// Read the claim's project by id first.
    ReadProject,
    /// Write this, then look again.
    Write(Box<Claim>),
    /// Not settled yet; look again within this time.
    Wait(Duration),
}

/// What this pass has seen of an ownerless claim.
#[derive(Debug, Clone, Default)]
pub struct OrphanSeen {
    /// A complete walk over the list.
    pub evidence: Option<Evidence>,
    /// A read by id knows the claim's project.
    pub exists: Option<bool>,
}

/// Decides on a claim whose owner is gone for certain (a live read, by UID).
pub fn orphan(
    claim: &Claim,
    is_in_flight: bool,
    seen: &OrphanSeen,
    settling: &Settling,
) -> Result<OrphanStep, Illegal> {
    if is_in_flight {
        return Ok(OrphanStep::Wait(super::IN_FLIGHT));
    }
    match (claim.phase(), claim.attempts(), &seen.evidence) {
        (Phase::Owned | Phase::KeyPending, ..) => Ok(OrphanStep::Keep),
        (Phase::Deleting, ..) => deleting(claim, seen.exists, settling),
        (Phase::Creating, [], _) => Ok(OrphanStep::Remove),
        (Phase::Creating, _, None) => Ok(OrphanStep::ReadEvidence),
        (Phase::Creating, attempts, Some(evidence)) => Ok(match judge(attempts, evidence, settling) {
            Verdict::Ours(id, created_time) => {
                OrphanStep::Write(Box::new(claim.clone().recovered(id, created_time)?))
            }
            Verdict::Wait(left) => OrphanStep::Wait(look_again(left, settling.settle)),
            Verdict::Absent | Verdict::Taken(_) => OrphanStep::Remove,
            // One empty walk allows another attempt, but does not prove that the first one came to nothing.
            Verdict::Again => OrphanStep::Wait(delete::until_proven(settling)),
        }),
    }
}

/// A deletion was announced: when it is settled, a read by id tells.
fn deleting(claim: &Claim, exists: Option<bool>, settling: &Settling) -> Result<OrphanStep, Illegal> {
    let left = delete::deletion_left(claim, settling);
    if !left.is_zero() {
        return Ok(OrphanStep::Wait(left));
    }
    let claim = claim.clone();
    Ok(match exists {
        None => OrphanStep::ReadProject,
        Some(true) => OrphanStep::Write(Box::new(claim.kept()?)),
        Some(false) if delete::is_replaced(&claim) => OrphanStep::Write(Box::new(claim.gone()?)),
        Some(false) => OrphanStep::Bury,
    })
}
