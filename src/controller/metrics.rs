//! Metrics of reconciling. Labels are closed enums.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What is reconciled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "the names are the kinds")]
pub enum Kind {
    ComposioProject,
    ComposioOrganization,
    Claim,
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "the names are the outcomes")]
pub enum PassOutcome {
    Done,
    Waiting,
    Stalled,
    Failed,
    Ignored,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassLabels {
    kind: Kind,
    outcome: PassOutcome,
}

/// Counts passes; cheap to clone.
#[derive(Debug, Clone)]
pub struct ReconcileMetrics {
    passes: Family<PassLabels, Counter>,
    recovered: Counter,
    time_to_ready: Histogram,
    restore: Histogram,
    rotation_gap: Histogram,
}

impl Default for ReconcileMetrics {
    fn default() -> Self {
        Self {
            passes: Family::default(),
            recovered: Counter::default(),
            time_to_ready: Histogram::new(exponential_buckets(0.05, 2.0, 14)),
            restore: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            rotation_gap: Histogram::new(exponential_buckets(0.005, 2.0, 18)),
        }
    }
}

impl ReconcileMetrics {
    /// Registers all of them under the registry's prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("reconciles", "Passes by kind and outcome", self.passes.clone());
        registry.register(
            "outcomes_recovered",
            "Projects found by evidence after the answer to their creation was lost",
            self.recovered.clone(),
        );
        registry.register(
            "time_to_ready_seconds",
            "Time from the creation of a ComposioProject to its first Ready",
            self.time_to_ready.clone(),
        );
        registry.register(
            "secret_restore_seconds",
            "Time from the news that a published Secret was deleted or edited to its restoration",
            self.restore.clone(),
        );
        registry.register(
            "rotation_gap_seconds",
            "Time from sending the regenerate that replaces a key to the publication of the new one",
            self.rotation_gap.clone(),
        );
    }

    /// A pass has ended.
    pub fn pass(&self, kind: Kind, outcome: PassOutcome) {
        self.passes.get_or_create(&PassLabels { kind, outcome }).inc();
    }

    /// A published Secret is restored.
    pub fn restored(&self, after: Duration) {
        self.restore.observe(after.as_secs_f64());
    }

    /// A key that was replaced is published.
    pub fn rotated(&self, gap: Duration) {
        self.rotation_gap.observe(gap.as_secs_f64());
    }

    /// A project was found by evidence.
    pub fn recovered(&self) {
        self.recovered.inc();
    }

    /// A ComposioProject has become Ready for the first time.
    pub fn ready(&self, after: Duration) {
        self.time_to_ready.observe(after.as_secs_f64());
    }
}
