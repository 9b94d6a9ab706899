//! What the chart keeps the operator from doing, whatever its roles allow, and whom it leaves alone: judged by the API server,
//! while no operator runs.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World, project};

use composio_operator::crd::ComposioProject;

const LABEL: &str = "composio.dev/project";

fn secret(name: &str, kind: &str, labels: &Value) -> Secret {
    let data = match kind {
        "kubernetes.io/basic-auth" => json!({"username": "a", "password": "b"}),
        _ => json!({"key": "value"}),
    };
    let object = json!({"metadata": {"name": name, "labels": labels}, "type": kind, "stringData": data});
    serde_json::from_value(object).expect("a Secret")
}

/// Whether it was refused by the policy; any other refusal fails the test.
pub(crate) fn is_refused<T>(answer: Result<T, kube::Error>, words: &str) -> bool {
    match answer {
        Ok(_) => false,
        Err(kube::Error::Api(status)) if status.message.contains(words) => true,
        Err(error) => panic!("{error}"),
    }
}

struct Scene {
    world: World,
    operator: Client,
}

impl Scene {
    async fn open() -> Self {
        let world = World::without_operator().await;
        let operator = world.granted(&[]).await;
        let scene = Self { world, operator };
        let api = scene.secrets(&scene.world.namespace);
        eventually("the policy is in force", PATIENCE, async || {
            let params = PostParams { dry_run: true, ..PostParams::default() };
            let answer = api.create(&params, &secret("probe", "Opaque", &json!({}))).await;
            match answer {
                Err(kube::Error::Api(status)) if status.message.contains("with the label") => Ok(()),
                answer => Err(format!("{:?}", answer.map(drop))),
            }
        })
        .await;
        scene
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.operator.clone(), namespace)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_writes_labelled_opaque_secrets_only_outside_its_namespace() {
    let scene = Scene::open().await;
    let (world, params) = (&scene.world, PostParams::default());
    let (api, own) = (scene.secrets(&world.namespace), scene.secrets(&world.system));
    let labelled = json!({LABEL: "shop"});

    let words = "Secrets of type Opaque with the label";
    api.create(&params, &secret("ours", "Opaque", &labelled)).await.unwrap();
    for (kind, labels) in [("Opaque", &json!({})), ("kubernetes.io/basic-auth", &labelled)] {
        assert!(
            is_refused(api.create(&params, &secret("more", kind, labels)).await, words),
            "{kind} {labels}"
        );
    }
    // Everybody else writes what they like, and the operator in its own namespace too.
    world.secrets().create(&params, &secret("foreign", "Opaque", &json!({"app": "shop"}))).await.unwrap();
    own.create(&params, &secret("other", "composio.dev/other", &json!({}))).await.unwrap();

    let patch =
        async |name: &str, patch: Value| api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patch("ours", json!({"stringData": {"key": "other"}})).await.unwrap();
    assert!(is_refused(patch("foreign", json!({"stringData": {"key": "other"}})).await, words));
    assert!(is_refused(patch("ours", json!({"metadata": {"labels": {LABEL: null}}})).await, words));
    patch("foreign", json!({"metadata": {"ownerReferences": []}})).await.unwrap();

    assert!(is_refused(api.delete("foreign", &DeleteParams::default()).await, words));
    api.delete("ours", &DeleteParams::default()).await.unwrap();
    scene.world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_writes_finalizers_and_status_of_projects_only() {
    let scene = Scene::open().await;
    let world = &scene.world;
    world.apply_to::<ComposioProject>(&world.namespace, &project("shop", &json!({}))).await.unwrap();
    let api: Api<ComposioProject> = Api::namespaced(scene.operator.clone(), &world.namespace);
    let patch = async |patch: Value| api.patch("shop", &PatchParams::default(), &Patch::Merge(patch)).await;
    let words = "finalizers and the status of ComposioProjects only";
    patch(json!({"metadata": {"finalizers": ["composio.dev/project"]}})).await.unwrap();
    for change in [
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"metadata": {"annotations": {"a": "b"}}}),
        json!({"spec": {"suspend": true}}),
    ] {
        assert!(is_refused(patch(change.clone()).await, words), "{change}");
    }
    patch(json!({"metadata": {"finalizers": []}})).await.unwrap();
    let status = json!({"status": {"observedGeneration": 7}});
    api.patch_status("shop", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    // The one who owns it may.
    world.apply("shop", json!({"suspend": true})).await;
    world.projects().delete("shop", &DeleteParams::default()).await.unwrap();
    scene.world.finish(&[]).await;
}
