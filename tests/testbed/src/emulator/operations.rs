//! The operations on projects (API 5, 15.2 to 15.7): validation, then effect, under one lock. No faults, no waiting.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::errors::Refusal;
use super::identifiers::{is_project_id, mask};
use super::modes::View;
use super::settings;
use super::state::{Lie, NewProject, Project, State};

/// The largest page (API 5.2).
const MAX_PAGE_SIZE: u64 = 50;

/// The result of an operation that was not refused.
pub(super) struct Done {
    /// Body of the 200.
    pub(super) body: Value,
    /// Whether the state has changed.
    pub(super) committed: bool,
    /// Place of the project that it was about.
    pub(super) project: Option<usize>,
}

impl Done {
    pub(super) fn read(body: Value, project: Option<usize>) -> Self {
        Self { body, committed: false, project }
    }

    fn changed(body: Value, project: usize) -> Self {
        Self { body, committed: true, project: Some(project) }
    }
}

type Query<'a> = &'a [(String, String)];

fn query_value<'a>(query: Query<'a>, name: &str) -> Option<&'a str> {
    query.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
}

/// `POST …/org/owner/project/new` (API 5.1, 15.3).
pub(super) fn create(state: &mut State, organization: &str, body: &Value) -> Result<Done, Refusal> {
    let modes = state.organizations.get(organization).map(|known| known.modes.clone()).unwrap_or_default();
    let Value::Object(given) = body else {
        return Err(Refusal::validation(vec!["body: must be an object".to_owned()]));
    };
    let new = validate_creation(given, modes.reject_unknown_members).map_err(Refusal::validation)?;
    if state.name_is_taken(organization, &new.name) {
        return Err(Refusal::name_taken(&new.name, modes.conflict_answers_400));
    }
    let place = state.make_project(organization, new).ok_or_else(Refusal::project_not_found)?;
    let project = &state.projects[place];
    let key = project.keys.first().map(|key| key.value.as_str());
    Ok(Done::changed(json!({"id": project.id, "name": project.name, "api_key": key}), place))
}

fn validate_creation(given: &Map<String, Value>, strict: bool) -> Result<NewProject, Vec<String>> {
    let mut errors = Vec::new();
    let name = match given.get("name").map(|name| name.as_str().ok_or(())) {
        None => Err("name: is required"),
        Some(Err(())) => Err("name: must be a string"),
        Some(Ok(name)) if !(3..=75).contains(&name.chars().count()) => {
            Err("name: must have 3 to 75 characters")
        }
        Some(Ok(name)) if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) => {
            Err("name: must match ^[a-zA-Z0-9_-]+$")
        }
        Some(Ok(name)) => Ok(name.to_owned()),
    };
    let name = name.unwrap_or_else(|error| {
        errors.push(error.to_owned());
        String::new()
    });
    let with_key = match given.get("should_create_api_key") {
        None => false,
        Some(Value::Bool(wanted)) => *wanted,
        Some(_) => {
            errors.push("should_create_api_key: must be a boolean".to_owned());
            false
        }
    };
    let config =
        given.get("config").map_or(Ok(Map::new()), |config| settings::validate_at_creation(config, strict));
    let config = config.unwrap_or_else(|wrong| {
        errors.extend(wrong);
        Map::new()
    });
    let known = ["name", "should_create_api_key", "config"];
    if strict {
        let unknown = given.keys().filter(|member| !known.contains(&member.as_str()));
        errors.extend(unknown.map(|member| format!("{member}: unknown member")));
    }
    if errors.is_empty() {
        Ok(NewProject { name, with_key, config, ..NewProject::default() })
    } else {
        Err(errors)
    }
}

/// What a list cursor says (API 15.4): base64 of this JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    page: u64,
    limit: u64,
}

impl Cursor {
    fn from_query(query: Query<'_>, default_limit: u32) -> Result<Self, Refusal> {
        let wrong = |message: &str| Refusal::validation(vec![message.to_owned()]);
        if let Some(text) = query_value(query, "cursor") {
            let cursor =
                STANDARD.decode(text).ok().and_then(|json| serde_json::from_slice::<Self>(&json).ok());
            return match cursor {
                Some(cursor) if cursor.page >= 1 && (1..=MAX_PAGE_SIZE).contains(&cursor.limit) => Ok(cursor),
                _ => Err(wrong("cursor: is malformed")),
            };
        }
        let limit = match query_value(query, "limit").filter(|text| !text.is_empty()) {
            None => u64::from(default_limit),
            Some(text) => match text.parse() {
                Ok(0) | Err(_) => return Err(wrong("limit: must be a positive whole number")),
                Ok(limit) => limit,
            },
        };
        Ok(Self { page: 1, limit: limit.clamp(1, MAX_PAGE_SIZE) })
    }

    fn next(&self) -> String {
        let next = json!({"page": self.page + 1, "limit": self.limit});
        STANDARD.encode(next.to_string())
    }
}

/// `GET …/org/owner/project/list` (API 5.2, 15.4).
pub(super) fn list(state: &State, organization: &str, query: Query<'_>) -> Result<Done, Refusal> {
    let Some(known) = state.organizations.get(organization) else {
        return Err(Refusal::invalid_organization_key());
    };
    let cursor = Cursor::from_query(query, known.modes.page_size)?;
    let horizon = known.horizon(known.modes.list_view);
    let shown: Vec<(&Project, bool)> = state
        .projects
        .iter()
        .rev()
        .filter(|project| project.organization == organization && project.made_by <= horizon)
        .filter(|project| !project.lies.contains(&Lie::ListOmits))
        .map(|project| (project, is_gone(project, horizon, Lie::ListSaysDeleted)))
        // A lie that a project is deleted only shows where the item is in the list.
        .filter(|(project, gone)| {
            !gone || known.modes.list_includes_deleted || project.lies.contains(&Lie::ListSaysDeleted)
        })
        .collect();
    let total = shown.len() as u64;
    let start = (cursor.page - 1).saturating_mul(cursor.limit);
    let (skip, take) =
        (usize::try_from(start).unwrap_or(usize::MAX), usize::try_from(cursor.limit).unwrap_or(0));
    let page: Vec<Value> =
        shown.iter().skip(skip).take(take).map(|(project, gone)| project_item(project, *gone)).collect();
    let more = start.saturating_add(page.len() as u64) < total && !page.is_empty();
    let body = json!({
        "data": page,
        "next_cursor": more.then(|| cursor.next()),
        "total_pages": total.div_ceil(cursor.limit),
        "current_page": cursor.page,
        "total_items": total,
    });
    Ok(Done::read(body, None))
}

/// Whether a witness that sees so many commits calls the project deleted.
fn is_gone(project: &Project, horizon: u64, lie: Lie) -> bool {
    project.lies.contains(&lie) || project.ended_by.is_some_and(|commit| commit <= horizon)
}

/// The project object of API 5.4 as in lists.
fn project_item(project: &Project, deleted: bool) -> Value {
    json!({
        "id": project.id,
        "org_id": project.organization,
        "name": project.name,
        "email": project.email,
        "created_at": wire_time(project.created_at),
        "updated_at": wire_time(project.updated_at),
        "webhook_url": null,
        "event_webhook_url": null,
        "webhook_secret": null,
        "triggers_enabled": true,
        "last_subscribed_at": project.last_subscribed_at.map(wire_time),
        "is_new_webhook": true,
        "webhook_version": "V3",
        "deleted": deleted,
    })
}

/// ISO 8601 with milliseconds and `Z` (API 5.4).
fn wire_time(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// The place of a live project of this organization; 400 for a malformed id, 404 for everything else (API 15.5).
fn own_project(state: &State, organization: &str, id: &str, view: Option<View>) -> Result<usize, Refusal> {
    if !is_project_id(id) {
        return Err(Refusal::validation(vec!["nano_id: must be a project id (pr_...)".to_owned()]));
    }
    let place = state.find(id).ok_or_else(Refusal::project_not_found)?;
    let project = &state.projects[place];
    let known = state.organizations.get(organization).ok_or_else(Refusal::project_not_found)?;
    let horizon = known.horizon(view.unwrap_or(View::Live));
    let gone = project.ended_by.is_some_and(|commit| commit <= horizon);
    let visible = project.organization == organization && project.made_by <= horizon && !gone;
    if visible { Ok(place) } else { Err(Refusal::project_not_found()) }
}

/// `GET …/org/owner/project/{nano_id}` (API 5.3, 15.5).
pub(super) fn read(state: &State, organization: &str, id: &str) -> Result<Done, Refusal> {
    let view = state.organizations.get(organization).map(|known| known.modes.read_view);
    let place = own_project(state, organization, id, view)?;
    let project = &state.projects[place];
    if project.lies.contains(&Lie::ReadSays404) {
        return Err(Refusal::project_not_found());
    }
    let mut body = project_item(project, project.lies.contains(&Lie::ReadSaysDeleted));
    let keys = project.keys.iter().map(|key| {
        json!({"id": key.id, "name": key.name, "key": mask(&key.value), "created_at": wire_time(key.created_at)})
    });
    body["api_keys"] = keys.collect();
    Ok(Done::read(body, Some(place)))
}

/// `DELETE …/org/owner/project/{nano_id}` (API 5.5, 15.6).
pub(super) fn delete(
    state: &mut State,
    organization: &str,
    id: &str,
    query: Query<'_>,
) -> Result<Done, Refusal> {
    let revoke = match query_value(query, "revoke_on_delete") {
        None | Some("" | "false") => false,
        Some("true") => true,
        Some(_) => {
            return Err(Refusal::validation(vec!["revoke_on_delete: must be a boolean".to_owned()]));
        }
    };
    let place = own_project(state, organization, id, None)?;
    state.end_project(place, revoke);
    let mut body = json!({"status": "success"});
    if let Some(job) = &state.projects[place].revoke_job_id {
        body["revoke_job_id"] = json!(job);
    }
    Ok(Done::changed(body, place))
}

/// `POST …/org/owner/project/{nano_id}/regenerate_api_key` (API 5.6, 15.7).
pub(super) fn regenerate(state: &mut State, organization: &str, id: &str) -> Result<Done, Refusal> {
    if !is_project_id(id) {
        own_project(state, organization, id, None)?;
    }
    let enabled = state.organizations.get(organization).is_some_and(|known| known.modes.regenerate_enabled);
    if !enabled {
        return Err(Refusal::forbidden("API key regeneration is not enabled for this organization"));
    }
    let place = own_project(state, organization, id, None)?;
    state.projects[place].keys.clear();
    let key = state.make_key(place, None);
    let body = json!({
        "api_key": {"id": key.id, "name": key.name, "key": key.value, "created_at": wire_time(key.created_at)},
        "message": "API key regenerated successfully",
    });
    Ok(Done::changed(body, place))
}

/// `GET …/toolkits/categories` (API 8): proof that a project key lives.
pub(super) fn categories() -> Done {
    let items = json!([
        {"id": "developer-tools", "name": "developer tools"},
        {"id": "productivity", "name": "productivity"},
        {"id": "crm", "name": "crm"},
    ]);
    let body =
        json!({"items": items, "next_cursor": null, "total_pages": 1, "current_page": 1, "total_items": 3});
    Done::read(body, None)
}
