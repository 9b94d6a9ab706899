//! What the chart renders.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use composio_operator::process::settings::Cli;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ApiResource, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::chart::{CHART, IMAGE, helm, rendered};
use testbed::tools::monitoring_crds;
use testbed::world::World;

/// Sets of values, each with what it is about.
pub(crate) const SETS: [(&str, &[&str]); 6] = [
    ("the defaults", &[]),
    ("one namespace, one replica", &["--set=watchNamespaces={shop}", "--set=replicas=1"]),
    (
        "everything that can be switched on",
        &[
            "--set=networkPolicy.enabled=true,release.onDelete=true,proxy.httpsProxy=http://proxy:3128",
            "--set=metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true",
        ],
    ),
    (
        "everything that can be switched off",
        &[
            "--set=crds.enabled=false,rbac.create=false,selfRestraint.enabled=false,podDisruptionBudget.enabled=false",
            "--set=serviceAccount.create=false,serviceAccount.name=mine,metrics.service.enabled=false",
        ],
    ),
    (
        "where and how the pods run",
        &[
            "--set=nodeSelector.disk=ssd,tolerations[0].key=a,tolerations[0].operator=Exists,priorityClassName=high",
            "--set=image.digest=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "--set=commonLabels.team=a,commonAnnotations.note=b,podLabels.c=d,podAnnotations.e=f,imagePullSecrets[0].name=g",
        ],
    ),
    (
        "settings of the process",
        &["--set=settings.workers=32,settings.observeInterval=20m,log.format=text,log.filter=debug"],
    ),
];

/// A world that knows the kinds of the Prometheus operator too.
pub(crate) async fn world() -> World {
    let world = World::without_operator().await;
    let mut crds = monitoring_crds().expect("the definitions of the Prometheus operator");
    crds.retain(|crd| MONITORING.contains(&crd.spec.names.kind.as_str()));
    world.control_plane.apply_crds(&crds).await.expect("definitions that are served");
    world
}

/// Kinds of the Prometheus operator.
pub(crate) const MONITORING: [&str; 2] = ["ServiceMonitor", "PrometheusRule"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(CHART).join(path)).expect("a file of the chart")
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map(|types| types.kind.as_str()).unwrap_or_default()
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    helm(["lint", "--strict", CHART, IMAGE]).unwrap();
}

#[test]
fn a_value_that_nobody_knows_or_that_cannot_be_is_refused_by_its_name() {
    let refused = [
        ("replica=3", "replica"),
        ("settings.wokers=3", "wokers"),
        ("settings.observeInterval=often", "observeInterval"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("image.digest=abc", "digest"),
        ("proxy.httpsProxy=proxy:3128", "httpsProxy"),
        ("watchNamespaces={Shop}", "watchNamespaces"),
        ("fullnameOverride=ABC_x", "fullnameOverride"),
        ("serviceAccount.create=false", "serviceAccount.name"),
        ("image.repository=", "image.repository"),
        ("release.onDelete=true,rbac.create=false", "rbac.create"),
        ("metrics.serviceMonitor.enabled=true,metrics.service.enabled=false", "metrics.service.enabled"),
    ];
    for (value, name) in refused {
        let error = rendered("composio-system", &[&format!("--set={value}")]).unwrap_err().to_string();
        assert!(error.contains(name), "{value}: {error}");
    }
}

#[test]
fn the_settings_that_it_knows_are_those_of_the_process() {
    // These have values of their own.
    let own =
        ["namespace", "watch-namespaces", "http-address", "log-format", "leader-elect", "help", "version"];
    let command = Cli::command();
    let flags = command.get_arguments().filter_map(|flag| flag.get_long()).filter(|flag| !own.contains(flag));
    let flags: BTreeSet<String> = flags.map(camel_case).collect();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let known = schema["properties"]["settings"]["properties"].as_object().unwrap();
    assert_eq!(known.keys().cloned().collect::<BTreeSet<_>>(), flags);
}

fn camel_case(flag: &str) -> String {
    let mut words = flag.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| {
        let (head, tail) = word.split_at(1);
        text + &head.to_uppercase() + tail
    })
}

#[test]
fn its_definitions_are_those_of_crds_and_are_kept_unless_somebody_says_otherwise() {
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let names = |dir: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let here = Path::new(CHART).join("files/crds");
    assert_eq!(names(&here), names(&crds));
    let wanted: Vec<DynamicObject> = names(&crds)
        .iter()
        .map(|name| {
            let text = fs::read_to_string(crds.join(name)).unwrap();
            let command = "cargo run -- crds --out charts/composio-operator/files/crds";
            assert_eq!(fs::read_to_string(here.join(name)).unwrap(), text, "{name}: {command}");
            serde_saphyr::from_str(&text).unwrap()
        })
        .collect();
    let definitions = |arguments: &[&str]| {
        let objects = rendered("composio-system", arguments).unwrap().into_iter();
        objects.filter(|object| kind(object) == "CustomResourceDefinition").collect::<Vec<_>>()
    };
    assert_eq!(definitions(&["--set=crds.keep=false"]), wanted);
    let mut kept = definitions(&[]);
    for object in &mut kept {
        let annotation = object.annotations_mut().remove("helm.sh/resource-policy");
        assert_eq!(annotation.as_deref(), Some("keep"));
        object.metadata.annotations = None;
    }
    assert_eq!(kept, wanted);
    assert_eq!(definitions(&["--set=crds.enabled=false"]), []);
}

#[test]
fn of_two_labels_of_one_name_the_more_special_one_counts_and_none_that_is_selected_by_can_be_set() {
    let objects = rendered(
        "composio-system",
        &[
            r"--set=commonLabels.release=all,commonLabels.app\.kubernetes\.io/name=x",
            r"--set=podLabels.release=pods,podLabels.app\.kubernetes\.io/instance=x",
            "--set=metrics.prometheusRule.enabled=true,metrics.prometheusRule.labels.release=rules",
            "--set=metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=monitor",
            "--set=networkPolicy.enabled=true",
        ],
    )
    .unwrap();
    let object = |wanted: &str| objects.iter().find(|object| kind(object) == wanted).unwrap();
    let pod = &object("Deployment").data["spec"]["template"]["metadata"]["labels"];
    assert_eq!(pod["release"], "pods");
    for (wanted, release) in [("PrometheusRule", "rules"), ("ServiceMonitor", "monitor"), ("Service", "all")]
    {
        assert_eq!(object(wanted).labels()["release"], release, "{wanted}");
    }
    let service: Value = json!(object("Service").labels());
    for (wanted, selector, selected) in [
        ("Deployment", "/selector/matchLabels", pod),
        ("Service", "/selector", pod),
        ("PodDisruptionBudget", "/selector/matchLabels", pod),
        ("NetworkPolicy", "/podSelector/matchLabels", pod),
        ("ServiceMonitor", "/selector/matchLabels", &service),
    ] {
        let selector = object(wanted).data["spec"].pointer(selector).unwrap().as_object().unwrap();
        assert_eq!(selector.len(), 2, "{wanted}");
        assert!(selector.iter().all(|(name, value)| selected[name] == *value), "{wanted}: {selected}");
    }
}

#[test]
fn the_network_policy_leaves_the_way_to_the_proxy_open() {
    let ports = |proxy: &str| {
        let arguments = ["--set=networkPolicy.enabled=true", &format!("--set=proxy.httpsProxy={proxy}")];
        let objects = rendered("composio-system", &arguments).unwrap();
        let policy = objects.iter().find(|object| kind(object) == "NetworkPolicy").unwrap();
        let ports = policy.data["spec"]["egress"][1]["ports"].as_array().unwrap().clone();
        ports.iter().filter_map(|port| port["port"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(ports(""), [443, 6443]);
    assert_eq!(ports("http://proxy.example:3128"), [443, 6443, 3128]);
    assert_eq!(ports("http://10.0.0.1"), [443, 6443, 80]);
    assert_eq!(ports("https://proxy.example/"), [443, 6443, 443]);
    // A rule without ports would open all of them.
    let arguments = ["--set=networkPolicy.enabled=true,networkPolicy.egressPorts=null"];
    let objects = rendered("composio-system", &arguments).unwrap();
    let policy = objects.iter().find(|object| kind(object) == "NetworkPolicy").unwrap();
    assert_eq!(policy.data["spec"]["egress"].as_array().unwrap().len(), 1, "{}", policy.data);
}

#[test]
fn without_rights_in_the_whole_cluster_it_can_be_installed_for_some_namespaces() {
    let objects = rendered(
        "composio-system",
        &[
            "--set=watchNamespaces={shop,store}",
            "--set=crds.enabled=false,rbac.aggregate=false,selfRestraint.enabled=false,release.onDelete=true",
        ],
    )
    .unwrap();
    let cluster_wide: Vec<_> =
        objects.iter().filter(|object| object.namespace().is_none()).map(kind).collect();
    assert_eq!(cluster_wide, Vec::<&str>::new());
    let namespaces: BTreeSet<_> = objects.iter().filter_map(ResourceExt::namespace).collect();
    assert_eq!(namespaces, ["composio-system", "shop", "store"].map(ToOwned::to_owned).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_accepts_all_that_it_renders() {
    let world = world().await;
    for (about, arguments) in SETS {
        let arguments: Vec<String> = arguments
            .iter()
            .map(|argument| argument.replace("{shop}", &format!("{{{}}}", world.namespace)))
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let objects = rendered(&world.system, &arguments).unwrap();
        assert!(!objects.is_empty(), "{about}: it renders nothing");
        for object in &objects {
            let resource =
                ApiResource::from_gvk(&GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap());
            let api: Api<DynamicObject> = match object.namespace() {
                Some(namespace) => Api::namespaced_with(world.client.clone(), &namespace, &resource),
                None => Api::all_with(world.client.clone(), &resource),
            };
            let params = PatchParams::apply("tests").validation_strict().dry_run().force();
            let applied = api.patch(&object.name_any(), &params, &Patch::Apply(object)).await;
            applied
                .unwrap_or_else(|error| panic!("{about}: {} {}: {error}", kind(object), object.name_any()));
        }
    }
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_pods_meet_the_restricted_standard_for_pods() {
    let mut world = World::without_operator().await;
    let namespace = world.add_namespace().await;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    namespaces.patch_metadata(&namespace, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &namespace);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let objects = rendered(&namespace, &["--set=release.onDelete=true"]).unwrap();
    let templates: Vec<_> =
        objects.iter().filter_map(|object| object.data.pointer("/spec/template")).collect();
    assert_eq!(templates.len(), 2, "the Deployment and the Job");
    for template in templates {
        let mut pod: Pod = serde_json::from_value(template.clone()).unwrap();
        pod.metadata.name = Some("pod".to_owned());
        // That of the chart is not there.
        pod.spec.as_mut().unwrap().service_account_name = None;
        pods.create(&params, &pod).await.unwrap();
        pod.spec.as_mut().unwrap().containers[0].security_context = None;
        let refused = pods.create(&params, &pod).await.unwrap_err().to_string();
        assert!(refused.contains("violates PodSecurity"), "{refused}");
    }
    world.finish(&[]).await;
}
