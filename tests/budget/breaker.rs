//! The breaker: one probe per interval, whatever the size of the fleet, and no storm when it shuts.

use jiff::SignedDuration;
use kube::api::DeleteParams;
use serde_json::json;
use testbed::emulator::{Entry, Fault, FaultRule, Operation, Outcome, Point};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::scene::{apply_many, is_probe, most_within, print_rates, reach, refused, set_spec, world_with};

const PROJECTS: usize = 1_000;

/// Waits for so many probes after a mark, and returns all calls since.
async fn probes(world: &World, mark: u64, number: usize) -> Vec<Entry> {
    eventually(&format!("there were {number} probes"), PATIENCE, async || {
        let calls = world.control.journal_since(mark);
        match calls.iter().filter(|entry| is_probe(entry)).count() {
            found if found >= number => Ok(calls),
            found => Err(format!("there were {found}")),
        }
    })
    .await
}

/// Nothing but probes, each at least twice as far from the one before as that from its own.
fn assert_probes_only(calls: &[Entry]) {
    let strange: Vec<_> = calls.iter().filter(|entry| !is_probe(entry)).collect();
    assert!(strange.is_empty(), "calls beside the probes: {strange:?}");
    let gaps: Vec<SignedDuration> =
        calls.windows(2).map(|pair| pair[1].time.duration_since(pair[0].time)).collect();
    println!("distances of the probes: {gaps:?}");
    for (number, gap) in gaps.iter().enumerate() {
        let least = SignedDuration::from_secs(2 << number) - SignedDuration::from_millis(50);
        assert!(*gap >= least, "the probes are {gaps:?} apart");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_revoked_key_a_thousand_projects_cost_one_call_per_probe_and_recover_without_a_storm() {
    let world = world_with(json!({}), |modes| modes.rate_limit = Some(10_000)).await;
    let organization = world.organization.id.clone();
    let new = world.control.add_organization_key(&organization);
    assert!(world.control.revoke_organization_key(&world.organization.key));
    world.apply("shop-0", json!({})).await;
    world.organization_reaches("default", "False", "KeyInvalid").await;
    let mark = world.control.mark();
    apply_many(&world, "shop", PROJECTS, &json!({})).await;
    reach(&world, PROJECTS, "False", "OrganizationNotReady").await;
    let calls = probes(&world, mark, 2).await;
    assert_probes_only(&calls);
    println!("{} calls of {PROJECTS} projects while the key was revoked", calls.len());
    let mark = world.control.mark();
    world.set_organization_key("default", &new).await;
    reach(&world, PROJECTS, "True", "Reconciled").await;
    let calls = world.control.journal_since(mark);
    print_rates("recovery of 1,000 projects after a new key, ceiling 2,500 a minute", &calls);
    assert_eq!(refused(&calls), 0, "calls answered by 429");
    let most = most_within(&calls, SignedDuration::from_mins(1));
    assert!(most <= 2_500, "{most} calls within a minute");
    // Beyond the first burst (500 of the 2,000 for work) they come at the pace of the budget, 23 a second.
    let creations: Vec<_> =
        calls.iter().filter(|entry| entry.operation == Some(Operation::Create)).cloned().collect();
    let most = most_within(&creations, SignedDuration::from_secs(10));
    assert!(most <= 375 + 240, "{most} creations within ten seconds");
    assert_eq!(creations.len(), PROJECTS);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_bring_no_answer_open_the_breaker_until_a_probe_is_answered() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    let cut = Fault::Cut { point: Point::BeforeCommit };
    let rule = world.control.inject(FaultRule::new(cut).organization(organization.clone()));
    apply_many(&world, "shop", 40, &json!({})).await;
    world.organization_reaches("default", "False", "EndpointUnreachable").await;
    let opened = world.control.mark();
    reach(&world, 40, "False", "OrganizationNotReady").await;
    let mark = world.control.mark();
    // The later they are, the farther apart.
    probes(&world, opened, 2).await;
    let calls = probes(&world, mark, 1).await;
    assert!(calls.iter().all(is_probe), "calls beside the probes: {calls:?}");
    assert!(world.metrics().await.contains(r#"breaker_open{organization="default"} 1"#));
    world.control.clear_fault(rule);
    world.organization_ready("default").await;
    reach(&world, 40, "True", "Reconciled").await;
    assert_eq!(world.control.committed(&organization, Operation::Create), 40);
    assert!(world.metrics().await.contains(r#"breaker_open{organization="default"} 0"#));
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answered_probe_alone_shuts_the_breaker_where_nothing_is_to_be_done() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    let cut = Fault::Cut { point: Point::BeforeCommit };
    let rule = world.control.inject(FaultRule::new(cut).organization(world.organization.id.clone()));
    set_spec(&world, json!({"limits": {"requestsPerMinute": 400}})).await;
    world.organization_reaches("default", "False", "EndpointUnreachable").await;
    assert!(world.metrics().await.contains(r#"breaker_open{organization="default"} 1"#));
    world.control.clear_fault(rule);
    world.organization_ready("default").await;
    assert!(world.metrics().await.contains(r#"breaker_open{organization="default"} 0"#));
    world.finish(&[]).await;
}

/// Deletes a project whose deletion Composio refuses so often, because of the organization's key; returns the distance from
/// the last refusal to the next probe.
async fn distance_after(world: &World, name: &str, refusals: u32) -> SignedDuration {
    let mark = world.control.mark();
    let (organization, fault) = (&world.organization.id, Fault::InvalidOrganizationKey);
    world.control.fault(organization, Operation::Delete, fault, refusals);
    world.projects().delete(name, &DeleteParams::default()).await.unwrap();
    eventually(&format!("{name} is gone"), PATIENCE, async || {
        let found = world.projects().get_opt(name).await.map_err(|error| error.to_string())?;
        found.map_or(Ok(()), |_| Err("it is there".to_owned()))
    })
    .await;
    let calls = world.control.journal_since(mark);
    let is_refused =
        |entry: &Entry| entry.operation == Some(Operation::Delete) && entry.outcome == Outcome::Answered(401);
    assert_eq!(calls.iter().filter(|entry| is_refused(entry)).count(), refusals as usize);
    let refused = calls.iter().rposition(is_refused).unwrap();
    let probe = calls[refused..].iter().find(|entry| is_probe(entry)).unwrap();
    probe.time.duration_since(calls[refused].time)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_deletion_that_succeeds_the_distance_of_probes_begins_anew() {
    let world = World::start().await;
    for name in ["first", "second"] {
        world.apply(name, json!({"deletionPolicy": "Delete"})).await;
        world.ready(name).await;
    }
    let long = distance_after(&world, "first", 2).await;
    assert!(long >= SignedDuration::from_millis(3_950), "it has not grown: {long:?}");
    let short = distance_after(&world, "second", 1).await;
    assert!(
        short < SignedDuration::from_secs(4),
        "it has grown to {short:?}, although a deletion has succeeded"
    );
    world.finish(&[]).await;
}
