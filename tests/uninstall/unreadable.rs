//! A resource that this release cannot read.

use composio_operator::crd::{self, ComposioProject};
use kube::CustomResourceExt;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::json;
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::scene::{alone, world};

/// The resources, without their schema.
fn untyped(world: &World) -> Api<DynamicObject> {
    let resource: ApiResource = ComposioProject::api_resource();
    Api::namespaced_with(world.client.clone(), &world.namespace, &resource)
}

/// `spec.suspend` becomes a text in the definition, and in one resource.
async fn make_unreadable(world: &World, name: &str) {
    let mut definitions = crd::all();
    for definition in definitions.iter_mut().filter(|found| found.name_any().starts_with("composioprojects"))
    {
        let schema =
            definition.spec.versions[0].schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap();
        let spec = schema.properties.as_mut().unwrap().get_mut("spec").unwrap();
        let suspend = spec.properties.as_mut().unwrap().get_mut("suspend").unwrap();
        suspend.type_ = Some("string".to_owned());
    }
    world.control_plane.apply_crds(&definitions).await.unwrap();
    let patch = Patch::Merge(json!({"spec": {"suspend": "of a later release"}}));
    eventually("the resource has a text there", PATIENCE, async || {
        let patched = untyped(world).patch(name, &PatchParams::default(), &patch).await;
        patched.map(drop).map_err(|error| error.to_string())
    })
    .await;
    world.control_plane.apply_crds(&crd::all()).await.unwrap();
    assert!(world.projects().get(name).await.is_err(), "it can be read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_that_cannot_be_read_is_left_alone_and_goes_with_its_project_when_it_is_deleted() {
    let _alone = alone().await;
    let mut world = world().await;
    world.start_operator().await;
    for (name, policy) in [("shop", "Delete"), ("kept", "Retain"), ("well", "Retain")] {
        world.apply(name, json!({"deletionPolicy": policy})).await;
        world.ready(name).await;
    }
    for name in ["shop", "kept"] {
        make_unreadable(&world, name).await;
    }
    // It does not stop the others.
    world.poke("well").await;
    world.ready("well").await;
    let before = untyped(&world).get("shop").await.unwrap();
    assert_eq!(before.finalizers().len(), 1, "its finalizer was taken away");
    for name in ["shop", "kept"] {
        untyped(&world).delete(name, &DeleteParams::default()).await.unwrap();
        eventually(&format!("{name} is gone"), PATIENCE, async || {
            match untyped(&world).get_opt(name).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(found) => Err(format!("{:?}", found.data)),
            }
        })
        .await;
    }
    let names: Vec<_> =
        world.control.projects(&world.organization.id).into_iter().map(|project| project.name).collect();
    assert_eq!(names, ["kept", "well"]);
    assert_eq!(world.control.committed(&world.organization.id, Operation::Delete), 1);
    assert!(world.entry("kept", "COMPOSIO_API_KEY").await.is_some());
    world.finish(&[]).await;
}
