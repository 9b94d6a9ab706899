//! What the ledger's header says: which Secret it was written into, so that a restored or copied ledger is noticed, and
//! which organization at Composio each ComposioOrganization has shown. How it is kept is `controller::header`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::{OrganizationId, ProjectId};

/// See the module. Serialized as `header.json`; unknown fields are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// `metadata.uid` of the Secret that it was written into; empty where claims were found without a header.
    uid: String,
    /// By name of the ComposioOrganization.
    #[serde(default)]
    organizations: BTreeMap<String, Pinned>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// What is remembered of one ComposioOrganization.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pinned {
    /// Its id at Composio, at first sight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<OrganizationId>,
    /// Fingerprint of the key that has shown the id last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
    /// UID of the ComposioOrganization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_uid: Option<String>,
    /// UID of a moved ledger's header, where an administrator has confirmed it for this organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_uid: Option<String>,
    /// UIDs of the resources whose held deletion was confirmed last.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub confirmed_deletions: BTreeSet<String>,
    /// Projects that have vanished from the list together, and may be called missing. Those that come back are taken out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub confirmed_vanished: BTreeSet<ProjectId>,
    /// How often that was confirmed: the same projects have another token the next time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub vanished_confirmations: u32,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Header {
    /// Of a new ledger, in the Secret with this UID.
    pub fn new(uid: String) -> Self {
        Self { uid, ..Self::default() }
    }

    /// What is remembered of an organization.
    pub fn organization(&self, name: &str) -> Option<&Pinned> {
        self.organizations.get(name)
    }

    /// The same, to be changed.
    pub fn organization_mut(&mut self, name: &str) -> &mut Pinned {
        self.organizations.entry(name.to_owned()).or_default()
    }

    /// The ledger is in another Secret than it was written into, and nobody has confirmed that for this organization.
    /// `uid` is the header's real one.
    pub fn is_moved(&self, name: &str, uid: &str) -> bool {
        let confirmed = self.organization(name).and_then(|pinned| pinned.confirmed_uid.as_deref());
        self.uid != uid && confirmed != Some(uid)
    }

    /// The UID it was written into.
    pub fn recorded_uid(&self) -> &str {
        &self.uid
    }

    /// An administrator confirms the move for one organization. When none of those that the header or `existing` names is
    /// left, the ledger belongs here, and organizations that come later need no confirmation.
    pub fn confirm_move(&mut self, name: &str, uid: &str, existing: &[String]) {
        self.organization_mut(name).confirmed_uid = Some(uid.to_owned());
        let known = self.organizations.keys().chain(existing);
        if known.into_iter().all(|name| !self.is_moved(name, uid)) {
            uid.clone_into(&mut self.uid);
            for pinned in self.organizations.values_mut() {
                pinned.confirmed_uid = None;
            }
        }
    }

    /// Names of the organizations that have shown this id.
    pub fn with_id<'a>(&'a self, id: &'a OrganizationId) -> impl Iterator<Item = &'a str> {
        let has_id = move |(_, pinned): &(&String, &Pinned)| pinned.id.as_ref() == Some(id);
        self.organizations.iter().filter(has_id).map(|(name, _)| name.as_str())
    }
}

/// What is known when an organization has been probed.
#[derive(Debug, Clone, Default)]
pub struct Sight<'a> {
    /// `spec.organizationId`.
    pub stated: Option<&'a OrganizationId>,
    /// The id that the header remembers.
    pub pinned: Option<&'a OrganizationId>,
    /// The id that the list shows; nothing where it is empty.
    pub seen: Option<&'a OrganizationId>,
    /// Projects in the ledger, and how long the oldest has been there.
    pub owned: Option<(usize, Duration)>,
    /// How long a list may be behind.
    pub settle: Duration,
}

/// Whether the key belongs to the organization that it is meant for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nothing speaks against it.
    Accepted,
    /// It does not; why.
    Other(String),
    /// The list is empty and may be behind; look again after this time.
    Unclear(Duration),
}

/// Judges what a probe has shown.
pub fn identify(sight: &Sight<'_>) -> Identity {
    let Sight { stated, pinned, seen, owned, settle } = sight;
    if let (Some(stated), Some(pinned)) = (stated, pinned)
        && stated != pinned
    {
        return Identity::Other(format!("spec.organizationId is {stated}, and its projects are in {pinned}"));
    }
    match (seen, stated.or(*pinned), owned) {
        (Some(seen), Some(expected), _) if *seen != expected => {
            Identity::Other(format!("the key belongs to {seen}, not to {expected}"))
        }
        (None, _, Some((_, age))) if age < settle => Identity::Unclear(settle.saturating_sub(*age)),
        (None, _, Some((count, _))) => {
            Identity::Other(format!("the key shows no project at all, and there should be {count}"))
        }
        _ => Identity::Accepted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> OrganizationId {
        OrganizationId::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_moved_ledger_is_confirmed_one_organization_at_a_time() {
        let mut header = Header::new("old".into());
        header.organization_mut("a").id = Some(id("ok_a"));
        assert!(!header.is_moved("a", "old") && header.is_moved("a", "new") && header.is_moved("x", "new"));
        header.confirm_move("a", "new", &["a".into(), "b".into()]);
        assert!(!header.is_moved("a", "new") && header.is_moved("b", "new") && header.is_moved("x", "new"));
        header.confirm_move("b", "new", &["a".into(), "b".into()]);
        assert!(!header.is_moved("a", "new") && !header.is_moved("x", "new"));
        assert_eq!(header.recorded_uid(), "new");
        assert!(header.is_moved("a", "newer"), "each move needs its own confirmation");
    }

    #[test]
    fn claims_without_a_header_count_as_moved() {
        assert!(Header::new(String::new()).is_moved("a", "new"));
    }

    #[test]
    fn what_another_release_has_added_is_kept() {
        let text = r#"{"uid":"u","organizations":{"a":{"id":"ok_a","more":1}},"later":[2]}"#;
        let header: Header = serde_json::from_str(text).unwrap();
        let again: Value = serde_json::to_value(&header).unwrap();
        assert_eq!(again, serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn only_the_expected_organization_is_accepted() {
        let (a, b) = (id("ok_a"), id("ok_b"));
        let settle = Duration::from_mins(1);
        let old = |count: usize| Some((count, settle)).filter(|_| count > 0);
        let sight = |stated, pinned, seen, owned| {
            identify(&Sight { stated, pinned, seen, owned: old(owned), settle })
        };
        for accepted in [
            sight(None, None, None, 0),
            sight(None, None, Some(&a), 3),
            sight(Some(&a), None, Some(&a), 0),
            sight(None, Some(&a), Some(&a), 1),
            sight(Some(&a), Some(&a), None, 0),
        ] {
            assert_eq!(accepted, Identity::Accepted);
        }
        for refused in [
            sight(Some(&a), None, Some(&b), 0),
            sight(None, Some(&a), Some(&b), 0),
            sight(Some(&b), Some(&a), Some(&b), 0),
            sight(Some(&b), Some(&a), Some(&a), 0),
            sight(None, None, None, 1),
            sight(Some(&a), Some(&a), None, 1),
        ] {
            assert!(matches!(refused, Identity::Other(_)), "{refused:?}");
        }
        let young = Some((1, Duration::from_secs(50)));
        let unclear = identify(&Sight { owned: young, settle, ..Sight::default() });
        assert_eq!(unclear, Identity::Unclear(Duration::from_secs(10)));
    }
}
