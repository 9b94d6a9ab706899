//! Requests that wait, commits that come late, callers that go away, and witnesses that lag or lie.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::json;
use testbed::emulator::{Fault, FaultRule, LateAnswer, Lie, Modes, Operation, Outcome, Point, View};

use super::{World, names, send, soon, until};

#[tokio::test]
async fn a_held_request_waits_before_or_after_its_effect_until_the_gate_opens() {
    for (point, effect) in [(Point::BeforeCommit, false), (Point::AfterCommit, true)] {
        let world = World::new().await;
        let gate = world.control.gate("hold");
        let hold = Fault::Hold { point, gate: "hold".to_owned() };
        world.control.fault(&world.acme.id, Operation::Create, hold, 1);
        let call =
            tokio::spawn(world.organization(Method::POST, "/new").json(&json!({"name": "shop"})).send());
        soon(gate.arrived(1)).await;
        assert!(!call.is_finished());
        assert_eq!(world.control.projects(&world.acme.id).len(), usize::from(effect));
        assert_eq!(world.control.journal()[0].outcome, Outcome::Pending);
        assert_eq!(world.control.journal()[0].committed, effect);
        gate.open();
        assert_eq!(soon(call).await.unwrap().unwrap().status(), 200);
        assert_eq!(world.control.projects(&world.acme.id).len(), 1);
        assert_eq!(world.control.journal()[0].outcome, Outcome::Answered(200));
    }
}

#[tokio::test]
async fn a_gate_can_let_requests_pass_one_by_one() {
    let world = World::new().await;
    let gate = world.control.gate("queue");
    let hold = Fault::Hold { point: Point::BeforeCommit, gate: gate.name().to_owned() };
    world.control.inject(FaultRule::new(hold).organization(&world.acme.id).operation(Operation::Create));
    let calls: Vec<_> = ["one", "two", "three"]
        .map(|name| {
            tokio::spawn(world.organization(Method::POST, "/new").json(&json!({"name": name})).send())
        })
        .into();
    soon(gate.arrived(3)).await;
    assert_eq!(gate.arrivals(), 3);
    let there = || world.control.projects(&world.acme.id).len();
    gate.pass(2);
    until(|| there() == 2).await;
    gate.open();
    for call in calls {
        assert_eq!(soon(call).await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(there(), 3);
}

#[tokio::test]
async fn a_request_has_its_effect_also_when_the_caller_has_gone_away() {
    let world = World::new().await;
    let gate = world.control.gate("hold");
    let hold = Fault::Hold { point: Point::BeforeCommit, gate: "hold".to_owned() };
    world.control.fault(&world.acme.id, Operation::Create, hold, 1);
    let call = tokio::spawn(world.organization(Method::POST, "/new").json(&json!({"name": "shop"})).send());
    soon(gate.arrived(1)).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled(), "the caller is gone, its connection closed");
    until(|| world.control.journal()[0].outcome == Outcome::Abandoned).await;
    assert!(world.control.projects(&world.acme.id).is_empty(), "not yet");
    gate.open();
    until(|| world.control.journal()[0].committed).await;
    assert_eq!(world.control.projects(&world.acme.id).len(), 1);
    assert_eq!(world.control.journal()[0].outcome, Outcome::Abandoned);
}

#[tokio::test]
async fn a_late_commit_happens_after_the_caller_has_heard_of_a_failure() {
    for answer in [LateAnswer::Cut, LateAnswer::GatewayTimeout] {
        let world = World::new().await;
        let late = Fault::CommitLate { gate: "late".to_owned(), answer };
        world.control.fault(&world.acme.id, Operation::Create, late, 1);
        let call = world.organization(Method::POST, "/new").json(&json!({"name": "shop"}));
        match answer {
            LateAnswer::Cut => assert!(call.send().await.is_err()),
            LateAnswer::GatewayTimeout => assert_eq!(send(call).await.error().0, 504),
        }
        assert!(names(&world.list().await).is_empty(), "not yet");
        assert!(!world.control.journal()[0].committed);
        world.control.gate("late").open();
        until(|| world.control.committed(&world.acme.id, Operation::Create) == 1).await;
        assert_eq!(names(&world.list().await), ["shop"]);
    }
}

#[tokio::test]
async fn a_late_commit_that_is_not_valid_any_more_has_no_effect() {
    let world = World::new().await;
    let late = Fault::CommitLate { gate: "late".to_owned(), answer: LateAnswer::GatewayTimeout };
    world.control.fault(&world.acme.id, Operation::Create, late, 1);
    assert_eq!(world.create(json!({"name": "shop"})).await.status, 504);
    world.project("shop").await;
    let gate = world.control.gate("late");
    gate.open();
    soon(gate.arrived(1)).await;
    // The commit follows the gate in the same task, on the one thread of the emulator: a served request is behind it.
    assert_eq!(names(&world.list().await), ["shop"]);
    assert_eq!(world.control.committed(&world.acme.id, Operation::Create), 1);
}

#[tokio::test]
async fn a_delay_outlasts_an_impatient_caller_and_combines_with_another_fault() {
    let world = World::new().await;
    let delay = Fault::Delay { point: Point::AfterCommit, milliseconds: 60_000 };
    world.control.fault(&world.acme.id, Operation::Create, delay, 1);
    let call = world.organization(Method::POST, "/new").json(&json!({"name": "shop"}));
    let error = call.timeout(Duration::from_millis(300)).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(world.control.projects(&world.acme.id).len(), 1, "the effect came before the delay");

    let slow = Fault::Delay { point: Point::BeforeCommit, milliseconds: 1 };
    world.control.fault(&world.acme.id, Operation::Create, slow, 1);
    world.control.fault(&world.acme.id, Operation::Create, Fault::Cut { point: Point::AfterCommit }, 1);
    assert!(world.organization(Method::POST, "/new").json(&json!({"name": "two"})).send().await.is_err());
    assert_eq!(world.control.faults_left(&world.acme.id), 0);
    assert_eq!(world.control.projects(&world.acme.id).len(), 2);
}

#[tokio::test]
async fn a_list_can_lag_behind_or_stand_still_while_reads_tell_the_truth() {
    let world = World::new().await;
    let modes = |change: fn(&mut Modes)| world.control.set_modes(&world.acme.id, change);
    let (first, _) = world.project("first").await;
    let (second, _) = world.project("second").await;
    modes(|modes| modes.list_view = View::Behind(1));
    assert_eq!(names(&world.list().await), ["first"]);
    assert_eq!(world.read(&second).await.status, 200);
    world.control.delete_project(&first);
    assert_eq!(names(&world.list().await), ["second", "first"], "one commit behind the deletion");
    assert_eq!(world.list().await["data"][1]["deleted"], false);
    world.control.freeze_list(&world.acme.id);
    world.project("third").await;
    assert_eq!(names(&world.list().await), ["second"]);
    modes(|modes| modes.list_view = View::FrozenAt(0));
    assert_eq!(world.list().await["total_items"], 0, "an empty organization");
    modes(|modes| modes.list_view = View::Live);
    assert_eq!(names(&world.list().await), ["third", "second"]);
    modes(|modes| modes.read_view = View::Behind(1));
    let (fourth, _) = world.project("fourth").await;
    assert_eq!(world.read(&fourth).await.status, 404, "reads can lag too");
}

#[tokio::test]
async fn one_witness_can_lie_about_one_project() {
    let world = World::new().await;
    let (id, key) = world.project("shop").await;
    world.project("other").await;
    world.control.lie(&id, Lie::ListOmits);
    assert_eq!(names(&world.list().await), ["other"]);
    assert_eq!(world.read(&id).await.status, 200);
    world.control.tell_the_truth(&id);
    world.control.lie(&id, Lie::ReadSays404);
    assert_eq!(world.read(&id).await.status, 404);
    assert_eq!(names(&world.list().await), ["other", "shop"]);
    assert_eq!(world.categories(&key).await.status, 200);
    world.control.tell_the_truth(&id);
    world.control.lie(&id, Lie::ReadSaysDeleted);
    assert_eq!(world.read(&id).await.json()["deleted"], true);
    world.control.lie(&id, Lie::ListSaysDeleted);
    assert_eq!(world.list().await["data"][1]["deleted"], true);
}

#[tokio::test]
async fn a_skewed_clock_shows_in_the_date_header_and_in_every_new_timestamp() {
    let hours = 5;
    let world = World::with(Modes { clock_skew_milliseconds: hours * 3_600_000, ..Modes::default() }).await;
    let got = world.create(json!({"name": "shop", "should_create_api_key": true})).await;
    let is_skewed = |time: Timestamp| {
        let ahead = time.duration_since(Timestamp::now());
        let around = SignedDuration::from_hours(hours);
        assert!((ahead - around).abs() < SignedDuration::from_mins(5), "{time} is {ahead} ahead");
    };
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(got.header("date")).unwrap();
    is_skewed(date);
    let project = world.read(got.json()["id"].as_str().unwrap()).await.json();
    for time in [&project["created_at"], &project["updated_at"], &project["api_keys"][0]["created_at"]] {
        is_skewed(time.as_str().unwrap().parse().unwrap());
    }
    let journal = world.control.journal()[0].time.duration_since(Timestamp::now());
    assert!(journal.abs() < SignedDuration::from_mins(5), "the journal has the real clock");
    let nobody = send(world.request(Method::GET, "/nowhere")).await;
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(nobody.header("date")).unwrap();
    assert!(
        date.duration_since(Timestamp::now()).abs() < SignedDuration::from_mins(5),
        "no organization, no skew"
    );
}
