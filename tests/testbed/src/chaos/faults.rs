//! Faults between the operators and the two sides that they talk to, and how many of them have struck.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::sleep;

use super::schedule::{Objects, Witness, WriteFault};
use super::stage::{SYSTEM, Stage};
use crate::emulator::{Control, Fault, FaultRule, LateAnswer, Operation, Point, View};
use crate::proxy::{Action, ApiProxy, Exchange, Match, Rule};

/// Faults that wait for one kind of request.
const MOST_WAITING: usize = 4;

/// How a fault is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Composio's answer was lost; nothing had happened.
    LostBefore,
    /// Composio's answer was lost or damaged; it had happened.
    LostAfter,
    /// Composio carried it out when the caller had given up, or answered after that.
    Delayed,
    /// Composio handled it twice.
    Twice,
    /// The rate limit.
    Limited,
    /// The API server's answer was lost; nothing had happened.
    WriteLostBefore,
    /// The API server's answer was lost; it had happened.
    WriteLostAfter,
    /// The API server was slow.
    WriteSlow,
    /// The API server refused.
    WriteRefused,
}

/// All faults that were laid out.
pub(super) struct Faults {
    control: Control,
    organization: String,
    proxies: Vec<Arc<ApiProxy>>,
    calls: Vec<(Kind, u64, Operation)>,
    writes: Vec<(Kind, Rule, Objects)>,
    late: u64,
    /// Those that struck, counted when they were taken back.
    struck: Vec<Kind>,
}

impl Faults {
    pub(super) fn new(stage: &Stage, proxies: Vec<Arc<ApiProxy>>) -> Self {
        Self {
            control: stage.control.clone(),
            organization: stage.organization.id.clone(),
            proxies,
            calls: Vec::new(),
            writes: Vec::new(),
            late: 0,
            struck: Vec::new(),
        }
    }

    /// The next call of this operation fails, unless enough of the next ones do.
    pub(super) fn call(&mut self, operation: Operation, fault: Fault) {
        let kind = kind(&fault);
        let is_waiting =
            |(_, rule, of): &&(Kind, u64, Operation)| *of == operation && self.control.is_in_force(*rule);
        if self.calls.iter().filter(is_waiting).count() >= most_waiting(operation) {
            return;
        }
        let rule = FaultRule::new(fault).organization(&self.organization).operation(operation).times(1);
        self.calls.push((kind, self.control.inject(rule), operation));
    }

    /// The next call of this operation is carried out late.
    pub(super) fn late(&mut self, operation: Operation, answer: LateAnswer, milliseconds: u64) {
        self.late += 1;
        let name = format!("late-{}", self.late);
        let gate = self.control.gate(&name);
        self.call(operation, Fault::CommitLate { gate: name, answer });
        tokio::spawn(async move {
            gate.arrived(1).await;
            sleep(Duration::from_millis(milliseconds)).await;
            gate.open();
        });
    }

    /// The next write to these objects fails, at one of the replicas, unless enough of the next ones do.
    pub(super) fn write(&mut self, number: u64, objects: Objects, fault: WriteFault) {
        let Some(proxy) = usize::try_from(number).ok().and_then(|n| self.proxies.get(n % self.proxies.len()))
        else {
            return;
        };
        let is_waiting = |(_, rule, of): &&(Kind, Rule, Objects)| *of == objects && rule.hits() == 0;
        if self.writes.iter().filter(is_waiting).count() >= MOST_WAITING {
            return;
        }
        let matcher = Match::mutating().when(move |exchange| is_of(objects, exchange)).times(1);
        let pause = |milliseconds| move |_| sleep(Duration::from_millis(milliseconds));
        let (kind, action) = match fault {
            WriteFault::CutBefore => (Kind::WriteLostBefore, Action::cut_before()),
            WriteFault::CutAfter => (Kind::WriteLostAfter, Action::cut_after()),
            WriteFault::SlowBefore(milliseconds) => (Kind::WriteSlow, Action::before(pause(milliseconds))),
            WriteFault::SlowAfter(milliseconds) => (Kind::WriteSlow, Action::after(pause(milliseconds))),
            WriteFault::Refused(code) => (Kind::WriteRefused, refusal(code)),
        };
        self.writes.push((kind, proxy.on(matcher, action), objects));
    }

    /// All connections to the API server break.
    pub(super) fn cut_connections(&self) {
        self.proxies.iter().for_each(|proxy| proxy.cut_connections());
    }

    /// A witness is behind for a while.
    pub(super) fn behind(&self, witness: Witness, view: View, milliseconds: u64) {
        let (control, organization) = (self.control.clone(), self.organization.clone());
        set_view(&control, &organization, witness, view);
        tokio::spawn(async move {
            sleep(Duration::from_millis(milliseconds)).await;
            set_view(&control, &organization, witness, View::Live);
        });
    }

    /// Takes all faults back that have not struck.
    pub(super) fn stop(&mut self) {
        for (kind, rule, _) in std::mem::take(&mut self.calls) {
            if !self.control.clear_fault(rule) {
                self.struck.push(kind);
            }
        }
        for (kind, rule, _) in std::mem::take(&mut self.writes) {
            if rule.hits() > 0 {
                self.struck.push(kind);
            }
            rule.remove();
        }
        for witness in [Witness::List, Witness::Read] {
            set_view(&self.control, &self.organization, witness, View::Live);
        }
    }

    /// How many faults of these kinds have struck; before [`Faults::stop`] an estimate.
    pub(super) fn count(&self, kinds: &[Kind]) -> usize {
        let is_one = |kind: &&Kind| kinds.contains(kind);
        let writes =
            self.writes.iter().filter(|(kind, rule, _)| kinds.contains(kind) && rule.hits() > 0).count();
        let left = self.control.faults_left(&self.organization);
        // Which ones are left is not known before they are taken back.
        let calls = self.calls.iter().filter(|(kind, ..)| kinds.contains(kind)).count();
        let share = if self.calls.is_empty() { 0 } else { left * calls / self.calls.len() };
        self.struck.iter().filter(is_one).count() + writes + calls - share
    }
}

/// Faults that wait for a call of this operation: a process that has not come to work for a while must not find that
/// everything fails. Least of all what says whether Composio is there.
fn most_waiting(operation: Operation) -> usize {
    match operation {
        Operation::List | Operation::Read => 1,
        _ => MOST_WAITING,
    }
}

fn set_view(control: &Control, organization: &str, witness: Witness, view: View) {
    control.set_modes(organization, |modes| match witness {
        Witness::List => modes.list_view = view,
        Witness::Read => modes.read_view = view,
    });
}

fn kind(fault: &Fault) -> Kind {
    match fault {
        Fault::Delay { .. } | Fault::CommitLate { .. } => Kind::Delayed,
        Fault::Twice { .. } => Kind::Twice,
        Fault::RateLimited { .. } => Kind::Limited,
        Fault::Cut { point: Point::BeforeCommit }
        | Fault::ServerError { point: Point::BeforeCommit, .. }
        | Fault::Html { point: Point::BeforeCommit, .. } => Kind::LostBefore,
        _ => Kind::LostAfter,
    }
}

fn refusal(code: u16) -> Action {
    let (reason, code) = match code {
        429 => ("TooManyRequests", StatusCode::TOO_MANY_REQUESTS),
        503 => ("ServiceUnavailable", StatusCode::SERVICE_UNAVAILABLE),
        _ => ("InternalError", StatusCode::INTERNAL_SERVER_ERROR),
    };
    Action::refuse(code, reason, "refused by a fault")
}

fn is_of(objects: Objects, exchange: &Exchange) -> bool {
    let (path, system) = (exchange.path.as_str(), format!("/namespaces/{SYSTEM}/"));
    match objects {
        Objects::Claims => path.contains(&format!("{system}secrets")),
        Objects::Secrets => path.contains("/secrets") && !path.contains(&system),
        Objects::Resources => path.contains("/composioprojects"),
        Objects::Leases => path.contains("/leases"),
        Objects::Any => true,
    }
}
