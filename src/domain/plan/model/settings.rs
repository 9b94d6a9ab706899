//! Settings in the model: the calls about them, what a process remembers of its looks, and what others do to them. See
//! `controller::project::apply_settings` and `controller::looks`.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::Model;
use super::remote::Endpoint;
use crate::domain::drift::{DriftPolicy, LookView};
use crate::domain::failure::Failure;
use crate::domain::key::ApiKey;
use crate::domain::plan::{Step, open_settings};
use crate::domain::reason::Reason;
use crate::domain::settings::{Member, Settings};
use crate::domain::world::{Capability, KeyCheck, Pass, SettingsView};

/// Distance between two looks.
const INTERVAL: SignedDuration = SignedDuration::from_mins(10);

/// What a process remembers.
#[derive(Default)]
pub(super) struct Looks {
    /// The last look, or the first pass.
    last: Option<Timestamp>,
    /// It ended with differences, for these wishes.
    tried: Option<(Settings, DriftPolicy)>,
}

impl Model {
    fn wishes(&self) -> (Settings, DriftPolicy) {
        (self.desired.settings.clone(), self.desired.drift.policy)
    }

    pub(super) fn look_view(&mut self) -> LookView {
        let last = *self.looks.last.get_or_insert(self.now);
        let is_due = self.now.duration_since(last) >= INTERVAL;
        LookView { is_due, is_tried: self.looks.tried.as_ref() == Some(&self.wishes()) }
    }

    /// How a pass that has looked has ended.
    pub(super) fn looked(&mut self, pass: &Pass, step: &Step) {
        if pass.has_looked_at_settings() && matches!(step, Step::Done | Step::Stall(..)) {
            let claim = self.claim.as_ref().map(|record| &record.claim);
            let is_open = claim.is_some_and(|claim| !open_settings(&self.desired, claim).is_empty());
            self.looks.tried = is_open.then(|| self.wishes());
        }
    }

    /// Somebody else changes a member in the dashboard.
    pub(super) fn third_sets(&mut self, member: Member) {
        let value = match member {
            Member::SignedUrlFileExpiry => json!(60),
            Member::RequireMcpApiKey | Member::Is2FaEnabled | Member::MaskSecretKeys => json!(false),
            Member::LogVisibility => json!("dont_store_data"),
            Member::LogoUrl | Member::DisplayName | Member::OauthCallbackVerifierUrl => json!("theirs"),
        };
        self.touched.insert(member);
        self.remote.third_sets([(member, value)].into_iter().collect());
    }

    pub(super) fn read_settings(&mut self, key: Option<&ApiKey>, is_patched: bool) -> SettingsView {
        self.remote.calls += 1;
        self.looks.last = Some(self.now);
        let endpoint = self.remote.endpoint;
        let project = key.and_then(|key| self.remote.opened_by(key));
        match project {
            _ if endpoint == Endpoint::Gone => {
                self.desired.settings_endpoint = Capability::Unavailable;
                SettingsView::Unseen
            }
            None => SettingsView::Failed(Failure::terminal(Reason::KeyRejected, "")),
            Some(project) => {
                let observed = project.settings.clone();
                self.desired.settings_endpoint = Capability::Available;
                SettingsView::Seen { observed, is_patched }
            }
        }
    }

    pub(super) fn patch_settings(&mut self, key: Option<&ApiKey>, members: Settings) -> SettingsView {
        self.remote.calls += 1;
        let endpoint = self.remote.endpoint;
        let project = key.and_then(|key| self.remote.opened_by(key));
        match (endpoint, project) {
            (Endpoint::Gone, _) => {
                self.desired.settings_endpoint = Capability::Unavailable;
                SettingsView::Unseen
            }
            (_, None) => SettingsView::Failed(Failure::terminal(Reason::KeyRejected, "")),
            (Endpoint::Ignores, _) => SettingsView::Patched,
            (Endpoint::Available, Some(project)) => {
                project.settings = members.over(&project.settings);
                SettingsView::Patched
            }
        }
    }

    /// The proof of the key where no settings can be read.
    pub(super) fn prove_own_key(&mut self, key: Option<&ApiKey>, pass: &mut Pass, is_routine: bool) {
        self.remote.calls += 1;
        if is_routine {
            self.looks.last = Some(self.now);
        }
        self.turns.insert("the key was proven by itself");
        match key.and_then(|key| self.remote.opened_by(key)) {
            Some(_) => pass.key = KeyCheck::Lives,
            None => pass.saw_settings(SettingsView::Failed(Failure::terminal(Reason::KeyRejected, ""))),
        }
    }
}
