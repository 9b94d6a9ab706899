//! Wrong manifests: each is refused at creation, both by `kubectl create` and by server-side apply, and the words name
//! the field and say what would be right. One file per part of the schema.

mod organizations;
mod projects;
mod secrets;
mod settings;

use serde_json::Value;

use crate::cluster::{Cluster, Way};

/// A manifest with exactly one fault.
struct Wrong {
    manifest: Value,
    /// The path that the message must have.
    field: &'static str,
    /// What the message must say besides; one of them, where the two ways have words of their own.
    says: &'static [&'static str],
}

/// The row of a table.
fn wrong(manifest: Value, field: &'static str, says: &'static [&'static str]) -> Wrong {
    Wrong { manifest, field, says }
}

impl Wrong {
    /// What is not as it should be about this row.
    async fn complaints(&self, cluster: &Cluster) -> Vec<String> {
        let mut complaints = Vec::new();
        for way in [Way::Create, Way::Apply] {
            let spec = self.manifest.to_string();
            match cluster.send(way, &self.manifest, true).await {
                Ok(_) => complaints.push(format!("{way:?} accepts {spec:.300}")),
                Err(message) => {
                    let named = message.contains(self.field);
                    let said = self.says.iter().any(|words| message.contains(words));
                    if !named || !said {
                        complaints.push(format!(
                            "{way:?} of {spec:.300}\n  says {message:.2000}\n  and not {}: {:?}",
                            self.field, self.says
                        ));
                    }
                }
            }
        }
        complaints
    }
}

async fn all_are_refused(name: &str, rows: Vec<Wrong>) {
    let cluster = Cluster::new(name).await;
    let mut complaints = Vec::new();
    for row in &rows {
        complaints.extend(row.complaints(&cluster).await);
    }
    println!("{} wrong manifests", rows.len());
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test]
async fn a_wrong_organization_is_refused_with_the_field_and_what_would_be_right() {
    all_are_refused("organizations", organizations::rows()).await;
}

#[tokio::test]
async fn a_wrong_project_is_refused_with_the_field_and_what_would_be_right() {
    all_are_refused("projects", projects::rows()).await;
}

#[tokio::test]
async fn wrong_settings_are_refused_with_the_field_and_what_would_be_right() {
    all_are_refused("settings", settings::rows()).await;
}

#[tokio::test]
async fn a_wrong_secret_is_refused_with_the_field_and_what_would_be_right() {
    all_are_refused("secrets", secrets::rows()).await;
}
