//! A new process over a fleet that is as it should be.

use crate::scene::Fleet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_writes_nothing_and_changes_nothing_at_composio() {
    let mut fleet = Fleet::converged().await;
    fleet.world.stop_operator().await;
    let mark = fleet.mark();
    fleet.start().await;
    fleet.looked_at(3).await;
    fleet.assert_quiet(&mark);
    fleet.world.finish(&[]).await;
}
