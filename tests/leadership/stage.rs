//! A world with a ready organization and replicas that compete for its Lease.

use std::collections::BTreeSet;
use std::time::Duration;

use composio_operator::process::settings::Settings;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use kube::config::Kubeconfig;
use rustix::process::Signal;
use serde_json::Value;
use testbed::emulator::{Entry, Fault, FaultRule, Operation, Outcome};
use testbed::eventually::eventually;
use testbed::world::{Child, PATIENCE, World};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_composio-operator");
/// The name of the Lease.
pub(crate) const LEASE: &str = "composio-operator";

/// See the module.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) settings: Settings,
}

impl Stage {
    /// Nobody runs yet. A lease lasts ten seconds.
    pub(crate) async fn set(change: impl FnOnce(&mut Settings)) -> Self {
        let world = World::without_operator().await;
        let mut settings = world.settings();
        settings.election.leader_elect = true;
        settings.request_timeout = Duration::from_secs(5);
        change(&mut settings);
        Self { world, settings }
    }

    /// A replica, ready.
    pub(crate) async fn replica(&self) -> Child {
        self.replica_with(&self.world.control_plane.kubeconfig()).await
    }

    /// The same through another kubeconfig, such as that of a proxy.
    pub(crate) async fn replica_with(&self, kubeconfig: &Kubeconfig) -> Child {
        Child::start_with(BINARY, &self.settings, kubeconfig).await
    }

    /// A replica that leads; no other may.
    pub(crate) async fn leader(&self) -> Child {
        let leader = self.replica().await;
        leads(&leader).await;
        leader
    }

    pub(crate) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.world.client.clone(), &self.world.system)
    }

    /// What the Lease says.
    pub(crate) async fn lease(&self) -> LeaseSpec {
        let lease = self.leases().get(LEASE).await.expect("a Lease");
        lease.spec.expect("a Lease that says something")
    }

    /// Adds a fault of the API to calls of an operation.
    pub(crate) fn fault(&self, operation: Operation, fault: Fault, times: u32) {
        let rule = FaultRule::new(fault).organization(&self.world.organization.id).operation(operation);
        self.world.control.inject(rule.times(times));
    }

    /// How many calls of this operation have reached Composio.
    pub(crate) fn sent(&self, operation: Operation) -> usize {
        self.world.control.count(&self.world.organization.id, operation)
    }

    /// Waits until a call of this operation was answered.
    pub(crate) async fn is_answered(&self, operation: Operation) {
        eventually(&format!("{operation:?} is answered"), PATIENCE, async || {
            let journal = self.world.control.journal();
            let is_answered = |entry: &Entry| {
                entry.operation == Some(operation) && matches!(entry.outcome, Outcome::Answered(_))
            };
            if journal.iter().any(is_answered) { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await;
    }

    /// SIGTERM, exit code 0, and what must hold at the end of every world.
    pub(crate) async fn finish(self, replicas: Vec<Child>) {
        for mut replica in replicas {
            assert!(!replica.has_leaked_in_metrics().await, "a key is in the metrics of a replica");
            replica.signal(Signal::TERM);
            assert_eq!(replica.ended().await, Some(0), "its end after SIGTERM");
            assert!(!replica.has_leaked(), "a key is in the log of a replica");
        }
        self.world.finish(&[]).await;
    }
}

/// Whether a replica says that it leads.
pub(crate) async fn is_leading(replica: &Child) -> Result<bool, String> {
    let (_, page) = replica.get("/metrics").await?;
    let line = page.lines().find(|line| line.starts_with("composio_operator_leader "));
    match line.ok_or("no metric")?.split_once(' ') {
        Some((_, "1")) => Ok(true),
        Some((_, "0")) => Ok(false),
        _ => Err(format!("{line:?}")),
    }
}

/// Waits until a replica leads and has its caches.
pub(crate) async fn leads(replica: &Child) {
    eventually("the replica leads", PATIENCE, async || match is_leading(replica).await? {
        true => Ok(()),
        false => Err("it stands by".to_owned()),
    })
    .await;
    eventually("the leader is ready", PATIENCE, async || match replica.get("/readyz").await? {
        (200, _) => Ok(()),
        (_, text) => Err(text),
    })
    .await;
}

/// Request ids of all calls to Composio that a process has logged.
fn calls_of(replica: &Child) -> BTreeSet<String> {
    let log = replica.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line["request.id"].as_str().map(ToOwned::to_owned)).collect()
}

/// What this process has sent since a mark of the journal. Call it when the process has ended.
pub(crate) fn sent_by(stage: &Stage, replica: &Child, mark: u64) -> Vec<Entry> {
    let calls = calls_of(replica);
    assert!(!calls.is_empty(), "its log names no call at all: this would prove nothing");
    let journal = stage.world.control.journal_since(mark).into_iter();
    journal.filter(|entry| entry.request_id.as_ref().is_some_and(|id| calls.contains(id))).collect()
}

/// Waits for the end of a replica that has lost its lease: code 1, and words that say why.
pub(crate) async fn ends_deposed(replica: &mut Child, why: &str) {
    assert_eq!(replica.ended().await, Some(1), "the exit code of a deposed leader");
    let log = replica.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.contains("the lease composio-operator is lost") && last.contains(why),
        "its last words: {last}"
    );
    assert!(!replica.has_leaked(), "a key is in the log of a replica");
}
