//! Schema of the published Secret.

use std::collections::BTreeMap;

use kube::KubeSchema;
use kube::core::{Message, Rule};
use serde::{Deserialize, Deserializer, Serialize};

use super::rules;

/// The published Secret: always in the project's own namespace, of type Opaque.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = entries_not_of_keys())]
pub struct SecretSpec {
    /// Name of the Secret, a DNS subdomain name of at most 253 characters. Default: the name of this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: Option<String>,
    /// Names of the entries with the API key, the project's id and the base URL. They must differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<EntryNamesSpec>,
    /// Further entries: at most 16, each a name and a text of at most 8192 characters in which {apiKey}, {projectId},
    /// {projectName} and {baseUrl} are replaced. Any other {word} is refused; other braces are literal, so that JSON
    /// can be written.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("nullable" = true, "maxProperties" = 16, "additionalProperties" = rules::template_texts()))]
    #[x_kube(validation = rules::entry_names())]
    pub template: BTreeMap<String, String>,
    /// Labels kept on the Secret, at most 32; others on it are left alone. Reserved: composio.dev/,
    /// argocd.argoproj.io/, app.kubernetes.io/managed-by, and kubernetes.io/ with its subdomains other than
    /// app.kubernetes.io/.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("nullable" = true, "maxProperties" = 32, "additionalProperties" = rules::label_values()))]
    #[x_kube(validation = rules::qualified_names(), validation = rules::not_reserved())]
    pub labels: BTreeMap<String, String>,
    /// Annotations kept on the Secret, at most 32 of at most 4096 characters; others on it are left alone. Reserved
    /// are the same names as for labels.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("nullable" = true, "maxProperties" = 32, "additionalProperties" = rules::annotation_values()))]
    #[x_kube(validation = rules::qualified_names(), validation = rules::not_reserved())]
    pub annotations: BTreeMap<String, String>,
}

/// Names of the entries of the published Secret. They must differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = distinct_keys())]
pub struct EntryNamesSpec {
    /// Entry with the project's API key. Default: COMPOSIO_API_KEY.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::entry_name())]
    pub api_key: Option<String>,
    /// Entry with the project's id. Default: COMPOSIO_PROJECT_ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::entry_name())]
    pub project_id: Option<String>,
    /// Entry with the base URL of the API, such as COMPOSIO_BASE_URL. Default: no such entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::entry_name())]
    pub base_url: Option<String>,
}

/// `labels:` with nothing behind it, usual in Helm charts, means none; the API server keeps it as `null`.
pub(super) fn null_as_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// CEL for the names of the entries that `keys` makes: API key, project's id, base URL. `parents` leads to `keys`.
fn names_of_keys(parents: &[&str]) -> [String; 3] {
    [("apiKey", "'COMPOSIO_API_KEY'"), ("projectId", "'COMPOSIO_PROJECT_ID'"), ("baseUrl", "''")]
        .map(|(field, default)| rules::effective("self", &[parents, &[field]].concat(), default))
}

fn entries_not_of_keys() -> Rule {
    let keys = names_of_keys(&["keys"]).join(", ");
    Rule::new(format!("!has(self.template) || self.template.all(name, !(name in [{keys}]))"))
        .message(Message::Expression(format!(
            "'names of entries must differ from those of keys; refused: ' + self.template.filter(name, name in [{keys}])[0]"
        )))
        .field_path(".template")
}

fn distinct_keys() -> Rule {
    let [api_key, project_id, base_url] = names_of_keys(&[]);
    Rule::new(format!("{api_key} != {project_id} && !({base_url} in [{api_key}, {project_id}])")).message(
        "apiKey, projectId and baseUrl must be different names; an absent apiKey is COMPOSIO_API_KEY, an absent \
         projectId is COMPOSIO_PROJECT_ID",
    )
}
