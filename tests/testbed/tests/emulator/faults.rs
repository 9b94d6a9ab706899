//! API 15.12: what can go wrong with a request, before and after its effect.

use reqwest::Method;
use serde_json::{Value, json};
use testbed::emulator::{Fault, FaultRule, Operation, OrganizationOptions, Outcome, Point, Which};

use super::{World, names, send};

/// Asks for a project while a fault strikes; gives the answer, and whether the project is there.
async fn create_under(fault: Fault) -> (World, Result<super::Got, reqwest::Error>, bool) {
    let world = World::new().await;
    world.control.fault(&world.acme.id, Operation::Create, fault, 1);
    let call = world.organization(Method::POST, "/new");
    let got = match call.json(&json!({"name": "shop", "should_create_api_key": true})).send().await {
        Err(error) => Err(error),
        Ok(response) => {
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            response.text().await.map(|text| super::Got { status, headers, text })
        }
    };
    let exists = !world.control.projects(&world.acme.id).is_empty();
    assert_eq!(world.control.committed(&world.acme.id, Operation::Create) == 1, exists, "the journal knows");
    assert_eq!(world.control.faults_left(&world.acme.id), 0, "the rule is used up");
    (world, got, exists)
}

#[tokio::test]
async fn a_connection_is_cut_before_or_after_the_effect() {
    for (point, effect) in [(Point::BeforeCommit, false), (Point::AfterCommit, true)] {
        let (world, got, exists) = create_under(Fault::Cut { point }).await;
        let error = got.expect_err("no answer comes");
        assert!(error.is_request() && !error.is_timeout() && !error.is_connect(), "{error:?}");
        assert_eq!(exists, effect);
        assert_eq!(world.control.journal()[0].outcome, Outcome::Cut);
        assert_eq!(world.create(json!({"name": "next"})).await.status, 200, "the next request is served");
    }
}

#[tokio::test]
async fn a_server_error_comes_before_or_after_the_effect() {
    for (point, effect) in [(Point::BeforeCommit, false), (Point::AfterCommit, true)] {
        let (_, got, exists) = create_under(Fault::server_error(point)).await;
        assert_eq!(got.unwrap().error(), (500, 10500, "HTTP_InternalServerError".to_owned()));
        assert_eq!(exists, effect);
    }
}

#[tokio::test]
async fn the_edge_answers_with_pages_and_redirects() {
    let (_, got, exists) = create_under(Fault::Html { point: Point::BeforeCommit, status: 403 }).await;
    let got = got.unwrap();
    assert!(got.status == 403 && got.is_html() && got.text.contains("Just a moment..."), "{got:?}");
    assert!(!exists);
    for status in [200, 502] {
        let (_, got, exists) = create_under(Fault::Html { point: Point::AfterCommit, status }).await;
        let got = got.unwrap();
        assert!(got.status == status && got.is_html() && exists, "{got:?}");
    }
    let (world, got, exists) = create_under(Fault::Redirect).await;
    let got = got.unwrap();
    assert!(got.status == 302 && !exists);
    let target = got.header("location").to_owned();
    send(world.request(Method::GET, &target).header("x-org-api-key", &world.acme.key)).await;
    assert_eq!(world.control.unknown_routes(), 1, "who follows it with the credential is seen");
}

#[tokio::test]
async fn refusals_can_be_forced_before_the_effect() {
    let bad = Fault::BadRequest { message: "config.theme: is too large".to_owned() };
    for (fault, status, code, slug) in [
        (Fault::InvalidOrganizationKey, 401, 10401, "HTTP_Unauthorized"),
        (Fault::InvalidProjectKey, 401, 801, "APIKey_InvalidAPIKey"),
        (Fault::AccessDenied, 401, 10401, "HTTP_Unauthorized"),
        (Fault::Forbidden, 403, 10403, "HTTP_Forbidden"),
        (bad, 400, 10400, "HTTP_BadRequest"),
    ] {
        let (_, got, exists) = create_under(fault.clone()).await;
        assert_eq!(got.unwrap().error(), (status, code, slug.to_owned()), "{fault:?}");
        assert!(!exists, "{fault:?}");
    }
    let (_, got, exists) = create_under(Fault::RateLimited { retry_after_seconds: 7 }).await;
    let got = got.unwrap();
    assert_eq!((got.status, got.header("retry-after"), exists), (429, "7", false));
    assert!(got.json()["message"].is_string() && got.json().get("error").is_none(), "the flat body");

    let world = World::new().await;
    let (_, key) = world.project("shop").await;
    world.control.fault(&world.acme.id, Operation::Categories, Fault::AccessDenied, 1);
    assert_eq!(world.categories(&key).await.error(), (401, 902, "Auth_Unauthorized".to_owned()));
}

#[tokio::test]
async fn a_body_can_end_early_with_and_without_the_connection() {
    let (world, got, exists) = create_under(Fault::ShortBody).await;
    assert!(got.expect_err("the body is short").is_decode() && exists);
    world.control.fault(&world.acme.id, Operation::List, Fault::ShortBody, 1);
    let mut response = world.organization(Method::GET, "/list").send().await.unwrap();
    let promised = response.content_length().unwrap();
    let first = response.chunk().await.unwrap().expect("the first half comes");
    assert_eq!(response.status(), 200);
    assert!(!first.is_empty() && (first.len() as u64) < promised, "{} of {promised}", first.len());
    assert!(response.chunk().await.is_err(), "then the connection ends");

    let (_, got, exists) = create_under(Fault::CutJson).await;
    let got = got.unwrap();
    assert!(got.status == 200 && exists && got.text.starts_with('{'), "{got:?}");
    assert!(serde_json::from_str::<Value>(&got.text).is_err(), "{}", got.text);
}

#[tokio::test]
async fn members_can_be_missing_or_unknown() {
    for name in ["id", "api_key"] {
        let (_, got, exists) = create_under(Fault::WithoutMember { name: name.to_owned() }).await;
        let body = got.unwrap().json();
        assert!(body.get(name).is_none() && body["name"] == "shop" && exists, "{body}");
    }
    let (world, got, _) = create_under(Fault::ExtraMembers).await;
    let body = got.unwrap().json();
    assert!(body["unknown_member"].is_object() && body["id"].is_string(), "{body}");
    world.control.fault(&world.acme.id, Operation::List, Fault::ExtraMembers, 1);
    assert!(world.list().await["data"][0]["unknown_member"].is_object());
    let no_cursor = Fault::WithoutMember { name: "next_cursor".to_owned() };
    world.control.fault(&world.acme.id, Operation::List, no_cursor, 1);
    let list = world.list().await;
    assert!(list.get("next_cursor").is_none() && names(&list) == ["shop"], "{list}");
    let empty = Fault::SetMember { name: "next_cursor".to_owned(), value: json!("") };
    world.control.fault(&world.acme.id, Operation::List, empty, 1);
    assert_eq!(world.list().await["next_cursor"], "");
    let without_id = Fault::WithoutMember { name: "error".to_owned() };
    world.control.fault(&world.acme.id, Operation::Create, without_id, 1);
    assert_eq!(world.create(json!({"name": "shop"})).await.error().0, 409, "only 2xx answers lose members");
}

#[tokio::test]
async fn any_answer_can_be_given() {
    let body = json!({"success": true});
    for (point, effect) in [(Point::BeforeCommit, false), (Point::AfterCommit, true)] {
        let (_, got, exists) = create_under(Fault::Answer { point, status: 202, body: body.clone() }).await;
        let got = got.unwrap();
        assert_eq!((got.status, got.json(), exists), (202, body.clone(), effect));
    }
}

#[tokio::test]
async fn a_lost_regenerate_answer_kills_the_old_key_and_loses_the_new_one() {
    let world = World::new().await;
    let (id, old) = world.project("shop").await;
    world.control.fault(&world.acme.id, Operation::Regenerate, Fault::Cut { point: Point::AfterCommit }, 1);
    let call = world.organization(Method::POST, &format!("/{id}/regenerate_api_key"));
    assert!(call.send().await.is_err());
    assert_eq!(world.categories(&old).await.status, 401);
    assert_eq!(world.control.project(&id).unwrap().keys.len(), 1);
}

#[tokio::test]
async fn a_request_can_be_handled_twice_with_one_of_the_two_answers() {
    let (_, got, exists) = create_under(Fault::Twice { answer: Which::First }).await;
    assert!(got.unwrap().status == 200 && exists);
    let (_, got, exists) = create_under(Fault::Twice { answer: Which::Second }).await;
    assert!(got.unwrap().error().0 == 409 && exists);
    for (answer, lives) in [(Which::First, 401), (Which::Second, 200)] {
        let world = World::new().await;
        let (id, _) = world.project("shop").await;
        world.control.fault(&world.acme.id, Operation::Regenerate, Fault::Twice { answer }, 1);
        let call = world.organization(Method::POST, &format!("/{id}/regenerate_api_key"));
        let key = send(call).await.json()["api_key"]["key"].as_str().unwrap().to_owned();
        assert_eq!(world.categories(&key).await.status, lives, "the key of the {answer:?} answer");
        assert_eq!(world.control.project(&id).unwrap().keys.len(), 1);
    }
}

#[tokio::test]
async fn faults_strike_every_operation_and_only_the_one_they_name() {
    for operation in Operation::ALL {
        let world = World::new().await;
        let (id, key) = world.project("shop").await;
        world.control.fault(&world.acme.id, operation, Fault::server_error(Point::BeforeCommit), 1);
        let calls = [
            (Operation::Create, world.organization(Method::POST, "/new").json(&json!({"name": "other"}))),
            (Operation::List, world.organization(Method::GET, "/list")),
            (Operation::Read, world.organization(Method::GET, &format!("/{id}"))),
            (Operation::Regenerate, world.organization(Method::POST, &format!("/{id}/regenerate_api_key"))),
            (Operation::Delete, world.organization(Method::DELETE, &format!("/{id}"))),
        ];
        let mut failed = Vec::new();
        for (called, call) in [
            (Operation::ReadSettings, world.settings(Method::GET, &key)),
            (
                Operation::PatchSettings,
                world.settings(Method::PATCH, &key).json(&json!({"display_name": "x"})),
            ),
            (
                Operation::Categories,
                world.request(Method::GET, "/api/v3/toolkits/categories").header("x-api-key", &key),
            ),
        ]
        .into_iter()
        .chain(calls)
        {
            match send(call).await.status {
                200 => {}
                500 => failed.push(called),
                other => panic!("{called:?} answered {other}"),
            }
        }
        assert_eq!(failed, [operation]);
    }
}

#[tokio::test]
async fn rules_are_used_in_order_counted_filtered_and_cleared() {
    let world = World::new().await;
    let acme = world.acme.id.as_str();
    let other = world.control.add_organization(OrganizationOptions::named("other"));
    let list = |key: &str| {
        send(world.request(Method::GET, "/api/v3/org/owner/project/list").header("x-org-api-key", key))
    };
    let status = |status| Fault::ServerError { point: Point::BeforeCommit, status };

    world.control.fault(acme, Operation::List, status(502), 2);
    world.control.fault(acme, Operation::List, status(503), 1);
    assert_eq!(list(&other.key).await.status, 200, "another organization");
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(list(&world.acme.key).await.status);
    }
    assert_eq!(seen, [502, 502, 503, 200]);

    let lasting = world.control.inject(FaultRule::new(status(504)).organization(acme));
    for _ in 0..3 {
        assert_eq!(list(&world.acme.key).await.status, 504);
    }
    assert!(world.control.clear_fault(lasting) && !world.control.clear_fault(lasting));
    assert_eq!(list(&world.acme.key).await.status, 200);

    let (id, _) = world.project("shop").await;
    let by_name = FaultRule::new(status(500)).operation(Operation::Create).project("wanted");
    world.control.inject(by_name.organization(acme));
    world
        .control
        .inject(FaultRule::new(status(500)).organization(acme).operation(Operation::Read).project(&id));
    assert_eq!(world.create(json!({"name": "unwanted"})).await.status, 200);
    assert_eq!(world.create(json!({"name": "wanted"})).await.status, 500);
    assert_eq!(world.read(&id).await.status, 500);
    assert_eq!(world.read("pr_000000000000").await.status, 404);
    world.control.clear_faults(acme);
    assert_eq!(world.read(&id).await.status, 200);

    world.control.fault(acme, Operation::List, status(500), 1);
    assert_eq!(list("oak_unknown").await.status, 401, "refused callers use no fault up");
    assert_eq!(list(&world.acme.key).await.status, 500);
}
