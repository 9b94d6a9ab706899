//! CEL rules that several fields share. A message is read behind the path of its field, as in
//! `spec.secret.name: Invalid value: "Shop": must be …`, so it says what would be right and does not repeat the path.

use kube::core::{Message, Reason, Rule};
use serde_json::{Value, json};

const DNS_SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*";

/// CEL for the value of a field that may be absent, as may its parents: the value, or `default`. Not with `orValue`,
/// behind which the API server no longer knows that strings are bounded, so that the rule is too expensive for it.
pub(super) fn effective(object: &str, path: &[&str], default: &str) -> String {
    let fields: Vec<String> =
        (1..=path.len()).map(|len| format!("{object}.{}", path[..len].join("."))).collect();
    let present = fields.iter().map(|field| format!("has({field})")).collect::<Vec<_>>().join(" && ");
    format!("({present} ? {object}.{} : {default})", path.join("."))
}

/// What counts is the value in force: a field may be stated later as what it was all along, and removed again.
/// `default` is CEL for `self`.
pub(super) fn unchanged(path: &[&str], default: &str) -> Rule {
    let [now, before] =
        ["self", "oldSelf"].map(|object| effective(object, path, &default.replace("self", object)));
    Rule::new(format!("{now} == {before}")).reason(Reason::FieldValueForbidden)
}

/// May be set at any time, and then neither be changed nor removed. For the object that has the field.
pub(super) fn kept(field: &str) -> Rule {
    Rule::new(format!("!has(oldSelf.{field}) || (has(self.{field}) && self.{field} == oldSelf.{field})"))
        .reason(Reason::FieldValueForbidden)
}

/// The name of an object of Kubernetes. The length is the schema's to check.
pub(super) fn object_name() -> Rule {
    Rule::new(format!("self.matches('^{DNS_SUBDOMAIN}$')"))
        .message("must be lower-case letters, digits, dashes and dots, with a letter or digit at both ends, such as shop-composio")
}

/// An id of Composio: opaque, but safe as a part of a path (API 3, "IDs").
pub(super) fn composio_id() -> Rule {
    Rule::new("self.matches('^[A-Za-z0-9_-]{1,128}$')")
        .message("must have characters of [A-Za-z0-9_-] only, such as pr_1a2b3c4d5e6f")
}

/// The name of an entry of a Secret: what the API server accepts there.
pub(super) fn entry_name() -> Rule {
    Rule::new(is_entry_name("self"))
        .message("must have characters of [-._a-zA-Z0-9] only and must not begin with two dots, such as COMPOSIO_API_KEY")
}

fn is_entry_name(name: &str) -> String {
    format!("{name}.matches('^[-._a-zA-Z0-9]+$') && {name} != '.' && !{name}.startsWith('..')")
}

/// For a map whose keys become entries of a Secret.
pub(super) fn entry_names() -> Rule {
    every_key(
        &format!("name.size() <= 253 && {}", is_entry_name("name")),
        "names of entries must have 1 to 253 characters of [-._a-zA-Z0-9] and must not begin with two dots",
    )
}

/// The name of a label or annotation.
pub(super) fn qualified_name() -> Rule {
    Rule::new(is_qualified_name("self")).message(
        "must be such as team or example.com/team, with at most 253 and 63 characters before and after the slash",
    )
}

fn is_qualified_name(name: &str) -> String {
    format!(
        "{name}.matches('^({DNS_SUBDOMAIN}/)?[A-Za-z0-9]([-_.A-Za-z0-9]{{0,61}}[A-Za-z0-9])?$') \
         && {name}.indexOf('/') <= 253"
    )
}

/// For a map whose keys are names of labels or annotations.
pub(super) fn qualified_names() -> Rule {
    every_key(
        &is_qualified_name("name"),
        "names must be such as team or example.com/team, with at most 253 and 63 characters before and after the slash",
    )
}

/// For labels and annotations: what is the operator's own, Argo CD's or Kubernetes' cannot be stated.
pub(super) fn not_reserved() -> Rule {
    every_key(
        "!name.startsWith('composio.dev/') && !name.startsWith('argocd.argoproj.io/') \
         && name != 'app.kubernetes.io/managed-by' \
         && (name.startsWith('app.kubernetes.io/') || !name.matches('^([^/]*[.])?kubernetes[.]io/'))",
        "composio.dev/, argocd.argoproj.io/, kubernetes.io/ with its subdomains and app.kubernetes.io/managed-by \
         are reserved",
    )
}

/// A rule that holds for every key of a map, which `condition` calls `name`. The message goes on with the first key
/// for which it does not, since the path ends at the map. It must have no single quotes.
fn every_key(condition: &str, message: &str) -> Rule {
    Rule::new(format!("self.all(name, {condition})")).message(Message::Expression(format!(
        "'{message}; refused: ' + self.filter(name, !({condition}))[0]"
    )))
}

/// Placeholders of `spec.secret.template`.
const PLACEHOLDERS: &str = "['{apiKey}', '{projectId}', '{projectName}', '{baseUrl}']";

/// Schema of the texts of a template: the rule stands here and not at the map, so that the path names the entry.
pub(super) fn template_texts() -> Value {
    let words = "self.findAll('[{][A-Za-z]+[}]')";
    json!({
        "type": "string",
        "maxLength": 8192,
        "x-kubernetes-validations": [{
            "rule": format!("{words}.all(word, word in {PLACEHOLDERS})"),
            "messageExpression": format!(
                "'knows the placeholders {{apiKey}}, {{projectId}}, {{projectName}} and {{baseUrl}} only; refused: ' + {words}.filter(word, !(word in {PLACEHOLDERS}))[0]"
            ),
        }],
    })
}

/// Schema of the values of labels.
pub(super) fn label_values() -> Value {
    json!({
        "type": "string",
        "maxLength": 63,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^(([A-Za-z0-9][-_.A-Za-z0-9]*)?[A-Za-z0-9])?$')",
            "message": "must be empty, or characters of [-_.A-Za-z0-9] with a letter or digit at both ends",
        }],
    })
}

/// Schema of the values of annotations.
pub(super) fn annotation_values() -> Value {
    json!({"type": "string", "maxLength": 4096})
}
