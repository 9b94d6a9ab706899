//! Kustomize: the directories of the clusters, and names that get a prefix.

use std::fs;
use std::path::Path;

use serde_json::Value;
use testbed::gitops::kustomized;

use crate::scene::{EXAMPLES, files};

/// One of each kind, with every reference that `name-references.yaml` knows of ours.
const REFERENCES: &str = r"
{apiVersion: v1, kind: Secret, metadata: {name: org-key}}
---
{apiVersion: v1, kind: Secret, metadata: {name: old-key}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: ca}}
---
apiVersion: composio.dev/v1alpha1
kind: ComposioOrganization
metadata: {name: eu}
spec: {apiKeySecretRef: {name: org-key}, endpoint: {caBundleRef: {name: ca}}}
---
apiVersion: composio.dev/v1alpha1
kind: ComposioProject
metadata: {name: shop}
spec: {organizationRef: {name: eu}, adopt: {projectId: pr_1, secretRef: {name: old-key}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  template:
    spec:
      initContainers:
      - name: agent
        envFrom: [{secretRef: {name: shop}}]
      volumes:
      - {name: key, projected: {sources: [{secret: {name: shop}}]}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers:
          - name: nightly
            env:
            - {name: KEY, valueFrom: {secretKeyRef: {name: shop, key: COMPOSIO_API_KEY}}}
            - {name: OTHER, valueFrom: {secretKeyRef: {name: somebody-elses, key: password}}}
          volumes:
          - {name: key, secret: {secretName: shop}}
";

#[tokio::test]
async fn a_prefix_reaches_every_reference_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let base = directory.path().join("base");
    fs::create_dir(&base).expect("a directory");
    let files = files();
    let (_, references) =
        files.iter().find(|(path, _)| path.ends_with("/name-references.yaml")).expect("references");
    for (path, text) in [
        ("base/name-references.yaml", references.as_str()),
        ("base/all.yaml", REFERENCES),
        ("base/kustomization.yaml", "resources: [all.yaml]\nconfigurations: [name-references.yaml]\n"),
        ("kustomization.yaml", "resources: [base]\nnamePrefix: blue-\n"),
    ] {
        fs::write(directory.path().join(path), text).expect("a file");
    }
    let objects = kustomized(directory.path()).await.expect("manifests");
    let at = |kind: &str, pointer: &str| -> Value {
        let object = objects.iter().find(|object| object["kind"] == kind).expect("an object of this kind");
        object.pointer(pointer).expect("a member").clone()
    };
    let pod = "/spec/jobTemplate/spec/template/spec";
    let expected = [
        ("ComposioOrganization", "/spec/apiKeySecretRef/name", "blue-org-key"),
        ("ComposioOrganization", "/spec/endpoint/caBundleRef/name", "blue-ca"),
        ("ComposioProject", "/spec/organizationRef/name", "blue-eu"),
        ("ComposioProject", "/spec/adopt/secretRef/name", "blue-old-key"),
        ("DaemonSet", "/spec/template/spec/initContainers/0/envFrom/0/secretRef/name", "blue-shop"),
        ("DaemonSet", "/spec/template/spec/volumes/0/projected/sources/0/secret/name", "blue-shop"),
        ("CronJob", &format!("{pod}/containers/0/env/0/valueFrom/secretKeyRef/name"), "blue-shop"),
        ("CronJob", &format!("{pod}/containers/0/env/1/valueFrom/secretKeyRef/name"), "somebody-elses"),
        ("CronJob", &format!("{pod}/volumes/0/secret/secretName"), "blue-shop"),
    ];
    for (kind, pointer, name) in expected {
        assert_eq!(at(kind, pointer), name, "{kind} {pointer}");
    }
}

#[tokio::test]
async fn the_clusters_that_share_an_organization_have_templates_that_cannot_meet() {
    let mut templates = Vec::new();
    for cluster in ["dev", "stage", "prod"] {
        let place = Path::new(EXAMPLES).join("clusters").join(cluster);
        let objects = kustomized(&place.join("organization")).await.expect("manifests");
        let [organization] = &objects[..] else { panic!("{cluster}: {objects:?}") };
        let template = organization["spec"]["projectNameTemplate"].as_str().expect("a template");
        templates.push(template.to_owned());
        let objects = kustomized(&place.join("shop")).await.expect("manifests");
        let project = objects.iter().find(|object| object["kind"] == "ComposioProject").expect("a project");
        let expected = if cluster == "dev" { Value::from("Delete") } else { Value::Null };
        assert_eq!(project["spec"]["deletionPolicy"], expected, "{cluster}");
    }
    assert_eq!(templates, ["dev-{name}", "stage-{name}", "prod-{name}"]);
}
