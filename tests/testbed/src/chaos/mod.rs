//! Chaos: the real binary, killed, stopped and cut off from both sides again and again, while users edit and delete what it
//! manages; and what must have come of it when the faults stop, without anybody's help.
//!
//! The order of faults and deeds is a function of the seed ([`schedule`]); their interleaving with the operator is not. The
//! caller decides how long it lasts and shows what happens.

mod faults;
mod fleet;
mod manifest;
mod replica;
mod report;
pub mod schedule;
mod stage;
mod tally;
mod verdict;
mod witness;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use self::faults::{Faults, Kind};
use self::fleet::{Dashboard, Fleet};
use self::replica::{Order, Recipe, Replica};
pub use self::report::Report;
use self::schedule::{Deed, Schedule, Shape, Step};
use self::stage::Stage;
use self::tally::{Count, Tally};
pub use self::verdict::Findings;
use self::witness::{Observer, Testimony};
use crate::controlplane::{ControlPlane, Error};
use crate::emulator::Operation;
use crate::eventually::poll;
use crate::proxy::ApiProxy;

/// How long everything may take to come in order after the last fault.
const CONVERGENCE: Duration = Duration::from_mins(6);

/// How a run is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decides about the schedule.
    pub seed: u64,
    /// When the faults stop.
    pub length: Length,
    /// ComposioProjects at a time.
    pub projects: usize,
    /// Namespaces that they are in.
    pub namespaces: usize,
    /// The operator.
    pub binary: PathBuf,
}

/// When the faults stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// After so many steps; later where too little has struck by then, because what a step meets is up to the machine.
    Steps(u64),
    /// After this time.
    Time(Duration),
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Done of the part with faults, from 0 to 1.
    pub done: f64,
    /// What happens now, and what has happened, in one line.
    pub line: String,
}

/// Makes a run, and shows how far it is. An error: it could not be made to its end.
pub async fn run(options: &Options, show: impl Fn(Progress)) -> anyhow::Result<Report> {
    let whole = async {
        show(Progress { done: 0.0, line: "starting a control plane and an emulator".to_owned() });
        let mut run = Run::start(options).await?;
        let storm = run.storm(options, &show).await?;
        let calm = run.calm(options.seed, storm).await?;
        calm.report(&show).await
    };
    LocalSet::new().run_until(whole).await
}

/// A run while there are faults.
struct Run {
    stage: Stage,
    shape: Shape,
    tally: Arc<Tally>,
    faults: Faults,
    replicas: Vec<Replica>,
    users: UnboundedSender<Deed>,
    fleet: JoinHandle<anyhow::Result<Fleet>>,
    observer: Observer,
    server: UnboundedSender<()>,
    server_restarts: JoinHandle<Result<ControlPlane, Error>>,
}

impl Run {
    async fn start(options: &Options) -> anyhow::Result<Self> {
        ensure!(options.projects > 0 && options.namespaces > 0, "at least one project in one namespace");
        let (stage, control_plane) = Stage::open(options).await?;
        let tally = Arc::new(Tally::default());
        let (mut replicas, mut proxies) = (Vec::new(), Vec::new());
        let shape =
            Shape { replicas: stage::REPLICAS, slots: options.projects, namespaces: options.namespaces };
        for _ in 0..shape.replicas {
            let proxy = Arc::new(ApiProxy::start(control_plane.kubeconfig()).await?);
            replicas.push(Replica::start(Recipe {
                binary: options.binary.clone(),
                settings: stage::settings()?,
                kubeconfig: proxy.kubeconfig()?,
                tally: tally.clone(),
            }));
            proxies.push(proxy);
        }
        let namespaces = stage.namespaces.clone();
        let dashboard =
            Dashboard { control: stage.control.clone(), organization_id: stage.organization.id.clone() };
        let mut fleet =
            Fleet::new(stage.client.clone(), dashboard, tally.clone(), namespaces, options.projects);
        fleet.settle_in().await?;
        let (users, deeds) = unbounded_channel();
        let (server, restarts) = unbounded_channel();
        Ok(Self {
            faults: Faults::new(&stage, proxies),
            observer: Observer::start(stage.client.clone(), stage.control.clone(), stage.grants.clone()),
            fleet: spawn_local(fleet.act(deeds)),
            server_restarts: spawn_local(restart_server(control_plane, restarts, tally.clone())),
            stage,
            shape,
            tally,
            replicas,
            users,
            server,
        })
    }

    /// Goes through the schedule; says how long that took.
    async fn storm(&mut self, options: &Options, show: &impl Fn(Progress)) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let schedule = Schedule::new(options.seed, self.shape);
        for (number, (step, pause)) in (0..).zip(schedule) {
            let done = match options.length {
                Length::Steps(steps) => share(number, steps),
                Length::Time(time) => begun.elapsed().as_secs_f64() / time.as_secs_f64(),
            };
            if done >= 1.0 && self.is_enough(number, options.length) {
                break;
            }
            show(Progress { done, line: self.line() });
            ensure!(!self.fleet.is_finished(), "the users have failed");
            ensure!(!self.server_restarts.is_finished(), "the API server has failed");
            self.tally.add(Count::Steps);
            self.take(number, step);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Ok(begun.elapsed())
    }

    /// Whether one step in eight was a kill or a lost answer, as far as is known yet. It ends in any case.
    fn is_enough(&self, number: u64, length: Length) -> bool {
        let struck = self.tally.get(Count::Kills) + self.faults.count(&LOST) as u64;
        match length {
            Length::Steps(steps) => struck > steps / 8 || number >= 4 * steps,
            Length::Time(_) => true,
        }
    }

    fn take(&mut self, number: u64, step: Step) {
        match step {
            Step::Kill(replica) => self.replicas[replica].tell(Order::Kill),
            Step::Stop(replica, time) => {
                self.replicas[replica].tell(Order::Stop(Duration::from_millis(time)));
            }
            Step::Call(operation, fault) => self.faults.call(operation, fault),
            Step::Late(operation, answer, time) => self.faults.late(operation, answer, time),
            Step::Write(objects, fault) => self.faults.write(number, objects, fault),
            Step::CutConnections => {
                self.tally.add(Count::ConnectionCuts);
                self.faults.cut_connections();
            }
            Step::Behind(witness, view, time) => {
                self.tally.add(Count::Behind);
                self.faults.behind(witness, view, time);
            }
            // Errors mean that the receiver has failed, which the loop around sees.
            Step::RestartServer => drop(self.server.send(())),
            Step::User(deed) => drop(self.users.send(deed)),
        }
    }

    fn line(&self) -> String {
        let get = |count| self.tally.get(count);
        let committed = |operation| self.stage.control.committed(&self.stage.organization.id, operation);
        format!(
            "{} kills, {} lost answers, {} API-server restarts; {} edits, {} resources made, {} deleted; {} projects made",
            get(Count::Kills),
            self.faults.count(&LOST),
            get(Count::ServerRestarts),
            get(Count::Edits),
            get(Count::Made),
            get(Count::Deleted),
            committed(Operation::Create),
        )
    }

    /// The faults stop. What was ordered is done to its end.
    async fn calm(mut self, seed: u64, storm: Duration) -> anyhow::Result<Calm> {
        drop((self.server, self.users));
        let control_plane = self.server_restarts.await?.context("the API server did not come back")?;
        let fleet = self.fleet.await??;
        self.faults.stop();
        for replica in &mut self.replicas {
            replica.calm().await;
        }
        let Self { stage, tally, faults, replicas, observer, .. } = self;
        Ok(Calm {
            seed,
            storm,
            stage,
            tally,
            faults,
            replicas,
            observer,
            fleet,
            _control_plane: control_plane,
        })
    }
}

/// A run when the faults have stopped.
struct Calm {
    seed: u64,
    storm: Duration,
    stage: Stage,
    tally: Arc<Tally>,
    faults: Faults,
    replicas: Vec<Replica>,
    observer: Observer,
    fleet: Fleet,
    _control_plane: ControlPlane,
}

impl Calm {
    async fn report(mut self, show: &impl Fn(Progress)) -> anyhow::Result<Report> {
        let (mut findings, convergence) = self.converge(show).await?;
        let mut violations = Vec::new();
        for replica in std::mem::take(&mut self.replicas) {
            violations.extend(replica.end().await.err().map(|error| error.to_string()));
        }
        let testimony = self.observer.end().await?;
        findings.destroyed.extend(verdict::destroyed(&self.stage, &testimony, &self.fleet.may_go));
        violations.extend(testimony.wrong.iter().cloned());
        violations.extend(testimony.changed_keys(&self.fleet.revoked));
        let needless = testimony.needless_keys(&self.stage.control, &self.fleet.revoked);
        if needless > 0 {
            violations.push(format!("{needless} keys were issued anew for projects that had one"));
        }
        let (leaks, in_place) = self.stage.history.findings().await.map_err(anyhow::Error::msg)?;
        ensure!(in_place > 0, "no key was found in etcd, so that it was not searched");
        violations.extend(leaks);
        let lost = u64::try_from(self.faults.count(&LOST))?;
        Ok(Report {
            seed: self.seed,
            kills_and_lost_answers: self.tally.get(Count::Kills) + lost,
            groups: groups(&self.stage, &self.tally, &self.faults, &testimony),
            findings,
            violations,
            storm: self.storm,
            convergence,
        })
    }

    /// Waits until everything is as it must be, or time is up; what is not, and how long it took.
    async fn converge(&self, show: &impl Fn(Progress)) -> anyhow::Result<(Findings, Option<Duration>)> {
        let begun = Instant::now();
        let mut last = Findings::default();
        let converged = poll(CONVERGENCE, async || {
            let found =
                verdict::compare(&self.stage, &self.fleet).await.map_err(|error| error.to_string())?;
            let (left, seconds) = (found.all().count(), begun.elapsed().as_secs());
            let first = found.all().next().map_or("", |(_, first)| first);
            let line = format!("no more faults for {seconds} s; not in order yet: {left} {first}");
            show(Progress { done: 1.0, line });
            last = found;
            if left == 0 {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
            Err(format!("{left} things are not in order"))
        })
        .await;
        Ok((last, converged.is_ok().then(|| begun.elapsed())))
    }
}

/// Distance between two looks at everything.
const LOOK: Duration = Duration::from_secs(1);

/// An answer that nobody hears, or that comes when nobody waits any more.
const LOST: [Kind; 5] =
    [Kind::LostBefore, Kind::LostAfter, Kind::Delayed, Kind::WriteLostBefore, Kind::WriteLostAfter];

/// Restarts the API server as often as it is told to. Gives it back when nobody tells any more.
async fn restart_server(
    mut control_plane: ControlPlane,
    mut orders: UnboundedReceiver<()>,
    tally: Arc<Tally>,
) -> Result<ControlPlane, Error> {
    while orders.recv().await.is_some() {
        control_plane.restart_api_server().await?;
        tally.add(Count::ServerRestarts);
    }
    Ok(control_plane)
}

#[expect(clippy::cast_precision_loss, reason = "it is a share for a progress bar")]
fn share(number: u64, of: u64) -> f64 {
    number as f64 / of as f64
}

type Group = (&'static str, Vec<(&'static str, u64)>);

/// The numbers of a run.
fn groups(stage: &Stage, tally: &Tally, faults: &Faults, testimony: &Testimony) -> Vec<Group> {
    let get = |count| tally.get(count);
    let struck = |kind| faults.count(&[kind]) as u64;
    let committed = |operation| stage.control.committed(&stage.organization.id, operation) as u64;
    vec![
        (
            "processes",
            vec![
                ("kills (SIGKILL)", get(Count::Kills)),
                ("stops (SIGSTOP, SIGCONT)", get(Count::Stops)),
                ("ended after a lost lease", get(Count::SelfEnded)),
                ("starts after an end", get(Count::Restarts)),
                ("takeovers", testimony.takeovers),
            ],
        ),
        (
            "Composio",
            vec![
                ("answers lost before the effect", struck(Kind::LostBefore)),
                ("answers lost after the effect", struck(Kind::LostAfter)),
                ("too late", struck(Kind::Delayed)),
                ("handled twice", struck(Kind::Twice)),
                ("rate limit", struck(Kind::Limited)),
                ("times that it was behind", get(Count::Behind)),
            ],
        ),
        (
            "API server",
            vec![
                ("answers lost before the write", struck(Kind::WriteLostBefore)),
                ("answers lost after the write", struck(Kind::WriteLostAfter)),
                ("slow writes", struck(Kind::WriteSlow)),
                ("refused writes", struck(Kind::WriteRefused)),
                ("times all connections were cut", get(Count::ConnectionCuts)),
                ("restarts", get(Count::ServerRestarts)),
            ],
        ),
        (
            "users",
            vec![
                ("resources made", get(Count::Made)),
                ("resources deleted", get(Count::Deleted)),
                ("edits", get(Count::Edits)),
                ("Secrets deleted or spoilt", get(Count::SecretsTouched)),
                ("status wiped", get(Count::StatusWiped)),
                ("times all keys of a project were revoked", get(Count::KeysRevoked)),
                ("namespaces deleted", get(Count::NamespacesDeleted)),
                ("namespaces made again", get(Count::NamespacesMade)),
            ],
        ),
        (
            "effects at Composio",
            vec![
                ("projects made", committed(Operation::Create)),
                ("keys issued anew", committed(Operation::Regenerate)),
                ("settings changed", committed(Operation::PatchSettings)),
                ("projects deleted", committed(Operation::Delete)),
            ],
        ),
    ]
}
