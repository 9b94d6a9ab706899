//! The proxy in front of the API server: what passes, and what rules do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::http::{Method, StatusCode};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, ObjectMeta, PostParams, WatchEvent, WatchParams};
use testbed::controlplane::client_for;
use testbed::eventually::eventually;
use testbed::proxy::{Action, ApiProxy, Gate, Match};

use crate::{SOON, control_plane, namespace};

/// A proxy, and the ConfigMaps of a new namespace through it and around it.
struct Scene {
    proxy: ApiProxy,
    through: Api<ConfigMap>,
    around: Api<ConfigMap>,
}

async fn scene() -> anyhow::Result<Scene> {
    let control_plane = control_plane().await?;
    let client = control_plane.client().await?;
    let namespace = namespace(&client).await?;
    let proxy = ApiProxy::start(control_plane.kubeconfig()).await?;
    let through = Api::namespaced(client_for(proxy.kubeconfig()?).await?, &namespace);
    Ok(Scene { proxy, through, around: Api::namespaced(client, &namespace) })
}

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("key".into(), name.into())])),
        ..ConfigMap::default()
    }
}

impl Scene {
    async fn create(&self, name: &str) -> kube::Result<ConfigMap> {
        self.through.create(&PostParams::default(), &config_map(name)).await
    }

    async fn exists(&self, name: &str) -> anyhow::Result<bool> {
        // Not the ConfigMap with the certificate of the authority, which every namespace gets.
        Ok(self.around.get_opt(name).await?.is_some())
    }

    fn journal(&self) -> Vec<(Method, Option<u16>, bool)> {
        let entries = self.proxy.journal().into_iter();
        entries
            .map(|entry| (entry.method, entry.status.map(|status| status.as_u16()), entry.forwarded))
            .collect()
    }
}

#[tokio::test]
async fn requests_pass_and_the_changing_ones_are_written_down() -> anyhow::Result<()> {
    let scene = scene().await?;
    scene.create("one").await?;
    scene.create("one").await.unwrap_err();
    scene.through.list(&ListParams::default()).await?;
    assert_eq!(scene.journal(), [(Method::POST, Some(201), true), (Method::POST, Some(409), true)]);
    assert_eq!(scene.proxy.count(|entry| entry.path.ends_with("/configmaps")), 2);
    Ok(())
}

#[tokio::test]
async fn a_watch_streams() -> anyhow::Result<()> {
    let scene = scene().await?;
    let from =
        scene.through.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
    let params = WatchParams::default().fields("metadata.name=one");
    let mut events = scene.through.watch(&params, &from).await?.boxed();
    scene.around.create(&PostParams::default(), &config_map("one")).await?;
    let event = tokio::time::timeout(SOON, events.try_next()).await??;
    assert!(matches!(event, Some(WatchEvent::Added(_))), "{event:?}");
    Ok(())
}

#[tokio::test]
async fn a_rule_answers_in_the_place_of_the_api_server() -> anyhow::Result<()> {
    let scene = scene().await?;
    let refuse = Action::refuse(StatusCode::FORBIDDEN, "Forbidden", "exceeded quota: small");
    let about_one = |body: &serde_json::Value| body["metadata"]["name"] == "one";
    let rule = scene.proxy.on(Match::method(Method::POST).json(about_one).times(1), refuse);
    scene.create("two").await?;
    let refused = scene.create("one").await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
    assert!(refused.to_string().contains("exceeded quota: small"), "{refused}");
    assert!(!scene.exists("one").await?);
    assert_eq!(scene.journal()[1], (Method::POST, Some(403), false));
    scene.create("one").await?;
    assert_eq!(rule.hits(), 1);
    Ok(())
}

#[tokio::test]
async fn a_cut_leaves_the_sender_in_the_dark() -> anyhow::Result<()> {
    let scene = scene().await?;
    scene.proxy.on(Match::mutating().nth(1), Action::cut_before());
    scene.proxy.on(Match::mutating().nth(2), Action::cut_after());
    let before = scene.create("before").await.unwrap_err();
    let after = scene.create("after").await.unwrap_err();
    for error in [before, after] {
        assert!(!matches!(error, kube::Error::Api(_)), "no answer came: {error}");
    }
    assert!(!scene.exists("before").await?);
    assert!(scene.exists("after").await?);
    assert_eq!(scene.journal(), [(Method::POST, None, false), (Method::POST, Some(201), true)]);
    Ok(())
}

#[tokio::test]
async fn all_connections_can_be_cut_and_new_ones_are_welcome() -> anyhow::Result<()> {
    let scene = scene().await?;
    let params = WatchParams::default().fields("metadata.name=one");
    let mut events = scene.through.watch(&params, "0").await?.boxed();
    let gate = Gate::new();
    scene.proxy.on(Match::mutating().times(1), Action::hold_before(&gate));
    let api = scene.through.clone();
    let sender = tokio::spawn(async move { api.create(&PostParams::default(), &config_map("held")).await });
    tokio::time::timeout(SOON, gate.reached()).await?;
    scene.proxy.cut_connections();
    let answer = tokio::time::timeout(SOON, sender).await??;
    assert!(!matches!(answer, Ok(_) | Err(kube::Error::Api(_))), "no answer came: {answer:?}");
    // What came before the cut is still there to be read.
    let end = tokio::time::timeout(SOON, async { while let Ok(Some(_)) = events.try_next().await {} }).await;
    assert!(end.is_ok(), "the watch goes on");
    gate.open();
    eventually("what was sent is done", SOON, async || match scene.exists("held").await {
        Ok(true) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    scene.create("one").await?;
    Ok(())
}

#[tokio::test]
async fn a_hook_after_the_answer_runs_before_it_is_relayed() -> anyhow::Result<()> {
    let scene = scene().await?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (note, around) = (Arc::clone(&seen), scene.around.clone());
    let hook = Action::after(move |exchange| {
        let (note, around) = (Arc::clone(&note), around.clone());
        async move {
            let exists = around.get_opt("one").await.is_ok_and(|found| found.is_some());
            note.lock().unwrap().push((exchange.status, exists));
        }
    });
    scene.proxy.on(Match::mutating().path_ends_with("/configmaps"), hook);
    scene.create("one").await?;
    assert_eq!(*seen.lock().unwrap(), [(Some(StatusCode::CREATED), true)]);
    Ok(())
}

#[tokio::test]
async fn a_held_answer_comes_when_the_gate_opens() -> anyhow::Result<()> {
    let scene = scene().await?;
    let gate = Gate::new();
    scene.proxy.on(Match::mutating(), Action::hold_after(&gate));
    let api = scene.through.clone();
    let sender = tokio::spawn(async move { api.create(&PostParams::default(), &config_map("one")).await });
    tokio::time::timeout(SOON, gate.reached()).await?;
    assert!(scene.exists("one").await?);
    assert!(!sender.is_finished());
    gate.open();
    sender.await??;
    Ok(())
}

#[tokio::test]
async fn a_held_request_arrives_even_if_its_sender_is_gone() -> anyhow::Result<()> {
    let scene = scene().await?;
    let gate = Gate::new();
    let rule = scene.proxy.on(Match::mutating(), Action::hold_before(&gate));
    let api = scene.through.clone();
    let sender = tokio::spawn(async move { api.create(&PostParams::default(), &config_map("one")).await });
    tokio::time::timeout(SOON, async { tokio::join!(gate.reached(), rule.hit()) }).await?;
    assert!(!scene.exists("one").await?);
    sender.abort();
    assert!(sender.await.unwrap_err().is_cancelled());
    gate.open();
    eventually("the request has arrived", SOON, async || match scene.exists("one").await {
        Ok(true) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    Ok(())
}
