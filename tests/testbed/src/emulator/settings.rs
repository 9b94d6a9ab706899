//! Project settings: the members of API 7.1, their validation, and the settings endpoint (API 7.2, 15.8).

use std::net::IpAddr;

use reqwest::Url;
use serde_json::{Map, Value};

use super::errors::Refusal;
use super::modes::SettingsMode;
use super::operations::Done;
use super::state::State;

/// The three members that a `config` at creation must have, and that every answer has.
const REQUIRED: [&str; 3] =
    ["is_2FA_enabled", "mask_secret_keys_in_connected_account", "log_visibility_setting"];

/// Members that only the newest `config` at creation lists (API 7.1).
const NEW_MEMBERS: [&str; 2] = ["oauth_callback_verifier_url", "theme"];

/// What is wrong with one member, if anything; `Err(())` for a member that does not exist.
fn member_error(name: &str, value: &Value) -> Result<Option<String>, ()> {
    let wants = |kind: &str, good: bool| (!good).then(|| format!("{name}: must be {kind}"));
    Ok(match name {
        "is_2FA_enabled"
        | "mask_secret_keys_in_connected_account"
        | "require_mcp_api_key"
        | "is_composio_link_enabled_for_managed_auth" => wants("a boolean", value.is_boolean()),
        "log_visibility_setting" => {
            let good = matches!(value.as_str(), Some("show_all" | "dont_store_data"));
            wants("one of show_all, dont_store_data", good)
        }
        "logo_url" | "display_name" => wants("a string", value.is_string()),
        "signed_url_file_expiry_in_seconds" => {
            let good = value.as_f64().is_some_and(|seconds| (1.0..=86_400.0).contains(&seconds));
            wants("a number from 1 to 86400", good)
        }
        "oauth_callback_verifier_url" => {
            let good = value.is_null() || value.as_str().is_some_and(is_public_https);
            wants("null or a public HTTPS URL", good)
        }
        "theme" => wants("an object", value.is_object()),
        _ => return Err(()),
    })
}

/// Whether a URL would pass the check against requests to inner networks: HTTPS, and no local name or address.
fn is_public_https(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let Some(host) = url.host_str().map(|host| host.trim_matches(['[', ']'])) else {
        return false;
    };
    let public = match host.parse() {
        Ok(IpAddr::V4(address)) => {
            !(address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || address.is_unspecified())
        }
        Ok(IpAddr::V6(address)) => {
            !(address.is_loopback() || address.is_unique_local() || address.is_unspecified())
        }
        Err(_) => host.rsplit_once('.').is_some_and(|(_, top)| !matches!(top, "local" | "internal")),
    };
    url.scheme() == "https" && public
}

/// The known members of `given`, or everything that is wrong with it. `prefix` names the place in messages.
fn validate(
    given: &Map<String, Value>,
    prefix: &str,
    strict: bool,
) -> Result<Map<String, Value>, Vec<String>> {
    let (mut known, mut errors) = (Map::new(), Vec::new());
    for (name, value) in given {
        match member_error(name, value) {
            Ok(None) => {
                known.insert(name.clone(), value.clone());
            }
            Ok(Some(error)) => errors.push(format!("{prefix}{error}")),
            Err(()) if strict => errors.push(format!("{prefix}{name}: unknown member")),
            Err(()) => {}
        }
    }
    if errors.is_empty() { Ok(known) } else { Err(errors) }
}

/// The `config` of a creation: an object with the three required members (API 5.1).
pub(super) fn validate_at_creation(config: &Value, strict: bool) -> Result<Map<String, Value>, Vec<String>> {
    let Value::Object(given) = config else {
        return Err(vec!["config: must be an object".to_owned()]);
    };
    let missing = REQUIRED.iter().filter(|name| !given.contains_key(**name));
    let mut errors: Vec<String> = missing.map(|name| format!("config.{name}: is required")).collect();
    match validate(given, "config.", strict) {
        Ok(known) if errors.is_empty() => Ok(known),
        Ok(_) => Err(errors),
        Err(others) => {
            errors.extend(others);
            Err(errors)
        }
    }
}

/// Whether a mode takes the endpoint away, whoever asks.
pub(super) enum Gone {
    Envelope(Refusal),
    Page,
}

/// See [`Gone`].
pub(super) fn gone(mode: SettingsMode) -> Option<Gone> {
    match mode {
        SettingsMode::Gone404 => Some(Gone::Envelope(Refusal::route_not_found())),
        SettingsMode::Gone405 => Some(Gone::Envelope(Refusal::method_not_allowed())),
        SettingsMode::Gone410 => Some(Gone::Envelope(Refusal::route_removed())),
        SettingsMode::Gone501 => Some(Gone::Envelope(Refusal::not_implemented())),
        SettingsMode::GoneHtml404 => Some(Gone::Page),
        _ => None,
    }
}

fn mode(state: &State, place: usize) -> SettingsMode {
    let organization = state.organizations.get(&state.projects[place].organization);
    organization.map_or(SettingsMode::Available, |organization| organization.modes.settings)
}

/// Modes that refuse keys which work elsewhere.
fn refuses(mode: SettingsMode) -> Result<(), Refusal> {
    match mode {
        SettingsMode::Unauthorized401 => Err(Refusal::settings_unauthorized()),
        SettingsMode::Forbidden403 => Err(Refusal::forbidden("Forbidden")),
        _ => Ok(()),
    }
}

fn answer(state: &State, place: usize) -> Value {
    let mut config = state.projects[place].config.clone();
    if mode(state, place) == SettingsMode::WithoutNewMembers {
        config.retain(|name, _| !NEW_MEMBERS.contains(&name.as_str()));
    }
    Value::Object(config)
}

/// `GET …/org/project/config`.
pub(super) fn read(state: &State, place: usize) -> Result<Done, Refusal> {
    refuses(mode(state, place))?;
    Ok(Done::read(answer(state, place), Some(place)))
}

/// `PATCH …/org/project/config`: merges, and answers the whole configuration without unset members.
pub(super) fn patch(state: &mut State, place: usize, body: &Value) -> Result<Done, Refusal> {
    let mode = mode(state, place);
    refuses(mode)?;
    let Value::Object(given) = body else {
        return Err(Refusal::validation(vec!["body: must be an object".to_owned()]));
    };
    let organization = state.organizations.get(&state.projects[place].organization);
    let strict = organization.is_some_and(|organization| organization.modes.reject_unknown_members);
    let mut wanted = validate(given, "", strict).map_err(Refusal::validation)?;
    match mode {
        SettingsMode::PlanGated
            if wanted.get("log_visibility_setting").is_some_and(|logs| logs == "dont_store_data") =>
        {
            return Err(Refusal::forbidden("Your plan does not include this setting"));
        }
        SettingsMode::IgnoresLogVisibility => {
            wanted.remove("log_visibility_setting");
        }
        SettingsMode::WithoutNewMembers => wanted.retain(|name, _| !NEW_MEMBERS.contains(&name.as_str())),
        _ => {}
    }
    let now = organization.map(super::state::OrganizationState::now);
    let project = &mut state.projects[place];
    let before = project.config.clone();
    project.config.extend(wanted);
    project.config.retain(|_, value| !value.is_null());
    let changed = project.config != before;
    if let (true, Some(now)) = (changed, now) {
        project.updated_at = now;
    }
    Ok(Done { committed: changed, ..Done::read(answer(state, place), Some(place)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_https_urls_pass_the_check_against_inner_networks() {
        for good in ["https://verify.example.com/x", "https://8.8.8.8/"] {
            assert!(is_public_https(good), "{good}");
        }
        let bad = [
            "",
            "verify.example.com",
            "http://verify.example.com",
            "https://localhost/",
            "https://127.0.0.1/",
            "https://10.1.2.3/",
            "https://169.254.169.254/",
            "https://[::1]/",
            "https://db.internal/",
            "https://[fd00::1]/",
        ];
        for bad in bad {
            assert!(!is_public_https(bad), "{bad}");
        }
    }
}
