//! Words of others (the API, the API server) made fit for status, Events and logs. Bodies never pass here whole.

use std::sync::LazyLock;

use regex::Regex;

/// Longest text of others that is passed on, in characters.
const LONGEST: usize = 300;

/// Anything that looks like a key (API 10.1), whatever comes before it, as it is or in the base64 of a Secret.
static KEYS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(ak|oak|uak|ck)_[A-Za-z0-9_-]{6,}|(YWtf|b2FrX|dWFrX|Y2tf)[A-Za-z0-9+/=]{6,}").ok()
});

/// Replaces keys, folds white space and control characters, and cuts to 300 characters.
pub fn redact(text: &str) -> String {
    let Some(keys) = KEYS.as_ref() else {
        return "(withheld)".to_owned();
    };
    let hidden = keys.replace_all(text, "${1}_**");
    let folded = hidden.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let text = folded.collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_replaced_wherever_they_stand() {
        let text = redact("key=ak_CANARY12345678901234, oak_abcdefghij\nuak_zzzzzzzz YWtfQ0FOQVJZMTIz");
        assert_eq!(text, "key=ak_**, oak_** uak_** _**");
    }

    #[test]
    fn long_words_are_cut_on_a_character_boundary() {
        assert_eq!(redact(&"ä".repeat(400)).chars().count(), LONGEST + 1);
    }
}
