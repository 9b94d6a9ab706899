//! How to go on: commands to copy while everything is up.

use crate::Stage;
use crate::operator::Log;
use crate::screen::Screen;

/// Prints them.
pub(crate) fn show(screen: &Screen, stage: &Stage) {
    let (url, organization, metrics) = (stage.emulator.url(), &stage.organization.id, stage.operator.address);
    screen.heading("Now try (in another terminal, in this directory)");
    println!("  export KUBECONFIG={}\n", stage.cluster.kubeconfig.display());
    for (what, commands) in [
        ("what there is, and why it is as it is", LOOK),
        ("the key, as a workload gets it", KEY),
        ("delete and apply again: project, key and Secret stay, and nothing is created twice", AGAIN),
        ("edit a setting, and see it arrive", EDIT),
    ] {
        println!("  {}", screen.faint(&format!("# {what}")));
        for command in commands {
            println!("  {command}");
        }
        println!();
    }
    println!(
        "  {}",
        screen.faint("# what Composio has, what it was asked for, and all the ways to make it fail")
    );
    println!("  curl -s {url}/_emulator/organizations/{organization}/projects");
    println!("  curl -s {url}/_emulator/journal");
    println!("  curl -s {url}/_emulator\n");
    println!("  {}", screen.faint("# the operator"));
    println!("  curl -s http://{metrics}/metrics");
    if let Log::File(path) = &stage.log {
        println!("  tail -f {}", path.display());
    }
    println!("\n{}", screen.bold("Everything stays up until Ctrl-C."));
}

const LOOK: &[&str] = &[
    "kubectl get composio --all-namespaces",
    "kubectl --namespace shop get cproj --output wide",
    "kubectl --namespace shop describe cproj settings",
    "kubectl explain cproj.spec.secret",
    "kubectl --namespace shop wait --for=condition=Ready cproj --all",
];
const KEY: &[&str] = &[
    "kubectl --namespace shop get secret plain --output jsonpath='{.data.COMPOSIO_API_KEY}' | base64 --decode; echo",
];
const AGAIN: &[&str] = &[
    "kubectl delete --filename examples/project-plain.yaml",
    "kubectl apply --server-side --filename examples/project-plain.yaml",
];
const EDIT: &[&str] = &[
    r#"kubectl --namespace shop patch cproj settings --type merge --patch '{"spec":{"settings":{"displayName":"Renamed"}}}'"#,
];
