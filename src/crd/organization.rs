//! Schema of ComposioOrganization.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AdoptionPolicy, GrantSpec, NamespaceSelectorSpec, SettingsSpec, rules};

/// Base URL of the API where `spec.endpoint.url` is absent (API 2).
pub const DEFAULT_ENDPOINT: &str = "https://backend.composio.dev";

/// How to reach the organization, and what applies to its projects.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "composio.dev",
    version = "v1alpha1",
    kind = "ComposioOrganization",
    namespaced,
    status = "ComposioOrganizationStatus",
    derive = "PartialEq",
    shortname = "corg",
    category = "composio",
    doc = "A Composio organization: how to reach it, and what applies to its projects. Honoured in the operator's namespace only.",
    printcolumn(
        name = "READY",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "REASON",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "MANAGED", type_ = "integer", json_path = ".status.projects.managed"),
    printcolumn(name = "HELD", type_ = "string", json_path = ".status.held[*].kind"),
    printcolumn(name = "LASTSWEEP", type_ = "date", json_path = ".status.lastSweepTime"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "ID", type_ = "string", json_path = ".status.organizationId", priority = 1),
    printcolumn(
        name = "MESSAGE",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::unchanged(&["projectNameTemplate"], "'{name}'")
        .message("cannot be changed (without a value it is {name}): Composio cannot rename a project; create another ComposioOrganization")
        .field_path(".projectNameTemplate"),
    validation = rules::kept("organizationId")
        .message("cannot be changed or removed: the projects are in that organization; create another ComposioOrganization")
        .field_path(".organizationId")
)]
pub struct ComposioOrganizationSpec {
    /// The Secret with the organization access token, in the same namespace. A new value is picked up without a
    /// restart.
    pub api_key_secret_ref: KeySecretRef,
    /// The organization's id at Composio, such as ok_1a2b3c4d5e6f. Where the key shows another one, nothing is touched.
    /// Default: the id that the first project shows. Once set, it cannot be changed or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_-]+$')").message("must have characters of [A-Za-z0-9_-] only, such as ok_1a2b3c4d5e6f"))]
    pub organization_id: Option<String>,
    /// Where the API is. Default: https://backend.composio.dev.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// In which namespaces ComposioProjects may refer to this organization, by the labels of the namespaces. In a namespace
    /// that loses its labels, projects and Secrets stay as they are and are not looked after until it gets them back.
    /// Default: every namespace. The operator's own is never one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelectorSpec>,
    /// How a project's name at Composio is made: {name} stands for spec.projectName or the name of the
    /// ComposioProject, {namespace} for its namespace; the rest are characters of [a-zA-Z0-9_-]. Must contain {name}.
    /// Default: {name}. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 75))]
    #[x_kube(
        validation = Rule::new("self.contains('{name}')").message("must contain {name}, such as prod-{name}"),
        validation = Rule::new("self.matches('^([a-zA-Z0-9_-]|[{]name[}]|[{]namespace[}])*$')").message("must have {name}, {namespace} and characters of [a-zA-Z0-9_-] only, such as {namespace}_{name}")
    )]
    pub project_name_template: Option<String>,
    /// What applies to every project unless it states otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_defaults: Option<ProjectDefaults>,
    /// Who may take over which project, at most 256 entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["projectName".into(), "namespace".into()]))]
    pub grants: Option<Vec<GrantSpec>>,
    /// See [`AdoptionPolicy`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<AdoptionPolicy>,
    /// What may be done within some time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
    /// No calls to Composio for this organization. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Names an entry of a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeySecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,
    /// Entry of the Secret. Default: apiKey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::entry_name())]
    pub key: Option<String>,
}

/// Where the API is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.caBundleRef) || !has(self.url) || !self.url.startsWith('http://')")
        .message("must be absent, because url begins with http://: no certificate is checked").field_path(".caBundleRef").reason(Reason::FieldValueForbidden)
)]
pub struct Endpoint {
    /// Base URL without the version: https, or http for loopback addresses and *.svc names only; no user, query or
    /// fragment. Default: https://backend.composio.dev.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = Rule::new("isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''")
            .message("must be a URL such as https://backend.composio.dev"),
        validation = Rule::new("!isURL(self) || url(self).getScheme() != 'http' || self.matches('^http://(localhost|127[.][0-9.]+|\\\\[::1\\\\]|([a-z0-9-]+[.])+svc([.]cluster[.]local)?)(:[0-9]+)?(/.*)?$')")
            .message("must begin with https://, because the organization's key is sent there; http:// is for loopback addresses and names such as api.team.svc only"),
        validation = Rule::new("!self.contains('@') && !self.contains('?') && !self.contains('#')")
            .message("must have no user, query or fragment"),
        validation = Rule::new("!self.matches('/api/v[0-9.]+/*$')")
            .message("must not end in the version of the API, such as /api/v3: the operator adds it")
    )]
    pub url: Option<String>,
    /// The certificates that the endpoint is trusted by, in place of the platform's: only what they have signed is trusted.
    /// Changes are picked up with the next look at the organization. Default: the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleRef>,
}

/// Names an entry of a ConfigMap in the same namespace, with one or more certificates in PEM form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaBundleRef {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,
    /// Entry of the ConfigMap. Default: ca.crt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::entry_name())]
    pub key: Option<String>,
}

/// What applies to every project unless it states otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectDefaults {
    /// Merged under each project's settings, member by member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsSpec>,
}

/// What may be done within some time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// How many projects may be deleted within an hour; further deletions wait for the hour to pass, or for the annotation
    /// composio.dev/confirm with the token of status.held. Zero: no limit. Default: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub deletions_per_hour: Option<i32>,
    /// How many requests the operator sends within a minute, at most, of the limit that it shares with everybody else who
    /// uses the organization. Looks that nobody waits for take at most a fifth of it. Default: a quarter of the limit
    /// that Composio reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 1_000_000))]
    pub requests_per_minute: Option<i32>,
}

/// What the operator reports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComposioOrganizationStatus {
    /// Generation of the spec that the rest of the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready; Reconciling and Stalled while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Id at Composio, known as soon as the organization has a project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub organization_id: Option<String>,
    /// What the organization can do, as far as it was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<CapabilitiesStatus>,
    /// What is in force of the limits, as soon as Composio has reported its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsStatus>,
    /// How many projects there were at lastSweepTime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projects: Option<ProjectCounts>,
    /// The youngest of the projects at Composio that no ComposioProject has ever had, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub newest_unmanaged: Vec<UnmanagedStatus>,
    /// When the last walk over the organization's projects was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sweep_time: Option<Time>,
    /// What waits for the annotation composio.dev/confirm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into()]))]
    pub held: Vec<HeldStatus>,
}

/// What the organization can do. What was not tried yet is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapabilitiesStatus {
    /// Whether Composio's endpoint for reading and changing the settings of projects answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<CapabilityStatus>,
    /// Whether Composio issues a new key for a project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regenerate_key: Option<CapabilityStatus>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapabilityStatus {
    /// Available or Unavailable, as the last try has shown. What is Unavailable is tried again after hours.
    pub state: CapabilityState,
    /// When it was seen first in this state.
    pub probe_time: Time,
}

/// Whether it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CapabilityState {
    /// It is.
    Available,
    /// It is not.
    Unavailable,
}

/// What is in force of the limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsStatus {
    /// Requests per minute that Composio allows to everybody who uses the organization, as it reports.
    pub reported_per_minute: i32,
    /// Requests per minute that the operator sends at most.
    pub requests_per_minute: i32,
    /// How far two reads of one project's settings are apart, such as 10m or 1h41m; grows with the number of projects.
    #[schemars(length(max = 32))]
    pub settings_interval: String,
}

/// How many projects there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectCounts {
    /// Of ComposioProjects that exist.
    pub managed: i32,
    /// Of ComposioProjects that were deleted and have left theirs.
    pub retained: i32,
    /// At Composio, and of no ComposioProject.
    pub unmanaged: i32,
}

/// A project at Composio that no ComposioProject has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnmanagedStatus {
    /// Its id at Composio.
    #[schemars(length(max = 128))]
    pub id: String,
    /// Its name at Composio.
    #[schemars(length(max = 128))]
    pub name: String,
}

/// Something that waits for the annotation composio.dev/confirm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldStatus {
    /// What waits: Deletions beyond spec.limits.deletionsPerHour; what follows from projects that are not in Composio's list
    /// any more, because too many have vanished at once (FleetVanished); or everything, because the ledger was moved
    /// (LedgerMoved).
    #[schemars(length(max = 32))]
    pub kind: String,
    /// How many projects are concerned.
    pub count: i32,
    /// The value that the annotation composio.dev/confirm must have. It works once, and only for what is held now.
    #[schemars(length(max = 64))]
    pub token: String,
    /// Since when something of this kind is held.
    pub since_time: Time,
}
