//! Organizations: unknown, without key, with a new key, suspended; templates and defaults; scope.

use composio_operator::crd::ComposioOrganization;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use testbed::emulator::{Operation, OrganizationOptions};
use testbed::world::{World, complete_settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_of_an_unknown_organization_waits_until_that_is_created() {
    let world = World::start().await;
    world.apply("shop", json!({"organizationRef": {"name": "later"}})).await;
    world.not_ready("shop", "OrganizationNotFound").await;
    let later = world.control.add_organization(OrganizationOptions::named("later"));
    world.add_organization("later", &later.key, json!({})).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_organization_key_is_picked_up_without_a_restart() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.apply("before", json!({})).await;
    world.ready("before").await;
    let new = world.control.add_organization_key(&organization);
    assert!(world.control.revoke_organization_key(&world.organization.key));
    world.apply("after", json!({})).await;
    world.organization_reaches("default", "False", "KeyInvalid").await;
    world.not_ready("after", "OrganizationNotReady").await;
    let creations = world.control.count(&organization, Operation::Create);
    world.set_organization_key("default", &new).await;
    world.organization_ready("default").await;
    world.ready("after").await;
    // None where a probe has found it out before.
    assert!(
        creations <= 2,
        "the revoked key was used for {} calls after one had found it revoked",
        creations - 2
    );
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_without_its_key_secret_says_so_and_is_ready_once_it_is_there() {
    let mut world = World::without_operator().await;
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.system);
    secrets.delete("default-key", &DeleteParams::default()).await.unwrap();
    world.start_operator().await;
    let object = world.organization_reaches("default", "False", "KeySecretMissing").await;
    assert!(
        serde_json::to_string(&object.status).unwrap().contains("default-key"),
        "the Secret is not named"
    );
    world.apply("shop", json!({})).await;
    world.not_ready("shop", "OrganizationNotReady").await;
    world.set_organization_key("default", &world.organization.key).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_organization_makes_no_calls() {
    let mut world = World::without_operator().await;
    let key = world.organization.key.clone();
    world.add_organization("default", &key, json!({"suspend": true})).await;
    world.start_operator().await;
    world.organization_reaches("default", "False", "Suspended").await;
    world.apply("shop", json!({})).await;
    world.not_ready("shop", "OrganizationNotReady").await;
    assert_eq!(world.control.journal().len(), 0, "remote calls");
    world.add_organization("default", &key, json!({"suspend": false})).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_does_not_answer_is_reported_on_the_organization() {
    let mut world = World::without_operator().await;
    let key = world.organization.key.clone();
    // A port of the range that nothing listens on.
    world.add_organization("default", &key, json!({"endpoint": {"url": "http://127.0.0.1:9"}})).await;
    world.start_operator().await;
    world.organization_reaches("default", "False", "EndpointUnreachable").await;
    world.add_organization("default", &key, json!({})).await;
    world.organization_ready("default").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_template_and_the_defaults_of_the_organization_apply_to_its_projects() {
    let world = World::start().await;
    let prod = world.control.add_organization(OrganizationOptions::named("prod"));
    let mut defaults = complete_settings();
    defaults["displayName"] = json!("Company");
    let spec =
        json!({"projectNameTemplate": "prod-{namespace}_{name}", "projectDefaults": {"settings": defaults}});
    world.add_organization("prod", &prod.key, spec).await;
    let settings = json!({"displayName": "Shop"});
    world.apply("shop", json!({"organizationRef": {"name": "prod"}, "settings": settings})).await;
    world.ready("shop").await;
    let project = world.control.projects(&prod.id).remove(0);
    assert_eq!(project.name, format!("prod-{}_shop", world.namespace));
    assert_eq!(project.config["display_name"], json!("Shop"));
    assert_eq!(project.config["log_visibility_setting"], json!("show_all"));
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rendered_name_that_composio_would_refuse_is_reported_before_any_call() {
    let world = World::start().await;
    let mark = world.control.mark();
    world.apply("ab", json!({})).await;
    let object = world.not_ready("ab", "SpecInvalid").await;
    assert!(serde_json::to_string(&object.status).unwrap().contains("projectName"), "the field is not named");
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    assert_eq!(world.claims().await.all().count(), 0);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_outside_the_operators_namespace_is_not_honoured() {
    let world = World::start().await;
    let object = json!({
        "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioOrganization", "metadata": {"name": "mine"},
        "spec": {"apiKeySecretRef": {"name": "mine"}, "endpoint": {"url": world.emulator.url()}}
    });
    world.apply_to::<ComposioOrganization>(&world.namespace, &object).await.unwrap();
    world.apply("shop", json!({"organizationRef": {"name": "mine"}})).await;
    world.not_ready("shop", "OrganizationNotFound").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_in_the_operators_own_namespace_is_not_allowed() {
    let world = World::start().await;
    let mark = world.control.mark();
    world.apply_in(&world.system, "shop", json!({})).await;
    world.reaches(&world.system, "shop", "Stalled", "True", "NamespaceNotAllowed").await;
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    world.finish(&[]).await;
}
