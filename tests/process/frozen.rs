//! A process that is stopped (SIGSTOP) between an announcement and its call, and continued after a minute: the send gate.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use testbed::emulator::{Fault, Operation, Point};
use testbed::proxy::{Action, Gate, Match};

use crate::scene::{Scene, arrived, reached};
use crate::writes;

/// How long the process stands still.
const MINUTE: Duration = Duration::from_mins(1);

/// A write on its way from the process to the API server.
struct Write {
    /// The claim in it; `Null` in a write of anything else.
    claim: Value,
    /// How many calls of an operation had reached the API before it was forwarded.
    sent: usize,
}

impl Write {
    /// Numbers of the open attempts.
    fn attempts(&self) -> Vec<u64> {
        let attempts = self.claim["attempts"].as_array().into_iter().flatten();
        attempts.filter_map(|attempt| attempt["number"].as_u64()).collect()
    }

    /// How far the last key replacement is.
    fn key_stage(&self) -> Option<&str> {
        self.claim["rotation"]["stage"].as_str()
    }
}

/// The first three writes of the claim, the first of which came before all other writes.
fn of_claim(writes: &[Write]) -> Vec<&Write> {
    assert!(writes[0].claim.is_object(), "something else was written first");
    writes.iter().filter(|write| write.claim.is_object()).take(3).collect()
}

/// Writes down whatever the process changes from now on.
fn record(scene: &Scene, operation: Operation) -> Arc<Mutex<Vec<Write>>> {
    let writes = Arc::new(Mutex::new(Vec::new()));
    let (control, organization) = (scene.world.control.clone(), scene.world.organization.id.clone());
    let recorded = writes.clone();
    let note = Action::before(move |exchange| {
        let (claim, sent) =
            (writes::claim(&exchange).unwrap_or_default(), control.count(&organization, operation));
        recorded.lock().unwrap().push(Write { claim, sent });
        std::future::ready(())
    });
    scene.proxy.on(Match::mutating(), note);
    writes
}

/// Stops the process when the API server has made `write`, relays the answer to it, and continues it after a minute.
/// Returns what it writes from then on, with the number of calls of `operation` before.
async fn stopped_after(scene: &Scene, write: Match, operation: Operation) -> Arc<Mutex<Vec<Write>>> {
    let held = Gate::new();
    scene.proxy.on(write.times(1), Action::hold_after(&held));
    scene.apply(json!({})).await;
    reached(&held).await;
    scene.child.freeze().await;
    held.open();
    a_minute_passes().await;
    let writes = record(scene, operation);
    scene.child.thaw();
    writes
}

/// Real time: the gate counts by a clock of the kernel that nothing but time moves, and while the process stands still
/// there is no event to wait for.
async fn a_minute_passes() {
    tokio::time::sleep(MINUTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_between_claim_and_call_it_sends_nothing_and_takes_the_attempt_back() {
    let scene = Scene::start().await;
    let writes = stopped_after(&scene, writes::claim_create(&scene.world), Operation::Create).await;
    scene.ends_well(0).await;
    {
        let writes = writes.lock().unwrap();
        let attempts: Vec<_> =
            of_claim(&writes).into_iter().map(|write| (write.attempts(), write.sent)).collect();
        assert_eq!(attempts, [(vec![], 0), (vec![2], 0), (vec![], 1)], "taken back, announced, sent");
    }
    assert_eq!(scene.sent(Operation::Create), 1);
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_between_the_announcement_of_a_key_and_the_call_it_sends_nothing() {
    let scene = Scene::start().await;
    scene.fault(Operation::Create, Fault::Cut { point: Point::AfterCommit }, 1);
    let writes =
        stopped_after(&scene, writes::claim_announcing_key(&scene.world), Operation::Regenerate).await;
    scene.ends_well(1).await;
    {
        let writes = writes.lock().unwrap();
        let stages: Vec<_> =
            of_claim(&writes).into_iter().map(|write| (write.key_stage(), write.sent)).collect();
        assert_eq!(
            stages,
            [(Some("Withdrawn"), 0), (Some("Announced"), 0), (Some("Done"), 1)],
            "taken back, announced, sent"
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
    let gate = scene.hold(Operation::Create, Point::BeforeCommit);
    scene.apply(json!({})).await;
    arrived(&gate).await;
    scene.child.freeze().await;
    gate.open();
    a_minute_passes().await;
    assert_eq!(scene.committed(Operation::Create), 1, "it was to be made meanwhile");
    scene.child.thaw();
    let shop = scene.world.ready("shop").await;
    let origin = shop.status.and_then(|status| status.project).and_then(|project| project.origin);
    let keys_lost = usize::from(origin.as_deref() == Some("Recovered"));
    scene.ends_well(keys_lost).await;
    assert_eq!(scene.sent(Operation::Create), 1);
    scene.finish().await;
}
