//! What the chart adds to the standard roles `view`, `edit` and `admin`, as Kubernetes itself puts them together: asked of the
//! API server by ServiceAccounts that have one of them in one namespace.

use composio_operator::crd::{ComposioOrganization, ComposioProject};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use testbed::controlplane::client_for;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World, project};

use crate::ALONE;

/// The standard roles, and somebody without any.
const PEOPLE: [&str; 4] = ["view", "edit", "admin", "nobody"];

/// Whom a right is for.
const ALL: &[&str] = &["view", "edit", "admin"];
const EDITORS: &[&str] = &["edit", "admin"];
const NONE: &[&str] = &[];

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];

/// In a namespace of projects: group, resource with its subresource, verbs, and who may.
const TABLE: [(&str, &str, &[&str], &[&str]); 10] = [
    ("composio.dev", "composioprojects", READ, ALL),
    ("composio.dev", "composioprojects", WRITE, EDITORS),
    // Whoever could write it could tell Argo CD and `kubectl wait` what is not so.
    ("composio.dev", "composioprojects/status", &["get", "update", "patch"], NONE),
    ("composio.dev", "composioprojects/finalizers", &["update", "patch"], NONE),
    ("composio.dev", "composioorganizations", READ, NONE),
    ("composio.dev", "composioorganizations", WRITE, NONE),
    ("composio.dev", "composioorganizations/status", &["update", "patch"], NONE),
    ("composio.dev", "*", READ, NONE),
    // The key of a project: to see the project is not to see its key.
    ("", "secrets", &["get", "list", "watch"], EDITORS),
    ("apiextensions.k8s.io", "customresourcedefinitions", &["get", "patch", "delete"], NONE),
];

/// A ServiceAccount in the namespace of the projects, with this ClusterRole there and nowhere else.
async fn person(world: &World, role: &str) -> Client {
    let apply =
        async |object: Value| world.apply_any(serde_json::from_value(object).expect("an object")).await;
    let metadata = json!({"name": role, "namespace": world.namespace});
    apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})).await;
    if role != "nobody" {
        apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": role, "namespace": world.namespace}]
        }))
        .await;
    }
    let account = world.control_plane.service_account_kubeconfig(&world.namespace, role).await;
    let client = client_for(account.expect("a token")).await.expect("a client");
    if role != "nobody" {
        eventually("the API server has heard of the binding", PATIENCE, async || {
            let is_heard = may(&client, &world.namespace, "composio.dev", "composioprojects", "get").await;
            is_heard.then_some(()).ok_or_else(|| "it has not".to_owned())
        })
        .await;
    }
    client
}

/// What the API server says.
async fn may(client: &Client, namespace: &str, group: &str, resource: &str, verb: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({"metadata": {}, "spec": {"resourceAttributes": {
        "namespace": namespace, "group": group, "resource": resource, "subresource": subresource, "verb": verb
    }}});
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let review = serde_json::from_value(review).expect("a review");
    let answer = reviews.create(&PostParams::default(), &review).await.expect("an answer");
    answer.status.expect("a decision").allowed
}

/// Until kube-controller-manager has put the standard roles together.
async fn aggregated(world: &World) {
    let roles: Api<ClusterRole> = Api::all(world.client.clone());
    for (role, verb) in [("view", "watch"), ("edit", "deletecollection"), ("admin", "deletecollection")] {
        eventually(&format!("the ClusterRole {role} has ComposioProjects"), PATIENCE, async || {
            let found = roles.get(role).await.map_err(|error| error.to_string())?;
            let granted = found.rules.unwrap_or_default();
            let is_ours = |rule: &&k8s_openapi::api::rbac::v1::PolicyRule| {
                rule.resources.iter().flatten().any(|resource| resource == "composioprojects")
                    && rule.verbs.iter().any(|known| known == verb)
            };
            granted.iter().find(is_ours).map(drop).ok_or_else(|| format!("it has {} rules", granted.len()))
        })
        .await;
    }
}

fn is_forbidden<T>(answer: kube::Result<T>) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.is_forbidden())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standard_roles_reach_the_projects_of_their_namespace_and_nothing_of_the_operator() {
    let mut world = World::without_operator().await;
    let other = world.add_namespace().await;
    world.granted(&[]).await;
    aggregated(&world).await;
    let mut wrong = Vec::new();
    for role in PEOPLE {
        let client = person(&world, role).await;
        for (group, resource, verbs, who) in TABLE {
            for verb in verbs {
                for namespace in [&world.namespace, &other, &world.system] {
                    let is_wanted = *namespace == world.namespace && who.contains(&role);
                    if may(&client, namespace, group, resource, verb).await != is_wanted {
                        let place = namespace.split('-').next().unwrap_or_default();
                        wrong.push(format!("{role}: {verb} {resource} in {place}, should be {is_wanted}"));
                    }
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_editor_gets_a_project_with_its_key_and_a_viewer_sees_the_project_without_it() {
    let _alone = ALONE.lock().await;
    let world = World::start().await;
    world.granted(&[]).await;
    aggregated(&world).await;
    let [viewer, editor] = [person(&world, "view").await, person(&world, "edit").await];
    let projects = |client: &Client| Api::<ComposioProject>::namespaced(client.clone(), &world.namespace);
    let shop = serde_json::from_value(project("shop", &json!({}))).unwrap();
    assert!(is_forbidden(projects(&viewer).create(&PostParams::default(), &shop).await));
    projects(&editor).create(&PostParams::default(), &shop).await.unwrap();
    world.ready("shop").await;
    let seen = projects(&viewer).list(&ListParams::default()).await.unwrap();
    assert_eq!(seen.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["shop"]);

    let secrets = |client: &Client| Api::<Secret>::namespaced(client.clone(), &world.namespace);
    assert!(is_forbidden(secrets(&viewer).get("shop").await));
    assert!(secrets(&editor).get("shop").await.unwrap().data.unwrap().contains_key("COMPOSIO_API_KEY"));

    // Neither status nor what the operator keeps for itself.
    let status = Patch::Merge(json!({"status": {"observedGeneration": 7}}));
    let params = PatchParams::default();
    assert!(is_forbidden(projects(&editor).patch_status("shop", &params, &status).await));
    let ledger: Api<Secret> = Api::namespaced(editor.clone(), &world.system);
    assert!(is_forbidden(ledger.list(&ListParams::default()).await));
    let organizations: Api<ComposioOrganization> = Api::namespaced(editor.clone(), &world.system);
    assert!(is_forbidden(organizations.get("default").await));

    assert!(is_forbidden(projects(&viewer).delete("shop", &DeleteParams::default()).await));
    projects(&editor).delete("shop", &DeleteParams::default()).await.unwrap();
    world.finish(&[]).await;
}
