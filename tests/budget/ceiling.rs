//! The ceiling: how much is sent, and who waits for whom.

use jiff::SignedDuration;
use serde_json::json;
use testbed::emulator::{Fault, Operation, Outcome};

use crate::scene::{apply_many, is_probe, most_within, print_rates, probed, reach, world_with};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_creation_stays_below_the_ceiling_and_what_waits_is_announced_once() {
    let limits = json!({"limits": {"requestsPerMinute": 150}});
    let world = world_with(limits, |modes| modes.rate_limit = Some(2_000)).await;
    let mark = world.control.mark();
    world.apply("first", json!({})).await;
    world.ready("first").await;
    let single = world.control.journal_since(mark);
    apply_many(&world, "shop", 80, &json!({})).await;
    reach(&world, 81, "True", "Reconciled").await;
    let calls = world.control.journal_since(mark);
    print_rates("bulk creation under a ceiling of 150 a minute", &calls);
    assert!(single.iter().any(|entry| entry.operation == Some(Operation::Create)), "the first waited");
    let most = most_within(&calls, MINUTE);
    assert!(most <= 150, "{most} calls within a minute");
    assert!(most >= 60, "the ceiling was not even neared, so that nothing was tested: {most}");
    for claim in world.claims().await.all() {
        assert_eq!(claim["lastAttempt"], 1, "an announcement was taken back: {claim}");
    }
    assert_eq!(world.control.count(&world.organization.id, Operation::Create), 81);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looks_that_nobody_waits_for_take_a_fifth_at_most_and_work_does_not_wait_for_them() {
    let limits = json!({"limits": {"requestsPerMinute": 10}});
    let world = world_with(limits, |modes| modes.rate_limit = Some(2_000)).await;
    let mark = world.control.mark();
    // A person asks for a look again and again.
    let asking = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        loop {
            probed(&world).await;
        }
    });
    let (asking, ()) = tokio::join!(asking, async {
        world.apply("shop", json!({})).await;
        world.ready("shop").await;
    });
    assert!(asking.is_err(), "it asks until the time is over");
    let calls = world.control.journal_since(mark);
    let most = most_within(calls.iter().filter(|entry| is_probe(entry)), MINUTE);
    assert!(most <= 2, "{most} looks within a minute, the ceiling is 10");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_stops_every_call_until_its_time_and_then_one_goes_first() {
    let world = world_with(json!({}), |_| ()).await;
    let organization = world.organization.id.clone();
    let limited = Fault::RateLimited { retry_after_seconds: 4 };
    world.control.fault(&organization, Operation::Create, limited, 1);
    let mark = world.control.mark();
    world.apply("first", json!({})).await;
    world.not_ready("first", "Throttled").await;
    apply_many(&world, "shop", 20, &json!({})).await;
    reach(&world, 21, "True", "Reconciled").await;
    let calls = world.control.journal_since(mark);
    print_rates("after a 429", &calls);
    // Not the first call of all: that can be a probe that was under way.
    let limited = calls.iter().position(|call| call.outcome == Outcome::Answered(429)).unwrap();
    let gap = calls[limited + 1].time.duration_since(calls[limited].time);
    assert!(gap >= SignedDuration::from_millis(3_900), "the next call came after {gap:?}");
    assert_eq!(world.control.count_since(mark, &organization, Operation::Create), 22);
    world.finish(&[]).await;
}
