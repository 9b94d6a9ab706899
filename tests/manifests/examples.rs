//! The manifests of `examples/`: all can be applied but those with `refused` in their name.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::cluster::{Cluster, Way};

/// All documents of `examples/*.yaml`, by file.
fn examples() -> Vec<(String, Vec<Value>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = fs::read_dir(&directory).expect("examples/ can be read");
    let paths = entries.map(|entry| entry.expect("examples/ can be read").path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let documents = serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, documents)
    };
    let mut files: Vec<_> = yaml.map(read).collect();
    files.sort_by(|one, other| one.0.cmp(&other.0));
    files
}

#[tokio::test]
async fn every_example_can_be_applied_but_those_that_show_an_error() {
    let cluster = Cluster::new("examples").await;
    for namespace in ["composio-system", "shop"] {
        cluster.ensure_namespace(namespace).await;
    }
    let files = examples();
    let refused = |name: &str| name.contains("refused");
    assert!(files.iter().any(|(name, _)| refused(name)), "no example shows an error");
    assert!(files.iter().filter(|(name, _)| !refused(name)).count() >= 4, "examples are missing: {files:?}");
    for (name, documents) in &files {
        assert!(!documents.is_empty(), "{name} is empty");
        for document in documents {
            assert!(document["metadata"]["namespace"].is_string(), "{name} says not in which namespace");
            for way in [Way::Create, Way::Apply] {
                let answer = cluster.send(way, document, true).await;
                assert_eq!(answer.is_err(), refused(name), "{name}, {way:?}: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_comment_of_the_refused_example_shows_the_words_of_the_api_server() {
    let cluster = Cluster::new("examples").await;
    cluster.ensure_namespace("shop").await;
    let files = examples();
    let (_, documents) = files.iter().find(|(name, _)| name == "project-refused.yaml").expect("it is there");
    let message = cluster.send(Way::Apply, &documents[0], true).await.expect_err("it is refused");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/project-refused.yaml");
    let text = fs::read_to_string(path).expect("it can be read");
    let comment =
        text.lines().filter_map(|line| line.strip_prefix("# ")).map(str::trim).collect::<Vec<_>>().join(" ");
    for words in ["spec.secret.template[.env]", "knows the placeholders", "refused: {apikey}"] {
        assert!(message.contains(words), "the API server says: {message}");
        assert!(comment.contains(words), "the comment says: {comment}");
    }
}
