//! Metrics of the calls to Composio. Labels are closed enums, whose comments become `docs/metrics.md`.

use std::fmt::Write as _;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::domain::answer::CallError;
use crate::domain::budget::Lane;

/// One operation of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Operation {
    /// A project is created.
    Create,
    /// One page of the organization's projects; also the probe of the organization's key.
    List,
    /// A project is read by its id.
    Read,
    /// A project is deleted.
    Delete,
    /// All keys of a project are replaced by a new one.
    Regenerate,
    /// A project's settings are read, which proves its key as well.
    ReadSettings,
    /// Settings of a project are changed.
    PatchSettings,
    /// A project's key is proven where its settings cannot be read.
    Categories,
}

impl Operation {
    /// Changes something at Composio.
    pub fn is_mutation(self) -> bool {
        matches!(self, Self::Create | Self::Delete | Self::Regenerate | Self::PatchSettings)
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum CallOutcome {
    /// Answered as it should be.
    Ok,
    /// Not sent: the send gate was closed, or no connection came about.
    NotSent,
    /// 400 in Composio's form: refused for good.
    Rejected,
    /// The name is taken.
    AlreadyExists,
    /// 404 of Composio itself.
    NotFound,
    /// The key is refused, or does not reach this.
    Credential,
    /// The key lives, and this is refused.
    Forbidden,
    /// 429, or not sent for want of budget.
    Throttled,
    /// No answer that can be believed: what has come of it is open.
    Unknown,
}

impl<T> From<&Result<T, CallError>> for CallOutcome {
    fn from(result: &Result<T, CallError>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(CallError::NotSent(_)) => Self::NotSent,
            Err(CallError::Rejected(_)) => Self::Rejected,
            Err(CallError::AlreadyExists(_)) => Self::AlreadyExists,
            Err(CallError::NotFound(_)) => Self::NotFound,
            Err(CallError::Credential(..)) => Self::Credential,
            Err(CallError::Forbidden(_)) => Self::Forbidden,
            Err(CallError::Throttled(_)) => Self::Throttled,
            Err(CallError::Unknown { .. }) => Self::Unknown,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    operation: Operation,
    outcome: CallOutcome,
    lane: LaneLabel,
}

/// A lane as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct LaneLabel(Lane);

impl EncodeLabelValue for LaneLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        write!(encoder, "{:?}", self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: Operation,
}

/// Counts and times calls; cheap to clone.
#[derive(Debug, Clone)]
pub struct CallMetrics {
    calls: Family<CallLabels, Counter>,
    seconds: Family<OperationLabels, Histogram>,
}

impl Default for CallMetrics {
    fn default() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.005, 2.0, 14));
        Self { calls: Family::default(), seconds: Family::new_with_constructor(seconds) }
    }
}

impl CallMetrics {
    /// Registers both families under the registry's prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "api_calls",
            "Calls to Composio, by what they ask for, how they ended and whose turn they took",
            self.calls.clone(),
        );
        registry.register_with_unit(
            "api_call_duration",
            "Time from the decision to send a call to the answer that was understood",
            Unit::Seconds,
            self.seconds.clone(),
        );
    }

    /// A call has ended.
    pub fn observe(&self, (operation, lane): (Operation, Lane), outcome: CallOutcome, duration: Duration) {
        self.calls.get_or_create(&CallLabels { operation, outcome, lane: LaneLabel(lane) }).inc();
        self.seconds.get_or_create(&OperationLabels { operation }).observe(duration.as_secs_f64());
    }
}
