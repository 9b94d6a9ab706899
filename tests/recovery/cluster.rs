//! Two clusters of one Composio: the operator in them as the chart installs it, and what the first one has been through. No
//! scenario.

use clap::Parser;
use composio_operator::process::settings::{Cli, Settings};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::canary::Kind;
use testbed::chart::RELEASE;
use testbed::emulator::{Operation, Organization};
use testbed::eventually::eventually;
use testbed::world::{Child, PATIENCE, World};
use tokio::sync::MutexGuard;

use crate::document::{DISASTER, Shell, is_kubectl_here};
use crate::fleet::{ORGANIZATIONS, SYSTEM, TEAMS, all_are, commit, projects, resources};

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_composio-operator");

/// Starts the operator with the settings and the rights that the chart gives it by default.
pub(crate) async fn operator(world: &World) -> Child {
    let arguments = ["composio-operator", "--namespace", SYSTEM, "--leader-elect"];
    let settings: Settings = Cli::try_parse_from(arguments).unwrap().run;
    let account = world.control_plane.service_account_kubeconfig(SYSTEM, RELEASE).await.unwrap();
    Child::start_with(BINARY, &settings, &account).await
}

/// Declares what the scenario itself puts into a cluster, by commands or by hand.
pub(crate) fn permit(world: &World) {
    for (name, _) in ORGANIZATIONS {
        world.history.permit(Kind::Organization, SYSTEM, &format!("{name}-key"));
    }
}

/// The Secrets with the organizations' keys, written by hand.
pub(crate) async fn give_keys(world: &World, second: &Organization) {
    world.set_organization_key("default", &world.organization.key).await;
    world.set_organization_key("second", &second.key).await;
}

/// Two clusters, of which the first has everything and is about to be lost.
pub(crate) struct Clusters {
    pub(crate) old: World,
    pub(crate) new: World,
    pub(crate) shell: Shell,
    pub(crate) operator: Child,
    second: Organization,
    _alone: MutexGuard<'static, ()>,
}

impl Clusters {
    /// A fleet that is Ready, one project that was retained without a resource, and one that was deleted. `None` where the
    /// commands cannot be run.
    pub(crate) async fn start() -> Option<Self> {
        if !is_kubectl_here() {
            return None;
        }
        let alone = crate::ONE.lock().await;
        let mut old = World::in_empty_cluster().await;
        let mut new = old.second_cluster().await;
        for world in [&mut old, &mut new] {
            world.others = TEAMS[1..].iter().map(ToString::to_string).collect();
            permit(world);
        }
        let second = old.ample_organization("second");
        let mut shell = Shell::open(DISASTER, &old, &new);
        commit(&shell, &old, &projects());
        let steps = [("The ledger comes first", 0), ("The operator", 0), ("The manifests", 0)];
        let [namespaces, chart, manifests] = steps.map(|(heading, place)| {
            let block = crate::document::block(DISASTER, heading, place);
            block
                .replace("--context new", "--context old")
                .replace("--kube-context new", "--kube-context old")
        });
        let no_ledger_yet = |line: &&str| !line.contains("ledger.yaml");
        shell.run(&namespaces.lines().filter(no_ledger_yet).collect::<Vec<_>>().join("\n"));
        shell.run(&chart);
        let operator = operator(&old).await;
        let mut clusters = Self { old, new, shell, operator, second, _alone: alone };
        give_keys(&clusters.old, &clusters.second).await;
        clusters.shell.run(&manifests);
        all_are(&clusters.old, "Reconciled", &[]).await;
        clusters.history().await;
        Some(clusters)
    }

    /// One resource is deleted and its project stays, another one is deleted with its project.
    async fn history(&mut self) {
        let old = &self.old;
        old.apply("retired", json!({"settings": {"displayName": "Retired"}})).await;
        old.apply("gone", json!({"deletionPolicy": "Delete"})).await;
        old.ready("gone").await;
        delete_with_secret(old, "gone").await;
        old.ready("retired").await;
        old.delete("retired").await;
        assert_eq!(old.control.committed(&old.organization.id, Operation::Delete), 1);
        eventually("the first cluster has its fleet", PATIENCE, async || {
            let count = resources(&self.old).await.len();
            if count == projects().len() { Ok(()) } else { Err(format!("{count}")) }
        })
        .await;
    }

    /// The first cluster is lost: its operator is killed. It was in order until then, except for what `foreign` says. What
    /// is left is the new cluster, and the shell with the backup.
    pub(crate) async fn lose(self, foreign: &[&str]) -> Restored {
        let Self { old, new, shell, mut operator, second, _alone: alone } = self;
        operator.kill().await;
        drop(operator);
        old.finish(foreign).await;
        let mark = new.control.mark();
        Restored { new, shell, second, mark, _alone: alone }
    }
}

/// The second cluster, and Composio as the first one has left it.
pub(crate) struct Restored {
    pub(crate) new: World,
    pub(crate) shell: Shell,
    pub(crate) second: Organization,
    /// Of the journal, when the first cluster was lost.
    pub(crate) mark: u64,
    _alone: MutexGuard<'static, ()>,
}

impl Restored {
    /// The end of the scenario.
    pub(crate) async fn finish(self, mut operator: Child, foreign: &[&str]) {
        operator.kill().await;
        assert!(!operator.has_leaked(), "a key is in the log");
        drop(operator);
        self.new.finish(foreign).await;
    }
}

/// Deletes a resource whose project goes with it. Its Secret would go by itself, but the garbage collector of a cluster that
/// got the definitions a moment ago learns of them late.
pub(crate) async fn delete_with_secret(world: &World, name: &str) {
    world.delete(name).await;
    // Unless it was faster.
    let _ = world.secrets().delete(name, &DeleteParams::default()).await;
}

/// The claims of a cluster, as an administrator sees them.
fn claims(world: &World) -> Api<Secret> {
    Api::namespaced(world.client.clone(), SYSTEM)
}

async fn claim(world: &World, project_name: &str) -> Secret {
    let all = claims(world).list(&ListParams::default().labels("composio.dev/phase=Owned")).await.unwrap();
    let is_meant = |claim: &Secret| {
        claim.annotations().get("composio.dev/project-name").is_some_and(|name| name == project_name)
    };
    all.into_iter().find(is_meant).unwrap()
}

/// The key of this project is not fresh any more: what Composio says of a fresh one is not believed.
pub(crate) async fn age_key(world: &World, project_name: &str) {
    let claim = claim(world, project_name).await;
    let mut content: Value = serde_json::from_slice(&claim.data.as_ref().unwrap()["claim.json"].0).unwrap();
    content["key"]["issuedTime"] = json!("2026-01-01T00:00:00Z");
    let patch = Patch::Merge(json!({"stringData": {"claim.json": content.to_string()}}));
    claims(world).patch(&claim.name_any(), &PatchParams::default(), &patch).await.unwrap();
}

/// Removes the claim of a project, as an administrator does whose ledger knows one that is gone.
pub(crate) async fn remove_claim(world: &World, project_name: &str) {
    let name = claim(world, project_name).await.name_any();
    claims(world).delete(&name, &DeleteParams::default()).await.unwrap();
}

/// Names of the tombstones of a cluster.
pub(crate) async fn tombstones(world: &World) -> Vec<String> {
    let found =
        claims(world).list(&ListParams::default().labels("composio.dev/phase=Deleted")).await.unwrap();
    found.iter().map(ResourceExt::name_any).collect()
}
