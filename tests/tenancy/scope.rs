//! An organization that does not serve the tenant's namespace: nothing that the tenant can write changes that.

use composio_operator::crd::{ComposioOrganization, ComposioProject};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use testbed::eventually::eventually;
use testbed::world::PATIENCE;

use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_cannot_bring_its_namespace_into_the_scope_of_an_organization() {
    let mut scene = Scene::start().await;
    let (world, neighbour) = (&scene.world, scene.world.namespace.clone());
    world.label_namespace(&neighbour, json!({"composio": "shop"})).await;
    let key = world.organization.key.clone();
    let selector = json!({"namespaceSelector": {"matchLabels": {"composio": "shop"}}});
    world.add_organization("default", &key, selector).await;
    let organizations: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
    eventually("the selector is in force", PATIENCE, async || {
        let object = organizations.get("default").await.map_err(|error| error.to_string())?;
        let observed = object.status.and_then(|status| status.observed_generation);
        let is_met = observed == object.metadata.generation && object.spec.namespace_selector.is_some();
        is_met.then_some(()).ok_or_else(|| format!("generation {observed:?} is"))
    })
    .await;
    scene.remember().await;

    let namespaces: Api<Namespace> = Api::all(scene.tenant.clone());
    let label = Patch::Merge(json!({"metadata": {"labels": {"composio": "shop"}}}));
    let labelled = namespaces.patch(&scene.namespace, &PatchParams::default(), &label).await;
    assert!(labelled.is_err_and(|error| matches!(error, kube::Error::Api(status) if status.is_forbidden())));
    // The label of the resource is not that of its namespace.
    let labelled = json!({
        "metadata": {"name": "mine", "labels": {"composio": "shop"}}, "spec": {"deletionPolicy": "Delete"}
    });
    scene.put::<ComposioProject>(labelled).await;
    scene.ends("mine", "False", "NamespaceNotAllowed").await;
    // Nor do the neighbour's name, its project's, or a status that says that there is one already.
    let id = scene.victim.status.clone().unwrap().project.unwrap().id;
    scene.apply("shop", json!({"projectName": "shop", "secret": {"name": "shop"}})).await;
    let project = json!({"project": {"id": id, "name": "shop"}, "binding": {"name": "shop"}});
    scene.forge_status("shop", project).await;
    scene.apply("adopts", json!({"adopt": {"projectId": id, "keySource": "Regenerate"}})).await;
    scene.ends("shop", "False", "NamespaceNotAllowed").await;
    scene.ends("adopts", "False", "NamespaceNotAllowed").await;
    scene.nothing_done().await;
    // Its status names a Secret that there is not.
    scene.api::<ComposioProject>().delete("shop", &DeleteParams::default()).await.unwrap();
    scene.finish(&[]).await;
}
