//! Where it happens: a control plane and an emulator of its own, one organization whose rate limit is out of the way, and
//! the operator as a process of its own.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use composio_operator::crd::{self, ComposioOrganization, ComposioProject};
use composio_operator::process::settings::{Cli, Settings};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::controlplane::{ControlPlane, Options, Part};
use testbed::emulator::{self, Control, Emulator, Organization, OrganizationOptions, Plan};
use testbed::proxy::ApiProxy;
use testbed::world::Child;

use super::footprint::processor_time_of;
use super::screen::Step;

/// Namespace of the operator.
pub(crate) const SYSTEM: &str = "composio-system";
/// Namespace of the first project.
const WARM_UP: &str = "team-first";
/// Requests that the measurement itself has under way at once.
pub(crate) const CONCURRENCY: usize = 16;
/// How long one thing may take before the measurement is given up.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

/// See the module.
pub(crate) struct Stage {
    /// All rights, and no proxy in between.
    pub(crate) client: Client,
    /// Switches and journal of the API.
    pub(crate) control: Control,
    /// The organization of all projects.
    pub(crate) organization: Organization,
    /// The API.
    pub(crate) emulator: Emulator,
    control_plane: ControlPlane,
    binary: PathBuf,
}

/// What is measured.
pub(crate) struct Subject {
    /// The operator.
    pub(crate) binary: PathBuf,
    /// Version of the API server, once one has run.
    pub(crate) kubernetes: OnceLock<String>,
}

/// How the operator is run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run<'a> {
    /// Namespaces that it watches; none is all.
    pub(crate) namespaces: &'a [&'a str],
    /// Further flags.
    pub(crate) flags: &'a [&'a str],
    /// Whether a proxy counts its writes; otherwise it talks to the API server itself.
    pub(crate) is_counted: bool,
}

/// A running operator.
pub(crate) struct Operator {
    /// Its process.
    pub(crate) child: Child,
    /// Counts its writes.
    pub(crate) proxy: Option<ApiProxy>,
    /// When its process was started.
    pub(crate) started: Instant,
}

impl Stage {
    /// Makes it; the operator does not run yet.
    pub(crate) async fn open(subject: &Subject) -> anyhow::Result<Self> {
        let _step = Step::new("starting a control plane and an emulator", 1);
        let control_plane = ControlPlane::start(Options::with_crds(crd::all())).await?;
        let client = control_plane.client().await?;
        let emulator = Emulator::start(emulator::Options::default()).await?;
        let control = emulator.control();
        let organization = control.add_organization(OrganizationOptions {
            plan: Plan::Enterprise,
            ..OrganizationOptions::named("benchmark")
        });
        let version = client.apiserver_version().await?.git_version;
        subject.kubernetes.get_or_init(|| version);
        let binary = subject.binary.clone();
        let stage = Self { client, control, organization, emulator, control_plane, binary };
        stage.add_namespace(SYSTEM).await?;
        let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), SYSTEM);
        let key = json!({"metadata": {"name": "key"}, "stringData": {"apiKey": stage.organization.key}});
        secrets.create(&PostParams::default(), &from(key)?).await?;
        let organizations: Api<ComposioOrganization> = Api::namespaced(stage.client.clone(), SYSTEM);
        let organization = json!({
            "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioOrganization",
            "metadata": {"name": "default"},
            "spec": {"apiKeySecretRef": {"name": "key"}, "endpoint": {"url": stage.emulator.url()}}
        });
        organizations.create(&PostParams::default(), &from(organization)?).await?;
        Ok(stage)
    }

    /// One project, so that the organization's id is known from here on: when it becomes known, every project is looked at.
    pub(crate) async fn warm_up(&self) -> anyhow::Result<()> {
        self.add_namespace(WARM_UP).await?;
        self.add_projects(vec![(WARM_UP.to_owned(), "first".to_owned())]).await?;
        let operator = self.start(Run { namespaces: &[WARM_UP], ..Run::default() }).await?;
        let api: Api<ComposioOrganization> = Api::namespaced(self.client.clone(), SYSTEM);
        let begun = Instant::now();
        loop {
            let status = api.get("default").await?.status;
            if status.is_some_and(|status| status.organization_id.is_some()) {
                return operator.stop().await;
            }
            ensure!(begun.elapsed() < PATIENCE, "the organization's id did not become known");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Adds a namespace.
    pub(crate) async fn add_namespace(&self, name: &str) -> anyhow::Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.create(&PostParams::default(), &from(json!({"metadata": {"name": name}}))?).await?;
        Ok(())
    }

    /// Creates ComposioProjects, as `kubectl apply` does: each a name and its namespace.
    pub(crate) async fn add_projects(&self, projects: Vec<(String, String)>) -> anyhow::Result<()> {
        let step = Step::new(format!("{} ComposioProjects", projects.len()), u32::try_from(projects.len())?);
        let create = async |(namespace, name): (String, String)| {
            let api: Api<ComposioProject> = Api::namespaced(self.client.clone(), &namespace);
            api.create(&PostParams::default(), &from(manifest(&namespace, &name)?)?).await?;
            step.one_more();
            anyhow::Ok(())
        };
        futures::stream::iter(projects).map(create).buffer_unordered(CONCURRENCY).try_collect().await
    }

    /// Processor time of the API server until now.
    pub(crate) fn api_server_time(&self) -> anyhow::Result<Duration> {
        processor_time_of(self.control_plane.pid(Part::ApiServer))
    }

    /// Starts the operator and waits until it is ready.
    pub(crate) async fn start(&self, run: Run<'_>) -> anyhow::Result<Operator> {
        let (kubeconfig, proxy) = if run.is_counted {
            let proxy = ApiProxy::start(self.control_plane.kubeconfig()).await?;
            (proxy.kubeconfig()?, Some(proxy))
        } else {
            (self.control_plane.kubeconfig(), None)
        };
        let started = Instant::now();
        let mut child = Child::launch_logging(&self.binary, &settings(run)?, &kubeconfig, "info").await;
        child.ready().await;
        Ok(Operator { child, proxy, started })
    }
}

impl Operator {
    /// Passes over ComposioProjects until now.
    pub(crate) async fn passes(&self) -> anyhow::Result<u64> {
        self.metric("composio_operator_reconciles_total{kind=\"ComposioProject\"").await
    }

    /// The sum of all series whose line begins in this way.
    pub(crate) async fn metric(&self, series: &str) -> anyhow::Result<u64> {
        let (_, page) = self.child.get("/metrics").await.map_err(anyhow::Error::msg)?;
        let lines = page.lines().filter(|line| line.starts_with(series));
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        Ok(values.sum())
    }

    /// Waits until there were so many passes over ComposioProjects.
    pub(crate) async fn until_passes(&self, passes: u32, step: &Step) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let now = self.passes().await?;
            step.at(usize::try_from(now)?);
            if now >= u64::from(passes) {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "only {now} of {passes} passes: {}", self.child.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until it knows that the organization's key is refused.
    pub(crate) async fn until_breaker_opens(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.metric("composio_operator_breaker_open{").await? == 0 {
            ensure!(begun.elapsed() < PATIENCE, "the breaker stays shut: {}", self.child.log_tail());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Ends it in good order.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.signal(rustix::process::Signal::TERM);
        let code = self.child.ended().await;
        ensure!(code == Some(0), "the operator ended with {code:?}: {}", self.child.log_tail());
        Ok(())
    }
}

/// The operator as it comes, but for what the figure is about.
fn settings(run: Run<'_>) -> anyhow::Result<Settings> {
    let namespaces = run.namespaces.join(",");
    let mut line = vec!["composio-operator", "--namespace", SYSTEM];
    if !namespaces.is_empty() {
        line.extend(["--watch-namespaces", &namespaces]);
    }
    line.extend(run.flags);
    Ok(Cli::try_parse_from(line).context("the settings of the operator")?.run)
}

/// A ComposioProject with settings, as it lies in the cluster after `kubectl apply`.
pub(crate) fn manifest(namespace: &str, name: &str) -> anyhow::Result<Value> {
    let mut object = json!({
        "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioProject",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "benchmark"}
        },
        "spec": {"settings": {
            "is2FAEnabled": true, "maskSecretKeysInConnectedAccount": true, "logVisibilitySetting": "show_all",
            "displayName": name
        }}
    });
    let applied = serde_json::to_string(&object)?;
    object["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": applied});
    Ok(object)
}

/// An object of the API from JSON.
pub(crate) fn from<T: DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    Ok(serde_json::from_value(value)?)
}
