//! `/livez`, `/readyz`, `/metrics` and the log, as probes, scrapers and collectors see them.

use composio_operator::crd;
use composio_operator::process::settings::LogFormat;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use rustix::process::Signal;
use serde_json::{Value, json};
use testbed::controlplane::{ControlPlane, Options};
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::world::{Child, PATIENCE, World};

use crate::openmetrics;
use crate::scene::{BINARY, Scene};

/// Waits until exactly these gates are closed; the process lives meanwhile.
async fn waits_for(child: &Child, gates: &str) {
    let expected = (503, format!("waiting for: {gates}\n"));
    eventually(&format!("/readyz names {gates}"), PATIENCE, async || match child.get("/readyz").await? {
        answer if answer == expected => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(child.get("/livez").await, Ok((200, "ok\n".to_owned())));
}

async fn create_namespace(client: &Client, name: &str) {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.expect("a fresh namespace");
}

/// What the metrics say of `/readyz`.
async fn ready_metric(child: &Child) -> String {
    let (_, page) = child.get("/metrics").await.expect("a page");
    let line = page.lines().find(|line| line.starts_with("composio_operator_ready "));
    line.expect("a metric").to_owned()
}

async fn ends(mut child: Child) {
    child.signal(Signal::TERM);
    assert_eq!(child.ended().await, Some(0));
    assert!(!child.has_leaked(), "a key is in the log of the binary");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_namespace_it_is_alive_and_not_ready_and_goes_on_by_itself() {
    let world = World::without_operator().await;
    let mut settings = world.settings();
    settings.namespace = format!("{}-late", world.system);
    let mut child = Child::launch(BINARY, &settings, &world.control_plane.kubeconfig()).await;
    waits_for(&child, "ledger-open, caches-synced").await;
    assert_eq!(ready_metric(&child).await, "composio_operator_ready 0");
    create_namespace(&world.client, &settings.namespace).await;
    child.ready().await;
    assert_eq!(ready_metric(&child).await, "composio_operator_ready 1");
    ends(child).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_definitions_it_is_alive_and_not_ready_and_goes_on_by_itself() {
    let world = World::without_operator().await;
    let settings = world.settings();
    let bare = ControlPlane::start(Options::default()).await.expect("a control plane without definitions");
    create_namespace(&bare.client().await.expect("a client"), &settings.namespace).await;
    let mut child = Child::launch(BINARY, &settings, &bare.kubeconfig()).await;
    waits_for(&child, "crds-established, lease-observed, ledger-open, caches-synced").await;
    child.logs("the CustomResourceDefinition is not established; apply the files of crds/").await;
    bare.apply_crds(&crd::all()).await.expect("definitions that the API server accepts");
    child.ready().await;
    ends(child).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_are_openmetrics_and_count_what_was_done() {
    let scene = Scene::start().await;
    scene.apply(json!({})).await;
    scene.ends_well(0).await;
    let url = format!("http://{}/metrics", scene.child.address());
    // It comes last: after status and Event.
    let ready = "composio_operator_time_to_ready_seconds_count 1";
    let (content_type, page) = eventually("the project is counted as ready", PATIENCE, async || {
        let answer = testbed::world::get(&url).await.map_err(|error| error.to_string())?;
        let content_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
        let page = answer.text().await.map_err(|error| error.to_string())?;
        if page.lines().any(|line| line == ready) { Ok((content_type, page)) } else { Err(page) }
    })
    .await;
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let families = openmetrics::parse(&page);
    for (family, kind) in [
        ("composio_operator_api_calls", "counter"),
        ("composio_operator_api_call_duration_seconds", "histogram"),
        ("composio_operator_reconciles", "counter"),
        ("composio_operator_outcomes_recovered", "counter"),
        ("composio_operator_time_to_ready_seconds", "histogram"),
        ("composio_operator_budget_ceiling", "gauge"),
        ("composio_operator_budget_remaining", "gauge"),
        ("composio_operator_breaker_open", "gauge"),
        ("composio_operator_throttled_calls", "counter"),
        ("composio_operator_ready", "gauge"),
        ("composio_operator_resident_memory_bytes", "gauge"),
        ("composio_operator_sweep_due_timestamp_seconds", "gauge"),
    ] {
        assert_eq!(families.get(family).map(|family| family.kind.as_str()), Some(kind), "{family} in {page}");
    }
    for sample in [
        r#"composio_operator_api_calls_total{operation="Create",outcome="Ok",lane="Work"} 1"#,
        r#"composio_operator_api_call_duration_seconds_count{operation="Create"} 1"#,
        r#"composio_operator_breaker_open{organization="default"} 0"#,
        "composio_operator_outcomes_recovered_total 0",
    ] {
        assert!(page.lines().any(|line| line == sample), "no {sample} in {page}");
    }
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_the_log_is_json_and_a_mutation_is_one_audit_line() {
    let scene = Scene::start().await;
    scene.apply(json!({})).await;
    scene.ends_well(0).await;
    let log = scene.child.log();
    let complete = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let lines: Vec<Value> = complete
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON: {error}: {line}")))
        .collect();
    for line in &lines {
        assert!(
            line["timestamp"].is_string() && line["level"].is_string() && line["target"].is_string(),
            "{line}"
        );
    }
    let sent = scene.world.control.journal();
    let created = sent.iter().find(|entry| entry.operation == Some(Operation::Create)).expect("a creation");
    let id = created.request_id.as_deref().expect("the id that Composio was given");
    let audit: Vec<_> = lines.iter().filter(|line| line["request.id"] == id).collect();
    let [audit] = audit.as_slice() else { panic!("not one audit line: {audit:?}") };
    assert_eq!(
        (&audit["level"], &audit["operation"], &audit["outcome"]),
        (&json!("INFO"), &json!("Create"), &json!("Ok")),
        "{audit}"
    );
    assert_eq!(audit["span"]["object.name"], "shop", "{audit}");
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_for_people_has_no_colours_where_no_terminal_is() {
    let scene = Scene::start_with(|settings| settings.log_format = LogFormat::Text).await;
    scene.apply(json!({})).await;
    scene.ends_well(0).await;
    let log = scene.child.log();
    assert!(
        log.lines().any(|line| line.contains("INFO") && line.contains("is ready, its key is in Secret")),
        "{log}"
    );
    assert!(!log.contains('\u{1b}'), "escape sequences in a file");
    scene.finish().await;
}
