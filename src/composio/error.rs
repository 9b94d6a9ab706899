//! From status, headers and body to meaning (API 10.3). Decided by slug and message, never by the status alone; words
//! leave here redacted, bodies never.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::domain::answer::{CallError, CredentialProblem};
use crate::domain::redact::redact;

/// The envelope of API 10.1: every member may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Envelope {
    message: String,
    slug: String,
    errors: Vec<String>,
}

impl Envelope {
    fn words(&self, status: StatusCode) -> String {
        let mut words = vec![self.message.clone()];
        words.extend(self.errors.iter().cloned());
        words.retain(|word| !word.is_empty());
        match words.is_empty() {
            true => format!("HTTP {}", status.as_u16()),
            false => redact(&words.join(": ")),
        }
    }
}

/// Classifies an answer that is not a 2xx.
pub(super) fn classify(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> CallError {
    let json: Option<Value> = serde_json::from_slice(body).ok().filter(Value::is_object);
    let envelope = json.as_ref().and_then(|json| json.get("error")).filter(|error| error.is_object());
    let envelope: Option<Envelope> =
        envelope.map(|error| serde_json::from_value(error.clone()).unwrap_or_default());
    let words = envelope.as_ref().map_or_else(|| format!("HTTP {}", status.as_u16()), |e| e.words(status));
    match (status.as_u16(), envelope, json.is_some()) {
        (400, Some(_), _) if words.contains("already exists") => CallError::AlreadyExists(words),
        (400, Some(_), _) => CallError::Rejected(words),
        (401, Some(envelope), _) => CallError::Credential(credential(&envelope), words),
        (403, Some(envelope), _) if envelope.slug == "APIKey_InsufficientPermissions" => {
            CallError::Credential(CredentialProblem::Scope, words)
        }
        (403, Some(_), _) => CallError::Forbidden(words),
        // The bodies of these are not known (API 16.14): the status counts, unless a page of the edge answers.
        (404, _, true) => CallError::NotFound(words),
        (409, _, true) => CallError::AlreadyExists(words),
        (429, _, true) => CallError::Throttled(retry_after),
        _ => unknown(
            format!("an answer that is not the API's or does not settle anything ({words})"),
            Some(status),
        ),
    }
}

/// An answer, or none, that leaves the outcome open.
pub(super) fn unknown(words: impl Into<String>, status: Option<StatusCode>) -> CallError {
    CallError::Unknown { words: words.into(), status: status.map(|status| status.as_u16()) }
}

/// Which of its many meanings a 401 has (API 10.2).
fn credential(envelope: &Envelope) -> CredentialProblem {
    match envelope.slug.as_str() {
        "APIKey_InvalidAPIKey" => CredentialProblem::ProjectKey,
        "APIKey_APIKeyExpired" => CredentialProblem::ExpiredProjectKey,
        _ if envelope.message.starts_with("Invalid x-org-api-key") => CredentialProblem::OrganizationKey,
        _ if envelope.message.contains("IP allowlist") || envelope.message == "Access denied" => {
            CredentialProblem::Address
        }
        _ => CredentialProblem::Undecided,
    }
}

/// Describes a failure of the transport, without the URL.
pub(super) fn transport(error: reqwest::Error) -> CallError {
    let error = error.without_url();
    let source = std::iter::successors(std::error::Error::source(&error), |error| error.source()).last();
    let words = source.map_or_else(|| error.to_string(), ToString::to_string);
    let words = redact(&words);
    if error.is_connect() || error.is_builder() {
        CallError::NotSent(format!("no connection to Composio: {words}"))
    } else if error.is_timeout() {
        unknown("no answer in time", None)
    } else {
        unknown(format!("the connection broke: {words}"), error.status())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &Value) -> CallError {
        classify(StatusCode::from_u16(status).unwrap(), None, body.to_string().as_bytes())
    }

    fn envelope(slug: &str, message: &str) -> Value {
        json!({"error": {"message": message, "slug": slug}})
    }

    #[test]
    fn the_meanings_of_401_are_told_apart() {
        use CredentialProblem::{Address, ExpiredProjectKey, OrganizationKey, ProjectKey, Undecided};
        for (slug, message, meaning) in [
            ("APIKey_InvalidAPIKey", "Invalid API key: ak_**ESjq", ProjectKey),
            ("APIKey_APIKeyExpired", "API key has expired", ExpiredProjectKey),
            ("HTTP_Unauthorized", "Invalid x-org-api-key. Please check", OrganizationKey),
            ("HTTP_Unauthorized", "Access denied", Address),
            (
                "Auth_Unauthorized",
                "This request comes from IP address 1.2.3.4, which is not in this API key's IP allowlist.",
                Address,
            ),
            ("Auth_NoAuthProvided", "No API key provided", Undecided),
        ] {
            let CallError::Credential(problem, _) = answer(401, &envelope(slug, message)) else {
                panic!("{slug}")
            };
            assert_eq!(problem, meaning, "{slug} {message}");
        }
    }

    #[test]
    fn a_scope_that_does_not_reach_is_about_the_key_and_any_other_403_about_the_action() {
        let scoped = answer(403, &envelope("APIKey_InsufficientPermissions", "This route requires more"));
        assert!(matches!(scoped, CallError::Credential(CredentialProblem::Scope, _)), "{scoped:?}");
        let refused = answer(403, &envelope("HTTP_Forbidden", "Your plan does not include this"));
        assert!(matches!(refused, CallError::Forbidden(_)), "{refused:?}");
    }

    #[test]
    fn only_answers_of_the_api_itself_are_definite() {
        let page = b"<!DOCTYPE html><title>Just a moment...</title>";
        for status in [302, 401, 403, 404, 405, 409, 429, 500, 502] {
            assert!(!classify(StatusCode::from_u16(status).unwrap(), None, page).is_definite(), "{status}");
        }
        for status in [500, 503, 408, 410] {
            assert!(!answer(status, &envelope("HTTP_X", "x")).is_definite(), "{status}");
        }
        assert!(!answer(401, &json!({})).is_definite() && !answer(403, &json!({})).is_definite());
        for status in [400, 401, 403, 404, 409] {
            assert!(answer(status, &envelope("HTTP_X", "x")).is_definite(), "{status}");
        }
        assert!(answer(429, &json!({"message": "Rate limit exceeded."})).is_definite());
    }

    #[test]
    fn a_400_that_says_already_exists_is_a_conflict() {
        let error = answer(400, &envelope("", "Project already exists"));
        assert!(matches!(error, CallError::AlreadyExists(_)), "{error:?}");
    }

    #[test]
    fn validation_details_are_kept_and_keys_in_them_are_not() {
        let body =
            json!({"error": {"message": "Validation error", "errors": ["name: too short ak_abcdefgh"]}});
        assert_eq!(answer(400, &body), CallError::Rejected("Validation error: name: too short ak_**".into()));
    }
}
