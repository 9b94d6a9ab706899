//! Settings in words that a spec may use, and their calls. Mirrors `controller::project::apply_settings`.

use composio_operator::domain::failure::Failure;
use composio_operator::domain::key::ApiKey;
use composio_operator::domain::reason::Reason;
use composio_operator::domain::settings::{Member, Settings};
use composio_operator::domain::world::{Capability, SettingsView};
use serde_json::json;

use super::execute::{Work, failure};
use crate::realm::MINUTE;

/// None, some, all that creation requires, and more.
pub(crate) fn of(kind: usize) -> Settings {
    let some = [(Member::DisplayName, json!("Shop"))];
    let required = [
        (Member::Is2FaEnabled, json!(true)),
        (Member::MaskSecretKeys, json!(true)),
        (Member::LogVisibility, json!("show_all")),
    ];
    match kind {
        0 => Settings::default(),
        1 => some.into_iter().collect(),
        2 => required.into_iter().collect(),
        _ => required.into_iter().chain(some).collect(),
    }
}

impl Work<'_> {
    fn project_key(&self) -> Result<&ApiKey, Failure> {
        self.record()?.key.as_ref().ok_or_else(|| Failure::bug("settings without a key"))
    }

    fn set_capability(&self, capability: Capability) {
        self.ctx.process(|process| process.capability = capability);
    }

    pub(super) async fn read_settings(&self, is_patched: bool) -> Result<SettingsView, Failure> {
        let key = self.project_key()?;
        self.note_look();
        let observed = self.ctx.look(|realm| {
            let has_settings = realm.remote.has_settings;
            let project = realm.remote.opened_by(key).map(|project| project.settings.clone());
            (has_settings, project)
        });
        match observed.await.map_err(|error| failure(self.ctx, error)) {
            Err(failure) => Ok(SettingsView::Failed(failure)),
            Ok((false, _)) => {
                self.set_capability(Capability::Unavailable);
                Ok(SettingsView::Unseen)
            }
            Ok((true, Some(observed))) => {
                self.set_capability(Capability::Available);
                Ok(SettingsView::Seen { observed, is_patched })
            }
            Ok((true, None)) => Ok(self.rejected()),
        }
    }

    pub(super) fn note_look(&self) {
        let now = self.ctx.now();
        self.ctx.process(|process| process.looked(&self.desired.uid, now));
    }

    /// A key that is not known: it may be too young.
    fn rejected(&self) -> SettingsView {
        SettingsView::Failed(match self.key_age() < MINUTE {
            true => Failure::transient("the key is not known yet"),
            false => Failure::terminal(Reason::KeyRejected, ""),
        })
    }

    pub(super) async fn patch_settings(&self, members: &Settings) -> Result<SettingsView, Failure> {
        let key = self.project_key()?;
        let patched = self.ctx.look(|realm| {
            if !realm.remote.has_settings {
                return None;
            }
            let project = realm.remote.opened_by(key)?;
            project.settings = members.clone().over(&project.settings);
            Some(())
        });
        match patched.await.map_err(|error| failure(self.ctx, error)) {
            Err(failure) => Ok(SettingsView::Failed(failure)),
            Ok(Some(())) => Ok(SettingsView::Patched),
            Ok(None) if !self.ctx.with(|realm| realm.remote.has_settings) => {
                self.set_capability(Capability::Unavailable);
                Ok(SettingsView::Unseen)
            }
            Ok(None) => Ok(self.rejected()),
        }
    }
}
