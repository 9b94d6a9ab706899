//! A ledger that is older than what has happened: what is not in it is neither made twice nor replaced.

use serde_json::json;
use testbed::canary::Kind;
use testbed::emulator::{Fault, Operation, Point};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::cluster::{Clusters, Restored, age_key, delete_with_secret, operator, remove_claim};
use crate::document::Shell;
use crate::fleet::{all_are, all_looked_at, commit, keys, mutations_since, nothing_sent_since, projects};

/// What happens to the first cluster after its backup: a project is made, a key is replaced, a project is deleted. Returns
/// the second cluster, when the first one is lost, and the ids of the first two projects.
async fn lived_on(mut clusters: Clusters, published_too: bool) -> (Restored, [String; 2]) {
    let old = &clusters.old;
    age_key(old, "prod-search").await;
    clusters.shell.step("Make the backup");
    clusters.shell.run("mv ledger.yaml older.yaml");

    old.apply("late", json!({})).await;
    let (late, search) = (id(old, "late").await, id(old, "search").await);
    let dead = old.entry("search", "COMPOSIO_API_KEY").await;
    old.control.revoke_project_keys(&search);
    old.poke("search").await;
    eventually("the key is replaced", PATIENCE, async || {
        let key = old.entry("search", "COMPOSIO_API_KEY").await;
        if key == dead { Err("it is not".to_owned()) } else { Ok(()) }
    })
    .await;
    old.ready("search").await;
    delete_with_secret(old, "pay").await;

    let mut git = projects();
    git.retain(|(_, name, _)| *name != "pay");
    git.push(("team-a", "late", json!({})));
    commit(&clusters.shell, old, &git);
    if published_too {
        clusters.shell.step("Make the backup");
    }
    clusters.shell.run("mv older.yaml ledger.yaml");
    (clusters.lose(&[]).await, [late, search])
}

/// The id of a project that is Ready.
async fn id(world: &World, name: &str) -> String {
    world.ready(name).await.status.unwrap().project.unwrap().id.unwrap()
}

/// The end of each: a claim of a project that is gone is left, which nobody waits for.
async fn finish(restored: Restored, operator: testbed::world::Child) {
    remove_claim(&restored.new, "prod-pay").await;
    restored.finish(operator, &[]).await;
}

fn patch(shell: &mut Shell, name: &str, spec: &serde_json::Value) {
    let patch = json!({"spec": spec});
    shell.run(&format!(
        "kubectl --context new --namespace team-a patch cproj {name} --type merge --patch '{patch}'"
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_older_ledger_nothing_is_made_twice_or_replaced_and_what_is_missing_is_said() {
    let Some(clusters) = Clusters::start().await else { return };
    let (mut restored, [late, search]) = lived_on(clusters, false).await;
    restored.shell.step("The ledger comes first");
    restored.shell.step("The operator");
    let operator = operator(&restored.new).await;
    restored.shell.step("The manifests");
    for name in ["default", "second"] {
        restored.new.organization_reaches(name, "False", "LedgerMoved").await;
    }
    nothing_sent_since(&restored.new, restored.mark);
    restored.shell.step("The confirmation");
    // The dead key of the one is not noticed before a look.
    all_are(&restored.new, "Reconciled", &[("team-a/late", "NameTaken")]).await;
    restored.shell.block("The end", 1);
    all_are(&restored.new, "Reconciled", &[("team-a/late", "NameTaken"), ("team-a/search", "KeyRejected")])
        .await;
    let (world, mark) = (&restored.new, restored.mark);
    let organization = world.organization.id.clone();
    for operation in [Operation::Create, Operation::Regenerate, Operation::Delete, Operation::PatchSettings] {
        let count = world.control.committed_since(mark, &organization, operation);
        assert_eq!(count, 0, "{operation:?} with an effect");
    }
    assert_eq!(world.control.count_since(mark, &organization, Operation::Regenerate), 0);

    // The ways out.
    patch(&mut restored.shell, "search", &json!({"onInvalidKey": "Regenerate"}));
    let grant = json!({"spec": {"grants": [{"projectName": "prod-late", "namespace": "team-a"}]}});
    restored.shell.run(&format!(
        "kubectl --context new --namespace composio-system patch corg default --type merge --patch '{grant}'"
    ));
    patch(&mut restored.shell, "late", &json!({"adopt": {"projectId": late, "keySource": "Regenerate"}}));
    let world = &restored.new;
    all_are(world, "Reconciled", &[]).await;
    for (name, id) in [("late", &late), ("search", &search)] {
        let key = world.entry(name, "COMPOSIO_API_KEY").await.unwrap();
        assert_eq!(world.control.project_of_key(&key).as_ref(), Some(id), "the key of {name} does not work");
    }
    assert_eq!(world.control.count_since(mark, &organization, Operation::Regenerate), 2);
    assert_eq!(world.control.committed_since(mark, &organization, Operation::Create), 0);
    finish(restored, operator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn published_secrets_that_are_newer_than_the_ledger_bring_back_what_is_not_in_it() {
    let Some(clusters) = Clusters::start().await else { return };
    let (mut restored, _) = lived_on(clusters, true).await;
    for (namespace, name, spec) in projects() {
        let secret = spec["secret"]["name"].as_str().unwrap_or(name);
        restored.new.history.permit(Kind::Project, namespace, secret);
    }
    for name in ["late", "retired"] {
        restored.new.history.permit(Kind::Project, "team-a", name);
    }
    restored.shell.step("The ledger comes first");
    restored.shell.step("A ledger that is older than what has happened");
    let before = keys(&restored.new).await;
    restored.shell.step("The operator");
    let operator = operator(&restored.new).await;
    restored.shell.step("The manifests");
    for name in ["default", "second"] {
        restored.new.organization_reaches(name, "False", "LedgerMoved").await;
    }
    restored.shell.step("The confirmation");
    all_are(&restored.new, "Reconciled", &[("team-a/late", "SecretConflict")]).await;
    restored.shell.step("Permit it");
    restored.shell.block("The end", 1);
    let world = &restored.new;
    all_looked_at(world).await;
    all_are(world, "Reconciled", &[]).await;
    assert!(keys(world).await == before, "other keys are published than before");
    for ((_, name), key) in &before {
        assert!(world.control.project_of_key(key).is_some(), "the key in {name} does not work");
    }
    nothing_sent_since(world, restored.mark);
    finish(restored, operator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_was_under_way_in_the_moment_of_the_backup_is_found_and_gets_a_new_key() {
    let Some(mut clusters) = Clusters::start().await else { return };
    let old = &clusters.old;
    let (organization, mark) = (old.organization.id.clone(), old.control.mark());
    let gate = old.control.gate("late");
    let held = Fault::Hold { point: Point::AfterCommit, gate: "late".to_owned() };
    old.control.fault(&organization, Operation::Create, held, 1);
    old.apply("late", json!({})).await;
    eventually("the project is made", PATIENCE, async || {
        match old.control.committed_since(mark, &organization, Operation::Create) {
            1 => Ok(()),
            count => Err(format!("{count} are")),
        }
    })
    .await;
    clusters.shell.step("Make the backup");
    gate.open();
    let (late, key) = (id(old, "late").await, old.entry("late", "COMPOSIO_API_KEY").await);
    let mut git = projects();
    git.push(("team-a", "late", json!({})));
    commit(&clusters.shell, old, &git);
    let mut restored = clusters.lose(&[]).await;

    restored.shell.step("The ledger comes first");
    restored.shell.step("The operator");
    let operator = operator(&restored.new).await;
    restored.shell.step("The manifests");
    for name in ["default", "second"] {
        restored.new.organization_reaches(name, "False", "LedgerMoved").await;
    }
    nothing_sent_since(&restored.new, restored.mark);
    restored.shell.step("The confirmation");
    let world = &restored.new;
    all_are(world, "Reconciled", &[]).await;
    assert_eq!(id(world, "late").await, late);
    assert_ne!(
        world.entry("late", "COMPOSIO_API_KEY").await,
        key,
        "the document says that it is another one"
    );
    let sent: Vec<_> =
        mutations_since(world, restored.mark).into_iter().map(|entry| entry.operation).collect();
    assert_eq!(sent, [Some(Operation::Regenerate)]);
    restored.finish(operator, &[]).await;
}
