//! Forms of ids and keys (API 3): making, masking, checking and redacting them. No state and no HTTP.

use uuid::Uuid;

/// Every project key of the emulator begins with this text, so that a test can search any sink for leaked keys.
/// It is the documented prefix `ak_` and the first six of the twenty random characters.
pub const KEY_MARKER: &str = "ak_CANARY";

/// Every organization key of the emulator begins with this text. It does not contain [`KEY_MARKER`].
pub const ORG_KEY_MARKER: &str = "oak_CONDOR";

/// Characters that follow a marker; marker and these make the twenty characters of API 3.
const AFTER_MARKER: usize = 14;

const NANO: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

/// `count` random characters of `[A-Za-z0-9_-]`.
fn nano(count: usize) -> String {
    let mut text = String::with_capacity(count);
    while text.len() < count {
        for (place, byte) in Uuid::new_v4().as_bytes().iter().enumerate() {
            // Bytes 6 and 8 of a version 4 UUID hold version and variant and are not random.
            if place != 6 && place != 8 && text.len() < count {
                text.push(char::from(NANO[usize::from(byte & 63)]));
            }
        }
    }
    text
}

/// A new project id, `pr_` and 12 characters.
pub(super) fn project_id() -> String {
    format!("pr_{}", nano(12))
}

/// A new organization id, `ok_` and 12 characters.
pub(super) fn organization_id() -> String {
    format!("ok_{}", nano(12))
}

/// A new id of a revoke job, `oj_` and 12 characters.
pub(super) fn revoke_job_id() -> String {
    format!("oj_{}", nano(12))
}

/// A new project key, `ak_` and 20 characters, beginning with [`KEY_MARKER`].
pub(super) fn project_key() -> String {
    format!("{KEY_MARKER}{}", nano(AFTER_MARKER))
}

/// A new organization key, `oak_` and 20 characters, beginning with [`ORG_KEY_MARKER`].
pub(super) fn organization_key() -> String {
    format!("{ORG_KEY_MARKER}{}", nano(AFTER_MARKER))
}

/// A random name of a key in the form of `epic_avatar` (API 5.6).
pub(super) fn key_name() -> String {
    const ADJECTIVES: [&str; 16] = [
        "amber", "brave", "calm", "dusty", "eager", "epic", "fancy", "gentle", "hidden", "jolly", "keen",
        "lucid", "mellow", "noble", "quiet", "rapid",
    ];
    const NOUNS: [&str; 16] = [
        "anchor", "avatar", "beacon", "canyon", "delta", "ember", "falcon", "garden", "harbor", "island",
        "lantern", "meadow", "orchid", "prairie", "river", "summit",
    ];
    let bytes = *Uuid::new_v4().as_bytes();
    let pick = |list: &[&'static str; 16], byte: u8| list[usize::from(byte & 15)];
    format!("{}_{}", pick(&ADJECTIVES, bytes[0]), pick(&NOUNS, bytes[1]))
}

/// Whether `text` has the form of a project's nano id. A UUID has not (API 3).
pub(super) fn is_project_id(text: &str) -> bool {
    text.strip_prefix("pr_")
        .is_some_and(|rest| rest.len() == 12 && rest.bytes().all(|byte| NANO.contains(&byte)))
}

/// The masked form of a key: prefix, `**` and the last four characters, as `ak_**6j0z` (API 5.4).
/// Of a text too short to be a key nothing is shown.
pub(super) fn mask(key: &str) -> String {
    let (prefix, rest) = match key.split_once('_') {
        Some((prefix, rest)) if prefix.len() <= 3 => (&key[..=prefix.len()], rest),
        _ => ("", key),
    };
    let shown = match rest.char_indices().rev().nth(3) {
        Some((start, _)) if rest.len() >= 12 => &rest[start..],
        _ => "",
    };
    format!("{prefix}**{shown}")
}

/// `text` with every key of the emulator replaced by `[redacted key]`.
pub(crate) fn redact(text: &str) -> String {
    [KEY_MARKER, ORG_KEY_MARKER].iter().fold(text.to_owned(), |text, marker| {
        let mut clean = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find(marker) {
            let (before, key) = rest.split_at(at);
            let end = key.bytes().take_while(|byte| NANO.contains(byte)).count();
            clean.push_str(before);
            clean.push_str("[redacted key]");
            rest = &key[end..];
        }
        clean + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_ids_have_the_documented_lengths_and_never_repeat() {
        let keys: std::collections::HashSet<String> = (0..500).map(|_| project_key()).collect();
        assert_eq!(keys.len(), 500);
        assert!(keys.iter().all(|key| key.len() == "ak_".len() + 20 && key.starts_with(KEY_MARKER)));
        assert_eq!(organization_key().len(), "oak_".len() + 20);
        assert!(!organization_key().contains(KEY_MARKER));
        assert!(is_project_id(&project_id()));
        assert!(!is_project_id(&Uuid::new_v4().to_string()));
        assert!(!is_project_id("pr_short") && !is_project_id("pr_with/slash12"));
    }

    #[test]
    fn a_mask_shows_the_last_four_characters_of_a_real_key_and_nothing_of_a_short_one() {
        assert_eq!(mask("ak_CANARYabcdefgh_-6j0z"), "ak_**6j0z");
        assert_eq!(mask("oak_CONDORabcdefghijWXYZ"), "oak_**WXYZ");
        assert_eq!(mask("ak_short"), "ak_**");
        assert_eq!(mask("secret"), "**");
    }

    #[test]
    fn redaction_removes_keys_anywhere_in_a_text() {
        let (key, organization) = (project_key(), organization_key());
        let clean = redact(&format!("/a/{key}?b={organization}&c={key}"));
        assert_eq!(clean, "/a/[redacted key]?b=[redacted key]&c=[redacted key]");
    }
}
