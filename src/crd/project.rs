//! Schema of ComposioProject.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AdoptSpec, DriftStatus, LastRotation, OnDrift, OnInvalidKey, OnProjectMissing, SecretSpec, SettingsSpec,
    rules,
};
use crate::domain::world;

/// The project and the Secret as they should be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "composio.dev",
    version = "v1alpha1",
    kind = "ComposioProject",
    namespaced,
    status = "ComposioProjectStatus",
    derive = "PartialEq",
    shortname = "cproj",
    category = "composio",
    doc = "A Composio project, and the Secret with its API key. When the resource is deleted, spec.deletionPolicy decides what becomes of them; by default everything stays, and applying the resource again takes it up.",
    validation = Rule::new("has(self.spec.projectName) || !self.metadata.name.contains('.')")
        .message("must be set, because metadata.name has dots, which a project's name at Composio cannot have")
        .field_path(".spec.projectName").reason(Reason::FieldValueRequired),
    validation = rules::unchanged(&["spec", "projectName"], "self.metadata.name")
        .message("cannot be changed (without a value it is metadata.name): Composio cannot rename a project; create another ComposioProject")
        .field_path(".spec.projectName"),
    printcolumn(name = "PROJECT", type_ = "string", json_path = ".status.project.name", description = "Name of the project at Composio"),
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "REASON", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "ID", type_ = "string", json_path = ".status.project.id", priority = 1),
    printcolumn(name = "ORGANIZATION", type_ = "string", json_path = ".status.project.organizationId", priority = 1),
    printcolumn(name = "SECRET", type_ = "string", json_path = ".status.binding.name", priority = 1),
    printcolumn(name = "MESSAGE", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::unchanged(&["organizationRef", "name"], "'default'")
        .message("cannot be changed (without a value its name is default): a project stays in its organization; create another ComposioProject")
        .field_path(".organizationRef")
)]
pub struct ComposioProjectSpec {
    /// The ComposioOrganization that the project belongs to, in the operator's namespace. Default: the one with the name
    /// default. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_ref: Option<OrganizationRef>,
    /// Name of the project at Composio, as the organization's projectNameTemplate takes it in: 1 to 75 characters of
    /// [a-zA-Z0-9_-]; what the template makes of it must have 3 to 75. Default: the name of this resource. Cannot be
    /// changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 75))]
    #[x_kube(validation = Rule::new("self.matches('^[a-zA-Z0-9_-]*$')").message("must have characters of [a-zA-Z0-9_-] only, such as shop"))]
    pub project_name: Option<String>,
    /// An existing project to take over. Read only while this resource has no project, and may be removed afterwards. An
    /// administrator must permit it, in the ComposioOrganization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<AdoptSpec>,
    /// See [`OnProjectMissing`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_project_missing: Option<OnProjectMissing>,
    /// See [`OnInvalidKey`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_invalid_key: Option<OnInvalidKey>,
    /// Settings of the project. They are merged over the organization's projectDefaults.settings, member by member; a
    /// member that neither states is left as it is at Composio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsSpec>,
    /// See [`OnDrift`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_drift: Option<OnDrift>,
    /// The Secret with the project's API key. Default: a Secret with the name of this resource and the entries
    /// COMPOSIO_API_KEY and COMPOSIO_PROJECT_ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSpec>,
    /// See [`DeletionPolicy`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Stop reconciling: nothing new is started, what was announced to Composio is finished; deletion still works.
    /// Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// What happens when this resource is deleted. Retain: project, key and Secret stay, and applying the resource again takes
/// them up. Delete: the project is deleted at Composio, and the Secret goes with the resource, which stays until that is
/// done. DeleteAndRevoke: the same, and Composio revokes the credentials of the project's connected accounts at their
/// providers, for good. Can be changed at any time, also while the resource is being deleted. Default: Retain.
// The schema takes this description and not that of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Everything stays.
    Retain,
    /// The project is deleted.
    Delete,
    /// The project is deleted, and its connected accounts' credentials are revoked.
    DeleteAndRevoke,
}

impl From<DeletionPolicy> for world::DeletionPolicy {
    fn from(policy: DeletionPolicy) -> Self {
        match policy {
            DeletionPolicy::Retain => Self::Retain,
            DeletionPolicy::Delete => Self::Delete,
            DeletionPolicy::DeleteAndRevoke => Self::DeleteAndRevoke,
        }
    }
}

/// Names a ComposioOrganization in the operator's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationRef {
    /// Name of the ComposioOrganization. Default: default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::object_name())]
    pub name: Option<String>,
}

/// What the operator reports. Never read as identity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComposioProjectStatus {
    /// Generation of the spec that the rest of the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready; Reconciling and Stalled while true; SecretPublished; SettingsSynced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The project at Composio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectStatus>,
    /// The published Secret, in the form of the Service Binding specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// The published key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyStatus>,
    /// What applies where the spec says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveStatus>,
    /// The last replacement of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotation: Option<LastRotation>,
    /// Settings that differ at Composio, with spec.onDrift: Report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["field".into()]))]
    pub drift: Vec<DriftStatus>,
    /// The last value of the annotation composio.dev/reconcile-requested-at that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,
}

/// The project at Composio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectStatus {
    /// Its id, such as pr_1a2b3c4d5e6f, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub id: Option<String>,
    /// Its full name.
    #[schemars(length(max = 75))]
    pub name: String,
    /// Id of its organization, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub organization_id: Option<String>,
    /// How the id came to be known: Created (from the answer to creation), Recovered (found at Composio after the
    /// answer or the operator's records were lost) or Adopted (taken over, as spec.adopt says).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub origin: Option<String>,
}

/// The policies in force, stated or by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveStatus {
    /// See [`DeletionPolicy`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// spec.onDrift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_drift: Option<OnDrift>,
    /// spec.onProjectMissing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_project_missing: Option<OnProjectMissing>,
    /// spec.onInvalidKey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_invalid_key: Option<OnInvalidKey>,
}

/// The published Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// Its name, in the namespace of this resource.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// The published key, without the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatus {
    /// Prefix and last four characters, such as ak_**6j0z.
    #[schemars(length(max = 64))]
    pub masked: String,
    /// Changes when the key changes; tells nothing about it.
    #[schemars(length(max = 64))]
    pub fingerprint: String,
    /// When Composio issued it.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub issued_time: Timestamp,
}
