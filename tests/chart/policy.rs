//! What the chart keeps the operator from doing, whatever its roles allow, and whom it leaves alone: judged by the API server,
//! while no operator runs. That it can do its work nevertheless is shown in `restrained`.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use testbed::chart::RELEASE;
use testbed::controlplane::client_for;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World, project};

use composio_operator::crd::ComposioProject;

const LABEL: &str = "composio.dev/project";
const STAMP: &str = "composio.dev/key-issued-at";
/// Of the messages of the policy.
const SECRETS: &str = "no Opaque Secret with the label";
const PROJECTS: &str = "its finalizer and the status of ComposioProjects only";

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

/// The operator's ServiceAccount with the rights and the policy of the chart; no operator runs.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) operator: Client,
}

impl Scene {
    /// A world in which the policy is in force.
    pub(crate) async fn open() -> Self {
        let world = World::without_operator().await;
        let operator = world.granted(&[]).await;
        let scene = Self { world, operator };
        let api = scene.secrets(&scene.world.namespace);
        eventually("the policy is in force", PATIENCE, async || {
            let params = PostParams { dry_run: true, ..PostParams::default() };
            let answer = api.create(&params, &secret("probe", "Opaque", &json!({}))).await;
            match answer {
                Err(kube::Error::Api(status)) if status.message.contains(SECRETS) => Ok(()),
                answer => Err(format!("{:?}", answer.map(drop))),
            }
        })
        .await;
        scene
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.operator.clone(), namespace)
    }

    /// The same ServiceAccount, as if somebody had bound it to everything.
    async fn operator_with_every_right(&self) -> Client {
        let mut kubeconfig = self.world.control_plane.kubeconfig();
        let user = kubeconfig.auth_infos[0].auth_info.get_or_insert_default();
        user.impersonate = Some(format!("system:serviceaccount:{}:{RELEASE}", self.world.system));
        user.impersonate_groups = Some(vec!["system:masters".to_owned()]);
        client_for(kubeconfig).await.expect("a client")
    }

    /// What an administrator makes; gives its UID.
    async fn put(&self, secret: Value) -> String {
        let secret = serde_json::from_value(secret).expect("a Secret");
        let made = self.world.secrets().create(&PostParams::default(), &secret).await;
        made.expect("a Secret that can be made").uid().expect("a UID")
    }

    /// Whether the operator is refused this change of a Secret, which has no effect.
    async fn refuses(&self, name: &str, change: &Value) -> bool {
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let api = self.secrets(&self.world.namespace);
        is_refused(api.patch(name, &params, &Patch::Merge(change)).await, SECRETS)
    }
}

fn owner(kind: &str, version: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_writes_labelled_opaque_secrets_only_outside_its_namespace() {
    let scene = Scene::open().await;
    let (world, params) = (&scene.world, PostParams::default());
    let (api, own) = (scene.secrets(&world.namespace), scene.secrets(&world.system));
    let labelled = json!({LABEL: "shop"});

    let words = SECRETS;
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

    assert!(is_refused(api.delete("foreign", &DeleteParams::default()).await, words));
    api.delete("ours", &DeleteParams::default()).await.unwrap();
    scene.world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_without_a_mark_of_the_operator_can_neither_be_taken_nor_spoilt_by_it() {
    let scene = Scene::open().await;
    let uid = scene.put(json!({"metadata": {"name": "owner"}})).await;
    let theirs = owner("Secret", "v1", "owner", &uid);
    let metadata = json!({
        "labels": {"app": "shop"}, "annotations": {"note": "x"}, "finalizers": ["example.com/theirs"],
        "ownerReferences": [theirs]
    });
    for (name, kind) in [("foreign", "Opaque"), ("token", "example.com/token")] {
        let mut secret = json!({"metadata": metadata, "type": kind, "stringData": {"key": "value"}});
        secret["metadata"]["name"] = json!(name);
        scene.put(secret).await;
        let dead = "5f1c0e0c-0000-4000-8000-000000000000";
        let ours = owner("ComposioProject", "composio.dev/v1alpha1", "shop", dead);
        let (label, stamp) = (json!({LABEL: "shop"}), json!({STAMP: "2026-01-01T00:00:00Z"}));
        for change in [
            json!({"stringData": {"key": "other"}}),
            json!({"stringData": {"more": "ak_canary"}}),
            json!({"immutable": true}),
            json!({"metadata": {"labels": label}}),
            json!({"metadata": {"labels": label}, "stringData": {"key": "other"}}),
            json!({"metadata": {"labels": label, "annotations": stamp}, "stringData": {"key": "ak_canary"}}),
            json!({"metadata": {"labels": {"app": null}}}),
            json!({"metadata": {"annotations": stamp}}),
            json!({"metadata": {"annotations": {"note": null}}}),
            json!({"metadata": {"finalizers": ["example.com/theirs", "example.com/more"]}}),
            json!({"metadata": {"finalizers": []}}),
            json!({"metadata": {"ownerReferences": []}}),
            json!({"metadata": {"ownerReferences": [theirs, ours]}}),
            json!({"metadata": {"ownerReferences": [ours]}}),
            json!({"metadata": {"labels": label, "ownerReferences": [theirs, ours]}}),
        ] {
            assert!(scene.refuses(name, &change).await, "{kind}: {change}");
        }
        let deleted = scene.secrets(&scene.world.namespace).delete(name, &DeleteParams::default()).await;
        assert!(is_refused(deleted, SECRETS), "{kind}");
        let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        scene.world.secrets().patch(name, &PatchParams::default(), &none).await.unwrap();
    }
    scene.world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_with_a_mark_of_the_operator_is_its_to_write_and_one_that_lost_its_label_to_let_go() {
    let scene = Scene::open().await;
    let shop = scene
        .world
        .apply_to::<ComposioProject>(&scene.world.namespace, &project("shop", &json!({})))
        .await
        .unwrap();
    let ours = owner("ComposioProject", "composio.dev/v1alpha1", "shop", &shop.uid().unwrap());
    let stamp = json!({STAMP: "2026-01-01T00:00:00Z"});
    let mut written = vec![
        json!({"metadata": {"name": "labelled", "labels": {LABEL: "shop"}}}),
        json!({"metadata": {"name": "stamped", "annotations": stamp}, "stringData": {"key": "value"}}),
        json!({"metadata": {"name": "owned", "ownerReferences": [ours]}, "stringData": {"key": "value"}}),
        json!({"metadata": {"name": "holding"}, "stringData": {"a": "x", "key": "ak_canary"}}),
    ];
    let restored = json!({
        "metadata": {"labels": {LABEL: "shop"}, "annotations": stamp, "ownerReferences": [ours]},
        "stringData": {"key": "other"}
    });
    let unlabelled = json!({"metadata": {"labels": {LABEL: null}}, "stringData": {"key": "other"}});
    for secret in written.clone() {
        scene.put(secret.clone()).await;
        let name = secret["metadata"]["name"].as_str().unwrap();
        assert!(!scene.refuses(name, &restored).await, "{name}");
        assert!(scene.refuses(name, &unlabelled).await, "{name}");
    }
    // Another type is never its own.
    for secret in &mut written {
        let name = format!("{}-token", secret["metadata"]["name"].as_str().unwrap());
        secret["metadata"]["name"] = json!(name);
        secret["type"] = json!("example.com/token");
        scene.put(secret.clone()).await;
        assert!(scene.refuses(&name, &restored).await, "{name}");
    }
    for name in ["owned", "owned-token"] {
        assert!(!scene.refuses(name, &json!({"metadata": {"ownerReferences": []}})).await, "{name}");
        for change in [
            json!({"metadata": {"ownerReferences": []}, "stringData": {"key": "other"}}),
            json!({"metadata": {"ownerReferences": [], "finalizers": ["example.com/more"]}}),
            json!({"metadata": {"ownerReferences": [], "annotations": {"a": "b"}}}),
            json!({"metadata": {"ownerReferences": [], "labels": {"a": "b"}}}),
            json!({"metadata": {"ownerReferences": []}, "immutable": true}),
        ] {
            assert!(scene.refuses(name, &change).await, "{name}: {change}");
        }
    }
    let api = scene.secrets(&scene.world.namespace);
    for name in ["stamped", "owned", "holding", "labelled-token"] {
        assert!(is_refused(api.delete(name, &DeleteParams::default()).await, SECRETS), "{name}");
    }
    api.delete("labelled", &DeleteParams::default()).await.unwrap();
    scene.world.projects().delete("shop", &DeleteParams::default()).await.unwrap();
    scene.world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_writes_finalizers_and_status_of_projects_only() {
    let scene = Scene::open().await;
    let world = &scene.world;
    world.apply_to::<ComposioProject>(&world.namespace, &project("shop", &json!({}))).await.unwrap();
    let api: Api<ComposioProject> = Api::namespaced(scene.operator.clone(), &world.namespace);
    let patch = async |patch: Value| api.patch("shop", &PatchParams::default(), &Patch::Merge(patch)).await;
    let theirs = json!({"metadata": {"finalizers": ["example.com/theirs"]}});
    world.projects().patch("shop", &PatchParams::default(), &Patch::Merge(theirs)).await.unwrap();
    patch(json!({"metadata": {"finalizers": ["example.com/theirs", "composio.dev/project"]}})).await.unwrap();
    let dead = owner("ConfigMap", "v1", "gone", "5f1c0e0c-0000-4000-8000-000000000000");
    for change in [
        json!({"metadata": {"ownerReferences": [dead]}}),
        json!({"metadata": {"finalizers": ["composio.dev/project"]}}),
        json!({"metadata": {"finalizers": ["example.com/theirs", "composio.dev/project", "example.com/more"]}}),
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"metadata": {"annotations": {"a": "b"}}}),
        json!({"spec": {"suspend": true}}),
    ] {
        assert!(is_refused(patch(change.clone()).await, PROJECTS), "{change}");
    }
    patch(json!({"metadata": {"finalizers": ["example.com/theirs"]}})).await.unwrap();
    let more = serde_json::from_value(project("more", &json!({}))).unwrap();
    let mighty: Api<ComposioProject> =
        Api::namespaced(scene.operator_with_every_right().await, &world.namespace);
    assert!(is_refused(mighty.create(&PostParams::default(), &more).await, PROJECTS));
    assert!(is_refused(mighty.delete("shop", &DeleteParams::default()).await, PROJECTS));
    let status = json!({"status": {"observedGeneration": 7}});
    api.patch_status("shop", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    // The one who owns it may.
    world.apply("shop", json!({"suspend": true})).await;
    let none = Patch::Merge(json!({"metadata": {"finalizers": []}}));
    world.projects().patch("shop", &PatchParams::default(), &none).await.unwrap();
    world.projects().delete("shop", &DeleteParams::default()).await.unwrap();
    scene.world.finish(&[]).await;
}
