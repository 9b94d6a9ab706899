//! From errors of the API server to failures by class.

use crate::domain::failure::Failure;
use crate::domain::reason::Reason;
use crate::domain::redact::redact;

/// What an error of the API server means for a pass; `doing` completes "while …".
pub fn failure(doing: &str, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => {
            Failure::conflict(format!("somebody else wrote while {doing}"))
        }
        error => Failure::transient(format!("while {doing}: {}", words(error))),
    }
}

/// The API server refused to write the published Secret: quota, admission, rights, an immutable Secret.
pub fn secret_failure(name: &str, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => {
            Failure::conflict(format!("somebody else wrote Secret {name:?}"))
        }
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => {
            let reason = Reason::SecretRefused;
            Failure { reason, ..Failure::transient(format!("Secret {name:?}: {}", redact(&status.message))) }
        }
        error => failure(&format!("writing Secret {name:?}"), error),
    }
}

/// The error in words that are fit for status and logs.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => redact(&status.message),
        error => redact(&error.to_string()),
    }
}

/// Not there, or not known.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// Not permitted by RBAC or admission.
pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}

/// Somebody else wrote first.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_already_exists())
}
