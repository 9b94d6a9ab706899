//! `crds/*.yaml` against the types they are generated from.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use axum::http::Method;
use composio_operator::crd;
use serde_json::{Value, json};

use crate::cluster::Cluster;

const REGENERATE: &str = "run `cargo run -- crds --out crds` and commit what it writes";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")
}

#[test]
fn the_files_of_crds_are_what_the_types_say() {
    let files = crd::files().expect("they can be written as YAML");
    for (name, text) in &files {
        let on_disk = fs::read_to_string(directory().join(name)).unwrap_or_default();
        let differs = || on_disk.lines().zip(text.lines()).position(|(one, other)| one != other);
        assert!(
            on_disk == *text,
            "crds/{name} is out of date, first in line {}: {REGENERATE}",
            differs().unwrap_or_else(|| on_disk.lines().count().min(text.lines().count())) + 1
        );
    }
    let expected: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let entries = fs::read_dir(directory()).expect("crds/ can be read");
    for entry in entries {
        let name = entry.expect("crds/ can be read").file_name();
        assert!(expected.contains(&*name.to_string_lossy()), "crds/{} belongs to no kind", name.display());
    }
}

/// Folded and quoted texts could mean something else to the YAML reader of Kubernetes than to ours.
#[tokio::test]
async fn the_api_server_reads_the_files_of_crds_as_what_the_types_say() {
    let cluster = Cluster::new("generated").await;
    for crd in crd::all() {
        let name = crd.metadata.name.clone().unwrap_or_default();
        let file = format!("{}.yaml", crd.spec.names.plural);
        let text =
            fs::read_to_string(directory().join(&file)).unwrap_or_else(|_| panic!("no {file}: {REGENERATE}"));
        let typed = json!(crd).to_string();
        let [from_file, from_types] =
            [apply(&cluster, &name, text).await, apply(&cluster, &name, typed).await];
        assert_eq!(from_file["spec"], from_types["spec"], "{file} is read differently");
        assert_eq!(from_file["metadata"]["name"], json!(name));
    }
}

/// What the API server makes of it, without storing it. It reads YAML itself.
async fn apply(cluster: &Cluster, name: &str, text: String) -> Value {
    let path = format!(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}\
         ?fieldManager=manifests&force=true&fieldValidation=Strict&dryRun=All"
    );
    let answer = cluster.raw(Method::PATCH, &path, "application/apply-patch+yaml", text).await;
    answer.unwrap_or_else(|message| panic!("{name}: {message}"))
}
