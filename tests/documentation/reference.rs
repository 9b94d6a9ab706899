//! The reference of both kinds, from their schema as the API server gets it.

use std::fmt::Write as _;

use composio_operator::crd;
use regex::Regex;
use serde_json::Value;
use testbed::documents::{assert_part, head, read, row};

/// Where the names are that users set or select by, each with what it is for.
const NAMES: [&str; 3] = ["src/crd/mod.rs", "src/controller/ledger.rs", "src/controller/tombstones.rs"];

#[test]
fn every_field_of_both_kinds_is_in_the_reference() {
    let mut text = String::new();
    for definition in crd::all() {
        kind(&mut text, &serde_json::to_value(definition).expect("JSON"));
    }
    assert_part("docs/reference.md", "kinds", "documentation", &text);
}

#[test]
fn every_label_and_annotation_is_in_the_reference() {
    let name = Regex::new(
        r#"((?:/// [^\n]+\n)+)(?:pub )?(?:pub\(super\) )?const \w+: &str = "(composio\.dev/[a-z-]+)";"#,
    );
    let (name, mut table) = (name.expect("a pattern"), head(&["Name", "What it is"]));
    for file in NAMES {
        for found in name.captures_iter(&read(file)) {
            let lines = found[1].lines().map(|line| line.trim_start_matches("/// "));
            let what = lines.collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`");
            row(&mut table, &[format!("`{}`", &found[2]), what]);
        }
    }
    assert_part("docs/reference.md", "names", "documentation", &table);
}

fn kind(text: &mut String, definition: &Value) {
    let (spec, version) = (&definition["spec"], &definition["spec"]["versions"][0]);
    let (names, schema) = (&spec["names"], &version["schema"]["openAPIV3Schema"]);
    let kind = string(&names["kind"]);
    let list =
        |value: &Value| value.as_array().into_iter().flatten().map(string).collect::<Vec<_>>().join("`, `");
    write!(text, "## {kind}\n\n{}\n\n", string(&schema["description"])).expect("a string");
    let mut table = head(&["", ""]);
    row(&mut table, &["`apiVersion`", &format!("`{}/{}`", string(&spec["group"]), string(&version["name"]))]);
    row(&mut table, &["Scope", string(&spec["scope"])]);
    let names = [string(&names["plural"]).to_owned(), list(&names["shortNames"]), list(&names["categories"])];
    row(&mut table, &["For `kubectl`".to_owned(), format!("`{}`", names.join("`, `"))]);
    row(
        &mut table,
        &["`metadata.name`".to_owned(), bounds(&schema["properties"]["metadata"]["properties"]["name"])],
    );
    write!(text, "{table}\n{}", rules(schema)).expect("a string");
    let mut columns = head(&["Column", "Shows", "With `--output wide` only"]);
    for column in version["additionalPrinterColumns"].as_array().into_iter().flatten() {
        let wide = if column["priority"].as_i64().unwrap_or_default() > 0 { "yes" } else { "" };
        row(&mut columns, &[string(&column["name"]), &format!("`{}`", string(&column["jsonPath"])), wide]);
    }
    writeln!(text, "{columns}").expect("a string");
    for part in ["spec", "status"] {
        object(text, &format!("{kind}.{part}"), &schema["properties"][part]);
    }
}

/// A table of an object's fields, and then the same of every object in it.
fn object(text: &mut String, path: &str, schema: &Value) {
    write!(text, "### {path}\n\n{}\n\n", string(&schema["description"])).expect("a string");
    let (mut table, mut inner) = (head(&["Field", "Type", "Bounds", "Meaning"]), Vec::new());
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().map(string).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let (mut kind, nested) = type_of(field, &format!("{path}.{name}"));
        inner.extend(nested.clone());
        if required.contains(&name.as_str()) {
            kind += ", required";
        }
        let mut meaning = string(&field["description"]).replace("\n\n", " ").replace('*', "\\*");
        let nested = nested.map(|(_, schema)| schema);
        let own = [field, values(field)].into_iter().filter(|schema| nested != Some(*schema));
        for rule in own.flat_map(messages) {
            write!(meaning, "<br>{rule}").expect("a string");
        }
        let mut all = vec![bounds(field)];
        all.extend(
            Some(bounds(values(field))).filter(|each| !each.is_empty()).map(|each| format!("each {each}")),
        );
        all.retain(|bounds| !bounds.is_empty());
        row(&mut table, &[format!("`{name}`"), kind, all.join("; "), meaning]);
    }
    let rules = if schema["properties"].is_object() && path.contains(".spec") {
        rules(schema)
    } else {
        String::new()
    };
    write!(text, "{table}\n{rules}").expect("a string");
    for (path, schema) in inner {
        object(text, &path, schema);
    }
}

/// What a field is, and the object in it with its path.
fn type_of<'a>(field: &'a Value, path: &str) -> (String, Option<(String, &'a Value)>) {
    let inner = values(field);
    if field["properties"].is_object() {
        return (format!("[object](#{})", anchor(path)), Some((path.to_owned(), field)));
    }
    if inner["properties"].is_object() {
        return (format!("list of [objects](#{})", anchor(path)), Some((path.to_owned(), inner)));
    }
    let plain = |schema: &Value| match schema["enum"].as_array() {
        Some(values) => {
            values.iter().map(|value| format!("`{}`", string(value))).collect::<Vec<_>>().join(" or ")
        }
        None if schema["format"] == "date-time" => "time".to_owned(),
        None => string(&schema["type"]).to_owned(),
    };
    let kind = match string(&field["type"]) {
        "array" => format!("list of {}", plain(inner)),
        "object" => format!("map of {}", plain(inner)),
        _ => plain(field),
    };
    (kind, None)
}

/// The schema of what is in a list or a map.
fn values(field: &Value) -> &Value {
    if field["items"].is_object() { &field["items"] } else { &field["additionalProperties"] }
}

fn bounds(schema: &Value) -> String {
    let number = |name: &str| schema[name].as_f64().map(|number| number.to_string());
    let range = |least: &str, most: &str, what: &str| match (number(least), number(most)) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}{what}")),
        (Some(least), None) => Some(format!("at least {least}{what}")),
        (None, Some(most)) => Some(format!("at most {most}{what}")),
        (None, None) => None,
    };
    let all = [
        range("minLength", "maxLength", " characters"),
        range("minimum", "maximum", ""),
        range("minItems", "maxItems", " entries"),
        range("minProperties", "maxProperties", " entries"),
        schema["pattern"].as_str().map(|pattern| format!("`{pattern}`")),
        schema["x-kubernetes-list-map-keys"]
            .as_array()
            .map(|keys| format!("one per `{}`", keys.iter().map(string).collect::<Vec<_>>().join("` and `"))),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The rules of an object as a list, each with the field that it is about.
fn rules(schema: &Value) -> String {
    let rules: Vec<_> = messages(schema).map(|message| format!("- {message}\n")).collect();
    if rules.is_empty() { String::new() } else { format!("{}\n", rules.concat()) }
}

/// What the API server says where a rule is broken; of a message that is made, the part before what was refused.
fn messages(schema: &Value) -> impl Iterator<Item = String> {
    schema["x-kubernetes-validations"].as_array().into_iter().flatten().map(|rule| {
        let made = rule["messageExpression"].as_str().and_then(|made| made.split('\'').nth(1));
        let message = made.unwrap_or_else(|| string(&rule["message"])).trim_end_matches("; refused: ");
        let (first, rest) = message.split_at(1);
        match rule["fieldPath"].as_str() {
            Some(path) => format!("`{}` {message}.", path.trim_start_matches('.')),
            None => format!("{}{rest}.", first.to_uppercase()),
        }
    })
}

/// The anchor of a heading.
fn anchor(path: &str) -> String {
    path.to_lowercase().replace('.', "")
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
