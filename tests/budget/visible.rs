//! What is visible of the budget.

use composio_operator::crd::LimitsStatus;
use serde_json::json;
use testbed::emulator::Fault;
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::scene::{organization, probed, remaining, set_spec, world_with};

/// Waits until this is in force.
async fn in_force(world: &World, reported: i32, requests: i32) {
    eventually(&format!("{requests} of {reported} are in force"), PATIENCE, async || {
        let limits = organization(world).await.status.unwrap_or_default().limits;
        let settings_interval = "10m".to_owned();
        let wanted =
            LimitsStatus { reported_per_minute: reported, requests_per_minute: requests, settings_interval };
        if limits.as_ref() == Some(&wanted) { Ok(()) } else { Err(format!("it is {limits:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_budget_is_in_status_and_metrics_and_the_status_is_written_only_when_it_changes() {
    let world = world_with(json!({}), |modes| modes.rate_limit = Some(2_000)).await;
    in_force(&world, 2_000, 500).await;
    let version = organization(&world).await.metadata.resource_version;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    // Its first project shows the organization's id.
    eventually("the id is known", PATIENCE, async || {
        let status = organization(&world).await.status.unwrap_or_default();
        status.organization_id.map(drop).ok_or_else(|| "it is not".to_owned())
    })
    .await;
    assert_ne!(organization(&world).await.metadata.resource_version, version);
    set_spec(&world, json!({"limits": {"requestsPerMinute": 300}})).await;
    in_force(&world, 2_000, 300).await;
    world.control.set_modes(&world.organization.id, |modes| modes.rate_limit = Some(200));
    probed(&world).await;
    in_force(&world, 200, 200).await;
    let before = organization(&world).await;
    for _ in 0..3 {
        probed(&world).await;
    }
    let after = organization(&world).await;
    assert_eq!(after.status, before.status, "a status that changes in routine");
    let limited = Fault::RateLimited { retry_after_seconds: 1 };
    world.control.fault(&world.organization.id, Operation::Create, limited, 1);
    world.apply("other", json!({})).await;
    world.ready("other").await;
    let page = world.metrics().await;
    for sample in [
        r#"composio_operator_budget_ceiling{organization="default"} 200"#,
        r#"composio_operator_breaker_open{organization="default"} 0"#,
        r#"composio_operator_throttled_calls_total{organization="default"} 1"#,
        r#"composio_operator_api_calls_total{operation="Create",outcome="Ok",lane="Work"} 2"#,
    ] {
        assert!(page.lines().any(|line| line == sample), "no {sample} in {page}");
    }
    let left = remaining(&world).await;
    assert!(left.is_some_and(|left| left > 100 && left < 200), "{left:?} in {page}");
    world.finish(&[]).await;
}
