//! Conditions from outcomes, by the conventions of kstatus: `Ready` is always there, `Reconciling` and `Stalled` only
//! when true. No retry times or counters, which would turn an outage into a storm of writes.

use super::failure::{Class, Failure};
use super::plan::Step;
use super::reason::Reason;

/// How a pass ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// By a step that is not an action.
    Step(Step),
    /// By a failure, the n-th in a row.
    Failed(Failure, u32),
}

/// One condition, without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `Ready`, `Reconciling`, `Stalled`, `SecretPublished` or `SettingsSynced`.
    pub kind: &'static str,
    /// `True` or `False`.
    pub status: bool,
    /// Reason.
    pub reason: Reason,
    /// Sentence for a person.
    pub message: String,
}

/// What is known of one aspect at the end of a pass; `None` where it was not looked at.
pub type Known = Option<(bool, Reason, String)>;

/// How many failures in a row it takes to take `Ready` away.
const PATIENCE: u32 = 3;

impl Outcome {
    /// Reason and detail; `None` for an outcome that writes nothing.
    pub fn reason(&self) -> Option<(Reason, &str)> {
        match self {
            Outcome::Step(Step::Ignore | Step::Do(_) | Step::Fail(_)) => None,
            Outcome::Step(Step::Done) => Some((Reason::Reconciled, "")),
            Outcome::Step(Step::Wait(reason, detail, _) | Step::Stall(reason, detail)) => {
                Some((*reason, detail))
            }
            Outcome::Failed(failure, _) => Some((failure.reason, &failure.detail)),
        }
    }

    /// A person has to act.
    pub fn stalls(&self) -> bool {
        match self {
            Outcome::Step(Step::Stall(..)) => true,
            Outcome::Step(_) => false,
            Outcome::Failed(failure, _) => matches!(failure.class, Class::Terminal | Class::Bug),
        }
    }

    /// Leaves a `Ready=True` as it is: routine work, and failures that may pass.
    fn keeps_ready(&self) -> bool {
        match self {
            Outcome::Failed(failure, in_a_row) => match failure.class {
                Class::Conflict => true,
                Class::Transient => *in_a_row < PATIENCE || failure.reason == Reason::SecretRefused,
                Class::Terminal | Class::Bug => false,
            },
            Outcome::Step(Step::Wait(reason, ..)) => {
                matches!(
                    reason,
                    Reason::Suspended | Reason::Throttled | Reason::OrganizationNotReady | Reason::Rotating
                )
            }
            Outcome::Step(_) => false,
        }
    }

    /// Says nothing of whether the project is there, so that one which was reported missing stays so. Sweeps count on it:
    /// what they know already is no news, also after an outage and a restart.
    fn keeps_missing(&self) -> bool {
        match self {
            Outcome::Failed(failure, _) => matches!(failure.class, Class::Conflict | Class::Transient),
            Outcome::Step(Step::Wait(reason, ..)) => {
                matches!(reason, Reason::Throttled | Reason::OrganizationNotReady)
            }
            Outcome::Step(_) => false,
        }
    }
}

/// What the status says before a pass ends.
#[derive(Debug, Clone, Default)]
pub struct Last {
    /// The last `Ready` where it may stay: it was true for a published, current key, or the project was missing.
    pub ready: Known,
    /// It stalls, for the present spec.
    pub is_stalled: bool,
}

/// The conditions after a pass, in a fixed order. `None`: leave everything as it is.
pub fn conditions(outcome: &Outcome, last: Last, secret: Known, settings: Known) -> Option<Vec<Condition>> {
    let (reason, detail) = outcome.reason()?;
    let Last { ready, is_stalled } = last;
    // A look that there was no room for has shown nothing new of what a person has to do.
    if is_stalled && matches!(outcome, Outcome::Step(Step::Wait(Reason::Throttled, ..))) {
        return None;
    }
    let message = reason.message(detail);
    let kept = ready.filter(|(was_ready, ..)| match was_ready {
        true => outcome.keeps_ready(),
        false => outcome.keeps_missing(),
    });
    let keeps_ready = matches!(kept, Some((true, ..)));
    if keeps_ready
        && matches!(outcome, Outcome::Failed(failure, _) if failure.reason == Reason::TransientFailure)
    {
        return None;
    }
    let condition = |kind, status, reason, message| Condition { kind, status, reason, message };
    let is_done = matches!(outcome, Outcome::Step(Step::Done));
    let ready = if is_done {
        condition("Ready", true, Reason::Reconciled, message.clone())
    } else if keeps_ready && reason == Reason::Suspended {
        condition("Ready", true, reason, message.clone())
    } else if let Some((status, was, words)) = kept {
        condition("Ready", status, was, words)
    } else {
        condition("Ready", false, reason, message.clone())
    };
    let mut all = vec![ready];
    if outcome.stalls() {
        all.push(condition("Stalled", true, reason, message));
    } else if !is_done && reason != Reason::Suspended {
        all.push(condition("Reconciling", true, reason, message));
    }
    for (kind, known) in [("SecretPublished", secret), ("SettingsSynced", settings)] {
        all.extend(known.map(|(status, reason, message)| condition(kind, status, reason, message)));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "it stands where the last Ready is given")]
    fn ready() -> Known {
        Some((true, Reason::Reconciled, "fine".to_owned()))
    }

    fn last(ready: Known) -> Last {
        Last { ready, is_stalled: false }
    }

    #[test]
    fn what_stalls_stays_so_while_there_is_no_room_for_a_look() {
        let waits = Outcome::Step(Step::Wait(Reason::Throttled, String::new(), Duration::ZERO));
        assert_eq!(conditions(&waits, Last { ready: None, is_stalled: true }, None, None), None);
        assert_eq!(kinds(&waits, None), [("Ready", false), ("Reconciling", true)]);
    }

    fn kinds(outcome: &Outcome, ready: Known) -> Vec<(&'static str, bool)> {
        let all = conditions(outcome, last(ready), None, None).unwrap_or_default();
        all.into_iter().map(|condition| (condition.kind, condition.status)).collect()
    }

    #[test]
    fn only_trouble_adds_conditions_beside_ready() {
        let wait = Outcome::Step(Step::Wait(Reason::Creating, String::new(), Duration::ZERO));
        let stall = Outcome::Step(Step::Stall(Reason::NameTaken, "x".into()));
        assert_eq!(kinds(&Outcome::Step(Step::Done), None), [("Ready", true)]);
        assert_eq!(kinds(&wait, None), [("Ready", false), ("Reconciling", true)]);
        assert_eq!(kinds(&stall, ready()), [("Ready", false), ("Stalled", true)]);
    }

    #[test]
    fn ready_does_not_flap_for_the_first_two_transient_failures() {
        let failed = |n| Outcome::Failed(Failure::transient("reset"), n);
        assert_eq!(conditions(&failed(1), last(ready()), None, None), None);
        assert_eq!(conditions(&failed(2), last(ready()), None, None), None);
        assert_eq!(kinds(&failed(3), ready()), [("Ready", false), ("Reconciling", true)]);
        assert_eq!(kinds(&failed(1), None), [("Ready", false), ("Reconciling", true)]);
    }

    #[test]
    fn suspended_keeps_the_last_ready_and_is_neither_stalled_nor_reconciling() {
        let outcome = Outcome::Step(Step::Wait(Reason::Suspended, String::new(), Duration::ZERO));
        assert_eq!(kinds(&outcome, ready()), [("Ready", true)]);
        assert_eq!(kinds(&outcome, None), [("Ready", false)]);
    }

    #[test]
    fn a_missing_project_stays_so_while_nobody_can_look_for_it() {
        let missing = || Some((false, Reason::ProjectMissing, "gone".to_owned()));
        let reason = |outcome: &Outcome| {
            conditions(outcome, last(missing()), None, None)
                .unwrap()
                .into_iter()
                .map(|known| known.reason)
                .next()
        };
        let wait = |reason| Outcome::Step(Step::Wait(reason, String::new(), Duration::ZERO));
        let failed = |reason| Outcome::Failed(Failure { reason, ..Failure::transient("reset") }, 9);
        for why in [Reason::OrganizationNotReady, Reason::Throttled] {
            assert_eq!(reason(&wait(why)), Some(Reason::ProjectMissing));
        }
        for why in [Reason::OrganizationNotReady, Reason::TransientFailure, Reason::Throttled] {
            assert_eq!(reason(&failed(why)), Some(Reason::ProjectMissing));
            assert_eq!(kinds(&failed(why), missing()), [("Ready", false), ("Reconciling", true)]);
        }
        let stall = Outcome::Step(Step::Stall(Reason::NameTaken, "x".into()));
        assert_eq!(reason(&stall), Some(Reason::NameTaken));
        assert_eq!(reason(&Outcome::Step(Step::Done)), Some(Reason::Reconciled));
    }

    #[test]
    fn an_outcome_that_is_not_ours_writes_nothing() {
        assert_eq!(conditions(&Outcome::Step(Step::Ignore), last(ready()), None, None), None);
    }
}
