//! What the controller does with the steps of `plan`, in the model: writes of the claim, calls in tasks of their own,
//! answers that are merged; with the faults of the script. See `controller::project`.

use std::time::Duration;

use super::remote::{Mutation, Refusal, Reply};
use super::{End, Fault, LATEST_COMMIT, Model, SETTLE, Secret, Task, owner, seconds, secret_key, told};
use crate::domain::answer::Answer;
use crate::domain::budget::Lane;
use crate::domain::claim::tests::walk::receipt;
use crate::domain::claim::{Claim, DeletionOutcome, Illegal, Merge, Record, merge};
use crate::domain::key::ApiKey;
use crate::domain::plan::{Action, Step, plan};
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::takeover::TakeOverView;
use crate::domain::world::{ClaimView, Pass, SecretView, SettingsView, World};

/// Most actions of one pass of the driver.
const MOST_ACTIONS: usize = 20;

/// The pass ends here; why.
pub(super) struct Ended(pub(super) &'static str);

/// What became of a request, as far as the pass knows.
pub(super) enum Sent {
    Answered(Reply),
    Unknown,
}

/// An action in a story.
fn named(action: &Action) -> String {
    match action {
        Action::CreateProject { claim, attempt, .. } => format!("create, attempt {attempt}: {}", told(claim)),
        Action::AcquireKey { claim, attempt } => format!("regenerate, attempt {attempt}: {}", told(claim)),
        Action::WriteClaim(claim) | Action::Conclude(claim, _) => format!("write {}", told(claim)),
        Action::DeleteUnusable(claim) => format!("delete {}", told(claim)),
        Action::ReadEvidence => "walk".to_owned(),
        other => format!("{other:?}"),
    }
}

impl Model {
    /// One pass of the driver over the resource.
    pub(super) fn pass(&mut self) -> End {
        let mut pass = Pass::default();
        for _ in 0..MOST_ACTIONS {
            let world = self.gather(&pass);
            let step = plan(&self.desired, &world);
            self.lint(&world, &step);
            let action = match step {
                Step::Do(action) => action,
                Step::Fail(_) => return End::Failed("something was not done"),
                step => {
                    self.report(&step);
                    self.looked(&pass, &step);
                    return End::Step(step);
                }
            };
            self.tell(&format!("  {}", named(&action)));
            if let Err(Ended(why)) = self.execute(&world, action, &mut pass) {
                return End::Failed(why);
            }
        }
        self.law(false, "a pass comes to an end");
        End::Nothing
    }

    fn gather(&mut self, pass: &Pass) -> World {
        let (settling, look) = (self.settling(), self.look_view());
        let record = self.claim.as_ref();
        let is_mine = record.is_some_and(|record| record.claim.owner().uid == self.desired.uid);
        let secret = match &self.secret {
            Secret::Absent => SecretView::Absent,
            Secret::Foreign => SecretView::Foreign("somebody".to_owned()),
            Secret::Written { uid, by, key } => {
                let known = record.and_then(|record| record.key.as_ref());
                let is_current = known.is_some_and(|known| known.is(key));
                let published = record.and_then(|record| record.claim.published());
                let is_recorded = published.is_some_and(|published| published.uid == *uid);
                match *by == self.desired.uid || is_recorded || is_current {
                    true => SecretView::Ours { uid: uid.clone(), has_key: is_current, is_current },
                    false => SecretView::Foreign("another resource".to_owned()),
                }
            }
        };
        World {
            owner: match record {
                Some(record) if is_mine => record.claim.owner().clone(),
                _ => owner(&self.desired.uid),
            },
            claim: record.map_or(ClaimView::Absent, |record| ClaimView::Present(Box::new(record.clone()))),
            is_held: false,
            is_in_flight: self.is_in_flight(),
            secret,
            // Whoever restores an older ledger is not in this model.
            unproven_key: None,
            earlier: None,
            is_key_suspected: self.is_key_suspected,
            superseded_retention: Duration::from_hours(1),
            settling,
            take_over: TakeOverView { gone_for: self.gone_for(), ..TakeOverView::default() },
            look,
            pass: pass.clone(),
        }
    }

    fn execute(&mut self, world: &World, action: Action, pass: &mut Pass) -> Result<(), Ended> {
        if !matches!(action, Action::ReadEvidence) {
            pass.evidence = None;
        }
        let key = self.claim.as_ref().and_then(|record| record.key.clone());
        match action {
            Action::CreateProject { claim, attempt, config } => {
                pass.has_mutated = true;
                self.create(*claim, attempt, config)
            }
            Action::AcquireKey { claim, attempt } => {
                pass.has_mutated = true;
                let is_refused = match key {
                    Some(key) => self.replace_key(*claim, attempt, key)?,
                    None => self.acquire_key(*claim, attempt)?,
                };
                pass.asked_for_key(is_refused);
                Ok(())
            }
            Action::DeleteUnusable(claim) => {
                *pass = Pass { has_mutated: true, ..Pass::default() };
                self.delete(*claim)
            }
            Action::WriteClaim(claim) => {
                let key = key.filter(|_| claim.key().is_some());
                self.write(*claim, key).map(drop)
            }
            Action::Bury => Err(Ended("a tombstone")),
            Action::Conclude(claim, failure) => {
                self.write(*claim, key)?;
                Err(Ended(match failure.reason {
                    Reason::NameTaken => "NameTaken",
                    _ => "another end",
                }))
            }
            Action::ReadEvidence => {
                self.reading()?;
                let ClaimView::Present(record) = &world.claim else { return Err(Ended("no claim")) };
                pass.evidence = Some(self.walk(&record.claim));
                Ok(())
            }
            Action::ReadProject => {
                self.reading()?;
                let id = self.claim.as_ref().and_then(|record| record.claim.project_id().cloned());
                pass.exists = id.map(|id| self.remote.read(&id, self.now).is_some());
                Ok(())
            }
            Action::ReadSettings { .. } => {
                self.reading()?;
                pass.saw_settings(self.read_settings(key.as_ref(), pass.settings == SettingsView::Patched));
                self.note_key(pass);
                Ok(())
            }
            Action::ProveOwnKey { lane } => {
                self.reading()?;
                self.prove_own_key(key.as_ref(), pass, lane == Lane::Observe);
                self.note_key(pass);
                Ok(())
            }
            Action::PatchSettings(members) => {
                pass.has_mutated = true;
                self.reading()?;
                pass.saw_settings(self.patch_settings(key.as_ref(), members));
                self.note_key(pass);
                Ok(())
            }
            Action::PublishSecret => {
                pass.has_mutated = true;
                self.publish(key)
            }
            // Nobody renames a Secret here, and none holds a key that the claim does not know.
            Action::ProveKey | Action::RemoveSuperseded(..) => Err(Ended("an action without its cause")),
            Action::ReadKeys { .. } => {
                self.reading()?;
                let keys = self.read_keys(&key.ok_or(Ended("no key"))?);
                pass.saw_keys(keys, false);
                self.note_key(pass);
                Ok(())
            }
            Action::LookForProject { .. } => {
                self.reading()?;
                pass.take_over.presence = self.look_for_project();
                Ok(())
            }
            Action::ReadCandidate | Action::TakeUp { .. } => {
                self.law(false, "nothing is taken over that nobody asked for");
                Err(Ended("nothing to take over"))
            }
        }
    }

    fn next_fault(&mut self) -> Fault {
        self.advance(Duration::from_millis(50));
        let fault = self.faults.pop_front().unwrap_or(Fault::None);
        if !matches!(fault, Fault::None) {
            self.tell(&format!("    {fault:?}"));
        }
        fault
    }

    /// A read that may fail.
    fn reading(&mut self) -> Result<(), Ended> {
        match self.next_fault() {
            Fault::Refused | Fault::LostBefore | Fault::LostAfter => Err(Ended("a read failed")),
            Fault::CrashBefore | Fault::CrashAfter | Fault::CrashLate(_) => Err(self.crashed()),
            _ => Ok(()),
        }
    }

    fn crashed(&mut self) -> Ended {
        self.crash();
        Ended("a crash")
    }

    /// Writes the claim, with `resourceVersion`: what was decided is about the claim as it still is.
    pub(super) fn write(&mut self, claim: Claim, key: Option<ApiKey>) -> Result<Record, Ended> {
        let fault = self.next_fault();
        match fault {
            Fault::Refused => return Err(Ended("a conflict")),
            Fault::CrashBefore => return Err(self.crashed()),
            _ => {}
        }
        self.writes += 1;
        let uid = match &self.claim {
            Some(record) => record.uid.clone(),
            None => self.serial("claim"),
        };
        let resource_version = self.serial("version");
        let record = Record { claim, key, uid, resource_version };
        self.claim = Some(record.clone());
        match fault {
            Fault::CrashAfter | Fault::CrashLate(_) => Err(self.crashed()),
            _ => Ok(record),
        }
    }

    fn create(&mut self, claim: Claim, attempt: u32, config: Option<Settings>) -> Result<(), Ended> {
        let record = self.write(claim, None)?;
        self.settling();
        let has_others = record.claim.attempts().len() > 1;
        let claim_uid = record.uid.clone();
        match self.call(&record, attempt, Mutation::Create { claim_uid, config })? {
            Sent::Answered(Reply::Refused(Refusal::Exists)) if has_others => {
                self.turns.insert("a conflict beside an open attempt");
                Ok(())
            }
            Sent::Answered(Reply::Refused(Refusal::Exists)) => Err(Ended("NameTaken")),
            Sent::Answered(Reply::Refused(refusal)) if refusal != Refusal::Exists => {
                Err(Ended("not created"))
            }
            Sent::Answered(_) | Sent::Unknown => Ok(()),
        }
    }

    /// Whether Composio refuses to issue a key.
    fn acquire_key(&mut self, claim: Claim, attempt: u32) -> Result<bool, Ended> {
        let id = claim.project_id().cloned().ok_or(Ended("no project"))?;
        let record = self.write(claim, None)?;
        self.settling();
        match self.call(&record, attempt, Mutation::Regenerate(id))? {
            Sent::Answered(Reply::Refused(Refusal::Forbidden)) => Ok(true),
            Sent::Answered(Reply::Refused(_)) | Sent::Unknown => Err(Ended("no key")),
            Sent::Answered(_) => Ok(false),
        }
    }

    fn delete(&mut self, claim: Claim) -> Result<(), Ended> {
        let id = claim.project_id().cloned().ok_or(Ended("no project"))?;
        let record = self.write(claim, None)?;
        self.settling();
        match self.call(&record, 0, Mutation::Delete(id))? {
            Sent::Answered(Reply::Deleted) => Ok(()),
            Sent::Answered(_) | Sent::Unknown => Err(Ended("not deleted")),
        }
    }

    /// Sends, and merges the answer, as a task of its own that may outlive the pass.
    pub(super) fn call(
        &mut self,
        announced: &Record,
        attempt: u32,
        mutation: Mutation,
    ) -> Result<Sent, Ended> {
        let fault = self.next_fault();
        let now = self.now;
        let reply = match fault {
            Fault::Refused => Reply::Refused(Refusal::NotSent),
            Fault::None | Fault::Held(_) | Fault::Deposed(_) => self.remote.commit(&mutation, now),
            lost => return self.lose(lost, mutation),
        };
        let mut task = Task {
            due: now,
            epoch: self.epoch,
            announced: announced.clone(),
            attempt,
            mutation,
            reply: reply.clone(),
        };
        if let Fault::Held(after) | Fault::Deposed(after) = fault {
            task.due += seconds(after);
            self.tasks.push(task);
            if let Fault::Deposed(_) = fault {
                self.lose_lead();
            }
            return Err(Ended("the answer is awaited"));
        }
        // The last boundary: answered, and not yet in the claim.
        if let Fault::CrashBefore | Fault::CrashAfter | Fault::CrashLate(_) = self.next_fault() {
            return Err(self.crashed());
        }
        self.settle(task);
        Ok(Sent::Answered(reply))
    }

    /// A request whose answer nobody hears.
    fn lose(&mut self, fault: Fault, mutation: Mutation) -> Result<Sent, Ended> {
        match fault {
            Fault::LostAfter | Fault::CrashAfter => {
                self.remote.commit(&mutation, self.now);
            }
            Fault::Late(after) | Fault::CrashLate(after) => {
                self.remote.commit_later(mutation, self.now + seconds(after.min(LATEST_COMMIT)));
            }
            _ => {}
        }
        match fault {
            Fault::CrashBefore | Fault::CrashAfter | Fault::CrashLate(_) => Err(self.crashed()),
            _ => Ok(Sent::Unknown),
        }
    }

    /// Puts an answer into the claim, whatever that has become; see `controller::project::settle`.
    pub(super) fn settle(&mut self, task: Task) {
        let Task { announced, attempt, mutation, reply, .. } = task;
        let (now, started_time) = (self.now, announced.claim.deletion_started_time());
        self.tell(&format!("    the answer to {mutation:?} of attempt {attempt} arrives"));
        let answer = match reply {
            Reply::Created { id, key } => Answer::Created { id, key, time: now },
            Reply::Regenerated { id, key, born } => Answer::Regenerated { id, key, time: born },
            Reply::Deleted => {
                return self.amend(&announced, |claim| claim.deletion_answered(started_time, receipt()));
            }
            Reply::Refused(refusal) => {
                return self.amend(&announced, |claim| match &mutation {
                    Mutation::Create { .. } => Ok(claim.refused(attempt, refusal == Refusal::Exists)),
                    Mutation::Regenerate(_) if refusal == Refusal::NotFound => {
                        claim.key_missed(attempt, SETTLE)
                    }
                    Mutation::Regenerate(_) => Ok(claim.key_refused(attempt)),
                    // A read tells, when it is settled.
                    Mutation::Delete(_) if refusal == Refusal::NotFound => Ok(claim),
                    Mutation::Delete(_) => claim.deletion_answered(started_time, DeletionOutcome::Undone),
                });
            }
        };
        match merge(self.claim.as_ref(), &announced.uid, attempt, &answer, &secret_key()) {
            Merge::Write(claim, key) => {
                let claim = match &mutation {
                    Mutation::Create { config: Some(config), .. } if claim.applied_settings().is_none() => {
                        claim.with_settings(config.clone(), now).unwrap()
                    }
                    _ => *claim,
                };
                self.replace(claim, key);
            }
            Merge::Discard(id) => {
                self.law(self.is_ours(&id), "only what our own answer made is discarded");
                self.law(
                    self.claimed().is_none_or(|known| known.id != id),
                    "no claimed project is discarded",
                );
                self.remote.commit(&Mutation::Delete(id), now);
            }
            Merge::Drop => {}
        }
    }

    fn amend(&mut self, announced: &Record, change: impl FnOnce(Claim) -> Result<Claim, Illegal>) {
        if let Some(record) = self.claim.clone().filter(|record| record.uid == announced.uid) {
            let changed = change(record.claim);
            self.law(changed.is_ok(), "a late answer fits the claim");
            self.replace(changed.unwrap(), record.key);
        }
    }

    fn replace(&mut self, claim: Claim, key: Option<ApiKey>) {
        self.writes += 1;
        if let Some(record) = &mut self.claim {
            (record.claim, record.key) = (claim, key);
        }
    }

    fn publish(&mut self, key: Option<ApiKey>) -> Result<(), Ended> {
        let key = key.ok_or(Ended("no key"))?;
        let fault = self.next_fault();
        match fault {
            Fault::Refused => return Err(Ended("the Secret was refused")),
            Fault::CrashBefore => return Err(self.crashed()),
            _ => {}
        }
        self.writes += 1;
        let uid = match &self.secret {
            Secret::Written { uid, .. } => uid.clone(),
            Secret::Absent | Secret::Foreign => self.serial("secret"),
        };
        let by = self.desired.uid.clone();
        self.secret = Secret::Written { uid, by, key };
        match fault {
            Fault::CrashAfter | Fault::CrashLate(_) => Err(self.crashed()),
            _ => Ok(()),
        }
    }
}
