//! One control plane (shared by the test binary), one emulator, and operators, in process or as children. Each world has
//! namespaces of its own, so that tests run in parallel. What must hold at the end of every scenario is in `check`. Worlds
//! with a cluster of their own, and two that share an emulator, are in `clusters`.

mod check;
mod child;
mod clusters;
mod operator;
mod rights;

use std::sync::Arc;
use std::time::Duration;

use composio_operator::crd::{self, ComposioOrganization, ComposioProject};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

pub use self::check::Claims;
pub use self::child::Child;
pub use self::clusters::contexts;
use self::operator::Running;
use crate::canary::{History, Kind, capture_logs};
use crate::controlplane::{ControlPlane, Options};
use crate::emulator::{self, Control, Emulator, Modes, Organization, OrganizationOptions};
use crate::eventually::eventually;

/// How long a scenario waits for one thing. Long, because two cores serve everything.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// See the module.
pub struct World {
    /// The control plane of this test binary, or of this world.
    pub control_plane: &'static ControlPlane,
    /// Its administrator.
    pub client: Client,
    /// Namespace of the operator.
    pub system: String,
    /// Namespace of the projects.
    pub namespace: String,
    /// Further namespaces of projects.
    pub others: Vec<String>,
    /// The API.
    pub emulator: Arc<Emulator>,
    /// Switches and journal of the API.
    pub control: Control,
    /// The organization that ComposioOrganization `default` stands for.
    pub organization: Organization,
    /// The search in everything that is stored; a test that puts a key into a Secret itself declares it there, before.
    pub history: &'static History,
    /// `--superseded-retention` of operators that are started later; an hour, as by default.
    pub superseded_retention: Duration,
    /// `--sweep-interval` of operators that are started later; as good as never, because other scenarios count their calls.
    pub sweep_interval: Duration,
    /// `--observe-interval` of operators that are started later; so long that no look comes by itself.
    pub observe_interval: Duration,
    operator: Option<Running>,
    is_led_by_lease: bool,
    is_cluster_wide: bool,
    is_finished: bool,
}

#[expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a world that cannot be made fails its test, with the reason"
)]
impl World {
    /// A world with a running operator and a ready organization `default`.
    pub async fn start() -> Self {
        let mut world = Self::without_operator().await;
        world.start_operator().await;
        world.organization_ready("default").await;
        world
    }

    /// The same without operator.
    pub async fn without_operator() -> Self {
        capture_logs();
        let control_plane = match ControlPlane::shared(Options::with_crds(crd::all())).await {
            Ok(control_plane) => control_plane,
            Err(error) => panic!("no control plane: {error}"),
        };
        let history = History::shared(control_plane).await.expect("the history of etcd");
        let emulator = Emulator::start(emulator::Options::default()).await.expect("an emulator");
        let organization = emulator.control().add_organization(ample("default"));
        let id = uuid::Uuid::new_v4().simple().to_string();
        let (system, namespace) = (format!("system-{}", &id[..10]), format!("team-{}", &id[..10]));
        let mut world =
            Self::of(control_plane, history, Arc::new(emulator), organization, [&system, &namespace]).await;
        world.create_namespace(&system).await;
        world.create_namespace(&namespace).await;
        let key = world.organization.key.clone();
        world.add_organization("default", &key, json!({})).await;
        world
    }

    /// A world of these parts, in which nothing has been made yet: with its own and its first namespace of projects.
    async fn of(
        control_plane: &'static ControlPlane,
        history: &'static History,
        emulator: Arc<Emulator>,
        organization: Organization,
        [system, namespace]: [&str; 2],
    ) -> Self {
        history.permit_ledger(system);
        Self {
            control_plane,
            client: control_plane.client().await.expect("an administrator's client"),
            system: system.to_owned(),
            namespace: namespace.to_owned(),
            others: Vec::new(),
            control: emulator.control(),
            emulator,
            organization,
            history,
            superseded_retention: Duration::from_hours(1),
            sweep_interval: Duration::from_hours(24),
            observe_interval: Duration::from_hours(100),
            operator: None,
            is_led_by_lease: false,
            is_cluster_wide: false,
            is_finished: false,
        }
    }

    /// Whether an operator runs in this process.
    pub fn is_running(&self) -> bool {
        self.operator.is_some()
    }

    /// One more namespace that an operator started later watches.
    pub async fn add_namespace(&mut self) -> String {
        let name = format!("{}-{}", self.namespace, self.others.len() + 2);
        self.create_namespace(&name).await;
        self.others.push(name.clone());
        name
    }

    async fn create_namespace(&mut self, name: &str) {
        let namespace: Namespace = from(json!({"metadata": {"name": name}}));
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.create(&PostParams::default(), &namespace).await.expect("a fresh namespace");
    }

    /// Key Secret `<name>-key` and ComposioOrganization `name` of the emulator, with `spec` merged over.
    pub async fn add_organization(&self, name: &str, key: &str, spec: Value) {
        self.set_organization_key(name, key).await;
        let mut object = json!({
            "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioOrganization",
            "metadata": {"name": name},
            "spec": {"apiKeySecretRef": {"name": format!("{name}-key")}, "endpoint": {"url": self.emulator.url()}}
        });
        if let (Some(target), Some(more)) = (object["spec"].as_object_mut(), spec.as_object()) {
            target.extend(more.clone());
        }
        self.apply_to::<ComposioOrganization>(&self.system, &object).await.expect("an organization");
    }

    /// Writes the key of an organization into its Secret.
    pub async fn set_organization_key(&self, name: &str, key: &str) {
        self.history.permit(Kind::Organization, &self.system, &format!("{name}-key"));
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{name}-key")},
            "stringData": {"apiKey": key}
        });
        self.apply_to::<Secret>(&self.system, &secret).await.expect("a key Secret");
    }

    /// Server-side apply, as `kubectl apply --server-side` does it.
    pub async fn apply_to<K>(&self, namespace: &str, object: &Value) -> kube::Result<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let params = PatchParams::apply("tests").force().validation_strict();
        api.patch(&name, &params, &Patch::Apply(object)).await
    }

    /// Applies a ComposioProject with this spec in the world's namespace.
    pub async fn apply(&self, name: &str, spec: Value) -> ComposioProject {
        self.apply_in(&self.namespace, name, spec).await
    }

    /// Applies a ComposioProject with this spec.
    pub async fn apply_in(&self, namespace: &str, name: &str, spec: Value) -> ComposioProject {
        let object = project(name, &spec);
        self.apply_to(namespace, &object).await.expect("a project that the API server accepts")
    }

    /// The ComposioProjects of the world's namespace.
    pub fn projects(&self) -> Api<ComposioProject> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The Secrets of the world's namespace.
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits until the project has been reconciled with its present spec and is Ready.
    pub async fn ready(&self, name: &str) -> ComposioProject {
        self.ready_in(&self.namespace, name).await
    }

    /// The same in another namespace.
    pub async fn ready_in(&self, namespace: &str, name: &str) -> ComposioProject {
        self.reaches(namespace, name, "Ready", "True", "Reconciled").await
    }

    /// Waits until `Ready` is false with this reason, for the present spec.
    pub async fn not_ready(&self, name: &str, reason: &str) -> ComposioProject {
        self.reaches(&self.namespace, name, "Ready", "False", reason).await
    }

    /// Waits until a condition of a project has this status and reason, for the present spec.
    pub async fn reaches(
        &self,
        namespace: &str,
        name: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> ComposioProject {
        let api: Api<ComposioProject> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("ComposioProject {name} has {kind}={status}, reason {reason}");
        eventually(&what, PATIENCE, async || {
            let object = api.get(name).await.map_err(|error| error.to_string())?;
            let state = object.status.clone().unwrap_or_default();
            let found = state.conditions.iter().find(|condition| condition.type_ == kind);
            let is_met = found.is_some_and(|found| found.status == status && found.reason == reason);
            let is_current = state.observed_generation == object.metadata.generation;
            if is_met && is_current { Ok(object) } else { Err(format!("its status is {state:?}")) }
        })
        .await
    }

    /// Waits until the organization is Ready.
    pub async fn organization_ready(&self, name: &str) -> ComposioOrganization {
        self.organization_reaches(name, "True", "KeyAccepted").await
    }

    /// Waits until `Ready` of the organization has this status and reason.
    pub async fn organization_reaches(&self, name: &str, status: &str, reason: &str) -> ComposioOrganization {
        self.organization_says(name, status, reason, "").await
    }

    /// The same with these words in its message. They may come later than the reason.
    pub async fn organization_says(
        &self,
        name: &str,
        status: &str,
        reason: &str,
        words: &str,
    ) -> ComposioOrganization {
        let api: Api<ComposioOrganization> = Api::namespaced(self.client.clone(), &self.system);
        let what = format!("ComposioOrganization {name} has Ready={status}, reason {reason}: {words}");
        eventually(&what, PATIENCE, async || {
            let object = api.get(name).await.map_err(|error| error.to_string())?;
            let state = object.status.clone().unwrap_or_default();
            let found = state.conditions.iter().find(|condition| condition.type_ == "Ready");
            let is_met = found.is_some_and(|found| {
                found.status == status && found.reason == reason && found.message.contains(words)
            });
            match is_met {
                true => Ok(object),
                false => Err(format!("its status is {state:?}")),
            }
        })
        .await
    }

    /// One entry of a Secret of the world's namespace.
    pub async fn entry(&self, secret: &str, entry: &str) -> Option<String> {
        let secret = self.secrets().get_opt(secret).await.expect("an API server that answers")?;
        let value = secret.data.unwrap_or_default().remove(entry)?;
        String::from_utf8(value.0).ok()
    }

    /// Asks for a look now, as a person does, so that a test need not wait for the next look.
    pub async fn poke(&self, name: &str) {
        let value = uuid::Uuid::new_v4().to_string();
        let patch = json!({"metadata": {"annotations": {crd::RECONCILE_ANNOTATION: value}}});
        let patched = self.projects().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.expect("a project that can be annotated");
    }

    /// Deletes a project and waits until it is gone.
    pub async fn delete(&self, name: &str) {
        let api = self.projects();
        api.delete(name, &kube::api::DeleteParams::default()).await.expect("a project that can be deleted");
        eventually(&format!("ComposioProject {name} is gone"), PATIENCE, async || {
            match api.get_opt(name).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(object) => Err(format!("it has finalizers {:?}", object.finalizers())),
            }
        })
        .await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        assert!(self.is_finished || std::thread::panicking(), "a test must end in World::finish");
    }
}

/// An organization whose limit is so large that the operator's budget is the subject of those tests only that set another.
fn ample(name: &str) -> OrganizationOptions {
    let modes = Modes { rate_limit: Some(100_000), ..Modes::default() };
    OrganizationOptions { modes, ..OrganizationOptions::named(name) }
}

/// A ComposioProject as a manifest.
pub fn project(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioProject",
        "metadata": {"name": name}, "spec": spec
    })
}

/// The three settings that creation requires together.
pub fn complete_settings() -> Value {
    json!({"is2FAEnabled": true, "maskSecretKeysInConnectedAccount": true, "logVisibilitySetting": "show_all"})
}

#[expect(clippy::expect_used, reason = "a literal of the test bed")]
fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a well-formed object")
}

/// Gets a page of this machine, whatever proxies the environment names.
pub async fn get(url: &str) -> reqwest::Result<reqwest::Response> {
    reqwest::Client::builder().no_proxy().build()?.get(url).send().await
}
