//! A world of replicas, one Lease with compare-and-swap, and a network that delays, loses and delivers late. Each replica
//! has a monotonic clock with an offset of its own and a wall clock that says anything. `Fault` takes one guard away.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Candidate, Decision, Record, Terms};

pub(super) const TERMS: Terms =
    Terms { duration: Duration::from_secs(15), renew_deadline: Duration::from_secs(10) };

/// The guard that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The holder counts from when the answer to its write came.
    HolderCountsFromAnswer,
    /// The challenger counts from when it sent its read.
    ChallengerCountsFromQuestion,
    /// The challenger believes the wall-clock time in the record.
    ChallengerTrustsRenewTime,
    /// Writes replace whatever is there.
    WritesWithoutVersion,
    /// A holder leads until it hears that it does not.
    LeadsUntilTold,
    /// A take-over does not wait where the record has been changed meanwhile.
    ForgetsChanges,
}

/// What happens next, to one of the replicas.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// Its program or its request goes on by one step.
    Goes,
    /// Its request is given up; a write may still arrive.
    GivesUp,
    /// Dies, and another process takes its place.
    Dies,
    /// Shuts down in good order, and another process takes its place.
    ShutsDown,
    /// Its wall clock jumps.
    WallJumps(i64),
    /// A write that somebody has given up arrives.
    LateWrite(usize),
}

enum Flight {
    Read { sent: Duration, answer: Reply<(Record, String)> },
    Write { write: Write, sent: Duration, answer: Reply<String> },
}

/// What a request has come to: `None` says that there is no Lease, or that the write met a conflict.
enum Reply<T> {
    OnTheWay,
    Came(Option<T>),
}

#[derive(Clone)]
struct Write {
    record: Record,
    replaces: Option<String>,
}

struct Replica {
    candidate: Candidate,
    flight: Option<Flight>,
    offset: Duration,
    wall: SignedDuration,
    /// A conflict was answered: it has to read.
    must_read: bool,
}

pub(super) struct Model {
    pub(super) now: Duration,
    fault: Fault,
    lease: Option<(Record, u64)>,
    last_version: u64,
    replicas: Vec<Replica>,
    late: Vec<Write>,
    born: usize,
}

impl Model {
    /// Replicas with these offsets of their monotonic clocks, in seconds.
    pub(super) fn new(offsets: &[u64], fault: Fault) -> Self {
        let mut model = Self {
            now: Duration::from_secs(1),
            fault,
            lease: None,
            last_version: 0,
            replicas: Vec::new(),
            late: Vec::new(),
            born: 0,
        };
        for offset in offsets {
            let replica = Replica {
                candidate: model.candidate(),
                flight: None,
                offset: Duration::from_secs(*offset),
                wall: SignedDuration::ZERO,
                must_read: false,
            };
            model.replicas.push(replica);
        }
        model
    }

    fn candidate(&mut self) -> Candidate {
        self.born += 1;
        Candidate::new(format!("replica-{}", self.born), TERMS)
    }

    fn clock(&self, who: usize) -> Duration {
        self.now + self.replicas[who].offset
    }

    fn wall(&self, who: usize) -> Timestamp {
        let true_time = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(400_000) + self.now;
        true_time + self.replicas[who].wall
    }

    /// Numbers of the replicas that lead, by their own account, now.
    pub(super) fn leaders(&self) -> Vec<usize> {
        (0..self.replicas.len()).filter(|who| self.leads(*who)).collect()
    }

    fn leads(&self, who: usize) -> bool {
        let until = self.replicas[who].candidate.leads_until();
        until.is_some_and(|until| self.fault == Fault::LeadsUntilTold || until > self.clock(who))
    }

    pub(super) fn transitions(&self) -> i32 {
        self.lease.as_ref().map_or(0, |(record, _)| record.transitions)
    }

    pub(super) fn replicas(&self) -> usize {
        self.replicas.len()
    }

    pub(super) fn happens(&mut self, who: usize, what: &Happening) {
        match what {
            Happening::Goes => self.goes(who),
            Happening::GivesUp => self.gives_up(who),
            Happening::Dies => self.reborn(who),
            Happening::ShutsDown => self.shuts_down(who),
            Happening::WallJumps(seconds) => self.replicas[who].wall = SignedDuration::from_secs(*seconds),
            Happening::LateWrite(which) => {
                if !self.late.is_empty() {
                    let write = self.late.swap_remove(which % self.late.len());
                    self.commit(&write);
                }
            }
        }
    }

    /// The network forgets what is under way.
    pub(super) fn calm_down(&mut self) {
        self.late.clear();
        for replica in &mut self.replicas {
            replica.flight = None;
        }
    }

    /// A whole round: the program of the replica goes on until it would wait.
    pub(super) fn round(&mut self, who: usize) {
        for _ in 0..10 {
            self.goes(who);
            if self.replicas[who].flight.is_none() {
                return;
            }
        }
    }

    fn goes(&mut self, who: usize) {
        match self.replicas[who].flight.take() {
            None => self.begins(who),
            Some(Flight::Read { sent, answer: Reply::OnTheWay }) => {
                let answer = self.lease.clone().map(|(record, version)| (record, version.to_string()));
                self.replicas[who].flight = Some(Flight::Read { sent, answer: Reply::Came(answer) });
            }
            Some(Flight::Write { write, sent, answer: Reply::OnTheWay }) => {
                let answer = Reply::Came(self.commit(&write));
                self.replicas[who].flight = Some(Flight::Write { write, sent, answer });
            }
            Some(Flight::Read { sent, answer: Reply::Came(found) }) => self.has_read(who, found, sent),
            Some(Flight::Write { write, sent, answer: Reply::Came(answer) }) => {
                self.has_written(who, write, answer, sent);
            }
        }
    }

    /// As the shell does it: a holder writes at once, everybody else reads first.
    fn begins(&mut self, who: usize) {
        let now = self.clock(who);
        let replica = &self.replicas[who];
        if replica.candidate.leads_until().is_some() && !replica.must_read {
            return match replica.candidate.decide(now) {
                Decision::Renew => self.writes(who),
                _ => self.reborn(who),
            };
        }
        self.replicas[who].flight = Some(Flight::Read { sent: now, answer: Reply::OnTheWay });
    }

    fn writes(&mut self, who: usize) {
        let (sent, wall) = (self.clock(who), self.wall(who));
        let candidate = &self.replicas[who].candidate;
        let replaces = candidate.version().map(ToOwned::to_owned);
        let write = Write { record: candidate.record(wall), replaces };
        self.replicas[who].flight = Some(Flight::Write { write, sent, answer: Reply::OnTheWay });
    }

    fn has_read(&mut self, who: usize, found: Option<(Record, String)>, sent: Duration) {
        let (now, wall) = (self.clock(who), self.wall(who));
        let at = if self.fault == Fault::ChallengerCountsFromQuestion { sent } else { now };
        let renewed = found.as_ref().and_then(|(record, _)| record.renew_time);
        let candidate = &mut self.replicas[who].candidate;
        if let (Fault::ForgetsChanges, Some((_, version))) = (self.fault, &found)
            && let Some(seen) = &mut candidate.seen
        {
            seen.version = Some(version.clone());
        }
        candidate.observe(found, at);
        let decision = candidate.decide(now);
        self.replicas[who].must_read = false;
        let looks_expired =
            renewed.is_some_and(|renewed| wall.duration_since(renewed).unsigned_abs() > TERMS.duration);
        match decision {
            Decision::Create | Decision::Take | Decision::Renew => self.writes(who),
            Decision::Wait(_) if self.fault == Fault::ChallengerTrustsRenewTime && looks_expired => {
                self.writes(who);
            }
            Decision::Wait(_) => {}
            Decision::Lost(_) => self.reborn(who),
        }
    }

    fn has_written(&mut self, who: usize, write: Write, answer: Option<String>, sent: Duration) {
        let now = self.clock(who);
        let at = if self.fault == Fault::HolderCountsFromAnswer { now } else { sent };
        let replica = &mut self.replicas[who];
        match answer {
            Some(version) => replica.candidate.written(write.record, version, at),
            None => replica.must_read = true,
        }
    }

    fn commit(&mut self, write: &Write) -> Option<String> {
        let version = self.lease.as_ref().map(|(_, version)| version.to_string());
        if version != write.replaces && self.fault != Fault::WritesWithoutVersion {
            return None;
        }
        self.last_version += 1;
        self.lease = Some((write.record.clone(), self.last_version));
        Some(self.last_version.to_string())
    }

    fn gives_up(&mut self, who: usize) {
        if let Some(Flight::Write { write, answer: Reply::OnTheWay, .. }) = self.replicas[who].flight.take() {
            self.late.push(write);
        }
        self.replicas[who].must_read = true;
    }

    /// A process has ended: what it sent may still arrive.
    fn reborn(&mut self, who: usize) {
        self.gives_up(who);
        self.replicas[who].candidate = self.candidate();
    }

    fn shuts_down(&mut self, who: usize) {
        let wall = self.wall(who);
        let replica = &mut self.replicas[who];
        let is_leader = replica.candidate.leads_until().is_some();
        let replaces = replica.candidate.version().map(ToOwned::to_owned);
        if let Some(record) = replica.candidate.release(wall).filter(|_| is_leader) {
            let write = Write { record, replaces };
            if replica.flight.is_none() {
                self.commit(&write);
            } else {
                self.late.push(write);
            }
        }
        self.reborn(who);
    }
}
