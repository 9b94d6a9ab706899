//! Settings: with the creation, after it, changed, refused, ignored, and without an endpoint.

use serde_json::json;
use testbed::emulator::{Fault, Operation, Point, SettingsMode};
use testbed::world::{World, complete_settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_are_complete_go_with_the_creation() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    let mut settings = complete_settings();
    settings["displayName"] = json!("Shop");
    settings["oauthCallbackVerifierUrl"] = json!("");
    world.apply("shop", json!({"settings": settings})).await;
    let shop = world.ready("shop").await;
    assert_eq!(world.control.count(&organization, Operation::ReadSettings), 0);
    assert_eq!(world.control.count(&organization, Operation::PatchSettings), 0);
    let project = world.control.projects(&organization).remove(0);
    assert_eq!(project.config["display_name"], json!("Shop"));
    let conditions = shop.status.unwrap().conditions;
    let synced = conditions.iter().find(|condition| condition.type_ == "SettingsSynced").unwrap();
    assert_eq!(synced.status, "True");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_are_incomplete_are_patched_after_the_creation_and_read_back() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    let settings = json!({"displayName": "Shop", "signedUrlFileExpiryInSeconds": 60});
    world.apply("shop", json!({"settings": settings})).await;
    world.ready("shop").await;
    let project = world.control.projects(&organization).remove(0);
    assert_eq!(project.config["display_name"], json!("Shop"));
    assert_eq!(project.config["signed_url_file_expiry_in_seconds"].as_f64(), Some(60.0));
    assert_eq!(world.control.count(&organization, Operation::PatchSettings), 1);
    assert_eq!(world.control.count(&organization, Operation::ReadSettings), 2, "one before and one after");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_spec_is_patched_and_unstated_members_are_left_alone() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.apply("shop", json!({"settings": complete_settings()})).await;
    let shop = world.ready("shop").await;
    let id = shop.status.unwrap().project.unwrap().id.unwrap();
    world.control.set_setting(&id, "logo_url", json!("https://example.com/theirs.png"));
    let mut settings = complete_settings();
    settings["is2FAEnabled"] = json!(false);
    world.apply("shop", json!({"settings": settings})).await;
    world.ready("shop").await;
    let project = world.control.project(&id).unwrap();
    assert_eq!(project.config["is_2FA_enabled"], json!(false));
    assert_eq!(project.config["logo_url"], json!("https://example.com/theirs.png"));
    assert_eq!(world.control.committed(&organization, Operation::PatchSettings), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_settings_of_a_recovered_project_are_not_assumed_but_read() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.fault(&organization, Operation::Create, Fault::Cut { point: Point::AfterCommit }, 1);
    world.apply("shop", json!({"settings": complete_settings()})).await;
    world.ready("shop").await;
    assert_eq!(world.control.count(&organization, Operation::ReadSettings), 1);
    assert_eq!(world.control.count(&organization, Operation::PatchSettings), 0);
    world.finish(&[]).await;
}

/// The endpoint is gone: the key is published all the same, and the state says what to do.
async fn an_endpoint_that_is_gone_is_reported(mode: SettingsMode) {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.settings = mode);
    world.apply("shop", json!({"settings": {"displayName": "Shop"}})).await;
    let shop = world.not_ready("shop", "SettingsUnavailable").await;
    assert!(serde_json::to_string(&shop.status).unwrap().contains("displayName"), "the member is not named");
    assert!(world.entry("shop", "COMPOSIO_API_KEY").await.is_some(), "the key is held back");
    let mark = world.control.mark();
    world.poke("shop").await;
    world.apply("complete", json!({"settings": complete_settings()})).await;
    world.ready("complete").await;
    world.apply("incomplete", json!({"settings": {"displayName": "Shop"}})).await;
    world.not_ready("incomplete", "SettingsIncomplete").await;
    assert_eq!(
        world.control.count_since(mark, &organization, Operation::ReadSettings),
        0,
        "it is tried again at once"
    );
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settings_endpoint_that_answers_404_is_reported_and_not_hammered() {
    an_endpoint_that_is_gone_is_reported(SettingsMode::Gone404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settings_endpoint_that_answers_html_is_reported_and_not_hammered() {
    an_endpoint_that_is_gone_is_reported(SettingsMode::GoneHtml404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settings_endpoint_that_rejects_a_living_key_is_reported_and_not_hammered() {
    an_endpoint_that_is_gone_is_reported(SettingsMode::Unauthorized401).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_is_accepted_and_ignored_is_reported_with_its_name() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.settings = SettingsMode::IgnoresLogVisibility);
    world.apply("shop", json!({"settings": {"logVisibilitySetting": "dont_store_data"}})).await;
    let shop = world.not_ready("shop", "SettingsNotApplied").await;
    assert!(
        serde_json::to_string(&shop.status).unwrap().contains("logVisibilitySetting"),
        "the member is not named"
    );
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_the_plan_does_not_allow_is_reported_with_its_name() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.settings = SettingsMode::PlanGated);
    world.apply("shop", json!({"settings": {"logVisibilitySetting": "dont_store_data"}})).await;
    let shop = world.not_ready("shop", "SettingsNotApplied").await;
    assert!(
        serde_json::to_string(&shop.status).unwrap().contains("logVisibilitySetting"),
        "the member is not named"
    );
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_key_that_is_refused_for_some_seconds_is_tried_again() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.fresh_key_refusals = 3);
    world.apply("shop", json!({"settings": {"displayName": "Shop"}})).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

/// Nothing is believed of the endpoint for hours, and for the whole organization, because of one answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_page_or_damaged_answer_does_not_make_the_settings_endpoint_gone() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    let page = |status| Fault::Html { point: Point::AfterCommit, status };
    for (name, fault) in [("one", page(200)), ("two", page(404)), ("three", Fault::CutJson)] {
        world.control.fault(&organization, Operation::ReadSettings, fault, 1);
        world.apply(name, json!({"settings": {"displayName": "Shop"}})).await;
        world.ready(name).await;
    }
    world.finish(&[]).await;
}
