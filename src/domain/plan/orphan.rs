//! Claims whose owner is gone. What is known is kept (*retained*); what is uncertain is settled by evidence; what never
//! came to be is removed.

use std::time::Duration;

use super::create::look_again;
use crate::domain::claim::{Claim, Illegal, Phase};
use crate::domain::evidence::{Evidence, Settling, Verdict, judge};

/// What to do with an ownerless claim.
#[derive(Debug, Clone, PartialEq)]
pub enum OrphanStep {
    /// Nothing: it is retained.
    Keep,
    /// Nothing exists of it: remove it.
    Remove,
    /// Walk over the organization's list first.
    ReadEvidence,
    /// Write this, then it is retained.
    Write(Box<Claim>),
    /// Not settled yet; look again within this time.
    Wait(Duration),
}

/// Decides on a claim whose owner is gone for certain (a live read, by UID). `evidence` is that of this pass.
pub fn orphan(
    claim: &Claim,
    is_in_flight: bool,
    evidence: Option<&Evidence>,
    settling: &Settling,
) -> Result<OrphanStep, Illegal> {
    if is_in_flight {
        return Ok(OrphanStep::Wait(super::IN_FLIGHT));
    }
    match (claim.phase(), claim.attempts(), evidence) {
        (Phase::Owned | Phase::KeyPending | Phase::Deleting, ..) => Ok(OrphanStep::Keep),
        (Phase::Creating, [], _) => Ok(OrphanStep::Remove),
        (Phase::Creating, _, None) => Ok(OrphanStep::ReadEvidence),
        (Phase::Creating, attempts, Some(evidence)) => Ok(match judge(attempts, evidence, settling) {
            Verdict::Ours(id, created_time) => {
                OrphanStep::Write(Box::new(claim.clone().recovered(id, created_time)?))
            }
            Verdict::Wait(left) => OrphanStep::Wait(look_again(left, settling.settle)),
            Verdict::Absent | Verdict::Taken(_) => OrphanStep::Remove,
            // One empty walk allows another attempt, but does not prove that the first one came to nothing.
            Verdict::Again => {
                OrphanStep::Wait(settling.settle.saturating_sub(settling.nothing_for.unwrap_or_default()))
            }
        }),
    }
}
