//! One history: a seed, so many steps, the ending. Everything happens in the order of virtual time, on one thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use composio_operator::domain::failure::Failure;

use crate::chaos;
use crate::cluster::Key;
use crate::driver::{self, orphans};
use crate::ending;
use crate::guard::Guard;
use crate::laws;
use crate::realm::{Ctx, MINUTE, NEVER, Park, Realm, Role, SECOND, Shared, Task, Time};
use crate::weather::Weather;

/// One unlucky or strange thing per so many steps, on average: one of these.
const CHAOS: [u32; 4] = [10, 20, 40, 80];
/// Steps from one ending to the next trouble.
const STRETCH: u64 = 900;
/// How long the ending takes.
const CALM: Time = 100 * MINUTE;
/// At its end nothing is written for so long.
const QUIET: Time = 20 * MINUTE;
/// Most steps of an ending.
const MOST_STEPS: u64 = 20_000;

/// Lines of a story that are told; `SIMULATION_LINES` sets another number.
const LINES: usize = 160;

/// What came of a history.
pub(crate) struct History {
    pub(crate) steps: u64,
    pub(crate) tally: BTreeMap<&'static str, u64>,
    /// The law that did not hold, and what led to it.
    pub(crate) broken: Option<(String, String)>,
}

/// The next thing to happen.
enum Next {
    Task(usize),
    Commit,
    Cluster,
    Retire(usize),
    Deliver(usize),
    Pass(usize, Key),
    Orphan(usize, String),
}

struct Simulation {
    shared: Rc<Shared>,
    tasks: Vec<Task>,
    steps: u64,
}

/// Lives through a history of about `length` steps.
pub(crate) fn run(
    seed: u64,
    length: u64,
    weather: Option<Weather>,
    removed: Option<Guard>,
    tells: bool,
) -> History {
    let mut realm = Realm::new(seed, weather, removed, tells);
    chaos::start(&mut realm);
    let shared = Rc::new(Shared { realm: RefCell::new(realm), park: Cell::new(Park::Until(0)) });
    let mut simulation = Simulation { shared, tasks: Vec::new(), steps: 0 };
    while simulation.steps < length && !simulation.is_broken() {
        simulation.chaos(STRETCH);
        simulation.calm();
    }
    let realm = simulation.shared.realm.borrow();
    let broken = realm.laws.broken.clone().map(|law| {
        let lines = crate::number("SIMULATION_LINES").and_then(|lines| usize::try_from(lines).ok());
        (law, realm.story(lines.unwrap_or(LINES)))
    });
    History { steps: simulation.steps, tally: realm.tally.clone(), broken }
}

impl Simulation {
    fn with<T>(&self, act: impl FnOnce(&mut Realm) -> T) -> T {
        act(&mut self.shared.realm.borrow_mut())
    }

    fn is_broken(&self) -> bool {
        self.with(|realm| realm.laws.broken.is_some())
    }

    fn chaos(&mut self, length: u64) {
        let end = self.steps + length;
        let rate = self.with(|realm| {
            realm.is_calm = false;
            *realm.dice.pick(&CHAOS).unwrap()
        });
        while self.steps < end && !self.is_broken() {
            let strikes = self.with(|realm| realm.dice.once_in(rate));
            if strikes {
                self.with(|realm| {
                    chaos::act(realm);
                    deliveries(realm);
                });
                self.bury();
                self.steps += 1;
            } else if !self.step(NEVER) {
                // Nobody is left to do anything, or nothing to be done.
                self.with(|realm| realm.now += SECOND);
            }
        }
    }

    /// Nothing goes wrong any more: in the end all is well, or truly not.
    fn calm(&mut self) {
        self.with(chaos::calm);
        self.bury();
        let begun = self.steps;
        let end = self.with(|realm| realm.now) + CALM;
        while self.step(end - QUIET) && !self.is_broken() {
            if self.steps - begun > MOST_STEPS {
                self.with(|realm| realm.laws.breaks("after the faults stop, everything comes to an end"));
            }
        }
        let before = self.with(writes);
        while self.step(end) && !self.is_broken() {}
        let after = self.with(writes);
        if self.is_broken() {
            return;
        }
        self.with(|realm| {
            realm.now = end;
            realm.law(before == after || ending::asks_again(realm), "what is done is quiet");
            ending::check(realm);
            realm.count("an ending");
        });
    }

    /// Ends the tasks of processes that have ended.
    fn bury(&mut self) {
        let dead: Vec<bool> =
            self.with(|realm| realm.processes.iter().map(|process| !process.is_alive).collect());
        self.tasks.retain(|task| !dead[task.process]);
    }

    /// Does the next thing, unless it is after `end`.
    fn step(&mut self, end: Time) -> bool {
        let (time, next) = self.next();
        if time > end || time == NEVER {
            return false;
        }
        self.steps += 1;
        self.with(|realm| {
            realm.now = realm.now.max(time);
            realm.note_wanted();
        });
        match next {
            Next::Task(at) => self.poll(at),
            Next::Commit => self.with(commit),
            Next::Cluster => self.with(|realm| {
                let now = realm.now;
                realm.cluster.advance(now);
            }),
            Next::Retire(process) => {
                self.with(|realm| realm.processes[process].is_alive = false);
                self.bury();
            }
            Next::Deliver(process) => self.with(|realm| deliver(realm, process)),
            Next::Pass(process, key) => self.start_pass(process, key),
            Next::Orphan(process, name) => self.start_orphan(process, name),
        }
        let spawned = self.with(|realm| {
            deliveries(realm);
            std::mem::take(&mut realm.spawned)
        });
        self.tasks.extend(spawned);
        true
    }

    fn next(&self) -> (Time, Next) {
        let realm = self.shared.realm.borrow();
        let mut best = (NEVER, Next::Cluster);
        for (at, task) in self.tasks.iter().enumerate() {
            let ready = match task.park {
                Park::Until(time) => time,
                Park::Join(_) => NEVER,
            };
            let paused_until = realm.processes[task.process].paused_until;
            offer(&mut best, ready.min(task.deadline).max(paused_until), Next::Task(at));
        }
        if let Some(due) = realm.remote.pending.iter().map(|request| request.due).min() {
            offer(&mut best, due, Next::Commit);
        }
        if let Some(due) = realm.cluster.next_change() {
            offer(&mut best, due, Next::Cluster);
        }
        for (at, process) in realm.processes.iter().enumerate().filter(|(_, process)| process.is_alive) {
            let floor = process.paused_until;
            if let Some(time) = process.retires {
                offer(&mut best, time, Next::Retire(at));
            }
            if let Some(time) = process.delivery {
                offer(&mut best, time.max(floor), Next::Deliver(at));
            }
            let waiting = process.due.iter().filter(|(key, _)| !process.running.contains(key));
            if let Some((key, due)) = waiting.min_by_key(|(_, due)| **due) {
                offer(&mut best, (*due).max(floor), Next::Pass(at, *key));
            }
            let waiting =
                process.claims_due.iter().filter(|(name, _)| !process.running_claims.contains(*name));
            if let Some((name, due)) = waiting.min_by_key(|(_, due)| **due)
                && (*due).max(floor) < best.0
            {
                best = ((*due).max(floor), Next::Orphan(at, name.clone()));
            }
        }
        best
    }

    fn poll(&mut self, at: usize) {
        let task = &mut self.tasks[at];
        let mut context = Context::from_waker(Waker::noop());
        let is_ready = matches!(task.future.as_mut().poll(&mut context), Poll::Ready(()));
        task.park = self.shared.park.get();
        let now = self.shared.realm.borrow().now;
        if !is_ready && now < task.deadline {
            return;
        }
        let task = self.tasks.swap_remove(at);
        drop(task.future);
        for waiting in &mut self.tasks {
            if waiting.park == Park::Join(task.id) {
                waiting.park = Park::Until(now);
            }
        }
        if !is_ready {
            self.with(|realm| match &task.role {
                Role::Pass(key) => driver::overdue(realm, task.process, *key),
                Role::Orphan(name) => {
                    orphans::finish(realm, task.process, name, &Err(Failure::transient("too long")));
                }
                Role::Call => {}
            });
        }
    }

    fn start_pass(&mut self, process: usize, key: Key) {
        let ctx = Ctx { shared: self.shared.clone(), me: process };
        self.with(|realm| {
            realm.processes[process].due.remove(&key);
            realm.processes[process].running.insert(key);
            let deadline = realm.now + driver::PASS_DEADLINE;
            realm.spawn(process, Role::Pass(key), deadline, driver::reconcile(ctx, key));
        });
    }

    fn start_orphan(&mut self, process: usize, name: String) {
        let ctx = Ctx { shared: self.shared.clone(), me: process };
        self.with(|realm| {
            realm.processes[process].claims_due.remove(&name);
            realm.processes[process].running_claims.insert(name.clone());
            let deadline = realm.now + orphans::PASS_DEADLINE;
            let role = Role::Orphan(name.clone());
            realm.spawn(process, role, deadline, orphans::reconcile(ctx, name));
        });
    }
}

fn offer(best: &mut (Time, Next), time: Time, next: Next) {
    if time < best.0 {
        *best = (time, next);
    }
}

/// What has happened to resources is on its way to the caches.
fn deliveries(realm: &mut Realm) {
    for at in 0..realm.processes.len() {
        let process = &realm.processes[at];
        if process.is_alive && process.delivery.is_none() && process.seen < realm.cluster.log.len() {
            let time = realm.now + realm.latency();
            realm.processes[at].delivery = Some(time);
        }
    }
}

fn writes(realm: &mut Realm) -> (u64, u64, u64) {
    (realm.cluster.claim_writes, realm.cluster.secret_writes, realm.remote.mutations)
}

/// The server carries a request out.
fn commit(realm: &mut Realm) {
    let now = realm.now;
    while let Some(request) = realm.remote.next_due(now) {
        laws::committing(realm, &request.mutation);
        let reply = realm.remote.commit(&mut realm.dice, now, &request.mutation);
        realm.tell(|| format!("Composio carries out {:?}: {:?}", request.mutation, reply.as_ref().err()));
        realm.remote.answer(request.id, reply);
    }
}

/// The next change of a resource reaches the cache of a process.
fn deliver(realm: &mut Realm, at: usize) {
    let now = realm.now;
    let process = &mut realm.processes[at];
    process.delivery = None;
    let Some((key, found)) = realm.cluster.log.get(process.seen) else { return };
    process.seen += 1;
    let before = match found {
        Some(found) => process.cache.insert(*key, found.clone()),
        None => process.cache.remove(key),
    };
    let is_news = match (&before, found) {
        (Some(before), Some(found)) => before.uid != found.uid || before.generation != found.generation,
        _ => true,
    };
    if is_news {
        process.look_at(*key, now);
    }
    if found.is_none() {
        // What it leaves uncertain has to be settled, and who waits for its claim may go on.
        let claims: Vec<String> = realm.cluster.claims.keys().cloned().collect();
        for name in claims {
            realm.processes[at].look_at_claim(&name, now);
        }
    }
}
