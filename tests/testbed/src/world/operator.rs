//! An operator in process, with short time-outs, so that settle times fit into tests. The send gate is the real one.

use std::time::Duration;

use composio_operator::process::settings::{Election, LogFormat, Settings};
use composio_operator::process::{Operator, Readiness};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, World};
use crate::eventually::eventually;

/// A running operator.
pub(super) struct Running {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    /// Where its metrics are.
    pub(super) metrics_url: String,
}

impl World {
    /// Settings of the operators of this world.
    pub fn settings(&self) -> Settings {
        let mut watch_namespaces = vec![self.namespace.clone(), self.system.clone()];
        watch_namespaces.extend(self.others.iter().cloned());
        if self.is_cluster_wide {
            watch_namespaces.clear();
        }
        Settings {
            namespace: self.system.clone(),
            watch_namespaces,
            workers: 16,
            http_address: ([127, 0, 0, 1], 0).into(),
            log_format: LogFormat::Json,
            request_timeout: Duration::from_secs(2),
            settle_margin: Duration::from_secs(1),
            observe_interval: self.observe_interval,
            sweep_interval: self.sweep_interval,
            tombstone_retention: Duration::from_hours(2160),
            superseded_retention: self.superseded_retention,
            shutdown_timeout: Duration::from_secs(25),
            election: Election {
                leader_elect: self.is_led_by_lease,
                lease_duration: Duration::from_secs(10),
                renew_deadline: Duration::from_secs(8),
                retry_period: Duration::from_millis(500),
            },
        }
    }

    /// Operators that are started from now on elect their leader.
    pub fn lead_by_lease(&mut self) {
        self.is_led_by_lease = true;
    }

    /// Operators that are started from now on manage every namespace. Nothing else may run on this control plane then.
    pub fn watch_everything(&mut self) {
        self.is_cluster_wide = true;
    }

    /// Starts an operator in process and waits until it is ready.
    pub async fn start_operator(&mut self) {
        let client = self.client.clone();
        self.start_operator_with(client).await;
    }

    /// The same with another client, such as one through a proxy.
    pub async fn start_operator_with(&mut self, client: kube::Client) {
        let readiness = self.launch_operator(self.settings(), client).await;
        eventually("the operator is ready", PATIENCE, async || match readiness.closed().as_slice() {
            [] => Ok(()),
            closed => Err(format!("it waits for {closed:?}")),
        })
        .await;
    }

    /// Starts an operator in process with other settings, and does not wait for it.
    #[expect(clippy::expect_used, reason = "an operator that cannot start fails its test")]
    pub async fn launch_operator(&mut self, settings: Settings, client: kube::Client) -> Readiness {
        let stop = CancellationToken::new();
        let operator = Operator::new(settings, client, stop.clone()).await.expect("an operator");
        let readiness = operator.readiness();
        let address = operator.http_address().expect("a bound address");
        let task = tokio::spawn(operator.run());
        self.operator = Some(Running { stop, task, metrics_url: format!("http://{address}/metrics") });
        readiness
    }

    /// Shuts the operator down in good order.
    #[expect(clippy::expect_used, reason = "an operator that does not stop fails its test")]
    pub async fn stop_operator(&mut self) {
        if let Some(running) = self.operator.take() {
            running.stop.cancel();
            let ended =
                tokio::time::timeout(PATIENCE, running.task).await.expect("an operator that stops in time");
            ended.expect("an operator that does not panic").expect("an operator that ends well");
        }
    }
}
