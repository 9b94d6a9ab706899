//! What `kubectl` shows of the kinds, through the real API server. Where it is not on PATH, a line of the output says
//! that this was left out, and `schema.rs` and `generated.rs` cover what is in our hands.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use axum::http::Method;
use serde_json::json;

use crate::cluster::{Cluster, Way, control_plane, organization, project};

/// Standard output and error of a successful or failed `kubectl`; `None` where it is not installed.
async fn kubectl(namespace: &str, arguments: &[&str]) -> Option<(bool, String, String)> {
    let control_plane = control_plane().await;
    let output = Command::new("kubectl")
        .args(["--namespace", namespace, "--kubeconfig"])
        .arg(control_plane.kubeconfig_path())
        .arg("--cache-dir")
        .arg(control_plane.data_dir().join("kubectl-cache"))
        .args(arguments)
        .output();
    match output {
        Ok(output) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((output.status.success(), text(&output.stdout), text(&output.stderr)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("left out: kubectl is not on PATH");
            None
        }
        Err(error) => panic!("kubectl cannot be run: {error}"),
    }
}

/// Standard output of a `kubectl` that must succeed.
async fn output_of(namespace: &str, arguments: &[&str]) -> Option<String> {
    let (success, stdout, stderr) = kubectl(namespace, arguments).await?;
    assert!(success, "kubectl {arguments:?} fails: {stderr}");
    println!("$ kubectl {}\n{stdout}", arguments.join(" "));
    Some(stdout)
}

fn headers(table: &str) -> Vec<&str> {
    table.lines().next().unwrap_or_default().split_whitespace().collect()
}

#[tokio::test]
async fn kubectl_explain_tells_what_each_part_is_and_what_applies_without_it() {
    let expected: [(&str, &[&str]); 6] = [
        ("cproj", &["A Composio project, and the Secret with its API key", "spec"]),
        ("cproj.spec", &["organizationRef", "projectName", "settings", "secret", "suspend"]),
        (
            "cproj.spec.secret",
            &["annotations", "keys", "labels", "name", "template", "{apiKey}", "COMPOSIO_API_KEY"],
        ),
        ("cproj.spec.settings.logVisibilitySetting", &["show_all", "dont_store_data", "Zero Data Retention"]),
        ("corg", &["A Composio organization", "operator's namespace"]),
        ("corg.spec.endpoint.url", &["https://backend.composio.dev", "*.svc"]),
    ];
    for (path, words) in expected {
        let Some(text) = output_of("default", &["explain", path]).await else {
            return;
        };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(text.contains(word), "kubectl explain {path} does not say {word:?}: {text}");
        }
    }
}

#[tokio::test]
async fn kubectl_get_shows_the_columns_and_with_wide_also_ids_and_the_message() {
    let cluster = Cluster::new("columns").await;
    cluster.send(Way::Apply, &project(json!({})), false).await.expect("it is right");
    let status = json!({"status": {
        "observedGeneration": 1,
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "NameTaken", "message": "ask them",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
        "project": {"id": "pr_1", "name": "prod-shop", "organizationId": "ok_1"},
        "binding": {"name": "shop-key"},
    }});
    let path =
        format!("/apis/composio.dev/v1alpha1/namespaces/{}/composioprojects/shop/status", cluster.namespace);
    let patched = cluster.raw(Method::PATCH, &path, "application/merge-patch+json", status.to_string()).await;
    patched.expect("the status fits the schema");

    let Some(narrow) = output_of(&cluster.namespace, &["get", "cproj"]).await else {
        return;
    };
    assert_eq!(headers(&narrow), ["NAME", "PROJECT", "READY", "REASON", "AGE"]);
    let row = narrow.lines().nth(1).unwrap_or_default();
    assert!(row.starts_with("shop ") && row.contains("prod-shop") && row.contains("NameTaken"), "{row}");
    let Some(wide) = output_of(&cluster.namespace, &["get", "cproj", "-o", "wide"]).await else {
        return;
    };
    let columns = ["NAME", "PROJECT", "READY", "REASON", "AGE", "ID", "ORGANIZATION", "SECRET", "MESSAGE"];
    assert_eq!(headers(&wide), columns);
    for value in ["pr_1", "ok_1", "shop-key", "ask them"] {
        assert!(wide.contains(value), "{value} is not in {wide}");
    }
}

#[tokio::test]
async fn kubectl_get_knows_the_short_names_and_the_category() {
    let cluster = Cluster::new("category").await;
    let key = json!({"apiKeySecretRef": {"name": "composio-org"}});
    cluster.send(Way::Apply, &project(json!({})), false).await.expect("it is right");
    cluster.send(Way::Apply, &organization(key), false).await.expect("it is right");
    let Some(wide) = output_of(&cluster.namespace, &["get", "corg", "-o", "wide"]).await else {
        return;
    };
    assert_eq!(
        headers(&wide),
        ["NAME", "READY", "REASON", "MANAGED", "HELD", "LASTSWEEP", "AGE", "ID", "MESSAGE"]
    );
    let Some(all) = output_of(&cluster.namespace, &["get", "composio", "-o", "name"]).await else {
        return;
    };
    for name in ["composioproject.composio.dev/shop", "composioorganization.composio.dev/default"] {
        assert!(all.contains(name), "{name} is not in {all}");
    }
}

#[tokio::test]
async fn kubectl_apply_prints_the_field_of_the_refused_example() {
    let cluster = Cluster::new("refused").await;
    cluster.ensure_namespace("shop").await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/project-refused.yaml");
    let file = path.to_string_lossy();
    let arguments = ["apply", "--dry-run=server", "-f", &file];
    let Some((success, _, stderr)) = kubectl("shop", &arguments).await else {
        return;
    };
    println!("$ kubectl apply -f examples/project-refused.yaml\n{stderr}");
    assert!(!success, "it is accepted");
    for words in [
        "spec.secret.template[.env]",
        "{apiKey}, {projectId}, {projectName} and {baseUrl}",
        "refused: {apikey}",
    ] {
        assert!(stderr.contains(words), "{words:?} is not in: {stderr}");
    }
}
