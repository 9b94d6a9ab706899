//! The alerts: judged by promtool, fired one by one, and compared with what the operator serves and with their runbooks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use composio_operator::domain::reason::Reason;
use regex::Regex;
use serde_json::{Value, json};
use testbed::chart::{CHART, rendered};
use testbed::tools::Tool;

use crate::served::Served;

/// How an alert is fired.
struct Case {
    alert: &'static str,
    /// Each series with its values, one per minute.
    series: &'static [(&'static str, &'static str)],
    /// What the alert says of whom it is about.
    labels: &'static [(&'static str, &'static str)],
    value: &'static str,
}

const CASES: [Case; 9] = [
    Case {
        alert: "ComposioOperatorNotLeading",
        series: &[
            ("composio_operator_leader{namespace=\"composio-system\",pod=\"a\"}", "0x200"),
            ("composio_operator_ready{namespace=\"composio-system\",pod=\"a\"}", "1x200"),
            // It leads, and waits for something.
            ("composio_operator_leader{namespace=\"composio-system\",pod=\"b\"}", "1x200"),
            ("composio_operator_ready{namespace=\"composio-system\",pod=\"b\"}", "0x200"),
            // That another one leads elsewhere does not count.
            ("composio_operator_leader{namespace=\"other\",pod=\"c\"}", "1x200"),
            ("composio_operator_ready{namespace=\"other\",pod=\"c\"}", "1x200"),
        ],
        labels: &[("namespace", "composio-system")],
        value: "0",
    },
    Case {
        alert: "ComposioOrganizationNotReady",
        series: &[
            (
                "composio_operator_organizations{organization=\"eu\",ready=\"false\",reason=\"KeyInvalid\"}",
                "1x200",
            ),
            (
                "composio_operator_organizations{organization=\"us\",ready=\"false\",reason=\"Suspended\"}",
                "1x200",
            ),
        ],
        labels: &[("organization", "eu"), ("reason", "KeyInvalid")],
        value: "1",
    },
    Case {
        alert: "ComposioConfirmationNeeded",
        series: &[("composio_operator_held_projects{organization=\"eu\",kind=\"Deletions\"}", "5x200")],
        labels: &[("organization", "eu"), ("kind", "Deletions")],
        value: "5",
    },
    Case {
        alert: "ComposioProjectStalled",
        series: &[("composio_operator_projects{ready=\"false\",reason=\"NameTaken\"}", "3x200")],
        labels: &[("reason", "NameTaken")],
        value: "3",
    },
    Case {
        alert: "ComposioProjectNotReady",
        series: &[
            ("composio_operator_projects{ready=\"false\",reason=\"Throttled\"}", "2x200"),
            ("composio_operator_projects{ready=\"false\",reason=\"Suspended\"}", "9x200"),
        ],
        labels: &[],
        value: "2",
    },
    Case {
        alert: "ComposioBreakerOpen",
        series: &[("composio_operator_breaker_open{organization=\"eu\"}", "1x200")],
        labels: &[("organization", "eu")],
        value: "1",
    },
    Case {
        alert: "ComposioRateLimited",
        series: &[("composio_operator_throttled_calls_total{organization=\"eu\"}", "0+6x200")],
        labels: &[("organization", "eu")],
        value: "0.1",
    },
    Case {
        alert: "ComposioSweepOverdue",
        series: &[
            ("composio_operator_sweep_due_timestamp_seconds{organization=\"eu\"}", "600x200"),
            (
                "composio_operator_organizations{organization=\"eu\",ready=\"true\",reason=\"KeyAccepted\"}",
                "1x200",
            ),
            ("composio_operator_sweep_due_timestamp_seconds{organization=\"us\"}", "600x200"),
            (
                "composio_operator_organizations{organization=\"us\",ready=\"true\",reason=\"Suspended\"}",
                "1x200",
            ),
        ],
        labels: &[("organization", "eu")],
        value: "10200",
    },
    Case {
        alert: "ComposioPassesFail",
        series: &[
            ("composio_operator_reconciles_total{kind=\"ComposioProject\",outcome=\"Failed\"}", "0+12x200"),
            ("composio_operator_reconciles_total{kind=\"ComposioProject\",outcome=\"Done\"}", "0+2x200"),
            ("composio_operator_reconciles_total{kind=\"Claim\",outcome=\"Done\"}", "0+6x200"),
        ],
        labels: &[],
        value: "0.2",
    },
];

/// Where nothing is wrong.
const FINE: [(&str, &str); 11] = [
    ("composio_operator_leader{pod=\"a\"}", "1x200"),
    ("composio_operator_leader{pod=\"b\"}", "0x200"),
    ("composio_operator_ready{pod=\"a\"}", "1x200"),
    ("composio_operator_ready{pod=\"b\"}", "1x200"),
    ("composio_operator_organizations{organization=\"eu\",ready=\"true\",reason=\"KeyAccepted\"}", "1x200"),
    ("composio_operator_projects{ready=\"true\",reason=\"Reconciled\"}", "100x200"),
    ("composio_operator_breaker_open{organization=\"eu\"}", "0x200"),
    ("composio_operator_throttled_calls_total{organization=\"eu\"}", "5x200"),
    ("composio_operator_sweep_due_timestamp_seconds{organization=\"eu\"}", "600+60x200"),
    ("composio_operator_reconciles_total{kind=\"ComposioProject\",outcome=\"Failed\"}", "0+1x200"),
    ("composio_operator_reconciles_total{kind=\"ComposioProject\",outcome=\"Done\"}", "0+9x200"),
];

fn file() -> PathBuf {
    Path::new(CHART).join("files/alerts.yaml")
}

fn rules() -> Vec<Value> {
    let text = fs::read_to_string(file()).expect("the alerts");
    let value: Value = serde_saphyr::from_str(&text).expect("YAML");
    value["groups"][0]["rules"].as_array().expect("rules").clone()
}

pub(crate) fn promtool(arguments: &[&str]) {
    let output =
        Command::new(Tool::Promtool.path().expect("promtool")).args(arguments).output().expect("promtool");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{arguments:?}: {said}");
}

/// What Prometheus makes of an annotation.
fn filled(template: &str, case: &Case) -> String {
    let text = template.replace("{{ $value }}", case.value);
    case.labels
        .iter()
        .fold(text, |text, (name, value)| text.replace(&format!("{{{{ $labels.{name} }}}}"), value))
}

fn series(all: &[(&str, &str)]) -> Vec<Value> {
    all.iter().map(|(series, values)| json!({"series": series, "values": values})).collect()
}

#[test]
fn each_alert_fires_where_it_should_and_none_where_nothing_is_wrong() {
    let rules = rules();
    let names: BTreeSet<&str> = rules.iter().filter_map(|rule| rule["alert"].as_str()).collect();
    assert_eq!(names, CASES.iter().map(|case| case.alert).collect(), "each has its case");
    let fired = CASES.iter().map(|case| {
        let rule = rules.iter().find(|rule| rule["alert"] == case.alert).expect("the alert");
        let mut labels = json!({"severity": rule["labels"]["severity"]});
        case.labels.iter().for_each(|(name, value)| labels[name] = json!(value));
        let annotations = rule["annotations"].as_object().expect("annotations").iter();
        let annotations: serde_json::Map<_, _> = annotations
            .map(|(name, text)| (name.clone(), json!(filled(text.as_str().unwrap_or_default(), case))))
            .collect();
        json!({"interval": "1m", "input_series": series(case.series), "alert_rule_test": [
            {"eval_time": "0m", "alertname": case.alert, "exp_alerts": []},
            {"eval_time": "3h", "alertname": case.alert, "exp_alerts": [
                {"exp_labels": labels, "exp_annotations": annotations}
            ]}
        ]})
    });
    let silent: Vec<_> =
        names.iter().map(|name| json!({"eval_time": "3h", "alertname": name, "exp_alerts": []})).collect();
    let fine = json!({"interval": "1m", "input_series": series(&FINE), "alert_rule_test": silent});
    let tests: Vec<Value> = fired.chain([fine]).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tests.yaml");
    let all = json!({"rule_files": [file()], "evaluation_interval": "1m", "tests": tests});
    fs::write(&path, all.to_string()).unwrap();
    promtool(&["check", "rules", file().to_str().unwrap()]);
    promtool(&["test", "rules", path.to_str().unwrap()]);
}

#[test]
fn each_alert_has_a_runbook_and_knows_all_reasons_that_stall() {
    let runbooks =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks.md")).unwrap();
    let stalls: Vec<String> =
        Reason::ALL.into_iter().filter(|reason| reason.stalls()).map(Reason::as_str).collect();
    let (stalls, mut lists) = (stalls.join("|"), 0);
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap();
        let url = format!("docs/runbooks.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], json!(url));
        assert!(runbooks.contains(&format!("\n## {name}\n")), "docs/runbooks.md has no heading {name}");
        let expression = rule["expr"].as_str().unwrap();
        if expression.contains("NameTaken") {
            assert!(expression.contains(&stalls), "{name} should have {stalls}");
            lists += 1;
        }
    }
    assert_eq!(lists, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_serves_each_metric_that_an_alert_asks_for() {
    let served = Served::by_an_operator().await;
    let label = Regex::new(r"\$labels\.(\w+)").unwrap();
    for rule in rules() {
        let said = rule["annotations"].to_string();
        let shown: Vec<&str> =
            label.captures_iter(&said).map(|found| found.get(1).unwrap().as_str()).collect();
        let mistakes = served.mistakes(rule["expr"].as_str().unwrap(), &shown);
        assert_eq!(mistakes, Vec::<String>::new(), "{}", rule["alert"]);
    }
    for (query, mistake) in [
        ("composio_operator_nothing", "composio_operator_nothing is not served"),
        ("composio_operator_leader{lane=\"Work\"}", "composio_operator_leader has no label lane"),
        ("sum by (lane) (composio_operator_leader)", "nothing has the label lane"),
    ] {
        assert_eq!(served.mistakes(query, &[]), [mistake]);
    }
    assert_eq!(served.mistakes("max(composio_operator_leader)", &["pod"]), ["its result has no label pod"]);
}

#[test]
fn the_prometheus_rule_has_them_with_links_to_where_the_runbooks_are() {
    let arguments =
        ["--set=metrics.prometheusRule.enabled=true,metrics.prometheusRule.runbooks=https://example.com/x"];
    let objects = rendered("composio-system", &arguments).unwrap();
    let kind = |object: &&kube::core::DynamicObject| {
        object.types.as_ref().is_some_and(|types| types.kind == "PrometheusRule")
    };
    let rule = objects.iter().find(kind).expect("a PrometheusRule");
    let mut wanted = rules();
    for rule in &mut wanted {
        let url = rule["annotations"]["runbook_url"].as_str().unwrap_or_default();
        rule["annotations"]["runbook_url"] = json!(format!("https://example.com/x/{url}"));
    }
    assert_eq!(rule.data["spec"]["groups"][0]["rules"], json!(wanted));
}
