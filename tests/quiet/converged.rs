//! A fleet that is as it should be: looks, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Method;
use serde_json::json;
use testbed::eventually::eventually;
use testbed::proxy::{Action, Match};
use testbed::world::PATIENCE;

use crate::scene::Fleet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_converged_fleet_is_looked_at_again_and_again_and_nothing_is_written() {
    let fleet = Fleet::converged().await;
    let mark = fleet.mark();
    fleet.looked_at(5).await;
    fleet.assert_quiet(&mark);
    fleet.world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_a_converged_project_reads_its_claim_and_its_secret_and_nothing_else() {
    let fleet = Fleet::converged().await;
    fleet.looked_at(1).await;
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = reads.clone();
    // Lists and watches are not about one project.
    let single = Match::method(Method::GET).path(|path| {
        path.rsplit('/')
            .nth(1)
            .is_some_and(|kind| ["secrets", "composioprojects", "namespaces"].contains(&kind))
    });
    let count = Action::before(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async {}
    });
    fleet.proxy.on(single, count);
    let (before, organization_before) = (fleet.passes().await, fleet.organization_passes().await);
    fleet.looked_at(6).await;
    let (reads, passes) = (reads.load(Ordering::Relaxed), fleet.passes().await - before);
    // A look at the organization, as often as time wants it, reads the header twice and its key.
    let shared = 3 * (fleet.organization_passes().await - organization_before + 2);
    // Those that are under way.
    let margin = 2 * usize::from(fleet.world.settings().workers);
    assert!(reads <= 2 * passes + shared + margin, "{reads} reads in {passes} passes, {shared} shared");
    fleet.world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_own_writes_wake_nobody() {
    let mut fleet = Fleet::converged().await;
    fleet.world.stop_operator().await;
    // With the interval of the world, so that no look is due by itself.
    fleet.world.start_operator().await;
    let all = fleet.names.len();
    let reach = async |wanted: usize| {
        eventually("the passes that are due", PATIENCE, async || match fleet.passes().await {
            now if now >= wanted => Ok(()),
            now => Err(format!("{now} of {wanted} passes")),
        })
        .await;
    };
    reach(all).await;
    for name in ["one", "two", "three", "four"] {
        fleet.world.apply(name, json!({"settings": {"displayName": "Shop"}})).await;
        fleet.world.ready(name).await;
    }
    // Whoever is woken by its own write, or by that of another, would come before this one.
    fleet.world.poke("four").await;
    reach(all + 5).await;
    assert_eq!(fleet.passes().await, all + 5, "passes");
    fleet.world.finish(&[]).await;
}
