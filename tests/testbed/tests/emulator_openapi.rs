//! The emulator's answers against the two OpenAPI documents of the API: every operation in every version, every status that
//! the documents list. The documents say nothing of the categories route; its shape is checked in words.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must stop")]

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use reqwest::Method;
use serde_json::{Map, Value, json};
use testbed::emulator::{
    Control, Emulator, Fault, Modes, Operation, Options, Organization, OrganizationOptions, Point,
    SettingsMode,
};

const DOCUMENTS: [(&str, &str); 2] = [
    ("v3", include_str!("../openapi/composio-openapi-org-v3.json")),
    ("v3.1", include_str!("../openapi/composio-openapi-org-v3.1.json")),
];

/// Method and path of the operations that the documents describe, after the version.
const DESCRIBED: [(Operation, &str, &str); 7] = [
    (Operation::Create, "post", "/org/owner/project/new"),
    (Operation::List, "get", "/org/owner/project/list"),
    (Operation::Read, "get", "/org/owner/project/{nano_id}"),
    (Operation::Delete, "delete", "/org/owner/project/{nano_id}"),
    (Operation::Regenerate, "post", "/org/owner/project/{nano_id}/regenerate_api_key"),
    (Operation::ReadSettings, "get", "/org/project/config"),
    (Operation::PatchSettings, "patch", "/org/project/config"),
];

/// One document, ready to judge answers.
struct Contract {
    version: &'static str,
    document: Value,
}

impl Contract {
    fn load(version: &'static str, text: &str) -> Self {
        let mut document: Value = serde_json::from_str(text).unwrap();
        to_json_schema(&mut document);
        Self { version, document }
    }

    fn responses(&self, operation: Operation) -> &Map<String, Value> {
        let (_, method, path) = DESCRIBED.iter().find(|(described, ..)| *described == operation).unwrap();
        let responses = &self.document["paths"][format!("/api/{}{path}", self.version)][method]["responses"];
        responses
            .as_object()
            .unwrap_or_else(|| panic!("{operation:?} is not in the document of {}", self.version))
    }

    fn validator(&self, operation: Operation, status: u16) -> Validator {
        let response = &self.responses(operation)[&status.to_string()];
        let schema = &response["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{operation:?} {status} has no schema in {}", self.version);
        // The components stand beside it, so that `#/components/...` resolves.
        let root = json!({"allOf": [schema], "components": self.document["components"]});
        jsonschema::draft7::options()
            .should_validate_formats(true)
            .with_format("projectId", |id| is_id("pr_", id))
            .with_format("orgId", |id| is_id("ok_", id))
            .build(&root)
            .unwrap()
    }

    /// What is wrong with an answer.
    fn mistakes(&self, operation: Operation, status: u16, body: &Value) -> Vec<String> {
        let validator = self.validator(operation, status);
        validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }
}

/// The real form of ids (API 3).
fn is_id(prefix: &str, text: &str) -> bool {
    let rest = text.strip_prefix(prefix).unwrap_or_default();
    rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// OpenAPI 3.0 to JSON Schema, in place: `nullable` becomes the type `null`. Objects with listed members are closed as well,
/// which is stricter than the documents: the emulator must not invent members.
fn to_json_schema(node: &mut Value) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(to_json_schema),
        Value::Object(members) => {
            members.values_mut().for_each(to_json_schema);
            if members.get("nullable") == Some(&Value::Bool(true)) && members["type"].is_string() {
                let kind = members["type"].take();
                members.insert("type".to_owned(), json!([kind, "null"]));
                if let Some(Value::Array(values)) = members.get_mut("enum") {
                    values.push(Value::Null);
                }
            }
            let is_object = members.get("type") == Some(&json!("object"));
            if is_object
                && members.contains_key("properties")
                && !members.contains_key("additionalProperties")
            {
                members.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
        }
        _ => {}
    }
}

/// An emulator with one organization, called in one version.
struct World {
    version: &'static str,
    emulator: Emulator,
    control: Control,
    acme: Organization,
    http: reqwest::Client,
}

impl World {
    async fn new(version: &'static str) -> Self {
        // Fails when another test has installed it already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let emulator = Emulator::start(Options::default()).await.unwrap();
        let control = emulator.control();
        let acme = control.add_organization(OrganizationOptions::named("acme"));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { version, emulator, control, acme, http }
    }

    /// A call with the credential of the operation; the key of organization operations is filled in.
    async fn call(
        &self,
        operation: Operation,
        project: &str,
        credential: Option<&str>,
        body: Option<Value>,
    ) -> (u16, Value) {
        let (_, method, path) = DESCRIBED.iter().find(|(described, ..)| *described == operation).unwrap();
        let method: Method = method.to_uppercase().parse().unwrap();
        let url =
            format!("{}/api/{}{}", self.emulator.url(), self.version, path.replace("{nano_id}", project));
        let mut request = self.http.request(method, url);
        let header = if operation.is_organization_route() { "x-org-api-key" } else { "x-api-key" };
        if let Some(credential) = credential {
            request = request.header(header, credential);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn organization(&self, operation: Operation, project: &str, body: Option<Value>) -> (u16, Value) {
        self.call(operation, project, Some(&self.acme.key), body).await
    }

    fn modes(&self, change: impl FnOnce(&mut Modes)) {
        self.control.set_modes(&self.acme.id, change);
    }
}

/// All answers that a test has seen.
type Seen = Vec<(Operation, u16, Value)>;

fn new_project(name: &str) -> Value {
    let config = json!({
        "is_2FA_enabled": true, "mask_secret_keys_in_connected_account": false, "log_visibility_setting": "show_all",
        "logo_url": "https://example.com/logo.png", "display_name": "Shop", "require_mcp_api_key": false,
        "is_composio_link_enabled_for_managed_auth": false, "signed_url_file_expiry_in_seconds": 3600,
    });
    json!({"name": name, "should_create_api_key": true, "config": config})
}

/// Successes, and the errors that need no fault.
async fn natural_answers(world: &World) -> Seen {
    let mut seen = Seen::new();
    let mut see = |operation, (status, body): (u16, Value)| {
        seen.push((operation, status, body.clone()));
        body
    };
    see(Operation::Create, world.organization(Operation::Create, "", Some(json!({"name": "keyless"}))).await);
    let made =
        see(Operation::Create, world.organization(Operation::Create, "", Some(new_project("shop"))).await);
    let (id, key) = (made["id"].as_str().unwrap(), made["api_key"].as_str().unwrap());
    see(Operation::Create, world.organization(Operation::Create, "", Some(new_project("shop"))).await);
    see(Operation::Create, world.organization(Operation::Create, "", Some(json!({}))).await);
    see(Operation::List, world.organization(Operation::List, "", None).await);
    world.control.subscribe(id);
    see(Operation::Read, world.organization(Operation::Read, id, None).await);
    see(Operation::ReadSettings, world.call(Operation::ReadSettings, "", Some(key), None).await);
    let patch = Some(json!({"display_name": "Shop 2"}));
    see(Operation::PatchSettings, world.call(Operation::PatchSettings, "", Some(key), patch).await);
    let bad = Some(json!({"display_name": 7}));
    see(Operation::PatchSettings, world.call(Operation::PatchSettings, "", Some(key), bad).await);
    world.modes(|modes| modes.settings = SettingsMode::Gone404);
    for operation in [Operation::ReadSettings, Operation::PatchSettings] {
        see(operation, world.call(operation, "", Some(key), None).await);
    }
    world.modes(|modes| modes.regenerate_enabled = false);
    see(Operation::Regenerate, world.organization(Operation::Regenerate, id, None).await);
    world.modes(|modes| *modes = Modes::default());
    see(Operation::Regenerate, world.organization(Operation::Regenerate, id, None).await);
    for operation in [Operation::Read, Operation::Delete, Operation::Regenerate] {
        see(operation, world.organization(operation, "malformed", None).await);
        see(operation, world.organization(operation, "pr_000000000000", None).await);
    }
    let revoke = format!("{id}?revoke_on_delete=true");
    see(Operation::Delete, world.organization(Operation::Delete, &revoke, None).await);
    for (operation, ..) in DESCRIBED {
        see(operation, world.call(operation, "pr_000000000000", None, Some(json!({}))).await);
    }
    seen
}

/// The errors that the documents list and only a fault brings about.
async fn forced_answers(world: &World) -> Seen {
    let mut seen = Seen::new();
    let forced = [
        Fault::BadRequest { message: "limit: is odd".to_owned() },
        Fault::server_error(Point::BeforeCommit),
        Fault::server_error(Point::AfterCommit),
    ];
    for (operation, ..) in DESCRIBED {
        // Each has its own, because some faults come after the effect.
        let project = Some(new_project(&format!("{operation:?}")));
        let (_, made) = world.organization(Operation::Create, "", project).await;
        let (id, key) = (made["id"].as_str().unwrap(), made["api_key"].as_str().unwrap());
        let credential = if operation.is_organization_route() { world.acme.key.as_str() } else { key };
        let forbidden = matches!(operation, Operation::Delete).then_some(Fault::Forbidden);
        for fault in forbidden.iter().chain(&forced) {
            world.control.fault(&world.acme.id, operation, fault.clone(), 1);
            let (status, body) = world.call(operation, id, Some(credential), Some(json!({}))).await;
            seen.push((operation, status, body));
        }
    }
    seen
}

#[tokio::test]
async fn every_listed_answer_of_every_operation_fits_the_documents_of_both_versions() {
    for (version, text) in DOCUMENTS {
        let contract = Contract::load(version, text);
        let world = World::new(version).await;
        let mut seen = natural_answers(&world).await;
        seen.extend(forced_answers(&world).await);
        let mut covered: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (operation, status, body) in &seen {
            let mistakes = contract.mistakes(*operation, *status, body);
            assert!(mistakes.is_empty(), "{version} {operation:?} {status}: {mistakes:#?} in {body:#}");
            covered.entry(format!("{operation:?}")).or_default().insert(status.to_string());
        }
        for (operation, ..) in DESCRIBED {
            let listed: BTreeSet<String> = contract.responses(operation).keys().cloned().collect();
            assert_eq!(
                covered[&format!("{operation:?}")],
                listed,
                "{version} {operation:?}: answers seen and listed"
            );
        }
    }
}

#[tokio::test]
async fn a_wrong_answer_is_refused_by_the_same_check() {
    for (version, text) in DOCUMENTS {
        let contract = Contract::load(version, text);
        let world = World::new(version).await;
        let answer = |body| Fault::Answer { point: Point::BeforeCommit, status: 200, body };
        for (operation, fault, mistake) in [
            (
                Operation::Create,
                Fault::WithoutMember { name: "id".to_owned() },
                "\"id\" is a required property",
            ),
            (
                Operation::Create,
                Fault::WithoutMember { name: "api_key".to_owned() },
                "\"api_key\" is a required",
            ),
            (Operation::Create, Fault::ExtraMembers, "Additional properties are not allowed"),
            (Operation::Create, answer(json!({"id": 7, "api_key": null})), "7 is not of type \"string\""),
            (Operation::Create, answer(json!({"id": "proj_1", "api_key": null})), "is not a \"projectId\""),
            (Operation::Create, answer(json!({"id": "pr_000000000000", "api_key": {}})), "{} is not of type"),
            (
                Operation::Create,
                answer(json!({"id": "pr_000000000000", "api_key": null, "name": null})),
                "null is not",
            ),
            (Operation::List, Fault::ExtraMembers, "Additional properties are not allowed"),
            (
                Operation::List,
                Fault::WithoutMember { name: "data".to_owned() },
                "\"data\" is a required property",
            ),
            (Operation::Delete, answer(json!({"status": "ok"})), "\"ok\" is not one of"),
        ] {
            let project = world.organization(Operation::Create, "", Some(new_project("target"))).await.1;
            let id = project["id"].as_str().unwrap();
            world.control.fault(&world.acme.id, operation, fault.clone(), 1);
            let (status, body) = world.organization(operation, id, Some(new_project("victim"))).await;
            let mistakes = contract.mistakes(operation, status, &body);
            assert!(mistakes.iter().any(|found| found.contains(mistake)), "{fault:?}: {mistakes:#?}");
            for project in world.control.projects(&world.acme.id) {
                world.control.delete_project(&project.id);
            }
        }
        let flat = json!({"message": "Rate limit exceeded. Limit: 10000 requests per 1 minutes"});
        assert!(!contract.mistakes(Operation::List, 401, &flat).is_empty(), "references are followed");
    }
}

#[tokio::test]
async fn the_categories_route_has_the_documented_members_in_both_versions() {
    for (version, _) in DOCUMENTS {
        let world = World::new(version).await;
        let (_, made) = world.organization(Operation::Create, "", Some(new_project("shop"))).await;
        let url = format!("{}/api/{version}/toolkits/categories", world.emulator.url());
        let request = world.http.get(url).header("x-api-key", made["api_key"].as_str().unwrap());
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        let items = body["items"].as_array().unwrap();
        assert!(
            !items.is_empty() && items.iter().all(|item| item["id"].is_string() && item["name"].is_string())
        );
        assert_eq!(body["next_cursor"], Value::Null);
        for number in ["total_pages", "current_page", "total_items"] {
            assert!(body[number].is_u64(), "{body}");
        }
    }
}
