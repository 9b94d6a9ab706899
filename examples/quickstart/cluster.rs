//! Where the manifests go: a control plane of this process, or an existing cluster, in which nothing is ever deleted and
//! nothing of a real installation is touched.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use composio_operator::crd::{self, ComposioOrganization};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use testbed::controlplane::{ControlPlane, Options, client_for};

use crate::screen::Screen;

/// How long an existing cluster may take for its first answer, and to serve the definitions.
const PATIENCE: Duration = Duration::from_secs(30);
const FIELD_MANAGER: &str = "composio-operator-quickstart";
/// The Secret that every ledger has.
const LEDGER: &str = "composio-ledger";

/// See the module.
pub(crate) struct Cluster {
    /// All rights (own control plane), or those of the kubeconfig.
    pub(crate) client: Client,
    /// For kubectl.
    pub(crate) kubeconfig: PathBuf,
    version: String,
    server: String,
    // Dropped with the rest, which ends its programs.
    embedded: Option<ControlPlane>,
}

impl Cluster {
    /// Starts a control plane. The first time this takes minutes, and shows it.
    pub(crate) async fn embedded(screen: &Screen) -> anyhow::Result<Self> {
        let control_plane = ControlPlane::start(Options::with_crds(crd::all())).await?;
        let client = control_plane.client().await?;
        let cluster = Self {
            version: version(&client).await?,
            client,
            kubeconfig: control_plane.kubeconfig_path(),
            server: control_plane.url().to_owned(),
            embedded: Some(control_plane),
        };
        screen.fact("Kubernetes", &cluster.describe());
        Ok(cluster)
    }

    /// Takes an existing cluster, unless a Composio operator is at home in it, and puts the definitions into it.
    pub(crate) async fn existing(path: &Path, screen: &Screen, namespace: &str) -> anyhow::Result<Self> {
        let kubeconfig =
            Kubeconfig::read_from(path).with_context(|| format!("cannot use {}", path.display()))?;
        let context = kubeconfig.current_context.clone().unwrap_or_default();
        let client =
            client_for(kubeconfig).await.with_context(|| format!("cannot use {}", path.display()))?;
        let version =
            version(&client).await.with_context(|| format!("context {context:?} of {}", path.display()))?;
        let kubeconfig = std::path::absolute(path)?;
        let server = format!("context {context:?} of {}", path.display());
        let cluster = Self { client, kubeconfig, version, server, embedded: None };
        screen.fact("Kubernetes", &cluster.describe());
        cluster.refuse_if_in_use(namespace).await?;
        cluster.apply_definitions(screen).await?;
        Ok(cluster)
    }

    /// Whether it ends with this process.
    pub(crate) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// For a person.
    fn describe(&self) -> String {
        let Self { version, server, .. } = self;
        if self.is_embedded() {
            format!("{version} at {server} (started for this run, and gone with it)")
        } else {
            format!("{version}, {server} (nothing in it will be deleted)")
        }
    }

    /// What is left in an existing cluster, and how it is removed; `None` where everything goes.
    pub(crate) fn what_stays(&self) -> Option<&'static str> {
        let stays = "Everything that was applied is still in the cluster, but its emulator is gone. To remove it:\n  \
             kubectl delete namespace shop composio-system\n  \
             kubectl delete crd composioprojects.composio.dev composioorganizations.composio.dev";
        (!self.is_embedded()).then_some(stays)
    }

    /// Creates a namespace that is not there.
    pub(crate) async fn ensure_namespace(&self, name: &str) -> anyhow::Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        match api.create(&PostParams::default(), &namespace).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            created => created.map(drop).with_context(|| format!("creating the namespace {name}")),
        }
    }

    /// Pointing a real organization, or the ledger of an earlier run, at a new emulator would make lies of its claims.
    async fn refuse_if_in_use(&self, namespace: &str) -> anyhow::Result<()> {
        let organizations: Api<ComposioOrganization> = Api::all(self.client.clone());
        let found = match organizations.list(&ListParams::default().limit(1)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            listed => listed.context("looking for ComposioOrganizations")?.items.pop(),
        };
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let ledger = secrets.get_metadata_opt(LEDGER).await.context("looking for a ledger")?;
        let what = match (found, ledger) {
            (Some(found), _) => {
                format!(
                    "the ComposioOrganization {}/{}",
                    found.namespace().unwrap_or_default(),
                    found.name_any()
                )
            }
            (None, Some(_)) => format!("the ledger {namespace}/{LEDGER}"),
            (None, None) => return Ok(()),
        };
        bail!(
            "{} has {what}: a Composio operator is installed there, or an earlier quickstart was. \
             Use another cluster; or, if it is from a quickstart, run first:\n  \
             kubectl delete namespace shop {namespace}",
            self.server
        )
    }

    /// Without `force`: definitions that somebody else has written otherwise are left alone, and the API server says whose
    /// they are.
    async fn apply_definitions(&self, screen: &Screen) -> anyhow::Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for definition in crd::all() {
            let name = definition.name_any();
            let params = PatchParams::apply(FIELD_MANAGER);
            api.patch(&name, &params, &Patch::Apply(&definition))
                .await
                .with_context(|| format!("applying the CustomResourceDefinition {name}"))?;
            let established = await_condition(api.clone(), &name, conditions::is_crd_established());
            tokio::time::timeout(PATIENCE, established)
                .await
                .with_context(|| format!("the CustomResourceDefinition {name} is not established"))??;
            screen.fact("Definition", &format!("{name} applied"));
        }
        Ok(())
    }
}

async fn version(client: &Client) -> anyhow::Result<String> {
    let asked = tokio::time::timeout(PATIENCE, client.apiserver_version()).await;
    let version =
        asked.context("no answer from the API server")?.context("the API server cannot be reached")?;
    Ok(version.git_version)
}
