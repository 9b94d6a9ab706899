//! From nothing to a known project: the first claim, further attempts, and what evidence leads to.

use std::time::Duration;

use super::{Action, Step, adopt, preflight};
use crate::domain::claim::{Claim, Illegal};
use crate::domain::evidence::{Verdict, judge};
use crate::domain::failure::Failure;
use crate::domain::reason::Reason;
use crate::domain::world::{Desired, World};

/// There is no claim.
pub(super) fn first(desired: &Desired, world: &World) -> Result<Step, Illegal> {
    let claim = Claim::new(
        world.owner.clone(),
        desired.organization.clone(),
        desired.organization_id.clone(),
        desired.project_name.clone(),
    );
    vacant(desired, world, claim)
}

/// No project is known, and none may come of an earlier attempt: one is taken up, or created.
fn vacant(desired: &Desired, world: &World, claim: Claim) -> Result<Step, Illegal> {
    match adopt::before_creation(desired, world, &claim)? {
        Some(step) => Ok(step),
        None => preflight(desired, world).map_or_else(|| create(desired, world, claim), Ok),
    }
}

/// The claim is `Creating`: with open attempts the outcome is looked up first.
pub(super) fn creating(desired: &Desired, world: &World, claim: &Claim) -> Result<Step, Illegal> {
    let attempts = claim.attempts();
    if attempts.is_empty() {
        return vacant(desired, world, claim.clone());
    }
    let Some(evidence) = &world.pass.evidence else {
        return Ok(Step::Do(Action::ReadEvidence));
    };
    let claim = claim.clone();
    Ok(match judge(attempts, evidence, &world.settling) {
        Verdict::Ours(id, created_time) => {
            Step::Do(Action::WriteClaim(Box::new(claim.recovered(id, created_time)?)))
        }
        Verdict::Wait(left) => {
            Step::Wait(Reason::ResolvingOutcome, String::new(), look_again(left, world.settling.settle))
        }
        Verdict::Again => preflight(desired, world)
            .map_or_else(|| create(desired, world, claim.settled_but_youngest()), Ok)?,
        Verdict::Absent => Step::Do(Action::WriteClaim(Box::new(claim.settled()))),
        Verdict::Taken(created) => {
            Step::Do(Action::Conclude(Box::new(claim.settled()), name_taken(desired, created)))
        }
    })
}

fn create(desired: &Desired, world: &World, claim: Claim) -> Result<Step, Illegal> {
    let (claim, attempt) =
        claim.of_organization(desired.organization_id.as_ref()).announce(world.settling.now)?;
    // Never invent one of the three required members: on some plans that would switch off Zero Data Retention.
    let config = desired.settings.can_be_inline().then(|| desired.settings.clone());
    Ok(Step::Do(Action::CreateProject { claim: Box::new(claim), attempt, config }))
}

/// Somebody else's project has the name, made at `created`; `None` where the API keeps the name without showing one.
pub(crate) fn name_taken(desired: &Desired, created: Option<jiff::Timestamp>) -> Failure {
    let name = desired.project_name.as_str();
    let detail = match created {
        Some(created) => format!("{name:?}, created at {created}"),
        None => {
            format!("{name:?}, which Composio's list does not show: it keeps the name of a deleted project")
        }
    };
    Failure::terminal(Reason::NameTaken, detail)
}

/// While an outcome is open the list is looked at about eight times, and once more at its end.
pub(super) fn look_again(left: Duration, settle: Duration) -> Duration {
    left.min(settle / 8).max(Duration::from_millis(200))
}
