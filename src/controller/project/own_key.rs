//! The claim's key: regenerate, the proof that it lives, and the second witness about one that does not. What follows is
//! `domain::plan::{key, health}`'s.

use std::time::Duration;

use tracing::info;

use super::execute::{Work, project_id};
use super::publish::still_there;
use super::settle::Settlement;
use crate::composio::Client;
use crate::controller::organizations::Organization;
use crate::domain::answer::{CallError, CredentialProblem};
use crate::domain::budget::Lane;
use crate::domain::claim::{Claim, Phase, Stage};
use crate::domain::failure::Failure;
use crate::domain::key::ApiKey;
use crate::domain::reason::Reason;
use crate::domain::world::{KeyCheck, KeysSeen, OwnKey, Pass, SettingsView};

/// The first rejections of a fresh key are not believed: distances of the tries.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// What one call with the key has shown of it.
enum Proof {
    Lives,
    Rejected(String),
    Expired(String),
}

impl Work<'_> {
    /// Has a key issued, for a project without one or in place of the one that the claim has. Returns whether Composio
    /// refuses to.
    pub(super) async fn acquire_key(&self, claim: &Claim, attempt: u32) -> Result<bool, Failure> {
        let id = project_id(claim)?;
        let replaces = claim.phase() == Phase::Owned;
        if replaces {
            // Whose the project is was checked when it was taken up.
            still_there(self.context, self.desired).await?;
        } else {
            self.nobody_elses(claim).await?;
        }
        let is_repeated = claim.rotation().is_some_and(|rotation| rotation.doubtful_since.is_some());
        let gaps = self.context.gaps.clone();
        let regenerate = |settlement: Settlement, announced| async move {
            let Organization { client, key, .. } = &*settlement.organization;
            if replaces {
                gaps.begin(&settlement.announced.uid);
            }
            let result = client.regenerate_key(key, announced, &id).await;
            match &result {
                Ok(answer) => drop(settlement.absorb(answer, None).await),
                // One witness alone never decides that something is gone.
                Err(CallError::NotFound(_)) if !replaces => {
                    let proves = settlement.organization.proves_absence(&settlement.announced.claim);
                    let is_gone = proves && settlement.organization.is_gone(&id).await.unwrap_or(false);
                    settlement.key_refused(is_gone).await;
                }
                Err(error) if error.is_definite() => {
                    settlement.key_refused(false).await;
                    gaps.end(&settlement.announced.uid);
                }
                Err(_) => {}
            }
            result.err()
        };
        match self.announced(claim, attempt, regenerate).await? {
            None => {
                self.can_regenerate(true);
                if replaces {
                    info!(project.id = %project_id(claim)?, rotation.attempt = attempt, "the project's key is replaced");
                }
                Ok(false)
            }
            Some(CallError::Forbidden(_)) => {
                self.can_regenerate(false);
                Ok(true)
            }
            // The plan proves the key that it has, and repeats it at once; a second time not before some distance.
            Some(CallError::Unknown { .. }) if replaces && !is_repeated => Ok(false),
            // Gone, or so young that it is not known everywhere yet: the claim says which. Not asked again at once.
            Some(error) => Err(self.failure(error)),
        }
    }

    /// What is new of it is shown on the organization.
    fn can_regenerate(&self, can: bool) {
        if self.organization.capabilities.regenerate_key.set(can) {
            self.context.wake_organization(&self.organization.name);
        }
    }

    /// A Secret was published: if it has a new key, the gap is over.
    pub(super) fn close_gap(&self) -> Result<(), Failure> {
        let record = self.record()?;
        if record.claim.rotation().is_some_and(|rotation| rotation.stage == Stage::Stored)
            && let Some(gap) = self.context.gaps.end(&record.uid)
        {
            self.context.metrics.rotated(gap);
        }
        Ok(())
    }

    /// A look that was asked for is repeated until it has shown something: the request is answered only once.
    pub(super) fn begin_look(&self) {
        let health = &self.desired.key_health;
        if health.is_asked || health.is_reported {
            self.context.key_suspicions.look(&self.desired.uid);
        }
    }

    /// A rejected key is looked at again, whatever this pass comes to.
    pub(super) fn note_key(&self, seen: &KeyCheck) {
        self.context.key_suspicions.looked(&self.desired.uid, seen);
    }

    fn own_key(&self) -> Result<&ApiKey, Failure> {
        self.record()?.key.as_ref().ok_or_else(|| Failure::bug("a proof without a key"))
    }

    pub(super) fn is_key_fresh(&self) -> Result<bool, Failure> {
        let key = self.record()?.claim.key();
        Ok(key.is_some_and(|key| self.world.settling.is_fresh(key.issued_time)))
    }

    async fn prove(&self, client: &Client) -> Result<Proof, Failure> {
        use CredentialProblem::{Address, ExpiredProjectKey, ProjectKey, Scope};
        match client.prove_key(self.own_key()?).await {
            // It lacks an area, or its organization does: it lives.
            Ok(()) | Err(CallError::Forbidden(_) | CallError::Credential(Scope, _)) => Ok(Proof::Lives),
            Err(CallError::Credential(ProjectKey, words)) => Ok(Proof::Rejected(words)),
            Err(CallError::Credential(ExpiredProjectKey, words)) => Ok(Proof::Expired(words)),
            Err(CallError::Credential(Address, words)) => {
                Err(Failure::terminal(Reason::AddressNotAllowed, words))
            }
            Err(error @ CallError::Throttled(_)) => Err(self.failure(error)),
            // Not about the organization's key: no breaker.
            Err(error) => Err(Failure::transient(format!("the project's key could not be proven: {error}"))),
        }
    }

    /// One call with the claim's key (API 8); a fresh key gets some more.
    pub(super) async fn prove_own_key(&self, pass: &mut Pass, lane: Lane) -> Result<(), Failure> {
        self.begin_look();
        let (client, is_routine) = (self.organization.client.in_lane(lane), lane == Lane::Observe);
        let is_missed = !is_routine || self.desired.key_health.is_reported || self.world.is_key_suspected;
        let is_fresh = self.is_key_fresh()?;
        let mut pauses = PAUSES.iter().filter(|_| is_fresh);
        let seen = loop {
            match (self.prove(&client).await, pauses.next()) {
                (Err(failure), _) => break Err(failure),
                (Ok(Proof::Lives), _) => break Ok(KeyCheck::Lives),
                (Ok(_), Some(pause)) => tokio::time::sleep(*pause).await,
                (Ok(Proof::Rejected(words) | Proof::Expired(words)), None) => {
                    break Ok(KeyCheck::Rejected(words));
                }
            }
        };
        match seen {
            Ok(seen) => pass.key = seen,
            // One that there was no room for was not made. Only that of the schedule is not missed.
            Err(failure) if failure.reason == Reason::Throttled && is_missed => return Err(failure),
            Err(failure) if failure.reason == Reason::Throttled => {
                pass.saw_settings(SettingsView::Failed(failure));
                return Ok(());
            }
            Err(failure) => pass.saw_settings(SettingsView::Failed(failure)),
        }
        if is_routine {
            self.context.looks.looked(&self.desired.uid);
        }
        self.note_key(&pass.key);
        Ok(())
    }

    /// The second witness about a key that was rejected: does the project still list it? A mask is only a hint, so that a
    /// listed key is proven once more; the second value is whether it works after all.
    pub(super) async fn read_keys(&self, lane: Lane) -> Result<(KeysSeen, bool), Failure> {
        let (id, key) = (project_id(&self.record()?.claim)?, self.own_key()?);
        let client = self.organization.client.in_lane(lane);
        let read = client.read_project(&self.organization.key, &id).await;
        let Some(detail) = read.map_err(|error| self.failure(error))? else {
            return Ok((KeysSeen::NoProject, false));
        };
        let (own, others): (Vec<_>, Vec<_>) =
            detail.api_keys.into_iter().partition(|listed| listed.mask.fits(key));
        let others: Vec<_> = others.iter().map(|listed| listed.created_at).collect();
        let proof = if own.is_empty() { None } else { Some(self.prove(&client).await?) };
        let own = match &proof {
            None => OwnKey::Unlisted,
            Some(Proof::Expired(_)) => OwnKey::Expired,
            Some(Proof::Lives | Proof::Rejected(_)) => OwnKey::Listed,
        };
        info!(project.id = %id, key.own = ?own, key.others = others.len(), "the project's keys were looked up, because that of the claim was rejected");
        Ok((KeysSeen::Listed { own, others }, matches!(proof, Some(Proof::Lives))))
    }
}
