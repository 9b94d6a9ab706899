//! The manifests of `examples/`, applied as `kubectl apply --server-side` does it. In memory, the organization's endpoint
//! and key become the emulator's; the files say what a user writes.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use testbed::eventually::poll;

use crate::screen::Screen;

/// How long the API server may take to serve kinds that have just been defined.
const PATIENCE: Duration = Duration::from_secs(30);
/// kubectl's own, so that a later `kubectl apply --server-side` of an edited file meets no conflict.
const FIELD_MANAGER: &str = "kubectl";
const ORGANIZATION: &str = "ComposioOrganization";
const PROJECT: &str = "ComposioProject";

/// In the order in which they are applied.
const FILES: [(&str, &str); 4] = [
    ("examples/organization.yaml", include_str!("../organization.yaml")),
    ("examples/project-plain.yaml", include_str!("../project-plain.yaml")),
    ("examples/project-settings.yaml", include_str!("../project-settings.yaml")),
    ("examples/project-dotenv.yaml", include_str!("../project-dotenv.yaml")),
];
const REFUSED: (&str, &str) = ("examples/project-refused.yaml", include_str!("../project-refused.yaml"));

/// An object and the file that it is from.
struct Manifest {
    file: &'static str,
    object: DynamicObject,
}

/// Names an object that was applied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// See the module.
pub(crate) struct Manifests {
    /// The namespace of the organization: the operator's own.
    pub(crate) operator_namespace: String,
    good: Vec<Manifest>,
    refused: Vec<Manifest>,
}

impl Manifests {
    /// Reads them.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let good: Vec<Manifest> =
            FILES.into_iter().map(parse).collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect();
        let refused = parse(REFUSED)?;
        let organization = good.iter().find(|manifest| manifest.kind() == ORGANIZATION);
        let operator_namespace = organization.and_then(|manifest| manifest.object.namespace());
        let operator_namespace =
            operator_namespace.context("examples/ has no organization with a namespace")?;
        Ok(Self { operator_namespace, good, refused })
    }

    /// All namespaces that are needed.
    pub(crate) fn namespaces(&self) -> BTreeSet<String> {
        self.good.iter().filter_map(|manifest| manifest.object.namespace()).collect()
    }

    /// The namespaces of the projects.
    pub(crate) fn project_namespaces(&self) -> Vec<String> {
        let projects = self.good.iter().filter(|manifest| manifest.kind() == PROJECT);
        let namespaces: BTreeSet<String> =
            projects.filter_map(|manifest| manifest.object.namespace()).collect();
        namespaces.into_iter().collect()
    }

    /// With the emulator's URL as endpoint and its organization key in the Secret.
    pub(crate) fn pointed_at(mut self, url: &str, key: &str) -> Self {
        for Manifest { object, .. } in &mut self.good {
            match object.types.as_ref().map(|types| types.kind.as_str()) {
                Some(ORGANIZATION) => object.data["spec"]["endpoint"] = json!({"url": url}),
                Some("Secret") => {
                    let entries = object.data["stringData"].as_object_mut().into_iter().flatten();
                    entries.for_each(|(_, value)| *value = Value::from(key));
                }
                _ => {}
            }
        }
        self
    }

    /// Applies the organization with its key, and names it.
    pub(crate) async fn apply_organization(
        &self,
        client: &Client,
        screen: &Screen,
    ) -> anyhow::Result<Vec<Target>> {
        self.apply(|kind| kind != PROJECT, client, screen).await
    }

    /// Applies the projects that should be accepted, and names them.
    pub(crate) async fn apply_projects(
        &self,
        client: &Client,
        screen: &Screen,
    ) -> anyhow::Result<Vec<Target>> {
        self.apply(|kind| kind == PROJECT, client, screen).await
    }

    async fn apply(
        &self,
        is_wanted: impl Fn(&str) -> bool,
        client: &Client,
        screen: &Screen,
    ) -> anyhow::Result<Vec<Target>> {
        let mut targets = Vec::new();
        for manifest in self.good.iter().filter(|manifest| is_wanted(manifest.kind())) {
            let target = manifest.target();
            let refused = || format!("{} was refused", manifest.file);
            manifest.apply(client).await.map_err(words).with_context(refused)?;
            let remark = match manifest.kind() {
                ORGANIZATION => ", the emulator's URL as endpoint",
                "Secret" => ", the emulator's key put in",
                _ => "",
            };
            let source = screen.faint(&format!("{}{remark}", manifest.file));
            screen.fact(&target.kind, &format!("{:<28}  {source}", target.to_string()));
            if [ORGANIZATION, PROJECT].contains(&manifest.kind()) {
                targets.push(target);
            }
        }
        Ok(targets)
    }

    /// Applies what the API server must refuse, and shows what it says.
    pub(crate) async fn apply_refused(&self, client: &Client, screen: &Screen) -> anyhow::Result<()> {
        for manifest in &self.refused {
            let target = manifest.target();
            screen
                .fact(&target.kind, &format!("{:<28}  {}", target.to_string(), screen.faint(manifest.file)));
            match manifest.apply(client).await {
                Err(kube::Error::Api(status)) if status.is_invalid() => screen.quote(&status.message),
                Err(error) => return Err(words(error)).context(format!("{} was not judged", manifest.file)),
                Ok(_) => bail!("{} was accepted, and must not be", manifest.file),
            }
        }
        Ok(())
    }
}

impl Manifest {
    fn kind(&self) -> &str {
        self.object.types.as_ref().map_or("", |types| types.kind.as_str())
    }

    fn target(&self) -> Target {
        let (namespace, name) = (self.object.namespace().unwrap_or_default(), self.object.name_any());
        Target { kind: self.kind().to_owned(), namespace, name }
    }

    /// Server-side, with kubectl's strict check of the fields. Right after a kind was defined, its path may still be 404.
    async fn apply(&self, client: &Client) -> kube::Result<DynamicObject> {
        let types = self.object.types.clone().unwrap_or_default();
        let resource = GroupVersionKind::try_from(types).map(|kind| ApiResource::from_gvk(&kind));
        let resource = resource.map_err(|error| kube::Error::Service(error.into()))?;
        let namespace = self.object.namespace().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
        let params = PatchParams::apply(FIELD_MANAGER).validation_strict();
        let name = self.object.name_any();
        let answer =
            poll(PATIENCE, async || match api.patch(&name, &params, &Patch::Apply(&self.object)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Err(status.message),
                answer => Ok(answer),
            });
        answer.await.unwrap_or_else(|reason| Err(kube::Error::Service(reason.into())))
    }
}

/// The API server's own words.
fn words(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("{}", status.message),
        error => error.into(),
    }
}

fn parse((file, text): (&'static str, &str)) -> anyhow::Result<Vec<Manifest>> {
    let objects: Vec<DynamicObject> =
        serde_saphyr::from_multiple(text).with_context(|| format!("{file} is no manifest"))?;
    Ok(objects.into_iter().map(|object| Manifest { file, object }).collect())
}
