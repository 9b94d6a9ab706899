//! Resources that documents show: they can be applied as far as their fields go.

use composio_operator::crd::{ComposioOrganization, ComposioProject};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use testbed::documents::{all, read};

/// The resources in a document: from their `apiVersion` to the end of the block or of the here-document.
fn resources(document: &str) -> Vec<Value> {
    let text = read(document);
    let starts = text.match_indices("apiVersion: composio.dev/").map(|(at, _)| at);
    let resource = |start: usize| {
        let indent = start - text[..start].rfind('\n').map_or(0, |end| end + 1);
        let lines = text[start..]
            .lines()
            .enumerate()
            .map(|(at, line)| if at == 0 { line } else { line.get(indent..).unwrap_or("") });
        let lines: Vec<&str> = lines.take_while(|line| !["```", "END"].contains(line)).collect();
        serde_saphyr::from_str(&lines.join("\n")).expect("a resource in YAML")
    };
    starts.map(resource).collect()
}

/// Read and written by the types of the schema, it is the same: no field is unknown.
fn survives<K: Serialize + DeserializeOwned>(resource: &Value) -> bool {
    let read: K = serde_json::from_value(resource.clone()).expect("a resource of this kind");
    serde_json::to_value(read).expect("JSON")["spec"] == resource["spec"]
}

#[test]
fn the_resources_in_the_documents_have_only_fields_that_there_are() {
    let resources: Vec<Value> = all().iter().flat_map(|document| resources(document)).collect();
    assert!(resources.len() > 1, "no resource was found");
    for resource in resources {
        let is_known = match resource["kind"].as_str() {
            Some("ComposioProject") => survives::<ComposioProject>(&resource),
            Some("ComposioOrganization") => survives::<ComposioOrganization>(&resource),
            _ => false,
        };
        assert!(is_known, "a field that there is not: {resource}");
    }
}
