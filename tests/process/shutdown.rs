//! SIGTERM and SIGINT: what is running finishes, within a limit, and the exit code is 0.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use rustix::process::Signal;
use serde_json::{Value, json};
use testbed::chart::RELEASE;
use testbed::emulator::{Fault, Operation, Point};
use testbed::eventually::eventually;
use testbed::world::{Child, PATIENCE, World};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::scene::{BINARY, Scene, arrived};

/// A scene whose creations are held at Composio by the gate `create`, and do not time out meanwhile.
async fn scene(shutdown_timeout: Duration) -> Scene {
    let scene = Scene::start_with(|settings| {
        settings.request_timeout = Duration::from_secs(40);
        settings.shutdown_timeout = shutdown_timeout;
    });
    let scene = scene.await;
    scene.fault(Operation::Create, Fault::Hold { point: Point::BeforeCommit, gate: "create".to_owned() }, 1);
    scene.apply(json!({})).await;
    arrived(&scene.world.control.gate("create")).await;
    scene
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_sigterm_the_running_reconcile_finishes_and_its_key_is_kept() {
    let mut scene = scene(Duration::from_mins(1)).await;
    scene.child.signal(Signal::TERM);
    scene.child.logs("shutting down").await;
    assert_eq!(scene.child.get("/livez").await, Ok((200, "ok\n".to_owned())), "alive while it shuts down");
    scene.world.control.gate("create").open();
    assert_eq!(scene.child.ended().await, Some(0));
    assert!(!scene.child.has_leaked(), "a key is in the log of the binary");
    let claims = scene.world.claims().await;
    let key = claims.key("shop").expect("the key that the answer brought");
    assert_eq!(
        scene.world.entry("shop", "COMPOSIO_API_KEY").await.as_deref(),
        Some(key),
        "the published key"
    );
    scene.restart().await;
    scene.ends_well(0).await;
    assert_eq!(scene.sent(Operation::Create), 1);
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_sigterm_an_answer_that_does_not_come_is_not_awaited_for_ever_and_nothing_is_lost() {
    let mut scene = scene(Duration::from_millis(500)).await;
    scene.child.signal(Signal::TERM);
    assert_eq!(scene.child.ended().await, Some(0));
    assert!(scene.child.log().contains("stopped before everything had finished"), "it says so");
    assert!(!scene.child.has_leaked(), "a key is in the log of the binary");
    scene.world.control.gate("create").open();
    scene.restart().await;
    scene.ends_well(1).await;
    assert_eq!(scene.sent(Operation::Create), 1);
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scraper_that_never_ends_its_request_does_not_keep_it_from_ending() {
    let mut scene = Scene::start().await;
    let mut silent = TcpStream::connect(scene.child.address()).await.expect("a connection");
    let mut half = TcpStream::connect(scene.child.address()).await.expect("a connection");
    half.write_all(b"GET /metrics HTTP/1.1\r\nHost: probe\r\n").await.expect("half a request");
    // An answer to a third connection: both others have been accepted before it.
    assert_eq!(scene.child.get("/livez").await, Ok((200, "ok\n".to_owned())));
    scene.child.signal(Signal::TERM);
    assert_eq!(scene.child.ended().await, Some(0));
    // Until here they are open.
    let _ = silent.write_all(b"GET /livez HTTP/1.1\r\n\r\n").await;
    let _ = half.write_all(b"\r\n").await;
    scene.world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_ends_it_as_sigterm_does() {
    let mut scene = Scene::start().await;
    scene.child.signal(Signal::INT);
    assert_eq!(scene.child.ended().await, Some(0));
    assert!(!scene.child.has_leaked(), "a key is in the log of the binary");
    scene.world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_it_while_it_waits_for_its_namespace() {
    let world = World::without_operator().await;
    let mut settings = world.settings();
    settings.namespace = format!("{}-missing", world.system);
    let mut child = Child::launch(BINARY, &settings, &world.control_plane.kubeconfig()).await;
    child.logs("the ledger cannot be opened yet").await;
    child.signal(Signal::TERM);
    assert_eq!(child.ended().await, Some(0));
    world.finish(&[]).await;
}

/// The lines of its log that tell of a refused watch: kind and namespace of each.
fn refusals(child: &Child) -> Vec<(String, String)> {
    let log = child.log();
    let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let texts = lines.filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["message"].as_str().filter(|message| message.contains("take it out of --watch-namespaces"))?;
        let text = |field: &str| line[field].as_str().map(ToOwned::to_owned);
        Some((text("watch.kind")?, text("watch.namespace")?))
    });
    texts.collect()
}

/// Under the chart's Roles, the API server says of a namespace that is not there what it says of one without rights.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_the_caches_of_a_missing_namespace_it_names_that_once_and_sigterm_ends_it_with_its_lease_released()
 {
    let world = World::without_operator().await;
    world.granted(&[&format!("--set=watchNamespaces={{{}}}", world.namespace)]).await;
    let account = world.control_plane.service_account_kubeconfig(&world.system, RELEASE).await;
    let mut settings = world.settings();
    let missing = format!("{}-missing", world.namespace);
    settings.watch_namespaces = vec![world.namespace.clone(), missing.clone()];
    settings.election.leader_elect = true;
    let mut child = Child::launch(BINARY, &settings, &account.expect("a token")).await;

    eventually("both watches were tried more than twice", PATIENCE, async || {
        let log = child.log();
        // kube tells of each.
        let tries = |plural: &str| {
            let is_try = |line: &&str| line.contains("error with 403") && line.contains(&missing);
            log.lines().filter(is_try).filter(|line| line.contains(plural)).count()
        };
        let (projects, secrets) = (tries("composioprojects.composio.dev is"), tries("secrets is"));
        if projects > 2 && secrets > 2 { Ok(()) } else { Err(format!("{projects}, {secrets}")) }
    })
    .await;
    let mut told = refusals(&child);
    told.sort();
    assert_eq!(told, ["ComposioProject", "Secret"].map(|kind| (kind.to_owned(), missing.clone())));
    let closed = (503, "waiting for: caches-synced\n".to_owned());
    assert_eq!(child.get("/readyz").await, Ok(closed));

    child.signal(Signal::TERM);
    assert_eq!(child.ended().await, Some(0));
    assert!(!child.log().contains("stopped before everything had finished"), "{}", child.log_tail());
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), &world.system);
    let lease = leases.get("composio-operator").await.expect("a Lease");
    let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
    assert_eq!(holder, "", "it keeps the Lease");
    world.finish(&[]).await;
}
