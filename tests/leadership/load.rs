//! Many projects are being made while one leader after the other is killed, stopped and continued, or shut down.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use testbed::emulator::{Fault, Operation, Point};
use testbed::eventually::eventually;
use testbed::world::{Child, PATIENCE};

use crate::stage::{Stage, is_leading, sent_by};

/// Projects that are made in each wave, while one leader goes down.
const WAVE: usize = 8;
const STRIKES: [Strike; 6] =
    [Strike::Kill, Strike::Stop, Strike::ShutDown, Strike::Stop, Strike::Kill, Strike::Stop];
const REPLICAS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Strike {
    /// kill -9
    Kill,
    /// SIGSTOP, and SIGCONT when another leads.
    Stop,
    /// SIGTERM
    ShutDown,
}

/// The place of the replica that leads.
async fn leader(replicas: &[Child], except: Option<usize>) -> usize {
    eventually("one of the replicas leads", PATIENCE, async || {
        for (place, replica) in replicas.iter().enumerate() {
            if Some(place) != except && is_leading(replica).await? {
                return Ok(place);
            }
        }
        Err("none does".to_owned())
    })
    .await
}

/// Strikes the leader, waits for its successor, and puts a fresh replica in its place.
async fn strike(stage: &Stage, replicas: &mut [Child], strike: Strike) {
    let struck = leader(replicas, None).await;
    match strike {
        Strike::Kill => replicas[struck].kill().await,
        Strike::ShutDown => {
            replicas[struck].signal(Signal::TERM);
            assert_eq!(replicas[struck].ended().await, Some(0));
        }
        Strike::Stop => {
            replicas[struck].freeze().await;
            leader(replicas, Some(struck)).await;
            let mark = stage.world.control.mark();
            replicas[struck].thaw();
            assert_eq!(replicas[struck].ended().await, Some(1), "the exit code of a deposed leader");
            assert_eq!(sent_by(stage, &replicas[struck], mark), [], "a deposed leader has sent something");
        }
    }
    assert!(!replicas[struck].has_leaked(), "a key is in the log of a replica");
    replicas[struck] = stage.replica().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_befalls_the_leaders_each_of_many_projects_is_created_once() {
    let stage = Stage::set(|settings| {
        settings.workers = 3;
        settings.request_timeout = Duration::from_secs(3);
    })
    .await;
    // Answers are on their way when the leader goes down.
    let slow = Fault::Delay { point: Point::AfterCommit, milliseconds: 700 };
    stage.fault(Operation::Create, slow, u32::MAX);
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(stage.replica().await);
    }
    let mut names = BTreeSet::new();
    for (wave, kind) in STRIKES.into_iter().enumerate() {
        let before = stage.sent(Operation::Create);
        let wanted: Vec<_> = (0..WAVE).map(|number| format!("shop-{wave}-{number}")).collect();
        join_all(wanted.iter().map(|name| stage.world.apply(name, json!({})))).await;
        names.extend(wanted);
        eventually("some of them are being created", PATIENCE, async || {
            match stage.sent(Operation::Create) {
                sent if sent > before => Ok(()),
                sent => Err(format!("{sent} creations, as before")),
            }
        })
        .await;
        // Shown where the test fails.
        eprintln!("wave {wave}: {kind:?}");
        strike(&stage, &mut replicas, kind).await;
    }
    join_all(names.iter().map(|name| stage.world.ready(name))).await;

    let created = stage.world.control.all_projects(&stage.world.organization.id);
    let made: BTreeSet<_> = created.iter().map(|project| project.name.clone()).collect();
    assert_eq!(made, names, "projects at Composio (left), wanted (right)");
    assert_eq!(created.len(), names.len(), "one of each name, none deleted");
    assert_eq!(stage.sent(Operation::Create), names.len(), "never two creations for one claim");
    assert!(created.iter().all(|project| project.keys.len() == 1), "one key each");
    let lease = stage.lease().await;
    assert!(lease.lease_transitions >= Some(STRIKES.len().try_into().unwrap()), "{lease:?}");
    eprintln!("keys issued anew: {}", stage.sent(Operation::Regenerate));
    let last = leader(&replicas, None).await;
    // The standbys first, so that nobody takes over while the world ends.
    let leader = replicas.swap_remove(last);
    replicas.push(leader);
    stage.finish(replicas).await;
}
