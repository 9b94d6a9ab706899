//! Settings of the process and values of the chart.

use clap::{Arg, CommandFactory};
use composio_operator::process::settings::Cli;
use serde_json::Value;
use testbed::documents::{assert_part, head, read, row};

#[test]
fn every_value_of_the_chart_is_explained() {
    let text = read("charts/composio-operator/values.yaml");
    let defaults: Value = serde_saphyr::from_str(&text).expect("YAML");
    let mut table = head(&["Value", "Default", "Meaning"]);
    let explained = explained_values(&text);
    for (path, meaning) in &explained {
        let default = defaults.pointer(&format!("/{}", path.replace('.', "/"))).expect("a value");
        row(&mut table, &[format!("`{path}`"), format!("`{default}`"), meaning.clone()]);
    }
    for leaf in leaves(&defaults, "") {
        let is_under = |(path, _): &(String, String)| leaf == *path || leaf.starts_with(&format!("{path}."));
        assert!(explained.iter().any(is_under), "{leaf} has no comment that begins with `# --`");
    }
    assert_part("charts/composio-operator/README.md", "values", "documentation", &table);
}

/// The values that a comment `# --` stands above, by their paths.
fn explained_values(text: &str) -> Vec<(String, String)> {
    let (mut stack, mut explained, mut meaning) = (Vec::<(usize, &str)>::new(), Vec::new(), String::new());
    for line in text.lines() {
        let (trimmed, indent) = (line.trim_start(), line.len() - line.trim_start().len());
        if let Some(begin) = trimmed.strip_prefix("# -- ") {
            begin.clone_into(&mut meaning);
        } else if let Some(more) = trimmed.strip_prefix("# ").filter(|_| !meaning.is_empty()) {
            meaning = format!("{meaning} {more}");
        } else if let Some((key, _)) = trimmed.split_once(':').filter(|_| !trimmed.starts_with('#')) {
            stack.retain(|(outer, _)| *outer < indent);
            stack.push((indent, key));
            let path: Vec<&str> = stack.iter().map(|(_, key)| *key).collect();
            explained.extend((!meaning.is_empty()).then(|| (path.join("."), std::mem::take(&mut meaning))));
        }
    }
    explained
}

/// Paths of everything that is not a mapping with members.
fn leaves(value: &Value, path: &str) -> Vec<String> {
    match value.as_object().filter(|members| !members.is_empty()) {
        None => vec![path.trim_start_matches('.').to_owned()],
        Some(members) => {
            members.iter().flat_map(|(name, value)| leaves(value, &format!("{path}.{name}"))).collect()
        }
    }
}

#[test]
fn every_setting_is_explained() {
    let mut table = head(&["Flag", "Environment", "Default", "Meaning"]);
    let command = Cli::command();
    for setting in command.get_arguments().filter(|setting| setting.get_env().is_some()) {
        let [flag, environment, default] = [flag(setting), environment(setting), default(setting)];
        let help = setting.get_help().map(ToString::to_string).unwrap_or_default();
        row(&mut table, &[flag, environment, default, help]);
    }
    assert_part("docs/settings.md", "settings", "documentation", &table);
}

fn flag(setting: &Arg) -> String {
    let value = setting.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
    format!("`--{} {}`", setting.get_long().unwrap_or_default(), value.unwrap_or_default())
}

fn environment(setting: &Arg) -> String {
    setting.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default()
}

fn default(setting: &Arg) -> String {
    let values: Vec<_> = setting.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if values.is_empty() { String::new() } else { format!("`{}`", values.join(",")) }
}
