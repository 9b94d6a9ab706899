//! The canary itself: a key that is stored where none belongs is found, however short it was there, and one that is
//! stored where it belongs is no alarm.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use composio_operator::crd::ComposioProject;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::canary::{History, Kind};
use testbed::controlplane::{ControlPlane, Options};
use testbed::emulator::{KEY_MARKER, ORG_KEY_MARKER};

const SYSTEM: &str = "system";
const TEAM: &str = "team";

struct Scene {
    client: Client,
    history: History,
    control_plane: ControlPlane,
}

impl Scene {
    async fn start() -> anyhow::Result<Self> {
        let crds = composio_operator::crd::all();
        let control_plane = ControlPlane::start(Options::with_crds(crds)).await?;
        let client = control_plane.client().await?;
        let history = History::follow(control_plane.etcd_client_url()).await.map_err(anyhow::Error::msg)?;
        history.permit_ledger(SYSTEM);
        let scene = Self { client, history, control_plane };
        for name in [SYSTEM, TEAM] {
            let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
            Api::all(scene.client.clone()).create(&PostParams::default(), &namespace).await?;
        }
        Ok(scene)
    }

    async fn create<K>(&self, namespace: &str, object: Value) -> anyhow::Result<Api<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let object: K = serde_json::from_value(object)?;
        api.create(&PostParams::default(), &object).await?;
        Ok(api)
    }

    /// Asserts that since the last call there is one more finding, with this text.
    async fn found(&self, known: &mut Vec<String>, expected: &str) -> anyhow::Result<()> {
        let (findings, _) = self.history.findings().await.map_err(anyhow::Error::msg)?;
        let new: Vec<_> = findings.iter().filter(|finding| !known.contains(finding)).collect();
        anyhow::ensure!(
            new.len() == 1 && new[0].contains(expected) && !new[0].contains(KEY_MARKER),
            "{new:?}"
        );
        *known = findings;
        Ok(())
    }
}

fn secret(name: &str, entry: &str, value: &str) -> Value {
    json!({"metadata": {"name": name}, "stringData": {entry: value}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_another_object_is_found_even_if_it_was_there_for_a_moment_only() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    let (key, organization_key) = (format!("{KEY_MARKER}0123"), format!("{ORG_KEY_MARKER}0123"));
    let mut known = Vec::new();

    let map = json!({"metadata": {"name": "a"}, "data": {"x": key}});
    let maps = scene.create::<ConfigMap>(TEAM, map).await?;
    maps.delete("a", &DeleteParams::default()).await?;
    scene.found(&mut known, "Project key in its content of /registry/configmaps/team/a").await?;

    let encoded = STANDARD.encode(format!("key: {key}"));
    let map = json!({"metadata": {"name": "b", "annotations": {"last-applied": encoded}}});
    scene.create::<ConfigMap>(TEAM, map).await?;
    scene.found(&mut known, "Project key in its content of /registry/configmaps/team/b").await?;

    let lease = json!({"metadata": {"name": "c"}, "spec": {"holderIdentity": organization_key}});
    let leases = scene.create::<Lease>(SYSTEM, lease).await?;
    let overwrite = Patch::Merge(json!({"spec": {"holderIdentity": "nobody"}}));
    leases.patch("c", &PatchParams::default(), &overwrite).await?;
    scene.found(&mut known, "Organization key in its content of /registry/leases/system/c").await?;

    let event = json!({
        "metadata": {"name": "d"}, "regarding": {"namespace": TEAM}, "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Create",
        "reason": "Created", "type": "Normal", "reportingController": "x", "reportingInstance": "x",
        "note": format!("the key is {key}")
    });
    scene.create::<Event>(TEAM, event).await?;
    scene.found(&mut known, "Project key in its content of /registry/events/team/d").await?;

    let project = json!({"metadata": {"name": "e", "labels": {"x": key}}, "spec": {}});
    scene.create::<ComposioProject>(TEAM, project).await?;
    scene.found(&mut known, "its content of /registry/composio.dev/composioprojects/team/e").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_a_secret_is_found_but_where_it_belongs() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    let (key, organization_key) = (format!("{KEY_MARKER}0123"), format!("{ORG_KEY_MARKER}0123"));
    let mut known = Vec::new();

    scene.create::<ComposioProject>(TEAM, json!({"metadata": {"name": "shop"}, "spec": {}})).await?;
    let renamed = json!({"metadata": {"name": "other"}, "spec": {"secret": {"name": "renamed"}}});
    scene.create::<ComposioProject>(TEAM, renamed).await?;
    scene.history.permit(Kind::Organization, SYSTEM, "default-key");
    for (namespace, name, entry, key) in [
        (SYSTEM, "claim-a", "apiKey", &key),
        (SYSTEM, "default-key", "apiKey", &organization_key),
        (TEAM, "shop", "COMPOSIO_API_KEY", &key),
        (TEAM, "renamed", ".env", &key),
    ] {
        scene.create::<Secret>(namespace, secret(name, entry, key)).await?;
    }
    assert_eq!(scene.history.findings().await, Ok((Vec::new(), 4)));

    for (namespace, name, entry, key) in [
        (TEAM, "other", "COMPOSIO_API_KEY", &key),
        (TEAM, "claim-a", "apiKey", &key),
        (SYSTEM, "shop", "apiKey", &key),
        (SYSTEM, "claim-b", "claim.json", &key),
        (SYSTEM, "claim-c", "apiKey", &organization_key),
        (SYSTEM, "composio-ledger", "apiKey", &key),
    ] {
        scene.create::<Secret>(namespace, secret(name, entry, key)).await?;
        let place = format!("key in entry {entry} of /registry/secrets/{namespace}/{name}");
        scene.found(&mut known, &place).await?;
    }
    let secrets: Api<Secret> = Api::namespaced(scene.client.clone(), TEAM);
    let annotate = Patch::Merge(json!({"metadata": {"annotations": {"x": key}}}));
    secrets.patch("shop", &PatchParams::default(), &annotate).await?;
    scene.found(&mut known, "Project key in its metadata of /registry/secrets/team/shop").await?;
    let put = Patch::Merge(json!({"stringData": {"COMPOSIO_API_KEY": organization_key}}));
    secrets.patch("shop", &PatchParams::default(), &put).await?;
    let (findings, _) = scene.history.findings().await.map_err(anyhow::Error::msg)?;
    let last = "Organization key in entry COMPOSIO_API_KEY of /registry/secrets/team/shop";
    assert!(findings.iter().any(|finding| finding == last), "{findings:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_etcd_there_is_an_error_and_not_a_clean_result() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.control_plane.stop();
    assert!(scene.history.findings().await.is_err());
    Ok(())
}
