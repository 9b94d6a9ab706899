//! Evidence: what the API itself says now about creations whose outcome is unknown, and the one verdict on it
//! (docs/how-it-works.md, "When an answer is lost"). Pure; the walk over the list is `controller`'s.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::claim::Attempt;
use super::ids::ProjectId;

/// How far before the recorded start a project of ours may seem to be born: clocks of one service differ a little.
const EARLY: SignedDuration = SignedDuration::from_secs(5);
/// A key that creation made is as old as its project, give or take this.
const BORN_TOGETHER: SignedDuration = SignedDuration::from_secs(10);

/// A complete walk over the organization's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// It began when the youngest attempt was settled. What an earlier one shows may be from before a late commit, however
    /// long its answers took.
    pub is_settled: bool,
    /// The living project of exactly this name, if the list has one.
    pub found: Option<Found>,
}

/// A living project of exactly the wanted name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub id: ProjectId,
    /// The API's `created_at`.
    pub created_time: Timestamp,
    /// The id stands in a claim already.
    pub is_claimed: bool,
    /// One read by id; `None` where it was not worth one, or the read did not know the project.
    pub detail: Option<Detail>,
}

/// What one read by id shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// Birth of each living key.
    pub keys: Vec<Timestamp>,
    /// Somebody has subscribed to its events.
    pub is_used: bool,
}

/// The two clocks of a settle time, and what earlier walks of this process saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settling {
    /// Server time now.
    pub now: Timestamp,
    /// Longest time from an attempt's start to its last possible effect.
    pub settle: Duration,
    /// Since this process first saw the youngest attempt, by a clock that also runs while the machine is suspended.
    pub seen_for: Duration,
    /// Since the first complete walk of this process that found nothing although the youngest attempt was settled; a
    /// walk that finds something, and a new attempt, start it anew. So one walk that overlooks a project proves nothing.
    pub nothing_for: Option<Duration>,
}

/// What is so young may not be known everywhere yet (API 16, 11).
const FRESH: Duration = Duration::from_mins(1);

impl Settling {
    /// Whether a key of this birth may not be known everywhere yet: a minute, or a settle time if that is shorter.
    pub fn is_fresh(&self, issued: Timestamp) -> bool {
        let age = Duration::try_from(self.now.duration_since(issued)).unwrap_or_default();
        age < FRESH.min(self.settle)
    }
}

/// What evidence says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The project is ours.
    Ours(ProjectId, Timestamp),
    /// Not final yet; look again within this time.
    Wait(Duration),
    /// Nothing was found: announce another attempt. The youngest window stays open; attempts before that are proven to
    /// have come to nothing, by the walk that allowed the youngest one and by this one, a settle time later.
    Again,
    /// Nothing has come of any attempt, and nothing will.
    Absent,
    /// Somebody else's, or a name that the API keeps reserved (`None`).
    Taken(Option<Timestamp>),
}

impl Settling {
    /// Time until the youngest attempt is settled by both clocks; zero when it is.
    pub fn left(&self, attempts: &[Attempt]) -> Duration {
        let youngest = attempts.iter().map(|attempt| attempt.started_time).max();
        youngest.map_or(Duration::ZERO, |youngest| self.left_of(youngest))
    }

    /// The same of the last announcement of any kind, which was made at `started_time`.
    pub fn left_of(&self, started_time: Timestamp) -> Duration {
        let since_start = Duration::try_from(self.now.duration_since(started_time)).unwrap_or(Duration::ZERO);
        self.settle.saturating_sub(since_start.min(self.seen_for))
    }
}

impl Settling {
    /// Which walks count as evidence now: whether they begin when the youngest attempt is settled, and how long ago they may
    /// have begun. Walks are shared, so that a thousand uncertain claims do not cost a thousand of them.
    pub fn counts_from(&self, attempts: &[Attempt]) -> (bool, Duration) {
        let Some(settled_for) = self.settled_for(attempts) else {
            return (false, self.settle / 8);
        };
        // The second of two empty walks begins a settle time after the first.
        let second = self.nothing_for.map(|nothing_for| nothing_for.saturating_sub(self.settle));
        (true, second.map_or(settled_for, |second| second.min(settled_for)))
    }

    /// How long the youngest attempt has been settled by both clocks.
    fn settled_for(&self, attempts: &[Attempt]) -> Option<Duration> {
        let Some(youngest) = attempts.iter().map(|attempt| attempt.started_time).max() else {
            return Some(Duration::ZERO);
        };
        let since_start = Duration::try_from(self.now.duration_since(youngest)).unwrap_or(Duration::ZERO);
        since_start.min(self.seen_for).checked_sub(self.settle)
    }
}

/// Whether the birth of a project lies in the window of one of the attempts.
pub fn in_window(attempts: &[Attempt], created_time: Timestamp, settle: Duration) -> bool {
    let late = SignedDuration::try_from(settle).unwrap_or(SignedDuration::MAX);
    attempts.iter().any(|attempt| {
        let after_start = created_time.duration_since(attempt.started_time);
        !began_after(attempt, created_time) && after_start <= late
    })
}

/// Whether an attempt began after the birth of a project, and so did not make it.
pub fn began_after(attempt: &Attempt, created_time: Timestamp) -> bool {
    created_time.duration_since(attempt.started_time) < -EARLY
}

/// Whether a key that is listed may be the one that an unanswered regenerate has issued; the first of those that are open
/// was announced at `first`, the last one at `last`. A regenerate leaves no other key, so that one beside it is not ours.
pub fn may_be_unseen(keys: &[Timestamp], first: Timestamp, last: Timestamp, settle: Duration) -> bool {
    let late = SignedDuration::try_from(settle).unwrap_or(SignedDuration::MAX);
    matches!(keys, [born] if born.duration_since(first) >= -EARLY && born.duration_since(last) <= late)
}

/// Exactly one key, born with the project, and no sign of use.
fn is_untouched(found: &Found, detail: &Detail) -> bool {
    let born_together = |key: &Timestamp| key.duration_since(found.created_time).abs() <= BORN_TOGETHER;
    matches!(detail.keys.as_slice(), [key] if born_together(key)) && !detail.is_used
}

/// Judges what a complete walk found. Only [`Verdict::Ours`] is final before the settle time of the youngest attempt.
pub fn judge(attempts: &[Attempt], evidence: &Evidence, settling: &Settling) -> Verdict {
    let left = settling.left(attempts);
    let left = if evidence.is_settled { left } else { left.max(settling.settle / 8) };
    match &evidence.found {
        Some(found) => {
            let is_candidate = in_window(attempts, found.created_time, settling.settle) && !found.is_claimed;
            match &found.detail {
                Some(detail) if is_candidate && is_untouched(found, detail) => {
                    Verdict::Ours(found.id.clone(), found.created_time)
                }
                // The list knows it and the read does not: one of the two is behind.
                None if is_candidate => Verdict::Wait(left.max(settling.settle / 8)),
                _ if left > Duration::ZERO => Verdict::Wait(left),
                _ => Verdict::Taken(Some(found.created_time)),
            }
        }
        None if left > Duration::ZERO => Verdict::Wait(left),
        None => {
            let is_proven = settling.nothing_for.is_some_and(|since| since >= settling.settle);
            match (is_proven, attempts.iter().any(|attempt| attempt.conflict)) {
                (true, true) => Verdict::Taken(None),
                (true, false) => Verdict::Absent,
                // A 409 and an empty list: wait until the second empty walk is a settle time away from the first.
                (false, true) => {
                    Verdict::Wait(settling.settle.saturating_sub(settling.nothing_for.unwrap_or_default()))
                }
                (false, false) => Verdict::Again,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_mins(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn attempt(second: i64) -> Attempt {
        Attempt { number: 1, started_time: at(second), conflict: false }
    }

    fn settling(second: i64, nothing_for: Option<u64>) -> Settling {
        Settling {
            now: at(second),
            settle: SETTLE,
            seen_for: Duration::from_secs(second.unsigned_abs()),
            nothing_for: nothing_for.map(Duration::from_secs),
        }
    }

    fn found(born: i64, keys: &[i64]) -> Evidence {
        let detail = Detail { keys: keys.iter().map(|second| at(*second)).collect(), is_used: false };
        let id = ProjectId::try_from("pr_1".to_owned()).unwrap();
        let found = Found { id, created_time: at(born), is_claimed: false, detail: Some(detail) };
        Evidence { is_settled: true, found: Some(found) }
    }

    fn nothing() -> Evidence {
        Evidence { is_settled: true, found: None }
    }

    #[test]
    fn an_untouched_project_born_in_the_window_is_ours_at_once() {
        let verdict = judge(&[attempt(0)], &found(1, &[1]), &settling(2, None));
        assert!(matches!(verdict, Verdict::Ours(..)), "{verdict:?}");
    }

    #[test]
    fn a_project_with_a_second_key_a_strange_birth_or_a_claim_is_never_ours() {
        let mut claimed = found(1, &[1]);
        claimed.found.as_mut().unwrap().is_claimed = true;
        let mut used = found(1, &[1]);
        used.found.as_mut().unwrap().detail.as_mut().unwrap().is_used = true;
        for foreign in [found(1, &[1, 2]), found(1, &[]), found(1, &[40]), found(-6, &[-6]), claimed, used] {
            assert!(matches!(judge(&[attempt(0)], &foreign, &settling(59, None)), Verdict::Wait(_)));
            assert!(matches!(judge(&[attempt(0)], &foreign, &settling(61, None)), Verdict::Taken(Some(_))));
        }
    }

    #[test]
    fn a_project_that_one_read_does_not_know_is_not_judged() {
        let mut behind = found(1, &[1]);
        behind.found.as_mut().unwrap().detail = None;
        assert!(matches!(judge(&[attempt(0)], &behind, &settling(500, None)), Verdict::Wait(_)));
    }

    #[test]
    fn nothing_is_no_verdict_before_the_settle_time_by_both_clocks() {
        assert_eq!(
            judge(&[attempt(0)], &nothing(), &settling(59, Some(58))),
            Verdict::Wait(Duration::from_secs(1))
        );
        let restarted = Settling { seen_for: Duration::from_secs(1), ..settling(500, None) };
        assert_eq!(judge(&[attempt(0)], &nothing(), &restarted), Verdict::Wait(Duration::from_secs(59)));
    }

    #[test]
    fn two_empty_walks_a_settle_time_apart_prove_absence_and_one_allows_another_attempt() {
        assert_eq!(judge(&[attempt(0)], &nothing(), &settling(61, Some(60))), Verdict::Absent);
        assert_eq!(judge(&[attempt(0)], &nothing(), &settling(61, Some(0))), Verdict::Again);
    }

    #[test]
    fn a_walk_that_began_before_the_settle_time_and_ended_after_it_decides_nothing() {
        for evidence in [nothing(), found(-100, &[-100])] {
            let early = Evidence { is_settled: false, ..evidence };
            assert_eq!(judge(&[attempt(0)], &early, &settling(61, None)), Verdict::Wait(SETTLE / 8));
        }
    }

    #[test]
    fn a_conflict_with_nothing_in_the_list_is_a_reserved_name_only_after_two_walks() {
        let conflict = Attempt { conflict: true, ..attempt(0) };
        assert!(matches!(
            judge(std::slice::from_ref(&conflict), &nothing(), &settling(61, Some(3))),
            Verdict::Wait(_)
        ));
        assert_eq!(judge(&[conflict], &nothing(), &settling(61, Some(60))), Verdict::Taken(None));
    }

    #[test]
    fn a_shared_walk_counts_if_it_began_settled_and_a_settle_time_after_the_first_empty_one() {
        let after = |second: i64, seen_for: u64, nothing_for: Option<u64>| {
            let (seen_for, nothing_for) =
                (Duration::from_secs(seen_for), nothing_for.map(Duration::from_secs));
            let settling = Settling { now: at(second), settle: SETTLE, seen_for, nothing_for };
            let (is_settled, ago) = settling.counts_from(&[attempt(0)]);
            (is_settled, ago.as_millis())
        };
        assert_eq!(after(59, 500, None), (false, 7_500), "not settled: the list of a moment ago");
        assert_eq!(after(500, 59, None), (false, 7_500), "not seen for long enough");
        assert_eq!(after(100, 70, None), (true, 10_000));
        assert_eq!(after(200, 200, Some(59)), (true, 0), "the second empty walk is a fresh one");
        assert_eq!(after(200, 200, Some(65)), (true, 5_000));
    }
}
