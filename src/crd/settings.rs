//! Schema of project settings.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::drift::DriftPolicy;
use crate::domain::settings::{Member, Settings};

/// What to do when somebody changes a setting that is stated here at Composio. Correct: put it back. Report: change nothing
/// after creation and list what differs in status.drift. Default: Correct.
// The schema takes this description and not that of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDrift {
    /// Put it back.
    Correct,
    /// List what differs.
    Report,
}

impl From<DriftPolicy> for OnDrift {
    fn from(policy: DriftPolicy) -> Self {
        match policy {
            DriftPolicy::Correct => Self::Correct,
            DriftPolicy::Report => Self::Report,
        }
    }
}

/// A stated setting whose value at Composio is another one, as it was seen last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftStatus {
    /// Its name, as in spec.settings.
    #[schemars(length(max = 64))]
    pub field: String,
    /// The stated value; its first 2048 characters.
    #[schemars(length(max = 2048))]
    pub desired: String,
    /// The value at Composio; its first 2048 characters. Absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub observed: Option<String>,
    /// Since when they are known to differ.
    pub since_time: Time,
}

/// Whether payloads are kept in logs: show_all keeps them, dont_store_data does not ("Zero Data Retention"). Applied at
/// creation only if is2FAEnabled and maskSecretKeysInConnectedAccount are stated too; otherwise right after it.
// The schema takes this description and not that of the field. The values are written as Composio writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogVisibility {
    /// Payloads are kept in logs.
    ShowAll,
    /// Payloads are not stored ("Zero Data Retention").
    DontStoreData,
}

/// Project settings. A member that is absent is not managed: its value at Composio is left as it is, also when the
/// member is removed here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettingsSpec {
    /// Composio's "2FA setting". Applied at creation only if maskSecretKeysInConnectedAccount and logVisibilitySetting
    /// are stated too; otherwise right after it.
    #[serde(default, rename = "is2FAEnabled", skip_serializing_if = "Option::is_none")]
    pub is_2fa_enabled: Option<bool>,
    /// Mask secrets in answers about connected accounts. Applied at creation only if is2FAEnabled and
    /// logVisibilitySetting are stated too; otherwise right after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_secret_keys_in_connected_account: Option<bool>,
    /// See [`LogVisibility`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_visibility_setting: Option<LogVisibility>,
    /// MCP requests must carry a key of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_mcp_api_key: Option<bool>,
    /// Logo on the hosted Connect page: an http or https URL of at most 2048 characters. Passed on, never fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new("isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''").message("must be an http or https URL, such as https://example.com/logo.png"))]
    pub logo_url: Option<String>,
    /// Title on the hosted Connect page: 1 to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub display_name: Option<String>,
    /// Life time of file URLs in seconds: 1 to 86400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub signed_url_file_expiry_in_seconds: Option<i64>,
    /// Switches on verification of OAuth callbacks for the whole project: an https URL of at most 2048 characters; ""
    /// switches it off. Passed on, never fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new("self == '' || (isURL(self) && url(self).getScheme() == 'https' && url(self).getHostname() != '')").message("must be an https URL, such as https://example.com/verify, or \"\" to switch the verification off"))]
    pub oauth_callback_verifier_url: Option<String>,
}

impl From<&SettingsSpec> for Settings {
    fn from(spec: &SettingsSpec) -> Self {
        // Destructured without `..`: a new field does not compile until it is taken up here.
        let SettingsSpec {
            is_2fa_enabled,
            mask_secret_keys_in_connected_account,
            log_visibility_setting,
            require_mcp_api_key,
            logo_url,
            display_name,
            signed_url_file_expiry_in_seconds,
            oauth_callback_verifier_url,
        } = spec;
        let visibility = log_visibility_setting.map(|setting| match setting {
            LogVisibility::ShowAll => "show_all",
            LogVisibility::DontStoreData => "dont_store_data",
        });
        [
            (Member::Is2FaEnabled, is_2fa_enabled.map(Into::into)),
            (Member::MaskSecretKeys, mask_secret_keys_in_connected_account.map(Into::into)),
            (Member::LogVisibility, visibility.map(Into::into)),
            (Member::RequireMcpApiKey, require_mcp_api_key.map(Into::into)),
            (Member::LogoUrl, logo_url.clone().map(Into::into)),
            (Member::DisplayName, display_name.clone().map(Into::into)),
            (Member::SignedUrlFileExpiry, signed_url_file_expiry_in_seconds.map(Into::into)),
            (Member::OauthCallbackVerifierUrl, oauth_callback_verifier_url.clone().map(Into::into)),
        ]
        .into_iter()
        .filter_map(|(member, value)| Some((member, value?)))
        .collect()
    }
}
