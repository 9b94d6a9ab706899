//! Answers of the Composio API by meaning, as far as decisions depend on them. How bytes become these is `composio`'s.

use std::time::Duration;

use jiff::Timestamp;

use super::ids::ProjectId;
use super::key::ApiKey;

/// A call that did not bring the answer asked for. The words are redacted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent: the send gate was closed, or no connection came about.
    #[error("not sent: {0}")]
    NotSent(String),
    /// 400 with the envelope: a definite refusal, in the API's own words.
    #[error("{0}")]
    Rejected(String),
    /// 409, or 400 "already exists" (API 5.1).
    #[error("the name is taken: {0}")]
    AlreadyExists(String),
    /// 404 with an answer of the API itself.
    #[error("not found: {0}")]
    NotFound(String),
    /// 401 with the envelope; 403 where it is about the scope of the key.
    #[error("{1}")]
    Credential(CredentialProblem, String),
    /// 403 with the envelope: the credential lives, the action is refused.
    #[error("refused: {0}")]
    Forbidden(String),
    /// 429 with its flat body, or not sent because the budget has no room; when to come back.
    #[error("the organization's rate limit is reached")]
    Throttled(Option<Duration>),
    /// Anything else: time-out, reset, 5xx, 3xx, HTML, an answer that does not parse. After a mutation the outcome is
    /// open.
    #[error("{words}")]
    Unknown {
        /// What was seen.
        words: String,
        /// The HTTP status, where an answer came.
        status: Option<u16>,
    },
}

/// What exactly a 401 or 403 said of a credential (API 10.2: by slug and message, never by status).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialProblem {
    /// The organization key is unknown or revoked.
    OrganizationKey,
    /// The project key is unknown or revoked.
    ProjectKey,
    /// The project key has expired.
    ExpiredProjectKey,
    /// The key lives, the caller's address is not allowed.
    Address,
    /// 403: the key lives, and its scope does not reach the route (API 6).
    Scope,
    /// Any other 401.
    Undecided,
}

impl CallError {
    /// The request cannot have had an effect.
    pub fn is_definite(&self) -> bool {
        !matches!(self, CallError::Unknown { .. })
    }

    /// A creation so answered has made nothing. A 404 is no answer that creation has: whoever sent it may stand in
    /// between.
    pub fn settles_creation(&self) -> bool {
        self.is_definite() && !matches!(self, CallError::NotFound(_))
    }
}

/// A parsed answer to a mutation that carries what must not be lost.
#[derive(Clone)]
pub enum Answer {
    /// To create: the id, and the key unless the API kept it.
    Created {
        /// Id of the new project.
        id: ProjectId,
        /// Shown here and in no later answer (API 1).
        key: Option<ApiKey>,
        /// Server time of the answer.
        time: Timestamp,
    },
    /// To regenerate: the one living key of the project.
    Regenerated {
        /// The project it was sent for.
        id: ProjectId,
        /// Shown here and in no later answer (API 1).
        key: ApiKey,
        /// The API's `created_at` of the key.
        time: Timestamp,
    },
}
