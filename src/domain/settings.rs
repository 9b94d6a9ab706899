//! Project settings as pure values: which members are managed, merging, comparing. Not their schema (`crd`) and not
//! their transport (`composio`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::drift::Difference;

/// A member of the project configuration (API 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Member {
    /// `is_2FA_enabled`
    #[serde(rename = "is2FAEnabled")]
    Is2FaEnabled,
    /// `mask_secret_keys_in_connected_account`
    #[serde(rename = "maskSecretKeysInConnectedAccount")]
    MaskSecretKeys,
    /// `log_visibility_setting`
    #[serde(rename = "logVisibilitySetting")]
    LogVisibility,
    /// `require_mcp_api_key`
    #[serde(rename = "requireMcpApiKey")]
    RequireMcpApiKey,
    /// `logo_url`
    #[serde(rename = "logoUrl")]
    LogoUrl,
    /// `display_name`
    #[serde(rename = "displayName")]
    DisplayName,
    /// `signed_url_file_expiry_in_seconds`
    #[serde(rename = "signedUrlFileExpiryInSeconds")]
    SignedUrlFileExpiry,
    /// `oauth_callback_verifier_url`
    #[serde(rename = "oauthCallbackVerifierUrl")]
    OauthCallbackVerifierUrl,
}

/// The three members without which the API refuses a `config` at creation (API 5.1).
const REQUIRED_AT_CREATION: [Member; 3] =
    [Member::Is2FaEnabled, Member::MaskSecretKeys, Member::LogVisibility];

impl Member {
    /// All members, in the order of the schema.
    pub const ALL: [Member; 8] = [
        Member::Is2FaEnabled,
        Member::MaskSecretKeys,
        Member::LogVisibility,
        Member::RequireMcpApiKey,
        Member::LogoUrl,
        Member::DisplayName,
        Member::SignedUrlFileExpiry,
        Member::OauthCallbackVerifierUrl,
    ];

    /// The name in the API.
    pub fn wire(self) -> &'static str {
        match self {
            Member::Is2FaEnabled => "is_2FA_enabled",
            Member::MaskSecretKeys => "mask_secret_keys_in_connected_account",
            Member::LogVisibility => "log_visibility_setting",
            Member::RequireMcpApiKey => "require_mcp_api_key",
            Member::LogoUrl => "logo_url",
            Member::DisplayName => "display_name",
            Member::SignedUrlFileExpiry => "signed_url_file_expiry_in_seconds",
            Member::OauthCallbackVerifierUrl => "oauth_callback_verifier_url",
        }
    }

    /// The name in `spec.settings`.
    pub fn field(self) -> &'static str {
        match self {
            Member::Is2FaEnabled => "is2FAEnabled",
            Member::MaskSecretKeys => "maskSecretKeysInConnectedAccount",
            Member::LogVisibility => "logVisibilitySetting",
            Member::RequireMcpApiKey => "requireMcpApiKey",
            Member::LogoUrl => "logoUrl",
            Member::DisplayName => "displayName",
            Member::SignedUrlFileExpiry => "signedUrlFileExpiryInSeconds",
            Member::OauthCallbackVerifierUrl => "oauthCallbackVerifierUrl",
        }
    }
}

/// Some members with their values. A member that is absent is not managed and never sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<Member, Value>);

impl FromIterator<(Member, Value)> for Settings {
    fn from_iter<I: IntoIterator<Item = (Member, Value)>>(members: I) -> Self {
        Self(members.into_iter().collect())
    }
}

impl Settings {
    /// No member is managed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a `config` may be sent at creation: all three members that the API requires together are stated.
    pub fn can_be_inline(&self) -> bool {
        REQUIRED_AT_CREATION.iter().all(|member| self.0.contains_key(member))
    }

    /// These members, and those of `defaults` that are not among them.
    #[must_use]
    pub fn over(mut self, defaults: &Settings) -> Self {
        for (member, value) in &defaults.0 {
            self.0.entry(*member).or_insert_with(|| value.clone());
        }
        self
    }

    /// The members of `self` that `observed` lacks or has with another value.
    #[must_use]
    pub fn differing_from(&self, observed: &Settings) -> Settings {
        let differs = |(member, value): &(&Member, &Value)| !same(**member, value, observed.0.get(*member));
        self.0.iter().filter(differs).map(|(member, value)| (*member, value.clone())).collect()
    }

    /// What is known of these members after `observed` was seen: those that are as wanted in the form in which they are
    /// wanted, the others as they were seen.
    #[must_use]
    pub fn as_seen(&self, observed: &Settings) -> Settings {
        let seen = |(member, value): (&Member, &Value)| match observed.0.get(member) {
            found if same(*member, value, found) => Some((*member, value.clone())),
            found => found.map(|found| (*member, found.clone())),
        };
        self.0.iter().filter_map(seen).collect()
    }

    /// These members, but for those that `managed` does not state.
    #[must_use]
    pub fn only(&self, managed: &Settings) -> Settings {
        let is_managed = |(member, _): &(&Member, &Value)| managed.0.contains_key(member);
        self.0.iter().filter(is_managed).map(|(member, value)| (*member, value.clone())).collect()
    }

    /// The members that `observed` lacks or has with another value, in words.
    pub fn differences(&self, observed: &Settings) -> Vec<Difference> {
        let differing = self.differing_from(observed);
        let difference = |(member, value): (&Member, &Value)| Difference {
            field: member.field(),
            desired: word(value),
            observed: observed.0.get(member).map(word),
        };
        differing.0.iter().map(difference).collect()
    }

    /// Names of the members as in `spec.settings`, separated by commas.
    pub fn fields(&self) -> String {
        self.0.keys().map(|member| member.field()).collect::<Vec<_>>().join(", ")
    }

    /// The body of a `PATCH`, or the `config` of a creation. An empty verifier URL is sent as `null`, the only way to
    /// switch the verification off (API 7.1); at creation it is left out, since there is nothing to switch off.
    pub fn to_wire(&self, creation: bool) -> Value {
        let members = self.0.iter().filter_map(|(member, value)| match is_off(*member, value) {
            true if creation => None,
            true => Some((member.wire().to_owned(), Value::Null)),
            false => Some((member.wire().to_owned(), value.clone())),
        });
        Value::Object(members.collect())
    }

    /// The known members of a configuration that the API answered; unknown ones and `null` are left out.
    pub fn from_wire(body: &Value) -> Settings {
        let known = |member: &Member| match body.get(member.wire()) {
            Some(Value::Null) | None => None,
            Some(value) => Some((*member, value.clone())),
        };
        Member::ALL.iter().filter_map(known).collect()
    }
}

/// A value as it is shown: a string without its quotes.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn is_off(member: Member, value: &Value) -> bool {
    member == Member::OauthCallbackVerifierUrl && value.as_str() == Some("")
}

/// Numbers are compared by value (`3600` and `3600.0` are the same), an absent verifier URL equals one switched off.
fn same(member: Member, desired: &Value, observed: Option<&Value>) -> bool {
    match observed {
        None => is_off(member, desired),
        Some(observed) if desired.is_number() && observed.is_number() => {
            desired.as_f64() == observed.as_f64()
        }
        Some(observed) => desired == observed,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn starred() -> Settings {
        Settings::from_wire(&json!({
            "is_2FA_enabled": true, "mask_secret_keys_in_connected_account": true,
            "log_visibility_setting": "show_all"
        }))
    }

    #[test]
    fn a_config_goes_inline_only_with_all_three_required_members() {
        assert!(starred().can_be_inline());
        for member in REQUIRED_AT_CREATION {
            let without: Settings = starred().0.into_iter().filter(|(m, _)| *m != member).collect();
            assert!(!without.can_be_inline(), "{} was invented", member.field());
        }
    }

    #[test]
    fn a_member_of_the_project_wins_over_the_default_of_the_organization() {
        let project = Settings::from_wire(&json!({"display_name": "Shop"}));
        let defaults = Settings::from_wire(&json!({"display_name": "Any", "logo_url": "https://a.example"}));
        let merged = project.over(&defaults);
        assert_eq!(merged.to_wire(false), json!({"display_name": "Shop", "logo_url": "https://a.example"}));
    }

    #[test]
    fn only_stated_members_are_compared_and_numbers_by_value() {
        let desired = Settings::from_wire(&json!({"signed_url_file_expiry_in_seconds": 3600}));
        let observed = Settings::from_wire(
            &json!({"signed_url_file_expiry_in_seconds": 3600.0, "is_2FA_enabled": false}),
        );
        assert!(desired.differing_from(&observed).is_empty());
    }

    #[test]
    fn an_empty_verifier_url_is_sent_as_null_and_is_satisfied_by_an_absent_one() {
        let off: Settings = [(Member::OauthCallbackVerifierUrl, json!(""))].into_iter().collect();
        assert_eq!(off.to_wire(false), json!({"oauth_callback_verifier_url": null}));
        assert_eq!(off.to_wire(true), json!({}));
        assert!(off.differing_from(&Settings::default()).is_empty());
    }

    #[test]
    fn what_was_seen_keeps_the_form_of_what_is_wanted_and_has_no_unmanaged_member() {
        let desired: Settings = [
            (Member::SignedUrlFileExpiry, json!(3600)),
            (Member::DisplayName, json!("Shop")),
            (Member::OauthCallbackVerifierUrl, json!("")),
            (Member::LogoUrl, json!("https://a.example")),
        ]
        .into_iter()
        .collect();
        let observed = Settings::from_wire(&json!({
            "signed_url_file_expiry_in_seconds": 3600.0, "display_name": "Theirs", "is_2FA_enabled": true
        }));
        let seen = desired.as_seen(&observed);
        let wanted: Settings = [
            (Member::SignedUrlFileExpiry, json!(3600)),
            (Member::DisplayName, json!("Theirs")),
            (Member::OauthCallbackVerifierUrl, json!("")),
        ]
        .into_iter()
        .collect();
        assert_eq!(seen, wanted);
        assert_eq!(desired.differing_from(&seen), desired.differing_from(&observed));
        let told = desired.differences(&observed);
        let told: Vec<_> = told.iter().map(|it| (it.field, &*it.desired, it.observed.as_deref())).collect();
        assert_eq!(told, [("logoUrl", "https://a.example", None), ("displayName", "Shop", Some("Theirs"))]);
    }

    #[test]
    fn the_names_in_the_claim_are_those_of_the_spec() {
        for member in Member::ALL {
            assert_eq!(serde_json::to_value(member).unwrap(), json!(member.field()));
        }
    }
}
