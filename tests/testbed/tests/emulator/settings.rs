//! API 7 and 15.8: the settings endpoint and its modes.

use reqwest::Method;
use serde_json::{Value, json};
use testbed::emulator::{OrganizationOptions, Plan, SettingsMode};

use super::{World, send};

fn defaults() -> Value {
    json!({
        "is_2FA_enabled": true, "mask_secret_keys_in_connected_account": true,
        "log_visibility_setting": "show_all", "require_mcp_api_key": true,
    })
}

#[tokio::test]
async fn settings_at_creation_lie_over_the_defaults() {
    let world = World::new().await;
    let (_, plain) = world.project("plain").await;
    assert_eq!(send(world.settings(Method::GET, &plain)).await.json(), defaults());

    let config = json!({
        "is_2FA_enabled": false, "mask_secret_keys_in_connected_account": true, "log_visibility_setting": "dont_store_data",
        "display_name": "Shop", "theme": {"accent": "#fff"}, "oauth_callback_verifier_url": null,
    });
    let body = json!({"name": "shop", "should_create_api_key": true, "config": config});
    let key = world.create(body).await.json()["api_key"].as_str().unwrap().to_owned();
    let got = send(world.settings(Method::GET, &key)).await.json();
    let mut expected = defaults();
    expected["is_2FA_enabled"] = json!(false);
    expected["log_visibility_setting"] = json!("dont_store_data");
    expected["display_name"] = json!("Shop");
    expected["theme"] = json!({"accent": "#fff"});
    assert_eq!(got, expected);

    let enterprise = OrganizationOptions { plan: Plan::Enterprise, ..OrganizationOptions::named("big") };
    let enterprise = world.control.add_organization(enterprise);
    let new = world
        .request(Method::POST, "/api/v3.1/org/owner/project/new")
        .header("x-org-api-key", &enterprise.key);
    let made = send(new.json(&json!({"name": "shop"}))).await.json();
    let project = world.control.project(made["id"].as_str().unwrap()).unwrap();
    assert_eq!(project.config["log_visibility_setting"], "dont_store_data", "zero data retention by default");
}

#[tokio::test]
async fn a_patch_merges_and_answers_everything_that_is_set() {
    let world = World::new().await;
    let (id, key) = world.project("shop").await;
    let patch = |body: Value| send(world.settings(Method::PATCH, &key).json(&body));
    let got = patch(
        json!({"display_name": "Shop", "oauth_callback_verifier_url": "https://verify.example.com/cb"}),
    )
    .await;
    let mut expected = defaults();
    expected["display_name"] = json!("Shop");
    expected["oauth_callback_verifier_url"] = json!("https://verify.example.com/cb");
    assert_eq!((got.status, got.json()), (200, expected.clone()));
    expected.as_object_mut().unwrap().remove("oauth_callback_verifier_url");
    assert_eq!(
        patch(json!({"oauth_callback_verifier_url": null})).await.json(),
        expected,
        "null switches it off"
    );
    assert_eq!(send(world.settings(Method::GET, &key)).await.json(), expected);
    for bad in [
        json!({"display_name": null}),
        json!({"logo_url": 1}),
        json!([]),
        json!({"log_visibility_setting": "x"}),
    ] {
        assert_eq!(patch(bad.clone()).await.error().1, 10400, "{bad}");
    }
    assert_eq!(json!(world.control.project(&id).unwrap().config), expected, "a bad patch changes nothing");
    let updated = world.control.project(&id).unwrap().updated_at;
    assert_eq!(patch(json!({"display_name": "Shop"})).await.status, 200);
    assert_eq!(world.control.project(&id).unwrap().updated_at, updated, "nothing changed");
}

#[tokio::test]
async fn the_settings_endpoint_can_be_gone_in_seven_ways_while_the_key_lives() {
    let world = World::new().await;
    let (_, key) = world.project("shop").await;
    let mode = |mode| {
        world.control.set_modes(&world.acme.id, |modes| modes.settings = mode);
    };
    for method in [Method::GET, Method::PATCH] {
        let call = || send(world.settings(method.clone(), &key).json(&json!({})));
        mode(SettingsMode::Gone404);
        assert_eq!(call().await.error(), (404, 10404, "HTTP_NotFound".to_owned()));
        mode(SettingsMode::GoneHtml404);
        let page = call().await;
        assert!(page.status == 404 && page.is_html(), "{page:?}");
        mode(SettingsMode::Unauthorized401);
        assert_eq!(call().await.error(), (401, 10401, "HTTP_Unauthorized".to_owned()));
        mode(SettingsMode::Forbidden403);
        assert_eq!(call().await.error(), (403, 10403, "HTTP_Forbidden".to_owned()));
        mode(SettingsMode::Gone405);
        assert_eq!(call().await.error(), (405, 10405, "HTTP_MethodNotAllowed".to_owned()));
        mode(SettingsMode::Gone410);
        assert_eq!(call().await.error(), (410, 10410, "HTTP_Gone".to_owned()));
        mode(SettingsMode::Gone501);
        assert_eq!(call().await.error(), (501, 10501, "HTTP_NotImplemented".to_owned()));
    }
    assert_eq!(world.categories(&key).await.status, 200);
}

#[tokio::test]
async fn settings_can_be_gated_ignored_or_unknown() {
    let world = World::new().await;
    let (_, key) = world.project("shop").await;
    let mode = |mode| {
        world.control.set_modes(&world.acme.id, |modes| modes.settings = mode);
    };
    let patch = |body: Value| send(world.settings(Method::PATCH, &key).json(&body));

    mode(SettingsMode::PlanGated);
    let gated = patch(json!({"log_visibility_setting": "dont_store_data", "display_name": "A"})).await;
    assert_eq!(gated.error(), (403, 10403, "HTTP_Forbidden".to_owned()));
    assert_eq!(
        patch(json!({"log_visibility_setting": "show_all"})).await.json(),
        defaults(),
        "nothing was applied"
    );

    mode(SettingsMode::IgnoresLogVisibility);
    let ignored =
        patch(json!({"log_visibility_setting": "dont_store_data", "display_name": "A"})).await.json();
    assert_eq!(
        (&ignored["log_visibility_setting"], &ignored["display_name"]),
        (&json!("show_all"), &json!("A"))
    );

    mode(SettingsMode::WithoutNewMembers);
    let unknown =
        patch(json!({"theme": {}, "oauth_callback_verifier_url": "https://a.example.com"})).await.json();
    assert!(
        unknown.get("theme").is_none() && unknown.get("oauth_callback_verifier_url").is_none(),
        "{unknown}"
    );
}

#[tokio::test]
async fn the_journal_names_the_settings_that_were_sent_and_not_their_values() {
    let world = World::new().await;
    let (_, key) = world.project("shop").await;
    send(world.settings(Method::PATCH, &key).json(&json!({"display_name": "Shop", "is_2FA_enabled": true})))
        .await;
    let journal = world.control.journal();
    let sent: Vec<_> = journal.iter().filter(|entry| !entry.settings.is_empty()).collect();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(sent[0].settings, ["display_name", "is_2FA_enabled"]);
    assert!(!format!("{sent:?}").contains("Shop"), "a value is in the journal");
}

#[tokio::test]
async fn a_setting_changed_in_the_dashboard_is_seen_by_the_next_read() {
    let world = World::new().await;
    let (id, key) = world.project("shop").await;
    world.control.set_setting(&id, "display_name", json!("Drifted"));
    assert_eq!(send(world.settings(Method::GET, &key)).await.json()["display_name"], "Drifted");
    world.control.set_setting(&id, "display_name", Value::Null);
    assert_eq!(send(world.settings(Method::GET, &key)).await.json(), defaults());
}
