//! Wrong settings of projects.

use serde_json::{Value, json};

use super::{Wrong, wrong};
use crate::cluster::project;

pub(super) fn rows() -> Vec<Wrong> {
    [members(), values(), urls()].into_iter().flatten().collect()
}

fn members() -> Vec<Wrong> {
    vec![
        // The name in the API instead of the one in the schema.
        wrong(
            with("is_2FA_enabled", json!(true)),
            "spec.settings.is_2FA_enabled",
            &["unknown field", "field not declared in schema"],
        ),
        wrong(
            with("is2FAEnabled", json!("true")),
            "spec.settings.is2FAEnabled",
            &["of type boolean", "expected boolean"],
        ),
        wrong(project(json!({"settings": []})), "spec.settings", &["of type object", "expected map"]),
    ]
}

fn values() -> Vec<Wrong> {
    let visibility = |value: &str| with("logVisibilitySetting", json!(value));
    let expiry = |value: Value| with("signedUrlFileExpiryInSeconds", value);
    let title = |value: &str| with("displayName", json!(value));
    let seconds = "spec.settings.signedUrlFileExpiryInSeconds";
    vec![
        wrong(
            visibility("show-all"),
            "spec.settings.logVisibilitySetting",
            &["supported values: \"show_all\", \"dont_store_data\""],
        ),
        wrong(visibility(""), "spec.settings.logVisibilitySetting", &["supported values"]),
        wrong(expiry(json!(0)), seconds, &["should be greater than or equal to 1"]),
        wrong(expiry(json!(86401)), seconds, &["should be less than or equal to 86400"]),
        wrong(expiry(json!("1h")), seconds, &["of type integer", "expected numeric (int or float)"]),
        wrong(expiry(json!(1.5)), seconds, &["of type integer"]),
        wrong(title(""), "spec.settings.displayName", &["should be at least 1 chars long"]),
        wrong(title(&"ä".repeat(257)), "spec.settings.displayName", &["Too long: may not be more than 256"]),
    ]
}

fn urls() -> Vec<Wrong> {
    let long = format!("https://example.com/{}", "a".repeat(2048));
    let logo = |url: &str| with("logoUrl", json!(url));
    let verifier = |url: &str| with("oauthCallbackVerifierUrl", json!(url));
    let (logo_field, verifier_field) = ("spec.settings.logoUrl", "spec.settings.oauthCallbackVerifierUrl");
    vec![
        wrong(
            logo("logo.png"),
            logo_field,
            &["must be an http or https URL, such as https://example.com/logo.png"],
        ),
        wrong(logo("data:image/png;base64,AAAA"), logo_field, &["must be an http or https URL"]),
        wrong(logo(""), logo_field, &["must be an http or https URL"]),
        wrong(logo(&long), logo_field, &["Too long: may not be more than 2048 bytes"]),
        wrong(
            verifier("http://example.com/verify"),
            verifier_field,
            &["must be an https URL", "switch the verification off"],
        ),
        wrong(verifier("example.com"), verifier_field, &["must be an https URL"]),
        wrong(verifier("https://"), verifier_field, &["must be an https URL"]),
        wrong(verifier(&long), verifier_field, &["Too long: may not be more than 2048 bytes"]),
    ]
}

fn with(member: &str, value: Value) -> Value {
    let mut manifest = project(json!({"settings": {}}));
    manifest["spec"]["settings"][member] = value;
    manifest
}
