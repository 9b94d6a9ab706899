//! Metrics of reconciling. Labels are closed enums, whose comments become `docs/metrics.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::reflector::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::cached::CachedProject;
use super::status::readiness;
use crate::crd::ComposioOrganization;
use crate::domain::reason::Reason;

/// What is reconciled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Kind {
    /// A ComposioProject.
    ComposioProject,
    /// A ComposioOrganization.
    ComposioOrganization,
    /// A claim whose ComposioProject is gone.
    Claim,
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum PassOutcome {
    /// All is as it should be.
    Done,
    /// Something is waited for.
    Waiting,
    /// A person has to act; of an organization also: Composio cannot be reached.
    Stalled,
    /// It failed, and is tried again.
    Failed,
    /// Nothing to do with this operator, or gone.
    Ignored,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassLabels {
    kind: Kind,
    outcome: PassOutcome,
}

/// How a sweep ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelValue)]
enum SweepOutcome {
    /// The whole list was seen.
    Complete,
    /// It was not; the log says why.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SweepLabels {
    outcome: SweepOutcome,
}

/// The caches of the ComposioProjects, one per watched namespace or one for all; set when the watches are made.
pub type Caches = Arc<OnceLock<Vec<Store<CachedProject>>>>;

/// How many ComposioProjects there are, by readiness and reason; counted when it is asked for.
pub struct ProjectsMetric(pub Caches);

impl fmt::Debug for ProjectsMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProjectsMetric")
    }
}

impl Collector for ProjectsMetric {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut counts: BTreeMap<(&str, Option<Reason>), i64> = BTreeMap::new();
        for project in self.0.get().into_iter().flatten().flat_map(Store::state) {
            let (is_ready, reason) = project.readiness();
            *counts.entry((if is_ready { "true" } else { "false" }, reason)).or_default() += 1;
        }
        let help = "How many ComposioProjects there are, by readiness and by the reason of that";
        let mut family = encoder.encode_descriptor("projects", help, None, MetricType::Gauge)?;
        for ((ready, reason), count) in counts {
            let reason = known(reason);
            let labels = [("ready", ready), ("reason", reason.as_str())];
            ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The cache of the ComposioOrganizations; set when the watch is made.
pub type OrganizationCache = Arc<OnceLock<Store<ComposioOrganization>>>;

/// Whether each ComposioOrganization is ready and why, what waits for an administrator, and when its next sweep is due, as
/// its status says.
pub struct OrganizationsMetric {
    /// The organizations.
    pub cache: OrganizationCache,
    /// Distance between two sweeps.
    pub sweep_interval: Duration,
}

impl fmt::Debug for OrganizationsMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OrganizationsMetric")
    }
}

impl OrganizationsMetric {
    /// One interval after the last sweep or, before the first, after the organization was made.
    fn sweep_due(&self, object: &ComposioOrganization) -> Option<i64> {
        let last = object.status.as_ref().and_then(|status| status.last_sweep_time.as_ref());
        let since = last.or(object.metadata.creation_timestamp.as_ref())?;
        since.0.as_second().checked_add_unsigned(self.sweep_interval.as_secs())
    }
}

impl Collector for OrganizationsMetric {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let objects = self.cache.get().map(Store::state).unwrap_or_default();
        let help = "When the next sweep of each ComposioOrganization is due at the latest, since 1970";
        let (name, unit) = ("sweep_due_timestamp", Some(&Unit::Seconds));
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        let due: BTreeMap<_, _> =
            objects.iter().map(|object| (object.name_any(), self.sweep_due(object))).collect();
        for (name, due) in due.iter().filter_map(|(name, due)| Some((name, (*due)?))) {
            let labels = [("organization", name.as_str())];
            ConstGauge::new(due).encode(family.encode_family(&labels)?)?;
        }
        let states = objects.iter().filter_map(|object| Some((object.name_any(), object.status.as_ref()?)));
        let states: BTreeMap<_, _> = states.collect();
        let help = "1 for each ComposioOrganization, with its readiness and the reason of that";
        let mut family = encoder.encode_descriptor("organizations", help, None, MetricType::Gauge)?;
        for (name, status) in &states {
            let (is_ready, reason) = readiness(&status.conditions);
            let (ready, reason) = (if is_ready { "true" } else { "false" }, known(reason));
            let labels = [("organization", name.as_str()), ("ready", ready), ("reason", reason.as_str())];
            ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
        }
        let help = "Projects that wait for the confirmation of an administrator, by what is held";
        let mut family = encoder.encode_descriptor("held_projects", help, None, MetricType::Gauge)?;
        for (name, held) in
            states.iter().flat_map(|(name, status)| status.held.iter().map(move |held| (name, held)))
        {
            let labels = [("organization", name.as_str()), ("kind", held.kind.as_str())];
            ConstGauge::new(i64::from(held.count)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn known(reason: Option<Reason>) -> String {
    reason.map_or_else(|| "Unknown".to_owned(), Reason::as_str)
}

/// Counts passes; cheap to clone.
#[derive(Debug, Clone)]
pub struct ReconcileMetrics {
    passes: Family<PassLabels, Counter>,
    recovered: Counter,
    time_to_ready: Histogram,
    restore: Histogram,
    rotation_gap: Histogram,
    sweeps: Family<SweepLabels, Counter>,
    sweep_duration: Histogram,
    sweep_calls: Counter,
}

impl Default for ReconcileMetrics {
    fn default() -> Self {
        Self {
            passes: Family::default(),
            recovered: Counter::default(),
            time_to_ready: Histogram::new(exponential_buckets(0.05, 2.0, 14)),
            restore: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            rotation_gap: Histogram::new(exponential_buckets(0.005, 2.0, 18)),
            sweeps: Family::default(),
            sweep_duration: Histogram::new(exponential_buckets(0.05, 2.0, 14)),
            sweep_calls: Counter::default(),
        }
    }
}

impl ReconcileMetrics {
    /// Registers all of them under the registry's prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "reconciles",
            "Looks at one object, by its kind and by how they ended",
            self.passes.clone(),
        );
        registry.register(
            "outcomes_recovered",
            "Projects found by evidence after the answer to their creation was lost",
            self.recovered.clone(),
        );
        let mut seconds = |name: &str, help: &str, histogram: &Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        };
        seconds(
            "time_to_ready",
            "Time from the creation of a ComposioProject to its first Ready",
            &self.time_to_ready,
        );
        seconds(
            "secret_restore",
            "Time from the news that a published Secret was deleted or edited to its restoration",
            &self.restore,
        );
        seconds(
            "rotation_gap",
            "Time from sending the regenerate that replaces a key to the publication of the new one",
            &self.rotation_gap,
        );
        seconds("sweep_duration", "Time of one sweep, from its beginning to its end", &self.sweep_duration);
        registry.register(
            "sweeps",
            "Sweeps over the list of an organization, by how they ended",
            self.sweeps.clone(),
        );
        registry.register(
            "sweep_calls",
            "Calls to Composio that complete sweeps took",
            self.sweep_calls.clone(),
        );
    }

    /// A sweep has ended.
    pub fn swept(&self, is_complete: bool, after: Duration) {
        let outcome = if is_complete { SweepOutcome::Complete } else { SweepOutcome::Failed };
        self.sweeps.get_or_create(&SweepLabels { outcome }).inc();
        self.sweep_duration.observe(after.as_secs_f64());
    }

    /// How many calls a sweep took.
    pub fn sweep_calls(&self, pages: usize) {
        self.sweep_calls.inc_by(u64::try_from(pages).unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sweep_is_due_an_interval_after_the_last_one_or_after_the_organization_was_made() {
        let sweep_interval = Duration::from_mins(10);
        let metric = OrganizationsMetric { cache: OrganizationCache::default(), sweep_interval };
        let due = |status: serde_json::Value| {
            let object = json!({
                "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioOrganization",
                "metadata": {"name": "default", "creationTimestamp": "1970-01-01T00:01:00Z"},
                "spec": {"apiKeySecretRef": {"name": "key"}}, "status": status
            });
            metric.sweep_due(&serde_json::from_value(object).unwrap())
        };
        assert_eq!(due(json!({"lastSweepTime": "1970-01-01T01:00:00Z"})), Some(4200));
        assert_eq!(due(json!({})), Some(660));
        assert_eq!(due(json!(null)), Some(660));
    }
}
