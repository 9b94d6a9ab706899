//! The switches of an organization: where API 15 leaves a choice, or section 16 says that the real service is unknown.
//! Plain values; what they do is decided where they are read.

use serde::{Deserialize, Serialize};

/// The plan of an organization. It sets the default rate limit (API 9) and the default of `log_visibility_setting` (API 15.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// 2,000 requests per minute.
    #[default]
    Hobby,
    /// 10,000 requests per minute.
    Pro,
    /// 100,000 requests per minute here (the real figure is by contract); new projects do not store data unless told otherwise.
    Enterprise,
}

impl Plan {
    /// Requests per window when [`Modes::rate_limit`] does not say.
    pub fn rate_limit(self) -> u32 {
        match self {
            Self::Hobby => 2_000,
            Self::Pro => 10_000,
            Self::Enterprise => 100_000,
        }
    }
}

/// How `/org/project/config` behaves (API 15.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingsMode {
    /// As documented until April 2026.
    #[default]
    Available,
    /// 404 with the error envelope, whatever the credential.
    #[serde(rename = "gone_404")]
    Gone404,
    /// 404 with the dashboard's HTML page, whatever the credential.
    #[serde(rename = "gone_html_404")]
    GoneHtml404,
    /// 405 with the error envelope, whatever the credential (API 7.3).
    #[serde(rename = "gone_405")]
    Gone405,
    /// 410, in the same way.
    #[serde(rename = "gone_410")]
    Gone410,
    /// 501, in the same way.
    #[serde(rename = "gone_501")]
    Gone501,
    /// 401 for keys that work elsewhere.
    #[serde(rename = "unauthorized_401")]
    Unauthorized401,
    /// 403 for keys that work elsewhere.
    #[serde(rename = "forbidden_403")]
    Forbidden403,
    /// `dont_store_data` is refused with 403; everything else works.
    PlanGated,
    /// A PATCH of `log_visibility_setting` is answered 200 and not applied (API 16, row 4).
    IgnoresLogVisibility,
    /// `oauth_callback_verifier_url` and `theme` are neither stored by PATCH nor returned (API 16, row 2).
    WithoutNewMembers,
}

/// Which state a witness (list or read) shows. Commits are the creations and deletions of the organization, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// The truth.
    #[default]
    Live,
    /// The truth as it was so many commits ago.
    Behind(u64),
    /// The truth as it was after so many commits; 0 shows an empty organization.
    FrozenAt(u64),
}

/// The switches of one organization. The default is API 15 to the letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches that tests turn one by one")]
pub struct Modes {
    /// Whether keys can be regenerated; otherwise 403 (API 5.6). Default true.
    pub regenerate_enabled: bool,
    /// The settings endpoint. Default [`SettingsMode::Available`].
    pub settings: SettingsMode,
    /// Requests per window; default by [`Plan`].
    pub rate_limit: Option<u32>,
    /// Length of the fixed window in seconds. Default 60; at least 1.
    pub rate_window_seconds: u32,
    /// Added to the clock of the organization, in milliseconds: `Date` headers and every timestamp that is made. Default 0.
    pub clock_skew_milliseconds: i64,
    /// Names that differ in letter case only are one name. Default false.
    pub names_ignore_case: bool,
    /// The name of a deleted project is not free again. Default false.
    pub deleted_names_reserved: bool,
    /// A taken name is answered 400 with "already exists" instead of 409 (API 5.1). Default false.
    pub conflict_answers_400: bool,
    /// Items per page when the caller does not say. Default 20; clamped to 1..=50.
    pub page_size: u32,
    /// Lists contain deleted projects, with `deleted: true`. Default false.
    pub list_includes_deleted: bool,
    /// What lists show. Default [`View::Live`].
    pub list_view: View,
    /// What reads by id show. Default [`View::Live`].
    pub read_view: View,
    /// So many first uses of every new project key are refused as an unknown key (API 16, row 11). Default 0.
    pub fresh_key_refusals: u32,
    /// Unknown members of a body are refused with 400 instead of ignored (API 15.2). Default false.
    pub reject_unknown_members: bool,
    /// Every authenticated call is answered 403/2206 (API 10.2). Default false.
    pub suspended: bool,
    /// Every authenticated call is answered 401 "Access denied", as for a banned caller address (API 10.2). Default false.
    pub address_banned: bool,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            regenerate_enabled: true,
            settings: SettingsMode::default(),
            rate_limit: None,
            rate_window_seconds: 60,
            clock_skew_milliseconds: 0,
            names_ignore_case: false,
            deleted_names_reserved: false,
            conflict_answers_400: false,
            page_size: 20,
            list_includes_deleted: false,
            list_view: View::default(),
            read_view: View::default(),
            fresh_key_refusals: 0,
            reject_unknown_members: false,
            suspended: false,
            address_banned: false,
        }
    }
}

/// What a new organization looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationOptions {
    /// Name for people; need not be unique.
    pub name: String,
    /// Id to use; default a new one, `ok_` and 12 characters.
    #[serde(default)]
    pub id: Option<String>,
    /// Default [`Plan::Hobby`].
    #[serde(default)]
    pub plan: Plan,
    /// Default: API 15 to the letter.
    #[serde(default)]
    pub modes: Modes,
}

impl OrganizationOptions {
    /// An organization of this name with every default.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}
