//! Projects that somebody deleted, found by sweeps; and witnesses that lie.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testbed::emulator::{Fault, FaultRule, Lie, Operation, Outcome, Point};
use testbed::eventually::eventually;
use testbed::world::PATIENCE;

use crate::scene::{id, looked_at, mutations, reads, ready, swept, third_party, walks, world_swept_every};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_that_does_not_list_a_project_leads_to_two_looks_by_both_witnesses_and_then_it_is_missing() {
    let (world, other) = world_swept_every(2).await;
    let shops = ready(&world, &["shop", "cafe"], json!({})).await;
    let (sent, mark) = (mutations(&world), world.control.mark());
    world.control.delete_project(&shops[0]);
    // Nobody asks for a look.
    world.not_ready("shop", "ProjectMissing").await;
    assert_eq!(reads(&world, mark, &shops[0]), 2, "each look reads once");
    assert!(walks(&world, mark) >= 2, "one list alone was believed");
    assert_eq!(reads(&world, mark, &shops[1]), 0, "a project that is listed was read");
    // What is reported costs no further reads.
    swept(&world, 2).await;
    assert_eq!(reads(&world, mark, &shops[0]), 2);
    assert_eq!(mutations(&world), sent);
    let claims = world.claims().await;
    assert_eq!(claims.of("shop").map(|claim| claim["projectId"].clone()), Some(json!(shops[0])));
    // The way out of the condition.
    world.apply("shop", json!({"onProjectMissing": "Recreate"})).await;
    assert_ne!(id(&world.ready("shop").await), shops[0]);
    assert_eq!(id(&world.ready("cafe").await), shops[1]);
    world.finish(&[&other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_lie_of_one_witness_changes_nothing_however_often_it_is_swept() {
    let (world, other) = world_swept_every(2).await;
    let lies = [
        ("omitted", Lie::ListOmits),
        ("listed-as-deleted", Lie::ListSaysDeleted),
        ("unread", Lie::ReadSays404),
        ("read-as-deleted", Lie::ReadSaysDeleted),
    ];
    let names = lies.map(|(name, _)| name);
    let shops = ready(&world, &names, json!({"onProjectMissing": "Recreate"})).await;
    let (sent, mark) = (mutations(&world), world.control.mark());
    for ((_, lie), shop) in lies.iter().zip(&shops) {
        world.control.lie(shop, *lie);
    }
    // Those that the list conceals are read, and found, again and again.
    eventually("what is not listed is read", PATIENCE, async || {
        let reads = [reads(&world, mark, &shops[0]), reads(&world, mark, &shops[1])];
        if reads.iter().all(|reads| *reads >= 3) { Ok(()) } else { Err(format!("{reads:?}")) }
    })
    .await;
    for (name, shop) in names.iter().zip(&shops) {
        looked_at(&world, name).await;
        assert_eq!(id(&world.ready(name).await), *shop, "{name}");
    }
    assert_eq!(mutations(&world), sent);
    for shop in &shops {
        world.control.tell_the_truth(shop);
    }
    world.finish(&[&other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_that_both_witnesses_show_as_deleted_is_missing_and_ready_when_it_is_back() {
    let (world, other) = world_swept_every(2).await;
    let shop = ready(&world, &["shop"], json!({})).await.remove(0);
    let sent = mutations(&world);
    for lie in [Lie::ListSaysDeleted, Lie::ReadSaysDeleted] {
        world.control.lie(&shop, lie);
    }
    world.not_ready("shop", "ProjectMissing").await;
    world.control.tell_the_truth(&shop);
    world.poke("shop").await;
    assert_eq!(id(&world.ready("shop").await), shop);
    assert_eq!(mutations(&world), sent);
    world.finish(&[&other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_that_slips_between_two_pages_while_others_are_deleted_is_read_and_stays() {
    let (world, other) = world_swept_every(2).await;
    let shop = ready(&world, &["shop"], json!({"onProjectMissing": "Recreate"})).await.remove(0);
    // Young enough to be on the first page: the shop is on the second.
    let crowd: Vec<String> = (0..60).map(|number| third_party(&world, &format!("crowd-{number}"))).collect();
    swept(&world, 4).await;
    eventually("no walk is under way", PATIENCE, async || {
        let journal = world.control.journal();
        let last = journal.iter().rfind(|entry| entry.operation == Some(Operation::List));
        let is_over =
            last.is_some_and(|page| page.path.contains("cursor=") && page.outcome == Outcome::Answered(200));
        is_over.then_some(()).ok_or_else(|| format!("{last:?}"))
    })
    .await;
    let (sent, mark) = (mutations(&world), world.control.mark());
    let gate = world.control.gate("second page");
    let hold = Fault::Hold { point: Point::BeforeCommit, gate: gate.name().to_owned() };
    let rule = FaultRule::new(hold).organization(&world.organization.id).operation(Operation::List).times(2);
    let rule = world.control.inject(rule);
    gate.pass(1);
    tokio::time::timeout(PATIENCE, gate.arrived(2)).await.unwrap();
    for id in &crowd[30..] {
        world.control.delete_project(id);
    }
    gate.open();
    world.control.clear_fault(rule);
    eventually("the shop is read", PATIENCE, async || match reads(&world, mark, &shop) {
        0 => Err("it is not".to_owned()),
        _ => Ok(()),
    })
    .await;
    swept(&world, 1).await;
    looked_at(&world, "shop").await;
    assert_eq!(id(&world.ready("shop").await), shop);
    assert_eq!(mutations(&world), sent);
    let left: Vec<&str> = crowd[..30].iter().map(String::as_str).chain([&*other]).collect();
    world.finish(&left).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_repeats_a_cursor_is_no_list_and_nothing_is_missing() {
    let (world, other) = world_swept_every(2).await;
    let shop = ready(&world, &["shop"], json!({"onProjectMissing": "Recreate"})).await.remove(0);
    let crowd: Vec<String> = (0..60).map(|number| third_party(&world, &format!("crowd-{number}"))).collect();
    swept(&world, 4).await;
    let (sent, mark) = (mutations(&world), world.control.mark());
    let repeated = Fault::SetMember { name: "next_cursor".to_owned(), value: Value::from("again") };
    let rule = FaultRule::new(repeated).organization(&world.organization.id).operation(Operation::List);
    let rule = world.control.inject(rule);
    eventually("a walk fails", PATIENCE, async || {
        let metrics = world.metrics().await;
        let failed = metrics.lines().find(|line| line.contains("sweeps_total{outcome=\"Failed\"}"));
        failed.map(|_| ()).ok_or_else(|| "none has failed".to_owned())
    })
    .await;
    assert_eq!(reads(&world, mark, &shop), 0);
    world.control.clear_fault(rule);
    looked_at(&world, "shop").await;
    assert_eq!(id(&world.ready("shop").await), shop);
    assert_eq!(mutations(&world), sent);
    let foreign: BTreeSet<&str> = crowd.iter().map(String::as_str).chain([&*other]).collect();
    world.finish(&foreign.into_iter().collect::<Vec<_>>()).await;
}
