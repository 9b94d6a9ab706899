//! Parts of the spec and of the status as decisions want them, with their defaults. No look at anything else.

use kube::ResourceExt;

use crate::controller::status;
use crate::crd::{
    AdoptSpec, ComposioProject, KeySourceSpec, OnDrift, OnInvalidKey, OnProjectMissing, RECONCILE_ANNOTATION,
};
use crate::domain::drift::DriftPolicy;
use crate::domain::ids::ProjectId;
use crate::domain::reason::Reason;
use crate::domain::takeover::{Adopt, KeySource, MissingPolicy, Suspicion};
use crate::domain::world::{InvalidKeyPolicy, KeyHealth};

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

/// `spec.onInvalidKey`, with its default.
pub(super) fn on_invalid_key(spec: Option<OnInvalidKey>) -> InvalidKeyPolicy {
    spec.map(Into::into).unwrap_or_default()
}

/// The same, and whether there is reason to look at the key.
pub(super) fn key_health(object: &ComposioProject, spec: Option<OnInvalidKey>) -> KeyHealth {
    KeyHealth {
        on_invalid: on_invalid_key(spec),
        is_asked: is_asked(object),
        is_reported: is_key_reported(object),
    }
}

/// Whether the status says that the key or the operator's address is refused, which only a look can end.
fn is_key_reported(object: &ComposioProject) -> bool {
    let about_key = [Reason::KeyRejected, Reason::RotationNotEnabled, Reason::AddressNotAllowed];
    let ready = object.status.as_ref().and_then(|known| status::find(&known.conditions, "Ready"));
    ready.is_some_and(|ready| about_key.iter().any(|about| ready.reason == about.as_str()))
}

/// `spec.onDrift`, with its default.
pub(super) fn on_drift(spec: Option<OnDrift>) -> DriftPolicy {
    match spec {
        Some(OnDrift::Report) => DriftPolicy::Report,
        Some(OnDrift::Correct) | None => DriftPolicy::Correct,
    }
}

/// Whether the settings are to be looked at now: somebody asks, or the status says that the key or the operator's address is
/// refused, which only a look can end.
pub(super) fn is_look_asked(object: &ComposioProject) -> bool {
    is_asked(object) || is_key_reported(object)
}

/// What the status says of settings that differ, for the present spec: reason and detail.
pub(super) fn trouble(object: &ComposioProject) -> Option<(Reason, String)> {
    let synced = status::find(&object.status.as_ref()?.conditions, "SettingsSynced")?;
    let is_current = synced.observed_generation == object.metadata.generation && synced.status == "False";
    let known = [Reason::SettingsNotApplied, Reason::SettingsUnavailable, Reason::Drifted];
    let reason = known.into_iter().find(|reason| is_current && synced.reason == reason.as_str())?;
    Some((reason, reason.detail(&synced.message)?.to_owned()))
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
    if is_asked(object) { Suspicion::Asked } else { Suspicion::None }
}

/// Whether the annotation asks for a look that no pass has made yet. A value that stands there before the first report asks
/// for nothing.
fn is_asked(object: &ComposioProject) -> bool {
    let request = request(object);
    let known = object.status.as_ref().filter(|known| known.observed_generation.unwrap_or(-1) >= 0);
    known.is_some_and(|known| request.is_some() && request != known.last_handled_reconcile_at)
}
