//! Failures by class. The class alone decides requeue, condition and Event; built where the meaning is known, and never
//! turned into text on the way up.

use std::time::Duration;

use super::reason::Reason;

/// Who has to act, and when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Nobody; try again with growing distance.
    Transient,
    /// Nobody; our view was old: look again at once.
    Conflict,
    /// Somebody: the author of the spec or an administrator, as the reason's remedy says.
    Terminal,
    /// Us.
    Bug,
}

/// Why a pass could not be finished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", reason.message(detail))]
pub struct Failure {
    /// Decides what follows.
    pub class: Class,
    /// For conditions, Events and metrics.
    pub reason: Reason,
    /// What exactly happened: redacted words, no secrets.
    pub detail: String,
    /// Not before this.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A request that may succeed when it is repeated.
    pub fn transient(detail: impl Into<String>) -> Self {
        Self {
            class: Class::Transient,
            reason: Reason::TransientFailure,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// Somebody else wrote in between.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self { class: Class::Conflict, ..Self::transient(detail) }
    }

    /// A person has to act, as the reason says.
    pub fn terminal(reason: Reason, detail: impl Into<String>) -> Self {
        Self { class: Class::Terminal, reason, ..Self::transient(detail) }
    }

    /// Something that must not happen.
    pub fn bug(detail: impl Into<String>) -> Self {
        Self { class: Class::Bug, reason: Reason::InternalError, ..Self::transient(detail) }
    }
}

/// Distance to the next try after `failures` in a row (counted from 1): 1 s doubling to 5 min, spread by ±20 % with
/// `spread` in 0..1, never before `retry_after`.
pub fn backoff(failures: u32, spread: f64, retry_after: Option<Duration>) -> Duration {
    let base = Duration::from_secs(1 << failures.saturating_sub(1).min(9)).min(Duration::from_mins(5));
    let jittered = base.mul_f64(0.8 + 0.4 * spread.clamp(0.0, 1.0));
    jittered.max(retry_after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_from_a_second_to_five_minutes() {
        assert_eq!(backoff(1, 0.5, None), Duration::from_secs(1));
        assert_eq!(backoff(4, 0.5, None), Duration::from_secs(8));
        assert_eq!(backoff(100, 0.5, None), Duration::from_mins(5));
        assert_eq!(backoff(1, 0.5, Some(Duration::from_secs(40))), Duration::from_secs(40));
    }
}
