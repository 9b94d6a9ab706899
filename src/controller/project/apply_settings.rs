//! Reading and changing settings, and telling an endpoint that is gone from a key that is dead (API 7.3). What follows
//! is `domain::plan::settings`'s.

use super::execute::Work;
use crate::composio::Client;
use crate::domain::answer::{CallError, CredentialProblem};
use crate::domain::budget::Lane;
use crate::domain::failure::Failure;
use crate::domain::key::ApiKey;
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::world::{Capability, Pass, SettingsView};

impl Work<'_> {
    fn key(&self) -> Result<&ApiKey, Failure> {
        self.record()?.key.as_ref().ok_or_else(|| Failure::bug("settings without a key"))
    }

    /// The look at the settings.
    pub(super) async fn look_at_settings(&self, pass: &mut Pass, lane: Lane) -> Result<(), Failure> {
        self.begin_look();
        let is_patched = pass.settings == SettingsView::Patched;
        let client = self.organization.client.in_lane(lane);
        let view = self.read_settings(&client, is_patched).await?;
        // One that there was no room for was not made.
        if !matches!(&view, SettingsView::Failed(failure) if failure.reason == Reason::Throttled) {
            self.context.looks.looked(&self.desired.uid);
        }
        if let (Lane::Observe, SettingsView::Seen { observed, .. }) = (lane, &view) {
            pass.drifted = self.desired.settings.differing_from(observed);
        }
        pass.saw_settings(view);
        self.note_key(&pass.key);
        Ok(())
    }

    /// While nobody knows whether the endpoint is there, one project at a time finds out, and the others believe it.
    async fn read_settings(&self, client: &Client, is_patched: bool) -> Result<SettingsView, Failure> {
        let key = self.key()?;
        let _turn = self.organization.capabilities.settings.turn().await;
        if self.organization.capabilities.settings.get() == Capability::Unavailable {
            return Ok(SettingsView::Unseen);
        }
        match client.read_settings(key).await {
            Ok(observed) => {
                self.found_endpoint(true);
                Ok(SettingsView::Seen { observed, is_patched })
            }
            Err(error) => self.settings_failure(client, error, is_patched).await,
        }
    }

    pub(super) async fn patch_settings(&self, members: &Settings) -> Result<SettingsView, Failure> {
        let (client, key) = (&self.organization.client, self.key()?);
        match client.patch_settings(key, members).await {
            // Whatever a 2xx says: the look that follows tells.
            Ok(()) | Err(CallError::Unknown { status: Some(200..=299), .. }) => Ok(SettingsView::Patched),
            Err(CallError::Rejected(words) | CallError::Forbidden(words)) => {
                let detail = format!("{}: {words}", members.fields());
                Ok(SettingsView::Failed(Failure::terminal(Reason::SettingsNotApplied, detail)))
            }
            Err(error) => {
                let words = error.to_string();
                Ok(match self.settings_failure(client, error, false).await? {
                    // The key lives and the endpoint answers: the change is tried again.
                    SettingsView::Seen { .. } => SettingsView::Failed(Failure::transient(words)),
                    other => other,
                })
            }
        }
    }

    /// Tells an endpoint that is gone from a key that is dead and from a passing fault (API 7.3).
    async fn settings_failure(
        &self,
        client: &Client,
        error: CallError,
        is_patched: bool,
    ) -> Result<SettingsView, Failure> {
        match &error {
            error if is_gone(error) => self.confirmed_gone(client, is_patched).await,
            CallError::Credential(CredentialProblem::Address, words) => {
                Ok(SettingsView::Failed(Failure::terminal(Reason::AddressNotAllowed, words.clone())))
            }
            // That is this key's, and says nothing of the endpoint for others (API 6).
            CallError::Credential(CredentialProblem::Scope, words) => {
                let detail = format!("not for the project's key, whose scope does not reach it ({words})");
                Ok(SettingsView::Failed(Failure::terminal(Reason::SettingsUnavailable, detail)))
            }
            CallError::Credential(..) | CallError::Forbidden(_) => {
                self.key_or_endpoint(client, error, is_patched).await
            }
            _ => Ok(SettingsView::Failed(self.failure(error))),
        }
    }

    /// A second look: what is believed for hours, and of all projects of the organization, is not believed because of one
    /// answer, which may be a passing page of the edge.
    async fn confirmed_gone(&self, client: &Client, is_patched: bool) -> Result<SettingsView, Failure> {
        match client.read_settings(self.key()?).await {
            Ok(observed) => {
                self.found_endpoint(true);
                Ok(SettingsView::Seen { observed, is_patched })
            }
            Err(error) if is_gone(&error) => {
                self.found_endpoint(false);
                Ok(SettingsView::Unseen)
            }
            // About the project's key, which the next look asks about: not about the organization's.
            Err(error @ (CallError::Credential(..) | CallError::Forbidden(_))) => {
                Ok(SettingsView::Failed(Failure::transient(error.to_string())))
            }
            Err(error) => Ok(SettingsView::Failed(self.failure(error))),
        }
    }

    /// 401 or 403: with a key that works elsewhere it is the endpoint that is gone. A fresh key may be unknown for some
    /// seconds (API 16.11), so that the endpoint is asked once more after the proof.
    async fn key_or_endpoint(
        &self,
        client: &Client,
        error: CallError,
        is_patched: bool,
    ) -> Result<SettingsView, Failure> {
        let key = self.key()?;
        match client.prove_key(key).await {
            Ok(()) => match client.read_settings(key).await {
                Ok(observed) => {
                    self.found_endpoint(true);
                    Ok(SettingsView::Seen { observed, is_patched })
                }
                Err(CallError::Credential(..) | CallError::Forbidden(_)) => {
                    self.found_endpoint(false);
                    Ok(SettingsView::Unseen)
                }
                Err(error) => Ok(SettingsView::Failed(Failure::transient(error.to_string()))),
            },
            Err(CallError::Credential(
                CredentialProblem::ProjectKey | CredentialProblem::ExpiredProjectKey,
                words,
            )) => Ok(SettingsView::Failed(self.rejected(words)?)),
            Err(_) => Ok(SettingsView::Failed(Failure::transient(error.to_string()))),
        }
    }

    /// The key is not known; one that is young may not be known everywhere yet.
    fn rejected(&self, words: String) -> Result<Failure, Failure> {
        Ok(if self.is_key_fresh()? {
            Failure::transient(words)
        } else {
            Failure::terminal(Reason::KeyRejected, words)
        })
    }

    /// What is new of the endpoint is shown on the organization.
    fn found_endpoint(&self, is_there: bool) {
        if self.organization.capabilities.settings.set(is_there) {
            self.context.wake_organization(&self.organization.name);
        }
    }
}

/// An answer that an endpoint gives that does not exist (API 7.3).
fn is_gone(error: &CallError) -> bool {
    match error {
        CallError::NotFound(_) => true,
        CallError::Unknown { status: Some(status), .. } => [200, 404, 405, 410, 501].contains(status),
        _ => false,
    }
}
