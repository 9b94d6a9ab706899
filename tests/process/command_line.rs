//! The command line: wrong flags, an address that is in use, no API server, `crds`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use testbed::canary::assert_no_key;

use crate::scene::{BINARY, Scene};

/// The binary with these arguments, in an environment that says nothing to it.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).stdin(Stdio::null()).env_remove("KUBECONFIG").env_remove("RUST_LOG");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COMPOSIO_")) {
        command.env_remove(name);
    }
    command
}

/// Its exit code, and what it says on standard error. Only for what ends by itself.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary");
    assert_eq!(String::from_utf8_lossy(&stdout), "", "an error on standard output");
    assert_no_key("what the binary says", &stderr);
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn a_wrong_flag_is_refused_with_its_name() {
    for (flag, name, why) in [
        ("--namespace=", "--namespace", "is not the name of a namespace"),
        ("--namespace=Composio_System", "--namespace", "is not the name of a namespace"),
        ("--watch-namespaces=team-a,,team-b", "--watch-namespaces", "is not the name of a namespace"),
        ("--watch-namespaces=", "--watch-namespaces", "is not the name of a namespace"),
        ("--workers=0", "--workers", "1..=1024"),
        ("--workers=many", "--workers", "invalid digit"),
        ("--http-address=localhost", "--http-address", "invalid socket address"),
        ("--log-format=xml", "--log-format", "possible values: json, text"),
        ("--request-timeout=soon", "--request-timeout", "30s, 10m or 1h"),
        ("--request-timeout=30", "--request-timeout", "30s, 10m or 1h"),
        ("--settle-margin=-30s", "--settle-margin", "30s, 10m or 1h"),
        ("--observe-interval=0s", "--observe-interval", "30s, 10m or 1h"),
        ("--shutdown-timeout=", "--shutdown-timeout", "30s, 10m or 1h"),
        ("--watch-namespace=team-a", "--watch-namespace", "--watch-namespaces"),
    ] {
        for arguments in [vec![flag], vec!["run", flag]] {
            let (code, words) = refused(&mut command(&arguments));
            assert_eq!(code, Some(2), "{flag}: {words}");
            assert!(words.contains(name) && words.contains(why), "{flag}: {words}");
        }
    }
}

#[test]
fn a_wrong_environment_variable_is_refused_with_the_name_of_its_flag() {
    for (variable, value, flag) in [
        ("COMPOSIO_OPERATOR_NAMESPACE", "", "--namespace"),
        ("COMPOSIO_OPERATOR_WATCH_NAMESPACES", "", "--watch-namespaces"),
        ("COMPOSIO_OPERATOR_WORKERS", "-1", "--workers"),
        ("COMPOSIO_OPERATOR_HTTP_ADDRESS", ":8080", "--http-address"),
        ("COMPOSIO_OPERATOR_LOG_FORMAT", "JSON5", "--log-format"),
        ("COMPOSIO_OPERATOR_REQUEST_TIMEOUT", "1 parsec", "--request-timeout"),
        ("COMPOSIO_OPERATOR_SETTLE_MARGIN", "?", "--settle-margin"),
        ("COMPOSIO_OPERATOR_OBSERVE_INTERVAL", "often", "--observe-interval"),
        ("COMPOSIO_OPERATOR_SHUTDOWN_TIMEOUT", "0s", "--shutdown-timeout"),
    ] {
        let (code, words) = refused(command(&[]).env(variable, value));
        assert_eq!(code, Some(2), "{variable}: {words}");
        assert!(words.contains(flag), "{variable}: {words}");
    }
}

#[test]
fn a_flag_in_front_of_the_subcommand_is_refused_instead_of_ignored() {
    let (code, words) = refused(&mut command(&["--workers=3", "run"]));
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("--workers") && words.contains("run"), "{words}");
}

#[test]
fn without_an_api_server_it_says_what_to_do() {
    let (code, words) = refused(command(&[]).env("KUBECONFIG", "/nowhere/kubeconfig"));
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("/nowhere/kubeconfig") && words.contains("set KUBECONFIG"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_address_ends_with_an_error_that_names_it() {
    let mut scene = Scene::start().await;
    let address = scene.child.address().to_string();
    let mut second = command(&["--http-address", &address]);
    second.env("KUBECONFIG", scene.world.control_plane.kubeconfig_path());
    let (code, words) = tokio::task::spawn_blocking(move || refused(&mut second)).await.expect("its end");
    assert_eq!(code, Some(1), "{words}");
    let expected = format!("--http-address {address} cannot be used: ");
    assert!(words.contains(&expected) && words.contains("in use"), "{words}");
    assert_eq!(
        scene.child.get("/readyz").await,
        Ok((200, "ok\n".to_owned())),
        "the first one is not disturbed"
    );
    scene.child.signal(Signal::TERM);
    assert_eq!(scene.child.ended().await, Some(0));
    assert!(!scene.child.has_leaked(), "a key is in the log of the binary");
    scene.world.finish(&[]).await;
}

/// The files of a directory by name.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).expect("a file of text"))
    };
    entries.map(read).collect()
}

fn crds() -> BTreeMap<String, String> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crds"))
}

#[test]
fn crds_prints_the_files_of_crds_as_one_stream() {
    let Output { status, stdout, stderr } = command(&["crds"]).output().expect("the binary");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    assert_eq!(String::from_utf8_lossy(&stderr), "");
    let stream = String::from_utf8(stdout).expect("text");
    let mut documents: Vec<&str> = stream.split("---\n").collect();
    documents.sort_unstable();
    let expected = crds();
    let mut expected: Vec<&str> = expected.values().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(documents, expected);
}

#[test]
fn crds_writes_one_file_per_kind_into_a_directory() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crds-{}", std::process::id()));
    let out = directory.to_str().expect("a path that is text");
    let (code, words) = refused(&mut command(&["crds", "--out", out]));
    assert_eq!(code, Some(1), "the directory does not exist");
    assert!(words.contains(out) && words.contains("cannot be written"), "{words}");
    fs::create_dir_all(&directory).expect("a directory");
    let Output { status, stdout, stderr } = command(&["crds", "--out", out]).output().expect("the binary");
    assert!(status.success() && stdout.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    let written = files(&directory);
    fs::remove_dir_all(&directory).expect("a directory that can go");
    assert_eq!(written, crds());
}

#[test]
fn it_says_its_version_and_what_its_flags_are() {
    let version = command(&["--version"]).output().expect("the binary").stdout;
    assert_eq!(
        String::from_utf8_lossy(&version),
        format!("composio-operator {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = command(&["run", "--help"]).output().expect("the binary").stdout;
    let help = String::from_utf8_lossy(&help).into_owned();
    for word in
        ["--namespace", "--watch-namespaces", "--http-address", "COMPOSIO_OPERATOR_HTTP_ADDRESS", "RUST_LOG"]
    {
        assert!(help.contains(word), "no {word} in {help}");
    }
}
