//! Everything that there is, in one place: virtual time, chance, the cluster, Composio, the processes; and the way in
//! which code of a process reaches it ([`Ctx`]). No decisions and no laws.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use composio_operator::domain::failure::Failure;
use composio_operator::domain::key::FingerprintKey;
use jiff::Timestamp;

use crate::cluster::{Cluster, Key, Refused};
use crate::guard::Guard;
use crate::laws::Laws;
use crate::process::Process;
use crate::remote::Remote;
use crate::weather::{Bias, Weather};

/// Virtual time in milliseconds since the beginning.
pub(crate) type Time = i64;

pub(crate) const SECOND: Time = 1_000;
pub(crate) const MINUTE: Time = 60 * SECOND;
pub(crate) const NEVER: Time = Time::MAX;

const BEGINNING: i64 = 1_700_000_000_000;
/// A moment as the API's times show it.
pub(crate) fn timestamp(time: Time) -> Timestamp {
    Timestamp::from_millisecond(BEGINNING + time).unwrap()
}

/// The reverse.
pub(crate) fn time_of(timestamp: Timestamp) -> Time {
    timestamp.as_millisecond() - BEGINNING
}

/// Seeded chance.
pub(crate) struct Dice(fastrand::Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Once in `n` times.
    pub(crate) fn once_in(&mut self, n: u32) -> bool {
        self.0.u32(0..n) == 0
    }

    pub(crate) fn between(&mut self, low: Time, high: Time) -> Time {
        self.0.i64(low..=high)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0.usize(0..n)
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { all.get(self.below(all.len())) }
    }
}

/// What a task does for a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// A pass over a resource.
    Pass(Key),
    /// A pass over a claim whose owner may be gone.
    Orphan(String),
    /// A call with its claim write.
    Call,
}

/// Work of a process that was started and not finished.
pub(crate) struct Task {
    pub(crate) id: u64,
    pub(crate) process: usize,
    pub(crate) role: Role,
    pub(crate) park: Park,
    /// Then it is dropped, if it has not finished.
    pub(crate) deadline: Time,
    pub(crate) future: Pin<Box<dyn Future<Output = ()>>>,
}

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Park {
    Until(Time),
    /// The end of another task.
    Join(u64),
}

pub(crate) struct Realm {
    pub(crate) now: Time,
    pub(crate) dice: Dice,
    pub(crate) cluster: Cluster,
    pub(crate) remote: Remote,
    pub(crate) processes: Vec<Process>,
    pub(crate) laws: Laws,
    /// How often what has happened.
    pub(crate) tally: BTreeMap<&'static str, u64>,
    /// The guard that is missing.
    pub(crate) removed: Option<Guard>,
    pub(crate) weather: Weather,
    /// Nothing goes wrong, and nobody changes anything.
    pub(crate) is_calm: bool,
    pub(crate) spawned: Vec<Task>,
    pub(crate) fingerprint_key: FingerprintKey,
    next_task: u64,
    story: Option<VecDeque<String>>,
}

impl Realm {
    pub(crate) fn new(seed: u64, weather: Option<Weather>, removed: Option<Guard>, tells: bool) -> Self {
        let mut dice = Dice::new(seed);
        let weather = weather.unwrap_or_else(|| Weather::any(&mut dice));
        let remote = Remote::new(&mut dice, weather);
        Self {
            weather,
            now: 0,
            dice,
            cluster: Cluster::new(),
            remote,
            processes: Vec::new(),
            laws: Laws::default(),
            tally: BTreeMap::new(),
            removed,
            is_calm: false,
            spawned: Vec::new(),
            fingerprint_key: FingerprintKey::new("of the ledger".to_owned()),
            next_task: 0,
            story: tells.then(VecDeque::new),
        }
    }

    /// Whether a guard is in force.
    pub(crate) fn has(&self, guard: Guard) -> bool {
        self.removed != Some(guard)
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Notes what happens, where somebody listens.
    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            story.push_back(format!("{:>6}.{:03} s {}", now / SECOND, now % SECOND, what()));
        }
    }

    /// The last lines of what was told.
    pub(crate) fn story(&self, lines: usize) -> String {
        let all = self.story.iter().flatten();
        let skipped = all.clone().count().saturating_sub(lines);
        let lines = all.skip(skipped).map(|line| format!("\n  {line}"));
        lines.collect()
    }

    /// A fault of the kind that comes once in `n` times.
    pub(crate) fn fault(&mut self, n: u32) -> bool {
        !self.is_calm && self.dice.once_in(n * self.weather.mildness)
    }

    /// How long an answer takes on its way: mostly no time, seldom so long that others go past.
    pub(crate) fn latency(&mut self) -> Time {
        let is_slow = self.weather.bias == Bias::SlowAnswers;
        match self.dice.below(120 * self.weather.mildness as usize) {
            _ if self.is_calm => self.dice.between(1, 20),
            1..=12 if is_slow => self.dice.between(SECOND, 24 * SECOND),
            0 => self.dice.between(SECOND, 100 * SECOND),
            1..=8 => self.dice.between(100, 8 * SECOND),
            _ => self.dice.between(1, 30),
        }
    }

    pub(crate) fn spawn(
        &mut self,
        process: usize,
        role: Role,
        deadline: Time,
        future: impl Future<Output = ()> + 'static,
    ) -> u64 {
        self.next_task += 1;
        let (id, park) = (self.next_task, Park::Until(self.now));
        self.spawned.push(Task { id, process, role, park, deadline, future: Box::pin(future) });
        id
    }
}

/// The realm, and what the task that runs waits for next.
pub(crate) struct Shared {
    pub(crate) realm: RefCell<Realm>,
    pub(crate) park: Cell<Park>,
}

/// How code of one process reaches the realm.
#[derive(Clone)]
pub(crate) struct Ctx {
    pub(crate) shared: Rc<Shared>,
    /// Which process.
    pub(crate) me: usize,
}

/// Pending once.
struct Pause(bool);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match std::mem::replace(&mut self.0, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Ctx {
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Realm) -> T) -> T {
        act(&mut self.shared.realm.borrow_mut())
    }

    /// This process.
    pub(crate) fn process<T>(&self, act: impl FnOnce(&mut Process) -> T) -> T {
        self.with(|realm| act(&mut realm.processes[self.me]))
    }

    pub(crate) fn now(&self) -> Time {
        self.with(|realm| realm.now)
    }

    pub(crate) fn has(&self, guard: Guard) -> bool {
        self.with(|realm| realm.has(guard))
    }

    /// Now, as this process believes the server's clock to be.
    pub(crate) fn server_now(&self) -> Timestamp {
        self.with(|realm| timestamp(realm.now + realm.processes[self.me].clock_error))
    }

    pub(crate) async fn until(&self, time: Time) {
        self.shared.park.set(Park::Until(time));
        Pause(false).await;
    }

    pub(crate) async fn sleep(&self, time: Time) {
        self.until(self.now() + time).await;
    }

    pub(crate) async fn join(&self, task: u64) {
        self.shared.park.set(Park::Join(task));
        Pause(false).await;
    }

    /// A read of the API server. What it shows is as old as the answer.
    pub(crate) async fn read<T>(&self, act: impl FnOnce(&mut Realm) -> T) -> Result<T, Failure> {
        let (seen, latency) = self.with(|realm| {
            let seen = if realm.fault(40) { None } else { Some(act(realm)) };
            (seen, realm.latency())
        });
        self.sleep(latency).await;
        seen.ok_or_else(|| Failure::transient("a read failed"))
    }

    /// A write at the API server: it may fail, or its answer may be lost.
    pub(crate) async fn write<T>(
        &self,
        act: impl FnOnce(&mut Realm) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let (written, latency) = self.with(|realm| {
            let written = match () {
                () if realm.fault(40) => Err(Refused::Lost),
                () if realm.fault(40) => {
                    realm.count("a write whose answer was lost");
                    act(realm).and(Err(Refused::Lost))
                }
                () => act(realm),
            };
            (written, realm.latency())
        });
        self.sleep(latency).await;
        written
    }
}
