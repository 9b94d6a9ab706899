//! The metrics, from the registry that the operator serves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderName;
use composio_operator::composio::{CallOutcome, Lead, Operation};
use composio_operator::controller::cached::CachedProject;
use composio_operator::controller::metrics::{Kind, PassOutcome};
use composio_operator::crd::ComposioOrganization;
use composio_operator::domain::budget::Lane;
use composio_operator::domain::reason::Reason;
use composio_operator::process::Readiness;
use composio_operator::process::metrics::Metrics;
use kube::runtime::reflector::{Lookup, Store, store};
use kube::runtime::watcher::Event;
use regex::Regex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::documents::{assert_part, head, read, row};

/// Labels whose values are an enum: of which metric (all where none is named), in which file the enum is, what it is called.
const ENUMS: [(&str, Option<&str>, &str, &str); 7] = [
    ("operation", None, "src/composio/metrics.rs", "Operation"),
    ("lane", None, "src/domain/budget.rs", "Lane"),
    ("outcome", Some("api_calls"), "src/composio/metrics.rs", "CallOutcome"),
    ("outcome", Some("reconciles"), "src/controller/metrics.rs", "PassOutcome"),
    ("outcome", Some("sweeps"), "src/controller/metrics.rs", "SweepOutcome"),
    ("kind", Some("reconciles"), "src/controller/metrics.rs", "Kind"),
    ("kind", Some("held_projects"), "src/domain/held.rs", "HeldKind"),
];
const PREFIX: &str = "composio_operator_";

/// What the page says of one metric.
#[derive(Default)]
pub(crate) struct Family {
    kind: String,
    help: String,
    unit: String,
    /// Of its first sample.
    labels: Vec<String>,
}

/// Every metric that the operator can serve, by its name without `_total`: each was counted once.
pub(crate) fn families() -> BTreeMap<String, Family> {
    let once = Duration::ZERO;
    let metrics = Metrics::new(Lead::always(), Readiness::default(), once);
    metrics.reconciles.pass(Kind::Claim, PassOutcome::Done);
    metrics.reconciles.swept(true, once);
    metrics.calls.observe((Operation::List, Lane::Observe), CallOutcome::Ok, once);
    let headers =
        ["x-ratelimit", "x-ratelimit-remaining"].map(|name| (HeaderName::from_static(name), 600.into()));
    metrics.budgets.of("default", || {}).answered(&headers.into_iter().collect());
    let object = |kind: &str, status: Value| {
        json!({
            "apiVersion": "composio.dev/v1alpha1", "kind": kind, "metadata": {"name": "default", "namespace": "shop"},
            "spec": {"apiKeySecretRef": {"name": "key"}}, "status": status
        })
    };
    let held = json!([{"kind": "Deletions", "count": 1, "token": "0", "sinceTime": "2026-01-01T00:00:00Z"}]);
    let status = json!({"held": held, "lastSweepTime": "2026-01-01T00:00:00Z"});
    let organizations = cache::<ComposioOrganization>(&object("ComposioOrganization", status));
    let projects = cache::<CachedProject>(&object("ComposioProject", json!({})));
    assert!(metrics.organizations.set(organizations).is_ok() && metrics.projects.set(vec![projects]).is_ok());

    let registry = Arc::new(metrics.registry());
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).expect("a page");
    let families = parse(&page);
    // What is registered and was not counted is not on the page.
    let registered = Regex::new(r#"Descriptor \{ name: "([a-z_]+)""#).expect("a pattern");
    for found in registered.captures_iter(&format!("{registry:?}")) {
        let is_there = |name: &&String| name[PREFIX.len()..].starts_with(&found[1]);
        assert!(families.keys().any(|name| is_there(&name)), "{} has to be counted here", &found[1]);
    }
    families
}

/// A cache with one object.
fn cache<K>(object: &Value) -> Store<K>
where
    K: Lookup<DynamicType = ()> + DeserializeOwned + Clone + 'static,
{
    let (store, mut writer) = store();
    writer.apply_watcher_event(&Event::Apply(serde_json::from_value(object.clone()).expect("an object")));
    store
}

fn parse(page: &str) -> BTreeMap<String, Family> {
    let label = Regex::new(r#"([a-z]+)=""#).expect("a pattern");
    let (mut families, mut current) = (BTreeMap::<String, Family>::new(), String::new());
    for line in page.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ').map(ToOwned::to_owned);
            let (what, name, text) = (words.next(), words.next(), words.next().unwrap_or_default());
            current = name.unwrap_or_default();
            let family = families.entry(current.clone()).or_default();
            match what.as_deref() {
                Some("HELP") => family.help = text,
                Some("TYPE") => family.kind = text,
                _ => family.unit = text,
            }
        } else {
            let family = families.get_mut(&current).expect("metadata before samples");
            let labels =
                label.captures_iter(line).map(|found| found[1].to_owned()).filter(|label| label != "le");
            if family.labels.is_empty() {
                family.labels = labels.collect();
            }
        }
    }
    families
}

#[test]
fn every_metric_is_explained() {
    let families = families();
    let mut table = head(&["Metric", "Type", "Unit", "Labels", "Meaning"]);
    for (name, family) in &families {
        let name = served(name, &family.kind);
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let cells = [
            &format!("`{name}`"),
            &family.kind,
            &family.unit,
            &labels.join(", "),
            &family.help.trim_end_matches('.').to_owned(),
        ];
        row(&mut table, &cells);
    }
    assert_part("docs/metrics.md", "metrics", "documentation", &table);
}

#[test]
fn every_value_of_a_label_is_explained() {
    let families = families();
    let mut table = head(&["Label", "Value", "Meaning"]);
    for (label, of, file, name) in ENUMS {
        for (value, meaning) in variants(file, name) {
            let metric =
                |of: &str| served(&format!("{PREFIX}{of}"), &families[&format!("{PREFIX}{of}")].kind);
            let of = of.map(|of| format!(" of `{}`", metric(of))).unwrap_or_default();
            row(&mut table, &[format!("`{label}`{of}"), format!("`{value}`"), meaning]);
        }
    }
    for ready in ["true", "false"] {
        row(
            &mut table,
            &["`ready`".to_owned(), format!("`{ready}`"), format!("The condition Ready is {ready}")],
        );
    }
    let reasons = format!(
        "one of the {} of [reasons.md](reasons.md), or `Unknown` before the first look",
        Reason::ALL.len()
    );
    row(&mut table, &["`reason`", &reasons, "The reason of the condition Ready"]);
    row(&mut table, &["`organization`", "names of ComposioOrganizations", "Whose it is"]);
    assert_part("docs/metrics.md", "labels", "documentation", &table);
    for (name, family) in &families {
        for label in &family.labels {
            let family = name.trim_start_matches(PREFIX);
            let is_enum = ENUMS.iter().any(|(is, of, ..)| is == label && of.is_none_or(|of| of == family));
            let is_open = ["ready", "reason", "organization"].contains(&label.as_str());
            assert!(is_enum || is_open, "the values of {label} of {name} are not explained");
        }
    }
}

/// The name that its samples have; those of a histogram have a suffix of their own besides.
fn served(family: &str, kind: &str) -> String {
    if kind == "counter" { format!("{family}_total") } else { family.to_owned() }
}

/// The variants of an enum with their comments, as its source has them.
fn variants(file: &str, name: &str) -> Vec<(String, String)> {
    let source = read(file);
    let (_, body) = source.split_once(&format!("enum {name} {{\n")).expect("the enum");
    let body = body.split_once("\n}").expect("its end").0;
    let (mut variants, mut comment) = (Vec::new(), Vec::new());
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            comment.push(text.trim_end_matches('.').replace('`', ""));
        } else {
            let meaning = std::mem::take(&mut comment).join(" ");
            variants.push((line.trim_end_matches(',').to_owned(), meaning));
        }
    }
    assert!(variants.iter().all(|(_, meaning)| !meaning.is_empty()), "a variant of {name} without a comment");
    variants
}
