//! Parts of the spec and of the status as decisions want them, with their defaults. No look at anything else.

use kube::ResourceExt;

use crate::controller::status;
use crate::crd::{AdoptSpec, ComposioProject, KeySourceSpec, OnProjectMissing, RECONCILE_ANNOTATION};
use crate::domain::ids::ProjectId;
use crate::domain::reason::Reason;
use crate::domain::takeover::{Adopt, KeySource, MissingPolicy, Suspicion};

/// Longest value of the annotation that is repeated in status.
const LONGEST_REQUEST: usize = 256;

/// `spec.adopt`; the schema has checked the id and the presence of the reference.
pub(super) fn adopt(spec: &AdoptSpec) -> Option<Adopt> {
    let AdoptSpec { project_id, key_source, secret_ref } = spec;
    let source = match (key_source, secret_ref) {
        (KeySourceSpec::Secret, Some(reference)) => {
            let entry = reference.key.clone().unwrap_or_else(|| "apiKey".to_owned());
            KeySource::Secret { name: reference.name.clone(), entry }
        }
        (KeySourceSpec::Secret, None) => return None,
        (KeySourceSpec::Regenerate, _) => KeySource::Regenerate,
    };
    Some(Adopt { project_id: ProjectId::try_from(project_id.clone()).ok()?, source })
}

/// `spec.onProjectMissing`, with its default.
pub(super) fn on_missing(spec: Option<OnProjectMissing>) -> MissingPolicy {
    match spec {
        Some(OnProjectMissing::Recreate) => MissingPolicy::Recreate,
        Some(OnProjectMissing::Report) | None => MissingPolicy::Report,
    }
}

/// The annotation that asks for a look, as status repeats it.
pub(super) fn request(object: &ComposioProject) -> Option<String> {
    let value = object.annotations().get(RECONCILE_ANNOTATION)?;
    Some(value.chars().take(LONGEST_REQUEST).collect())
}

/// Why the project is looked for. A value that stands there before the first report asks for nothing.
pub(super) fn suspicion(object: &ComposioProject) -> Suspicion {
    let Some(known) = object.status.as_ref().filter(|known| known.observed_generation.unwrap_or(-1) >= 0)
    else {
        return Suspicion::None;
    };
    let ready = status::find(&known.conditions, "Ready");
    if ready.is_some_and(|ready| ready.reason == Reason::ProjectMissing.as_str()) {
        return Suspicion::Reported;
    }
    let request = request(object);
    match request.is_some() && request != known.last_handled_reconcile_at {
        true => Suspicion::Asked,
        false => Suspicion::None,
    }
}
