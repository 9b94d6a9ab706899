//! Taking up a project that exists: by `spec.adopt`, or with the key in the resource's own Secret after the ledger was
//! lost. Only while no claim knows a project. Without a permit nothing is asked at Composio, and whoever was not granted
//! a project learns nothing about it: the words are the same whatever there is.

use std::time::Duration;

use super::{Action, Step, secret_conflict, suspended};
use crate::domain::claim::{Claim, Illegal, Phase};
use crate::domain::ids::ProjectId;
use crate::domain::reason::Reason;
use crate::domain::takeover::{Adopt, Candidate, KeySeen, KeySource, Seen};
use crate::domain::world::{Desired, SecretView, World};

/// Distance to the next look at a Secret that is not there yet: no watch tells of it.
const LOOK_FOR_SECRET: Duration = Duration::from_secs(30);

/// What comes before a creation, for a `vacant` claim; `None`: nothing, the project is to be created.
pub(super) fn before_creation(
    desired: &Desired,
    world: &World,
    vacant: &Claim,
) -> Result<Option<Step>, Illegal> {
    // A project that was published and lost is not looked for in `spec.adopt` again.
    let adopt = desired.take_over.spec.adopt.as_ref().filter(|_| vacant.published().is_none());
    match adopt {
        _ if desired.is_suspended => Ok(Some(suspended())),
        Some(adopt) => adopt_named(desired, world, vacant, adopt).map(Some),
        None if world.take_over.has_relic => recover(desired, world, vacant),
        None => Ok(None),
    }
}

/// The Secret of the wanted name may hold the project's key from before the ledger was lost.
fn recover(desired: &Desired, world: &World, vacant: &Claim) -> Result<Option<Step>, Illegal> {
    let stall = |hint: &str| match &world.secret {
        SecretView::Foreign(whose) => Some(secret_conflict(&format!("{whose}; {hint}"))),
        SecretView::Absent | SecretView::Ours { .. } => None,
    };
    if !desired.take_over.permit.with_key {
        return Ok(stall(
            "if it is of this resource and the operator's records were lost, an administrator sets spec.adoption \
             of the ComposioOrganization to WithKey, and the key in it brings the project back",
        ));
    }
    let Some(candidate) = &world.pass.take_over.candidate else {
        return Ok(Some(Step::Do(Action::ReadCandidate)));
    };
    match (&candidate.project, &candidate.key) {
        (Some(project), KeySeen::Proven(key)) if project.has_name && !project.is_claimed => {
            let claim = vacant.clone().recovered_with_key(
                project.id.clone(),
                project.created_time,
                key.about.clone(),
            )?;
            Ok(Some(Step::Do(Action::TakeUp { claim: Box::new(claim), key: Some(key.clone()) })))
        }
        _ => Ok(stall("the key in it does not open a project of this name that nobody manages")),
    }
}

fn adopt_named(desired: &Desired, world: &World, vacant: &Claim, adopt: &Adopt) -> Result<Step, Illegal> {
    let (id, permit) = (&adopt.project_id, &desired.take_over.permit);
    let is_granted = permit.grants(Some(id));
    let may_with_key = permit.with_key && matches!(adopt.source, KeySource::Secret { .. });
    if !is_granted && !may_with_key {
        return Ok(denied(id, "nothing permits it"));
    }
    // A Secret that holds the project's key becomes ours with the claim.
    let is_source = matches!(&adopt.source, KeySource::Secret { name, .. } if *name == desired.secret.name);
    if let SecretView::Foreign(whose) = &world.secret
        && !is_source
    {
        return Ok(secret_conflict(whose));
    }
    match &world.pass.take_over.candidate {
        None => Ok(Step::Do(Action::ReadCandidate)),
        Some(candidate) => judged(desired, vacant, adopt, candidate),
    }
}

/// What a look at project and key leads to.
fn judged(desired: &Desired, vacant: &Claim, adopt: &Adopt, candidate: &Candidate) -> Result<Step, Illegal> {
    let (id, permit) = (&adopt.project_id, &desired.take_over.permit);
    if let KeySeen::Unusable(words) = &candidate.key {
        return Ok(Step::Wait(Reason::AdoptionDenied, format!("{id}: {words}"), LOOK_FOR_SECRET));
    }
    let is_named = permit.names(id);
    let has_name = |project: &&Seen| project.id == *id && (project.has_name || is_named);
    let project = candidate.project.as_ref().filter(has_name);
    // An administrator who named the project may be told what is wrong with it; so may whoever was granted its name.
    let may_know = is_named || (permit.grants(Some(id)) && project.is_some());
    let (project, key) = match (project, &candidate.key) {
        (Some(project), KeySeen::Unneeded)
            if !project.is_claimed && adopt.source == KeySource::Regenerate =>
        {
            (project, None)
        }
        (Some(project), KeySeen::Proven(key))
            if !project.is_claimed && adopt.source != KeySource::Regenerate =>
        {
            (project, Some(key.clone()))
        }
        (None, _) if may_know => return Ok(denied(id, "Composio does not know it, or it was deleted")),
        (Some(project), _) if may_know && project.is_claimed => {
            return Ok(denied(id, "another resource manages it"));
        }
        (Some(_), _) if may_know => return Ok(denied(id, "the key in the Secret is not a living key of it")),
        _ => return Ok(denied(id, &unknown(desired, adopt))),
    };
    let (id, created_time, vacant) = (project.id.clone(), project.created_time, vacant.clone());
    let claim = match &key {
        Some(key) => vacant.adopted_with_key(id, created_time, key.about.clone())?,
        None => vacant.adopted(id, created_time)?,
    };
    Ok(Step::Do(Action::TakeUp { claim: Box::new(claim), key }))
}

/// The one answer for all that whoever was granted nothing must not learn.
fn unknown(desired: &Desired, adopt: &Adopt) -> String {
    let name = desired.project_name.as_str();
    match adopt.source {
        KeySource::Secret { .. } => format!(
            "there is no project with this id and the name {name:?} that nobody manages and that the key in the Secret opens"
        ),
        KeySource::Regenerate => {
            format!("there is no project with this id and the name {name:?} that nobody manages")
        }
    }
}

fn denied(id: &ProjectId, why: &str) -> Step {
    Step::Stall(Reason::AdoptionDenied, format!("{id}: {why}"))
}

/// `spec.adopt` names another project than the claim's: what the claim's needs is done, but it is no success.
pub(super) fn mismatch(desired: &Desired, claim: &Claim, step: Step) -> Step {
    let adopt = desired.take_over.spec.adopt.as_ref();
    let other = adopt.filter(|adopt| claim.project_id().is_some_and(|id| *id != adopt.project_id));
    let Some(adopt) = other.filter(|_| !desired.is_suspended) else {
        return step;
    };
    let is_first_key = claim.phase() == Phase::KeyPending && !claim.is_key_announced();
    let is_new_key = matches!(step, Step::Do(Action::AcquireKey { .. })) && is_first_key;
    if step != Step::Done && !is_new_key {
        return step;
    }
    let known = claim.project_id().map(ToString::to_string).unwrap_or_default();
    let detail = format!("spec.adopt names {}, and the project is {known}", adopt.project_id);
    Step::Stall(Reason::AdoptionMismatch, detail)
}
