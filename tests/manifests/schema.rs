//! Laws of the schemas, for every field of both kinds, those of the future included.

use composio_operator::crd;
use serde_json::{Value, json};

/// A node of a schema, and the path of the field that it describes.
type Node<'a> = (String, &'a Value);

/// All nodes of a schema but those that Kubernetes wrote: its conditions and `metadata`.
fn nodes<'a>(path: String, schema: &'a Value, found: &mut Vec<Node<'a>>) {
    let upstream = path.ends_with(".conditions[]") || path.ends_with(".metadata");
    if upstream {
        return;
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        nodes(format!("{path}.{name}"), property, found);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            nodes(format!("{path}{mark}"), &schema[key], found);
        }
    }
    found.push((path, schema));
}

/// Checks every node of both kinds; `check` says what is wrong with one.
fn for_every_node(check: impl Fn(&str, &Value) -> Option<String>) {
    let mut complaints = Vec::new();
    for crd in crd::all() {
        let crd = serde_json::to_value(&crd).expect("a definition is JSON");
        let kind = crd["spec"]["names"]["kind"].as_str().expect("a kind has a name").to_owned();
        for version in crd["spec"]["versions"].as_array().expect("there are versions") {
            let mut found = Vec::new();
            nodes(kind.clone(), &version["schema"]["openAPIV3Schema"], &mut found);
            assert!(found.len() > 10, "{kind} has hardly any fields: the walk is broken");
            let complain =
                |(path, schema): &Node<'_>| check(path, schema).map(|reason| format!("{path}: {reason}"));
            complaints.extend(found.iter().filter_map(complain));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_field_has_a_description_in_whole_lines() {
    for_every_node(|path, schema| {
        let description = schema["description"].as_str().unwrap_or_default();
        let is_value_of_map = path.ends_with("{}");
        if description.is_empty() && !is_value_of_map {
            return Some("has no description".to_owned());
        }
        let fine = !description.contains('\n')
            && !description.contains("Auto-generated")
            && !description.contains("[`");
        (!fine).then(|| format!("is described in words that kubectl shows badly: {description:?}"))
    });
}

#[test]
fn every_string_list_and_map_has_a_bound() {
    for_every_node(|path, schema| {
        if path.ends_with(".metadata.name") {
            return None;
        }
        let bounded = match schema["type"].as_str()? {
            "string" => {
                schema["maxLength"].is_u64() || schema["enum"].is_array() || schema["format"] == "date-time"
            }
            "array" => schema["maxItems"].is_u64(),
            "object" if schema["additionalProperties"].is_object() => schema["maxProperties"].is_u64(),
            "object" => schema["properties"].is_object(),
            _ => true,
        };
        (!bounded).then(|| "has no bound".to_owned())
    });
}

#[test]
fn the_only_defaults_are_an_empty_spec_and_the_generation_of_a_new_status() {
    for_every_node(|path, schema| {
        let expected = match path {
            "ComposioProject.spec" => Some(json!({})),
            "ComposioProject.status" | "ComposioOrganization.status" => {
                Some(json!({"observedGeneration": -1}))
            }
            _ => None,
        };
        let default = schema.get("default");
        (default != expected.as_ref()).then(|| format!("has the default {default:?} instead of {expected:?}"))
    });
}

#[test]
fn every_rule_says_in_words_what_is_right() {
    for_every_node(|_, schema| {
        if schema["pattern"].is_string() {
            return Some(
                "has a pattern, which is shown to people as it is; write a rule with a message".to_owned(),
            );
        }
        let rules = schema["x-kubernetes-validations"].as_array()?;
        let silent = |rule: &&Value| !rule["message"].is_string() && !rule["messageExpression"].is_string();
        rules.iter().find(silent).map(|rule| format!("has a rule without a message: {}", rule["rule"]))
    });
}

#[test]
fn null_is_as_good_as_absent_in_every_optional_field_of_the_spec_but_enums() {
    for crd in crd::all() {
        let crd = serde_json::to_value(&crd).expect("a definition is JSON");
        let mut found = Vec::new();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        nodes("spec".to_owned(), spec, &mut found);
        for (path, schema) in found {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let required = schema["required"]
                    .as_array()
                    .is_some_and(|fields| fields.contains(&name.as_str().into()));
                let expected = !required && property["enum"].is_null();
                assert_eq!(property["nullable"] == true, expected, "{path}.{name}");
            }
        }
    }
}

#[test]
fn the_default_endpoint_is_the_one_in_the_description() {
    for_every_node(|path, schema| {
        let description = schema["description"].as_str().unwrap_or_default();
        let wanted = path.ends_with("endpoint.url") && !description.contains(crd::DEFAULT_ENDPOINT);
        wanted.then(|| format!("does not name {}", crd::DEFAULT_ENDPOINT))
    });
}
