//! Keys: project keys and organization keys, and what may be shown of them. The text itself leaves this type only by
//! [`ApiKey::expose`], which is called where a key is sent to Composio or written to a Secret, and nowhere else.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::ids::hex;

/// A key in full. It has no `Debug`, `Display` or `Serialize`, and is zeroed on drop.
#[derive(Clone)]
pub struct ApiKey(SecretString);

/// What is wrong with a text that was to become a key. The text is never part of the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Nothing but white space.
    #[error("the key is empty")]
    Empty,
    /// Cannot be sent as a header (API 3: formats are not checked any further).
    #[error("the key has characters other than printable ASCII without spaces")]
    Characters,
}

impl ApiKey {
    /// Takes a key, without the white space around it.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidKey::Characters);
        }
        Ok(Self(text.to_owned().into()))
    }

    /// The key in full.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Equal, in constant time.
    pub fn is(&self, other: &ApiKey) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }

    /// The form that the API itself shows: prefix, `**`, last four characters, such as `ak_**6j0z` (API 5.4). A text
    /// too short to hide anything becomes `**`.
    pub fn masked(&self) -> String {
        let text = self.expose();
        match (text.find('_'), text.len()) {
            (Some(end), length) if end <= 4 && length >= end + 13 => {
                format!("{}_**{}", &text[..end], &text[length - 4..])
            }
            _ => "**".to_owned(),
        }
    }
}

impl ApiKey {
    /// `ak_` and at least eight more of `[A-Za-z0-9_-]` (API 3). A key found where others write is sent to Composio only
    /// if it looks like this; keys that Composio has issued to us are not judged by their form.
    pub fn has_form_of_project_key(&self) -> bool {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let rest = self.expose().strip_prefix("ak_");
        rest.is_some_and(|rest| rest.len() >= 8 && rest.bytes().all(is_inner))
    }
}

/// A key as the API lists it: prefix, `**`, last characters, such as `ak_**6j0z` (API 5.4). Holds no more than that,
/// whatever the API sends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Mask {
    prefix: String,
    tail: String,
}

/// Fewer characters would fit too many keys.
const SHORTEST_TAIL: usize = 4;

impl From<String> for Mask {
    fn from(text: String) -> Self {
        // Text without stars may be a key in full.
        let text = if text.contains('*') {
            text
        } else {
            ApiKey::parse(&text).map(|key| key.masked()).unwrap_or_default()
        };
        let (prefix, tail) = text.split_once('*').unwrap_or_default();
        Self { prefix: prefix.to_owned(), tail: tail.trim_start_matches('*').to_owned() }
    }
}

impl Mask {
    /// Whether the mask may be this key's. Only a hint: many keys share one.
    pub fn fits(&self, key: &ApiKey) -> bool {
        let key = key.expose();
        self.tail.len() >= SHORTEST_TAIL
            && key.len() > self.prefix.len() + self.tail.len()
            && key.starts_with(&self.prefix)
            && key.ends_with(&self.tail)
    }
}

/// Secret of the ledger, with which fingerprints are made: comparing is possible, guessing is not.
#[derive(Clone)]
pub struct FingerprintKey(SecretString);

impl FingerprintKey {
    /// Takes the secret as the ledger's header keeps it.
    pub fn new(secret: String) -> Self {
        Self(secret.into())
    }

    /// The secret, for the header only.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// 32 hex digits of HMAC-SHA256 over the key.
    pub fn fingerprint(&self, key: &ApiKey) -> String {
        // HMAC takes keys of any length, so that this cannot fail; an empty text would be a visible fault.
        Hmac::<Sha256>::new_from_slice(self.0.expose_secret().as_bytes())
            .map(|mac| mac.chain_update(key.expose()).finalize().into_bytes())
            .map(|bytes| hex(&bytes[..16]))
            .unwrap_or_default()
    }
}

/// What the claim and the status say of a key. Computed when the key is stored, never again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRecord {
    /// 32 hex digits, see [`FingerprintKey::fingerprint`].
    pub fingerprint: String,
    /// Such as `ak_**6j0z`.
    pub masked: String,
    /// When Composio issued it: the API's `created_at` for a regenerated key, the answer's `Date` for a created one.
    pub issued_time: Timestamp,
}

impl KeyRecord {
    /// Describes a key.
    pub fn new(key: &ApiKey, issued_time: Timestamp, secret: &FingerprintKey) -> Self {
        Self { fingerprint: secret.fingerprint(key), masked: key.masked(), issued_time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_shows_the_prefix_and_four_characters() {
        assert_eq!(ApiKey::parse("ak_0123456789abcdef6j0z").unwrap().masked(), "ak_**6j0z");
        assert_eq!(ApiKey::parse("ak_short").unwrap().masked(), "**");
        assert_eq!(ApiKey::parse("nounderscorebutlong0123").unwrap().masked(), "**");
    }

    #[test]
    fn a_mask_fits_the_keys_with_its_prefix_and_its_last_characters_and_no_others() {
        let key = ApiKey::parse("ak_0123456789abcdef6j0z").unwrap();
        let fits = |mask: &str| Mask::from(mask.to_owned()).fits(&key);
        assert!(fits("ak_**6j0z") && fits(&key.masked()) && fits("ak_****ef6j0z"));
        for other in [
            "ak_**6j0y",
            "oak_**6j0z",
            "ak_**",
            "ak_**j0z",
            "**",
            "*",
            "",
            "ak_0123456789abcdef**6j0z",
            "6j0z",
        ] {
            assert!(!fits(other), "{other}");
        }
    }

    #[test]
    fn a_mask_never_keeps_a_key_in_full() {
        let mask = Mask::from("ak_0123456789abcdef6j0z".to_owned());
        assert_eq!(mask, Mask::from("ak_**6j0z".to_owned()));
        assert!(!format!("{mask:?}").contains("0123"));
    }

    #[test]
    fn only_project_keys_have_their_form() {
        let is_one = |text: &str| ApiKey::parse(text).unwrap().has_form_of_project_key();
        assert!(is_one("ak_0123456789abcdef6j0z") && is_one("ak_-_012345"));
        for other in
            ["oak_0123456789abcdef6j0z", "uak_0123456789", "ak_short", "ak_", "ak_0123/56789", "password1234"]
        {
            assert!(!is_one(other), "{other}");
        }
    }

    #[test]
    fn white_space_around_a_key_is_dropped_and_inside_is_refused() {
        assert_eq!(ApiKey::parse(" ak_x\n").unwrap().expose(), "ak_x");
        assert_eq!(ApiKey::parse(" \n").err(), Some(InvalidKey::Empty));
        assert_eq!(ApiKey::parse("a b").err(), Some(InvalidKey::Characters));
    }

    #[test]
    fn fingerprints_depend_on_the_key_and_on_the_ledger() {
        let (one, two) = (ApiKey::parse("ak_1").unwrap(), ApiKey::parse("ak_2").unwrap());
        let (here, there) = (FingerprintKey::new("a".into()), FingerprintKey::new("b".into()));
        assert_eq!(here.fingerprint(&one).len(), 32);
        assert_eq!(here.fingerprint(&one), here.fingerprint(&one));
        assert_ne!(here.fingerprint(&one), here.fingerprint(&two));
        assert_ne!(here.fingerprint(&one), there.fingerprint(&one));
    }
}
