//! Schema of taking projects over: what a resource asks for and what an organization permits.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{KeySecretRef, rules};
use crate::domain::takeover::MissingPolicy;

/// An existing project to take over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.keySource != 'Secret' || has(self.secretRef)")
        .message("is required, because keySource is Secret").field_path(".secretRef").reason(Reason::FieldValueRequired),
    validation = Rule::new("self.keySource == 'Secret' || !has(self.secretRef)")
        .message("must be absent, because keySource is Regenerate: no key is read").field_path(".secretRef").reason(Reason::FieldValueForbidden)
)]
pub struct AdoptSpec {
    /// Id of the project at Composio, such as pr_1a2b3c4d5e6f. Cannot be changed; remove the whole block first.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(
        validation = rules::composio_id(),
        validation = Rule::new("self == oldSelf").message("cannot be changed: remove spec.adopt first").reason(Reason::FieldValueForbidden)
    )]
    pub project_id: String,
    /// Where the key comes from. Secret: from secretRef; it is proven at Composio first and stays as it is. Regenerate: a
    /// new one is issued, which kills every key that the project has; always needs a grant of the ComposioOrganization.
    pub key_source: KeySourceSpec,
    /// The Secret with the project's key, in the namespace of this resource. Required with keySource Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeySecretRef>,
}

/// Where the key of an adopted project comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeySourceSpec {
    /// From secretRef.
    Secret,
    /// A new one is issued.
    Regenerate,
}

/// What to do when somebody has deleted the project at Composio. Report: say so. Recreate: create it anew, with another id
/// and a new key. Default: Report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnProjectMissing {
    /// Say so.
    Report,
    /// Create it anew.
    Recreate,
}

impl From<MissingPolicy> for OnProjectMissing {
    fn from(policy: MissingPolicy) -> Self {
        match policy {
            MissingPolicy::Report => Self::Report,
            MissingPolicy::Recreate => Self::Recreate,
        }
    }
}

/// Permits a namespace to take a project over: with spec.adopt of a ComposioProject, or because a resource of another
/// namespace (or of one that was deleted and made again) had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantSpec {
    /// Full name of the project, as projectNameTemplate makes it: 3 to 75 characters of [a-zA-Z0-9_-].
    #[schemars(length(min = 3, max = 75))]
    #[x_kube(validation = Rule::new("self.matches('^[a-zA-Z0-9_-]*$')").message("must have characters of [a-zA-Z0-9_-] only, such as prod-shop"))]
    pub project_name: String,
    /// Namespace of the ComposioProject.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("must be the name of a namespace: lower-case letters, digits and dashes, with a letter or digit at both ends"))]
    pub namespace: String,
    /// Only the project with this id, which may then be called otherwise at Composio. Default: any project of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::composio_id())]
    pub project_id: Option<String>,
}

/// What it takes to take a project over. ByGrant: an entry of grants. WithKey: that, or a Secret in the namespace of the
/// resource whose key opens the project, as after the loss of the operator's own records. Default: ByGrant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    /// An entry of grants.
    ByGrant,
    /// That, or a key that opens the project.
    WithKey,
}
