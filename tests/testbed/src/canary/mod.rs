//! The canary: every key of the emulator carries a marker, and whatever leaves the operator is searched for it: logs,
//! all that is ever stored in etcd, metrics, the output of child processes. Where a key may be is in `places`.

mod history;
mod logs;
mod places;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub use self::history::History;
pub use self::logs::capture_logs;
pub(crate) use self::logs::{leaks_in_logs, lines_searched};
use crate::emulator::{KEY_MARKER, ORG_KEY_MARKER, redact};

/// Which kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A project's.
    Project,
    /// An organization's.
    Organization,
}

/// What is looked for, and what it means.
static SEARCH: LazyLock<(AhoCorasick, Vec<Kind>)> = LazyLock::new(|| {
    let (mut patterns, mut kinds) = (Vec::new(), Vec::new());
    for (marker, kind) in [(KEY_MARKER, Kind::Project), (ORG_KEY_MARKER, Kind::Organization)] {
        let forms = std::iter::once(marker.to_owned()).chain((0..3).map(|before| in_base64(marker, before)));
        for form in forms {
            patterns.push(form);
            kinds.push(kind);
        }
    }
    #[expect(clippy::expect_used, reason = "eight short texts")]
    let search = AhoCorasick::new(&patterns).expect("a search for eight short texts");
    (search, kinds)
});

/// What the base64 of a text has in common with that of every text in which it stands behind 3n + `before` bytes.
fn in_base64(text: &str, before: usize) -> String {
    let encoded = STANDARD.encode([&vec![0; before], text.as_bytes()].concat());
    // A character stands for six bits; those that also stand for bits of a neighbour say nothing.
    let (begin, end) = ((before * 8).div_ceil(6), (before + text.len()) * 8 / 6);
    encoded[begin..end].to_owned()
}

/// Of which kinds there are keys in this, as they are or in base64.
pub(crate) fn keys_in(bytes: &[u8]) -> BTreeSet<Kind> {
    let (search, kinds) = &*SEARCH;
    search.find_overlapping_iter(bytes).map(|found| kinds[found.pattern().as_usize()]).collect()
}

/// Whether there is a key in this, as it is or in base64.
pub fn has_key(bytes: impl AsRef<[u8]>) -> bool {
    SEARCH.0.is_match(bytes.as_ref())
}

/// A text that held keys, for a person; nothing of it where a key is in base64.
pub(crate) fn without_keys(text: &str) -> String {
    let clean = redact(text);
    if has_key(&clean) { "(a text with a key in base64)".to_owned() } else { clean }
}

/// Fails the test if there is a key in what a program has written. `what` begins the sentence.
///
/// # Panics
///
/// If so, with the lines that hold one, but without the key.
pub fn assert_no_key(what: &str, output: &[u8]) {
    let lines = output.split(|byte| *byte == b'\n').filter(|line| has_key(line));
    let lines: Vec<_> = lines.map(|line| without_keys(&String::from_utf8_lossy(line))).collect();
    assert_eq!(lines, Vec::<String>::new(), "{what} holds a key");
    // Also one that a line break cuts in two.
    let joined: Vec<u8> = output.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    assert!(!has_key(joined), "{what} holds a key with white space in it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_as_it_is_and_in_base64_wherever_it_stands() {
        for (marker, kind) in [(KEY_MARKER, Kind::Project), (ORG_KEY_MARKER, Kind::Organization)] {
            for before in 0..9 {
                let text = format!("{}{marker}0123456789 and more", "€".repeat(before));
                for text in [text.clone(), STANDARD.encode(&text), STANDARD.encode(format!("x{text}"))] {
                    assert_eq!(keys_in(text.as_bytes()), BTreeSet::from([kind]), "{text}");
                    assert!(!has_key(without_keys(&text)), "{text}");
                }
            }
        }
        assert!(!has_key("ak_**abcd oak_**abcd ak_canary YWtf"));
    }

    #[test]
    #[should_panic(expected = "standard output holds a key")]
    fn output_with_a_key_fails_a_test() {
        assert_no_key("standard output", format!("one\nkey={KEY_MARKER}0123\n").as_bytes());
    }
}
