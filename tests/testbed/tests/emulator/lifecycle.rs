//! Start, stop, and sharing between runtimes.

use std::net::TcpListener;
use std::sync::LazyLock;

use serde_json::json;
use testbed::emulator::{Emulator, Options, OrganizationOptions, ThirdPartyProject};

use super::{World, http};

#[test]
fn an_emulator_outlives_the_runtime_that_started_it() {
    static SHARED: LazyLock<Emulator> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Emulator::start(Options::default())).unwrap()
    });
    for name in ["one", "two"] {
        let organization = SHARED.control().add_organization(OrganizationOptions::named(name));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let list = format!("{}/api/v3/org/owner/project/list", SHARED.url());
        let call = async { http().get(list).header("x-org-api-key", organization.key).send().await.unwrap() };
        assert_eq!(runtime.block_on(call).status(), 200);
    }
}

#[tokio::test]
async fn it_stops_when_dropped_and_frees_its_port() {
    let world = World::new().await;
    let address = world.emulator.url().strip_prefix("http://").unwrap().to_owned();
    world.list().await;
    drop(world.emulator);
    TcpListener::bind(&address).expect("the port is free again");
    let again = http().get(format!("http://{address}/")).send().await.unwrap_err();
    assert!(again.is_connect(), "{again:?}");
    let project = ThirdPartyProject::named("still");
    assert_eq!(world.control.create_project(&world.acme.id, project).name, "still", "a control outlives it");
}

#[tokio::test]
async fn it_listens_on_loopback_only_on_the_port_that_is_asked_for() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = Options { listen: free, organizations: vec![OrganizationOptions::named("acme")] };
    let emulator = Emulator::start(options).await.unwrap();
    assert_eq!(emulator.url(), format!("http://{free}"));
    assert_eq!(emulator.control().organizations()[0].name, "acme");

    let taken = Options { listen: free, ..Options::default() };
    let error = Emulator::start(taken).await.unwrap_err();
    assert!(error.to_string().contains("cannot listen on"), "{error}");
    let open = Options { listen: "0.0.0.0:0".parse().unwrap(), ..Options::default() };
    let error = Emulator::start(open).await.unwrap_err();
    assert!(error.to_string().contains("loopback"), "{error}");
    let twice =
        OrganizationOptions { id: Some("ok_000000000000".to_owned()), ..OrganizationOptions::named("twin") };
    let twice = Options { organizations: vec![twice.clone(), twice], ..Options::default() };
    assert!(Emulator::start(twice).await.unwrap_err().to_string().contains("given twice"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_creations_at_once_make_two_hundred_projects_with_distinct_keys() {
    let world = World::new().await;
    let calls = (0..200)
        .map(|number| world.create(json!({"name": format!("p-{number}"), "should_create_api_key": true})));
    let answers = futures::future::join_all(calls).await;
    let keys: std::collections::HashSet<String> =
        answers.iter().map(|got| got.json()["api_key"].as_str().unwrap().to_owned()).collect();
    assert_eq!((keys.len(), world.control.projects(&world.acme.id).len()), (200, 200));
    let twice = (0..20).map(|_| world.create(json!({"name": "same"})));
    let mut statuses: Vec<u16> =
        futures::future::join_all(twice).await.iter().map(|got| got.status).collect();
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1..].to_vec()), (200, vec![409; 19]), "one of twenty gets the name");
}
