//! What an organization can do, as far as calls have shown it: whether its settings endpoint answers (API 7.3) and whether it
//! issues keys anew (API 5.6). Shared by all projects of the organization: what the first one finds, all believe.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::sync::{Mutex as Turn, MutexGuard};

use crate::composio::BootInstant;
use crate::crd::{CapabilitiesStatus, CapabilityState, CapabilityStatus};
use crate::domain::world::Capability;

/// How long an endpoint that is gone is not tried again.
const REPROBE: Duration = Duration::from_hours(6);
/// The same where only the status of an earlier process says that it is gone.
const REPROBE_HINT: Duration = Duration::from_hours(1);
/// How long others wait for the one that finds out; an endpoint that hangs must not hold everybody up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of one organization.
#[derive(Default)]
pub struct Capabilities {
    /// The settings endpoint.
    pub settings: Ability,
    /// The issue of a new key for a project.
    pub regenerate_key: Ability,
}

/// Something that an organization has or lacks.
#[derive(Default)]
pub struct Ability {
    known: Mutex<Option<Known>>,
    turn: Turn<()>,
}

#[derive(Clone, Copy)]
struct Known {
    is_available: bool,
    /// Where it is not available: when it may be tried again.
    until: BootInstant,
}

impl Ability {
    fn known(&self) -> Option<Known> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known; after six hours of absence it is in doubt, so that it is tried again.
    pub fn get(&self) -> Capability {
        match self.known() {
            None => Capability::Unknown,
            Some(Known { is_available: true, .. }) => Capability::Available,
            Some(known) if known.until.remaining().is_zero() => Capability::Doubtful,
            Some(_) => Capability::Unavailable,
        }
    }

    /// Notes what a call has shown; returns whether that is new.
    pub fn set(&self, is_available: bool) -> bool {
        self.note(is_available, REPROBE)
    }

    fn note(&self, is_available: bool, reprobe: Duration) -> bool {
        let known = Known { is_available, until: BootInstant::now() + reprobe };
        let mut state = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        state.replace(known).is_none_or(|before| before.is_available != is_available)
    }

    /// While it is not known to be available, one at a time finds out. `None` where it is known, or where whoever finds out
    /// takes too long.
    pub async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        if self.get() == Capability::Available {
            return None;
        }
        tokio::time::timeout(PATIENCE, self.turn.lock()).await.ok()
    }

    fn hinted(status: Option<&CapabilityStatus>) -> Self {
        let ability = Self::default();
        if let Some(status) = status {
            ability.note(status.state == CapabilityState::Available, REPROBE_HINT);
        }
        ability
    }

    fn status(&self, before: Option<&CapabilityStatus>) -> Option<CapabilityStatus> {
        let state = match self.known()?.is_available {
            true => CapabilityState::Available,
            false => CapabilityState::Unavailable,
        };
        let same = before.filter(|before| before.state == state).cloned();
        Some(same.unwrap_or_else(|| CapabilityStatus { state, probe_time: Time(Timestamp::now()) }))
    }
}

impl Capabilities {
    /// What an earlier process has found, by the status: a hint, so that a restart does not make every project try an
    /// endpoint that is gone.
    pub fn hinted(status: Option<&CapabilitiesStatus>) -> Self {
        Self {
            settings: Ability::hinted(status.and_then(|status| status.settings.as_ref())),
            regenerate_key: Ability::hinted(status.and_then(|status| status.regenerate_key.as_ref())),
        }
    }

    /// For the status; a state keeps the time at which it was seen first.
    pub fn status(&self, before: Option<&CapabilitiesStatus>) -> Option<CapabilitiesStatus> {
        let settings = self.settings.status(before.and_then(|before| before.settings.as_ref()));
        let regenerate_key =
            self.regenerate_key.status(before.and_then(|before| before.regenerate_key.as_ref()));
        (settings.is_some() || regenerate_key.is_some())
            .then_some(CapabilitiesStatus { settings, regenerate_key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_news_once_and_keeps_its_time() {
        let known = Capabilities::default();
        assert_eq!(known.status(None), None, "nothing is said of what nobody has tried");
        assert!(known.settings.set(false) && !known.settings.set(false));
        assert_eq!(known.settings.get(), Capability::Unavailable);
        let first = known.status(None);
        known.settings.set(false);
        assert_eq!(known.status(first.as_ref()), first);
        assert!(known.settings.set(true));
        assert_ne!(known.status(first.as_ref()), first);
    }

    #[test]
    fn what_an_earlier_process_has_found_is_taken_over_and_written_as_it_was() {
        let known = Capabilities::default();
        known.settings.set(false);
        known.regenerate_key.set(true);
        let status = known.status(None);
        let later = Capabilities::hinted(status.as_ref());
        assert_eq!(later.settings.get(), Capability::Unavailable);
        assert_eq!(later.regenerate_key.get(), Capability::Available);
        assert_eq!(later.status(status.as_ref()), status);
    }

    #[test]
    fn what_was_gone_hours_ago_is_in_doubt_and_still_told_as_gone() {
        let ability = Ability::default();
        ability.note(false, Duration::ZERO);
        assert_eq!(ability.get(), Capability::Doubtful);
        assert_eq!(ability.status(None).map(|status| status.state), Some(CapabilityState::Unavailable));
    }
}
