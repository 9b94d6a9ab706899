//! What the scenarios of Argo CD share: the objects of a world, what it says of them, its actions.

use composio_operator::crd::{ComposioOrganization, ComposioProject};
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, ResourceExt};
use serde_json::Value;
use testbed::eventually::eventually;
use testbed::gitops::{ArgoCd, Judgement, Question};
use testbed::world::{PATIENCE, World};

pub(crate) async fn project(world: &World, name: &str) -> Value {
    serde_json::to_value(world.projects().get(name).await.expect("a project")).expect("JSON")
}

fn organizations(world: &World) -> Api<ComposioOrganization> {
    Api::namespaced(world.client.clone(), &world.system)
}

pub(crate) async fn organization(world: &World) -> Value {
    let object = organizations(world).get("default").await.expect("an organization");
    serde_json::to_value(object).expect("JSON")
}

pub(crate) async fn judgement(world: &World, question: Question) -> Judgement {
    let argocd = ArgoCd::of(world.control_plane, &world.system).expect("Argo CD's code");
    let answer = argocd.judge(&[question]).await.expect("a judgement").remove(0);
    assert_eq!(answer.error, "");
    answer
}

/// The health of each.
pub(crate) async fn judged(world: &World, objects: &[Value]) -> Vec<String> {
    let argocd = ArgoCd::of(world.control_plane, &world.system).expect("Argo CD's code");
    let questions: Vec<_> =
        objects.iter().map(|live| Question { live: live.clone(), ..Question::default() }).collect();
    let answers = argocd.judge(&questions).await.expect("judgements");
    answers.into_iter().map(|answer| answer.health).collect()
}

/// Runs an action of the project `name`, or of the organization without one, and writes what it has changed.
pub(crate) async fn act(world: &World, name: Option<&str>, action: &str) {
    eventually(&format!("action {action} is carried out"), PATIENCE, async || {
        let live = match name {
            Some(name) => project(world, name).await,
            None => organization(world).await,
        };
        let question = Question { live, action: Some(action.to_owned()), ..Question::default() };
        let answer = judgement(world, question).await;
        assert!(answer.actions.contains(&action.to_owned()), "{action} is not offered: {answer:?}");
        let patched = answer.patched.expect("a changed object");
        let patched: DynamicObject = serde_json::from_value(patched).expect("an object");
        let resource = match name {
            Some(_) => ApiResource::erase::<ComposioProject>(&()),
            None => ApiResource::erase::<ComposioOrganization>(&()),
        };
        let namespace = patched.namespace().expect("a namespace");
        let api: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &namespace, &resource);
        // A conflict with the operator's status: once more, with what is there now.
        let replaced = api.replace(&patched.name_any(), &PostParams::default(), &patched).await;
        replaced.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

/// The token of what the organization holds, once everything that is being deleted is held.
pub(crate) async fn held(world: &World) -> String {
    let organizations = organizations(world);
    eventually("two deletions are held", PATIENCE, async || {
        let object = organizations.get("default").await.map_err(|error| error.to_string())?;
        let held = object.status.unwrap_or_default().held;
        let found = held.iter().find(|held| held.count == 2);
        found.map(|held| held.token.clone()).ok_or_else(|| format!("held is {held:?}"))
    })
    .await
}
