//! What exists at the end, on both sides: the projects at Composio, and the resources and Secrets in Kubernetes. Keys are
//! masked, and each published one is tried at the emulator.

use anyhow::Context as _;
use comfy_table::Table;
use composio_operator::crd::ComposioProject;
use composio_operator::domain::key::ApiKey;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::Stage;
use crate::manifests::Manifests;
use crate::screen::{Screen, table};

/// Entry of the key where the spec names none.
const KEY_ENTRY: &str = "COMPOSIO_API_KEY";

/// Prints both tables. An error where a published key does not open its project.
pub(crate) async fn show(screen: &Screen, stage: &Stage, manifests: &Manifests) -> anyhow::Result<()> {
    screen.heading("At Composio");
    println!("{}", at_composio(stage));
    screen.heading("In Kubernetes");
    let rows = in_kubernetes(stage, manifests).await?;
    let dead = rows.iter().find(|row| row.is_ready && row.opens.is_none());
    let dead =
        dead.map(|row| format!("{} is Ready, but the published key does not open its project", row.name));
    let mut table = table(&COLUMNS);
    table.add_rows(rows.into_iter().map(Row::cells));
    println!("{table}");
    dead.map_or(Ok(()), |dead| Err(anyhow::Error::msg(dead)))
}

fn at_composio(stage: &Stage) -> Table {
    let mut table = table(&["PROJECT", "ID", "KEY", "SETTINGS"]);
    for project in stage.control.projects(&stage.organization.id) {
        let keys: Vec<String> = project.keys.iter().map(|key| masked(key)).collect();
        let settings = project.config.iter().filter(|(_, value)| !value.is_null());
        let settings: Vec<String> = settings.map(|(name, value)| format!("{name}={value}")).collect();
        table.add_row([project.name, project.id, keys.join("\n"), settings.join("\n")]);
    }
    table
}

async fn in_kubernetes(stage: &Stage, manifests: &Manifests) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for namespace in manifests.project_namespaces() {
        let api: Api<ComposioProject> = Api::namespaced(stage.cluster.client.clone(), &namespace);
        let projects = api.list(&ListParams::default()).await;
        for project in projects.context("listing ComposioProjects")? {
            rows.push(row(stage, &namespace, &project).await?);
        }
    }
    Ok(rows)
}

const COLUMNS: [&str; 7] =
    ["COMPOSIOPROJECT", "READY", "REASON", "SECRET", "ENTRIES", "KEY", "THE KEY OPENS"];

/// A resource, its Secret, and what the key in it opens.
struct Row {
    name: String,
    is_ready: bool,
    reason: String,
    secret: String,
    entries: String,
    key: String,
    /// Name of the project, if it is the one of the status.
    opens: Option<String>,
}

impl Row {
    fn cells(self) -> [String; 7] {
        let Self { name, is_ready, reason, secret, entries, key, opens } = self;
        let ready = if is_ready { "True" } else { "False" };
        [name, ready.to_owned(), reason, secret, entries, key, opens.unwrap_or_default()]
    }
}

async fn row(stage: &Stage, namespace: &str, project: &ComposioProject) -> anyhow::Result<Row> {
    let status = project.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let secrets: Api<Secret> = Api::namespaced(stage.cluster.client.clone(), namespace);
    let name = status.binding.map(|binding| binding.name).unwrap_or_default();
    let secret = if name.is_empty() {
        None
    } else {
        secrets.get_opt(&name).await.with_context(|| format!("reading Secret {name}"))?
    };
    let data = secret.and_then(|secret| secret.data).unwrap_or_default();
    let entry = project.spec.secret.as_ref().and_then(|secret| secret.keys.as_ref()?.api_key.as_deref());
    let key = data.get(entry.unwrap_or(KEY_ENTRY)).and_then(|value| std::str::from_utf8(&value.0).ok());
    let id = status.project.as_ref().and_then(|project| project.id.as_deref());
    let opened =
        key.and_then(|key| stage.control.project_of_key(key)).filter(|opened| Some(opened.as_str()) == id);
    Ok(Row {
        name: format!("{namespace}/{}", project.name_any()),
        is_ready: ready.is_some_and(|ready| ready.status == "True"),
        reason: ready.map(|ready| ready.reason.clone()).unwrap_or_default(),
        entries: data.keys().cloned().collect::<Vec<_>>().join("\n"),
        key: key.map(masked).unwrap_or_default(),
        opens: opened.and_then(|id| stage.control.project(&id)).map(|project| project.name),
        secret: name,
    })
}

fn masked(key: &str) -> String {
    ApiKey::parse(key).map_or_else(|problem| problem.to_string(), |key| key.masked())
}
