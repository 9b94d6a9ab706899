//! What waits for an administrator: kinds, and the tokens that confirm. A token stands for one set at one organization;
//! when the set changes, so does the token.

use super::ids::digest;

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeldKind {
    /// Deletions beyond `spec.limits.deletionsPerHour`.
    Deletions,
    /// What follows from projects that are missing: too many have vanished between two sweeps.
    FleetVanished,
    /// Everything: the ledger was restored or copied.
    LedgerMoved,
}

impl HeldKind {
    /// The word in `status.held`.
    pub fn as_str(self) -> &'static str {
        match self {
            HeldKind::Deletions => "Deletions",
            HeldKind::FleetVanished => "FleetVanished",
            HeldKind::LedgerMoved => "LedgerMoved",
        }
    }
}

/// Something that waits for the annotation `composio.dev/confirm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What it is.
    pub kind: HeldKind,
    /// How many things wait.
    pub count: usize,
    /// What the annotation has to say.
    pub token: String,
}

/// The token for a set at an organization, whose UID makes that of one useless for another: 12 hex digits.
pub fn token<'a>(
    kind: HeldKind,
    organization_uid: &'a str,
    set: impl IntoIterator<Item = &'a str>,
) -> String {
    let mut parts = vec![kind.as_str(), organization_uid];
    let mut set: Vec<_> = set.into_iter().collect();
    set.sort_unstable();
    parts.extend(set);
    digest(&parts)[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn of(set: &BTreeSet<String>) -> String {
        token(HeldKind::Deletions, "org", set.iter().map(String::as_str))
    }

    #[test]
    fn a_token_is_for_one_kind_and_one_organization() {
        let deletions = token(HeldKind::Deletions, "a", ["x"]);
        assert_eq!(deletions.len(), 12);
        assert_ne!(deletions, token(HeldKind::LedgerMoved, "a", ["x"]));
        assert_ne!(deletions, token(HeldKind::Deletions, "b", ["x"]));
        assert_ne!(
            token(HeldKind::Deletions, "a", ["xy", "z"]),
            token(HeldKind::Deletions, "a", ["x", "yz"])
        );
    }

    proptest! {
        #[test]
        fn another_set_has_another_token_and_the_order_does_not_count(
            one in btree_set("[a-c]{1,2}", 0..5), other in btree_set("[a-c]{1,2}", 0..5),
        ) {
            prop_assert_eq!(one == other, of(&one) == of(&other));
            let backwards = token(HeldKind::Deletions, "org", one.iter().rev().map(String::as_str));
            prop_assert_eq!(backwards, of(&one));
        }
    }
}
