//! The yardstick: the smallest possible client that writes what the operator writes, with the same library, as many at once,
//! in the same sizes. It takes what the operator has written as its model, and decides, checks and remembers nothing. To tell
//! what looks cost, it can make those of the operator as well.

use anyhow::Context as _;
use composio_operator::crd::ComposioProject;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::screen::Step;
use super::stage::{CONCURRENCY, SYSTEM, Stage};

/// Type of a claim.
const CLAIM_TYPE: &str = "composio.dev/project-claim";

/// What the operator has written for one project.
pub(crate) struct Model {
    claim: Secret,
    secret: Secret,
    status: Value,
    event: Event,
}

impl Model {
    /// What was written for a project of this namespace.
    pub(crate) async fn read(stage: &Stage, namespace: &str) -> anyhow::Result<Self> {
        let projects: Api<ComposioProject> = Api::namespaced(stage.client.clone(), namespace);
        let project = projects.list(&ListParams::default().limit(1)).await?.items.into_iter().next();
        let project = project.context("a project of the operator")?;
        let status = serde_json::to_value(project.status.as_ref().context("a status")?)?;
        let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), namespace);
        let secret = secrets.get(&project.name_any()).await?;
        let claims: Api<Secret> = Api::namespaced(stage.client.clone(), SYSTEM);
        let claims =
            claims.list(&ListParams::default().fields(&format!("type={CLAIM_TYPE}")).limit(1)).await?;
        let claim = claims.items.into_iter().next().context("a claim")?;
        let events: Api<Event> = Api::namespaced(stage.client.clone(), namespace);
        let event = events.list(&ListParams::default().limit(1)).await?.items.into_iter().next();
        Ok(Self { claim, secret, status, event: event.context("an Event")? })
    }
}

/// Metadata without what the API server adds.
fn metadata(like: &ObjectMeta, name: &str) -> ObjectMeta {
    let (labels, annotations) = (like.labels.clone(), like.annotations.clone());
    ObjectMeta { name: Some(name.to_owned()), labels, annotations, ..ObjectMeta::default() }
}

/// Makes all projects of a namespace Ready; `looks`: reads what the operator reads, too.
pub(crate) async fn create(
    stage: &Stage,
    model: &Model,
    namespace: &str,
    looks: bool,
    step: &Step,
) -> anyhow::Result<()> {
    let api: Api<ComposioProject> = Api::namespaced(stage.client.clone(), namespace);
    let projects = api.list(&ListParams::default()).await?.items;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let one = async |project: ComposioProject| {
        let done = one(stage, model, &http, &project, looks).await;
        step.one_more();
        done
    };
    futures::stream::iter(projects).map(one).buffer_unordered(CONCURRENCY).try_collect().await
}

async fn one(
    stage: &Stage,
    model: &Model,
    http: &reqwest::Client,
    project: &ComposioProject,
    looks: bool,
) -> anyhow::Result<()> {
    let (name, namespace) = (project.name_any(), project.namespace().unwrap_or_default());
    let post = PostParams::default();
    let claims: Api<Secret> = Api::namespaced(stage.client.clone(), SYSTEM);
    let mut claim = Secret {
        metadata: metadata(&model.claim.metadata, &format!("yardstick-{name}")),
        type_: model.claim.type_.clone(),
        data: model.claim.data.clone(),
        ..Secret::default()
    };
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), &namespace);
    let projects: Api<ComposioProject> = Api::namespaced(stage.client.clone(), &namespace);
    if looks {
        claims.get_opt(&claim.name_any()).await?;
        secrets.get_opt(&name).await?;
        Api::<Namespace>::all(stage.client.clone()).get_metadata(&namespace).await?;
        projects.get(&name).await?;
    }
    let key = claim.data.as_mut().and_then(|data| data.remove("apiKey")).unwrap_or_default();
    let written = claims.create(&post, &claim).await?;

    let body = json!({"name": name, "should_create_api_key": true, "config": {
        "is_2FA_enabled": true, "mask_secret_keys_in_connected_account": true,
        "log_visibility_setting": "show_all", "display_name": name
    }});
    let url = format!("{}/api/v3/org/owner/project/new", stage.emulator.url());
    let request = http.post(url).header("x-org-api-key", &stage.organization.key).json(&body);
    let answer: Value = request.send().await?.error_for_status()?.json().await?;
    let fresh = answer["api_key"].as_str().context("a key")?;
    debug_assert_eq!(fresh.len(), key.0.len(), "the same size");

    let entry = ByteString(fresh.as_bytes().to_vec());
    claim.data.get_or_insert_default().insert("apiKey".to_owned(), entry.clone());
    claim.metadata.resource_version = written.resource_version();
    claim.metadata.uid = written.uid();
    claims.replace(&claim.name_any(), &post, &claim).await?;

    if looks {
        projects.get(&name).await?;
    }
    let mut secret = Secret {
        metadata: metadata(&model.secret.metadata, &name),
        type_: model.secret.type_.clone(),
        data: model.secret.data.clone(),
        ..Secret::default()
    };
    secret.data.get_or_insert_default().insert("COMPOSIO_API_KEY".to_owned(), entry);
    secrets.create(&post, &secret).await?;

    let patch = json!({"metadata": {"uid": project.uid(), "resourceVersion": project.resource_version()},
        "status": model.status});
    projects.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;

    let events: Api<Event> = Api::namespaced(stage.client.clone(), &namespace);
    let metadata = ObjectMeta {
        namespace: Some(namespace),
        ..metadata(&ObjectMeta::default(), &format!("{name}.yardstick"))
    };
    let mut event = Event { metadata, ..model.event.clone() };
    event.regarding = event.regarding.map(|mut regarding| {
        regarding.name = Some(name.clone());
        regarding.uid = project.uid();
        regarding.namespace.clone_from(&event.metadata.namespace);
        regarding
    });
    events.create(&post, &event).await?;
    Ok(())
}
