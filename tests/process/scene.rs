//! A world whose operator is the real binary, reached through a proxy that can hold any write; and the end that every
//! scenario must come to.

use std::time::Duration;

use axum::http::StatusCode;
use composio_operator::process::settings::Settings;
use rustix::process::Signal;
use serde_json::{Value, json};
use testbed::emulator::{Fault, FaultRule, Operation, Point};
use testbed::eventually::eventually;
use testbed::proxy::{Action, ApiProxy, Gate, Match, Rule};
use testbed::world::{Child, PATIENCE, World};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_composio-operator");

/// See the module.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) proxy: ApiProxy,
    pub(crate) child: Child,
    settings: Settings,
}

impl Scene {
    /// A world with a running binary and a ready organization `default`.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// The same with changed settings.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let world = World::without_operator().await;
        let mut settings = world.settings();
        // A call that is slow because the machine is busy must not count as lost: the number of keys is asserted.
        settings.request_timeout = Duration::from_secs(5);
        change(&mut settings);
        let proxy = ApiProxy::start(world.control_plane.kubeconfig()).await.expect("a proxy");
        let kubeconfig = proxy.kubeconfig().expect("a kubeconfig");
        let child = Child::start_with(BINARY, &settings, &kubeconfig).await;
        world.organization_ready("default").await;
        Self { world, proxy, child, settings }
    }

    /// `kill -9`. Its log must be clean up to the end.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await;
        assert!(!self.child.has_leaked(), "a key is in the log of the binary that was killed");
    }

    /// Starts the binary again, with the same settings.
    pub(crate) async fn restart(&mut self) {
        let kubeconfig = self.proxy.kubeconfig().expect("a kubeconfig");
        self.child = Child::start_with(BINARY, &self.settings, &kubeconfig).await;
    }

    /// Applies ComposioProject `shop`.
    pub(crate) async fn apply(&self, spec: Value) {
        self.world.apply("shop", spec).await;
    }

    /// Adds a fault of the API.
    pub(crate) fn fault(&self, operation: Operation, fault: Fault, times: u32) {
        let rule = FaultRule::new(fault).organization(&self.world.organization.id).operation(operation);
        self.world.control.inject(rule.times(times));
    }

    /// The next call of this operation waits at the gate that is returned.
    pub(crate) fn hold(&self, operation: Operation, point: Point) -> testbed::emulator::Gate {
        let gate = format!("{operation:?}");
        let fault = Fault::Hold { point, gate: gate.clone() };
        self.fault(operation, fault, 1);
        self.world.control.gate(&gate)
    }

    /// How many calls of this operation were sent.
    pub(crate) fn sent(&self, operation: Operation) -> usize {
        self.world.control.count(&self.world.organization.id, operation)
    }

    /// How many calls of this operation have had their effect.
    pub(crate) fn committed(&self, operation: Operation) -> usize {
        self.world.control.committed(&self.world.organization.id, operation)
    }

    /// The process is killed while this write is held in front of the API server. For the next process it is lost; when
    /// that has finished its work, the write arrives at last, and must be refused. `keys_lost`: as in
    /// [`Scene::ends_well`].
    pub(crate) async fn dies_before(mut self, write: Match, keys_lost: usize) {
        let gate = Gate::new();
        self.proxy.on(write.times(1), Action::hold_before(&gate));
        self.apply(json!({})).await;
        reached(&gate).await;
        let held =
            self.proxy.journal().iter().position(|write| !write.forwarded).expect("the write that is held");
        self.kill().await;
        self.restart().await;
        self.ends_well(keys_lost).await;
        gate.open();
        let status = eventually("the late write is answered", PATIENCE, async || {
            self.proxy.journal()[held].status.ok_or_else(|| "it is not".to_owned())
        })
        .await;
        assert_eq!(
            status,
            StatusCode::CONFLICT,
            "a write of the dead process changed the work of its successor"
        );
        self.ends_well(keys_lost).await;
        self.finish().await;
    }

    /// The process is killed when the API server has made this write and the process does not know it yet.
    pub(crate) async fn dies_after(mut self, write: Match, keys_lost: usize) {
        let gate = Gate::new();
        let rule = self.proxy.on(write.times(1), Action::hold_after(&gate));
        self.apply(json!({})).await;
        self.dies_at(&gate, rule).await;
        self.ends_well(keys_lost).await;
        self.finish().await;
    }

    /// Kills the process when a write is held, and starts it again.
    pub(crate) async fn dies_at(&mut self, gate: &Gate, rule: Rule) {
        reached(gate).await;
        self.kill().await;
        rule.remove();
        self.restart().await;
    }

    /// Waits until the running process is done with `shop`, and checks the one end of all scenarios: one project, one
    /// claim, Ready, and a published key that works. A key is issued anew for each that was lost (`keys_lost`), and in
    /// no other case.
    pub(crate) async fn ends_well(&self, keys_lost: usize) {
        let shop = self.world.ready("shop").await;
        self.pass_done().await;
        let (world, control) = (&self.world, &self.world.control);
        let projects = control.all_projects(&world.organization.id);
        let [project] = projects.as_slice() else { panic!("not one project: {}", projects.len()) };
        assert_eq!((project.name.as_str(), project.deleted), ("shop", false));
        let claims = world.claims().await;
        assert_eq!(claims.all().count(), 1, "claims");
        let claim = claims.of("shop").expect("the claim of the project");
        assert_eq!(claim["phase"], "Owned");
        assert_eq!(claim["projectId"], project.id.as_str());
        let key = world.entry("shop", "COMPOSIO_API_KEY").await.expect("a published key");
        assert_eq!(
            control.project_of_key(&key).as_ref(),
            Some(&project.id),
            "the published key does not work"
        );
        assert_eq!(project.keys, [key], "keys of the project");
        assert_eq!(self.committed(Operation::Create), 1, "creations");
        assert_eq!(self.committed(Operation::Regenerate), keys_lost, "keys issued anew");
        let status = shop.status.and_then(|status| status.project).expect("a project in the status");
        assert_eq!(status.id.as_deref(), Some(project.id.as_str()));
    }

    /// Waits until the running process has been through a ComposioProject to its end.
    async fn pass_done(&self) {
        let done = r#"composio_operator_reconciles_total{kind="ComposioProject",outcome="Done"}"#;
        eventually("a pass is done", PATIENCE, async || match self.child.get("/metrics").await? {
            (200, page) if page.contains(done) => Ok(()),
            (status, page) => Err(format!("{status}: {page}")),
        })
        .await;
    }

    /// SIGTERM, then what must hold at the end of every world.
    pub(crate) async fn finish(mut self) {
        assert!(!self.child.has_leaked_in_metrics().await, "a key is in the metrics of the binary");
        self.child.signal(Signal::TERM);
        assert_eq!(self.child.ended().await, Some(0), "its end after SIGTERM");
        assert!(!self.child.has_leaked(), "a key is in the log of the binary");
        self.world.finish(&[]).await;
    }
}

/// Waits until a write is held at the gate.
pub(crate) async fn reached(gate: &Gate) {
    within(gate.reached(), "a write is held in front of the API server").await;
}

/// Waits until a call is held at a gate of the emulator.
pub(crate) async fn arrived(gate: &testbed::emulator::Gate) {
    within(gate.arrived(1), "a call is held at Composio").await;
}

async fn within(event: impl Future<Output = ()>, what: &str) {
    let waited = tokio::time::timeout(PATIENCE, event).await;
    assert!(waited.is_ok(), "gave up waiting until {what}");
}
