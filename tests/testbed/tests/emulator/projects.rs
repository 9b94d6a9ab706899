//! API 15.2 to 15.7: create, list, read, delete, regenerate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use testbed::emulator::{Modes, OrganizationOptions, ThirdPartyProject};

use super::{World, names, send};

#[tokio::test]
async fn a_created_project_has_an_id_a_name_and_a_key_only_when_asked() {
    let world = World::new().await;
    let plain = world.create(json!({"name": "plain"})).await;
    assert_eq!(plain.status, 200);
    let plain = plain.json();
    let members: Vec<&String> = plain.as_object().unwrap().keys().collect();
    assert_eq!(members, ["api_key", "id", "name"]);
    assert_eq!((&plain["name"], &plain["api_key"]), (&json!("plain"), &Value::Null));
    let id = plain["id"].as_str().unwrap();
    assert!(id.starts_with("pr_") && id.len() == 15, "{id}");

    let (id, key) = world.project("with-key").await;
    assert_eq!(world.categories(&key).await.status, 200);
    assert_eq!(world.control.project_of_key(&key), Some(id));
}

#[tokio::test]
async fn bad_creations_are_refused_with_every_mistake_named() {
    let world = World::new().await;
    let long = "x".repeat(76);
    let full = json!({"is_2FA_enabled": true, "mask_secret_keys_in_connected_account": true, "log_visibility_setting": "show_all"});
    let with = |member: &str, value: Value| {
        let mut config = full.clone();
        config[member] = value;
        json!({"name": "shop", "config": config})
    };
    for (body, mistake) in [
        (json!({}), "name: is required"),
        (json!({"name": 7}), "name: must be a string"),
        (json!({"name": null}), "name: must be a string"),
        (json!({"name": "ab"}), "name: must have 3 to 75 characters"),
        (json!({"name": long}), "name: must have 3 to 75 characters"),
        (json!({"name": "a b c"}), "name: must match ^[a-zA-Z0-9_-]+$"),
        (json!({"name": "café"}), "name: must match ^[a-zA-Z0-9_-]+$"),
        (json!(["shop"]), "body: must be an object"),
        (json!({"name": "shop", "should_create_api_key": "yes"}), "should_create_api_key: must be a boolean"),
        (json!({"name": "shop", "config": null}), "config: must be an object"),
        (json!({"name": "shop", "config": {}}), "config.log_visibility_setting: is required"),
        (with("is_2FA_enabled", json!("true")), "config.is_2FA_enabled: must be a boolean"),
        (with("log_visibility_setting", json!("none")), "config.log_visibility_setting: must be one of"),
        (
            with("signed_url_file_expiry_in_seconds", json!(0)),
            "config.signed_url_file_expiry_in_seconds: must be a number",
        ),
        (with("signed_url_file_expiry_in_seconds", json!(86401)), "must be a number from 1 to 86400"),
        (
            with("oauth_callback_verifier_url", json!("http://a.example")),
            "must be null or a public HTTPS URL",
        ),
        (with("logo_url", Value::Null), "config.logo_url: must be a string"),
        (with("theme", json!("dark")), "config.theme: must be an object"),
    ] {
        let got = world.create(body.clone()).await;
        assert_eq!(got.error(), (400, 10400, "HTTP_BadRequest".to_owned()), "{body}");
        assert!(got.json()["error"]["errors"].to_string().contains(mistake), "{body}: {}", got.text);
    }
    let two = world.create(json!({"name": "a", "config": {"is_2FA_enabled": 1}})).await.json();
    assert_eq!(two["error"]["errors"].as_array().unwrap().len(), 4, "{two}");
    let no_type = world.organization(Method::POST, "/new").body(r#"{"name": "shop"}"#);
    assert_eq!(send(no_type).await.status, 400);
    let no_json =
        world.organization(Method::POST, "/new").header("content-type", "application/json").body("{");
    assert_eq!(send(no_json).await.status, 400);
    assert!(world.control.all_projects(&world.acme.id).is_empty(), "none of them had an effect");
}

#[tokio::test]
async fn unknown_members_are_ignored_unless_the_organization_is_strict() {
    let world = World::new().await;
    let body = |name| json!({"name": name, "labels": {}});
    assert_eq!(world.create(body("shop")).await.status, 200);
    world.control.set_modes(&world.acme.id, |modes| modes.reject_unknown_members = true);
    let strict = world.create(body("strict")).await;
    assert_eq!(strict.json()["error"]["errors"], json!(["labels: unknown member"]));
}

#[tokio::test]
async fn a_name_is_unique_in_its_organization_as_the_switches_say() {
    let world = World::new().await;
    let (id, _) = world.project("shop").await;
    let taken = world.create(json!({"name": "shop"})).await;
    assert_eq!(taken.error(), (409, 10409, "HTTP_Conflict".to_owned()));
    assert_eq!(
        world.create(json!({"name": "Shop"})).await.status,
        200,
        "another letter case is another name"
    );
    let other = world.control.add_organization(OrganizationOptions::named("other"));
    let there =
        world.request(Method::POST, "/api/v3/org/owner/project/new").header("x-org-api-key", &other.key);
    assert_eq!(send(there.json(&json!({"name": "shop"}))).await.status, 200, "another organization");

    world.control.set_modes(&world.acme.id, |modes| modes.names_ignore_case = true);
    assert_eq!(world.create(json!({"name": "SHOP"})).await.status, 409);
    world.control.set_modes(&world.acme.id, |modes| modes.conflict_answers_400 = true);
    let old = world.create(json!({"name": "shop"})).await;
    assert!(old.status == 400 && old.text.contains("already exists"), "{old:?}");

    world.control.set_modes(&world.acme.id, |modes| *modes = Modes::default());
    world.control.delete_project(&id);
    world.control.set_modes(&world.acme.id, |modes| modes.deleted_names_reserved = true);
    assert_eq!(world.create(json!({"name": "shop"})).await.status, 409);
    world.control.set_modes(&world.acme.id, |modes| modes.deleted_names_reserved = false);
    assert_eq!(world.create(json!({"name": "shop"})).await.status, 200, "the name is free again");
}

#[tokio::test]
async fn a_walk_over_the_list_shows_every_project_once_newest_first() {
    let world = World::new().await;
    for number in 0..120 {
        world.control.create_project(&world.acme.id, ThirdPartyProject::named(format!("p{number:03}")));
    }
    let (mut seen, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let mut call = world.organization(Method::GET, "/list").query(&[("limit", "1000")]);
        if let Some(cursor) = &cursor {
            call = call.query(&[("cursor", cursor)]);
        }
        let page = send(call).await.json();
        pages += 1;
        assert_eq!(
            (&page["total_items"], &page["total_pages"]),
            (&json!(120), &json!(3)),
            "limit is clamped to 50"
        );
        assert_eq!(page["current_page"], pages);
        seen.extend(names(&page).into_iter().map(str::to_owned));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    let expected: Vec<String> = (0..120).rev().map(|number| format!("p{number:03}")).collect();
    assert_eq!((seen, pages), (expected, 3));

    let page = world.list().await;
    assert_eq!(names(&page).len(), 20, "the default page size");
    let inside = STANDARD.decode(page["next_cursor"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&inside).unwrap(), json!({"page": 2, "limit": 20}));
}

#[tokio::test]
async fn malformed_cursors_and_limits_are_refused_and_an_empty_list_is_one() {
    let world = World::new().await;
    let encode = |text: &str| STANDARD.encode(text);
    for (name, value) in [
        ("cursor", "%%%".to_owned()),
        ("cursor", String::new()),
        ("cursor", encode("2")),
        ("cursor", encode(r#"{"page": 0, "limit": 5}"#)),
        ("cursor", encode(r#"{"page": 1, "limit": 51}"#)),
        ("limit", "many".to_owned()),
        ("limit", "0".to_owned()),
        ("limit", "-1".to_owned()),
    ] {
        let got = send(world.organization(Method::GET, "/list").query(&[(name, &value)])).await;
        assert_eq!(got.error().0, 400, "{name}={value}");
    }
    let empty =
        json!({"data": [], "next_cursor": null, "total_pages": 0, "current_page": 1, "total_items": 0});
    assert_eq!(world.list().await, empty);
}

#[tokio::test]
async fn a_read_shows_masked_keys_and_the_same_404_for_unknown_foreign_and_deleted_ids() {
    let world = World::new().await;
    let (id, key) = world.project("shop").await;
    let got = world.read(&id).await;
    let body = got.json();
    assert_eq!(body["api_keys"][0]["key"], format!("ak_**{}", &key[19..]));
    assert!(!got.text.contains(&key), "never in full");
    assert!(body["api_keys"][0]["name"].as_str().unwrap().contains('_'));
    assert_eq!((&body["org_id"], &body["deleted"]), (&json!(world.acme.id), &json!(false)));
    let created = body["created_at"].as_str().unwrap();
    assert!(created.len() == 24 && created.ends_with('Z') && &created[19..20] == ".", "{created}");
    assert_eq!(world.list().await["data"][0].get("api_keys"), None, "not in lists");

    let other = world.control.add_organization(OrganizationOptions::named("other"));
    let foreign = world.control.create_project(&other.id, ThirdPartyProject::named("theirs"));
    let (gone, _) = world.project("gone").await;
    world.control.delete_project(&gone);
    for id in ["pr_000000000000", &foreign.id, &gone] {
        assert_eq!(world.read(id).await.error(), (404, 10404, "HTTP_NotFound".to_owned()));
    }
    for malformed in ["pr_short", "6f1c3b0e-0000-4000-8000-000000000000", "pr_%2f%2e%2e12345678", "%ff"] {
        assert_eq!(world.read(malformed).await.error().0, 400, "{malformed}");
    }
}

#[tokio::test]
async fn a_deletion_ends_project_and_keys_once_and_revokes_upstream_only_when_asked() {
    let world = World::new().await;
    let remove = |id: &str, query: &str| send(world.organization(Method::DELETE, &format!("/{id}{query}")));
    let (id, key) = world.project("shop").await;
    assert_eq!(remove(&id, "?revoke_on_delete=maybe").await.status, 400);
    let got = remove(&id, "").await;
    assert_eq!((got.status, got.json()), (200, json!({"status": "success"})));
    assert_eq!(world.categories(&key).await.error().1, 801);
    assert!(names(&world.list().await).is_empty());
    assert_eq!(remove(&id, "").await.status, 404, "the second time");

    let (id, _) = world.project("shop").await;
    let got = remove(&id, "?revoke_on_delete=true").await.json();
    let job = got["revoke_job_id"].as_str().unwrap();
    assert!(job.starts_with("oj_"), "{job}");
    assert_eq!(world.control.project(&id).unwrap().revoke_job_id.as_deref(), Some(job));

    world.control.set_modes(&world.acme.id, |modes| modes.list_includes_deleted = true);
    let list = world.list().await;
    assert!(
        list["data"].as_array().unwrap().iter().all(|item| item["deleted"] == true)
            && names(&list).len() == 2
    );
}

#[tokio::test]
async fn regenerate_kills_every_key_and_answers_one_new_one_as_an_object() {
    let world = World::new().await;
    let (id, old) = world.project("shop").await;
    let dashboard = world.control.add_project_key(&id);
    let path = format!("/{id}/regenerate_api_key");
    let got = send(world.organization(Method::POST, &path)).await.json();
    assert_eq!(got["message"], "API key regenerated successfully");
    let new = got["api_key"]["key"].as_str().unwrap();
    for member in ["id", "name", "created_at"] {
        assert!(got["api_key"][member].is_string(), "{got}");
    }
    assert_eq!(world.categories(&old).await.status, 401);
    assert_eq!(world.categories(&dashboard).await.status, 401);
    assert_eq!(world.categories(new).await.status, 200);
    assert_eq!(world.control.project(&id).unwrap().keys, [new]);

    world.control.revoke_project_keys(&id);
    assert_eq!(
        send(world.organization(Method::POST, &path)).await.status,
        200,
        "also for a project without keys"
    );
    world.control.set_modes(&world.acme.id, |modes| modes.regenerate_enabled = false);
    let refused = send(world.organization(Method::POST, &path)).await;
    assert_eq!(refused.error(), (403, 10403, "HTTP_Forbidden".to_owned()));
    assert_eq!(
        refused.json()["error"]["message"],
        "API key regeneration is not enabled for this organization"
    );
    assert_eq!(world.control.project(&id).unwrap().keys.len(), 1, "a refusal kills nothing");
    let unknown = send(world.organization(Method::POST, "/pr_x/regenerate_api_key")).await;
    assert_eq!(unknown.status, 400);
}
