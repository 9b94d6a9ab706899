//! Strings from outside, checked once where they enter. No I/O, no rendering of templates.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What is wrong with a string that was to become an id or a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// An id of Composio that could change the path of a request.
    #[error("{0:?} is not an id: 1 to 128 characters of [A-Za-z0-9_-] are allowed")]
    Id(String),
    /// A project name that the API would refuse (API 5.1).
    #[error("{0:?} is not a project name: 3 to 75 characters of [a-zA-Z0-9_-] are allowed")]
    ProjectName(String),
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $valid:expr, $error:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The string itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) { Ok(Self(text)) } else { Err($error(text)) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Id of a Composio project, such as `pr_1a2b3c4d5e6f`: opaque, safe as a path segment (API 3, "IDs").
    ProjectId,
    |text| (1..=128).contains(&text.len()) && is_word(text),
    InvalidId::Id
);
id!(
    /// Id of a Composio organization, such as `ok_1a2b3c4d5e6f`: opaque (API 3, "IDs").
    OrganizationId,
    |text| (1..=128).contains(&text.len()) && is_word(text),
    InvalidId::Id
);
id!(
    /// Full name of a project at Composio: 3 to 75 characters of `[a-zA-Z0-9_-]` (API 5.1).
    ProjectName,
    |text| (3..=75).contains(&text.len()) && is_word(text),
    InvalidId::ProjectName
);

/// Name of the claim of one project: a natural lock, since two resources that want the same project of the same
/// ComposioOrganization get the same name.
///
/// `claim-` and 32 hex digits of SHA-256 over both parts, each with its length before it, so that no two pairs meet.
pub fn claim_name(organization: &str, project: &ProjectName) -> String {
    format!("claim-{}", digest(&[organization, project.as_str()]))
}

/// Name of the tombstone of a project that was deleted. It does not lock the project's name.
pub fn tombstone_name(id: &ProjectId) -> String {
    format!("deleted-{}", digest(&[id.as_str()]))
}

pub(super) fn digest(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    hex(&digest.finalize()[..16])
}

/// Lower-case hex digits of some bytes.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ProjectName {
        ProjectName::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn an_id_cannot_change_a_path() {
        for bad in ["", "a/b", "..", "a?b", "a b", "ä", &"x".repeat(129)] {
            assert!(ProjectId::try_from((*bad).to_owned()).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(ProjectId::try_from("pr_fFNjab93_ln9".to_owned()).unwrap().as_str(), "pr_fFNjab93_ln9");
    }

    #[test]
    fn a_project_name_has_three_to_seventy_five_characters() {
        assert!(ProjectName::try_from("ab".to_owned()).is_err());
        assert!(ProjectName::try_from("a".repeat(76)).is_err());
        assert!(ProjectName::try_from("a.b".to_owned()).is_err());
        assert_eq!(name("prod-Shop_1").as_str(), "prod-Shop_1");
    }

    #[test]
    fn claim_names_of_different_pairs_differ_even_where_the_joined_text_is_equal() {
        assert_ne!(claim_name("ab", &name("cde")), claim_name("abc", &name("dee")));
        assert_ne!(claim_name("a", &name("bcd")), claim_name("ab", &name("cdd")));
        assert_eq!(claim_name("a", &name("bcd")).len(), "claim-".len() + 32);
    }
}
