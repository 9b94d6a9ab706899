//! Walks are shared: many uncertain claims cost a few of them.

use serde_json::json;
use testbed::emulator::{Fault, Operation, Point};

use crate::scene::{ready, walks, world_swept_every};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_creations_without_an_answer_are_settled_by_a_few_walks_and_none_is_made_twice() {
    let (mut world, other) = world_swept_every(3600).await;
    let organization = world.organization.id.clone();
    world.control.fault(&organization, Operation::Create, Fault::Cut { point: Point::BeforeCommit }, 20);
    world.control.fault(&organization, Operation::Create, Fault::Cut { point: Point::AfterCommit }, 20);
    let names: Vec<String> = (0..40).map(|number| format!("shop-{number}")).collect();
    // All begin together: how many can share a walk depends on how soon they follow each other.
    world.stop_operator().await;
    for name in &names {
        world.apply(name, json!({})).await;
    }
    let mark = world.control.mark();
    world.start_operator().await;
    ready(&world, &names.iter().map(String::as_str).collect::<Vec<_>>(), json!({})).await;
    assert_eq!(world.control.committed(&organization, Operation::Create), 40);
    let walks = walks(&world, mark);
    println!("{walks} walks for forty claims");
    assert!(walks <= 15, "{walks} walks for forty claims");
    world.finish(&[&other]).await;
}
