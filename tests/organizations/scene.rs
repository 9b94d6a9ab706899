//! What the scenarios share: the organization's status and annotation, and a ledger that is copied elsewhere.

use composio_operator::crd::{ComposioOrganization, HeldStatus};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::canary::Kind;
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

/// The mutations of the API.
const MUTATIONS: [Operation; 4] =
    [Operation::Create, Operation::Regenerate, Operation::Delete, Operation::PatchSettings];

/// The ComposioOrganizations of the operator's namespace.
pub(crate) fn organizations(world: &World) -> Api<ComposioOrganization> {
    Api::namespaced(world.client.clone(), &world.system)
}

/// The Secrets of the operator's namespace.
pub(crate) fn records(world: &World) -> Api<Secret> {
    Api::namespaced(world.client.clone(), &world.system)
}

/// How many mutations the API has seen.
pub(crate) fn mutations(world: &World) -> usize {
    let of = |operation| world.control.count(&world.organization.id, operation);
    MUTATIONS.into_iter().map(of).sum()
}

/// Waits until so much of this kind is held, and returns it.
pub(crate) async fn held(world: &World, name: &str, kind: &str, count: i32) -> HeldStatus {
    eventually(&format!("{name} holds {count} {kind}"), PATIENCE, async || {
        let object = organizations(world).get(name).await.map_err(|error| error.to_string())?;
        let held = object.status.unwrap_or_default().held;
        let found = held.iter().find(|held| held.kind == kind && held.count == count);
        found.cloned().ok_or_else(|| format!("it holds {held:?}"))
    })
    .await
}

/// Waits until nothing is held.
pub(crate) async fn nothing_held(world: &World, name: &str) {
    eventually(&format!("{name} holds nothing"), PATIENCE, async || {
        let object = organizations(world).get(name).await.map_err(|error| error.to_string())?;
        let held = object.status.unwrap_or_default().held;
        if held.is_empty() { Ok(()) } else { Err(format!("it holds {held:?}")) }
    })
    .await;
}

/// Sets the annotation.
pub(crate) async fn confirm(world: &World, name: &str, token: &str) {
    let patch = json!({"metadata": {"annotations": {"composio.dev/confirm": token}}});
    organizations(world).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// Asks for a look at an organization, and waits until it was taken: two requests, since the first may meet one that is
/// under way.
pub(crate) async fn looked_at(world: &World, name: &str) {
    for _ in 0..2 {
        let mark = world.control.mark();
        let value = uuid::Uuid::new_v4().to_string();
        let patch = json!({"metadata": {"annotations": {"composio.dev/reconcile-requested-at": value}}});
        organizations(world).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        eventually(&format!("{name} is probed"), PATIENCE, async || {
            let probes = world.control.journal_since(mark);
            let is_probed = probes.iter().any(|entry| entry.path.ends_with("/list?limit=1"));
            is_probed.then_some(()).ok_or_else(|| "it is not".to_owned())
        })
        .await;
    }
}

/// `header.json` of the ledger.
pub(crate) async fn header(world: &World) -> (Value, String) {
    let secret = records(world).get("composio-ledger").await.unwrap();
    let uid = secret.uid().unwrap();
    (serde_json::from_slice(&secret.data.unwrap()["header.json"].0).unwrap(), uid)
}

pub(crate) async fn create_namespace(world: &World, name: &str) {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let api: Api<Namespace> = Api::all(world.client.clone());
    api.create(&PostParams::default(), &namespace).await.unwrap();
}

/// Copies the ledger and the keys to another namespace, as it is in another cluster: every UID is another there. What is
/// `from` here is called `to` there; `keep` says which Secrets the backup has.
pub(crate) async fn copy_ledger(
    world: &World,
    system: &str,
    (from, to): (&str, &str),
    keep: impl Fn(&Secret) -> bool,
) {
    let moved = |mut copy: Secret| {
        let data = copy.data.get_or_insert_default();
        if let Some(claim) = data.get_mut("claim.json") {
            let mut json: Value = serde_json::from_slice(&claim.0).unwrap();
            assert_eq!(json["owner"]["namespace"], from);
            json["owner"]["namespace"] = json!(to);
            json["owner"]["namespaceUid"] = json!(uuid::Uuid::new_v4().to_string());
            json["owner"]["uid"] = json!(uuid::Uuid::new_v4().to_string());
            claim.0 = serde_json::to_vec(&json).unwrap();
            let labels = copy.metadata.labels.get_or_insert_default();
            labels.insert("composio.dev/owner-namespace".to_owned(), to.to_owned());
        }
        copy
    };
    copy_secrets(world, system, keep, moved).await;
}

/// Copies the ledger and the keys to another namespace without a change: the resources stay the owners of their claims.
pub(crate) async fn copy_as_it_is(world: &World, system: &str) {
    copy_secrets(world, system, |_| true, |copy| copy).await;
}

async fn copy_secrets(
    world: &World,
    system: &str,
    keep: impl Fn(&Secret) -> bool,
    change: impl Fn(Secret) -> Secret,
) {
    let target: Api<Secret> = Api::namespaced(world.client.clone(), system);
    world.history.permit_ledger(system);
    for secret in records(world).list(&ListParams::default()).await.unwrap().into_iter().filter(keep) {
        let copy = change(Secret {
            metadata: ObjectMeta {
                name: secret.metadata.name.clone(),
                labels: secret.metadata.labels.clone(),
                annotations: secret.metadata.annotations.clone(),
                ..ObjectMeta::default()
            },
            ..secret
        });
        if copy.name_any().ends_with("-key") {
            world.history.permit(Kind::Organization, system, &copy.name_any());
        }
        target.create(&PostParams::default(), &copy).await.unwrap();
    }
}

/// Everything but the header.
pub(crate) fn is_no_header(secret: &Secret) -> bool {
    secret.name_any() != "composio-ledger"
}

/// Stops the operator and takes the world to fresh namespaces with a copy of the ledger, where nothing is applied yet.
/// The namespace of the projects is made only if `with_namespace`.
pub(crate) async fn move_world(world: &mut World, with_namespace: bool, keep: impl Fn(&Secret) -> bool) {
    world.stop_operator().await;
    let (system, namespace) = (format!("{}-moved", world.system), format!("{}-moved", world.namespace));
    create_namespace(world, &system).await;
    if with_namespace {
        create_namespace(world, &namespace).await;
    }
    copy_ledger(world, &system, (&world.namespace, &namespace), keep).await;
    (world.system, world.namespace) = (system, namespace);
}
