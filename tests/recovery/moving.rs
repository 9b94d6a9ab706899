//! One project moves between two clusters whose operators run all the time. Who has sent what, the operators' own logs say:
//! each request carries an id.

use std::collections::BTreeSet;

use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use testbed::canary::Kind;
use testbed::emulator::{Entry, Operation};
use testbed::eventually::eventually;
use testbed::world::{Child, PATIENCE, World, complete_settings};
use tokio::sync::MutexGuard;

use crate::cluster::{operator, permit};
use crate::document::{DISASTER, MOVING, Shell, block, is_kubectl_here};
use crate::fleet::{SYSTEM, manifest};

/// Two clusters of one organization, each with a project of its own, and `shop` in the old one.
struct Two {
    old: World,
    new: World,
    old_operator: Child,
    new_operator: Child,
    shell: Shell,
    /// The project that moves, and one that stays in each cluster.
    ids: [String; 3],
    _alone: MutexGuard<'static, ()>,
}

fn organization(world: &World) -> Value {
    json!({
        "apiKeySecretRef": {"name": "default-key"}, "endpoint": {"url": world.emulator.url()},
        "projectNameTemplate": "prod-{name}"
    })
}

/// In the old cluster the project goes with its resource, so that a mistake would show.
fn spec(display_name: &str) -> Value {
    let mut settings = complete_settings();
    settings["displayName"] = json!(display_name);
    json!({"deletionPolicy": "Delete", "settings": settings})
}

async fn prepared(shell: &mut Shell, world: &World, context: &str) -> Child {
    permit(world);
    let chart = block(DISASTER, "The operator", 0).replace("context new", &format!("context {context}"));
    let namespaces = format!(
        "kubectl --context {context} create namespace {SYSTEM}\nkubectl --context {context} create namespace team-a\n"
    );
    shell.run(&(namespaces + &chart));
    let operator = operator(world).await;
    let key = world.organization.key.clone();
    world.add_organization("default", &key, json!({"projectNameTemplate": "prod-{name}"})).await;
    world.organization_ready("default").await;
    operator
}

async fn project_id(world: &World, name: &str) -> String {
    world.ready(name).await.status.unwrap().project.unwrap().id.unwrap()
}

impl Two {
    async fn start() -> Option<Self> {
        if !is_kubectl_here() {
            return None;
        }
        let alone = crate::ONE.lock().await;
        let old = World::in_empty_cluster().await;
        let new = old.second_cluster().await;
        // Carried there before the resource.
        new.history.permit(Kind::Project, "team-a", "shop");
        let mut shell = Shell::open(MOVING, &old, &new);
        shell.write("git/values.yaml", "image: {repository: registry.example/composio-operator}\n");
        let old_operator = prepared(&mut shell, &old, "old").await;
        let new_operator = prepared(&mut shell, &new, "new").await;
        old.apply("shop", spec("Shop")).await;
        old.apply("stays", json!({})).await;
        new.apply("local", json!({})).await;
        let ids = [
            project_id(&old, "shop").await,
            project_id(&old, "stays").await,
            project_id(&new, "local").await,
        ];
        let two = Self { old, new, old_operator, new_operator, shell, ids, _alone: alone };
        two.commit("Shop, moved", &json!({}));
        Some(two)
    }

    /// The manifests, with what the commands have said belongs into them.
    fn commit(&self, display_name: &str, said: &Value) {
        let mut shop = manifest("team-a", "shop", &spec(display_name));
        let mut organization = json!({
            "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioOrganization",
            "metadata": {"name": "default", "namespace": SYSTEM}, "spec": organization(&self.new)
        });
        for (manifest, member) in [(&mut shop, "adopt"), (&mut organization, "grants")] {
            if let Some(said) = said.get(member) {
                manifest["spec"][member] = said.clone();
            }
        }
        for (name, manifest) in [("shop.yaml", shop), ("organization.yaml", organization)] {
            self.shell.write(name, &manifest.to_string());
        }
    }

    /// Step 4.
    fn take_over(&mut self, display_name: &str, in_context: &str) {
        let said = self.shell.block("4. New: take over", 0);
        self.commit(display_name, &serde_saphyr::from_str(&said).unwrap());
        let apply = block(MOVING, "4. New: take over", 1);
        self.shell.run(&apply.replace("--context new", &format!("--context {in_context}")));
    }

    /// Whether it was the new cluster that has sent this request.
    fn is_from_new(&self, entry: &Entry) -> bool {
        let id = entry.request_id.as_deref().unwrap();
        let [old, new] = [&self.old_operator, &self.new_operator].map(|operator| operator.log().contains(id));
        assert!(old != new, "{entry:?} is in the logs of both or of none");
        new
    }

    /// The requests about the project since a mark that were meant to change it: operation, and whether the new cluster has
    /// sent it.
    fn mutations_since(&self, mark: u64) -> Vec<(Operation, bool)> {
        let kinds = [Operation::Create, Operation::Regenerate, Operation::Delete, Operation::PatchSettings];
        let of_shop = |entry: &Entry| {
            entry.project_id.as_ref() == Some(&self.ids[0])
                || entry.project_name.as_deref() == Some("prod-shop")
        };
        let all = self.old.control.journal_since(mark).into_iter().filter(of_shop);
        let all = all.filter_map(|entry| Some((entry.operation?, entry)));
        all.filter(|(operation, _)| kinds.contains(operation))
            .map(|(operation, entry)| (operation, self.is_from_new(&entry)))
            .collect()
    }

    fn display_name(&self) -> Value {
        self.old.control.project(&self.ids[0]).unwrap().config["display_name"].clone()
    }

    /// Somebody changes a setting at Composio, and the cluster is asked for a look: whether that has put it back.
    async fn is_put_back_by(&self, world: &World) -> bool {
        let wanted = self.display_name();
        self.old.control.set_setting(&self.ids[0], "display_name", json!("by hand"));
        world.poke("shop").await;
        let handled = async || {
            let object = world.projects().get("shop").await.map_err(|error| error.to_string())?;
            let asked = object.metadata.annotations.unwrap_or_default();
            let handled = object.status.unwrap_or_default().last_handled_reconcile_at;
            let is_handled = handled.as_ref() == asked.get(composio_operator::crd::RECONCILE_ANNOTATION);
            if is_handled { Ok(()) } else { Err(format!("{handled:?} was handled")) }
        };
        eventually("the project was looked at", PATIENCE, handled).await;
        self.display_name() == wanted
    }

    /// The end: each cluster has the claims of its projects, and all of their keys work.
    async fn finish(self, is_shop_new: bool) {
        let Self { old, new, old_operator, new_operator, ids, shell, _alone } = self;
        drop(shell);
        let [shop, stays, local] = ids.each_ref().map(String::as_str);
        for mut operator in [old_operator, new_operator] {
            operator.kill().await;
        }
        let is_alive = old.control.project(shop).is_some_and(|project| !project.deleted);
        let mut foreign = [vec![local], vec![stays]];
        if is_alive {
            foreign[usize::from(!is_shop_new)].push(shop);
        }
        old.finish(&foreign[0]).await;
        new.finish(&foreign[1]).await;
    }
}

/// A resource of the name comes back to the old cluster, with the policy that would delete the project; it gets this reason,
/// and goes again.
async fn comes_back(world: &World, reason: &str) {
    world.apply("shop", spec("Shop")).await;
    world.not_ready("shop", reason).await;
    world.delete("shop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_moves_to_another_cluster_with_its_key_and_never_has_two_writers() {
    let Some(mut two) = Two::start().await else { return };
    let (id, key) = (two.ids[0].clone(), two.old.entry("shop", "COMPOSIO_API_KEY").await);
    assert!(two.is_put_back_by(&two.old).await, "the old cluster manages it");
    assert_eq!(two.mutations_since(0), [(Operation::Create, false), (Operation::PatchSettings, false)]);

    two.shell.step("Names");
    two.shell.step("1. Old: stop");
    let stopped = two.old.control.mark();
    let left = two.old.secrets().get("shop").await.unwrap();
    assert!(left.metadata.owner_references.unwrap_or_default().is_empty(), "it would go with the resource");
    assert!(!two.is_put_back_by(&two.old).await, "nobody manages it");
    two.shell.step("2. New: the key");
    two.shell.step("3. Old: forget");
    assert!(
        two.old.secrets().get_opt("shop").await.unwrap().is_some(),
        "workloads in the old cluster have it"
    );
    assert!(two.old.claims().await.of("prod-shop").is_none());
    assert_eq!(two.mutations_since(stopped), [], "somebody wrote while nobody may");

    two.take_over("Shop, moved", "new");
    let moved = two.new.ready("shop").await;
    assert_eq!(moved.status.unwrap().project.unwrap().id, Some(id.clone()));
    assert_eq!(two.new.entry("shop", "COMPOSIO_API_KEY").await, key, "the key is another one");
    assert_eq!(two.display_name(), "Shop, moved");
    two.commit("Shop, moved", &json!({}));
    two.shell.block("5. Clean up", 0);
    two.new.ready("shop").await;
    assert!(two.is_put_back_by(&two.new).await, "the new cluster manages it");
    let expected = [(Operation::PatchSettings, true), (Operation::PatchSettings, true)];
    assert_eq!(
        two.mutations_since(stopped),
        expected,
        "the settings of the new manifest, and the change by hand"
    );

    // The old cluster has no hold on it any more, whatever is applied and deleted there.
    comes_back(&two.old, "SecretConflict").await;
    assert_eq!(two.mutations_since(stopped), expected, "the old cluster has written");
    two.shell.block("5. Clean up", 1);
    comes_back(&two.old, "NameTaken").await;
    let refused = two.mutations_since(stopped).split_off(expected.len());
    let refused: BTreeSet<_> =
        refused.iter().map(|(operation, is_new)| (format!("{operation:?}"), *is_new)).collect();
    assert_eq!(
        refused,
        BTreeSet::from([("Create".to_owned(), false)]),
        "a name that is taken is asked for, no more"
    );
    let project = two.old.control.project(&id).unwrap();
    assert!(!project.deleted && key.as_ref().is_some_and(|key| project.keys == [key.clone()]), "{project:?}");
    assert_eq!(two.old.control.committed(&two.old.organization.id, Operation::Create), 3);
    assert_eq!(two.old.control.count(&two.old.organization.id, Operation::Regenerate), 0);

    // The new one has.
    let before = two.old.control.mark();
    two.new.delete("shop").await;
    assert_eq!(two.mutations_since(before), [(Operation::Delete, true)]);
    assert!(two.old.control.project(&id).unwrap().deleted);
    two.finish(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stops_between_two_steps_can_go_back_and_loses_nothing() {
    let Some(mut two) = Two::start().await else { return };
    let (id, key) = (two.ids[0].clone(), two.old.entry("shop", "COMPOSIO_API_KEY").await);
    let mark = two.old.control.mark();
    let back = "old patch cproj shop --type merge --patch '{\"spec\": {\"suspend\": false}}'\n";
    two.shell.step("Names");

    // After 1 and 2.
    two.shell.step("1. Old: stop");
    two.shell.run(back);
    two.old.ready("shop").await;
    two.shell.step("1. Old: stop");
    two.shell.step("2. New: the key");
    two.shell.run(&format!("{back}new delete secret \"$SECRET\"\n"));
    two.old.ready("shop").await;

    // After the first half of 3.
    two.shell.step("1. Old: stop");
    two.shell.step("2. New: the key");
    let forget = block(MOVING, "3. Old: forget", 0);
    let (resource, claim) = forget.split_once('\n').unwrap();
    two.shell.run(resource);
    two.old.apply("shop", spec("Shop")).await;
    assert_eq!(project_id(&two.old, "shop").await, id);

    // After 3: step 4 in the old cluster.
    two.shell.step("1. Old: stop");
    two.shell.run(&format!("{resource}\n{claim}"));
    two.shell.run("new() { old \"$@\"; }");
    two.take_over("Shop", "old");
    assert_eq!(project_id(&two.old, "shop").await, id);
    assert_eq!(two.old.entry("shop", "COMPOSIO_API_KEY").await, key);
    assert_eq!(two.mutations_since(mark), []);
    let leftover = two.new.secrets();
    leftover.delete("shop", &DeleteParams::default()).await.unwrap();
    let projects: Api<composio_operator::crd::ComposioProject> = two.new.projects();
    assert_eq!(projects.list(&ListParams::default()).await.unwrap().items.len(), 1);
    two.finish(false).await;
}
