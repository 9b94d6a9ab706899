//! The pods of the chart, the operator's and that of the hook: where they run, as whom, with what, and how long they may take
//! to end.

use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::Parser as _;
use composio_operator::process::settings::Cli;
use kube::core::DynamicObject;
use regex::Regex;
use serde_json::{Value, json};
use testbed::chart::rendered;

/// The pods of the Deployment and of the Job, in this order.
fn pods(arguments: &[&str]) -> [Value; 2] {
    let all: Vec<&str> = ["--set=release.onDelete=true"].iter().chain(arguments).copied().collect();
    let objects = rendered("composio-system", &all).expect("the chart");
    ["Deployment", "Job"].map(|kind| {
        let is_it = |object: &&DynamicObject| object.types.as_ref().is_some_and(|types| types.kind == kind);
        objects.iter().find(is_it).expect("an object with pods").data["spec"]["template"].clone()
    })
}

#[test]
fn the_pod_of_the_hook_runs_where_and_with_what_the_operator_does() {
    let [operator, hook] = pods(&[
        "--set=nodeSelector.disk=ssd,tolerations[0].key=a,tolerations[0].operator=Exists,priorityClassName=high",
        "--set=affinity.nodeAffinity.x=y,imagePullSecrets[0].name=registry,podLabels.mesh=off,podAnnotations.a=b",
    ]);
    for what in ["nodeSelector", "tolerations", "affinity", "priorityClassName", "imagePullSecrets"] {
        assert!(!operator["spec"][what].is_null(), "{what}");
        assert_eq!(operator["spec"][what], hook["spec"][what], "{what}");
    }
    for what in ["image", "resources", "env", "securityContext"] {
        assert_eq!(operator["spec"]["containers"][0][what], hook["spec"]["containers"][0][what], "{what}");
    }
    assert_eq!(hook["metadata"]["labels"]["mesh"], "off");
    assert_eq!(operator["metadata"]["annotations"], hook["metadata"]["annotations"]);
    // Nobody who selects the operator's pods means this one.
    assert_ne!(
        operator["metadata"]["labels"]["app.kubernetes.io/name"],
        hook["metadata"]["labels"]["app.kubernetes.io/name"]
    );
}

#[test]
fn pods_ask_for_their_token_themselves_and_get_no_variables_of_services() {
    for pod in pods(&[]) {
        assert_eq!(pod["spec"]["automountServiceAccountToken"], json!(true));
        assert_eq!(pod["spec"]["enableServiceLinks"], json!(false));
    }
    let objects = rendered("composio-system", &["--set=release.onDelete=true"]).unwrap();
    let is_account =
        |object: &&DynamicObject| object.types.as_ref().is_some_and(|types| types.kind == "ServiceAccount");
    let accounts: Vec<_> = objects.iter().filter(is_account).collect();
    assert_eq!(accounts.len(), 2);
    assert!(accounts.iter().all(|account| account.data["automountServiceAccountToken"] == json!(false)));
}

#[test]
fn what_is_logged_is_the_operators_default_until_somebody_says_otherwise() {
    let filter = |arguments: &[&str]| {
        let [operator, _] = pods(arguments);
        let env = operator["spec"]["containers"][0]["env"].as_array().unwrap().clone();
        env.into_iter().find(|variable| variable["name"] == "RUST_LOG").map(|found| found["value"].clone())
    };
    assert_eq!(filter(&[]), None);
    assert_eq!(filter(&["--set=log.filter=debug"]), Some(json!("debug")));
}

#[test]
fn openshift_chooses_the_user() {
    let user = |pod: &Value| pod["spec"]["securityContext"]["runAsUser"].clone();
    assert_eq!(pods(&[]).map(|pod| user(&pod)), [json!(65532), json!(65532)]);
    for pod in pods(&["--api-versions=security.openshift.io/v1"]) {
        assert_eq!(user(&pod), Value::Null);
        assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], json!(true));
    }
}

#[test]
fn the_operator_has_time_to_end_before_it_is_killed() {
    let [operator, _] = pods(&[]);
    let seconds = operator["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    let settings = Cli::try_parse_from(["composio-operator"]).unwrap().run;
    // The Lease is given back, and the last scrape answered.
    let farewell = Duration::from_secs(4);
    assert!(Duration::from_secs(seconds) > settings.shutdown_timeout + farewell);
}

#[test]
fn the_memory_that_it_asks_for_is_what_ten_thousand_projects_were_measured_with() {
    let figures = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let figures = fs::read_to_string(figures).unwrap();
    let row = figures.lines().find(|line| line.starts_with("| 10000 | ")).expect("a row of 10000 projects");
    let mebibytes = Regex::new(r"([0-9.]+) MiB").unwrap();
    let measured = mebibytes.captures_iter(row).map(|found| found[1].parse::<f64>().unwrap());
    let [operator, _] = pods(&[]);
    let resources = &operator["spec"]["containers"][0]["resources"];
    let memory = |what: &str| -> f64 {
        let text = resources[what]["memory"].as_str().unwrap();
        text.strip_suffix("Mi").unwrap().parse().unwrap()
    };
    let largest = measured.fold(0.0, f64::max);
    assert!(largest > 0.0 && largest <= memory("requests"), "{largest} MiB were measured");
    assert!(memory("limits") >= 2.0 * memory("requests"));
    // A processor that is throttled loses leases.
    assert!(resources["limits"]["cpu"].is_null());
}
