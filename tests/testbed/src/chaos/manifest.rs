//! What a user wants of one ComposioProject: its manifest, and the Secret that has to come of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::schedule::{Change, Policy};

/// Entry of the key where the spec names none.
const KEY_ENTRY: &str = "COMPOSIO_API_KEY";

/// The part of a spec that users change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Spec {
    settings: Option<u32>,
    secret_name: u32,
    entry: u32,
    template: Option<u32>,
    pub(super) is_suspended: bool,
    pub(super) policy: Policy,
}

impl Spec {
    /// What a resource begins with: all that is optional is there in some and absent in others.
    pub(super) fn first(number: u32) -> Self {
        let policy = match number % 5 {
            0 => Policy::Delete,
            1 => Policy::DeleteAndRevoke,
            _ => Policy::Retain,
        };
        let settings = number.is_multiple_of(2).then_some(number);
        Self { settings, template: number.is_multiple_of(3).then_some(number), policy, ..Self::default() }
    }

    pub(super) fn change(&mut self, change: Change) {
        match change {
            Change::Settings(value) => self.settings = Some(value),
            Change::SecretName(value) => self.secret_name = value,
            Change::Entry(value) => self.entry = value,
            Change::Template(value) => self.template = Some(value),
            Change::Suspend(value) => self.is_suspended = value,
            Change::Policy(value) => self.policy = value,
        }
    }

    /// For server-side apply and for creation.
    pub(super) fn manifest(&self, name: &str) -> Value {
        let mut secret = json!({"name": self.secret_name(name)});
        if self.entry > 0 {
            secret["keys"] = json!({"apiKey": self.key_entry(), "baseUrl": "BASE_URL"});
        }
        if let Some(text) = self.template {
            secret["template"] =
                json!({".env": format!("KEY={{apiKey}}\nPROJECT={{projectName}}\nN={text}\n")});
        }
        let mut spec = json!({
            "secret": secret,
            "suspend": self.is_suspended,
            "deletionPolicy": match self.policy {
                Policy::Retain => "Retain",
                Policy::Delete => "Delete",
                Policy::DeleteAndRevoke => "DeleteAndRevoke",
            },
        });
        if let Some(value) = self.settings {
            spec["settings"] = json!({
                "is2FAEnabled": true, "maskSecretKeysInConnectedAccount": true,
                "logVisibilitySetting": "show_all", "displayName": display_name(value),
            });
        }
        json!({
            "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioProject",
            "metadata": {"name": name}, "spec": spec,
        })
    }

    /// Name of the published Secret.
    pub(super) fn secret_name(&self, name: &str) -> String {
        if self.secret_name == 0 { name.to_owned() } else { format!("{name}-key-{}", self.secret_name) }
    }

    fn key_entry(&self) -> String {
        if self.entry == 0 { KEY_ENTRY.to_owned() } else { format!("KEY_{}", self.entry) }
    }

    /// What the project shows to its users; `None`: not managed.
    pub(super) fn display_name(&self) -> Option<String> {
        self.settings.map(display_name)
    }

    /// Entries that the published Secret must have.
    pub(super) fn entries(&self, name: &str, key: &str, id: &str) -> BTreeMap<String, String> {
        let mut entries = BTreeMap::from([
            (self.key_entry(), key.to_owned()),
            ("COMPOSIO_PROJECT_ID".to_owned(), id.to_owned()),
        ]);
        if let Some(text) = self.template {
            entries.insert(".env".to_owned(), format!("KEY={key}\nPROJECT={name}\nN={text}\n"));
        }
        entries
    }
}

fn display_name(value: u32) -> String {
    format!("Shop {value}")
}
