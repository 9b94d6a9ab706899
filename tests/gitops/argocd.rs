//! Argo CD's comparison and actions.

use composio_operator::crd::ComposioProject;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::eventually::eventually;
use testbed::gitops::{ArgoCd, Question};
use testbed::world::{PATIENCE, World, complete_settings};

use crate::fields::assert_only_status_and_finalizer;
use crate::judge::{act, project};
use crate::scene::{all_gone, configure_argocd};

/// Argo CD's own field manager.
const MANAGER: &str = "argocd-controller";

/// A manifest as Git has it.
fn manifest(world: &World, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioProject",
        "metadata": {"name": name, "namespace": world.namespace}, "spec": spec
    })
}

/// What Argo CD sends: the manifest with its tracking annotation.
fn tracked(manifest: &Value) -> Value {
    let (name, namespace) = (&manifest["metadata"]["name"], &manifest["metadata"]["namespace"]);
    let id = format!(
        "shop:composio.dev/ComposioProject:{}/{}",
        namespace.as_str().expect("a namespace"),
        name.as_str().expect("a name")
    );
    let mut sent = manifest.clone();
    sent["metadata"]["annotations"] = json!({"argocd.argoproj.io/tracking-id": id});
    sent
}

/// Syncs as Argo CD does: on the client's side, which leaves an annotation with what was sent, or on the server's.
async fn sync(world: &World, manifest: &Value, server_side: bool) {
    let mut sent = tracked(manifest);
    let name = sent["metadata"]["name"].as_str().expect("a name").to_owned();
    let api = world.projects();
    if server_side {
        let params = PatchParams::apply(MANAGER).force();
        api.patch(&name, &params, &Patch::Apply(&sent)).await.expect("a project");
        return;
    }
    let last_applied = sent.to_string();
    sent["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = json!(last_applied);
    let object: ComposioProject = serde_json::from_value(sent).expect("a project");
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    api.create(&params, &object).await.expect("a project");
}

/// Asserts that each is in sync with what Git has, in all ways in which Argo CD compares.
async fn assert_in_sync(world: &World, manifests: &[Value], phase: &str) {
    let argocd = ArgoCd::of(world.control_plane, &world.system).expect("Argo CD's code");
    let mut questions = Vec::new();
    for manifest in manifests {
        let live = project(world, manifest["metadata"]["name"].as_str().expect("a name")).await;
        questions.push(Question { live, target: Some(tracked(manifest)), ..Question::default() });
    }
    let answers = argocd.judge(&questions).await.expect("judgements");
    for (answer, question) in answers.iter().zip(&questions) {
        assert_eq!(answer.error, "", "{phase}: {}", question.live["metadata"]["name"]);
        assert_eq!(answer.out_of_sync, Vec::<String>::new(), "{phase}: {}", question.live);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_out_of_sync_in_any_phase_and_the_operator_writes_status_and_finalizer_only() {
    let mut world = World::without_operator().await;
    configure_argocd(&world).await;
    let specs = [
        ("plain", json!({})),
        ("settings", json!({"settings": complete_settings(), "onDrift": "Report"})),
        ("going", json!({"deletionPolicy": "Delete"})),
        (
            "secret",
            json!({"secret": {"name": "other", "template": {".env": "KEY={apiKey}\n"}, "labels": {"team": "shop"}}}),
        ),
        ("taken", json!({"projectName": "taken"})),
    ];
    let theirs = testbed::emulator::ThirdPartyProject::named("taken");
    let theirs = world.control.create_project(&world.organization.id, theirs);
    let manifests: Vec<Value> = specs.iter().map(|(name, spec)| manifest(&world, name, spec)).collect();
    for (number, manifest) in manifests.iter().enumerate() {
        sync(&world, manifest, number % 2 == 0).await;
    }
    assert_in_sync(&world, &manifests, "new").await;
    world.start_operator().await;
    for name in ["plain", "settings", "going", "secret"] {
        world.ready(name).await;
    }
    world.not_ready("taken", "NameTaken").await;
    assert_in_sync(&world, &manifests, "reconciled").await;
    for manifest in &manifests {
        let name = manifest["metadata"]["name"].as_str().expect("a name");
        assert_only_status_and_finalizer(&world.projects().get(name).await.expect("a project"));
    }
    // The judge can say something else.
    let argocd = ArgoCd::of(world.control_plane, &world.system).expect("Argo CD's code");
    let mut other = tracked(&manifests[0]);
    other["spec"]["onDrift"] = json!("Report");
    let question =
        Question { live: project(&world, "plain").await, target: Some(other), ..Question::default() };
    let answer = argocd.judge(&[question]).await.expect("a judgement").remove(0);
    assert_eq!(answer.out_of_sync, ["three-way", "structured-merge", "server-side"]);
    world.delete("taken").await;
    world.delete("going").await;
    world.finish(&[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_actions_do_what_their_names_say() {
    let mut world = World::without_operator().await;
    configure_argocd(&world).await;
    world.start_operator().await;
    world.organization_ready("default").await;
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    let before = world.ready("shop").await;

    act(&world, Some("shop"), "suspend").await;
    world.reaches(&world.namespace, "shop", "Ready", "True", "Suspended").await;
    act(&world, Some("shop"), "resume").await;
    let after = world.ready("shop").await;
    assert_eq!(serde_json::json!(before.spec), serde_json::json!(after.spec), "something of it stays behind");

    act(&world, Some("shop"), "reconcile").await;
    let asked = world.projects().get("shop").await.expect("a project");
    let asked = asked.annotations().get("composio.dev/reconcile-requested-at").cloned();
    asked.clone().expect("a time").parse::<jiff::Timestamp>().expect("RFC 3339");
    eventually("the operator has looked", PATIENCE, async || {
        let object = world.projects().get("shop").await.map_err(|error| error.to_string())?;
        let handled = object.status.and_then(|status| status.last_handled_reconcile_at);
        (handled == asked).then_some(()).ok_or_else(|| format!("handled is {handled:?}"))
    })
    .await;

    act(&world, None, "suspend").await;
    world.organization_reaches("default", "True", "Suspended").await;
    act(&world, None, "resume").await;
    world.organization_ready("default").await;
    act(&world, None, "reconcile").await;

    // A deletion that waits is let go, and the project stays.
    let id = world.organization.id.clone();
    let rule = world.control.fault(
        &id,
        testbed::emulator::Operation::Delete,
        testbed::emulator::Fault::Forbidden,
        1000,
    );
    world.projects().delete("shop", &kube::api::DeleteParams::default()).await.expect("a deletion");
    world.not_ready("shop", "DeletionBlocked").await;
    act(&world, Some("shop"), "keep").await;
    all_gone(&world).await;
    world.control.clear_fault(rule);
    assert!(world.claims().await.of("shop").is_some(), "the project is not kept");
    world.finish(&[]).await;
}
