//! The table of rights in docs/security.md: what helm renders, with the comments beside it.

use k8s_openapi::api::rbac::v1::PolicyRule;
use testbed::chart::rendered_text;
use testbed::documents::{assert_part, head, row};

/// A role with its comment, as helm renders it.
struct Explained {
    kind: String,
    name: String,
    namespace: Option<String>,
    why: String,
    rules: Vec<(PolicyRule, String)>,
}

#[test]
fn every_right_of_the_chart_is_explained() {
    let roles = |arguments: &[&str]| -> Vec<Explained> {
        let text = rendered_text("composio-system", arguments).expect("the chart");
        text.split("\n---\n").filter_map(role).collect()
    };
    let (everywhere, some, released) =
        (roles(&[]), roles(&["--set=watchNamespaces={team-a}"]), roles(&["--set=release.onDelete=true"]));
    let is_known =
        |role: &&Explained| everywhere.iter().any(|known| known.name == role.name && known.kind == role.kind);
    let is_for_people = |role: &&Explained| ["-view", "-edit"].iter().any(|end| role.name.ends_with(end));
    let parts: [(&str, Vec<&Explained>); 4] = [
        ("By default:", everywhere.iter().filter(|role| !is_for_people(role)).collect()),
        (
            "With `watchNamespaces: [team-a]`, instead of the ClusterRoles:",
            some.iter().filter(|role| !is_known(role)).collect(),
        ),
        (
            "With `release.onDelete`, for the Job after an uninstall and while it runs:",
            released.iter().filter(|role| !is_known(role)).collect(),
        ),
        (
            "For people (`rbac.aggregate`), added to the standard roles:",
            everywhere.iter().filter(is_for_people).collect(),
        ),
    ];
    let mut text = String::new();
    for (title, roles) in parts {
        assert!(!roles.is_empty(), "{title} nothing");
        text = text + title + "\n\n" + &table(&roles) + "\n";
    }
    assert_part("docs/security.md", "rights", "rbac", &text);
}

fn table(roles: &[&Explained]) -> String {
    let mut table = head(&["Where", "Resources", "Verbs", "Why"]);
    for role in roles {
        let place =
            role.namespace.as_ref().map_or("everywhere".to_owned(), |namespace| format!("`{namespace}`"));
        let of_role = [
            format!("**{place}**: {} `{}`", role.kind, role.name),
            String::new(),
            String::new(),
            role.why.clone(),
        ];
        row(&mut table, &of_role);
        for (rule, why) in &role.rules {
            let all = |names: &Option<Vec<String>>| names.clone().unwrap_or_default();
            let groups = all(&rule.api_groups).join(", ");
            let group = if groups.is_empty() { String::new() } else { format!(" of {groups}") };
            let names = all(&rule.resource_names).join("`, `");
            let names = if names.is_empty() { String::new() } else { format!(", only `{names}`") };
            let resources = format!("`{}`{group}{names}", all(&rule.resources).join("`, `"));
            row(&mut table, &[String::new(), resources, rule.verbs.join(", "), why.clone()]);
        }
    }
    table
}

/// A role in a document of YAML; each right of the operator itself has a comment.
fn role(text: &str) -> Option<Explained> {
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    let kind = value("kind: ").filter(|kind| kind.ends_with("Role"))?;
    let (before, rules) = text.split_once("\nrules:\n").expect("a role with rules");
    let (name, namespace) = (value("  name: ").expect("a name"), value("  namespace: "));
    let (mut why, mut explained, mut open) = (Vec::new(), Vec::new(), String::new());
    for line in rules.lines().filter(|line| !line.trim().is_empty()).chain(["# end"]) {
        let comment = line.strip_prefix("# ");
        if (comment.is_some() || line.starts_with("- ")) && !open.is_empty() {
            let rule: Vec<PolicyRule> = serde_saphyr::from_str(&std::mem::take(&mut open)).expect("a rule");
            explained.push((rule.into_iter().next().expect("one rule"), std::mem::take(&mut why).join(" ")));
        }
        match comment {
            Some(text) => why.push(text.to_owned()),
            None => open = open + line + "\n",
        }
    }
    let comments = before
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| !line.starts_with("Source: "));
    let why = comments.collect::<Vec<_>>().join(" ");
    for (rule, reason) in &explained {
        assert!(!reason.is_empty() || !why.is_empty(), "{name} does not say why: {rule:?}");
        let is_the_operators =
            !name.contains("-release") && !name.ends_with("-view") && !name.ends_with("-edit");
        assert!(!reason.is_empty() || !is_the_operators, "{name} does not say why: {rule:?}");
    }
    Some(Explained { kind, name, namespace, why, rules: explained })
}
