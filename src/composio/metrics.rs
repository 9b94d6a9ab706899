//! Metrics of the calls to Composio. Labels are closed enums.

use std::fmt::Write as _;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::domain::answer::CallError;
use crate::domain::budget::Lane;

/// One operation of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "the names are the operations of API 4")]
pub enum Operation {
    Create,
    List,
    Read,
    Delete,
    Regenerate,
    ReadSettings,
    PatchSettings,
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
#[expect(missing_docs, reason = "the names are those of CallError")]
pub enum CallOutcome {
    Ok,
    NotSent,
    Rejected,
    AlreadyExists,
    NotFound,
    Credential,
    Forbidden,
    Throttled,
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
            "Calls to the Composio API by operation, outcome and lane",
            self.calls.clone(),
        );
        registry.register(
            "api_call_duration_seconds",
            "Time from the decision to send to the classified answer",
            self.seconds.clone(),
        );
    }

    pub(super) fn observe(
        &self,
        (operation, lane): (Operation, Lane),
        outcome: CallOutcome,
        duration: Duration,
    ) {
        self.calls.get_or_create(&CallLabels { operation, outcome, lane: LaneLabel(lane) }).inc();
        self.seconds.get_or_create(&OperationLabels { operation }).observe(duration.as_secs_f64());
    }
}
