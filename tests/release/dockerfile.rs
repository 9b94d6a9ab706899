//! The Dockerfile by BuildKit's own linter, and the image that it describes.

use std::path::Path;

use regex::Regex;
use testbed::chart::rendered;
use testbed::dockerfile::{Plan, plan};

use crate::read;

fn ours() -> Plan {
    plan(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("a Dockerfile that BuildKit can read")
}

fn of(dockerfile: &str, ignored: &str) -> Plan {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in [("Dockerfile", dockerfile), (".dockerignore", ignored), ("token", "secret")] {
        std::fs::write(directory.path().join(name), text).expect("a file");
    }
    plan(directory.path()).expect("a plan")
}

#[test]
fn buildkit_has_nothing_against_the_dockerfile() {
    assert_eq!(ours().complaints, Vec::<String>::new());
}

#[test]
fn buildkit_complains_of_what_is_wrong() {
    for (dockerfile, complaint) in [
        ("FROM scratch\nENTRYPOINT /operator\n", "line 2: JSONArgsRecommended"),
        ("from scratch\nUSER 1\nENTRYPOINT [\"/x\"]\n", "line 1: ConsistentInstructionCasing"),
        ("FROM rust\nCOPY --from=$STAGE /a /b\nRUNN true\n", "unknown instruction: RUNN"),
    ] {
        let complaints = of(dockerfile, "").complaints;
        assert!(complaints.iter().any(|told| told.contains(complaint)), "{complaint} in {complaints:?}");
    }
}

#[test]
fn the_image_has_a_binary_the_public_authorities_and_a_licence_and_runs_as_the_user_of_the_chart() {
    let plan = ours();
    let image = plan.stages.last().expect("a last stage");
    assert_eq!(image.base, "scratch");
    let files: Vec<&str> = image.copies.iter().map(|copied| copied.to.as_str()).collect();
    assert_eq!(files, ["/etc/ssl/certs/ca-certificates.crt", "/LICENSE", "/composio-operator"]);
    assert_eq!(plan.image.entrypoint, ["/composio-operator"]);
    let objects = rendered("composio-system", &[]).expect("the chart");
    let is_deployment = |kind: &&kube::core::DynamicObject| {
        kind.types.as_ref().is_some_and(|types| types.kind == "Deployment")
    };
    let pod = &objects.iter().find(is_deployment).expect("a Deployment").data["spec"]["template"]["spec"];
    let (user, group) = (&pod["securityContext"]["runAsUser"], &pod["securityContext"]["runAsGroup"]);
    assert_eq!(plan.image.user, format!("{user}:{group}"));
}

#[test]
fn the_labels_of_the_image_say_what_cargo_says() {
    let (labels, manifest) = (ours().image.labels, read("Cargo.toml"));
    for (label, key) in [("title", "name"), ("description", "description"), ("licenses", "license")] {
        let label = &labels[&format!("org.opencontainers.image.{label}")];
        assert!(
            manifest.contains(&format!("\n{key} = \"{label}\"\n")),
            "{key} is not {label:?} in Cargo.toml"
        );
    }
}

#[test]
fn the_compiler_of_the_image_is_pinned_and_not_too_old() {
    let plan = ours();
    let base = &plan.stages.first().expect("a first stage").base;
    let version = Regex::new(r"^rust:1\.(\d+)\.\d+-").expect("a pattern").captures(base);
    let minor: u32 = version.unwrap_or_else(|| panic!("{base} is not pinned"))[1].parse().expect("a number");
    let manifest = read("Cargo.toml");
    let least = Regex::new(r#"rust-version = "1\.(\d+)""#)
        .expect("a pattern")
        .captures(&manifest)
        .expect("a version");
    assert!(minor >= least[1].parse().expect("a number"), "{base} is older than rust-version");
}

#[test]
fn a_builder_is_sent_sources_only() {
    let context = ours().context;
    for needed in
        ["Cargo.toml", "Cargo.lock", "src/main.rs", ".cargo/config.toml", "tests/testbed/Cargo.toml"]
    {
        assert!(context.iter().any(|path| path == needed), "{needed} is not sent");
    }
    // The one file of each test that Cargo.toml names is looked for where the workspace is read.
    let named = r"^(src/.+|tests/testbed/src/.+|tests/testbed/Cargo\.toml|tests/\w+/main\.rs|\.cargo/config\.toml|Cargo\.(toml|lock)|LICENSE)$";
    let named = Regex::new(named).expect("a pattern");
    let other: Vec<&String> = context.iter().filter(|path| !named.is_match(path)).collect();
    assert!(other.is_empty(), "{other:?} is sent as well");
    assert!(
        of("FROM scratch\n", "").context.contains(&"token".to_owned()),
        "what is not ignored is not seen"
    );
    assert!(
        !of("FROM scratch\n", "*\n!Dockerfile\n").context.contains(&"token".to_owned()),
        "what is ignored is seen"
    );
}
