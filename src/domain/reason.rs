//! The closed list of condition reasons: what each says, who has to act, whether it stalls. A new one needs all three,
//! a row in `docs/reasons.md` and a scenario that reaches it.

/// Why a condition is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "text() is the documentation, also the one that users read")]
pub enum Reason {
    // Both kinds
    Suspended,
    AddressNotAllowed,
    InternalError,
    // ComposioProject
    Reconciled,
    Creating,
    ResolvingOutcome,
    AcquiringKey,
    Rotating,
    Throttled,
    OrganizationNotReady,
    OrganizationNotFound,
    NamespaceNotAllowed,
    SpecInvalid,
    SpecRejected,
    NameTaken,
    ClaimHeld,
    RebindDenied,
    AdoptionDenied,
    AdoptionMismatch,
    ProjectMissing,
    KeyUnavailable,
    KeyRejected,
    RotationNotEnabled,
    SecretConflict,
    SecretRefused,
    SettingsIncomplete,
    SettingsUnavailable,
    SettingsNotApplied,
    AppliedAtCreation,
    Drifted,
    ClaimUnreadable,
    ClaimMissing,
    Deleting,
    DeletionBlocked,
    DeletionHeld,
    TransientFailure,
    // ComposioOrganization
    KeyAccepted,
    KeySecretMissing,
    KeyInvalid,
    EndpointUnreachable,
    EndpointInvalid,
    OrganizationMismatch,
    FleetVanished,
    LedgerMoved,
    WrongNamespace,
    InUse,
}

impl Reason {
    /// All of them, for documentation and metrics.
    pub const ALL: [Reason; 46] = [
        Reason::Suspended,
        Reason::AddressNotAllowed,
        Reason::InternalError,
        Reason::Reconciled,
        Reason::Creating,
        Reason::ResolvingOutcome,
        Reason::AcquiringKey,
        Reason::Rotating,
        Reason::Throttled,
        Reason::OrganizationNotReady,
        Reason::OrganizationNotFound,
        Reason::NamespaceNotAllowed,
        Reason::SpecInvalid,
        Reason::SpecRejected,
        Reason::NameTaken,
        Reason::ClaimHeld,
        Reason::RebindDenied,
        Reason::AdoptionDenied,
        Reason::AdoptionMismatch,
        Reason::ProjectMissing,
        Reason::KeyUnavailable,
        Reason::KeyRejected,
        Reason::RotationNotEnabled,
        Reason::SecretConflict,
        Reason::SecretRefused,
        Reason::SettingsIncomplete,
        Reason::SettingsUnavailable,
        Reason::SettingsNotApplied,
        Reason::AppliedAtCreation,
        Reason::Drifted,
        Reason::ClaimUnreadable,
        Reason::ClaimMissing,
        Reason::Deleting,
        Reason::DeletionBlocked,
        Reason::DeletionHeld,
        Reason::TransientFailure,
        Reason::KeyAccepted,
        Reason::KeySecretMissing,
        Reason::KeyInvalid,
        Reason::EndpointUnreachable,
        Reason::EndpointInvalid,
        Reason::OrganizationMismatch,
        Reason::FleetVanished,
        Reason::LedgerMoved,
        Reason::WrongNamespace,
        Reason::InUse,
    ];

    /// What has happened, as a sentence without its end.
    pub fn text(self) -> &'static str {
        match self {
            Reason::Suspended => "reconciliation is suspended",
            Reason::AddressNotAllowed => "Composio refuses the operator's network address",
            Reason::InternalError => "the operator met a fault of its own",
            Reason::Reconciled => "the project is configured and its key is published",
            Reason::Creating => "the project is being created",
            Reason::ResolvingOutcome => {
                "the outcome of a creation is unknown and is being looked up at Composio"
            }
            Reason::AcquiringKey => "the project exists and its key is being issued",
            Reason::Rotating => "the project's key is being replaced",
            Reason::Throttled => {
                "the organization's budget of requests has no room at present, and this waits its turn"
            }
            Reason::OrganizationNotReady => "the organization is not ready",
            Reason::OrganizationNotFound => {
                "there is no such ComposioOrganization in the operator's namespace"
            }
            Reason::NamespaceNotAllowed => "projects are not allowed in this namespace",
            Reason::SpecInvalid => "the spec cannot be used",
            Reason::SpecRejected => "Composio refused the project",
            Reason::NameTaken => "a project of this name exists at Composio and is not this resource's",
            Reason::ClaimHeld => "another resource manages the project of this name",
            Reason::RebindDenied => {
                "the project of this name was made for another namespace, or for one that was deleted"
            }
            Reason::AdoptionDenied => "the project that spec.adopt names is not taken over",
            Reason::AdoptionMismatch => "spec.adopt names another project than this resource has",
            Reason::ProjectMissing => "the project was deleted at Composio",
            Reason::KeyUnavailable => "the project exists, but Composio does not issue a key for it",
            Reason::KeyRejected => "Composio does not accept the project's key any more",
            Reason::RotationNotEnabled => {
                "the project's key has to be replaced, and Composio does not issue another one for this organization"
            }
            Reason::SecretConflict => "a Secret of this name exists and is not this resource's",
            Reason::SecretRefused => "the API server refused the Secret",
            Reason::SettingsIncomplete => {
                "settings can be applied at creation only, and not all that creation requires are stated"
            }
            Reason::SettingsUnavailable => "Composio's settings endpoint is not available",
            Reason::SettingsNotApplied => "Composio did not apply the settings",
            Reason::AppliedAtCreation => {
                "the settings were applied and have not changed since; nobody can verify them, because Composio's settings endpoint is not available"
            }
            Reason::Drifted => "settings at Composio differ from the wanted ones",
            Reason::ClaimUnreadable => "the operator's record of this project cannot be read",
            Reason::ClaimMissing => {
                "the operator has no record of this project, which exists at Composio, and does not delete it"
            }
            Reason::Deleting => "the project is being deleted",
            Reason::DeletionBlocked => "the project cannot be deleted",
            Reason::DeletionHeld => {
                "the organization has deleted as many projects within an hour as spec.limits.deletionsPerHour allows"
            }
            Reason::TransientFailure => "a request failed and is repeated",
            Reason::KeyAccepted => "Composio accepts the organization key",
            Reason::KeySecretMissing => {
                "the Secret with the organization key is missing or has no usable entry"
            }
            Reason::KeyInvalid => "Composio rejects the organization key",
            Reason::EndpointUnreachable => "Composio cannot be reached",
            Reason::EndpointInvalid => "the endpoint cannot be used",
            Reason::OrganizationMismatch => {
                "this is not the organization that the resource stands for, and nothing of it is touched"
            }
            Reason::FleetVanished => {
                "more projects have vanished from Composio's list at once than one sweep may call missing, and nothing follows from it before that is confirmed"
            }
            Reason::LedgerMoved => {
                "the operator's records were restored or copied into this namespace, and nothing is changed before that is confirmed"
            }
            Reason::WrongNamespace => {
                "a ComposioOrganization is honoured in the operator's own namespace only"
            }
            Reason::InUse => "the organization is being deleted and still has projects to delete",
        }
    }

    /// What a person has to do; `None` where nobody has to.
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Reason::Suspended => Some("set spec.suspend to false to go on"),
            Reason::AddressNotAllowed => {
                Some("an administrator allows the operator's address in the Composio dashboard")
            }
            Reason::InternalError => Some("report the operator's log to its maintainers"),
            Reason::OrganizationNotReady => Some("see the conditions of the ComposioOrganization"),
            Reason::OrganizationNotFound => Some("create it, or correct spec.organizationRef.name"),
            Reason::NamespaceNotAllowed => Some(
                "create the resource in another namespace, or have the operator's administrator allow this one; the operator's own is never allowed",
            ),
            Reason::SpecInvalid | Reason::SpecRejected => Some("correct the spec"),
            Reason::NameTaken => Some(
                "choose another name, or ask the organization's administrator whose project it is; with a grant, \
                     spec.adopt takes it over",
            ),
            Reason::ClaimHeld => Some("delete the other resource, or choose another name"),
            Reason::RebindDenied => Some(
                "choose another name, or have the operator's administrator grant it in spec.grants of the \
                 ComposioOrganization",
            ),
            Reason::AdoptionDenied => Some(
                "correct or remove spec.adopt, or have the operator's administrator grant it in spec.grants of the \
                 ComposioOrganization",
            ),
            Reason::AdoptionMismatch => {
                Some("remove spec.adopt, which is read only while the resource has no project")
            }
            Reason::ProjectMissing => Some(
                "set spec.onProjectMissing to Recreate to have it made anew with a new key, or delete the resource",
            ),
            Reason::KeyUnavailable | Reason::RotationNotEnabled => {
                Some("have key regeneration enabled for the organization at Composio")
            }
            Reason::KeyRejected => Some(
                "set spec.onInvalidKey to Regenerate to have a new key issued, which kills every other key of the project; or revoke the other keys in the Composio dashboard, so that with RegenerateIfNoneLeft nobody is hurt",
            ),
            Reason::SecretConflict => Some("remove that Secret, or choose another spec.secret.name"),
            Reason::SecretRefused => Some("look at what refuses it, such as a quota or an admission policy"),
            Reason::SettingsIncomplete => {
                Some("state is2FAEnabled, maskSecretKeysInConnectedAccount and logVisibilitySetting together")
            }
            Reason::SettingsUnavailable => {
                Some("change the settings in the Composio dashboard, or remove them from the spec")
            }
            Reason::SettingsNotApplied => {
                Some("check that the organization's plan allows them, or remove them from the spec")
            }
            Reason::Drifted => Some(
                "set spec.onDrift to Correct to have them put back, or state in the spec what is at Composio",
            ),
            Reason::ClaimUnreadable => Some("restore the Secret from a backup of the operator's namespace"),
            Reason::ClaimMissing => Some(
                "restore the operator's namespace from a backup, or set spec.deletionPolicy to Retain to let the resource go",
            ),
            Reason::DeletionBlocked => Some(
                "remove what blocks it, or set spec.deletionPolicy to Retain to let the resource go and keep the project",
            ),
            Reason::DeletionHeld => Some(
                "wait, or let what is held go by the annotation composio.dev/confirm on the ComposioOrganization, with the token of its status.held; to keep the project, set spec.deletionPolicy to Retain",
            ),
            Reason::KeySecretMissing => Some("create the Secret, or correct spec.apiKeySecretRef"),
            Reason::KeyInvalid => Some("put a valid organization access token into the Secret"),
            Reason::EndpointUnreachable => {
                Some("check spec.endpoint with its certificates, the network and the proxy settings")
            }
            Reason::EndpointInvalid => Some("correct spec.endpoint, or the certificates that it refers to"),
            Reason::OrganizationMismatch => Some(
                "put a key of the right organization into the Secret; for another organization, create another ComposioOrganization",
            ),
            Reason::FleetVanished => Some(
                "see at Composio what has become of them; if they were deleted, set the annotation composio.dev/confirm to the token of status.held; if they are listed again, this ends by itself",
            ),
            Reason::LedgerMoved => Some(
                "make sure that no other operator works with these records, then set the annotation composio.dev/confirm to the token of status.held",
            ),
            Reason::WrongNamespace => {
                Some("create it in that namespace, together with its Secret, and delete this one")
            }
            Reason::InUse => Some(
                "delete those ComposioProjects, or set their spec.deletionPolicy to Retain to keep the projects",
            ),
            Reason::Reconciled
            | Reason::Creating
            | Reason::ResolvingOutcome
            | Reason::AcquiringKey
            | Reason::Rotating
            | Reason::Throttled
            | Reason::AppliedAtCreation
            | Reason::Deleting
            | Reason::TransientFailure
            | Reason::KeyAccepted => None,
        }
    }

    /// Nothing that the operator can do alone will help (`Stalled=True`).
    pub fn stalls(self) -> bool {
        matches!(
            self,
            Reason::AddressNotAllowed
                | Reason::InternalError
                | Reason::NamespaceNotAllowed
                | Reason::SpecInvalid
                | Reason::SpecRejected
                | Reason::NameTaken
                | Reason::RebindDenied
                | Reason::AdoptionDenied
                | Reason::AdoptionMismatch
                | Reason::ProjectMissing
                | Reason::KeyUnavailable
                | Reason::KeyRejected
                | Reason::RotationNotEnabled
                | Reason::SecretConflict
                | Reason::SettingsIncomplete
                | Reason::SettingsUnavailable
                | Reason::SettingsNotApplied
                | Reason::ClaimUnreadable
                | Reason::ClaimMissing
                | Reason::DeletionBlocked
                | Reason::KeySecretMissing
                | Reason::KeyInvalid
                | Reason::EndpointInvalid
                | Reason::OrganizationMismatch
                | Reason::FleetVanished
                | Reason::LedgerMoved
                | Reason::WrongNamespace
        )
    }

    /// The word in conditions, Events and metrics.
    pub fn as_str(self) -> String {
        format!("{self:?}")
    }

    /// What [`Reason::message`] was given to make this sentence, where it was.
    pub fn detail(self, message: &str) -> Option<&str> {
        let what = match self.remedy() {
            Some(remedy) => message.strip_suffix(remedy)?.strip_suffix("; ")?,
            None => message,
        };
        let rest = what.strip_prefix(self.text())?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix(": ") }
    }

    /// The sentence for a person: what happened (with `detail` where there is one) and who has to do what.
    pub fn message(self, detail: &str) -> String {
        let what =
            if detail.is_empty() { self.text().to_owned() } else { format!("{}: {detail}", self.text()) };
        match self.remedy() {
            Some(remedy) => format!("{what}; {remedy}"),
            None => what,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_lists_each_reason_once() {
        let distinct: BTreeSet<_> = Reason::ALL.into_iter().collect();
        assert_eq!(distinct.len(), Reason::ALL.len());
        assert_eq!(Reason::InUse as usize + 1, Reason::ALL.len(), "a reason is missing in ALL");
    }

    #[test]
    fn the_detail_of_a_message_can_be_told_from_the_rest() {
        for reason in Reason::ALL {
            for detail in ["", "displayName: \"Shop\"; and more"] {
                assert_eq!(reason.detail(&reason.message(detail)), Some(detail), "{reason:?}");
            }
            assert_eq!(reason.detail("another sentence"), None);
        }
    }

    #[test]
    fn whoever_stalls_says_who_has_to_do_what() {
        for reason in Reason::ALL.into_iter().filter(|reason| reason.stalls()) {
            assert!(reason.remedy().is_some(), "{reason:?} stalls without a remedy");
        }
    }
}
