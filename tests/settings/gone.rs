//! A settings endpoint that is gone, in each of its forms, and what is believed of it by whom.

use std::collections::BTreeSet;

use composio_operator::crd::ComposioOrganization;
use kube::Api;
use serde_json::{Value, json};
use testbed::emulator::{KeyState, Operation, OrganizationOptions, SettingsMode};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World, complete_settings};

use super::scene::{condition, has, made, synced};

/// A capability in the status of an organization.
async fn capability(world: &World, organization: &str, name: &str) -> Value {
    let api: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
    let status = api.get(organization).await.unwrap().status;
    serde_json::to_value(status).unwrap()["capabilities"][name].clone()
}

/// Waits until it has this state.
async fn reaches(world: &World, organization: &str, name: &str, state: &str) -> Value {
    eventually(&format!("{name} of {organization} is {state}"), PATIENCE, async || {
        let found = capability(world, organization, name).await;
        if found["state"] == json!(state) { Ok(found) } else { Err(found.to_string()) }
    })
    .await
}

fn with_title(mut settings: Value) -> Value {
    settings["displayName"] = json!("Shop");
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_gone_in_any_form_is_reported_and_settings_of_the_creation_count_as_applied() {
    let world = World::start().await;
    let forms = [
        SettingsMode::Gone404,
        SettingsMode::GoneHtml404,
        SettingsMode::Gone405,
        SettingsMode::Gone410,
        SettingsMode::Gone501,
        SettingsMode::Unauthorized401,
        SettingsMode::Forbidden403,
    ];
    let mut ids = Vec::new();
    for (number, form) in forms.into_iter().enumerate() {
        let name = format!("form-{number}");
        let organization = world.control.add_organization(OrganizationOptions::named(&name));
        world.control.set_modes(&organization.id, |modes| modes.settings = form);
        world.add_organization(&name, &organization.key, json!({})).await;
        let spec = |settings: Value, policy: &str| json!({"organizationRef": {"name": name}, "settings": settings, "onDrift": policy});
        let correct = format!("correct-{number}");
        let report = format!("report-{number}");
        for (project, policy) in [(&correct, "Correct"), (&report, "Report")] {
            made(&world, project, spec(complete_settings(), policy)).await;
            world.apply(project, spec(with_title(complete_settings()), policy)).await;
        }
        // Nobody can change it any more: that stops the one, and is only reported of the other.
        let stalled = world.not_ready(&correct, "SettingsUnavailable").await;
        assert!(condition(&stalled, "Stalled").unwrap().message.contains("displayName"), "{form:?}");
        let reported = synced(&world, &report, "False", "SettingsUnavailable").await;
        assert_eq!(condition(&reported, "Ready").unwrap().status, "True", "{form:?}");
        assert!(condition(&reported, "SettingsSynced").unwrap().message.contains("displayName"), "{form:?}");
        // What was given at creation is as wanted, as far as anybody can tell.
        world.apply(&correct, spec(complete_settings(), "Correct")).await;
        world.ready(&correct).await;
        let correct = synced(&world, &correct, "True", "AppliedAtCreation").await;
        assert!(condition(&correct, "SettingsSynced").unwrap().message.contains("nobody can verify"));
        reaches(&world, &name, "settings", "Unavailable").await;
        ids.push(organization.id);
    }
    for id in ids {
        assert!(
            world.control.count(&id, Operation::ReadSettings) <= 2,
            "the endpoint is tried again and again"
        );
        assert_eq!(world.control.count(&id, Operation::PatchSettings), 0);
    }
    world.finish(&[]).await;
}

/// Thirty projects that all want a change, at a moment when nobody knows yet that the endpoint is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_project_that_finds_the_endpoint_gone_is_believed_by_all_also_after_a_restart() {
    let mut world = World::start().await;
    let organization = world.organization.id.clone();
    let names: Vec<String> = (0..30).map(|number| format!("shop-{number}")).collect();
    for name in &names {
        world.apply(name, json!({"settings": complete_settings()})).await;
    }
    for name in &names {
        world.ready(name).await;
    }
    world.control.set_modes(&organization, |modes| modes.settings = SettingsMode::Gone404);
    for name in &names {
        world.apply(name, json!({"settings": with_title(complete_settings())})).await;
    }
    for name in &names {
        world.not_ready(name, "SettingsUnavailable").await;
    }
    let count = world.control.count(&organization, Operation::ReadSettings);
    assert_eq!(count, 2, "one has looked twice, and all others believe it");
    let before = reaches(&world, "default", "settings", "Unavailable").await;
    world.stop_operator().await;
    let mark = world.control.mark();
    world.start_operator().await;
    let mut other = with_title(complete_settings());
    other["logoUrl"] = json!("https://example.com/logo.png");
    world.apply(&names[0], json!({"settings": other})).await;
    let shop = world.not_ready(&names[0], "SettingsUnavailable").await;
    assert!(condition(&shop, "Ready").unwrap().message.contains("logoUrl"), "the new member is not named");
    assert_eq!(world.control.count_since(mark, &organization, Operation::ReadSettings), 0);
    assert_eq!(capability(&world, "default", "settings").await, before);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_organization_can_do_stands_in_its_status_once_it_was_tried() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    assert_eq!(capability(&world, "default", "settings").await, Value::Null, "nobody has tried it");
    made(&world, "shop", json!({"settings": {"displayName": "Shop"}})).await;
    reaches(&world, "default", "settings", "Available").await;
    assert_eq!(capability(&world, "default", "regenerateKey").await, Value::Null, "nobody has tried it");
    world.control.set_modes(&organization, |modes| modes.regenerate_enabled = false);
    let fault = testbed::emulator::Fault::Cut { point: testbed::emulator::Point::AfterCommit };
    world.control.fault(&organization, Operation::Create, fault, 1);
    world.apply("recovered", json!({})).await;
    world.not_ready("recovered", "KeyUnavailable").await;
    reaches(&world, "default", "regenerateKey", "Unavailable").await;
    world.control.set_modes(&organization, |modes| modes.regenerate_enabled = true);
    world.poke("recovered").await;
    world.ready("recovered").await;
    reaches(&world, "default", "regenerateKey", "Available").await;
    world.finish(&[]).await;
}

/// A tenant may bring a key of its own: what is wrong with that is no news about the organization.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_scope_does_not_reach_the_settings_says_nothing_of_the_endpoint() {
    let world = World::start().await;
    let id = made(&world, "scoped", json!({})).await;
    let other = made(&world, "other", json!({})).await;
    let key = world.entry("scoped", "COMPOSIO_API_KEY").await.unwrap();
    let areas = BTreeSet::from(["toolkits".to_owned()]);
    assert!(world.control.set_key_state(&key, KeyState::Scoped(areas)));
    world.apply("scoped", json!({"settings": {"displayName": "Shop"}})).await;
    let scoped = world.not_ready("scoped", "SettingsUnavailable").await;
    assert!(condition(&scoped, "Ready").unwrap().message.contains("scope"), "{:?}", scoped.status);
    world.apply("other", json!({"settings": {"displayName": "Shop"}})).await;
    world.ready("other").await;
    has(&world, &other, "display_name", &json!("Shop")).await;
    reaches(&world, "default", "settings", "Available").await;
    // Without settings, such a key is as good as any.
    world.apply("scoped", json!({})).await;
    world.ready("scoped").await;
    assert!(world.control.set_key_state(&key, KeyState::Live));
    world.apply("scoped", json!({"settings": {"displayName": "Shop"}})).await;
    world.ready("scoped").await;
    has(&world, &id, "display_name", &json!("Shop")).await;
    world.finish(&[]).await;
}
