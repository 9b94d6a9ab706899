//! A tenant may write any Secret of its namespace, with any label, stamp, type and owner.

use composio_operator::crd::ComposioProject;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::canary::Kind;
use testbed::eventually::eventually;
use testbed::world::PATIENCE;

use crate::scene::{Scene, id};

/// An owner reference that says to be the controller.
fn controller(project: &ComposioProject) -> Value {
    json!([{
        "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioProject", "controller": true,
        "name": project.name_any(), "uid": project.uid().unwrap()
    }])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_was_made_beforehand_is_refused_however_it_is_labelled() {
    let mut scene = Scene::start().await;
    scene.apply("other", json!({})).await;
    let other = scene.ends("other", "True", "Reconciled").await;
    scene.looked_at("other").await;
    scene.remember().await;
    let labels = json!({
        "app.kubernetes.io/managed-by": "composio-operator", "composio.dev/project": "mine",
        "composio.dev/phase": "Owned", "composio.dev/owner-namespace": scene.world.namespace
    });
    let mut made = Vec::new();
    for (name, metadata) in [
        ("plain", json!({})),
        ("labelled", json!({"labels": labels})),
        ("stamped", json!({"annotations": {"composio.dev/key-issued-at": "2126-01-01T00:00:00Z"}})),
        ("owned", json!({"ownerReferences": controller(&other)})),
    ] {
        let mut object = json!({"metadata": metadata, "stringData": {"COMPOSIO_API_KEY": "nothing"}});
        object["metadata"]["name"] = name.into();
        scene.put::<Secret>(object).await;
        made.push(scene.api::<Secret>().get(name).await.unwrap());
        scene.apply(name, json!({})).await;
        scene.ends(name, "False", "SecretConflict").await;
    }
    scene.nothing_done().await;
    for secret in made {
        assert_eq!(scene.api::<Secret>().get(&secret.name_any()).await.unwrap(), secret);
    }
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_of_another_resource_is_refused_and_stays_that_of_the_other() {
    let mut scene = Scene::start().await;
    scene.apply("first", json!({})).await;
    scene.ends("first", "True", "Reconciled").await;
    scene.looked_at("first").await;
    scene.remember().await;
    let before = scene.api::<Secret>().get("first").await.unwrap();
    scene.apply("second", json!({"secret": {"name": "first"}})).await;
    scene.ends("second", "False", "SecretConflict").await;
    // The neighbour's name is a name like any other, in the own namespace.
    scene.nothing_done().await;
    assert_eq!(scene.api::<Secret>().get("first").await.unwrap(), before);
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_a_neighbours_secret_is_one_of_the_own_namespace() {
    let scene = Scene::start().await;
    let theirs = scene.world.entry("shop", "COMPOSIO_API_KEY").await;
    scene.apply("mine", json!({"secret": {"name": "shop"}})).await;
    let mine = scene.ends("mine", "True", "Reconciled").await;
    let secret = scene.api::<Secret>().get("shop").await.unwrap();
    let key = secret.data.unwrap().remove("COMPOSIO_API_KEY").map(|key| String::from_utf8(key.0).unwrap());
    assert_eq!(scene.world.control.project_of_key(&key.clone().unwrap()), Some(id(&mine)));
    assert_ne!(key, theirs);
    scene.others_untouched().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_a_tenant_has_made_in_its_namespace_is_none() {
    let scene = Scene::start().await;
    let claim = scene.claim_of_neighbour().await;
    // A copy of the neighbour's, which says that the tenant is the owner.
    let text = String::from_utf8(claim.data.as_ref().unwrap()["claim.json"].0.clone()).unwrap();
    let mut content: Value = serde_json::from_str(&text).unwrap();
    scene.apply("shop", json!({})).await;
    let thief = scene.ends("shop", "False", "ClaimHeld").await;
    content["owner"] = json!({
        "namespace": scene.namespace, "namespaceUid": "", "name": "shop", "uid": thief.uid().unwrap()
    });
    let mut forged = claim.clone();
    forged.metadata = kube::core::ObjectMeta {
        name: claim.metadata.name,
        labels: claim.metadata.labels,
        annotations: claim.metadata.annotations,
        ..Default::default()
    };
    forged.data = None;
    forged.string_data = Some([("claim.json".to_owned(), content.to_string())].into());
    scene.api::<Secret>().create(&PostParams::default(), &forged).await.unwrap();
    scene.looked_at("shop").await;
    scene.ends("shop", "False", "ClaimHeld").await;
    scene.nothing_done().await;

    // Also not when the neighbour's own has no owner any more.
    scene.world.delete("shop").await;
    scene.ends("shop", "False", "RebindDenied").await;
    scene.looked_at("shop").await;
    scene.ends("shop", "False", "RebindDenied").await;
    let still: Vec<_> = scene.api::<Secret>().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(still.len(), 1, "something was published to the tenant");
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stolen_key_in_the_own_secret_gives_no_right_to_its_project() {
    let scene = Scene::start().await;
    let stolen = scene.world.entry("shop", "COMPOSIO_API_KEY").await.unwrap();
    for name in ["shop", "mine"] {
        scene.world.history.permit(Kind::Project, &scene.namespace, name);
        scene.put::<Secret>(json!({
            "metadata": {
                "name": name,
                "labels": {"composio.dev/project": name, "app.kubernetes.io/managed-by": "composio-operator"},
                "annotations": {"composio.dev/key-issued-at": "2126-01-01T00:00:00Z"}
            },
            "stringData": {"COMPOSIO_API_KEY": stolen, "COMPOSIO_PROJECT_ID": id(&scene.victim)}
        }))
        .await;
        scene.apply(name, json!({})).await;
    }
    scene.ends("shop", "False", "ClaimHeld").await;
    scene.ends("mine", "False", "SecretConflict").await;
    scene.forget_own_secrets(&["shop", "mine"]).await;
    scene.nothing_done().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_project_with_a_newer_stamp_does_not_get_into_the_claim() {
    let mut scene = Scene::start().await;
    scene.apply("mine", json!({})).await;
    scene.apply("second", json!({})).await;
    let mine = scene.ends("mine", "True", "Reconciled").await;
    scene.ends("second", "True", "Reconciled").await;
    scene.looked_at("mine").await;
    scene.looked_at("second").await;
    scene.remember().await;
    let key = scene.world.claims().await.key("mine").map(ToOwned::to_owned);
    let second = scene.world.claims().await.key("second").map(ToOwned::to_owned).unwrap();
    let stolen = scene.world.entry("shop", "COMPOSIO_API_KEY").await.unwrap();
    for foreign in [second, stolen] {
        let edit = json!({
            "metadata": {"annotations": {"composio.dev/key-issued-at": "2126-01-01T00:00:00Z"}},
            "stringData": {"COMPOSIO_API_KEY": foreign}
        });
        let secrets = scene.api::<Secret>();
        secrets.patch("mine", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
        scene.looked_at("mine").await;
        eventually("the key of the own project is back", PATIENCE, async || {
            let secret = secrets.get("mine").await.map_err(|error| error.to_string())?;
            let found = secret.data.and_then(|mut data| data.remove("COMPOSIO_API_KEY"));
            let found = found.map(|found| String::from_utf8_lossy(&found.0).into_owned());
            if found == key { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await;
        let claims = scene.world.claims().await;
        assert_eq!(claims.key("mine"), key.as_deref());
        assert_eq!(claims.of("mine").unwrap()["projectId"], id(&mine).as_str());
    }
    scene.others_untouched().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_in_another_namespace_moves_nothing() {
    let mut scene = Scene::start().await;
    scene.apply("mine", json!({})).await;
    scene.ends("mine", "True", "Reconciled").await;
    scene.looked_at("mine").await;
    scene.remember().await;
    // Kubernetes takes such an owner for one that does not exist, and removes the Secret in its own time.
    let patch = json!({"metadata": {"ownerReferences": controller(&scene.victim)}});
    let before = scene.api::<Secret>().get("mine").await.unwrap().uid();
    scene.api::<Secret>().patch("mine", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    eventually("the tenant's Secret is there again, with nobody as its owner", PATIENCE, async || {
        scene.looked_at("mine").await;
        match scene.api::<Secret>().get_opt("mine").await.map_err(|error| error.to_string())? {
            Some(secret) if secret.uid() != before && secret.owner_references().is_empty() => Ok(()),
            found => Err(format!("{:?}", found.map(|secret| secret.metadata))),
        }
    })
    .await;
    scene.ends("mine", "True", "Reconciled").await;
    scene.others_untouched().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_put_in_the_place_of_the_published_one_is_not_filled_with_the_key() {
    let mut scene = Scene::start().await;
    scene.apply("mine", json!({})).await;
    scene.ends("mine", "True", "Reconciled").await;
    scene.looked_at("mine").await;
    scene.remember().await;
    let published = scene.api::<Secret>().get("mine").await.unwrap();
    // Nobody can take the place while the operator restores it.
    scene.world.stop_operator().await;
    scene.api::<Secret>().delete("mine", &DeleteParams::default()).await.unwrap();
    let metadata = json!({
        "name": "mine", "labels": published.metadata.labels, "annotations": published.metadata.annotations
    });
    // Such as one that something else reads and sends on.
    scene.put::<Secret>(json!({"metadata": metadata, "stringData": {"other": "content"}})).await;
    let replaced = scene.api::<Secret>().get("mine").await.unwrap();
    scene.world.start_operator().await;
    scene.ends("mine", "False", "SecretConflict").await;
    assert_eq!(scene.api::<Secret>().get("mine").await.unwrap(), replaced);
    scene.api::<ComposioProject>().delete("mine", &DeleteParams::default()).await.unwrap();
    scene.others_untouched().await;
    scene.finish(&[]).await;
}
