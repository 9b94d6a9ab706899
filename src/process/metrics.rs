//! All metrics of the process, in the one registry that `/metrics` serves and `docs/metrics.md` is made from. What each of
//! them counts is with whoever counts it.

use std::time::Duration;

use prometheus_client::registry::Registry;

use super::leader::LeaderMetric;
use super::readiness::Readiness;
use super::vitals::VitalsMetric;
use crate::composio::{CallMetrics, Lead};
use crate::controller::budgets::Budgets;
use crate::controller::metrics::{
    Caches, OrganizationCache, OrganizationsMetric, ProjectsMetric, ReconcileMetrics,
};

/// What is measured; cheap to clone, all clones are one.
#[derive(Clone)]
pub struct Metrics {
    /// Passes, sweeps, and how long things take.
    pub reconciles: ReconcileMetrics,
    /// Calls to Composio.
    pub calls: CallMetrics,
    /// The projects that are counted.
    pub projects: Caches,
    /// The organizations that are counted.
    pub organizations: OrganizationCache,
    /// Budgets and breakers.
    pub budgets: Budgets,
    /// Whether this process leads.
    pub lead: Lead,
    /// Whether this process is ready.
    pub readiness: Readiness,
    /// When the next sweep is due after one.
    pub sweep_interval: Duration,
}

impl Metrics {
    /// Of a process that has not begun.
    pub fn new(lead: Lead, readiness: Readiness, sweep_interval: Duration) -> Self {
        Self {
            reconciles: ReconcileMetrics::default(),
            calls: CallMetrics::default(),
            projects: Caches::default(),
            organizations: OrganizationCache::default(),
            budgets: Budgets::default(),
            lead,
            readiness,
            sweep_interval,
        }
    }

    /// What `/metrics` serves.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("composio_operator");
        self.reconciles.register(&mut registry);
        self.calls.register(&mut registry);
        registry.register_collector(Box::new(ProjectsMetric(self.projects.clone())));
        registry.register_collector(Box::new(OrganizationsMetric {
            cache: self.organizations.clone(),
            sweep_interval: self.sweep_interval,
        }));
        registry.register_collector(Box::new(LeaderMetric(self.lead.clone())));
        registry.register_collector(Box::new(VitalsMetric(self.readiness.clone())));
        registry.register_collector(Box::new(self.budgets.clone()));
        registry
    }
}
