//! The chart compared by kubeconform with the schemas that the API server itself publishes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use axum::http::Request;
use kube::Client;
use serde_json::{Map, Value, json};
use testbed::chart::{CHART, IMAGE, RELEASE, helm};
use testbed::eventually::eventually;
use testbed::tools::Tool;
use testbed::world::PATIENCE;

use crate::render::{self, MONITORING, SETS};

/// Writes one schema per kind, in the way of kubeconform's `-strict`: nothing that is not described is allowed.
async fn write(client: &Client, to: &Path) {
    let published = published(client).await;
    let definitions = published["definitions"].as_object().expect("definitions");
    for definition in definitions.values() {
        let kinds = definition["x-kubernetes-group-version-kind"].as_array();
        for kind in kinds.into_iter().flatten() {
            let part = |name: &str| kind[name].as_str().unwrap_or_default().to_lowercase();
            let group = part("group").split('.').next().unwrap_or_default().to_owned();
            let group = if group.is_empty() { group } else { format!("{group}-") };
            let mut needed = Map::new();
            collect(definition, definitions, &mut needed);
            let mut schema = strict(definition);
            schema["definitions"] = Value::Object(needed);
            let file = to.join(format!("{}-{group}{}.json", part("kind"), part("version")));
            fs::write(file, schema.to_string()).expect("a file");
        }
    }
}

/// What the API server publishes, as soon as it includes the definitions that came last.
async fn published(client: &Client) -> Value {
    eventually("the kinds of the Prometheus operator are published", PATIENCE, async || {
        let request = Request::get("/openapi/v2").body(Vec::new()).expect("a request");
        let text = client.request_text(request).await.map_err(|error| error.to_string())?;
        let published: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let is_there =
            |kind: &str| published["definitions"][format!("com.coreos.monitoring.v1.{kind}")].is_object();
        match MONITORING.iter().find(|kind| !is_there(kind)) {
            Some(kind) => Err(format!("{kind} is missing")),
            None => Ok(published),
        }
    })
    .await
}

/// What a definition refers to, directly or not.
fn collect(value: &Value, all: &Map<String, Value>, into: &mut Map<String, Value>) {
    let reference =
        value.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/definitions/"));
    if let Some(name) = reference.filter(|name| !into.contains_key(*name)) {
        let found = all.get(name).expect("a definition");
        into.insert(name.to_owned(), strict(found));
        collect(found, all, into);
    }
    let members = value.as_object().into_iter().flat_map(Map::values);
    members.chain(value.as_array().into_iter().flatten()).for_each(|value| collect(value, all, into));
}

/// With the two things that the published form leaves out: that unknown members are none, and that a port may be a name.
fn strict(definition: &Value) -> Value {
    let mut definition = definition.clone();
    if definition["format"] == "int-or-string" {
        return json!({"type": ["integer", "string"]});
    }
    if definition.get("properties").is_some() {
        definition["additionalProperties"] = json!(false);
    }
    definition
}

/// How many objects were judged good, and what was said of the others.
fn judged(schemas: &Path, manifests: &str) -> (u64, String) {
    let location = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", schemas.display());
    let mut child = Command::new(Tool::Kubeconform.path().expect("kubeconform"))
        .args(["-strict", "-output", "json", "-summary", "-schema-location", &location])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubeconform");
    child.stdin.take().expect("a pipe").write_all(manifests.as_bytes()).expect("a pipe");
    let output = child.wait_with_output().expect("an end");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    (said["summary"]["valid"].as_u64().expect("a number"), said["resources"].to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubeconform_finds_each_object_in_order_and_would_find_a_mistake() {
    let world = render::world().await;
    let directory = tempfile::tempdir().unwrap();
    write(&world.client, directory.path()).await;
    for (about, arguments) in SETS {
        let text = helm(
            ["template", RELEASE, CHART, "--namespace", "composio-system", IMAGE].iter().chain(arguments),
        );
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text.unwrap()).unwrap();
        let text = |objects: &[Value]| {
            let all: Vec<String> = objects.iter().map(ToString::to_string).collect();
            all.join("\n---\n")
        };
        let (good, said) = judged(directory.path(), &text(&objects));
        assert_eq!(good, objects.len() as u64, "{about}: {said}");
        let kinds: BTreeMap<_, _> =
            objects.iter().map(|object| (object["kind"].to_string(), object)).collect();
        let spoilt: Vec<Value> = kinds
            .values()
            .map(|object| {
                let mut object = (*object).clone();
                object["metadata"]["lables"] = json!({});
                object
            })
            .collect();
        assert_eq!(judged(directory.path(), &text(&spoilt)).0, 0, "{about}: a mistake was not found");
    }
    world.finish(&[]).await;
}
