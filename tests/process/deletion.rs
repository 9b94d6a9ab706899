//! The process is killed at each boundary of a deletion: the project is deleted once, and the resource goes.

use axum::http::{Method, StatusCode};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};
use testbed::emulator::{Operation, Point};
use testbed::eventually::eventually;
use testbed::proxy::{Action, Exchange, Gate, Match};
use testbed::world::PATIENCE;

use crate::scene::{Scene, arrived, reached};
use crate::writes;

/// `shop` is Ready, and is to be deleted with its project.
async fn scene() -> Scene {
    let scene = Scene::start().await;
    scene.apply(json!({"deletionPolicy": "Delete"})).await;
    scene.world.ready("shop").await;
    scene
}

impl Scene {
    async fn delete(&self) {
        self.world.projects().delete("shop", &DeleteParams::default()).await.expect("a resource");
    }

    /// The one end: no resource, no project, no claim, no Secret; one deletion and one tombstone.
    async fn ends_deleted(&self) {
        let world = &self.world;
        eventually("resource and Secret are gone", PATIENCE, async || {
            let project = world.projects().get_opt("shop").await.map_err(|error| error.to_string())?;
            let secret = world.secrets().get_opt("shop").await.map_err(|error| error.to_string())?;
            match (project, secret) {
                (None, None) => Ok(()),
                (project, secret) => Err(format!("{project:?}, Secret: {}", secret.is_some())),
            }
        })
        .await;
        assert_eq!(world.control.projects(&world.organization.id).len(), 0, "projects");
        assert_eq!(self.committed(Operation::Delete), 1, "deletions");
        assert_eq!(self.committed(Operation::Create), 1, "creations");
        assert_eq!(world.claims().await.all().count(), 0, "claims");
        let ledger: Api<Secret> = Api::namespaced(world.client.clone(), &world.system);
        let params = ListParams::default().labels("composio.dev/phase=Deleted");
        assert_eq!(ledger.list(&params).await.expect("a list").items.len(), 1, "tombstones");
    }

    /// Killed while this write is on its way. When the next process is done, the write arrives, and changes nothing.
    async fn dies_before_deleting(mut self, write: Match) {
        let gate = Gate::new();
        self.proxy.on(write.times(1), Action::hold_before(&gate));
        self.delete().await;
        reached(&gate).await;
        let held = self.proxy.journal().iter().position(|write| !write.forwarded).expect("the held write");
        self.kill().await;
        self.restart().await;
        self.ends_deleted().await;
        gate.open();
        let status = eventually("the late write is answered", PATIENCE, async || {
            self.proxy.journal()[held].status.ok_or_else(|| "it is not".to_owned())
        })
        .await;
        assert!([StatusCode::CONFLICT, StatusCode::NOT_FOUND].contains(&status), "{status}");
        self.ends_deleted().await;
        self.finish().await;
    }

    /// Killed when the API server has made this write and the process does not know it.
    async fn dies_after_deleting(mut self, write: Match) {
        let gate = Gate::new();
        let rule = self.proxy.on(write.times(1), Action::hold_after(&gate));
        self.delete().await;
        self.dies_at(&gate, rule).await;
        self.ends_deleted().await;
        self.finish().await;
    }
}

fn announcement(scene: &Scene) -> Match {
    writes::claim_update(&scene.world, |claim| {
        claim["phase"] == "Deleting" && claim["deletion"]["receipt"].is_null()
    })
}

fn receipt(scene: &Scene) -> Match {
    writes::claim_update(&scene.world, |claim| claim["deletion"]["receipt"].is_object())
}

fn tombstone(scene: &Scene) -> Match {
    let path = format!("/api/v1/namespaces/{}/secrets", scene.world.system);
    let is_tombstone = |body: &Value| body["type"] == "composio.dev/project-tombstone";
    Match::method(Method::POST).path_ends_with(path).json(is_tombstone)
}

fn claim_removal(scene: &Scene) -> Match {
    Match::method(Method::DELETE)
        .path_contains(format!("/api/v1/namespaces/{}/secrets/claim-", scene.world.system))
}

fn finalizer_removal(scene: &Scene) -> Match {
    let has_none = |write: &Exchange| {
        write.body.as_ref().is_some_and(|body| body["metadata"]["finalizers"] == json!([]))
    };
    Match::method(Method::PATCH)
        .path_ends_with(format!("/namespaces/{}/composioprojects/shop", scene.world.namespace))
        .when(has_none)
}

/// A function for each write, with the way to find it.
macro_rules! killed {
    ($($before:ident, $after:ident: $write:ident;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $before() {
                let scene = scene().await;
                let write = $write(&scene);
                scene.dies_before_deleting(write).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $after() {
                let scene = scene().await;
                let write = $write(&scene);
                scene.dies_after_deleting(write).await;
            }
        )*
    };
}

killed! {
    killed_before_the_deletion_is_announced_it_deletes_once,
    killed_after_the_deletion_was_announced_it_deletes_once: announcement;
    killed_before_the_answer_to_the_deletion_is_in_the_claim_it_deletes_once,
    killed_after_the_answer_to_the_deletion_is_in_the_claim_it_deletes_once: receipt;
    killed_before_the_tombstone_is_written_it_writes_one,
    killed_after_the_tombstone_was_written_it_writes_no_other: tombstone;
    killed_before_the_claim_is_removed_it_removes_it,
    killed_after_the_claim_was_removed_it_lets_the_resource_go: claim_removal;
    killed_before_the_finalizer_is_removed_it_removes_it,
    killed_after_the_finalizer_was_removed_nothing_is_left_to_do: finalizer_removal;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_the_deletion_is_on_its_way_it_is_deleted_once() {
    for point in [Point::BeforeCommit, Point::AfterCommit] {
        let mut scene = scene().await;
        let gate = scene.hold(Operation::Delete, point);
        scene.delete().await;
        arrived(&gate).await;
        scene.kill().await;
        scene.restart().await;
        scene.ends_deleted().await;
        gate.open();
        scene.ends_deleted().await;
        scene.finish().await;
    }
}
