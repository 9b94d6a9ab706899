//! The dashboard: what it asks for is served, each of its panels shows something, and Grafana's sidecar finds it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kube::ResourceExt as _;
use regex::Regex;
use serde_json::{Value, json};
use testbed::chart::{CHART, rendered};

use crate::alerts::promtool;
use crate::served::Served;

/// What Grafana puts in the place of variables.
const VARIABLES: [(&str, &str); 3] =
    [("$namespace", "composio-system"), ("$organization", ".+"), ("$__rate_interval", "5m")];

fn text() -> String {
    fs::read_to_string(Path::new(CHART).join("files/dashboard.json")).expect("the dashboard")
}

fn dashboard() -> Value {
    serde_json::from_str(&text()).expect("JSON")
}

/// The panels, without the rows that group them.
fn panels() -> Vec<Value> {
    let all = dashboard()["panels"].as_array().expect("panels").clone();
    all.into_iter().filter(|panel| panel["type"] != "row").collect()
}

/// Title of the panel, query with its variables filled in, and what stands beside the line in the legend.
fn queries() -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let filled = |query: String| {
        VARIABLES.iter().fold(query, |query, (variable, value)| query.replace(variable, value))
    };
    let of_panel = |panel: Value| {
        let title = text(&panel["title"]);
        let targets = panel["targets"].as_array().expect("queries").clone();
        targets
            .into_iter()
            .map(move |target| (title.clone(), filled(text(&target["expr"])), text(&target["legendFormat"])))
    };
    panels().into_iter().flat_map(of_panel).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_panel_shows_what_the_operator_serves() {
    let (served, label) = (Served::by_an_operator().await, Regex::new(r"\{\{(\w+)\}\}").unwrap());
    let queries = queries();
    let mut tests = Vec::new();
    for (title, query, legend) in &queries {
        let shown: Vec<&str> =
            label.captures_iter(legend).map(|found| found.get(1).unwrap().as_str()).collect();
        assert_eq!(served.mistakes(query, &shown), Vec::<String>::new(), "{title}");
        assert!(!query.contains('$'), "{title}: a variable that nobody fills in: {query}");
        // 1 where there is a number, however many there are.
        let has_numbers = format!("clamp(count(({query}) >= -Inf), 1, 1)");
        tests.push(json!({
            "expr": has_numbers, "eval_time": "90m", "exp_samples": [{"labels": "{}", "value": 1}]
        }));
    }
    let test = json!({"interval": "1m", "input_series": served.series(), "promql_expr_test": tests});
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tests.yaml");
    fs::write(&path, json!({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}).to_string())
        .unwrap();
    promtool(&["test", "rules", path.to_str().unwrap()]);
}

#[test]
fn its_panels_lie_side_by_side_and_its_variables_are_all_used() {
    let (text, dashboard) = (text(), dashboard());
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        let is_used = [format!("${name}\\\""), format!("${{{name}}}")].iter().any(|form| text.contains(form));
        assert!(is_used, "nobody uses the variable {name}");
    }
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{title} is too wide");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{title} lies on another panel");
        }
    }
    for panel in panels() {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{}", panel["title"]);
    }
    // What Grafana adds on saving is about one Grafana.
    for cruft in ["version", "iteration", "pluginVersion", "__inputs", "__requires", "gnetId"] {
        assert!(!text.contains(&format!("\"{cruft}\"")), "{cruft}");
    }
}

#[test]
fn a_config_map_that_grafanas_sidecar_finds_has_it() {
    let config_maps = |arguments: &[&str]| {
        let objects = rendered("composio-system", arguments).unwrap().into_iter();
        let is_one = |types: &kube::api::TypeMeta| types.kind == "ConfigMap";
        objects.filter(|object| object.types.as_ref().is_some_and(is_one)).collect::<Vec<_>>()
    };
    assert_eq!(config_maps(&[]), [], "it is not asked for");
    let arguments = [
        "--set=metrics.dashboard.enabled=true",
        "--set=metrics.dashboard.annotations.grafana_folder=Platform",
    ];
    let found = config_maps(&arguments);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].labels().get("grafana_dashboard").map(String::as_str), Some("1"));
    assert_eq!(found[0].annotations().get("grafana_folder").map(String::as_str), Some("Platform"));
    assert_eq!(found[0].data["data"], json!({"composio-operator.json": text()}));
}
