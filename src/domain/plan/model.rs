//! A model of everything around `plan` and `orphan`: one resource, its claim and Secret, processes that crash or lose
//! their lead, and [`remote`]. It carries actions out as the controller does, in virtual time. No laws of its own but
//! those of single steps, which are in [`lint`].

mod lint;
mod own_key;
pub(super) mod remote;
mod settings;
mod shell;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::test_runner::TestCaseError;

use self::remote::{Look, Maker, Mutation, Remote, Reply};
use self::settings::Looks;
use super::{OrphanSeen, OrphanStep, Step, orphan};
use crate::domain::budget::Room;
use crate::domain::claim::{Claim, Owner, Record};
use crate::domain::drift::{DriftPolicy, DriftSpec};
use crate::domain::evidence::{Evidence, Found, Settling, in_window};
use crate::domain::ids::{ProjectId, ProjectName};
use crate::domain::key::{ApiKey, FingerprintKey};
use crate::domain::settings::{Member, Settings};
use crate::domain::takeover::{MissingPolicy, Presence, TakeOver};
use crate::domain::world::{
    Capability, DeletionPolicy, Desired, EntryNames, InvalidKeyPolicy, KeyHealth, SecretWish,
};

/// Request deadline (30 s), send gate (5 s) and margin (30 s), as by default.
pub(super) const SETTLE: Duration = Duration::from_secs(65);
/// Latest commit after a request was sent: its deadline and what is left of the gate.
const LATEST_COMMIT: u8 = 34;

/// What goes wrong at the next write or call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    None,
    /// A write meets a conflict; a call is not sent.
    Refused,
    LostBefore,
    LostAfter,
    /// The answer is lost, and the commit comes this many seconds after sending.
    Late(u8),
    CrashBefore,
    CrashAfter,
    CrashLate(u8),
    /// The answer reaches the claim after this many seconds; the pass does not wait.
    Held(u8),
    /// The same, and another process leads meanwhile.
    Deposed(u8),
}

/// What happens between passes.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Sleep(u8),
    Crash,
    ThirdCreates(Look),
    ThirdDeletes,
    CanRegenerate(bool),
    ShowsKey(bool),
    Endpoint(remote::Endpoint),
    /// A foreign Secret of the name (`true`), or none.
    Secret(bool),
    Suspend(bool),
    /// Somebody else changes a setting.
    ThirdSets(Member),
    /// Whether drift is only reported.
    Report(bool),
    /// Whether a project that is missing is made anew.
    Recreate(bool),
    /// Somebody revokes every key of the project (`true`), or makes one more.
    ThirdChangesKeys(bool),
    OnInvalidKey(InvalidKeyPolicy),
    /// Somebody asks for a look.
    Asks,
    /// The resource is deleted.
    Leaves,
    /// It is applied again.
    Returns,
}

/// The published Secret.
#[derive(Clone)]
pub(super) enum Secret {
    Absent,
    Foreign,
    Written {
        uid: String,
        /// UID of the resource that wrote it.
        by: String,
        key: ApiKey,
    },
}

/// What a process remembers of the claim; see `controller::memory`.
struct Sighting {
    uid: String,
    announced: (u32, Option<u32>, Option<Timestamp>),
    since: Timestamp,
    nothing_since: Option<Timestamp>,
}

/// A call with its claim write, in a task of its own.
#[derive(Clone)]
struct Task {
    due: Timestamp,
    /// Which process waits.
    epoch: u32,
    announced: Record,
    attempt: u32,
    mutation: Mutation,
    reply: Reply,
}

pub(super) struct Model {
    pub(super) now: Timestamp,
    pub(super) remote: Remote,
    pub(super) desired: Desired,
    pub(super) claim: Option<Record>,
    pub(super) secret: Secret,
    /// UID of the resource, while there is one.
    pub(super) resource: Option<String>,
    pub(super) writes: u32,
    serial: u32,
    epoch: u32,
    sighting: Option<Sighting>,
    /// A project that was not found, since when.
    absence: Option<(ProjectId, Timestamp)>,
    /// A look has shown that the claim's key does not work.
    is_key_suspected: bool,
    looks: Looks,
    /// Members that somebody else has changed.
    pub(super) touched: BTreeSet<Member>,
    tasks: Vec<Task>,
    faults: VecDeque<Fault>,
    story: Vec<String>,
    /// What has happened, by kind.
    pub(super) turns: BTreeSet<&'static str>,
    broken: Option<String>,
}

/// How a look at the resource or its claim ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    Step(Step),
    Orphan(OrphanStep),
    /// A failure, after which the look is repeated.
    Failed(&'static str),
    /// Nothing is there to be looked at.
    Nothing,
}

fn seconds(count: impl Into<i64>) -> SignedDuration {
    SignedDuration::from_secs(count.into())
}

pub(super) fn secret_key() -> FingerprintKey {
    FingerprintKey::new("of the ledger".to_owned())
}

pub(super) fn desired(settings: Settings) -> Desired {
    Desired {
        namespace: "team".to_owned(),
        name: "shop".to_owned(),
        uid: "resource-1".to_owned(),
        organization: "default".to_owned(),
        organization_id: None,
        settings_endpoint: Capability::Unknown,
        regenerate_key: Capability::Unknown,
        project_name: ProjectName::try_from("prod-shop".to_owned()).unwrap(),
        settings,
        drift: DriftSpec::default(),
        secret: SecretWish {
            name: "shop".to_owned(),
            entries: EntryNames { api_key: "KEY".to_owned(), project_id: "ID".to_owned(), base_url: None },
            template: BTreeMap::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        },
        base_url: "https://api.example".to_owned(),
        room: Room::default(),
        is_suspended: false,
        deletion_policy: DeletionPolicy::Retain,
        take_over: TakeOver::default(),
        key_health: KeyHealth::default(),
    }
}

pub(super) fn owner(uid: &str) -> Owner {
    Owner {
        namespace: "team".to_owned(),
        namespace_uid: "namespace-1".to_owned(),
        name: "shop".to_owned(),
        uid: uid.to_owned(),
    }
}

impl Model {
    pub(super) fn new(remote: Remote, settings: Settings, faults: Vec<Fault>) -> Self {
        let desired = desired(settings);
        Self {
            now: Timestamp::from_second(1_700_000_000).unwrap(),
            remote,
            resource: Some(desired.uid.clone()),
            desired,
            claim: None,
            secret: Secret::Absent,
            writes: 0,
            serial: 1,
            epoch: 0,
            sighting: None,
            absence: None,
            is_key_suspected: false,
            looks: Looks::default(),
            touched: BTreeSet::new(),
            tasks: Vec::new(),
            faults: faults.into(),
            story: Vec::new(),
            turns: BTreeSet::new(),
            broken: None,
        }
    }

    /// Notes a law that does not hold, with what led to it; the first one counts.
    pub(super) fn law(&mut self, holds: bool, law: &str) {
        if !holds && self.broken.is_none() {
            self.broken = self.holds(false, law).err().map(|broken| broken.to_string());
        }
    }

    /// A law of the end, after those of all the steps.
    pub(super) fn holds(&self, holds: bool, law: &str) -> Result<(), TestCaseError> {
        let story = || format!("not so: {law}\n  {}", self.story.join("\n  "));
        let broken = self.broken.clone().or_else(|| (!holds).then(story));
        broken.map_or(Ok(()), |broken| Err(TestCaseError::fail(broken)))
    }

    pub(super) fn tell(&mut self, what: &str) {
        let second = self.now.as_second() - 1_700_000_000;
        if !self.story.last().is_some_and(|last| last.ends_with(what)) {
            self.story.push(format!("{second:>6} s {what}"));
        }
    }

    fn serial(&mut self, kind: &str) -> String {
        self.serial += 1;
        format!("{kind}-{}", self.serial)
    }

    /// Lets time pass; what becomes due happens.
    pub(super) fn advance(&mut self, time: Duration) {
        let end = self.now + SignedDuration::try_from(time).unwrap();
        while let Some(next) = self.tasks.iter().position(|task| task.due <= end) {
            let task = self.tasks.remove(next);
            self.now = self.now.max(task.due);
            self.remote.advance(self.now);
            self.settle(task);
        }
        self.now = end;
        self.remote.advance(end);
    }

    /// From now on nothing goes wrong; an endpoint that was gone is tried again, as it is after hours.
    pub(super) fn faults_stop(&mut self) {
        self.faults.clear();
        self.desired.settings_endpoint = Capability::Unknown;
        self.desired.regenerate_key = Capability::Unknown;
    }

    /// Nothing is under way any more.
    pub(super) fn is_quiet(&self) -> bool {
        self.tasks.is_empty() && self.remote.is_quiet()
    }

    pub(super) fn event(&mut self, event: &Event) {
        self.tell(&format!("{event:?}"));
        match event {
            Event::Sleep(time) => self.advance(Duration::from_secs((*time).into())),
            Event::Crash => self.crash(),
            Event::ThirdCreates(look) => self.third_creates(*look),
            Event::ThirdDeletes => self.third_deletes(),
            Event::CanRegenerate(can) => self.remote.can_regenerate = *can,
            Event::ShowsKey(shows) => self.remote.shows_key = *shows,
            Event::Endpoint(endpoint) => self.remote.endpoint = *endpoint,
            Event::Secret(is_foreign) => {
                self.secret = if *is_foreign { Secret::Foreign } else { Secret::Absent }
            }
            Event::Suspend(is_suspended) => self.desired.is_suspended = *is_suspended,
            Event::ThirdSets(member) => self.third_sets(*member),
            Event::Report(is_wanted) => {
                self.desired.drift.policy =
                    if *is_wanted { DriftPolicy::Report } else { DriftPolicy::Correct };
            }
            Event::Recreate(is_wanted) => {
                self.desired.take_over.spec.on_missing =
                    if *is_wanted { MissingPolicy::Recreate } else { MissingPolicy::Report };
            }
            Event::ThirdChangesKeys(revokes) => self.third_changes_keys(*revokes),
            Event::OnInvalidKey(policy) => self.desired.key_health.on_invalid = *policy,
            Event::Asks => self.desired.key_health.is_asked = true,
            Event::Leaves => self.resource = None,
            Event::Returns if self.resource.is_none() => {
                self.desired.uid = self.serial("resource");
                self.resource = Some(self.desired.uid.clone());
            }
            Event::Returns => {}
        }
    }

    /// A project that looks like ours and is born within seconds of an attempt cannot be told apart (design 5.1, "What
    /// remains"): it comes only while no attempt is open, and some seconds before the next one.
    fn third_creates(&mut self, look: Look) {
        let is_open = self.claim.as_ref().is_some_and(|record| !record.claim.attempts().is_empty());
        let look = match look {
            Look::Untouched if is_open => Look::TwoKeys,
            look => look,
        };
        self.remote.third_creates(look, self.now);
        if look == Look::Untouched {
            self.advance(Duration::from_secs(6));
        }
    }

    /// Nobody deletes a project while the answer that made it is still on its way: by the merge's rule that answer counts
    /// whenever it comes, and the claim would take the dead project up.
    fn third_deletes(&mut self) {
        let is_unanswered = |task: &Task| matches!(task.reply, Reply::Created { .. });
        if !self.tasks.iter().any(is_unanswered) {
            self.remote.third_deletes();
        }
    }

    /// The process ends: what it remembered and the tasks that it ran are gone.
    fn crash(&mut self) {
        let epoch = self.epoch;
        self.tasks.retain(|task| task.epoch != epoch);
        self.lose_lead();
    }

    /// Another process leads; tasks of the old one go on.
    fn lose_lead(&mut self) {
        self.epoch += 1;
        self.sighting = None;
        self.absence = None;
        self.is_key_suspected = false;
        self.looks = Looks::default();
        self.desired.settings_endpoint = Capability::Unknown;
        self.desired.regenerate_key = Capability::Unknown;
    }

    fn is_in_flight(&self) -> bool {
        self.tasks.iter().any(|task| task.epoch == self.epoch)
    }

    /// The clocks for what the claim announces; see `controller::memory`.
    fn settling(&mut self) -> Settling {
        let now = self.now;
        let none = Settling { now, settle: SETTLE, seen_for: Duration::ZERO, nothing_for: None };
        let Some(record) = self.claim.as_ref().filter(|record| record.claim.is_uncertain()) else {
            self.sighting = None;
            return none;
        };
        let claim = &record.claim;
        let rotation = claim.rotation().map(|rotation| rotation.attempt);
        let announced = (claim.last_attempt(), rotation, claim.deletion_started_time());
        let last = self.sighting.take().filter(|last| last.uid == record.uid && last.announced == announced);
        let sighting = self.sighting.insert(last.unwrap_or_else(|| Sighting {
            uid: record.uid.clone(),
            announced,
            since: now,
            nothing_since: None,
        }));
        let age = |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
        Settling { seen_for: age(sighting.since), nothing_for: sighting.nothing_since.map(age), ..none }
    }

    /// A complete walk for the claim's project, with the one read by id; see `controller::evidence`.
    fn walk(&mut self, claim: &Claim) -> Evidence {
        let is_settled = self.settling().left(claim.attempts()).is_zero();
        let (now, listed) = (self.now, self.remote.list(self.now));
        if let Some(sighting) = &mut self.sighting {
            let since = sighting.nothing_since.unwrap_or(now);
            sighting.nothing_since = (is_settled && listed.is_none()).then_some(since);
        }
        let found = listed.map(|(id, created_time)| {
            let is_candidate = in_window(claim.attempts(), created_time, SETTLE);
            let detail = is_candidate.then(|| self.remote.read(&id, now)).flatten();
            let is_claimed = self.remote.get(&id).is_some_and(|project| project.is_claimed);
            Found { id, created_time, is_claimed, detail }
        });
        Evidence { is_settled, found }
    }

    fn gone_for(&self) -> Option<Duration> {
        let id = self.claim.as_ref()?.claim.project_id()?;
        let (_, since) = self.absence.as_ref().filter(|(gone, _)| gone == id)?;
        Duration::try_from(self.now.duration_since(*since)).ok()
    }

    /// Both witnesses about the claim's project; see `controller::project::adopt`.
    fn look_for_project(&mut self) -> Option<(ProjectId, Presence)> {
        let (id, now) = (self.claim.as_ref()?.claim.project_id()?.clone(), self.now);
        let is_there = self.remote.read(&id, now).is_some()
            || self.remote.list(now).is_some_and(|(listed, _)| listed == id);
        if is_there {
            self.absence = None;
            return Some((id, Presence::There));
        }
        if self.gone_for().is_some_and(|gone_for| gone_for >= SETTLE) {
            self.turns.insert("gone twice");
            return Some((id, Presence::GoneAgain));
        }
        if self.gone_for().is_none() {
            self.absence = Some((id.clone(), now));
        }
        Some((id, Presence::Gone))
    }

    /// One look at the claim of a resource that is gone; see `controller::claims`.
    fn look_at_orphan(&mut self) -> End {
        let mut seen = OrphanSeen::default();
        loop {
            let Some(record) = self.claim.clone() else {
                return End::Nothing;
            };
            let settling = self.settling();
            let step = orphan(&record.claim, self.is_in_flight(), &seen, &settling).unwrap();
            if let OrphanStep::Write(claim) = &step {
                self.tell(&format!("  write {}", told(claim)));
            }
            match step {
                OrphanStep::ReadEvidence => seen.evidence = Some(self.walk(&record.claim)),
                OrphanStep::ReadProject => {
                    self.lint_deletion(Some(&record.claim));
                    let id = record.claim.project_id();
                    seen.exists = id.map(|id| self.remote.read(id, self.now).is_some());
                }
                OrphanStep::Write(claim) => {
                    self.lint_found(&record.claim, &claim);
                    if self.write(*claim, record.key.clone()).is_err() {
                        return End::Failed("a claim was not written");
                    }
                    seen = OrphanSeen::default();
                }
                OrphanStep::Bury => {
                    self.law(false, "what was only to be replaced has no tombstone");
                    return End::Nothing;
                }
                OrphanStep::Remove => {
                    self.turns.insert("removed");
                    self.writes += 1;
                    self.claim = None;
                    let is_nothing = self.remote.own().next().is_none() && self.remote.is_quiet();
                    self.law(
                        is_nothing,
                        "a claim is removed only when nothing has come of it, and nothing will",
                    );
                    return End::Nothing;
                }
                step @ (OrphanStep::Keep | OrphanStep::Wait(_)) => return End::Orphan(step),
            }
        }
    }

    /// One look at the resource, or at its claim where it is gone.
    pub(super) fn look(&mut self) -> End {
        let end = if self.resource.is_some() { self.pass() } else { self.look_at_orphan() };
        self.tell(&format!("=> {end:?}"));
        end
    }

    /// The project of the claim, if it lives.
    pub(super) fn claimed(&self) -> Option<&remote::Project> {
        let id = self.claim.as_ref()?.claim.project_id()?;
        self.remote.get(id).filter(|project| project.is_alive)
    }

    fn is_ours(&self, id: &ProjectId) -> bool {
        self.remote.get(id).is_none_or(|project| project.maker != Maker::Third)
    }
}

/// A claim in a story.
fn told(claim: &Claim) -> String {
    let open: Vec<_> = claim.attempts().iter().map(|open| (open.number, open.conflict)).collect();
    let key = claim.rotation().map(|rotation| (rotation.attempt, rotation.stage));
    let id = claim.project_id().map(ProjectId::as_str);
    format!("{:?} {id:?} attempts {open:?} key {key:?}", claim.phase())
}
