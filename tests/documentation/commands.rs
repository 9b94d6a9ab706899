//! Commands that documents show: subcommands and flags are those that the programs have, and resources are called so.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use clap::{CommandFactory, Parser};
use composio_operator::crd;
use composio_operator::process::settings::Cli;
use regex::Regex;
use testbed::documents::{all, read, root};

/// Flags of other programs that documents use; of kubectl, helm and cargo they are in the programs' own help.
const OF_OTHERS: [(&str, &[&str]); 3] = [
    (
        "kubectl",
        &[
            "all-namespaces",
            "cascade",
            "dry-run",
            "filename",
            "for",
            "from-file",
            "label-columns",
            "namespace",
            "output",
            "overwrite",
            "patch",
            "patch-file",
            "prefix",
            "replicas",
            "selector",
            "show-labels",
            "server-side",
            "since",
            "tail",
            "timeout",
            "type",
        ],
    ),
    (
        "helm",
        &[
            "create-namespace",
            "force-conflicts",
            "namespace",
            "reuse-values",
            "set",
            "wait",
            "take-ownership",
            "values",
        ],
    ),
    (
        "cargo",
        &[
            "bin",
            "binary",
            "crds",
            "docs",
            "example",
            "exit",
            "features",
            "json",
            "kubeconfig",
            "minutes",
            "only",
            "out",
            "package",
            "profile",
            "projects",
            "quick",
            "release",
            "seed",
            "target",
            "test",
        ],
    ),
];
/// What kubectl is asked for besides our kinds.
const RESOURCES: [&str; 14] = [
    "crd",
    "crds",
    "deployment",
    "events",
    "lease",
    "namespace",
    "pods",
    "secret",
    "secrets",
    "generic",
    "corg",
    "cproj",
    "deployments",
    "configmap",
];
/// What kubectl does.
const VERBS: [&str; 16] = [
    "annotate",
    "apply",
    "create",
    "delete",
    "describe",
    "explain",
    "get",
    "label",
    "logs",
    "patch",
    "port-forward",
    "replace",
    "rollout",
    "scale",
    "wait",
    "auth",
];

/// What our kinds are called.
static OURS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut ours = BTreeSet::new();
    for definition in crd::all() {
        let names = definition.spec.names;
        ours.extend(names.short_names.into_iter().flatten().chain(names.categories.into_iter().flatten()));
        ours.extend([format!("{}.composio.dev", names.plural), names.plural, names.kind.to_lowercase()]);
    }
    ours
});
static QUOTED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"'[^']*'|"[^"]*""#).expect("a pattern"));

/// The commands of a document: lines that begin with `$`, and code in a line that begins with the name of a program.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let (mut commands, mut is_block) = (Vec::new(), false);
    let inline = Regex::new(r"`((?:kubectl|helm|cargo|composio-operator) [^`]+)`").expect("a pattern");
    let typed = Regex::new(r"^\s*\$ (.+)$").expect("a pattern");
    // Code in a line may go over its end.
    let mut outside = String::new();
    for line in joined.lines() {
        is_block ^= line.trim_start().starts_with("```");
        if let Some(found) = typed.captures(line).filter(|_| is_block) {
            commands.push(found[1].split("  #").next().unwrap_or_default().to_owned());
        } else if !is_block {
            outside = outside + line + " ";
        }
    }
    commands.extend(inline.captures_iter(&outside).map(|found| found[1].to_owned()));
    commands
}

/// The programs of a pipeline, each with its words; what is quoted or filled in is one word.
fn programs(command: &str) -> Vec<Vec<String>> {
    let plain = QUOTED.replace_all(command, "QUOTED");
    let parts = plain.split(" | ").flat_map(|part| part.split(" && ")).flat_map(|part| part.split("; "));
    let words = |part: &str| -> Vec<String> {
        let words = part.split_whitespace().take_while(|word| !word.starts_with(['#', '<', '>']));
        // Environment variables come first.
        words.skip_while(|word| word.contains('=') && !word.starts_with('-')).map(ToOwned::to_owned).collect()
    };
    parts.map(words).filter(|words: &Vec<String>| !words.is_empty()).collect()
}

fn flags(words: &[String]) -> impl Iterator<Item = &str> {
    let long = words.iter().filter_map(|word| word.strip_prefix("--"));
    long.map(|flag| flag.split('=').next().unwrap_or_default()).filter(|flag| !flag.is_empty())
}

/// What is wrong with a command; nothing where it is somebody else's.
fn problem(words: &[String]) -> Option<String> {
    let program = words[0].rsplit('/').next().unwrap_or_default();
    if program == "composio-operator" {
        // `NAME` and the like are for people.
        return Cli::try_parse_from(words.iter().map(|word| word.to_lowercase())).err().and_then(|error| {
            let is_fine = matches!(
                error.kind(),
                clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
            );
            (!is_fine).then(|| error.to_string())
        });
    }
    let (_, known) = OF_OTHERS.iter().find(|(name, _)| *name == program)?;
    if let Some(flag) = flags(words).find(|flag| !known.contains(flag)) {
        return Some(format!("--{flag}"));
    }
    match program {
        "kubectl" => of_kubectl(words),
        "cargo" => of_cargo(words),
        _ => None,
    }
}

/// The verb, and what it is done to.
fn of_kubectl(words: &[String]) -> Option<String> {
    let takes_value = [
        "namespace",
        "output",
        "selector",
        "show-labels",
        "filename",
        "label-columns",
        "for",
        "patch",
        "type",
    ];
    let mut plain = Vec::new();
    let mut rest = words[1..].iter();
    while let Some(word) = rest.next() {
        match word.strip_prefix("--") {
            Some(flag) if takes_value.contains(&flag) => drop(rest.next()),
            Some(_) => {}
            None => plain.push(word.as_str()),
        }
    }
    let verb = plain.first().copied().unwrap_or_default();
    if !VERBS.contains(&verb) {
        return Some(format!("kubectl does not {verb:?}"));
    }
    let is_known = |name: &str| OURS.contains(name) || RESOURCES.contains(&name);
    let target =
        plain.get(1).copied().filter(|_| !["apply", "replace", "auth", "rollout"].contains(&verb))?;
    let kinds = target.split(',').map(|kind| kind.split(['/', '.']).next().unwrap_or_default());
    kinds.filter(|kind| !is_known(kind) && !is_known(target)).map(|kind| format!("no resource {kind}")).next()
}

/// Tests and examples that are run.
fn of_cargo(words: &[String]) -> Option<String> {
    let named = |flag: &str| words.iter().skip_while(move |word| **word != flag).nth(1);
    let exists = |directory: &str, name: &str| {
        let path = root().join(directory);
        path.join(name).is_dir() || path.join(format!("{name}.rs")).is_file()
    };
    let is_missing = |flag: &str, directory: &str| {
        let name = named(flag).filter(|name| !name.starts_with('…'))?;
        (!exists(directory, name)).then(|| format!("no {directory}/{name}"))
    };
    is_missing("--test", "tests").or_else(|| is_missing("--example", "examples"))
}

#[test]
fn every_command_has_the_subcommands_flags_and_resources_that_there_are() {
    let (mut tried, mut problems) = (0, Vec::new());
    for document in all() {
        for command in commands(&read(&document)) {
            for words in programs(&command) {
                tried += 1;
                problems.extend(
                    problem(&words).map(|problem| format!("{document}: {}: {problem}", words.join(" "))),
                );
            }
        }
    }
    assert!(tried > 40, "only {tried} commands were found");
    assert!(problems.is_empty(), "commands that do not work:\n  {}", problems.join("\n  "));
}

#[test]
fn every_flag_that_is_named_exists() {
    let mut known: BTreeSet<String> =
        OF_OTHERS.iter().flat_map(|(_, flags)| *flags).map(|flag| (*flag).to_owned()).collect();
    let command = Cli::command();
    let commands = command.get_subcommands().chain([&command]);
    known.extend(
        commands
            .flat_map(clap::Command::get_arguments)
            .filter_map(|flag| flag.get_long())
            .map(ToOwned::to_owned),
    );
    let flag = Regex::new(r"`--([a-z][a-z-]*)").expect("a pattern");
    let mut unknown = Vec::new();
    for document in all() {
        for found in flag.captures_iter(&read(&document)) {
            if !known.contains(&found[1]) && &found[1] != "help" {
                unknown.push(format!("{document}: --{}", &found[1]));
            }
        }
    }
    assert!(unknown.is_empty(), "flags that there are not:\n  {}", unknown.join("\n  "));
}

#[test]
fn a_command_that_does_not_work_is_found() {
    let wrong = |command: &str| programs(command).iter().find_map(|words| problem(words));
    for command in [
        "kubectl get corgs",
        "kubectl --namespace x annotate cprojects shop a=b",
        "kubectl get pods --wide",
        "composio-operator relase",
        "composio-operator --observe-intervall 10m",
        "cargo test --test create",
        "helm upgrade x --keep-values",
    ] {
        assert!(wrong(command).is_some(), "{command}");
    }
    for command in [
        "kubectl --namespace team-a wait --for=condition=Ready cproj/shop",
        "kubectl get crd composioprojects.composio.dev",
        "composio-operator release --force",
        "cargo test --test secrets -- a_deleted_secret",
        "KUBECONFIG=~/.kube/config target/release/composio-operator --log-format text",
    ] {
        assert_eq!(wrong(command), None, "{command}");
    }
}
