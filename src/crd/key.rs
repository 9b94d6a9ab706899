//! Schema of the health of a project's key.

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::claim::RotationReason;
use crate::domain::world::InvalidKeyPolicy;

/// What happens when Composio does not accept the project's key any more: it was revoked, it has expired, or somebody has
/// regenerated it. A new key kills every other key of the project at once. RegenerateIfNoneLeft: a new key is issued where
/// the project has no other living key, so that nobody can be hurt; otherwise the project is reported. Regenerate: a new
/// key is issued in any case. Report: the project is reported and nothing else happens. A new key is issued at most once
/// per hour. A key that lives, but not for the operator's network address, is never replaced. Default:
/// RegenerateIfNoneLeft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnInvalidKey {
    /// Replaced where nobody can be hurt.
    RegenerateIfNoneLeft,
    /// Replaced in any case.
    Regenerate,
    /// Reported only.
    Report,
}

impl From<OnInvalidKey> for InvalidKeyPolicy {
    fn from(policy: OnInvalidKey) -> Self {
        match policy {
            OnInvalidKey::RegenerateIfNoneLeft => Self::RegenerateIfNoneLeft,
            OnInvalidKey::Regenerate => Self::Regenerate,
            OnInvalidKey::Report => Self::Report,
        }
    }
}

impl From<InvalidKeyPolicy> for OnInvalidKey {
    fn from(policy: InvalidKeyPolicy) -> Self {
        match policy {
            InvalidKeyPolicy::RegenerateIfNoneLeft => Self::RegenerateIfNoneLeft,
            InvalidKeyPolicy::Regenerate => Self::Regenerate,
            InvalidKeyPolicy::Report => Self::Report,
        }
    }
}

/// Why a key was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LastRotationReason {
    /// Composio did not accept it any more.
    InvalidKey,
}

impl From<RotationReason> for LastRotationReason {
    fn from(reason: RotationReason) -> Self {
        match reason {
            RotationReason::InvalidKey => Self::InvalidKey,
        }
    }
}

/// The last replacement of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRotation {
    /// When it began.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub time: Timestamp,
    /// InvalidKey: Composio did not accept the key before any more.
    pub reason: LastRotationReason,
}
