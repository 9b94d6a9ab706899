//! Control from test code and by the admin routes, and the journal.

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use testbed::emulator::{CredentialKind, KEY_MARKER, ORG_KEY_MARKER, Operation, Outcome, ThirdPartyProject};

use super::{World, names, send};

#[tokio::test]
async fn the_journal_has_one_entry_per_request_with_its_effect() {
    let world = World::new().await;
    let acme = world.acme.id.as_str();
    let create = world
        .organization(Method::POST, "/new")
        .header("user-agent", "tester/1")
        .header("x-request-id", "r-1");
    let made = send(create.json(&json!({"name": "shop", "should_create_api_key": true}))).await.json();
    let (id, key) = (made["id"].as_str().unwrap(), made["api_key"].as_str().unwrap());
    let mark = world.control.mark();
    assert_eq!(world.create(json!({"name": "shop"})).await.status, 409);
    world.list().await;
    world.categories(key).await;
    send(world.organization(Method::DELETE, &format!("/{id}"))).await;
    world.categories(key).await;

    let journal = world.control.journal();
    let first = &journal[0];
    assert_eq!(
        (first.sequence, first.operation, first.outcome),
        (1, Some(Operation::Create), Outcome::Answered(200))
    );
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/api/v3/org/owner/project/new"));
    assert_eq!((first.user_agent.as_deref(), first.request_id.as_deref()), (Some("tester/1"), Some("r-1")));
    assert_eq!((first.project_id.as_deref(), first.project_name.as_deref()), (Some(id), Some("shop")));
    assert_eq!((first.committed, first.credential), (true, CredentialKind::Organization));
    assert!(journal.iter().all(|entry| entry.organization.as_deref() == Some(acme)), "{journal:#?}");
    let refused = &journal[1];
    assert_eq!((refused.committed, refused.project_name.as_deref()), (false, Some("shop")));
    let proof = &journal[3];
    assert_eq!((proof.credential, proof.project_id.as_deref()), (CredentialKind::Project, Some(id)));
    let dead = &journal[5];
    assert_eq!(
        (dead.outcome, dead.project_id.as_deref()),
        (Outcome::Answered(401), Some(id)),
        "also with a dead key"
    );

    assert_eq!(
        (world.control.count(acme, Operation::Create), world.control.committed(acme, Operation::Create)),
        (2, 1)
    );
    assert_eq!(world.control.count_since(mark, acme, Operation::Create), 1);
    assert_eq!(world.control.committed_since(mark, acme, Operation::Create), 0);
    let effects: Vec<_> = world.control.effects(acme).iter().map(|entry| entry.operation.unwrap()).collect();
    assert_eq!(effects, [Operation::Create, Operation::Delete]);
    world.control.clear_journal();
    assert!(world.control.journal().is_empty());
    world.list().await;
    assert_eq!(world.control.journal()[0].sequence, 7, "numbers go on");
}

#[tokio::test]
async fn no_key_enters_the_journal_whatever_a_client_does_with_it() {
    let world = World::new().await;
    let (_, key) = world.project("shop").await;
    let (a, b) = (key.as_str(), world.acme.key.as_str());
    let careless = world
        .organization(Method::GET, &format!("/{a}?key={b}"))
        .header("user-agent", a)
        .header("x-request-id", b);
    send(careless).await;
    let debug = format!("{:?}{:?}{:?}", world.acme, world.control.projects(&world.acme.id), world.control);
    assert!(!debug.contains(KEY_MARKER) && !debug.contains(ORG_KEY_MARKER), "{debug}");
    assert_eq!(world.create(json!({"name": a})).await.status, 200, "a legal name");
    let journal = format!("{:?}{}", world.control.journal(), json!(world.control.journal()));
    assert!(!journal.contains(KEY_MARKER) && !journal.contains(ORG_KEY_MARKER), "{journal}");
    assert!(journal.contains("[redacted key]"));
}

#[tokio::test]
async fn third_parties_act_without_a_trace_in_the_journal() {
    let world = World::new().await;
    let time: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
    let theirs = ThirdPartyProject::named("theirs").with_key().created_at(time).subscribed();
    let theirs = world.control.create_project(&world.acme.id, theirs);
    assert!(world.control.journal().is_empty());
    let read = world.read(&theirs.id).await.json();
    assert_eq!(read["created_at"], "2026-01-02T03:04:05.678Z");
    assert!(read["last_subscribed_at"].is_string());
    assert_eq!(world.categories(&theirs.keys[0]).await.status, 200);
    assert_eq!(world.create(json!({"name": "theirs"})).await.status, 409);

    let second = world.control.add_project_key(&theirs.id);
    assert_eq!(world.read(&theirs.id).await.json()["api_keys"].as_array().unwrap().len(), 2);
    assert_eq!(world.control.revoke_project_keys(&theirs.id), 2);
    assert_eq!(world.control.project_of_key(&second), None);
    assert_eq!(world.categories(&second).await.error().1, 801);
    assert_eq!(world.read(&theirs.id).await.json()["api_keys"], json!([]));
    assert!(world.control.delete_project(&theirs.id) && !world.control.delete_project(&theirs.id));
    assert!(names(&world.list().await).is_empty());
    assert!(world.control.projects(&world.acme.id).is_empty());
    assert!(world.control.all_projects(&world.acme.id)[0].deleted);
}

#[tokio::test]
async fn the_admin_routes_do_the_same_for_organizations_and_projects() {
    let world = World::new().await;
    let admin = |method, path: String, body| async move { (method, path, body) };
    let call = |method: Method, path: &str, body: Value| {
        let request = admin(method, path.to_owned(), body);
        async {
            let (method, path, body) = request.await;
            let got = world.admin(method, &path, body).await;
            assert_eq!(got.status, 200, "{path}: {}", got.text);
            got.json()
        }
    };
    let beta = call(Method::POST, "/organizations", json!({"name": "beta", "plan": "pro"})).await;
    let id = beta["id"].as_str().unwrap().to_owned();
    let path = |rest: &str| format!("/organizations/{id}{rest}");
    let modes =
        call(Method::PATCH, &path("/modes"), json!({"list_view": {"behind": 2}, "settings": "gone_404"}))
            .await;
    assert_eq!((&modes["list_view"], &modes["settings"]), (&json!({"behind": 2}), &json!("gone_404")));
    assert_eq!(call(Method::GET, &path("/modes"), Value::Null).await, modes);
    let second = call(Method::POST, &path("/keys"), Value::Null).await["key"].as_str().unwrap().to_owned();
    call(Method::DELETE, &format!("/organization-keys/{second}"), Value::Null).await;
    assert_eq!(call(Method::POST, &path("/budget"), json!({"burn": 9_000})).await["remaining"], 1_000);
    assert_eq!(call(Method::DELETE, &path("/budget"), Value::Null).await["remaining"], 10_000);
    let organizations = call(Method::GET, "/organizations", Value::Null).await;
    assert_eq!(organizations.as_array().unwrap().len(), 2);

    let project = json!({"name": "theirs", "with_key": true, "created_at": "2026-01-02T03:04:05Z"});
    let project = call(Method::POST, &path("/projects"), project).await;
    let key = project["keys"][0].as_str().unwrap().to_owned();
    let one = |rest: &str| format!("/projects/{}{rest}", project["id"].as_str().unwrap());
    call(Method::PATCH, &one("/config"), json!({"display_name": "x"})).await;
    assert_eq!(call(Method::GET, &one(""), Value::Null).await["config"]["display_name"], "x");
    call(Method::PUT, &format!("/project-keys/{key}"), json!("expired")).await;
    assert_eq!(world.categories(&key).await.error().1, 811);
    call(Method::PUT, &format!("/project-keys/{key}"), json!({"scoped": ["toolkits"]})).await;
    assert_eq!(world.categories(&key).await.status, 200);
    assert_eq!(
        call(Method::PUT, &one("/lies"), json!(["list_omits", "read_says_404"])).await,
        json!(["list_omits", "read_says_404"])
    );
    call(Method::POST, &one("/keys"), Value::Null).await;
    assert_eq!(call(Method::DELETE, &one("/keys"), Value::Null).await["revoked"], 2);
    call(Method::DELETE, &one(""), Value::Null).await;
    assert_eq!(call(Method::GET, &path("/projects"), Value::Null).await, json!([]));
    let all = call(Method::GET, &path("/projects?deleted=true"), Value::Null).await;
    assert_eq!(all[0]["deleted"], true);
}

#[tokio::test]
async fn the_admin_routes_do_the_same_for_faults_gates_and_the_journal() {
    let world = World::new().await;
    let acme = world.acme.id.as_str();
    let rule = json!({"fault": {"kind": "commit_late", "gate": "g", "answer": "gateway_timeout"}, "operation": "create", "times": 1});
    let id = world.admin(Method::POST, "/faults", rule.clone()).await.json()["id"].as_u64().unwrap();
    let active = world.admin(Method::GET, "/faults", Value::Null).await.json();
    assert_eq!((&active[0]["id"], &active[0]["fault"]), (&json!(id), &rule["fault"]));
    assert_eq!(world.create(json!({"name": "shop"})).await.status, 504);
    assert_eq!(
        world.admin(Method::DELETE, &format!("/faults/{id}"), Value::Null).await.status,
        404,
        "used up"
    );
    let one = json!({"requests": 1});
    assert_eq!(world.admin(Method::POST, "/gates/g/pass", one).await.status, 200);
    super::until(|| world.control.committed(acme, Operation::Create) == 1).await;
    assert_eq!(world.admin(Method::GET, "/gates", Value::Null).await.json(), json!({"g": 1}));
    assert_eq!(world.admin(Method::POST, "/gates/h/open", Value::Null).await.status, 200);
    let lasting = json!({"fault": {"kind": "cut", "point": "before_commit"}});
    world.admin(Method::POST, "/faults", lasting).await;
    assert_eq!(world.admin(Method::DELETE, "/faults", Value::Null).await.json()["cleared"], 1);

    world.list().await;
    let query = format!("/journal?since=0&organization={acme}&operation=create&committed=true");
    let entries = world.admin(Method::GET, &query, Value::Null).await.json();
    assert_eq!((entries.as_array().unwrap().len(), &entries[0]["outcome"]), (1, &json!({"answered": 504})));
    assert_eq!(world.admin(Method::GET, "/journal", Value::Null).await.json().as_array().unwrap().len(), 2);
    world.admin(Method::DELETE, "/journal", Value::Null).await;
    assert!(world.control.journal().is_empty(), "and admin calls never enter it");
}

#[tokio::test]
async fn the_admin_routes_explain_themselves_and_refuse_what_they_do_not_know() {
    let world = World::new().await;
    let help = send(world.request(Method::GET, "/_emulator")).await;
    assert!(help.status == 200 && help.text.contains("commit_late"), "{help:?}");
    for (method, path, body, status) in [
        (Method::GET, "/typo", Value::Null, 404),
        (Method::PUT, "/journal", Value::Null, 404),
        (Method::GET, "/organizations/ok_unknown/projects", Value::Null, 404),
        (Method::PATCH, "/organizations/ok_unknown/modes", json!({}), 404),
        (Method::POST, "/organizations/ok_unknown/projects", json!({"name": "x"}), 404),
        (Method::GET, "/projects/pr_unknown", Value::Null, 404),
        (Method::DELETE, "/organization-keys/oak_unknown", Value::Null, 404),
        (Method::PUT, "/project-keys/ak_unknown", json!("live"), 404),
        (Method::POST, "/organizations", json!({"nam": "x"}), 400),
        (Method::POST, "/organizations", json!({"name": "x", "id": world.acme.id}), 409),
        (Method::POST, "/faults", json!({"fault": {"kind": "explode"}}), 400),
        (Method::POST, "/faults", json!({"fault": {"kind": "redirect"}, "organization": "ok_unknown"}), 404),
    ] {
        let got = world.admin(method.clone(), path, body).await;
        assert_eq!(got.status, status, "{method} {path}: {}", got.text);
        assert!(got.json()["error"].is_string(), "{got:?}");
    }
    let modes = format!("/organizations/{}/modes", world.acme.id);
    for bad in [json!({"no_such_mode": true}), json!({"settings": "sometimes"})] {
        assert_eq!(world.admin(Method::PATCH, &modes, bad.clone()).await.status, 400, "{bad}");
    }
    assert!(world.control.journal().is_empty());
}
