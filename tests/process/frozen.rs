//! A process that is stopped (SIGSTOP) between an announcement and its call, and continued after a minute: the send gate.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use testbed::emulator::{Fault, Operation, Point};
use testbed::proxy::{Action, Gate, Match};

use crate::scene::{Scene, arrived, reached};
use crate::writes;

/// How long the process stands still.
const MINUTE: Duration = Duration::from_secs(60);

/// What the API had seen of one operation when a write of the claim left the process.
struct Write {
    claim: Value,
    sent: usize,
}

/// Writes every later update of the claim down, before it is forwarded.
fn record(scene: &Scene, operation: Operation) -> Arc<Mutex<Vec<Write>>> {
    let writes = Arc::new(Mutex::new(Vec::new()));
    let (control, organization) = (scene.world.control.clone(), scene.world.organization.id.clone());
    let recorded = writes.clone();
    let note = Action::before(move |exchange| {
        let claim = writes::claim(&exchange).expect("an update of the claim");
        let sent = control.count(&organization, operation);
        recorded.lock().unwrap().push(Write { claim, sent });
        std::future::ready(())
    });
    scene.proxy.on(writes::claim_update(&scene.world, |_| true), note);
    writes
}

/// Stops the process when the API server has made `write`, relays the answer to it, and continues it after a minute.
/// Returns how many writes there were before.
async fn stopped_after(scene: &Scene, write: Match, held: &Gate) -> usize {
    scene.proxy.on(write.times(1), Action::hold_after(held));
    scene.apply(json!({})).await;
    reached(held).await;
    scene.child.freeze().await;
    held.open();
    a_minute_passes().await;
    let before = scene.proxy.journal().len();
    scene.child.thaw();
    before
}

/// Real time: the gate counts by a clock of the kernel that nothing but time moves, and while the process stands still
/// there is no event to wait for.
async fn a_minute_passes() {
    tokio::time::sleep(MINUTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_between_claim_and_call_it_sends_nothing_and_takes_the_attempt_back() {
    let scene = Scene::start().await;
    let before = stopped_after(&scene, writes::claim_create(&scene.world), &Gate::new()).await;
    let writes = record(&scene, Operation::Create);
    scene.ends_well(0).await;
    let first = &scene.proxy.journal()[before];
    assert!(
        first.method == Method::PUT && first.path.contains("/secrets/claim-"),
        "the first write: {first:?}"
    );
    {
        let writes = writes.lock().unwrap();
        assert_eq!(
            (&writes[0].claim["attempts"], writes[0].sent),
            (&json!([]), 0),
            "the attempt is taken back first"
        );
        assert_eq!(
            (&writes[1].claim["attempts"][0]["number"], writes[1].sent),
            (&json!(2), 0),
            "another is announced"
        );
        assert_eq!(
            (&writes[2].claim["phase"], writes[2].sent),
            (&json!("Owned"), 1),
            "and sent"
        );
    }
    assert_eq!(scene.sent(Operation::Create), 1);
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_between_the_announcement_of_a_key_and_the_call_it_sends_nothing() {
    let scene = Scene::start().await;
    scene.fault(
        Operation::Create,
        Fault::Cut {
            point: Point::AfterCommit,
        },
        1,
    );
    let before = stopped_after(&scene, writes::claim_announcing_key(&scene.world), &Gate::new()).await;
    let writes = record(&scene, Operation::Regenerate);
    scene.ends_well(1).await;
    let first = &scene.proxy.journal()[before];
    assert!(
        first.method == Method::PUT && first.path.contains("/secrets/claim-"),
        "the first write: {first:?}"
    );
    {
        let writes = writes.lock().unwrap();
        assert_eq!(
            (&writes[0].claim["rotation"], writes[0].sent),
            (&Value::Null, 0),
            "the announcement is taken back"
        );
        assert_eq!(
            (&writes[1].claim["rotation"]["stage"], writes[1].sent),
            (&json!("Announced"), 0),
            "then another"
        );
    }
    assert_eq!(scene.sent(Operation::Regenerate), 1);
    scene.finish().await;
}

/// The project is made and answered while the process stands still. Whether it takes the answer up or has given it up
/// by then: there is no second creation, and a key is issued anew only if the first was not taken up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_while_the_call_is_on_its_way_it_creates_nothing_else() {
    let scene = Scene::start().await;
    let gate = scene.world.control.gate("create");
    scene.fault(
        Operation::Create,
        Fault::Hold {
            point: Point::BeforeCommit,
            gate: "create".to_owned(),
        },
        1,
    );
    scene.apply(json!({})).await;
    arrived(&gate).await;
    scene.child.freeze().await;
    gate.open();
    a_minute_passes().await;
    assert_eq!(
        scene.committed(Operation::Create),
        1,
        "it was to be made meanwhile"
    );
    scene.child.thaw();
    let shop = scene.world.ready("shop").await;
    let origin = shop
        .status
        .and_then(|status| status.project)
        .and_then(|project| project.origin);
    let keys_lost = usize::from(origin.as_deref() == Some("Recovered"));
    scene.ends_well(keys_lost).await;
    assert_eq!(scene.sent(Operation::Create), 1);
    scene.finish().await;
}
