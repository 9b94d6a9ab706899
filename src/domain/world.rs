//! What a decision needs to know: the validated wish, and the world as `controller::project::gather` found it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::budget::Room;
use super::claim::{Owner, Published, Record};
use super::drift::{DriftSpec, LookView};
use super::evidence::{Evidence, Settling};
use super::failure::Failure;
use super::ids::{OrganizationId, ProjectName};
use super::reason::Reason;
use super::settings::Settings;
use super::takeover::{Permits, TakeOver, TakeOverSeen, TakeOverView};

/// Names of the three entries of the published Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryNames {
    /// Entry with the key.
    pub api_key: String,
    /// Entry with the project's id.
    pub project_id: String,
    /// Entry with the base URL; written only when it is named.
    pub base_url: Option<String>,
}

/// The published Secret, as the spec wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretWish {
    /// Its name, in the resource's own namespace.
    pub name: String,
    /// Names of the three entries.
    pub entries: EntryNames,
    /// Further entries: name and template. Their placeholders are known to be allowed.
    pub template: BTreeMap<String, String>,
    /// Labels kept on it, beside the operator's own.
    pub labels: BTreeMap<String, String>,
    /// Annotations kept on it, beside the operator's own.
    pub annotations: BTreeMap<String, String>,
}

/// The organization that a spec refers to.
#[derive(Debug, Clone, PartialEq)]
pub enum OrganizationView {
    /// There is no such ComposioOrganization in the operator's namespace.
    NotFound,
    /// No calls may be made; why.
    NotReady(String),
    /// Ready.
    Ready(OrganizationFacts),
}

/// What a project needs to know of its organization.
#[derive(Debug, Clone, PartialEq)]
pub struct OrganizationFacts {
    /// Its id at Composio, once known.
    pub id: Option<OrganizationId>,
    /// `spec.projectNameTemplate` or its default.
    pub template: String,
    /// `spec.projectDefaults.settings`.
    pub defaults: Settings,
    /// Whether its settings endpoint answers.
    pub settings_endpoint: Capability,
    /// Whether Composio issues keys by regenerate.
    pub regenerate_key: Capability,
    /// `spec.grants` and `spec.adoption`.
    pub permits: Permits,
    /// Base URL of the API.
    pub base_url: String,
    /// Whether the organization's budget has room for its calls.
    pub room: Room,
}

/// Whether Composio does something for an organization that it may not: answer settings (API 7.3), regenerate keys (API
/// 5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capability {
    /// Not tried yet, or too long ago.
    #[default]
    Unknown,
    /// It does.
    Available,
    /// It does not; not tried again for hours.
    Unavailable,
    /// It was gone when it was tried last, hours ago: whoever needs it may try again.
    Doubtful,
}

impl Capability {
    /// As far as is known, there is nothing to be asked.
    pub fn is_gone(self) -> bool {
        matches!(self, Capability::Unavailable | Capability::Doubtful)
    }
}

/// `spec.onInvalidKey`: what happens when Composio does not accept the project's key any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InvalidKeyPolicy {
    /// Replace it where the project has no other key, so that nobody can be hurt; otherwise say so.
    #[default]
    RegenerateIfNoneLeft,
    /// Replace it, and kill every other key of the project with it.
    Regenerate,
    /// Say so and wait for a person.
    Report,
}

/// What a spec says of an invalid key, and whether there is reason to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyHealth {
    /// `spec.onInvalidKey`.
    pub on_invalid: InvalidKeyPolicy,
    /// Somebody asked for a look.
    pub is_asked: bool,
    /// The status says that something is wrong with the key: a hint, which costs a look and decides nothing.
    pub is_reported: bool,
}

/// What happens to project and Secret when the resource is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    /// Everything stays.
    #[default]
    Retain,
    /// The project is deleted at Composio; the Secret goes with the resource.
    Delete,
    /// The same, and the credentials of connected accounts are revoked at their providers.
    DeleteAndRevoke,
}

/// A validated spec: defaults merged, names rendered. Nothing after validation looks at the raw spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// UID of the resource.
    pub uid: String,
    /// Name of the ComposioOrganization.
    pub organization: String,
    /// Its id at Composio, once known.
    pub organization_id: Option<OrganizationId>,
    /// Whether its settings endpoint answers.
    pub settings_endpoint: Capability,
    /// Whether Composio issues keys by regenerate.
    pub regenerate_key: Capability,
    /// Full name of the project.
    pub project_name: ProjectName,
    /// Managed members: the project's over the organization's defaults.
    pub settings: Settings,
    /// What to do where they differ.
    pub drift: DriftSpec,
    /// The published Secret.
    pub secret: SecretWish,
    /// Base URL of the API, for the Secret.
    pub base_url: String,
    /// Whether the organization's budget has room for its calls.
    pub room: Room,
    /// Start nothing new.
    pub is_suspended: bool,
    /// What happens when the resource is deleted; decides here whether the Secret has an owner reference.
    pub deletion_policy: DeletionPolicy,
    /// What is asked and permitted about taking over.
    pub take_over: TakeOver,
    /// What is asked about the health of the key.
    pub key_health: KeyHealth,
}

/// The claim of the wanted project.
#[derive(Clone)]
pub enum ClaimView {
    /// There is none.
    Absent,
    /// It cannot be used; why.
    Unreadable(String),
    /// As the ledger holds it.
    Present(Box<Record>),
}

/// The Secret of the wanted name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretView {
    /// There is none.
    Absent,
    /// Not this resource's; whose, for a person.
    Foreign(String),
    /// This resource's.
    Ours {
        /// UID of the Secret.
        uid: String,
        /// It holds the claim's key where workloads look for it.
        has_key: bool,
        /// Nothing of ours differs.
        is_current: bool,
    },
}

/// What is known of the settings in this pass.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum SettingsView {
    /// Not looked yet.
    #[default]
    Unseen,
    /// As the API shows them.
    Seen {
        /// All known members.
        observed: Settings,
        /// They were changed in this pass before this look.
        is_patched: bool,
    },
    /// Changed in this pass and not looked at since.
    Patched,
    /// Could not be read or changed in this pass.
    Failed(Failure),
}

/// What a call of this pass has shown of the claim's key.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum KeyCheck {
    /// Nothing.
    #[default]
    Unseen,
    /// It works.
    Lives,
    /// The API says that it is unknown, revoked or expired; in its words.
    Rejected(String),
}

/// What a read by id shows of the keys of a project whose key in the claim was rejected: the second witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysSeen {
    /// It does not know the project.
    NoProject,
    /// The living keys.
    Listed {
        /// The claim's.
        own: OwnKey,
        /// Birth of each of the others.
        others: Vec<Timestamp>,
    },
}

/// What the second witness says of the claim's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnKey {
    /// It is not listed any more.
    Unlisted,
    /// It is listed, and rejected once more: nothing is decided.
    Listed,
    /// It is listed, and Composio says that it has expired.
    Expired,
}

/// What this pass has already done; forgotten at its end.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pass {
    /// A complete walk over the list.
    pub evidence: Option<Evidence>,
    /// Composio refused to issue a key.
    pub is_key_refused: bool,
    /// A read by id knows the claim's project.
    pub exists: Option<bool>,
    /// Settings.
    pub settings: SettingsView,
    /// Members that the scheduled look has found changed by somebody else.
    pub drifted: Settings,
    /// The claim's key.
    pub key: KeyCheck,
    /// The project's keys, where that of the claim was rejected.
    pub keys: Option<KeysSeen>,
    /// A remote mutation or a write of the Secret has happened.
    pub has_mutated: bool,
    /// Version of the Secret whose unproven key has turned out not to be a living key of the project.
    pub disproved: Option<String>,
    /// Of taking over.
    pub take_over: TakeOverSeen,
}

impl Pass {
    /// Notes an answer to regenerate. What was seen of the key before is about another one, if there is a new one.
    pub fn asked_for_key(&mut self, is_refused: bool) {
        self.is_key_refused = is_refused;
        if !is_refused {
            self.key = KeyCheck::Unseen;
            self.keys = None;
            self.settings = SettingsView::Unseen;
        }
    }

    /// Notes what the second witness about a rejected key has shown; `lives`: that the key works after all.
    pub fn saw_keys(&mut self, keys: KeysSeen, lives: bool) {
        self.keys = Some(keys);
        if !lives {
            return;
        }
        self.key = KeyCheck::Lives;
        if let SettingsView::Failed(failure) = &mut self.settings
            && failure.reason == Reason::KeyRejected
        {
            *failure = Failure::transient(failure.detail.clone());
        }
    }

    /// Composio has shown the settings, or refused to change them: what differs now stays so until somebody acts.
    pub fn has_looked_at_settings(&self) -> bool {
        self.settings != SettingsView::Unseen && self.key == KeyCheck::Lives
    }

    /// Notes what a call about the settings has shown, and what that says of the key.
    pub fn saw_settings(&mut self, settings: SettingsView) {
        self.key = match &settings {
            SettingsView::Seen { .. } | SettingsView::Patched => KeyCheck::Lives,
            SettingsView::Failed(failure) if failure.reason == Reason::KeyRejected => {
                KeyCheck::Rejected(failure.detail.clone())
            }
            // Composio refuses the action, not the key.
            SettingsView::Failed(failure)
                if matches!(failure.reason, Reason::SettingsNotApplied | Reason::SettingsUnavailable) =>
            {
                KeyCheck::Lives
            }
            SettingsView::Failed(_) | SettingsView::Unseen => KeyCheck::Unseen,
        };
        self.settings = settings;
    }
}

/// The world of one project.
#[derive(Clone)]
pub struct World {
    /// The owner that this resource would write into a claim, with the live UID of its namespace.
    pub owner: Owner,
    /// The claim of the wanted project.
    pub claim: ClaimView,
    /// The claim's owner is another resource that still exists.
    pub is_held: bool,
    /// A task of this process is waiting for an answer for this claim.
    pub is_in_flight: bool,
    /// The Secret of the wanted name.
    pub secret: SecretView,
    /// Version of that Secret, while it holds a key that may be the project's and that the claim does not know: in
    /// `KeyPending` any, in `Owned` one that is stamped newer than the claim's. It is lost if it is not looked at.
    pub unproven_key: Option<String>,
    /// A Secret of ours of another name than the wanted one, which the claim does not know yet.
    pub earlier: Option<Published>,
    /// This process has seen the claim's key rejected, and not working since.
    pub is_key_suspected: bool,
    /// How long a Secret stays after `spec.secret.name` has changed.
    pub superseded_retention: Duration,
    /// Clocks for what is announced and unsettled.
    pub settling: Settling,
    /// Of taking over.
    pub take_over: TakeOverView,
    /// Of the last look at the settings.
    pub look: LookView,
    /// What this pass has already done.
    pub pass: Pass,
}
