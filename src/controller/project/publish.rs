//! Writes of published Secrets: create, update, and the removal of one that was renamed away. When, the plan decides;
//! what is in them, `controller::secrets`.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};
use tracing::info;

use crate::composio::BootInstant;
use crate::controller::api_error::{failure, is_not_found, secret_failure};
use crate::controller::context::Context;
use crate::controller::ledger::post_params;
use crate::controller::secrets;
use crate::crd::ComposioProject;
use crate::domain::claim::{Record, Superseded};
use crate::domain::failure::Failure;
use crate::domain::reason::Reason;
use crate::domain::template::InvalidTemplate;
use crate::domain::world::Desired;

/// A look at the resource, made before a write in its namespace. A process that was stopped in between must not write: the
/// namespace may be another team's by now.
pub(super) struct Seen(BootInstant);

impl Seen {
    fn still_counts(&self, context: &Context) -> Result<(), Failure> {
        context.leads()?;
        match self.0.elapsed() >= context.limits.gate {
            true => Err(Failure::conflict("the look at the resource is too old")),
            false => Ok(()),
        }
    }
}

/// The resource as it is now: a key or a project for one that is gone, or that was made again, helps nobody.
pub(super) async fn still_there(context: &Context, desired: &Desired) -> Result<Seen, Failure> {
    let begun = BootInstant::now();
    let api: Api<ComposioProject> = Api::namespaced(context.client.clone(), &desired.namespace);
    let found = api.get_opt(&desired.name).await.map_err(|error| failure("reading the resource", &error))?;
    let is_same = |found: &ComposioProject| {
        found.uid().as_ref() == Some(&desired.uid) && found.metadata.deletion_timestamp.is_none()
    };
    match found.is_some_and(|found| is_same(&found)) {
        true => Ok(Seen(begun)),
        false => Err(Failure::conflict("the resource is being deleted")),
    }
}

/// Creates the Secret, or updates it by `resourceVersion`; returns it as it was written.
pub(super) async fn publish(
    context: &Context,
    desired: &Desired,
    record: &Record,
    existing: Option<&Secret>,
) -> Result<Secret, Failure> {
    let seen = still_there(context, desired).await?;
    let secret = match existing {
        Some(existing) => secrets::updated(existing, desired, record),
        None => secrets::new(desired, record),
    };
    let invalid = |problem: InvalidTemplate| Failure::terminal(Reason::SpecInvalid, problem.to_string());
    let secret = secret.map_err(invalid)?.ok_or_else(|| Failure::bug("a Secret without a key"))?;
    let name = &desired.secret.name;
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &desired.namespace);
    seen.still_counts(context)?;
    let writing = context.publications.writing(&desired.namespace, name, &desired.uid);
    let written = match existing {
        Some(_) => api.replace(name, &post_params(), &secret).await,
        None => api.create(&post_params(), &secret).await,
    };
    let written = written.map_err(|error| secret_failure(name, &error))?;
    let known = writing.done(&written);
    if let Some(lost_for) = known.lost_for {
        context.metrics.restored(lost_for);
        info!(secret.name = name, "the published Secret is restored");
    }
    if known.is_news {
        context.wake_project(&desired.namespace, &desired.name);
    }
    Ok(written)
}

/// Removes a Secret that was renamed away, as it was read here: if it is still ours, and not wanted again.
pub(super) async fn remove_superseded(
    context: &Context,
    desired: &Desired,
    old: &Superseded,
) -> Result<(), Failure> {
    let seen = still_there(context, desired).await?;
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &desired.namespace);
    let found = api.get_opt(&old.name).await.map_err(|error| failure("reading an earlier Secret", &error))?;
    let is_wanted = old.name == desired.secret.name;
    let Some(found) = found.filter(|found| !is_wanted && secrets::is_removable(found, desired, &old.uid))
    else {
        return Ok(());
    };
    seen.still_counts(context)?;
    let preconditions = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(&old.name, &params).await {
        Err(error) if !is_not_found(&error) => Err(failure("removing an earlier Secret", &error)),
        _ => {
            info!(secret.name = old.name, "a Secret that was renamed away is removed");
            Ok(())
        }
    }
}
