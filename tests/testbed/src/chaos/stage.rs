//! Where it happens: a control plane and an emulator of its own, one organization, namespaces, and projects of somebody
//! else that nobody may touch.

use std::collections::BTreeSet;

use anyhow::Context as _;
use clap::Parser as _;
use composio_operator::crd::{self, ComposioOrganization};
use composio_operator::process::settings::{Cli, Settings};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{Options, fleet};
use crate::canary::{History, Kind};
use crate::controlplane::{self, ControlPlane};
use crate::emulator::{self, Control, Emulator, Organization, OrganizationOptions, Plan, ThirdPartyProject};

/// Namespace of the operators.
pub(super) const SYSTEM: &str = "composio-system";

/// The organization's key.
const KEY_SECRET: &str = "key";

/// Projects of somebody else.
const STRANGERS: [&str; 3] = ["stranger-1", "stranger-2", "stranger-3"];

/// See the module.
pub(super) struct Stage {
    /// All rights, and no proxy in between.
    pub(super) client: Client,
    emulator: Emulator,
    pub(super) control: Control,
    pub(super) organization: Organization,
    /// Everything that etcd ever stores.
    pub(super) history: History,
    pub(super) namespaces: Vec<String>,
    /// Names of projects that may go into a namespace that was made again.
    pub(super) grants: BTreeSet<String>,
}

impl Stage {
    pub(super) async fn open(options: &Options) -> anyhow::Result<(Self, ControlPlane)> {
        let definitions = controlplane::Options::with_crds(crd::all());
        let control_plane = ControlPlane::start(definitions).await.context("no control plane")?;
        let client = control_plane.client().await?;
        let history = History::follow(control_plane.etcd_client_url()).await.map_err(anyhow::Error::msg)?;
        history.permit_ledger(SYSTEM);
        history.permit(Kind::Organization, SYSTEM, KEY_SECRET);
        let emulator = Emulator::start(emulator::Options::default()).await?;
        let control = emulator.control();
        // The rate limit of the smaller plans would be all that there is to see.
        let organization = control.add_organization(OrganizationOptions {
            plan: Plan::Enterprise,
            ..OrganizationOptions::named("chaos")
        });
        for name in STRANGERS {
            control.create_project(&organization.id, ThirdPartyProject::named(name).with_key());
        }
        let namespaces: Vec<String> =
            (1..=options.namespaces).map(|number| format!("team-{number}")).collect();
        let grants = fleet::grants(options.projects, &namespaces);
        let names = grants.iter().map(|(_, name)| name.clone()).collect();
        let stage = Self { client, emulator, control, organization, history, namespaces, grants: names };
        stage.furnish(&grants).await?;
        Ok((stage, control_plane))
    }

    async fn furnish(&self, grants: &[(String, String)]) -> anyhow::Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for name in self.namespaces.iter().map(String::as_str).chain([SYSTEM]) {
            let namespace = from(json!({"metadata": {"name": name}}))?;
            namespaces.create(&PostParams::default(), &namespace).await?;
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), SYSTEM);
        let key = json!({"metadata": {"name": KEY_SECRET}, "stringData": {"apiKey": self.organization.key}});
        secrets.create(&PostParams::default(), &from(key)?).await?;
        let organizations: Api<ComposioOrganization> = Api::namespaced(self.client.clone(), SYSTEM);
        organizations.create(&PostParams::default(), &from(self.manifest(grants))?).await?;
        Ok(())
    }

    /// Without a brake on deletions: it waits for a person.
    fn manifest(&self, grants: &[(String, String)]) -> Value {
        let grant =
            |(namespace, name): &(String, String)| json!({"namespace": namespace, "projectName": name});
        json!({
            "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioOrganization",
            "metadata": {"name": "default"},
            "spec": {
                "apiKeySecretRef": {"name": KEY_SECRET},
                "endpoint": {"url": self.emulator.url()},
                "grants": grants.iter().map(grant).collect::<Vec<_>>(),
                "limits": {"deletionsPerHour": 0},
            },
        })
    }

    /// Ids of the projects of somebody else that are still there, with their only key.
    pub(super) fn strangers(&self) -> Vec<String> {
        let projects = self.control.projects(&self.organization.id).into_iter();
        let untouched = projects.filter(|project| {
            STRANGERS.contains(&project.name.as_str())
                && project.keys.len() == 1
                && project.created_at == project.updated_at
        });
        untouched.map(|project| project.id).collect()
    }

    /// How many there were.
    pub(super) fn strangers_at_first() -> usize {
        STRANGERS.len()
    }
}

/// Settings of a replica: short time-outs, so that what is unknown settles within seconds.
pub(super) fn settings() -> anyhow::Result<Settings> {
    let line = [
        "composio-operator",
        "--namespace",
        SYSTEM,
        "--http-address=127.0.0.1:0",
        "--request-timeout=1500ms",
        "--settle-margin=4s",
        "--observe-interval=15s",
        "--shutdown-timeout=20s",
        "--leader-elect",
        "--lease-duration=4s",
        "--renew-deadline=3s",
        "--retry-period=500ms",
    ];
    Ok(Cli::try_parse_from(line).context("the settings of the operators")?.run)
}

/// How many replicas there are.
pub(super) const REPLICAS: usize = 2;

fn from<T: serde::de::DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    Ok(serde_json::from_value(value)?)
}
