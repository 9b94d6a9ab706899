//! What goes wrong, and what users do, in which order: a pure function of the seed. When each step meets which request is
//! up to the machine.

use crate::emulator::{Fault, LateAnswer, Operation, Point, View, Which};

/// How many steps the weather holds.
const WEATHER: u64 = 140;
/// Distances between the rare and slow steps.
const SERVER_RESTARTS: u64 = 500;
const NAMESPACE_DELETIONS: u64 = 200;
/// When they come first.
const FIRST_RARE: u64 = 110;

/// What there is to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Operators.
    pub replicas: usize,
    /// Places for ComposioProjects.
    pub slots: usize,
    /// Namespaces that they are in.
    pub namespaces: usize,
}

/// One thing that goes wrong, or that a user does.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// SIGKILL of a replica, which is started again at once.
    Kill(usize),
    /// SIGSTOP of a replica, and SIGCONT after so many milliseconds.
    Stop(usize, u64),
    /// The next call of this operation fails in this way.
    Call(Operation, Fault),
    /// The next call of this operation hears a failure, and is carried out after so many milliseconds.
    Late(Operation, LateAnswer, u64),
    /// The next write to these objects fails in this way.
    Write(Objects, WriteFault),
    /// All connections between the operators and the API server are cut.
    CutConnections,
    /// The API server is killed and started again.
    RestartServer,
    /// Composio's list, or its read by id, is behind for so many milliseconds.
    Behind(Witness, View, u64),
    /// A user does something.
    User(Deed),
}

/// Objects that the operators write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Objects {
    /// The ledger, and whatever else is a Secret of the operator's namespace.
    Claims,
    /// Published Secrets.
    Secrets,
    /// Resources and their status.
    Resources,
    /// The lease of the leader.
    Leases,
    /// Any.
    Any,
}

/// How a write to the API server fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFault {
    /// The connection is cut; nothing was done.
    CutBefore,
    /// It is done, the answer is lost.
    CutAfter,
    /// It arrives so many milliseconds later.
    SlowBefore(u64),
    /// It is done, the answer comes so many milliseconds later.
    SlowAfter(u64),
    /// The API server answers with this status; nothing was done.
    Refused(u16),
}

/// A view of Composio's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// The list of projects.
    List,
    /// The read by id.
    Read,
}

/// What a user does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Changes the spec.
    Edit(usize, Change),
    /// Deletes the resource.
    Delete(usize),
    /// Deletes the resource, if it is there, and makes it again; where the flag is set, under a name that is new.
    Make(usize, bool),
    /// Deletes the published Secret.
    DeleteSecret(usize),
    /// Overwrites the key in the published Secret.
    SpoilSecret(usize),
    /// Takes the operator's label off the published Secret.
    UnlabelSecret(usize),
    /// Empties the status.
    WipeStatus(usize),
    /// Revokes all keys of the project in the dashboard.
    RevokeKeys(usize),
    /// Deletes a namespace with everything in it; the next deed in it makes it again.
    DeleteNamespace(usize),
}

/// A change of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Other settings.
    Settings(u32),
    /// Another name of the Secret.
    SecretName(u32),
    /// Another name of the entry with the key.
    Entry(u32),
    /// Another further entry.
    Template(u32),
    /// On or off.
    Suspend(bool),
    /// What becomes of the project when the resource is deleted.
    Policy(Policy),
}

/// `spec.deletionPolicy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// The project stays.
    #[default]
    Retain,
    /// The project goes.
    Delete,
    /// The project goes, with what it had connected.
    DeleteAndRevoke,
}

/// An endless stream of steps, each with the pause after it in milliseconds.
#[derive(Debug, Clone)]
pub struct Schedule {
    random: fastrand::Rng,
    shape: Shape,
    number: u64,
    /// Share of kills among the steps, in percent: an unknown outcome settles only where a process lives for a while.
    kills: u32,
}

impl Schedule {
    /// The steps of this seed.
    pub fn new(seed: u64, shape: Shape) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), shape, number: 0, kills: 7 }
    }

    fn step(&mut self) -> Step {
        self.number += 1;
        if self.number.is_multiple_of(WEATHER) {
            self.kills = self.one_of(&[0, 0, 3, 6, 12]);
        }
        if self.number % SERVER_RESTARTS == FIRST_RARE {
            return Step::RestartServer;
        }
        if self.number % NAMESPACE_DELETIONS == FIRST_RARE / 2 {
            return Step::User(Deed::DeleteNamespace(self.random.usize(..self.shape.namespaces)));
        }
        if self.random.u32(..100) < self.kills {
            return Step::Kill(self.random.usize(..self.shape.replicas));
        }
        match self.random.u32(..100) {
            0..2 => Step::Stop(self.random.usize(..self.shape.replicas), self.stop()),
            2..36 => self.call(),
            36..39 => self.late(),
            39..64 => self.write(),
            64..66 => Step::CutConnections,
            66..68 => self.behind(),
            _ => Step::User(self.deed()),
        }
    }

    /// Mostly short; sometimes longer than a lease and the send gate.
    fn stop(&mut self) -> u64 {
        if self.random.u32(..100) < 75 { self.random.u64(50..1_000) } else { self.random.u64(3_000..8_000) }
    }

    fn operation(&mut self) -> Operation {
        match self.random.u32(..100) {
            0..42 => Operation::Create,
            42..54 => Operation::Regenerate,
            54..64 => Operation::List,
            64..70 => Operation::Read,
            70..78 => Operation::ReadSettings,
            78..88 => Operation::PatchSettings,
            _ => Operation::Delete,
        }
    }

    fn call(&mut self) -> Step {
        let operation = self.operation();
        let point = self.one_of(&[Point::BeforeCommit, Point::AfterCommit]);
        let fault = match self.random.u32(..100) {
            0..36 => Fault::Cut { point },
            36..52 => Fault::ServerError { point, status: self.one_of(&[500, 502, 503, 504]) },
            // No 4xx: a page with such a status says that the endpoint is gone, which is believed for hours.
            52..60 => Fault::Html { point, status: self.one_of(&[200, 502, 503]) },
            60..66 => Fault::ShortBody,
            66..72 => Fault::CutJson,
            // Longer than a request may take; before the effect: short enough for a late effect to be awaited.
            72..84 => Fault::Delay { point, milliseconds: self.random.u64(1_600..3_000) },
            84..88 => Fault::RateLimited { retry_after_seconds: 1 },
            _ => Fault::Twice { answer: self.answer_of(operation) },
        };
        Step::Call(operation, fault)
    }

    /// After a creation only the first answer tells whose project it is, after a new key only the second one tells the key
    /// that lives: the other one is worse than a lost answer, for it is false.
    fn answer_of(&mut self, operation: Operation) -> Which {
        match operation {
            Operation::Create => Which::First,
            Operation::Regenerate => Which::Second,
            _ => self.one_of(&[Which::First, Which::Second]),
        }
    }

    fn late(&mut self) -> Step {
        let operation =
            self.one_of(&[Operation::Create, Operation::Create, Operation::Regenerate, Operation::Delete]);
        let answer = self.one_of(&[LateAnswer::Cut, LateAnswer::GatewayTimeout]);
        Step::Late(operation, answer, self.random.u64(50..3_000))
    }

    fn write(&mut self) -> Step {
        let objects = match self.random.u32(..100) {
            0..45 => Objects::Claims,
            45..65 => Objects::Secrets,
            65..85 => Objects::Resources,
            85..92 => Objects::Leases,
            _ => Objects::Any,
        };
        let fault = match self.random.u32(..100) {
            0..25 => WriteFault::CutBefore,
            25..65 => WriteFault::CutAfter,
            65..75 => WriteFault::SlowBefore(self.random.u64(100..7_000)),
            75..90 => WriteFault::SlowAfter(self.random.u64(100..7_000)),
            _ => WriteFault::Refused(self.one_of(&[429, 500, 503])),
        };
        Step::Write(objects, fault)
    }

    /// Not for as long as an outcome may be unknown: then two looks in that distance see the truth.
    fn behind(&mut self) -> Step {
        let witness = self.one_of(&[Witness::List, Witness::List, Witness::Read]);
        let view = self.one_of(&[View::Behind(1), View::Behind(2)]);
        Step::Behind(witness, view, self.random.u64(500..4_000))
    }

    fn deed(&mut self) -> Deed {
        let slot = self.random.usize(..self.shape.slots);
        match self.random.u32(..100) {
            0..40 => Deed::Edit(slot, self.change()),
            40..52 => Deed::Make(slot, false),
            52..72 => Deed::Make(slot, true),
            72..80 => Deed::Delete(slot),
            80..87 => Deed::DeleteSecret(slot),
            87..92 => Deed::SpoilSecret(slot),
            92..95 => Deed::UnlabelSecret(slot),
            95..97 => Deed::WipeStatus(slot),
            _ => Deed::RevokeKeys(slot),
        }
    }

    fn change(&mut self) -> Change {
        let value = self.random.u32(1..1_000);
        match self.random.u32(..100) {
            0..34 => Change::Settings(value),
            34..46 => Change::SecretName(value % 5),
            46..56 => Change::Entry(value % 5),
            56..70 => Change::Template(value),
            70..80 => Change::Suspend(self.random.u32(..100) < 30),
            _ => Change::Policy(self.one_of(&[Policy::Retain, Policy::Delete, Policy::DeleteAndRevoke])),
        }
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.random.usize(..values.len())]
    }
}

impl Iterator for Schedule {
    type Item = (Step, u64);

    fn next(&mut self) -> Option<(Step, u64)> {
        let step = self.step();
        Some((step, self.random.u64(10..260)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { replicas: 2, slots: 100, namespaces: 5 };

    fn steps(seed: u64, count: usize) -> Vec<(Step, u64)> {
        Schedule::new(seed, SHAPE).take(count).collect()
    }

    #[test]
    fn the_seed_alone_decides() {
        assert_eq!(steps(1, 500), steps(1, 500));
        assert_ne!(steps(1, 500), steps(2, 500));
    }

    /// As many kinds as there are variants, with the faults of calls and writes counted one by one.
    #[test]
    fn every_kind_of_step_comes_within_two_thousand() {
        let kind = |step: &Step| match step {
            Step::Call(_, fault) => kind_of(fault),
            Step::Write(_, fault) => kind_of(fault),
            Step::User(Deed::Edit(_, change)) => kind_of(change),
            Step::User(deed) => kind_of(deed),
            step => kind_of(step),
        };
        let kinds: std::collections::BTreeSet<String> =
            steps(7, 2_000).iter().map(|(step, _)| kind(step)).collect();
        assert_eq!(kinds.len(), 8 + 5 + 6 + 8 + 6, "{kinds:?}");
    }

    fn kind_of(value: &impl std::fmt::Debug) -> String {
        format!("{value:?}").split([' ', '(', '{']).next().unwrap_or_default().to_owned()
    }
}
