//! Names: of projects, of organizations, of Secrets, of resources.

use composio_operator::crd::ComposioProject;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::emulator::{Operation, ThirdPartyProject};

use crate::scene::{Scene, id};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_has_no_right_outside_its_namespace() {
    // What the other tests prove rests on this.
    let scene = Scene::start().await;
    let (tenant, world) = (&scene.tenant, &scene.world);
    for namespace in [&world.namespace, &world.system] {
        let (secrets, projects): (Api<Secret>, Api<ComposioProject>) =
            (Api::namespaced(tenant.clone(), namespace), Api::namespaced(tenant.clone(), namespace));
        let patch = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
        let params = PatchParams::default();
        for refused in [
            secrets.list(&ListParams::default()).await.err(),
            secrets.patch("default-key", &params, &patch).await.err(),
            projects.list(&ListParams::default()).await.err(),
            projects.patch("shop", &params, &patch).await.err(),
            projects.patch_status("shop", &params, &patch).await.err(),
        ] {
            assert!(matches!(refused, Some(kube::Error::Api(status)) if status.is_forbidden()));
        }
    }
    scene.nothing_done().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_a_neighbour_holds_is_not_to_be_had_and_not_when_the_neighbour_is_gone() {
    let mut scene = Scene::start().await;
    scene.apply("shop", json!({})).await;
    scene.apply("thief", json!({"projectName": "shop", "secret": {"name": "loot"}})).await;
    scene.ends("shop", "False", "ClaimHeld").await;
    scene.ends("thief", "False", "ClaimHeld").await;
    scene.nothing_done().await;

    scene.world.delete("shop").await;
    scene.ends("shop", "False", "RebindDenied").await;
    scene.ends("thief", "False", "RebindDenied").await;
    scene.remember().await;
    for name in ["shop", "thief"] {
        scene.looked_at(name).await;
        scene.ends(name, "False", "RebindDenied").await;
        delete(&scene, name).await;
    }
    scene.nothing_done().await;
    assert!(scene.world.claims().await.key("shop").is_some(), "the retained key is lost");
    scene.finish(&[]).await;
}

async fn delete(scene: &Scene, name: &str) {
    scene.api::<ComposioProject>().delete(name, &kube::api::DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_of_another_environment_cannot_be_named() {
    let mut scene = Scene::start_with(json!({"projectNameTemplate": "dev-{name}"})).await;
    // Of the production cluster, which shares the organization.
    let production = ThirdPartyProject::named("prod-shop");
    let production = scene.world.control.create_project(&scene.world.organization.id, production);
    scene.remember().await;
    scene.apply("squatter", json!({"projectName": "prod-shop"})).await;
    let squatter = scene.ends("squatter", "True", "Reconciled").await;
    assert_ne!(id(&squatter), production.id);
    assert_eq!(squatter.status.unwrap().project.unwrap().name, "dev-prod-shop");
    scene.others_untouched().await;
    scene.finish(&[&production.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_with_the_namespace_leaves_no_way_to_a_neighbours_name() {
    let scene = Scene::start_with(json!({"projectNameTemplate": "{namespace}_{name}"})).await;
    let theirs = format!("{}_shop", scene.world.namespace);
    // The same name of the resource, and the neighbour's whole name.
    scene.apply("shop", json!({})).await;
    scene.apply("full", json!({"projectName": theirs})).await;
    scene.ends("shop", "True", "Reconciled").await;
    scene.ends("full", "True", "Reconciled").await;
    scene.others_untouched().await;
    let names = scene.world.control.projects(&scene.world.organization.id).into_iter();
    let mut names: Vec<_> = names.map(|project| project.name).collect();
    names.sort();
    let mut expected =
        [theirs.clone(), format!("{}_shop", scene.namespace), format!("{}_{theirs}", scene.namespace)];
    expected.sort();
    assert_eq!(names, expected);
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_paths_or_templates_are_refused_at_apply() {
    let scene = Scene::start().await;
    let refused = async |field: &str, spec: Value| {
        let object = json!({"metadata": {"name": "evil"}, "spec": spec});
        let words = scene.refused::<ComposioProject>(object).await;
        assert!(words.contains(field), "{spec}: {words}");
    };
    let system = &scene.world.system;
    for name in [
        &format!("{system}/default"),
        "../default",
        "default/../../secrets/default-key",
        "default?watch=true",
        "default%2F",
        "default#",
        "..",
        "",
        &"a".repeat(64),
    ] {
        refused("spec.organizationRef.name", json!({"organizationRef": {"name": name}})).await;
        if name.len() < 64 {
            refused("spec.secret.name", json!({"secret": {"name": name}})).await;
            refused("spec.projectName", json!({"projectName": name})).await;
        }
    }
    for name in ["{namespace}", "{apiKey}", "a\nb", "a b", "shop\u{200b}", "ѕhop", &"a".repeat(76)] {
        refused("spec.projectName", json!({"projectName": name})).await;
    }
    scene.nothing_done().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_somebody_elses_project_at_composio_tells_no_more_than_that_it_is_taken() {
    let mut scene = Scene::start().await;
    let organization = scene.world.organization.id.clone();
    let theirs = scene.world.control.create_project(&organization, ThirdPartyProject::named("billing"));
    scene.remember().await;
    scene.apply("billing", json!({})).await;
    scene.ends("billing", "False", "NameTaken").await;
    scene.others_untouched().await;
    assert_eq!(scene.world.control.count(&organization, Operation::Regenerate), 0);
    assert_eq!(scene.world.control.count(&organization, Operation::Delete), 0);
    scene.finish(&[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_and_annotations_that_look_like_those_of_a_claim_are_no_claim() {
    let scene = Scene::start().await;
    let (claim, world) = (scene.claim_of_neighbour().await, &scene.world);
    let mut annotations = json!(claim.metadata.annotations);
    for (name, value) in [
        ("composio.dev/confirm", "5d41402abc4b"),
        ("composio.dev/key-issued-at", "2126-01-01T00:00:00Z"),
        ("composio.dev/project-id", &id(&scene.victim)),
        ("composio.dev/rotate-requested-at", "now"),
    ] {
        annotations[name] = value.into();
    }
    // The tenant's project and its Secret wear everything that the neighbour's claim wears.
    let mut metadata = json!({"name": "shop", "labels": claim.metadata.labels, "annotations": annotations});
    metadata["labels"]["composio.dev/project"] = "shop".into();
    scene.put::<ComposioProject>(json!({"metadata": metadata, "spec": {}})).await;
    scene.put::<Secret>(json!({"metadata": metadata, "type": "composio.dev/project-claim"})).await;
    scene.ends("shop", "False", "ClaimHeld").await;
    scene.looked_at("shop").await;
    scene.ends("shop", "False", "ClaimHeld").await;
    scene.nothing_done().await;
    assert_eq!(world.claims().await.all().count(), 1);
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_wants_the_neighbours_project_makes_no_call() {
    let scene = Scene::start().await;
    for number in 0..50 {
        scene.apply(&format!("crowd-{number}"), json!({"projectName": "shop"})).await;
    }
    for number in 0..50 {
        scene.ends(&format!("crowd-{number}"), "False", "ClaimHeld").await;
    }
    scene.nothing_done().await;
    scene.world.apply("next", json!({})).await;
    scene.world.ready("next").await;
    scene.finish(&[]).await;
}
