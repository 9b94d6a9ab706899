//! A lost cluster, and a new one: with the ledger, and without it.

use composio_operator::crd::CONFIRM_ANNOTATION;
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::canary::Kind;
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::cluster::{Clusters, give_keys, operator, tombstones};
use crate::fleet::{
    ORGANIZATIONS, all_are, all_looked_at, keys, mutations_since, nothing_sent_since, organization, projects,
    published,
};

/// What an organization holds because its ledger was moved.
async fn moved(world: &World, name: &str) -> (i32, String) {
    world.organization_reaches(name, "False", "LedgerMoved").await;
    let held = organization(world, name).await.status.unwrap_or_default().held;
    assert_eq!(held.len(), 1, "{name} holds {held:?}");
    (held[0].count, held[0].token.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_has_everything_again_from_git_and_the_ledger_after_one_confirmation_per_organization()
{
    let Some(mut clusters) = Clusters::start().await else { return };
    let (before, buried) = (keys(&clusters.old).await, tombstones(&clusters.old).await);
    assert!(before.len() == projects().len() + 1 && buried.len() == 1);
    clusters.shell.step("Make the backup");
    let mut restored = clusters.lose(&[]).await;

    restored.shell.step("The ledger comes first");
    restored.shell.step("The operator");
    let operator = operator(&restored.new).await;
    restored.shell.step("The manifests");
    let (world, mark) = (&restored.new, restored.mark);
    let of_second = projects().iter().filter(|(.., spec)| spec.get("organizationRef").is_some()).count();
    let of_default = projects().len() - of_second + 1;
    let (first, second) = (moved(world, "default").await, moved(world, "second").await);
    assert_eq!([first.0, second.0].map(usize::try_from), [Ok(of_default), Ok(of_second)]);
    assert_ne!(first.1, second.1);
    all_are(world, "OrganizationNotReady", &[]).await;
    nothing_sent_since(world, mark);
    assert_eq!(published(world).await, [], "a Secret was written");

    restored.shell.step("The confirmation");
    // Also waited for by the document, which would not say what is wrong.
    all_are(world, "Reconciled", &[]).await;
    restored.shell.step("The end");
    let world = &restored.new;
    all_looked_at(world).await;
    all_are(world, "Reconciled", &[]).await;
    for ((name, _), (_, token)) in ORGANIZATIONS.into_iter().zip([first, second]) {
        let object = world.organization_ready(name).await;
        assert_eq!(object.annotations().get(CONFIRM_ANNOTATION), Some(&token));
        assert_eq!(object.status.unwrap_or_default().held, []);
    }
    let retired = ("team-a".to_owned(), "retired".to_owned());
    let mut expected = before.clone();
    expected.remove(&retired);
    assert!(keys(world).await == expected, "other keys are published than before");
    assert_eq!(tombstones(world).await, buried);

    // What was retained waits for its resource as before.
    world.apply("retired", json!({"settings": {"displayName": "Retired"}})).await;
    world.ready("retired").await;
    assert!(keys(world).await == before, "the retained project has another key");
    nothing_sent_since(world, mark);

    // And it is this cluster now that deletes.
    let projects: Api<composio_operator::crd::ComposioProject> =
        Api::namespaced(world.client.clone(), "team-b");
    projects.delete("crm", &DeleteParams::default()).await.unwrap();
    eventually("the project is deleted", PATIENCE, async || {
        match world.control.committed_since(mark, &restored.second.id, Operation::Delete) {
            1 => Ok(()),
            count => Err(format!("{count} are")),
        }
    })
    .await;
    eventually("the resource is gone", PATIENCE, async || {
        match projects.get_opt("crm").await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(_) => Err("it is there".to_owned()),
        }
    })
    .await;
    restored.finish(operator, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_ledger_the_published_secrets_bring_everything_back_that_has_a_resource() {
    let Some(mut clusters) = Clusters::start().await else { return };
    let before = keys(&clusters.old).await;
    clusters.shell.step("Make the backup");
    let mut restored = clusters.lose(&[]).await;
    // They are there before any resource asks for them.
    for (namespace, name) in before.keys() {
        restored.new.history.permit(Kind::Project, namespace, name);
    }

    restored.shell.step("Secrets before resources");
    give_keys(&restored.new, &restored.second).await;
    restored.shell.step("The operator");
    let operator = operator(&restored.new).await;
    let versions = versions(&restored.new).await;
    restored.shell.step("Permit it");
    let (world, mark) = (&restored.new, restored.mark);
    all_are(world, "Reconciled", &[]).await;
    for (name, _) in ORGANIZATIONS {
        world.organization_ready(name).await;
        assert_eq!(
            organization(world, name).await.spec.adoption,
            None,
            "everybody may take over what they have a key of"
        );
    }
    let claims = world.claims().await;
    assert_eq!(claims.all().count(), projects().len());
    assert!(claims.all().all(|claim| claim["origin"] == "Recovered"), "a project came another way");
    assert!(keys(world).await == before, "other keys are published than before");
    // An owner is added where the Secret goes with its resource, and nothing else.
    for (namespace, name, owners, version) in self::versions(world).await {
        let is_as_restored = versions.iter().any(|(.., known)| *known == version);
        assert_eq!(is_as_restored, owners == 0, "Secret {namespace}/{name} with {owners} owners");
    }
    nothing_sent_since(world, mark);

    // What the spec does not want any more cannot be told from what others have added.
    restored.shell.run(
        "kubectl --context new --namespace team-b patch cproj docs --type merge \
         --patch '{\"spec\": {\"secret\": {\"template\": null}}}'",
    );
    world.ready_in("team-b", "docs").await;
    let docs = published(world).await.into_iter().find(|secret| secret.name_any() == "docs-composio");
    assert!(docs.unwrap().data.unwrap().contains_key(".env"), "the document says that it stays");

    // Nobody knows the retained one any more. Its Secret does.
    world.apply("retired", json!({"settings": {"displayName": "Retired"}})).await;
    world.not_ready("retired", "SecretConflict").await;
    restored.shell.run(
        "kubectl --context new --namespace composio-system patch corg default --type merge \
         --patch '{\"spec\": {\"adoption\": \"WithKey\"}}'",
    );
    let world = &restored.new;
    world.ready("retired").await;
    assert!(keys(world).await == before, "the retained project has another key");
    assert_eq!(tombstones(world).await, Vec::<String>::new(), "they are lost, the document says");
    nothing_sent_since(world, mark);
    restored.finish(operator, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_was_started_before_the_ledger_was_restored_has_taken_and_made_nothing() {
    let Some(mut clusters) = Clusters::start().await else { return };
    let mut before = keys(&clusters.old).await;
    clusters.shell.step("Make the backup");
    let mut restored = clusters.lose(&[]).await;
    restored.shell.run("kubectl --context new apply --filename git/namespaces.yaml");
    give_keys(&restored.new, &restored.second).await;
    restored.shell.step("The operator");
    let mut early = operator(&restored.new).await;
    restored.shell.step("The manifests");
    all_are(&restored.new, "NameTaken", &[]).await;

    early.kill().await;
    restored.shell.step("If the operator was faster");
    let operator = operator(&restored.new).await;
    let world = &restored.new;
    for (name, _) in ORGANIZATIONS {
        moved(world, name).await;
    }
    restored.shell.step("The confirmation");
    all_are(world, "Reconciled", &[]).await;
    before.remove(&("team-a".to_owned(), "retired".to_owned()));
    assert!(keys(world).await == before, "other keys are published than before");
    let effects = mutations_since(world, restored.mark).into_iter().filter(|entry| entry.committed);
    assert_eq!(effects.collect::<Vec<_>>(), [], "something was changed at Composio");
    restored.finish(operator, &[]).await;
}

/// Namespace, name, number of owners and version of each published Secret.
async fn versions(world: &World) -> Vec<(String, String, usize, Option<String>)> {
    let version = |secret: Secret| {
        let owners = secret.owner_references().len();
        (secret.namespace().unwrap(), secret.name_any(), owners, secret.resource_version())
    };
    published(world).await.into_iter().map(version).collect()
}
