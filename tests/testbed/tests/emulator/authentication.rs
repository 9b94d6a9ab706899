//! API 15.1: who is refused, and with which words. Budget (15.11), request ids (15.13) and foreign routes.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;
use testbed::emulator::{KEY_MARKER, KeyState, Modes, ORG_KEY_MARKER, OrganizationOptions};

use super::{World, send};

#[tokio::test]
async fn an_organization_route_tells_missing_wrong_kind_unknown_and_revoked_keys_apart() {
    let world = World::new().await;
    let list = || world.request(Method::GET, "/api/v3.1/org/owner/project/list");
    let (_, project_key) = world.project("shop").await;
    let no_key = (401, 906, "Auth_NoAuthProvided".to_owned());
    let unknown = (401, 10401, "HTTP_Unauthorized".to_owned());

    assert_eq!(send(list()).await.error(), no_key);
    assert_eq!(send(list().header("x-org-api-key", "")).await.error(), no_key);
    assert_eq!(send(list().header("x-org-api-key", &project_key)).await.error(), no_key);
    assert_eq!(send(list().header("x-api-key", &world.acme.key)).await.error(), no_key);
    let wrong = send(list().header("x-org-api-key", "oak_01234567890123456789")).await;
    assert_eq!(wrong.error(), unknown);
    let message = "Invalid x-org-api-key. Please check you are using a valid API key.";
    assert_eq!(wrong.json()["error"]["message"], message);

    let second = world.control.add_organization_key(&world.acme.id);
    assert_eq!(send(list().header("x-org-api-key", &second)).await.status, 200);
    assert!(world.control.revoke_organization_key(&world.acme.key));
    assert!(!world.control.revoke_organization_key(&world.acme.key));
    assert_eq!(send(list().header("x-org-api-key", &world.acme.key)).await.error(), unknown);
    assert_eq!(send(list().header("x-org-api-key", &second)).await.status, 200);
}

#[tokio::test]
async fn a_project_route_tells_missing_wrong_kind_unknown_and_dead_keys_apart() {
    let world = World::new().await;
    let (id, key) = world.project("shop").await;
    let no_key = (401, 906, "Auth_NoAuthProvided".to_owned());
    let invalid = (401, 801, "APIKey_InvalidAPIKey".to_owned());
    let categories = || world.request(Method::GET, "/api/v3/toolkits/categories");

    assert_eq!(world.categories(&key).await.status, 200);
    assert_eq!(send(categories()).await.error(), no_key);
    assert_eq!(send(categories().header("x-org-api-key", &world.acme.key)).await.error(), no_key);
    assert_eq!(world.categories(&world.acme.key).await.error(), no_key);
    let user = world.categories("uak_0123456789012345678901234567890123456789012").await;
    assert_eq!(user.error(), (401, 902, "Auth_Unauthorized".to_owned()));
    assert!(!user.text.contains("0123"), "the key is not echoed");
    let user = send(categories().header("x-user-api-key", "uak_x")).await;
    assert_eq!(user.error(), (401, 2113, "UserApiKey_Unauthorized".to_owned()));
    let unknown = world.categories("ak_0123456789abcdefESjq").await;
    assert_eq!(unknown.error(), invalid);
    assert_eq!(unknown.json()["error"]["message"], "Invalid API key: ak_**ESjq");

    world.control.delete_project(&id);
    assert_eq!(world.categories(&key).await.error(), invalid, "the key of a deleted project is dead");
}

#[tokio::test]
async fn expired_scoped_and_address_bound_keys_are_refused_each_in_its_own_way() {
    let world = World::new().await;
    let (_, key) = world.project("shop").await;
    let turn = |state| assert!(world.control.set_key_state(&key, state));

    turn(KeyState::Expired);
    assert_eq!(world.categories(&key).await.error(), (401, 811, "APIKey_APIKeyExpired".to_owned()));
    turn(KeyState::AddressNotAllowed);
    let address = world.categories(&key).await;
    assert_eq!(address.error(), (401, 902, "Auth_Unauthorized".to_owned()));
    assert!(address.text.contains("is not in this API key's IP allowlist"));
    turn(KeyState::Scoped(BTreeSet::from(["toolkits".to_owned()])));
    assert_eq!(world.categories(&key).await.status, 200);
    let settings = send(world.settings(Method::GET, &key)).await;
    assert_eq!(settings.error(), (403, 812, "APIKey_InsufficientPermissions".to_owned()));
    turn(KeyState::Scoped(BTreeSet::new()));
    assert_eq!(world.categories(&key).await.error().1, 812);
    turn(KeyState::Live);
    assert_eq!(world.categories(&key).await.status, 200);
    assert!(!world.control.set_key_state("ak_unknown", KeyState::Live));
}

#[tokio::test]
async fn an_organization_can_be_suspended_or_banned_and_a_fresh_key_can_be_late() {
    let world = World::with(Modes { fresh_key_refusals: 2, ..Modes::default() }).await;
    let (_, key) = world.project("shop").await;
    let statuses = [world.categories(&key).await, world.categories(&key).await, world.categories(&key).await];
    assert_eq!(statuses.map(|got| got.status), [401, 401, 200]);

    world.control.set_modes(&world.acme.id, |modes| modes.suspended = true);
    let suspended = (403, 2206, "Organization_InsufficientPermissions".to_owned());
    assert_eq!(send(world.organization(Method::GET, "/list")).await.error(), suspended);
    world.control.set_modes(&world.acme.id, |modes| modes.address_banned = true);
    let banned = send(world.organization(Method::GET, "/list")).await;
    assert_eq!(banned.error(), (401, 10401, "HTTP_Unauthorized".to_owned()));
    assert_eq!(banned.json()["error"]["message"], "Access denied");
    assert_eq!(world.categories(&key).await.error(), (401, 902, "Auth_Unauthorized".to_owned()));
}

#[tokio::test]
async fn authentication_comes_before_validation_and_two_credentials_are_refused() {
    let world = World::new().await;
    let new = || world.request(Method::POST, "/api/v3/org/owner/project/new").json(&json!({"name": "x"}));
    assert_eq!(send(new()).await.status, 401);
    assert_eq!(send(new().header("x-org-api-key", &world.acme.key)).await.status, 400);
    let (_, key) = world.project("shop").await;
    let both = world.organization(Method::GET, "/list").header("x-api-key", &key);
    let both = send(both).await;
    assert_eq!(both.error().0, 400);
    assert_eq!(both.json()["error"]["errors"], json!(["headers: send exactly one credential per request"]));
}

#[tokio::test]
async fn keys_carry_the_markers_and_have_the_documented_length() {
    let world = World::new().await;
    let (_, key) = world.project("shop").await;
    assert!(key.starts_with(KEY_MARKER) && key.len() == 23, "{key}");
    assert!(world.acme.key.starts_with(ORG_KEY_MARKER) && world.acme.key.len() == 24, "{}", world.acme.key);
    assert!(!world.acme.key.contains(KEY_MARKER), "the two kinds can be told apart in a text");
}

#[tokio::test]
async fn every_answer_carries_the_rate_headers_and_over_budget_is_a_flat_429() {
    let world = World::with(Modes { rate_limit: Some(3), ..Modes::default() }).await;
    let list = || send(world.organization(Method::GET, "/list"));
    let left = |got: &super::Got| {
        assert_eq!((got.header("x-ratelimit"), got.header("x-ratelimit-window-size")), ("3", "60s"));
        got.header("x-ratelimit-remaining").to_owned()
    };
    assert_eq!(left(&list().await), "2");
    let bad = world.create(json!({"name": "x"})).await;
    assert_eq!((bad.status, left(&bad).as_str()), (400, "1"), "a refused request counts");
    assert_eq!(left(&list().await), "0");
    let over = list().await;
    assert_eq!((over.status, left(&over).as_str()), (429, "0"));
    assert_eq!(over.json(), json!({"message": "Rate limit exceeded. Limit: 3 requests per 1 minutes"}));
    let wait: u64 = over.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(world.create(json!({"name": "shop"})).await.status, 429);
    assert!(world.control.projects(&world.acme.id).is_empty(), "a throttled creation has no effect");

    let other = world.control.add_organization(OrganizationOptions::named("other"));
    let got = send(
        world.request(Method::GET, "/api/v3/org/owner/project/list").header("x-org-api-key", &other.key),
    );
    assert_eq!(
        got.await.header("x-ratelimit-remaining"),
        "1999",
        "budgets are per organization; Hobby has 2000"
    );

    world.control.reset_budget(&world.acme.id);
    assert_eq!(left(&list().await), "2");
    world.control.burn_budget(&world.acme.id, 2);
    assert_eq!(list().await.status, 429, "other traffic counts");
    for got in [send(world.request(Method::GET, "/nowhere")).await, world.categories("ak_x").await] {
        assert_eq!(got.header("x-ratelimit"), "2000");
    }
}

#[tokio::test]
async fn errors_echo_the_callers_request_id_or_carry_a_uuid() {
    let world = World::new().await;
    let bad = || world.organization(Method::POST, "/new").json(&json!({}));
    let given = send(bad().header("x-request-id", "req_7")).await;
    assert_eq!(given.json()["error"]["request_id"], "req_7");
    let made = send(bad()).await.json()["error"]["request_id"].as_str().unwrap().to_owned();
    assert!(uuid::Uuid::parse_str(&made).is_ok(), "{made}");
}

#[tokio::test]
async fn what_is_no_route_is_answered_by_the_dashboard_and_removed_versions_by_410() {
    let world = World::new().await;
    let key = &world.acme.key;
    for (method, path) in [
        (Method::GET, "/api/v3.1/org/projects"),
        (Method::GET, "/api/v3/org/owner/project/new/x"),
        (Method::PUT, "/api/v3/org/owner/project/list"),
        (Method::GET, "/api/v3/org/owner/project/list/"),
        (Method::GET, "/api/v4/org/owner/project/list"),
        (Method::GET, "//api/v3/org/owner/project/list"),
        (Method::GET, "/"),
    ] {
        let got = send(world.request(method.clone(), path).header("x-org-api-key", key)).await;
        assert!(got.status == 404 && got.is_html(), "{method} {path}: {got:?}");
    }
    assert_eq!(world.control.unknown_routes(), 7);
    for path in ["/api/v1/client", "/api/v2/x"] {
        assert_eq!(send(world.request(Method::GET, path)).await.error().0, 410);
    }
}
