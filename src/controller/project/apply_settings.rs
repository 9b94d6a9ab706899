//! Reading and changing settings, and telling an endpoint that is gone from a key that is dead (API 7.3). What follows
//! is `domain::plan::settings`'s.

use super::execute::Work;
use crate::domain::answer::{CallError, CredentialProblem};
use crate::domain::failure::Failure;
use crate::domain::key::ApiKey;
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::world::{Capability, SettingsView};

impl Work<'_> {
    fn key(&self) -> Result<&ApiKey, Failure> {
        self.record()?.key.as_ref().ok_or_else(|| Failure::bug("settings without a key"))
    }

    pub(super) async fn read_settings(&self, is_patched: bool) -> Result<SettingsView, Failure> {
        let key = self.key()?;
        match self.organization.client.read_settings(key).await {
            Ok(observed) => {
                self.organization.settings_endpoint.set(Capability::Available);
                Ok(SettingsView::Seen { observed, is_patched })
            }
            Err(error) => self.settings_failure(error, is_patched).await,
        }
    }

    pub(super) async fn patch_settings(&self, members: &Settings) -> Result<SettingsView, Failure> {
        let key = self.key()?;
        match self.organization.client.patch_settings(key, members).await {
            // Whatever a 2xx says: the look that follows tells.
            Ok(()) | Err(CallError::Unknown { status: Some(200..=299), .. }) => Ok(SettingsView::Patched),
            Err(CallError::Rejected(words) | CallError::Forbidden(words)) => {
                let detail = format!("{}: {words}", members.fields());
                Ok(SettingsView::Failed(Failure::terminal(Reason::SettingsNotApplied, detail)))
            }
            Err(error) => {
                let words = error.to_string();
                Ok(match self.settings_failure(error, false).await? {
                    // The key lives and the endpoint answers: the change is tried again.
                    SettingsView::Seen { .. } => SettingsView::Failed(Failure::transient(words)),
                    other => other,
                })
            }
        }
    }

    /// Tells an endpoint that is gone from a key that is dead and from a passing fault (API 7.3).
    async fn settings_failure(&self, error: CallError, is_patched: bool) -> Result<SettingsView, Failure> {
        match &error {
            error if is_gone(error) => self.confirmed_gone(is_patched).await,
            CallError::Credential(CredentialProblem::Address, words) => {
                Ok(SettingsView::Failed(Failure::terminal(Reason::AddressNotAllowed, words.clone())))
            }
            CallError::Credential(..) | CallError::Forbidden(_) => {
                self.key_or_endpoint(error, is_patched).await
            }
            _ => Ok(SettingsView::Failed(self.failure(error))),
        }
    }

    /// A second look: what is believed for hours, and of all projects of the organization, is not believed because of one
    /// answer, which may be a passing page of the edge.
    async fn confirmed_gone(&self, is_patched: bool) -> Result<SettingsView, Failure> {
        match self.organization.client.read_settings(self.key()?).await {
            Ok(observed) => {
                self.organization.settings_endpoint.set(Capability::Available);
                Ok(SettingsView::Seen { observed, is_patched })
            }
            Err(error) if is_gone(&error) => {
                self.organization.settings_endpoint.set(Capability::Unavailable);
                Ok(SettingsView::Unseen)
            }
            Err(error) => Ok(SettingsView::Failed(self.failure(error))),
        }
    }

    /// 401 or 403: with a key that works elsewhere it is the endpoint that is gone. A fresh key may be unknown for some
    /// seconds (API 16.11), so that the endpoint is asked once more after the proof.
    async fn key_or_endpoint(&self, error: CallError, is_patched: bool) -> Result<SettingsView, Failure> {
        let record = self.record()?;
        let key = self.key()?;
        match self.organization.client.prove_key(key).await {
            Ok(()) => match self.organization.client.read_settings(key).await {
                Ok(observed) => Ok(SettingsView::Seen { observed, is_patched }),
                Err(CallError::Credential(..) | CallError::Forbidden(_)) => {
                    self.organization.settings_endpoint.set(Capability::Unavailable);
                    Ok(SettingsView::Unseen)
                }
                Err(error) => Ok(SettingsView::Failed(Failure::transient(error.to_string()))),
            },
            Err(CallError::Credential(
                CredentialProblem::ProjectKey | CredentialProblem::ExpiredProjectKey,
                words,
            )) => {
                let issued = record.claim.key().map(|key| key.issued_time);
                let is_fresh = issued
                    .is_some_and(|issued| self.world.settling.now.duration_since(issued).as_secs() < 60);
                let failure = if is_fresh {
                    Failure::transient(words)
                } else {
                    Failure::terminal(Reason::KeyRejected, words)
                };
                Ok(SettingsView::Failed(failure))
            }
            Err(_) => Ok(SettingsView::Failed(Failure::transient(error.to_string()))),
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
