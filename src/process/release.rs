//! The subcommand `release`: before an uninstall, takes the operator's finalizers and owner references away, so that
//! nothing hangs and nothing is wiped. It touches neither Composio nor any spec, and may be repeated.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::marker::PhantomData;
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ListParams, ObjectList, PartialObjectMeta, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, CustomResourceExt, ResourceExt};
use serde_json::{Value, json};

use super::leader::LEASE;
use super::settings::ReleaseSettings;
use crate::controller::api_error::{is_conflict, is_not_found, words};
use crate::controller::ledger::FIELD_MANAGER;
use crate::crd::{
    ComposioOrganization, ComposioProject, ORGANIZATION_FINALIZER, PROJECT_FINALIZER, PROJECT_LABEL,
};

/// How long a Lease that does not say it is good for.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// Writes at once.
const AT_ONCE: usize = 16;
/// Most objects of one answer.
const PAGE: u32 = 500;
/// How often a write is tried again when somebody else was faster.
const TRIES: usize = 5;

/// What there is to release, and how it is counted in the end.
struct Kind {
    /// Of what is listed.
    resource: ApiResource,
    selector: &'static str,
    ours: Ours,
    what: &'static str,
}

/// What is taken away.
#[derive(Clone, Copy)]
enum Ours {
    Finalizers,
    Owners,
    /// The owner reference to what is listed, from the Secret that its status names: it may have lost its label.
    OwnerOfPublished,
}

type Meta = PartialObjectMeta<DynamicObject>;
const OWNERS: &str = "owner references of Secrets";

/// By namespace: what was released (by [`Kind::what`]), and what could not be.
#[derive(Default)]
struct Released {
    done: BTreeMap<&'static str, usize>,
    failed: Vec<String>,
}

/// Runs; an error where something could not be released.
pub async fn release(settings: ReleaseSettings) -> anyhow::Result<()> {
    let no_server = "no API server; set KUBECONFIG";
    let config = kube::Config::infer().await.context(no_server)?;
    let client = Client::try_from(config).context(no_server)?;
    if !settings.force {
        refuse_while_running(&client, &settings.namespace).await?;
    }
    let mut all: BTreeMap<String, Released> = BTreeMap::new();
    let kind = |resource, ours, what| Kind { resource, selector: "", ours, what };
    let secrets =
        Kind { selector: PROJECT_LABEL, ..kind(ApiResource::erase::<Secret>(&()), Ours::Owners, OWNERS) };
    let published = kind(ComposioProject::api_resource(), Ours::OwnerOfPublished, OWNERS);
    let finalizers = |resource, what| kind(resource, Ours::Finalizers, what);
    let projects = finalizers(ComposioProject::api_resource(), "finalizers of ComposioProjects");
    // Secrets first: a project that is being deleted goes with its finalizer, and a Secret that it owns goes with it.
    for kind in [secrets, published, projects] {
        match settings.watch_namespaces.as_slice() {
            [] => sweep(&client, &kind, None, &mut all).await?,
            namespaces => {
                for namespace in namespaces {
                    sweep(&client, &kind, Some(namespace), &mut all).await?;
                }
            }
        }
    }
    let organizations =
        finalizers(ComposioOrganization::api_resource(), "finalizers of ComposioOrganizations");
    sweep(&client, &organizations, Some(&settings.namespace), &mut all).await?;
    tell(&all)
}

/// A running operator would put everything back. Whether one runs, its Lease tells by being renewed; times in it are
/// another machine's and say nothing.
async fn refuse_while_running(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let read = async || {
        let lease =
            leases.get_opt(LEASE).await.with_context(|| format!("cannot read Lease {namespace}/{LEASE}"))?;
        let held = lease.and_then(|lease| Some((lease.resource_version(), lease.spec?)));
        let is_held = |(_, spec): &(_, k8s_openapi::api::coordination::v1::LeaseSpec)| {
            spec.holder_identity.as_ref().is_some_and(|holder| !holder.is_empty())
        };
        anyhow::Ok(held.filter(is_held))
    };
    let Some((version, spec)) = read().await? else {
        eprintln!(
            "no Lease {namespace}/{LEASE} is held; an operator without --leader-elect has none: make sure that none runs"
        );
        return Ok(());
    };
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let duration = seconds.map_or(LEASE_DURATION, Duration::from_secs);
    let holder = spec.holder_identity.unwrap_or_default();
    eprintln!("Lease {namespace}/{LEASE} is held by {holder:?}; waiting {duration:?} to see whether it runs");
    tokio::time::sleep(duration).await;
    match read().await? {
        Some((now, _)) if now != version => anyhow::bail!(
            "the operator {holder:?} is running and would put back what is released; scale it to 0 first, or use --force"
        ),
        _ => Ok(()),
    }
}

/// Releases everything of one kind, in one namespace or in all.
async fn sweep(
    client: &Client,
    kind: &Kind,
    namespace: Option<&str>,
    all: &mut BTreeMap<String, Released>,
) -> anyhow::Result<()> {
    let api: Api<DynamicObject> = match namespace {
        None => Api::all_with(client.clone(), &kind.resource),
        Some(name) => Api::namespaced_with(client.clone(), name, &kind.resource),
    };
    let mut params = ListParams::default().limit(PAGE);
    if !kind.selector.is_empty() {
        params = params.labels(kind.selector);
    }
    let mut looked_at = 0;
    loop {
        let page = match list(&api, kind, &params).await {
            // Its definition is gone, and so are the objects.
            Err(error) if is_not_found(&error) => return Ok(()),
            page => page.with_context(|| format!("cannot list {}", kind.resource.plural))?,
        };
        let objects = page.items;
        looked_at += objects.len();
        let mut results =
            stream::iter(objects).map(|object| free(client, kind, object)).buffer_unordered(AT_ONCE);
        while let Some((namespace, name, result)) = results.next().await {
            match result {
                Ok(false) => {}
                Ok(true) => {
                    *all.entry(namespace).or_default().done.entry(kind.what).or_default() += 1;
                }
                Err(error) => {
                    let failed = format!("{} {name}: {}", kind.resource.kind, words(&error));
                    all.entry(namespace).or_default().failed.push(failed);
                }
            }
        }
        progress(&format!("{looked_at} {} looked at", kind.resource.plural));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// Metadata only where that is enough: no Secret is read with what is in it.
async fn list(
    api: &Api<DynamicObject>,
    kind: &Kind,
    params: &ListParams,
) -> kube::Result<ObjectList<DynamicObject>> {
    if let Ours::OwnerOfPublished = kind.ours {
        return api.list(params).await;
    }
    let ObjectList { types, metadata, items } = api.list_metadata(params).await?;
    let bare = |meta: Meta| DynamicObject { types: meta.types, metadata: meta.metadata, data: Value::Null };
    Ok(ObjectList { types, metadata, items: items.into_iter().map(bare).collect() })
}

/// Releases one object, and says whether there was anything to release.
async fn free(client: &Client, kind: &Kind, object: DynamicObject) -> (String, String, kube::Result<bool>) {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let api = |resource| Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, resource);
    let meta = |object: DynamicObject| Meta { types: None, metadata: object.metadata, _phantom: PhantomData };
    let result = match kind.ours {
        Ours::Finalizers => take_off(&api(&kind.resource), meta(object), without_finalizers).await,
        Ours::Owners => take_off(&api(&kind.resource), meta(object), without_owners).await,
        Ours::OwnerOfPublished => free_published(&api(&ApiResource::erase::<Secret>(&())), &object).await,
    };
    (namespace, name, result)
}

/// Anybody who may edit the published Secret can take its label away; its name is in the status.
async fn free_published(secrets: &Api<DynamicObject>, project: &DynamicObject) -> kube::Result<bool> {
    let Some(name) = project.data.pointer("/status/binding/name").and_then(Value::as_str) else {
        return Ok(false);
    };
    let uid = project.uid().unwrap_or_default();
    match secrets.get_metadata_opt(name).await? {
        Some(secret) => {
            take_off(secrets, secret, |secret| without_owner(secret, |owner| owner.uid == uid)).await
        }
        None => Ok(false),
    }
}

/// Writes the metadata that remains; nothing where nothing is ours.
async fn take_off(
    api: &Api<DynamicObject>,
    mut object: Meta,
    without_ours: impl Fn(&Meta) -> Option<Value>,
) -> kube::Result<bool> {
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let name = object.name_any();
    for _ in 0..TRIES {
        let Some(mut metadata) = without_ours(&object) else { return Ok(false) };
        metadata["uid"] = json!(object.uid());
        metadata["resourceVersion"] = json!(object.resource_version());
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        match api.patch_metadata(&name, &params, &patch).await {
            Ok(_) => return Ok(true),
            Err(error) if is_not_found(&error) => return Ok(false),
            Err(error) if is_conflict(&error) => match api.get_metadata_opt(&name).await? {
                Some(now) => object = now,
                None => return Ok(false),
            },
            Err(error) => return Err(error),
        }
    }
    let error = std::io::Error::other("it is being changed all the time; is the operator running?");
    Err(kube::Error::Service(error.into()))
}

fn without_finalizers(object: &Meta) -> Option<Value> {
    let is_ours =
        |finalizer: &&String| [PROJECT_FINALIZER, ORGANIZATION_FINALIZER].contains(&finalizer.as_str());
    let others: Vec<_> = object.finalizers().iter().filter(|finalizer| !is_ours(finalizer)).collect();
    (others.len() < object.finalizers().len()).then(|| json!({ "finalizers": others }))
}

fn without_owners(object: &Meta) -> Option<Value> {
    without_owner(object, |owner| {
        owner.kind == "ComposioProject" && owner.api_version.starts_with("composio.dev/")
    })
}

fn without_owner(object: &Meta, is_ours: impl Fn(&OwnerReference) -> bool) -> Option<Value> {
    let owners = object.owner_references();
    let others: Vec<_> = owners.iter().filter(|owner| !is_ours(owner)).collect();
    (others.len() < owners.len()).then(|| json!({ "ownerReferences": others }))
}

/// A line that the next one replaces, for people only.
fn progress(text: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // Nobody misses a progress line that cannot be written.
        let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
    }
}

fn tell(all: &BTreeMap<String, Released>) -> anyhow::Result<()> {
    progress("");
    let mut stdout = std::io::stdout();
    let mut failures = 0;
    for (namespace, Released { done, failed }) in all {
        let done: Vec<_> = done.iter().map(|(what, count)| format!("{count} {what}")).collect();
        if !done.is_empty() {
            writeln!(stdout, "{namespace}: removed {}", done.join(", "))?;
        }
        failures += failed.len();
        for failed in failed {
            eprintln!("{namespace}: not released: {failed}");
        }
    }
    if all.is_empty() {
        writeln!(stdout, "nothing to release")?;
    }
    match failures {
        0 => Ok(()),
        count => anyhow::bail!("{count} objects were not released; repeat when what refuses them is gone"),
    }
}
