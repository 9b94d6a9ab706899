//! Two neighbours: a namespace with a Ready project `shop`, and a tenant of another namespace who has no rights but there.

use std::collections::BTreeMap;

use composio_operator::crd::{ComposioOrganization, ComposioProject};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, NamespaceResourceScope};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testbed::controlplane::client_for;
use testbed::emulator::{Entry, ProjectState};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World, project};

/// See the module.
pub(crate) struct Scene {
    pub(crate) world: World,
    /// The tenant's namespace.
    pub(crate) namespace: String,
    /// The tenant: a ServiceAccount with the rights of an editor in its namespace.
    pub(crate) tenant: Client,
    /// `shop` of the neighbour.
    pub(crate) victim: ComposioProject,
    /// All projects at Composio, and those of them that are not the tenant's.
    remote: Vec<ProjectState>,
    victims: Vec<ProjectState>,
    /// What is not the tenant's, by its name.
    others: BTreeMap<String, String>,
    mark: u64,
}

impl Scene {
    /// The neighbour's `shop` is Ready and nothing is left to be done for it; the tenant has nothing.
    pub(crate) async fn start() -> Self {
        Self::start_with(json!({})).await
    }

    /// The same with more in the spec of the organization.
    pub(crate) async fn start_with(organization: Value) -> Self {
        let mut world = World::without_operator().await;
        if organization != json!({}) {
            // Its template cannot be changed.
            let organizations: Api<ComposioOrganization> =
                Api::namespaced(world.client.clone(), &world.system);
            organizations.delete("default", &DeleteParams::default()).await.expect("an organization");
            let key = world.organization.key.clone();
            world.add_organization("default", &key, organization).await;
        }
        let namespace = world.add_namespace().await;
        let tenant = tenant(&world, &namespace).await;
        world.start_operator().await;
        world.organization_ready("default").await;
        world.apply("shop", json!({})).await;
        world.ready("shop").await;
        world.poke("shop").await;
        eventually("the claim of the neighbour knows its Secret", PATIENCE, async || {
            let claims = world.claims().await;
            let is_known = claims.all().all(|claim| claim["published"]["uid"].is_string());
            if is_known { Ok(()) } else { Err("it does not".to_owned()) }
        })
        .await;
        let victim = handled_by(&world.projects(), "shop").await;
        let (remote, victims, others) = Default::default();
        let mut scene = Self { world, namespace, tenant, victim, remote, victims, others, mark: 0 };
        scene.remember().await;
        scene
    }

    /// What is there now, the tenant's own projects included, must stay as it is.
    pub(crate) async fn remember(&mut self) {
        self.remote = self.world.control.all_projects(&self.world.organization.id);
        let claims = self.world.claims().await;
        let own = claims.all().filter(|claim| claim["owner"]["namespace"] == self.namespace.as_str());
        let own: Vec<_> = own.filter_map(|claim| claim["projectId"].as_str()).collect();
        self.victims.clone_from(&self.remote);
        self.victims.retain(|project| !own.contains(&project.id.as_str()));
        self.others = self.others().await;
        self.mark = self.world.control.mark();
    }

    /// The tenant's own objects.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.tenant.clone(), &self.namespace)
    }

    /// The tenant applies a ComposioProject.
    pub(crate) async fn apply(&self, name: &str, spec: Value) -> ComposioProject {
        self.put(project(name, &spec)).await
    }

    /// The tenant applies anything; `object` needs no kind.
    pub(crate) async fn put<K>(&self, mut object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        object["apiVersion"] = K::api_version(&()).into();
        object["kind"] = K::kind(&()).into();
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let params = PatchParams::apply("tenant").force();
        self.api::<K>().patch(&name, &params, &Patch::Apply(object)).await.expect("what a tenant may write")
    }

    /// The words with which the API server refuses what the tenant writes.
    pub(crate) async fn refused<K>(&self, object: Value) -> String
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).expect("a well-formed object");
        match self.api::<K>().create(&PostParams::default(), &object).await {
            Ok(accepted) => panic!("accepted: {:?}", accepted.meta()),
            Err(error) => error.to_string(),
        }
    }

    /// The tenant writes into the status of its project.
    pub(crate) async fn forge_status(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        let forged = self.api::<ComposioProject>().patch_status(name, &PatchParams::default(), &patch).await;
        forged.expect("a status that a tenant may write");
    }

    /// Waits until a condition `Ready` of the tenant's project is as expected.
    pub(crate) async fn ends(&self, name: &str, status: &str, reason: &str) -> ComposioProject {
        self.world.reaches(&self.namespace, name, "Ready", status, reason).await
    }

    /// Waits until the operator has looked at the tenant's project once more.
    pub(crate) async fn looked_at(&self, name: &str) -> ComposioProject {
        handled_by(&self.api(), name).await
    }

    /// The tenant of the namespace that was made again.
    pub(crate) async fn tenant_again(&mut self) {
        self.tenant = tenant(&self.world, &self.namespace).await;
    }

    /// Deletes Secrets that the tenant has filled with what it must not have.
    pub(crate) async fn forget_own_secrets(&self, names: &[&str]) {
        for name in names {
            self.api::<Secret>().delete(name, &DeleteParams::default()).await.expect("an own Secret");
        }
    }

    /// The neighbour's claim, as the ledger has it.
    pub(crate) async fn claim_of_neighbour(&self) -> Secret {
        let api: Api<Secret> = Api::namespaced(self.world.client.clone(), &self.world.system);
        let label = format!("composio.dev/owner-namespace={}", self.world.namespace);
        let claims = api.list(&ListParams::default().labels(&label)).await.expect("a list").items;
        claims.into_iter().next().expect("the neighbour's claim")
    }

    /// Calls since the last [`Scene::remember`].
    pub(crate) fn calls(&self) -> Vec<Entry> {
        self.world.calls_since(self.mark)
    }

    /// Asserts that nothing was done that concerns others: no call, nothing changed, nothing told.
    pub(crate) async fn nothing_done(&self) {
        let calls: Vec<_> = self.calls().into_iter().map(|call| (call.method, call.path)).collect();
        assert!(calls.is_empty(), "remote calls for what a tenant has written: {calls:?}");
        let projects = self.world.control.all_projects(&self.world.organization.id);
        assert_eq!(projects, self.remote, "projects at Composio");
        self.others_untouched().await;
    }

    /// Asserts that what is not the tenant's is as it was, and that nothing of it is told to the tenant. The tenant may
    /// have projects of its own.
    pub(crate) async fn others_untouched(&self) {
        self.others_unchanged().await;
        self.nothing_told().await;
    }

    /// The first half of [`Scene::others_untouched`].
    pub(crate) async fn others_unchanged(&self) {
        let projects = self.world.control.all_projects(&self.world.organization.id);
        for victim in &self.victims {
            assert!(projects.contains(victim), "the project {} has changed", victim.name);
        }
        assert_eq!(self.others().await, self.others, "objects of others (right: before)");
    }

    /// Resources and Secrets of the neighbour, everything in the operator's namespace but the tenant's own claims: as the
    /// API server has it, with its version.
    async fn others(&self) -> BTreeMap<String, String> {
        let (client, world) = (&self.world.client, &self.world);
        let params = ListParams::default();
        let mut objects = BTreeMap::new();
        for namespace in [&world.namespace, &world.system] {
            let projects: Api<ComposioProject> = Api::namespaced(client.clone(), namespace);
            for object in projects.list(&params).await.expect("a list") {
                objects.insert(format!("ComposioProject {}", object.name_any()), version(&object));
            }
            let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
            for object in secrets.list(&params).await.expect("a list") {
                if object.labels().get("composio.dev/owner-namespace") != Some(&self.namespace) {
                    objects.insert(format!("Secret {}", object.name_any()), version(&object));
                }
            }
        }
        objects
    }

    /// The tenant reads all that it can, and finds nothing of its neighbour's.
    async fn nothing_told(&self) {
        let params = ListParams::default();
        let projects = self.api::<ComposioProject>().list(&params).await.expect("a list").items;
        let written: Vec<_> = projects.iter().map(|project| &project.spec).collect();
        let written = serde_json::to_string(&written).expect("objects are JSON");
        let statuses: Vec<_> = projects.iter().filter_map(|project| project.status.clone()).collect();
        let events = self.api::<Event>().list(&params).await.expect("a list").items;
        let ours = events.into_iter().filter(|event| {
            let reporter = event.reporting_controller.as_deref().unwrap_or_default();
            reporter.contains("composio")
        });
        let notes: Vec<_> = ours.filter_map(|event| event.note).collect();
        let secrets = self.api::<Secret>().list(&params).await.expect("a list").items;
        let statuses = statuses.iter().map(|status| serde_json::to_string(status).expect("it is JSON"));
        for text in statuses.chain(notes) {
            let text = text.replace(&self.namespace, "(own)");
            // What the tenant has asked for itself is repeated to it.
            for word in self.secrets_of_others().into_iter().filter(|word| !written.contains(word)) {
                assert!(!text.contains(&word), "the tenant is told {word}: {text}");
            }
        }
        let keys: Vec<_> = self.victims.iter().flat_map(|victim| &victim.keys).collect();
        for (entry, value) in secrets.iter().flat_map(|secret| secret.data.iter().flatten()) {
            let value = String::from_utf8_lossy(&value.0);
            assert!(!keys.iter().any(|key| value.contains(*key)), "a neighbour's key is in entry {entry}");
        }
    }

    /// What the tenant must not learn, beside the key.
    fn secrets_of_others(&self) -> Vec<String> {
        let status = self.victim.status.clone().unwrap_or_default();
        let key = status.key.expect("the key of a Ready project");
        let uid = self.victim.uid().expect("a UID");
        let ids = self.victims.iter().map(|victim| victim.id.clone());
        ids.chain([self.world.namespace.clone(), self.world.system.clone(), key.masked, key.fingerprint, uid])
            .collect()
    }

    /// The end of every test.
    pub(crate) async fn finish(self, foreign: &[&str]) {
        self.world.finish(foreign).await;
    }
}

/// The id of a Ready project.
pub(crate) fn id(project: &ComposioProject) -> String {
    let status = project.status.clone().and_then(|status| status.project);
    status.and_then(|project| project.id).expect("the id of a Ready project")
}

/// An object with its version and what it holds; keys are only compared, and never shown.
fn version(object: &(impl ResourceExt + Serialize)) -> String {
    let content = serde_json::to_vec(object).expect("an object is JSON");
    let (version, digest) = (object.resource_version().unwrap_or_default(), Sha256::digest(content));
    format!("version {version}, {digest:x?}")
}

/// Asks for a look, and waits until it has been taken.
async fn handled_by(api: &Api<ComposioProject>, name: &str) -> ComposioProject {
    let request = uuid::Uuid::new_v4().to_string();
    let patch = json!({"metadata": {"annotations": {"composio.dev/reconcile-requested-at": request}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("a request for a look");
    eventually(&format!("{name} was looked at"), PATIENCE, async || {
        let object = api.get(name).await.map_err(|error| error.to_string())?;
        let handled = object.status.as_ref().and_then(|status| status.last_handled_reconcile_at.clone());
        if handled.as_ref() == Some(&request) { Ok(object) } else { Err(format!("{:?}", object.status)) }
    })
    .await
}

/// A ServiceAccount with the rights of an editor in this namespace: everything of ours, its status included, and Secrets.
async fn tenant(world: &World, namespace: &str) -> Client {
    let subject = json!({"kind": "ServiceAccount", "name": "tenant", "namespace": namespace});
    let rules = json!([
        {"apiGroups": ["composio.dev"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["*"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["*"]}
    ]);
    let role = json!({"kind": "Role", "name": "editor", "apiGroup": "rbac.authorization.k8s.io"});
    for mut object in [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "tenant"}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "editor"}, "rules": rules}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "editor"},
            "roleRef": role, "subjects": [subject]
        }),
    ] {
        object["metadata"]["namespace"] = namespace.into();
        create(&world.client, &object).await;
    }
    let kubeconfig = world.control_plane.service_account_kubeconfig(namespace, "tenant").await;
    client_for(kubeconfig.expect("a kubeconfig")).await.expect("a client")
}

async fn create(client: &Client, object: &Value) {
    let object: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
    let types = object.types.clone().expect("a kind");
    let kind = GroupVersionKind::try_from(types).expect("a kind");
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &object.namespace().expect("a namespace"), &resource);
    let params = PatchParams::apply("tests");
    api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await.expect("a manifest");
}
