//! `composio-operator release`, with the real binary: what it takes away, what it leaves, and when it refuses.

use std::process::{Output, Stdio};

use composio_operator::crd::{ComposioProject, PROJECT_LABEL};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use serde_json::json;
use testbed::controlplane::write_kubeconfig;
use testbed::world::World;

use crate::scene::{mutations, organizations};

const BINARY: &str = env!("CARGO_BIN_EXE_composio-operator");

/// Runs it to its end: whether it succeeded, and what it says on both outputs.
async fn release(world: &World, more: &[&str]) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kubeconfig.yaml");
    write_kubeconfig(&path, &world.control_plane.kubeconfig()).unwrap();
    let mut command = tokio::process::Command::new(BINARY);
    command
        .args(["release", "--namespace", &world.system, "--watch-namespaces", &world.namespace])
        .args(more);
    command.env("KUBECONFIG", &path).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(!text.contains('\x1b'), "colour without a terminal: {text}");
    (status.success(), text)
}

fn spec_of(project: &ComposioProject) -> serde_json::Value {
    serde_json::to_value(&project.spec).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_takes_finalizers_and_owner_references_and_nothing_else() {
    let mut world = World::start().await;
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    world.apply("kept", json!({})).await;
    world.ready("kept").await;
    let before = world.ready("shop").await;
    assert_eq!(before.finalizers().len(), 1);
    assert_eq!(world.secrets().get("shop").await.unwrap().owner_references().len(), 1);
    let theirs = json!({"metadata": {"finalizers": [before.finalizers()[0], "example.com/theirs"]}});
    world.projects().patch("shop", &PatchParams::default(), &Patch::Merge(theirs)).await.unwrap();
    world.stop_operator().await;
    let kept = world.projects().get("kept").await.unwrap();
    let (calls, secret) = (mutations(&world), world.secrets().get("shop").await.unwrap());

    let (is_ok, text) = release(&world, &[]).await;
    assert!(is_ok, "{text}");
    for expected in [
        format!(
            "{}: removed 1 finalizers of ComposioProjects, 1 owner references of Secrets",
            world.namespace
        ),
        format!("{}: removed 1 finalizers of ComposioOrganizations", world.system),
    ] {
        assert!(text.contains(&expected), "{text}");
    }
    let after = world.projects().get("shop").await.unwrap();
    assert_eq!(after.finalizers(), ["example.com/theirs"]);
    assert_eq!((spec_of(&after), after.metadata.generation), (spec_of(&before), before.metadata.generation));
    assert_eq!(world.projects().get("kept").await.unwrap().resource_version(), kept.resource_version());
    let released = world.secrets().get("shop").await.unwrap();
    assert_eq!(released.owner_references().len(), 0);
    assert_eq!((&released.data, released.labels()), (&secret.data, secret.labels()));
    assert_eq!(organizations(&world).get("default").await.unwrap().finalizers(), [""; 0]);

    let (is_ok, text) = release(&world, &[]).await;
    assert!(is_ok && text.contains("nothing to release"), "{text}");
    // Nothing hangs now, nothing is wiped, and an operator takes it all up again.
    let none = json!({"metadata": {"finalizers": null}});
    world.projects().patch("shop", &PatchParams::default(), &Patch::Merge(none)).await.unwrap();
    world.delete("shop").await;
    assert!(world.secrets().get("shop").await.is_ok());
    assert_eq!(mutations(&world), calls, "Composio was touched");
    world.start_operator().await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    assert_eq!(mutations(&world), calls);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_refuses_while_an_operator_renews_its_lease_unless_forced() {
    let mut world = World::start().await;
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    world.ready("shop").await;
    world.stop_operator().await;
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), &world.system);
    let lease = json!({
        "metadata": {"name": "composio-operator"},
        "spec": {"holderIdentity": "operator-0", "leaseDurationSeconds": 1}
    });
    let _ = leases.delete("composio-operator", &kube::api::DeleteParams::default()).await;
    leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
    let renewing = async {
        for transitions in 1.. {
            let renewed = json!({"spec": {"leaseTransitions": transitions}});
            leases.patch("composio-operator", &PatchParams::default(), &Patch::Merge(renewed)).await.unwrap();
        }
    };
    let (is_ok, text) = tokio::select! {
        found = release(&world, &[]) => found,
        () = renewing => unreachable!("it renews without end"),
    };
    assert!(!is_ok && text.contains("operator-0") && text.contains("--force"), "{text}");
    assert_eq!(world.projects().get("shop").await.unwrap().finalizers().len(), 1);
    // A holder that does not renew has gone.
    let (is_ok, text) = release(&world, &[]).await;
    assert!(is_ok && text.contains("removed 1 finalizers of ComposioProjects"), "{text}");
    let (is_ok, text) = release(&world, &["--force"]).await;
    assert!(is_ok && text.contains("nothing to release"), "{text}");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_finds_a_published_secret_that_has_lost_its_label_and_takes_that_one_owner_off() {
    let mut world = World::start().await;
    world.apply("kept", json!({})).await;
    let kept = world.ready("kept").await;
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    world.ready("shop").await;
    // Nobody puts the label back while it is suspended.
    world.apply("shop", json!({"deletionPolicy": "Delete", "suspend": true})).await;
    world.reaches(&world.namespace, "shop", "Ready", "True", "Suspended").await;
    world.stop_operator().await;
    let mut owners = world.secrets().get("shop").await.unwrap().owner_references().to_vec();
    assert_eq!(owners.len(), 1);
    owners.extend(kept.owner_ref(&()));
    let edited = json!({"metadata": {"labels": {PROJECT_LABEL: null}, "ownerReferences": owners}});
    world.secrets().patch("shop", &PatchParams::default(), &Patch::Merge(edited)).await.unwrap();

    let (is_ok, text) = release(&world, &[]).await;
    assert!(is_ok, "{text}");
    let expected = format!(
        "{}: removed 1 finalizers of ComposioProjects, 1 owner references of Secrets",
        world.namespace
    );
    assert!(text.contains(&expected), "{text}");
    let left = world.secrets().get("shop").await.unwrap().owner_references().to_vec();
    assert_eq!(left, owners[1..], "only the project that published it");
    assert_eq!(world.projects().get("shop").await.unwrap().finalizers(), [""; 0]);
    let (is_ok, text) = release(&world, &[]).await;
    assert!(is_ok && text.contains("nothing to release"), "{text}");
    // Nothing of it is deleted with the resource.
    world.delete("shop").await;
    assert!(world.entry("shop", "COMPOSIO_API_KEY").await.is_some());
    world.finish(&[]).await;
}
