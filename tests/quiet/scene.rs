//! A fleet of all kinds of projects that are as they should be, behind a proxy that notes every write, and looked at every
//! second.

use std::time::Duration;

use composio_operator::process::settings::Settings;
use kube::Client;
use serde_json::{Value, json};
use testbed::controlplane::client_for;
use testbed::emulator::{Entry, Operation};
use testbed::eventually::eventually;
use testbed::proxy::{ApiProxy, JournalEntry};
use testbed::world::{PATIENCE, World, complete_settings};

/// Projects of each kind.
const EACH: usize = 6;

/// See the module.
pub(crate) struct Fleet {
    pub(crate) world: World,
    pub(crate) proxy: ApiProxy,
    pub(crate) names: Vec<String>,
    client: Client,
    settings: Settings,
}

/// What was counted until a moment.
pub(crate) struct Mark {
    writes: usize,
    calls: u64,
}

/// One spec of each kind.
fn kinds() -> [(&'static str, Value); 7] {
    let more = |member: &str, value: Value| {
        let mut settings = complete_settings();
        settings[member] = value;
        json!({"settings": settings})
    };
    [
        ("plain", json!({})),
        ("created-with-settings", json!({"settings": complete_settings()})),
        ("every-setting", more("displayName", json!("Shop"))),
        ("patched", json!({"settings": {"displayName": "Shop", "requireMcpApiKey": true}})),
        ("deletes", json!({"deletionPolicy": "Delete", "settings": complete_settings()})),
        (
            "templates",
            json!({"secret": {
                "keys": {"baseUrl": "URL"}, "template": {".env": "KEY={apiKey}\n"}, "labels": {"team": "a"}
            }}),
        ),
        ("suspended", json!({"suspend": true})),
    ]
}

impl Fleet {
    /// Makes it and waits until nothing is due any more.
    pub(crate) async fn converged() -> Self {
        let world = World::without_operator().await;
        let proxy = ApiProxy::start(world.control_plane.kubeconfig()).await.unwrap();
        let client = client_for(proxy.kubeconfig().unwrap()).await.unwrap();
        let settings = Settings { observe_interval: Duration::from_secs(1), ..world.settings() };
        let mut names = Vec::new();
        for (kind, spec) in kinds() {
            for number in 0..EACH {
                let name = format!("{kind}-{number}");
                world.apply(&name, running(&spec)).await;
                names.push(name);
            }
        }
        let mut fleet = Self { world, proxy, names, client, settings };
        fleet.start().await;
        for name in &fleet.names {
            fleet.world.ready(name).await;
        }
        fleet.recorded().await;
        for (kind, spec) in kinds().into_iter().filter(|(_, spec)| spec["suspend"] == true) {
            for name in fleet.names.iter().filter(|name| name.starts_with(kind)) {
                fleet.world.apply(name, spec.clone()).await;
                fleet.world.reaches(&fleet.world.namespace, name, "Ready", "True", "Suspended").await;
            }
        }
        fleet
    }

    /// Starts an operator.
    pub(crate) async fn start(&mut self) {
        self.world.launch_operator(self.settings.clone(), self.client.clone()).await;
        self.world.organization_ready("default").await;
    }

    /// The claims and the status know all that there is to know: the ids, and the Secrets by their UID.
    async fn recorded(&self) {
        eventually("everything is recorded", PATIENCE, async || {
            let claims = self.world.claims().await;
            for name in &self.names {
                let claim = claims.of(name).ok_or_else(|| format!("{name} has no claim"))?;
                let status = self.world.ready(name).await.status.unwrap_or_default();
                if !claim["published"].is_object()
                    || status.project.is_none_or(|known| known.organization_id.is_none())
                {
                    return Err(format!("{name} is not recorded: {claim}"));
                }
            }
            Ok(())
        })
        .await;
    }

    /// Passes over the ComposioProjects by the operator that runs now, whatever their outcome.
    pub(crate) async fn passes(&self) -> usize {
        self.passes_of("ComposioProject").await
    }

    /// The same of the organization.
    pub(crate) async fn organization_passes(&self) -> usize {
        self.passes_of("ComposioOrganization").await
    }

    async fn passes_of(&self, kind: &str) -> usize {
        let page = self.world.metrics().await;
        let series = format!("composio_operator_reconciles_total{{kind=\"{kind}\"");
        let lines = page.lines().filter(|line| line.starts_with(&series));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok()).sum()
    }

    /// Waits until every project was looked at so many times more, on average.
    pub(crate) async fn looked_at(&self, times: usize) {
        let wanted = self.passes().await + times * self.names.len();
        eventually("the projects are looked at", PATIENCE, async || match self.passes().await {
            now if now >= wanted => Ok(()),
            now => Err(format!("{now} of {wanted} passes")),
        })
        .await;
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { writes: self.proxy.journal().len(), calls: self.world.control.mark() }
    }

    /// Nothing has been written since, and nothing changed at Composio.
    pub(crate) fn assert_quiet(&self, since: &Mark) {
        let writes = self.proxy.journal().split_off(since.writes);
        assert_eq!(writes, Vec::<JournalEntry>::new(), "writes to the API server");
        let is_read = |call: &Entry| {
            use Operation::{Categories, List, Read, ReadSettings};
            matches!(call.operation, Some(List | Read | ReadSettings | Categories))
        };
        let mut calls = self.world.control.journal_since(since.calls);
        calls.retain(|call| !is_read(call));
        assert_eq!(calls, Vec::<Entry>::new(), "calls that change something at Composio");
    }
}

/// The same, not suspended yet: what is suspended from the beginning is never made.
fn running(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if spec["suspend"] == true {
        spec["suspend"] = json!(false);
    }
    spec
}
