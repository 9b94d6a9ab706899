//! An installation by the real helm, from its beginning to its end, on a control plane that knows nothing of Composio.

use std::fs;
use std::path::Path;

use clap::Parser as _;
use composio_operator::crd::{ComposioOrganization, ComposioProject};
use composio_operator::process::settings::Cli;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use testbed::chart::{CHART, IMAGE, RELEASE, helm, rendered};
use testbed::controlplane::{ControlPlane, Options};
use testbed::emulator::{self, Emulator, OrganizationOptions};
use testbed::eventually::eventually;
use testbed::world::{Child, PATIENCE, project};
use tokio::process::Command;

const SYSTEM: &str = "composio-system";
const SHOP: &str = "shop";
const BINARY: &str = env!("CARGO_BIN_EXE_composio-operator");

/// The chart as an earlier release had it: of another version, and with a definition that does not know `spec.suspend`.
fn earlier_chart(to: &Path) {
    copy(Path::new(CHART), to);
    let edit = |file: &str, change: &dyn Fn(&mut Value)| {
        let path = to.join(file);
        let text = fs::read_to_string(&path).expect("a file of the chart");
        let mut value: Value = serde_saphyr::from_str(&text).expect("YAML");
        change(&mut value);
        fs::write(&path, serde_saphyr::to_string(&value).expect("YAML")).expect("a file");
    };
    edit("Chart.yaml", &|chart| chart["version"] = json!("0.0.9"));
    edit("files/crds/composioprojects.yaml", &|definition| {
        let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        let fields = definition.pointer_mut(spec).and_then(Value::as_object_mut).expect("the fields of spec");
        fields.remove("suspend").expect("spec.suspend");
    });
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a file");
        }
    }
}

async fn knows_suspend(client: &Client) -> bool {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = api.get("composioprojects.composio.dev").await.expect("the definition");
    let value = serde_json::to_value(definition).expect("JSON");
    value.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend").is_some()
}

async fn create<K>(api: &Api<K>, object: Value)
where
    K: serde::Serialize + serde::de::DeserializeOwned + Clone + std::fmt::Debug,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).expect("an object"))
        .await
        .expect("created");
}

/// Right after its definition a kind can still be unknown.
async fn is_served<K>(client: &Client)
where
    K: kube::Resource<DynamicType = ()> + serde::de::DeserializeOwned + Clone + std::fmt::Debug,
{
    eventually("the kind is served", PATIENCE, async || {
        let listed = Api::<K>::all(client.clone()).list(&ListParams::default()).await;
        listed.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

/// What a user does after the installation: key, organization, a namespace with a project.
async fn first_steps(client: &Client, emulator: &Emulator, key: &str) {
    is_served::<ComposioOrganization>(client).await;
    is_served::<ComposioProject>(client).await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    create(&secrets, json!({"metadata": {"name": "composio-org"}, "stringData": {"apiKey": key}})).await;
    let organizations: Api<ComposioOrganization> = Api::namespaced(client.clone(), SYSTEM);
    create(
        &organizations,
        json!({
            "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioOrganization", "metadata": {"name": "default"},
            "spec": {"apiKeySecretRef": {"name": "composio-org"}, "endpoint": {"url": emulator.url()}}
        }),
    )
    .await;
    create::<Namespace>(&Api::all(client.clone()), json!({"metadata": {"name": SHOP}})).await;
    create::<ComposioProject>(
        &Api::namespaced(client.clone(), SHOP),
        project("shop", &json!({"deletionPolicy": "Delete"})),
    )
    .await;
}

async fn is_ready(client: &Client) {
    let projects: Api<ComposioProject> = Api::namespaced(client.clone(), SHOP);
    eventually("the project is Ready", PATIENCE, async || {
        let object = projects.get("shop").await.map_err(|error| error.to_string())?;
        let status = object.status.unwrap_or_default();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        ready
            .filter(|ready| ready.status == "True")
            .map(drop)
            .ok_or_else(|| format!("{:?}", status.conditions))
    })
    .await;
}

/// What helm does after an uninstall with `release.onDelete`: the hook's rights, then its Job, here as a process.
async fn release_by_the_hook(control_plane: &ControlPlane, client: &Client) {
    let objects = rendered(SYSTEM, &["--set=release.onDelete=true"]).expect("the chart").into_iter();
    let hooks = objects.filter(|object| object.annotations().contains_key("helm.sh/hook"));
    let is_job = |object: &DynamicObject| object.types.as_ref().is_some_and(|types| types.kind == "Job");
    let (jobs, rights): (Vec<_>, Vec<_>) = hooks.partition(is_job);
    for object in rights {
        let kind = GroupVersionKind::try_from(object.types.as_ref().expect("a kind")).expect("a kind");
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = match object.namespace() {
            None => Api::all_with(client.clone(), &resource),
            Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        };
        api.create(&PostParams::default(), &object).await.expect("what the hook needs");
    }
    let pod = jobs[0].data["spec"]["template"]["spec"].clone();
    let account = pod["serviceAccountName"].as_str().expect("a ServiceAccount");
    let kubeconfig = control_plane.service_account_kubeconfig(SYSTEM, account).await.expect("a token");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("kubeconfig.yaml");
    fs::write(&path, serde_saphyr::to_string(&kubeconfig).expect("YAML")).expect("a file");
    let container = &pod["containers"][0];
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
    };
    let env = container["env"].as_array().into_iter().flatten().map(|variable| {
        let name = variable["name"].as_str().expect("a name").to_owned();
        // The other one is the namespace of the pod.
        (name, variable["value"].as_str().unwrap_or(SYSTEM).to_owned())
    });
    let mut command = Command::new(BINARY);
    command.args(texts(&container["args"])).envs(env).env("KUBECONFIG", path);
    // A Job tries again too, until the API server has heard of the bindings.
    eventually("it is released", PATIENCE, async || {
        let output = command.output().await.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(()).ok_or(said)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_installs_upgrades_a_definition_and_leaves_projects_and_secrets_where_they_are_when_it_goes() {
    let directory = tempfile::tempdir().unwrap();
    earlier_chart(directory.path());
    let control_plane = ControlPlane::start(Options::default()).await.unwrap();
    let client = control_plane.client().await.unwrap();
    let kubeconfig = format!("--kubeconfig={}", control_plane.kubeconfig_path().display());
    let run = |arguments: &[&str]| {
        helm(arguments.iter().copied().chain([kubeconfig.as_str(), "--namespace", SYSTEM]))
    };

    let notes =
        run(&["install", RELEASE, directory.path().to_str().unwrap(), "--create-namespace", IMAGE]).unwrap();
    for step in [
        "create secret generic composio-org",
        "kind: ComposioOrganization",
        // Where it is pasted, the shell finds the end.
        "\nEND\n",
        "wait --for=condition=Ready",
        "ledger",
    ] {
        assert!(notes.contains(step), "{step:?} is not in the notes: {notes}");
    }
    assert!(!knows_suspend(&client).await);
    run(&["upgrade", RELEASE, CHART, IMAGE]).unwrap();
    eventually("the definition is upgraded", PATIENCE, async || {
        knows_suspend(&client).await.then_some(()).ok_or_else(|| "it is not".to_owned())
    })
    .await;

    let emulator = Emulator::start(emulator::Options::default()).await.unwrap();
    let control = emulator.control();
    let organization = control.add_organization(OrganizationOptions::named("chart"));
    first_steps(&client, &emulator, &organization.key).await;
    let account = control_plane.service_account_kubeconfig(SYSTEM, RELEASE).await.unwrap();
    let settings =
        Cli::try_parse_from(["composio-operator", "--namespace", SYSTEM, "--leader-elect"]).unwrap().run;
    let mut operator = Child::start_with(BINARY, &settings, &account).await;
    is_ready(&client).await;
    operator.signal(rustix::process::Signal::TERM);
    assert_eq!(operator.ended().await, Some(0), "{}", operator.log_tail());

    let secrets: Api<Secret> = Api::namespaced(client.clone(), SHOP);
    let before = secrets.get("shop").await.unwrap();
    run(&["uninstall", RELEASE]).unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), SYSTEM);
    assert!(deployments.get_opt(RELEASE).await.unwrap().is_none(), "the Deployment is there");
    assert!(knows_suspend(&client).await, "the definitions stay");
    is_ready(&client).await;
    assert_eq!(secrets.get("shop").await.unwrap(), before);
    let ledger: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), SYSTEM, &kube::api::ApiResource::erase::<Secret>(&()));
    let claims = ledger.list(&ListParams::default().fields("type=composio.dev/project-claim")).await.unwrap();
    assert_eq!(claims.items.len(), 1, "the ledger stays");

    // Installed again, it takes up what is there.
    run(&["install", RELEASE, CHART, IMAGE]).unwrap();
    let account = control_plane.service_account_kubeconfig(SYSTEM, RELEASE).await.unwrap();
    let mut operator = Child::start_with(BINARY, &settings, &account).await;
    is_ready(&client).await;
    assert_eq!(control.projects(&organization.id).len(), 1);
    assert_eq!(secrets.get("shop").await.unwrap().resource_version(), before.resource_version());
    operator.signal(rustix::process::Signal::TERM);
    assert_eq!(operator.ended().await, Some(0), "{}", operator.log_tail());

    // For good: nothing of the operator keeps anything from going, or takes anything with it.
    let projects: Api<ComposioProject> = Api::namespaced(client.clone(), SHOP);
    assert!(!projects.get("shop").await.unwrap().finalizers().is_empty());
    run(&["uninstall", RELEASE]).unwrap();
    release_by_the_hook(&control_plane, &client).await;
    assert!(projects.get("shop").await.unwrap().finalizers().is_empty());
    let released = secrets.get("shop").await.unwrap();
    assert_eq!((released.owner_references(), &released.data), (&[][..], &before.data));
}
