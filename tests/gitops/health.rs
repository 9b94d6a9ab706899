//! Health in Argo CD: each reason by its own, and the objects of a world in their phases.

use composio_operator::domain::reason::Reason;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use testbed::emulator::{Fault, Operation, ThirdPartyProject};
use testbed::gitops::{ArgoCd, Question};
use testbed::world::World;

use crate::judge::{act, held, judged, judgement, organization, project};
use crate::scene::{all_gone, configure_argocd, documents, is_gone};

/// An object whose conditions have this reason, as a report writes them.
fn with_reason(kind: &str, reason: Reason) -> Value {
    let is_ready = matches!(reason, Reason::Reconciled | Reason::KeyAccepted);
    let message = reason.message("");
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": reason.as_str(), "message": message});
    let mut conditions = vec![condition("Ready", if is_ready { "True" } else { "False" })];
    if reason.stalls() {
        conditions.push(condition("Stalled", "True"));
    } else if !is_ready && reason != Reason::Suspended {
        conditions.push(condition("Reconciling", "True"));
    }
    json!({
        "apiVersion": "composio.dev/v1alpha1", "kind": kind, "metadata": {"name": "shop", "generation": 3},
        "spec": {}, "status": {"observedGeneration": 3, "conditions": conditions}
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reason_has_its_health_and_its_words_in_argo_cd() {
    let world = World::without_operator().await;
    configure_argocd(&world).await;
    let argocd = ArgoCd::of(world.control_plane, &world.system).expect("Argo CD's code");
    let kinds = ["ComposioProject", "ComposioOrganization"];
    let cases: Vec<_> = Reason::ALL.into_iter().flat_map(|reason| kinds.map(|kind| (kind, reason))).collect();
    let live = cases.iter().map(|(kind, reason)| with_reason(kind, *reason));
    let questions: Vec<_> = live.map(|live| Question { live, ..Question::default() }).collect();
    let answers = argocd.judge(&questions).await.expect("judgements");
    for ((kind, reason), answer) in cases.iter().zip(answers) {
        let expected = match reason {
            Reason::Reconciled | Reason::KeyAccepted => "Healthy",
            Reason::Suspended | Reason::DeletionHeld => "Suspended",
            reason if reason.stalls() => "Degraded",
            _ => "Progressing",
        };
        assert_eq!(answer.health, expected, "{kind} with {reason:?}: {answer:?}");
        assert_eq!(answer.message, reason.message(""), "{kind}");
    }
    world.finish(&[]).await;
}

#[test]
fn both_kinds_have_the_same_health_script() {
    let object = &documents("gitops/argocd/argocd-cm.yaml")[0];
    let script =
        |kind: &str| object["data"][format!("resource.customizations.health.composio.dev_{kind}")].clone();
    assert!(script("ComposioProject").is_string());
    assert_eq!(script("ComposioProject"), script("ComposioOrganization"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_objects_are_progressing_healthy_degraded_and_suspended_in_the_right_phases() {
    let mut world = World::without_operator().await;
    configure_argocd(&world).await;
    let theirs = ThirdPartyProject::named("taken");
    let theirs = world.control.create_project(&world.organization.id, theirs);
    world.apply("shop", json!({})).await;
    assert_eq!(
        judged(&world, &[project(&world, "shop").await, organization(&world).await]).await,
        ["Progressing", "Progressing"]
    );

    world.start_operator().await;
    world.organization_ready("default").await;
    world.ready("shop").await;
    world.apply("taken", json!({})).await;
    world.not_ready("taken", "NameTaken").await;
    let objects = [project(&world, "shop").await, organization(&world).await, project(&world, "taken").await];
    assert_eq!(judged(&world, &objects).await, ["Healthy", "Healthy", "Degraded"]);

    world.apply("shop", json!({"suspend": true})).await;
    world.reaches(&world.namespace, "shop", "Ready", "True", "Suspended").await;
    assert_eq!(judged(&world, &[project(&world, "shop").await]).await, ["Suspended"]);
    world.stop_operator().await;
    world.apply("shop", json!({})).await;
    assert_eq!(judged(&world, &[project(&world, "shop").await]).await, ["Progressing"], "a spec unseen");
    world.start_operator().await;
    world.ready("shop").await;
    world.delete("taken").await;
    world.finish(&[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_is_blocked_or_held_is_visible_in_argo_cd() {
    let mut world = World::without_operator().await;
    configure_argocd(&world).await;
    let limits = json!({"limits": {"deletionsPerHour": 1}});
    world.add_organization("default", &world.organization.key, limits).await;
    world.start_operator().await;
    world.organization_ready("default").await;
    for name in ["one", "two", "three"] {
        world.apply(name, json!({"deletionPolicy": "Delete"})).await;
        world.ready(name).await;
    }
    let id = world.organization.id.clone();
    let rule = world.control.fault(&id, Operation::Delete, Fault::Forbidden, 1000);
    world.projects().delete("one", &DeleteParams::default()).await.expect("a deletion");
    world.not_ready("one", "DeletionBlocked").await;
    // Argo CD 3.2 says "Pending deletion" of whatever is being deleted, and asks no script. It offers what can be done about it.
    let one = project(&world, "one").await;
    let answer = judgement(&world, Question { live: one, ..Question::default() }).await;
    assert_eq!((answer.health.as_str(), answer.message.as_str()), ("Progressing", "Pending deletion"));
    assert!(answer.actions.contains(&"keep".to_owned()), "{answer:?}");
    world.control.clear_fault(rule);
    world.poke("one").await;
    is_gone(&world, "one").await;

    // What is held is visible at the organization, which is not being deleted.
    world
        .projects()
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .expect("deletions");
    let held = held(&world).await;
    let question = Question { live: organization(&world).await, ..Question::default() };
    let answer = judgement(&world, question).await;
    assert_eq!(answer.health, "Suspended", "{answer:?}");
    assert!(answer.message.contains(&held) && answer.message.contains("Deletions"), "{answer:?}");
    act(&world, None, "confirm").await;
    all_gone(&world).await;
    world.finish(&[]).await;
}
