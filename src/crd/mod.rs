//! The schema types that users write: fields, descriptions, CEL rules, columns. No behaviour: a field enters here
//! together with the code behind it, and [`all`] is the list that `crds/`, the tests and the chart iterate.
#![expect(unreachable_pub, reason = "the derive of KubeSchema repeats each struct inside a function")]

mod definition;
mod key;
mod organization;
mod project;
mod rules;
mod scope;
mod secret;
mod settings;
mod takeover;

pub use self::definition::{YamlError, all, files};
pub use self::key::{LastRotation, LastRotationReason, OnInvalidKey};
pub use self::organization::{
    CaBundleRef, CapabilitiesStatus, CapabilityState, CapabilityStatus, ComposioOrganization,
    ComposioOrganizationSpec, ComposioOrganizationStatus, DEFAULT_ENDPOINT, Endpoint, HeldStatus,
    KeySecretRef, LimitsSpec, LimitsStatus, ProjectCounts, ProjectDefaults, UnmanagedStatus,
};
pub use self::project::{
    Binding, ComposioProject, ComposioProjectSpec, ComposioProjectStatus, DeletionPolicy, EffectiveStatus,
    KeyStatus, OrganizationRef, ProjectStatus,
};
pub use self::scope::{LabelConditionSpec, LabelOperator, NamespaceSelectorSpec};
pub use self::secret::{EntryNamesSpec, SecretSpec};
pub use self::settings::{DriftStatus, LogVisibility, OnDrift, SettingsSpec};
pub use self::takeover::{AdoptSpec, AdoptionPolicy, GrantSpec, KeySourceSpec, OnProjectMissing};

/// Finalizer on a ComposioProject whose policy is to delete its project.
pub const PROJECT_FINALIZER: &str = "composio.dev/project";
/// Label on a published Secret: the name of its ComposioProject.
pub const PROJECT_LABEL: &str = "composio.dev/project";
/// Annotation on a published Secret: when Composio issued the key in it, RFC 3339.
pub const KEY_ISSUED_ANNOTATION: &str = "composio.dev/key-issued-at";
/// Annotation on either kind, read and never written: any new value asks for a look now.
pub const RECONCILE_ANNOTATION: &str = "composio.dev/reconcile-requested-at";
/// Annotation on a ComposioOrganization, read and never written: a token of `status.held`.
pub const CONFIRM_ANNOTATION: &str = "composio.dev/confirm";
/// Finalizer of a ComposioOrganization while any of its ComposioProjects has one.
pub const ORGANIZATION_FINALIZER: &str = "composio.dev/in-use";
