//! Where the manifests go: a control plane of this process, or an existing cluster, in which nothing is ever deleted and
//! nothing of a real installation is touched.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use composio_operator::crd::{self, ComposioOrganization};
use k8s_openapi::api::core::v1::Namespace;
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

    /// Takes an existing cluster in which nothing of a Composio operator is, and puts the definitions into it.
    pub(crate) async fn existing(
        path: &Path,
        screen: &Screen,
        namespaces: &BTreeSet<String>,
    ) -> anyhow::Result<Self> {
        let unusable = || format!("cannot use {}", path.display());
        let kubeconfig = Kubeconfig::read_from(path).with_context(unusable)?;
        let context = kubeconfig.current_context.clone().unwrap_or_default();
        let server = format!("context {context:?} of {}", path.display());
        let client = client_for(kubeconfig).await.with_context(unusable)?;
        let version = version(&client).await.with_context(|| server.clone())?;
        let kubeconfig = std::path::absolute(path)?;
        let cluster = Self { client, kubeconfig, version, server, embedded: None };
        screen.fact("Kubernetes", &cluster.describe());
        cluster.refuse_if_in_use(namespaces).await?;
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
    pub(crate) fn what_stays(&self, namespaces: &BTreeSet<String>) -> Option<String> {
        let stays =
            "Everything that was applied is still in the cluster, but its emulator is gone. To remove it:";
        (!self.is_embedded()).then(|| format!("{stays}\n  {}", removal(namespaces)))
    }

    /// Creates a namespace.
    pub(crate) async fn create_namespace(&self, name: &str) -> anyhow::Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        let created = api.create(&PostParams::default(), &namespace).await;
        created.map(drop).with_context(|| format!("creating the namespace {name}"))
    }

    /// In namespaces of its own the quickstart cannot touch anybody's Secrets; and to point a real organization, or the
    /// ledger of an earlier run, at a new emulator would make lies of its claims.
    async fn refuse_if_in_use(&self, namespaces: &BTreeSet<String>) -> anyhow::Result<()> {
        let organizations: Api<ComposioOrganization> = Api::all(self.client.clone());
        let found = match organizations.list(&ListParams::default().limit(1)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            listed => listed.context("looking for ComposioOrganizations")?.items.pop(),
        };
        if let Some(found) = found {
            let (namespace, name) = (found.namespace().unwrap_or_default(), found.name_any());
            bail!(
                "a Composio operator is at home in this cluster: it has the ComposioOrganization {namespace}/{name}. \
                 Use another cluster; or, if that is left from an earlier quickstart: {}",
                removal(namespaces)
            );
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        for namespace in namespaces {
            let found = api
                .get_opt(namespace)
                .await
                .with_context(|| format!("looking for the namespace {namespace}"))?;
            if found.is_some() {
                bail!(
                    "the cluster has a namespace {namespace}, and the quickstart goes into namespaces of its own only, \
                     so that it touches nothing of yours. Use another cluster; or, if that is left from an earlier \
                     quickstart: {}",
                    removal(namespaces)
                );
            }
        }
        Ok(())
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

fn removal(namespaces: &BTreeSet<String>) -> String {
    let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    format!("kubectl delete namespace {}", namespaces.join(" "))
}

async fn version(client: &Client) -> anyhow::Result<String> {
    let asked = tokio::time::timeout(PATIENCE, client.apiserver_version()).await;
    let version =
        asked.context("no answer from the API server")?.context("the API server cannot be reached")?;
    Ok(version.git_version)
}
