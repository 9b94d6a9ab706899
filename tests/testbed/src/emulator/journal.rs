//! The journal: one entry for every request to the API, in order of arrival, with its effect. No key ever enters it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::identifiers::redact;

/// The operations that the emulator serves: rows 1 to 7 of API 4, and the list of toolkit categories (API 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `POST …/org/owner/project/new`
    Create,
    /// `GET …/org/owner/project/list`
    List,
    /// `GET …/org/owner/project/{nano_id}`
    Read,
    /// `DELETE …/org/owner/project/{nano_id}`
    Delete,
    /// `POST …/org/owner/project/{nano_id}/regenerate_api_key`
    Regenerate,
    /// `GET …/org/project/config`
    ReadSettings,
    /// `PATCH …/org/project/config`
    PatchSettings,
    /// `GET …/toolkits/categories`
    Categories,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::List,
        Self::Read,
        Self::Delete,
        Self::Regenerate,
        Self::ReadSettings,
        Self::PatchSettings,
        Self::Categories,
    ];

    /// Whether it takes the organization key; the others take a project key.
    pub fn is_organization_route(self) -> bool {
        matches!(self, Self::Create | Self::List | Self::Read | Self::Delete | Self::Regenerate)
    }
}

/// What the caller got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// An answer with this status, whole or damaged.
    Answered(u16),
    /// The connection was cut instead of an answer.
    Cut,
    /// The caller went away before the answer was ready.
    Abandoned,
}

/// The kind of credential that a request carried, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// None.
    Nothing,
    /// `x-org-api-key`
    Organization,
    /// `x-api-key`
    Project,
    /// `x-user-api-key`
    User,
    /// `x-consumer-api-key`
    Consumer,
    /// More than one.
    Several,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Number of the request, from 1, in order of arrival. Never used twice, also not after [`clear`](super::Control::clear_journal).
    pub sequence: u64,
    /// When it arrived, by the real clock (no skew).
    pub time: Timestamp,
    /// The organization that its credential belongs or belonged to.
    pub organization: Option<String>,
    /// `None`: no route of the API.
    pub operation: Option<Operation>,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// What the caller got.
    pub outcome: Outcome,
    /// Whether it changed the state of the service. Can become true after the answer.
    pub committed: bool,
    /// Place of the change among all changes, from 1; orders effects where a commit came late.
    pub commit: Option<u64>,
    /// The project that it was about, as far as known: from the path, the key or the answer.
    pub project_id: Option<String>,
    /// Its name.
    pub project_name: Option<String>,
    /// Names of the settings in the body, of a creation with `config` or of a change.
    #[serde(default)]
    pub settings: Vec<String>,
    /// `x-request-id` as sent by the caller.
    pub request_id: Option<String>,
    /// `user-agent` as sent by the caller.
    pub user_agent: Option<String>,
    /// The kind of credential.
    pub credential: CredentialKind,
}

/// What is known of a request when it arrives.
pub(super) struct Arrival<'a> {
    pub(super) operation: Option<Operation>,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) request_id: Option<&'a str>,
    pub(super) user_agent: Option<&'a str>,
    pub(super) credential: CredentialKind,
}

/// All entries since the last clearing.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: Vec<Entry>,
    sequence: u64,
    commits: u64,
}

impl Journal {
    /// Writes the entry of a request that has arrived; gives its sequence number.
    pub(super) fn open(&mut self, arrival: &Arrival<'_>) -> u64 {
        self.sequence += 1;
        self.entries.push(Entry {
            sequence: self.sequence,
            time: Timestamp::now(),
            organization: None,
            operation: arrival.operation,
            method: arrival.method.to_owned(),
            path: redact(arrival.path),
            outcome: Outcome::Pending,
            committed: false,
            commit: None,
            project_id: None,
            project_name: None,
            settings: Vec::new(),
            request_id: arrival.request_id.map(redact),
            user_agent: arrival.user_agent.map(redact),
            credential: arrival.credential,
        });
        self.sequence
    }

    /// Changes an entry; nothing happens when it has been cleared meanwhile.
    pub(super) fn amend(&mut self, sequence: u64, change: impl FnOnce(&mut Entry)) {
        if let Ok(place) = self.entries.binary_search_by_key(&sequence, |entry| entry.sequence) {
            change(&mut self.entries[place]);
        }
    }

    /// Notes which project a request is about.
    pub(super) fn about(&mut self, sequence: u64, project_id: Option<&str>, project_name: Option<&str>) {
        self.amend(sequence, |entry| {
            entry.project_id = project_id.map(redact);
            entry.project_name = project_name.map(redact);
        });
    }

    /// Notes that the request has changed the state.
    pub(super) fn commit(&mut self, sequence: u64) {
        self.commits += 1;
        let commit = self.commits;
        self.amend(sequence, |entry| {
            entry.committed = true;
            entry.commit = Some(commit);
        });
    }

    /// The sequence number of the youngest request, 0 before the first.
    pub(super) fn mark(&self) -> u64 {
        self.sequence
    }

    /// The entries after a mark, oldest first.
    pub(super) fn since(&self, mark: u64) -> &[Entry] {
        let start = self.entries.partition_point(|entry| entry.sequence <= mark);
        &self.entries[start..]
    }

    /// Forgets the entries; sequence numbers go on.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}
