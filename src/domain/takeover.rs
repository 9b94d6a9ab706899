//! Taking projects over: what a spec asks for, what an administrator permits, and what a look at Composio has shown. The
//! decisions are `plan::adopt`'s and `plan::missing`'s; reading is `controller::project::adopt`'s.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::ids::{ProjectId, ProjectName};
use super::key::{ApiKey, KeyRecord};

/// `spec.adopt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopt {
    /// The project to be taken over.
    pub project_id: ProjectId,
    /// Where its key comes from.
    pub source: KeySource,
}

/// Where the key of an adopted project comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// It is in this Secret of the resource's namespace; it is proven before it is taken.
    Secret {
        /// Name of the Secret.
        name: String,
        /// Its entry.
        entry: String,
    },
    /// A new one is issued, which kills every other.
    Regenerate,
}

/// `spec.onProjectMissing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingPolicy {
    /// Say so and wait for a person.
    #[default]
    Report,
    /// Create it anew.
    Recreate,
}

/// Why the project is looked for at Composio in this pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Suspicion {
    /// It is not, unless something else points to its absence.
    #[default]
    None,
    /// Somebody asked for a look.
    Asked,
    /// The status says that it is missing: a hint, which costs a read and decides nothing.
    Reported,
}

/// Permission to take a project over, of `spec.grants` of the organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Full name, as the organization's template renders it.
    pub project_name: String,
    /// Namespace of the resource that may have it.
    pub namespace: String,
    /// Only the project with this id, whatever it is called at Composio.
    pub project_id: Option<ProjectId>,
}

/// `spec.grants` and `spec.adoption` of an organization.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permits {
    /// Who may take over which project.
    pub grants: Vec<Grant>,
    /// So may every resource whose namespace holds a proven key of the project.
    pub with_key: bool,
}

/// What is permitted to one resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permit {
    /// The grant of its project name and namespace.
    pub grant: Option<Grant>,
    /// A proven key is enough.
    pub with_key: bool,
}

impl Permits {
    /// What is permitted to a resource of `namespace` for the project of this full name.
    pub fn of(&self, name: &ProjectName, namespace: &str) -> Permit {
        let is_meant = |grant: &&Grant| grant.project_name == name.as_str() && grant.namespace == namespace;
        Permit { grant: self.grants.iter().find(is_meant).cloned(), with_key: self.with_key }
    }
}

impl Permit {
    /// A grant permits the project with this id; one that names an id, no other.
    pub fn grants(&self, id: Option<&ProjectId>) -> bool {
        let grant = self.grant.as_ref();
        grant.is_some_and(|grant| grant.project_id.as_ref().is_none_or(|granted| Some(granted) == id))
    }

    /// A grant names exactly this id.
    pub fn names(&self, id: &ProjectId) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.project_id.as_ref() == Some(id))
    }
}

/// What a spec says of taking over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TakeOverSpec {
    /// `spec.adopt`.
    pub adopt: Option<Adopt>,
    /// `spec.onProjectMissing`.
    pub on_missing: MissingPolicy,
    /// Why the project is looked for.
    pub suspicion: Suspicion,
}

/// The same, with what the organization permits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TakeOver {
    /// What the spec says.
    pub spec: TakeOverSpec,
    /// What is permitted.
    pub permit: Permit,
}

/// A key that was proven to open a project. No form of it shows the key.
#[derive(Clone)]
pub struct ProvenKey {
    /// The key.
    pub key: ApiKey,
    /// Describes it.
    pub about: KeyRecord,
}

impl fmt::Debug for ProvenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProvenKey({})", self.about.masked)
    }
}

impl PartialEq for ProvenKey {
    fn eq(&self, other: &Self) -> bool {
        self.about == other.about && self.key.is(&other.key)
    }
}

/// The project that might be taken up, and the key for it, as one look has shown them.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// A living project of the wanted id, or of the wanted name.
    pub project: Option<Seen>,
    /// Its key.
    pub key: KeySeen,
}

/// A living project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: ProjectId,
    /// When it was made.
    pub created_time: Timestamp,
    /// It has exactly the wanted name.
    pub has_name: bool,
    /// Its id is in another claim.
    pub is_claimed: bool,
}

/// A key in a Secret of the resource's namespace.
#[derive(Debug, Clone, PartialEq)]
pub enum KeySeen {
    /// None is wanted, or there is no project that it could open.
    Unneeded,
    /// There is none; why, about the tenant's own Secret.
    Unusable(String),
    /// It does not open the project.
    Refuted,
    /// It does.
    Proven(Box<ProvenKey>),
}

/// What a look for a project by two witnesses has shown: the read by id and the complete list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// One of them knows it.
    There,
    /// Neither does.
    Gone,
    /// Neither does, and neither did at least a settle time ago.
    GoneAgain,
    /// The read does not, and the list is being walked.
    Unclear,
    /// Neither does, and so many others have vanished at once that an administrator has to look first.
    Withheld,
}

/// What `gather` knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TakeOverView {
    /// No claim knows a project, and the Secret of the wanted name is labelled as this resource's and holds something that
    /// looks like a key: as after the loss of the ledger.
    pub has_relic: bool,
    /// Since this process first found the claim's project gone, and never there since.
    pub gone_for: Option<Duration>,
    /// The last sweep did not list the claim's project, or one is awaited that tells.
    pub is_doubted: bool,
}

/// What this pass has seen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TakeOverSeen {
    /// What could be taken up.
    pub candidate: Option<Candidate>,
    /// Whether this project is there. It says nothing about another one that the claim has by now.
    pub presence: Option<(ProjectId, Presence)>,
}
