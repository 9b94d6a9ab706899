//! The published Secret: what it must hold, whose it is, and the write. When it is written is the plan's to decide.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use super::ledger::FIELD_MANAGER;
use crate::crd::{ComposioProject, KEY_ISSUED_ANNOTATION, PROJECT_LABEL};
use crate::domain::claim::Record;
use crate::domain::key::{ApiKey, KeyRecord};
use crate::domain::template::{InvalidTemplate, render};
use crate::domain::world::{DeletionPolicy, Desired, SecretView};

/// Type of every published Secret; the API server lets nobody change it.
const TYPE: &str = "Opaque";

/// What of a Secret is ours. It holds the key: no `Debug`.
struct Content {
    data: BTreeMap<String, ByteString>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// Reference to the resource that the Secret goes with; none where everything is retained.
    owner: Option<OwnerReference>,
}

/// Renders what the Secret must hold; `None` while there is no key.
fn content(desired: &Desired, record: &Record) -> Result<Option<Content>, InvalidTemplate> {
    let (Some(key), Some(about), Some(id)) = (&record.key, record.claim.key(), record.claim.project_id())
    else {
        return Ok(None);
    };
    let values = [
        ("apiKey", key.expose()),
        ("projectId", id.as_str()),
        ("projectName", desired.project_name.as_str()),
        ("baseUrl", desired.base_url.as_str()),
    ];
    let entries = &desired.secret.entries;
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let mut data = BTreeMap::from([
        (entries.api_key.clone(), bytes(key.expose())),
        (entries.project_id.clone(), bytes(id.as_str())),
    ]);
    data.extend(entries.base_url.clone().map(|name| (name, bytes(&desired.base_url))));
    for (name, template) in &desired.secret.template {
        data.insert(name.clone(), bytes(&render(template, &values)?));
    }
    let mut labels = desired.secret.labels.clone();
    labels.insert("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned());
    labels.insert(PROJECT_LABEL.to_owned(), desired.name.clone());
    let mut annotations = desired.secret.annotations.clone();
    annotations.insert(KEY_ISSUED_ANNOTATION.to_owned(), about.issued_time.to_string());
    Ok(Some(Content { data, labels, annotations, owner: owner(desired) }))
}

/// The reference by which the API server removes the Secret together with the resource.
fn owner(desired: &Desired) -> Option<OwnerReference> {
    (desired.deletion_policy != DeletionPolicy::Retain).then(|| OwnerReference {
        api_version: ComposioProject::api_version(&()).into_owned(),
        kind: ComposioProject::kind(&()).into_owned(),
        name: desired.name.clone(),
        uid: desired.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    })
}

/// Whose the Secret is, and whether anything of ours differs. `is_remembered`: this process has written it.
pub fn view(
    existing: Option<&Secret>,
    desired: &Desired,
    record: Option<&Record>,
    is_remembered: bool,
) -> SecretView {
    let Some(existing) = existing else {
        return SecretView::Absent;
    };
    let is_known = |record: &&Record| {
        is_ours(existing, desired, record) || (is_remembered && controller(existing).is_none())
    };
    let Some(record) = record.filter(is_known) else {
        return SecretView::Foreign(describe(existing));
    };
    let is_current = matches!(updated(existing, desired, record), Ok(Some(updated)) if updated == *existing);
    let entry = existing.data.as_ref().and_then(|data| data.get(&desired.secret.entries.api_key));
    let has_key = record.key.as_ref().is_some_and(|key| entry.is_some_and(|entry| is_key(entry, key)));
    SecretView::Ours { uid: existing.uid().unwrap_or_default(), has_key, is_current }
}

fn controller(secret: &Secret) -> Option<&OwnerReference> {
    secret.owner_references().iter().find(|owner| owner.controller == Some(true))
}

/// Ours is a Secret that this resource controls; or that nobody controls and that the claim has published, or that
/// already holds the claim's key, so that taking it up cannot hurt, or that was made for exactly this key before one of its
/// name was recorded. It is of the type that we write, whatever else it says: one of another type is made for another reader.
pub fn is_ours(existing: &Secret, desired: &Desired, record: &Record) -> bool {
    if other_type(existing).is_some() {
        return false;
    }
    if let Some(controller) = controller(existing) {
        return controller.uid == desired.uid;
    }
    let is_published = existing.metadata.uid.as_ref().is_some_and(|uid| record.claim.has_published(uid));
    is_published
        || record.key.as_ref().is_some_and(|key| holds(existing, key))
        || is_made_for(existing, desired, record)
}

/// The type of a Secret that is not of ours.
fn other_type(secret: &Secret) -> Option<&str> {
    secret.type_.as_deref().filter(|kind| *kind != TYPE)
}

/// A process that ends between creating the Secret and recording its UID leaves one that the claim does not know. As long
/// as none of this name is recorded, our label and the stamp of exactly the claim's key tell it, so that an edit of the key
/// in between does not make it foreign.
fn is_made_for(existing: &Secret, desired: &Desired, record: &Record) -> bool {
    let is_recorded = record.claim.published().is_some_and(|known| known.name == desired.secret.name);
    let has_stamp = |key: &KeyRecord| stamp(existing) == Some(key.issued_time);
    !is_recorded && has_label(existing, desired) && record.claim.key().is_some_and(has_stamp)
}

fn stamp(secret: &Secret) -> Option<Timestamp> {
    secret.annotations().get(KEY_ISSUED_ANNOTATION).and_then(|stamp| stamp.parse().ok())
}

/// Whether a Secret that was renamed away may be removed: it is the one that was recorded, nobody else controls it, and
/// it still carries our label, which a person takes away who wants to keep it.
pub fn is_removable(existing: &Secret, desired: &Desired, uid: &str) -> bool {
    existing.metadata.uid.as_deref() == Some(uid)
        && controller(existing).is_none_or(|controller| controller.uid == desired.uid)
        && has_label(existing, desired)
}

fn has_label(secret: &Secret, desired: &Desired) -> bool {
    secret.labels().get(PROJECT_LABEL) == Some(&desired.name)
}

/// A key in a Secret that the claim does not know.
pub struct UnprovenKey {
    /// It has the form of a project key, and that is all that is known.
    pub key: ApiKey,
    /// When it was issued, as the Secret says.
    pub stamp: Option<Timestamp>,
    /// Version of the Secret.
    pub version: String,
}

/// The key that may be the project's although the claim does not know it: in a Secret that carries our label and that
/// nobody else controls; beside a known key, only with a newer stamp.
pub fn unproven_key(existing: &Secret, desired: &Desired, record: &Record) -> Option<UnprovenKey> {
    let is_foreign = controller(existing).is_some_and(|controller| controller.uid != desired.uid);
    if is_foreign || !has_label(existing, desired) {
        return None;
    }
    let stamp = stamp(existing);
    let is_newer = |known: &KeyRecord| stamp.is_some_and(|stamp: Timestamp| stamp > known.issued_time);
    if !record.claim.key().is_none_or(is_newer) {
        return None;
    }
    let data = existing.data.as_ref()?;
    let key = std::str::from_utf8(&data.get(&desired.secret.entries.api_key)?.0).ok()?;
    let key = ApiKey::parse(key).ok().filter(ApiKey::has_form_of_project_key)?;
    let is_known = record.key.as_ref().is_some_and(|known| known.is(&key));
    let version = existing.resource_version()?;
    (!is_known).then_some(UnprovenKey { key, stamp, version })
}

/// Compares with every entry, since entries may have been renamed in the spec.
fn holds(existing: &Secret, key: &ApiKey) -> bool {
    existing.data.iter().flatten().fold(false, |found, (_, value)| is_key(value, key) || found)
}

/// In constant time.
fn is_key(value: &ByteString, key: &ApiKey) -> bool {
    let value = std::str::from_utf8(&value.0).ok().and_then(|text| ApiKey::parse(text).ok());
    value.is_some_and(|value| value.is(key))
}

/// Whose a foreign Secret is, for a person.
fn describe(secret: &Secret) -> String {
    let name = secret.name_any();
    if let Some(owner) = controller(secret) {
        return format!("Secret {name:?} belongs to {} {:?}", owner.kind, owner.name);
    }
    if let Some(project) = secret.labels().get(PROJECT_LABEL) {
        return format!("Secret {name:?} belongs to ComposioProject {project:?}");
    }
    if let Some(kind) = other_type(secret) {
        return format!("Secret {name:?} is of type {kind:?}, not {TYPE}");
    }
    let managers: BTreeSet<_> =
        secret.managed_fields().iter().filter_map(|entry| entry.manager.clone()).collect();
    match managers.is_empty() {
        true => format!("Secret {name:?}"),
        false => {
            format!("Secret {name:?}, written by {}", managers.into_iter().collect::<Vec<_>>().join(", "))
        }
    }
}

/// A new Secret; `None` while there is no key.
pub fn new(desired: &Desired, record: &Record) -> Result<Option<Secret>, InvalidTemplate> {
    Ok(content(desired, record)?.map(|content| Secret {
        metadata: ObjectMeta {
            name: Some(desired.secret.name.clone()),
            namespace: Some(desired.namespace.clone()),
            labels: Some(content.labels),
            annotations: Some(content.annotations),
            owner_references: content.owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(content.data),
        type_: Some(TYPE.to_owned()),
        ..Secret::default()
    }))
}

/// The existing Secret with our fields as they must be: what we wrote earlier and no longer want is gone, everything
/// foreign is as it was. `None` while there is no key.
pub fn updated(
    existing: &Secret,
    desired: &Desired,
    record: &Record,
) -> Result<Option<Secret>, InvalidTemplate> {
    let Some(content) = content(desired, record)? else {
        return Ok(None);
    };
    let mut secret = existing.clone();
    let earlier = |path: &[&str]| written_by_us(existing, path);
    merge(secret.data.get_or_insert_default(), content.data, &earlier(&["f:data"]));
    merge(
        secret.metadata.labels.get_or_insert_default(),
        content.labels,
        &earlier(&["f:metadata", "f:labels"]),
    );
    let annotations = earlier(&["f:metadata", "f:annotations"]);
    merge(secret.metadata.annotations.get_or_insert_default(), content.annotations, &annotations);
    let others = existing.owner_references().iter().filter(|owner| owner.uid != desired.uid).cloned();
    let owners: Vec<_> = others.chain(content.owner).collect();
    if owners != existing.owner_references() {
        secret.metadata.owner_references = Some(owners);
    }
    Ok(Some(secret))
}

fn merge<V>(existing: &mut BTreeMap<String, V>, ours: BTreeMap<String, V>, earlier: &BTreeSet<String>) {
    existing.retain(|name, _| !earlier.contains(name) || ours.contains_key(name));
    existing.extend(ours);
}

/// The names under `path` that the API server attributes to this program: its own record of what we wrote, kept with
/// the Secret and in the same write.
fn written_by_us(secret: &Secret, path: &[&str]) -> BTreeSet<String> {
    let entries = secret.managed_fields().iter();
    let ours = entries.filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    let fields = ours
        .filter_map(|entry| entry.fields_v1.as_ref())
        .filter_map(|fields| path.iter().try_fold(&fields.0, |value, step| value.get(step))?.as_object());
    fields
        .flat_map(|object| object.keys())
        .filter_map(|name| name.strip_prefix("f:"))
        .map(ToOwned::to_owned)
        .collect()
}
