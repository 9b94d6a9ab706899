//! Settings that somebody changes at Composio: put back, or only reported.

use serde_json::{Value, json};
use testbed::emulator::{Fault, Operation, Point, SettingsMode};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, complete_settings};

use super::scene::{
    calls, condition, drift, drifted, events, every_member, has, made, members, remembered, synced, watchful,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_of_each_member_is_put_back_alone_and_told_by_its_name() {
    let world = watchful().await;
    let mut shops = Vec::new();
    for (number, (field, member, wanted, theirs)) in members().into_iter().enumerate() {
        let name = format!("shop-{number}");
        let id = made(&world, &name, json!({"settings": every_member()})).await;
        let ready = condition(&world.ready(&name).await, "Ready");
        let mark = world.control.mark();
        world.control.set_setting(&id, member, theirs);
        shops.push((name, id, field, member, wanted, ready, mark));
    }
    for (name, id, field, member, wanted, ready, mark) in shops {
        has(&world, &id, member, &wanted).await;
        eventually("an Event tells it", PATIENCE, async || {
            let events = events(&world, &name, "Drifted").await;
            let told = format!("settings were changed at Composio and are put back: {field}");
            if events == [("Normal".to_owned(), told)] { Ok(()) } else { Err(format!("{events:?}")) }
        })
        .await;
        let sent: Vec<_> = calls(&world, mark, &id, Operation::PatchSettings);
        assert_eq!(sent.len(), 1, "{field}: {sent:?}");
        assert_eq!(sent[0].settings, [member], "only what differs is sent");
        let shop = synced(&world, &name, "True", "Reconciled").await;
        assert_eq!(condition(&shop, "Ready"), ready, "{field}: Ready has changed");
        assert!(drift(&shop).is_empty(), "{field}");
    }
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_of_each_member_is_only_reported_where_the_spec_says_so() {
    let world = watchful().await;
    let mut shops = Vec::new();
    for (number, (field, member, wanted, theirs)) in members().into_iter().enumerate() {
        let name = format!("shop-{number}");
        let id = made(&world, &name, json!({"settings": every_member(), "onDrift": "Report"})).await;
        world.control.set_setting(&id, member, theirs.clone());
        shops.push((name, id, field, member, wanted, theirs));
    }
    let shown = |value: &Value| match value {
        Value::Null => None,
        value => Some(value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)),
    };
    for (name, id, field, member, wanted, theirs) in &shops {
        let shop = drifted(&world, name, &[field]).await;
        assert_eq!(drift(&shop)[0].desired, shown(wanted).unwrap());
        assert_eq!(drift(&shop)[0].observed, shown(theirs), "{field}");
        let shop = synced(&world, name, "False", "Drifted").await;
        assert_eq!(condition(&shop, "Ready").unwrap().status, "True", "{field}: it is not Ready any more");
        assert!(
            condition(&shop, "SettingsSynced").unwrap().message.contains(field),
            "the member is not named"
        );
        world.control.set_setting(id, member, wanted.clone());
    }
    for (name, ..) in &shops {
        drifted(&world, name, &[]).await;
        synced(&world, name, "True", "Reconciled").await;
    }
    assert_eq!(world.control.count(&world.organization.id, Operation::PatchSettings), 0);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_that_is_reported_keeps_its_time_while_it_lasts_and_is_one_event() {
    let world = watchful().await;
    let id = made(&world, "shop", json!({"settings": every_member(), "onDrift": "Report"})).await;
    world.control.set_setting(&id, "logo_url", json!("https://example.com/theirs.png"));
    let first = drift(&drifted(&world, "shop", &["logoUrl"]).await);
    world.control.set_setting(&id, "display_name", json!("Theirs"));
    let second = drift(&drifted(&world, "shop", &["logoUrl", "displayName"]).await);
    assert_eq!(second[0], first[0]);
    let events = events(&world, "shop", "Drifted").await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].0, "Warning");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_drift_is_only_reported_nothing_is_changed_after_the_creation_until_the_spec_says_correct() {
    let world = watchful().await;
    let organization = world.organization.id.clone();
    let settings = json!({"displayName": "Shop", "requireMcpApiKey": true});
    let id = made(&world, "shop", json!({"settings": settings, "onDrift": "Report"})).await;
    let shop = drifted(&world, "shop", &["displayName"]).await;
    assert_eq!(drift(&shop)[0].observed, None);
    let effective = shop.status.as_ref().and_then(|status| status.effective.clone());
    assert_eq!(serde_json::to_value(effective).unwrap()["onDrift"], json!("Report"));
    assert_eq!(world.control.count(&organization, Operation::PatchSettings), 0);
    world.apply("shop", json!({"settings": settings, "onDrift": "Correct"})).await;
    has(&world, &id, "display_name", &json!("Shop")).await;
    let shop = synced(&world, "shop", "True", "Reconciled").await;
    assert!(drift(&shop).is_empty());
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_that_fails_for_a_while_is_made_in_the_end_and_the_claim_knows_what_differs() {
    let world = watchful().await;
    let organization = world.organization.id.clone();
    let id = made(&world, "shop", json!({"settings": every_member()})).await;
    let fault = Fault::server_error(Point::BeforeCommit);
    let rule = world.control.fault(&organization, Operation::PatchSettings, fault, 1000);
    world.control.set_setting(&id, "display_name", json!("Theirs"));
    eventually("the claim knows it", PATIENCE, async || {
        let known = remembered(&world, "shop").await;
        if known["displayName"] == json!("Theirs") { Ok(()) } else { Err(known.to_string()) }
    })
    .await;
    world.control.clear_fault(rule);
    has(&world, &id, "display_name", &json!("Shop")).await;
    eventually("the claim knows that too", PATIENCE, async || {
        let known = remembered(&world, "shop").await;
        if known == every_member() { Ok(()) } else { Err(known.to_string()) }
    })
    .await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

/// Between two looks, nothing is tried again; whatever wakes the project.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_composio_ignores_is_tried_once_per_look_and_not_at_each_pass() {
    let mut world = testbed::world::World::start().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.settings = SettingsMode::IgnoresLogVisibility);
    let mut settings = complete_settings();
    let id = made(&world, "shop", json!({"settings": settings})).await;
    settings["logVisibilitySetting"] = json!("dont_store_data");
    world.apply("shop", json!({"settings": settings})).await;
    let shop = world.not_ready("shop", "SettingsNotApplied").await;
    assert!(condition(&shop, "Ready").unwrap().message.contains("logVisibilitySetting"), "it is not named");
    let mark = world.control.mark();
    for _ in 0..3 {
        let before = world.secrets().get("shop").await.unwrap().metadata.uid;
        world.secrets().delete("shop", &kube::api::DeleteParams::default()).await.unwrap();
        eventually("the Secret is back", PATIENCE, async || match world.secrets().get_opt("shop").await {
            Ok(Some(secret)) if secret.metadata.uid != before => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
    // Neither a new process.
    world.stop_operator().await;
    world.start_operator().await;
    made(&world, "other", json!({})).await;
    assert_eq!(calls(&world, mark, &id, Operation::PatchSettings).len(), 0, "it is tried again at once");
    let again = world.not_ready("shop", "SettingsNotApplied").await;
    assert_eq!(condition(&again, "Ready"), condition(&shop, "Ready"));
    world.poke("shop").await;
    eventually("it is tried once more", PATIENCE, async || {
        match calls(&world, mark, &id, Operation::PatchSettings).len() {
            1 => Ok(()),
            count => Err(format!("{count} times")),
        }
    })
    .await;
    world.control.set_modes(&organization, |modes| modes.settings = SettingsMode::Available);
    world.poke("shop").await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

/// Somebody changes what the plan does not let the operator change back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_that_cannot_be_put_back_is_reported_in_composios_words_until_it_can() {
    let world = watchful().await;
    let organization = world.organization.id.clone();
    let mut settings = complete_settings();
    settings["logVisibilitySetting"] = json!("dont_store_data");
    let id = made(&world, "shop", json!({"settings": settings})).await;
    world.control.set_modes(&organization, |modes| modes.settings = SettingsMode::PlanGated);
    world.control.set_setting(&id, "log_visibility_setting", json!("show_all"));
    let shop = world.not_ready("shop", "SettingsNotApplied").await;
    let message = condition(&shop, "Ready").unwrap().message;
    assert!(message.contains("logVisibilitySetting: ") && message.contains("Your plan"), "{message}");
    world.control.set_modes(&organization, |modes| modes.settings = SettingsMode::Available);
    world.ready("shop").await;
    has(&world, &id, "log_visibility_setting", &json!("dont_store_data")).await;
    world.finish(&[]).await;
}
