//! One action, with at most one remote mutation, framed by writes of the claim. Mirrors `controller::project::execute`.

use std::rc::Rc;

use composio_operator::domain::answer::CallError;
use composio_operator::domain::budget::Lane;
use composio_operator::domain::claim::{Claim, Record, Superseded};
use composio_operator::domain::failure::Failure;
use composio_operator::domain::ids::ProjectId;
use composio_operator::domain::plan::Action;
use composio_operator::domain::reason::Reason;
use composio_operator::domain::settings::Settings;
use composio_operator::domain::takeover::Presence;
use composio_operator::domain::world::{ClaimView, Desired, Pass, SettingsView};

use super::gather::Gathered;
use super::settle::{Settlement, detached};
use super::{evidence, secrets};
use crate::cluster::{Key, Refused, Resource, Secret};
use crate::guard::Guard;
use crate::process::GATE;
use crate::realm::{Ctx, MINUTE, Time};
use crate::remote::Mutation;

pub(super) struct Work<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) key: Key,
    pub(super) object: &'a Rc<Resource>,
    pub(super) desired: &'a Desired,
    pub(super) gathered: &'a Gathered,
}

pub(super) async fn execute(work: Work<'_>, action: Action, pass: &mut Pass) -> Result<(), Failure> {
    if !matches!(action, Action::ReadEvidence) {
        pass.evidence = None;
    }
    match action {
        Action::CreateProject { claim, attempt, config } => {
            pass.has_mutated = true;
            work.create(&claim, attempt, config).await
        }
        Action::AcquireKey { claim, attempt } => {
            pass.has_mutated = true;
            pass.asked_for_key(work.acquire_key(&claim, attempt).await?);
            Ok(())
        }
        Action::DeleteUnusable(claim) => {
            *pass = Pass { has_mutated: true, ..Pass::default() };
            work.delete(&claim).await
        }
        Action::WriteClaim(claim) => work.write_claim(&claim).await.map(drop),
        Action::Conclude(claim, failure) => Err(work.write_claim(&claim).await.err().unwrap_or(failure)),
        Action::ReadEvidence => {
            let found = evidence::walk(work.ctx, work.record()?).await;
            pass.evidence = Some(found.map_err(|error| failure(work.ctx, error))?);
            Ok(())
        }
        Action::ReadProject => {
            let id = project_id(&work.record()?.claim)?;
            let is_gone = evidence::is_gone(work.ctx, &id).await;
            pass.exists = Some(!is_gone.map_err(|error| failure(work.ctx, error))?);
            Ok(())
        }
        Action::ProveOwnKey { lane } => work.prove_own_key(pass, lane == Lane::Observe).await,
        Action::ReadSettings { .. } => {
            work.begin_look();
            pass.saw_settings(work.read_settings(pass.settings == SettingsView::Patched).await?);
            work.note_key(&pass.key);
            Ok(())
        }
        Action::PatchSettings(members) => {
            pass.has_mutated = true;
            pass.saw_settings(work.patch_settings(&members).await?);
            work.note_key(&pass.key);
            Ok(())
        }
        Action::Bury => {
            work.ctx.write(|realm| realm.bury(work.record_or_none())).await.map_err(Refused::failure)
        }
        Action::RemoveSuperseded(old, claim) => {
            work.remove_superseded(&old).await?;
            work.write_claim(&claim).await.map(drop)
        }
        Action::LookForProject { .. } => {
            pass.take_over.presence = Some(work.look_for_project().await?);
            Ok(())
        }
        Action::ReadKeys { .. } => {
            let (keys, lives) = work.read_keys().await?;
            pass.saw_keys(keys, lives);
            work.note_key(&pass.key);
            Ok(())
        }
        Action::ProveKey | Action::ReadCandidate | Action::TakeUp { .. } => {
            work.ctx.with(|realm| realm.laws.breaks("nothing is taken over that nobody asked for"));
            Err(Failure::bug("an action without its cause"))
        }
        Action::PublishSecret => {
            pass.has_mutated = true;
            work.publish().await
        }
    }
}

pub(super) fn project_id(claim: &Claim) -> Result<ProjectId, Failure> {
    claim.project_id().cloned().ok_or_else(|| Failure::bug("a claim without its project"))
}

/// What a call that brought nothing means for this pass, and for the others of the process.
pub(super) fn failure(_ctx: &Ctx, error: CallError) -> Failure {
    match error {
        CallError::Throttled(retry_after) => Failure {
            reason: Reason::Throttled,
            retry_after,
            ..Failure::transient("the rate limit is reached")
        },
        error => Failure::transient(error.to_string()),
    }
}

impl Work<'_> {
    pub(super) fn record(&self) -> Result<&Record, Failure> {
        match &self.gathered.world.claim {
            ClaimView::Present(record) => Ok(record),
            ClaimView::Absent | ClaimView::Unreadable(_) => Err(Failure::bug("an action without its claim")),
        }
    }

    fn record_or_none(&self) -> Option<&Record> {
        self.record().ok()
    }

    async fn write_claim(&self, claim: &Claim) -> Result<Record, Failure> {
        let written = match &self.gathered.world.claim {
            ClaimView::Present(record) => {
                self.ctx
                    .write(|realm| {
                        realm.update_claim(
                            record,
                            claim,
                            record.key.as_ref().filter(|_| claim.key().is_some()),
                        )
                    })
                    .await
            }
            _ => self.ctx.write(|realm| realm.create_claim(claim)).await,
        };
        written.map_err(Refused::failure)
    }

    /// The resource as it is now.
    pub(super) async fn still_there(&self) -> Result<(), Failure> {
        let found = self.ctx.read(|realm| realm.cluster.resources.get(&self.key).cloned()).await?;
        let is_same = found.is_some_and(|found| found.uid == self.desired.uid && !found.is_leaving);
        match is_same || !self.ctx.has(Guard::LiveOwner) {
            true => Ok(()),
            false => Err(Failure::conflict("the resource is being deleted")),
        }
    }

    /// Claim, call, claim: the frame of every mutation.
    pub(super) async fn announced(
        &self,
        claim: &Claim,
        attempt: u32,
        config: Option<Settings>,
        mutation: impl FnOnce(&Record) -> Mutation,
        is_announced: bool,
    ) -> Result<Option<CallError>, Failure> {
        let begun = self.begun();
        let announced = if is_announced { self.write_claim(claim).await? } else { self.pretend(claim) };
        let (now, server_now) = (self.ctx.now(), self.gathered.world.settling.now);
        self.ctx.process(|process| process.settling(&announced, now, server_now));
        let mutation = mutation(&announced);
        let settlement = Settlement { ctx: self.ctx.clone(), announced, attempt, config, is_repeated: false };
        detached(settlement, mutation, begun).await
    }

    /// From when on the gate counts.
    fn begun(&self) -> Time {
        match self.ctx.has(Guard::GateFromLook) {
            true => self.gathered.begun,
            false => self.ctx.now(),
        }
    }

    /// Without the guard: as if the announcement stood in the claim.
    fn pretend(&self, claim: &Claim) -> Record {
        match &self.gathered.world.claim {
            ClaimView::Present(record) => Record { claim: claim.clone(), ..(**record).clone() },
            _ => Record {
                claim: claim.clone(),
                key: None,
                uid: "unwritten".to_owned(),
                resource_version: String::new(),
            },
        }
    }

    async fn create(&self, claim: &Claim, attempt: u32, config: Option<Settings>) -> Result<(), Failure> {
        self.still_there().await?;
        let has_others = claim.attempts().len() > 1 && self.ctx.has(Guard::OtherAttemptOpen);
        let name = self.desired.project_name.to_string();
        let mutation = |announced: &Record| Mutation::Create {
            name,
            claim_uid: announced.uid.clone(),
            attempt,
            config: config.clone(),
        };
        let is_announced = self.ctx.has(Guard::ClaimBeforeCall);
        match self.announced(claim, attempt, config.clone(), mutation, is_announced).await? {
            None => Ok(()),
            Some(error) if !error.settles_creation() => {
                self.ctx.with(|realm| realm.count("a creation of unknown outcome"));
                Ok(())
            }
            Some(CallError::AlreadyExists(_)) if has_others => {
                self.ctx.with(|realm| realm.count("a 409 beside an open attempt"));
                Ok(())
            }
            Some(CallError::AlreadyExists(_)) => Err(Failure::terminal(Reason::NameTaken, "")),
            Some(error) => Err(failure(self.ctx, error)),
        }
    }

    async fn delete(&self, claim: &Claim) -> Result<(), Failure> {
        let id = project_id(claim)?;
        match self.announced(claim, 0, None, |_| Mutation::Delete(id), true).await? {
            None | Some(CallError::NotFound(_)) => Ok(()),
            Some(CallError::Forbidden(words)) => Err(Failure::terminal(Reason::KeyUnavailable, words)),
            Some(error) => Err(failure(self.ctx, error)),
        }
    }

    async fn publish(&self) -> Result<(), Failure> {
        let begun = self.ctx.now();
        self.still_there().await?;
        let record = self.record()?;
        let existing = self.gathered.secret.as_ref();
        let secret = secrets::written(existing, self.desired, record);
        let secret = secret.ok_or_else(|| Failure::bug("a Secret without a key"))?;
        if self.ctx.now() - begun >= GATE {
            self.ctx.with(|realm| realm.count("a Secret not written after too long a look"));
            return Err(Failure::conflict("the look at the resource is too old"));
        }
        let at = (self.key.0, self.object.spec.secret);
        let written = self.ctx.write(|realm| realm.write_secret(at, existing, secret, record)).await;
        written.map_err(Refused::failure)
    }

    /// Removes a Secret that was renamed away, if it is still ours.
    async fn remove_superseded(&self, old: &Superseded) -> Result<(), Failure> {
        self.still_there().await?;
        let at = (self.key.0, secrets::number(&old.name));
        let found = self.ctx.read(|realm| realm.cluster.secrets.get(&at).cloned()).await?;
        let is_wanted = old.name == self.desired.secret.name;
        let is_ours = |found: &Secret| found.uid == old.uid && found.label == self.desired.name;
        match found.filter(|found| !is_wanted && is_ours(found)) {
            None => Ok(()),
            Some(found) => {
                let removed = self.ctx.write(|realm| realm.remove_secret(at, &found)).await;
                removed.map_err(Refused::failure)
            }
        }
    }

    /// Both witnesses about the claim's project; `controller::project::adopt`.
    async fn look_for_project(&self) -> Result<(ProjectId, Presence), Failure> {
        let id = project_id(&self.record()?.claim)?;
        let is_gone = evidence::is_gone(self.ctx, &id).await.map_err(|error| failure(self.ctx, error))?;
        let now = self.ctx.now();
        let presence = self.ctx.process(|process| process.looked_for(&id, is_gone, now));
        Ok((id, presence))
    }

    pub(super) fn key_age(&self) -> Time {
        let issued = self.record().ok().and_then(|record| record.claim.key().map(|key| key.issued_time));
        issued.map_or(MINUTE, |issued| self.ctx.now() - crate::realm::time_of(issued))
    }
}
