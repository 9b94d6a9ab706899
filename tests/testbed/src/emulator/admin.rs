//! The admin routes under `/_emulator`: what [`Control`](super::Control) does, by HTTP and JSON. [`HELP`] documents them and
//! is what `GET /_emulator` answers. No credential is needed, full keys are given; none of these calls is in the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::exchange::Shared;
use super::faults::FaultRule;
use super::journal::{Entry, Operation};
use super::modes::{Modes, OrganizationOptions};
use super::snapshot::{Organization, ProjectState, ThirdPartyProject};
use super::state::{KeyState, Lie};

/// The routes, for people.
const HELP: &str = r#"Composio API emulator: admin routes (JSON; no credential; loopback only)

GET    /_emulator                                this text
GET    /_emulator/organizations                  all organizations with keys and modes
POST   /_emulator/organizations                  {"name": "acme", "id"?, "plan"?: hobby|pro|enterprise, "modes"?} -> id, name, key
GET    /_emulator/organizations/{id}/modes       the switches
PATCH  /_emulator/organizations/{id}/modes       some of them, e.g. {"regenerate_enabled": false, "settings": "gone_html_404",
                                                 "rate_limit": 10, "list_view": {"behind": 1}}
POST   /_emulator/organizations/{id}/keys        one more organization key -> key
DELETE /_emulator/organization-keys/{key}        revoke an organization key
POST   /_emulator/organizations/{id}/budget      {"burn": 100}: other traffic
DELETE /_emulator/organizations/{id}/budget      begin a new window
GET    /_emulator/organizations/{id}/projects    live projects with full keys; ?deleted=true: all
POST   /_emulator/organizations/{id}/projects    a third party creates: {"name": "x", "with_key"?, "created_at"?, "subscribed"?, "config"?}
GET    /_emulator/projects/{id}                  one project, also a deleted one
DELETE /_emulator/projects/{id}                  a third party deletes it
POST   /_emulator/projects/{id}/keys             one more project key, as made in the dashboard -> key
DELETE /_emulator/projects/{id}/keys             revoke all keys of the project -> revoked
PATCH  /_emulator/projects/{id}/config           settings changed in the dashboard, unchecked; null unsets
PUT    /_emulator/projects/{id}/lies             what witnesses say wrongly: ["list_omits", "list_says_deleted", "read_says_404",
                                                 "read_says_deleted"]; [] ends it
PUT    /_emulator/project-keys/{key}             "live", "expired", "address_not_allowed" or {"scoped": ["toolkits"]}
GET    /_emulator/faults                         rules in force
POST   /_emulator/faults                         {"fault": {...}, "organization"?, "operation"?, "project"?, "times"?} -> id
DELETE /_emulator/faults                         clear all; DELETE /_emulator/faults/{id}: one
GET    /_emulator/gates                          arrivals by name
POST   /_emulator/gates/{name}/open              let everybody pass; POST .../pass {"requests": 1}: so many
GET    /_emulator/journal                        entries; ?since=SEQUENCE &organization=ID &operation=create &committed=true
DELETE /_emulator/journal                        forget them

Operations: create, list, read, delete, regenerate, read_settings, patch_settings, categories.
Points: before_commit, after_commit.
Faults ({"kind": ...}):
  delay {point, milliseconds}     hold {point, gate}              cut {point}
  server_error {point, status}    html {point, status}            answer {point, status, body}
  redirect                        rate_limited {retry_after_seconds}
  invalid_organization_key        invalid_project_key             access_denied
  forbidden                       bad_request {message}
  short_body                      cut_json                        without_member {name}
  set_member {name, value}        extra_members                   commit_late {gate, answer: cut|gateway_timeout}
  twice {answer: first|second}

Example: the answer to the next creation is lost after the project was made:
  curl -X POST -H 'Content-Type: application/json' \
    -d '{"fault": {"kind": "cut", "point": "after_commit"}, "operation": "create", "times": 1}' URL/_emulator/faults
"#;

/// What an admin route answers: JSON, or an error with a status and a text.
type Reply<T = Value> = Result<Json<T>, Refused>;
type Emulated = State<Arc<Shared>>;
type Given<T> = Result<Json<T>, JsonRejection>;

#[derive(Debug)]
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

fn unknown(what: &str, id: &str) -> Refused {
    Refused(StatusCode::NOT_FOUND, format!("no {what} {id}"))
}

fn body<T>(given: Given<T>) -> Result<T, Refused> {
    given.map(|Json(body)| body).map_err(|error| Refused(StatusCode::BAD_REQUEST, error.body_text()))
}

fn parsed<T: DeserializeOwned>(value: Value) -> Result<T, Refused> {
    serde_json::from_value(value).map_err(|error| Refused(StatusCode::BAD_REQUEST, error.to_string()))
}

pub(super) fn router() -> Router<Arc<Shared>> {
    let nothing_here =
        || async { Refused(StatusCode::NOT_FOUND, "no such admin route; see GET /_emulator".to_owned()) };
    organizations()
        .merge(projects())
        .merge(faults())
        .route("/", get(async || HELP))
        .route("/journal", get(read_journal).delete(clear_journal))
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
}

fn organizations() -> Router<Arc<Shared>> {
    Router::new()
        .route("/organizations", get(list_organizations).post(add_organization))
        .route("/organizations/{id}/modes", get(read_modes).patch(patch_modes))
        .route("/organizations/{id}/keys", post(add_organization_key))
        .route("/organization-keys/{key}", delete(revoke_organization_key))
        .route("/organizations/{id}/budget", post(burn_budget).delete(reset_budget))
        .route("/organizations/{id}/projects", get(list_projects).post(create_project))
}

async fn list_organizations(State(shared): Emulated) -> Response {
    Json(shared.lock().summaries()).into_response()
}

async fn add_organization(State(shared): Emulated, given: Given<OrganizationOptions>) -> Reply<Organization> {
    let options = body(given)?;
    let name = options.name.clone();
    let (id, key) = shared
        .lock()
        .add_organization(options)
        .ok_or_else(|| Refused(StatusCode::CONFLICT, "the id is in use".to_owned()))?;
    Ok(Json(Organization { id, name, key }))
}

async fn read_modes(State(shared): Emulated, Path(id): Path<String>) -> Reply<Modes> {
    let state = shared.lock();
    state
        .organizations
        .get(&id)
        .map(|known| Json(known.modes.clone()))
        .ok_or_else(|| unknown("organization", &id))
}

async fn patch_modes(
    State(shared): Emulated,
    Path(id): Path<String>,
    given: Given<Map<String, Value>>,
) -> Reply<Modes> {
    let changes = body(given)?;
    let state = &mut *shared.lock();
    let known = state.organizations.get_mut(&id).ok_or_else(|| unknown("organization", &id))?;
    let mut modes = json!(known.modes);
    for (name, value) in changes {
        modes[name] = value;
    }
    known.modes = parsed(modes)?;
    Ok(Json(known.modes.clone()))
}

async fn add_organization_key(State(shared): Emulated, Path(id): Path<String>) -> Reply {
    let state = &mut *shared.lock();
    let known = state.organizations.get_mut(&id).ok_or_else(|| unknown("organization", &id))?;
    Ok(Json(json!({"key": known.add_key()})))
}

async fn revoke_organization_key(State(shared): Emulated, Path(key): Path<String>) -> Reply {
    if shared.lock().revoke_organization_key(&key) {
        return Ok(Json(json!({"revoked": 1})));
    }
    Err(Refused(StatusCode::NOT_FOUND, "no such living organization key".to_owned()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Burn {
    burn: u32,
}

async fn burn_budget(State(shared): Emulated, Path(id): Path<String>, given: Given<Burn>) -> Reply {
    let Burn { burn } = body(given)?;
    let state = &mut *shared.lock();
    let known = state.organizations.get_mut(&id).ok_or_else(|| unknown("organization", &id))?;
    known.burn(burn);
    Ok(Json(json!({"remaining": known.rate_headers().remaining})))
}

async fn reset_budget(State(shared): Emulated, Path(id): Path<String>) -> Reply {
    let state = &mut *shared.lock();
    let known = state.organizations.get_mut(&id).ok_or_else(|| unknown("organization", &id))?;
    known.budget.reset();
    Ok(Json(json!({"remaining": known.rate_headers().remaining})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deleted {
    #[serde(default)]
    deleted: bool,
}

async fn list_projects(
    State(shared): Emulated,
    Path(id): Path<String>,
    Query(Deleted { deleted }): Query<Deleted>,
) -> Reply<Vec<ProjectState>> {
    let state = shared.lock();
    if !state.organizations.contains_key(&id) {
        return Err(unknown("organization", &id));
    }
    Ok(Json(state.project_states(&id, deleted)))
}

async fn create_project(
    State(shared): Emulated,
    Path(id): Path<String>,
    given: Given<ThirdPartyProject>,
) -> Reply<ProjectState> {
    let project = body(given)?;
    shared.lock().third_party_creates(&id, project).map(Json).ok_or_else(|| unknown("organization", &id))
}

fn projects() -> Router<Arc<Shared>> {
    Router::new()
        .route("/projects/{id}", get(read_project).delete(delete_project))
        .route("/projects/{id}/keys", post(add_project_key).delete(revoke_project_keys))
        .route("/projects/{id}/config", axum::routing::patch(patch_config))
        .route("/projects/{id}/lies", put(set_lies))
        .route("/project-keys/{key}", put(set_key_state))
}

async fn read_project(State(shared): Emulated, Path(id): Path<String>) -> Reply<ProjectState> {
    let state = shared.lock();
    let place = state.find(&id).ok_or_else(|| unknown("project", &id))?;
    Ok(Json(ProjectState::from(&state.projects[place])))
}

async fn delete_project(State(shared): Emulated, Path(id): Path<String>) -> Reply {
    let state = &mut *shared.lock();
    if state.find(&id).is_some_and(|place| state.end_project(place, false)) {
        return Ok(Json(json!({"deleted": id})));
    }
    Err(unknown("live project", &id))
}

async fn add_project_key(State(shared): Emulated, Path(id): Path<String>) -> Reply {
    let key = shared.lock().add_project_key(&id).ok_or_else(|| unknown("live project", &id))?;
    Ok(Json(json!({"key": key})))
}

async fn revoke_project_keys(State(shared): Emulated, Path(id): Path<String>) -> Reply {
    let state = &mut *shared.lock();
    let project = state.find_mut(&id).ok_or_else(|| unknown("project", &id))?;
    Ok(Json(json!({"revoked": project.keys.drain(..).count()})))
}

async fn patch_config(
    State(shared): Emulated,
    Path(id): Path<String>,
    given: Given<Map<String, Value>>,
) -> Reply<Map<String, Value>> {
    let changes = body(given)?;
    let state = &mut *shared.lock();
    let project = state.find_mut(&id).ok_or_else(|| unknown("project", &id))?;
    for (member, value) in changes {
        project.set_setting(&member, value);
    }
    Ok(Json(project.config.clone()))
}

async fn set_lies(
    State(shared): Emulated,
    Path(id): Path<String>,
    given: Given<Vec<Lie>>,
) -> Reply<Vec<Lie>> {
    let lies = body(given)?;
    let state = &mut *shared.lock();
    let project = state.find_mut(&id).ok_or_else(|| unknown("project", &id))?;
    project.lies = lies.into_iter().collect();
    Ok(Json(project.lies.iter().copied().collect()))
}

async fn set_key_state(
    State(shared): Emulated,
    Path(key): Path<String>,
    given: Given<KeyState>,
) -> Reply<KeyState> {
    let wanted = body(given)?;
    let state = &mut *shared.lock();
    let missing = || Refused(StatusCode::NOT_FOUND, "no such living project key".to_owned());
    state.key_mut(&key).ok_or_else(missing)?.state = wanted.clone();
    Ok(Json(wanted))
}

fn faults() -> Router<Arc<Shared>> {
    Router::new()
        .route("/faults", get(list_faults).post(inject).delete(clear_faults))
        .route("/faults/{id}", delete(clear_fault))
        .route("/gates", get(list_gates))
        .route("/gates/{name}/open", post(open_gate))
        .route("/gates/{name}/pass", post(pass_gate))
}

async fn list_faults(State(shared): Emulated) -> Response {
    Json(shared.lock().rules.active()).into_response()
}

async fn inject(State(shared): Emulated, given: Given<FaultRule>) -> Reply {
    let rule = body(given)?;
    let state = &mut *shared.lock();
    if let Some(id) = rule.organization.as_ref().filter(|id| !state.organizations.contains_key(*id)) {
        return Err(unknown("organization", id));
    }
    Ok(Json(json!({"id": state.rules.add(rule)})))
}

async fn clear_faults(State(shared): Emulated) -> Reply {
    Ok(Json(json!({"cleared": shared.lock().rules.retain(|_| false)})))
}

async fn clear_fault(State(shared): Emulated, Path(id): Path<u64>) -> Reply {
    match shared.lock().rules.retain(|active| active.id != id) {
        0 => Err(unknown("rule", &id.to_string())),
        cleared => Ok(Json(json!({"cleared": cleared}))),
    }
}

async fn list_gates(State(shared): Emulated) -> Reply<BTreeMap<String, usize>> {
    let state = shared.lock();
    Ok(Json(state.gates.all().map(|gate| (gate.name().to_owned(), gate.arrivals())).collect()))
}

async fn open_gate(State(shared): Emulated, Path(name): Path<String>) -> Reply {
    let gate = shared.lock().gates.named(&name);
    gate.open();
    Ok(Json(json!({"arrivals": gate.arrivals()})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pass {
    requests: u16,
}

async fn pass_gate(State(shared): Emulated, Path(name): Path<String>, given: Given<Pass>) -> Reply {
    let Pass { requests } = body(given)?;
    let gate = shared.lock().gates.named(&name);
    gate.pass(requests.into());
    Ok(Json(json!({"arrivals": gate.arrivals()})))
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JournalQuery {
    #[serde(default)]
    since: u64,
    organization: Option<String>,
    operation: Option<Operation>,
    committed: Option<bool>,
}

async fn read_journal(State(shared): Emulated, Query(query): Query<JournalQuery>) -> Reply<Vec<Entry>> {
    let wanted = |entry: &&Entry| {
        query.organization.as_ref().is_none_or(|id| entry.organization.as_ref() == Some(id))
            && query.operation.is_none_or(|operation| entry.operation == Some(operation))
            && query.committed.is_none_or(|committed| entry.committed == committed)
    };
    Ok(Json(shared.lock().journal.since(query.since).iter().filter(wanted).cloned().collect()))
}

async fn clear_journal(State(shared): Emulated) -> Reply {
    shared.lock().journal.clear();
    Ok(Json(json!({})))
}
