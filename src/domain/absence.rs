//! What is known of one project that may be gone from Composio. Two witnesses, the read by id and the list of a sweep, and
//! both must say so twice, a settle time apart, with nothing to the contrary in between. Times are of a clock that also runs
//! while the machine is suspended. What follows is `plan::missing`'s.

use std::time::Duration;

use super::fleet::Witness;
use super::takeover::Presence;

/// What is known of a project that may be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Something points to it. A sweep that was begun at this time or later tells more.
    Suspected(Duration),
    /// At this time neither the read nor the list knew it, and nothing has shown it since.
    Gone(Duration),
}

/// What a look has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// For the plan.
    pub presence: Presence,
    /// What is known from now on; `None`: it is there.
    pub known: Option<Absence>,
    /// A sweep that begins from now on is needed to tell more.
    pub wants_sweep: bool,
}

/// A read by id, at `now`, does not know the project. `latest` is the last complete sweep: when it was begun, and what it
/// says of the project.
pub fn unread(
    known: Option<Absence>,
    now: Duration,
    settle: Duration,
    latest: Option<(Duration, Witness)>,
) -> Look {
    let known = known.unwrap_or(Absence::Suspected(now));
    let since = match known {
        Absence::Suspected(since) => since,
        Absence::Gone(first) => first + settle,
    };
    let look = |presence, known| Look { presence, known: Some(known), wants_sweep: false };
    if since > now {
        let is_gone = matches!(known, Absence::Gone(_));
        return look(if is_gone { Presence::Gone } else { Presence::Unclear }, known);
    }
    let Some((begun, witness)) = latest.filter(|(begun, _)| *begun >= since) else {
        return Look { wants_sweep: true, ..look(Presence::Unclear, known) };
    };
    match (witness, known) {
        (Witness::Listed, _) => Look { presence: Presence::There, known: None, wants_sweep: false },
        (Witness::Absent, Absence::Gone(_)) => look(Presence::GoneAgain, known),
        (Witness::Absent, Absence::Suspected(_)) => look(Presence::Gone, Absence::Gone(now)),
        // The same sweep answers until there is another.
        (Witness::Withheld, _) => look(Presence::Withheld, Absence::Suspected(begun)),
        // Too young to be judged, or not known to the caches yet.
        (Witness::Silent, _) => look(Presence::Unclear, Absence::Suspected(now + settle / 2)),
    }
}

/// A sweep that was begun at `begun` lists the project: what was gone begins anew.
pub fn listed(known: Absence, begun: Duration) -> Absence {
    match known {
        Absence::Gone(_) => Absence::Suspected(begun),
        Absence::Suspected(_) => known,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const SETTLE: Duration = Duration::from_secs(10);

    /// What happens next, after some seconds.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        /// A look, whose read finds the project or not.
        Look { is_found: bool },
        /// A sweep that was begun some seconds ago ends, and says this.
        Sweep { ago: u64, witness: Witness },
    }

    fn event() -> impl Strategy<Value = (u64, Event)> {
        let witness = prop_oneof![
            2 => Just(Witness::Listed),
            8 => Just(Witness::Absent),
            1 => Just(Witness::Withheld),
            1 => Just(Witness::Silent)
        ];
        let look = (0..10_u8).prop_map(|chance| Event::Look { is_found: chance == 0 });
        let sweep = (0..4_u64, witness).prop_map(|(ago, witness)| Event::Sweep { ago, witness });
        (0..8_u64, prop_oneof![look, sweep])
    }

    /// What an outsider has seen: reads that found nothing, and lists without the project, since something spoke against it.
    #[derive(Default)]
    struct Seen {
        reads: Vec<Duration>,
        lists: Vec<Duration>,
    }

    proptest! {
        #[test]
        fn gone_twice_takes_both_witnesses_twice_a_settle_time_apart_and_nothing_to_the_contrary(
            history in vec(event(), 0..60),
        ) {
            let (mut now, mut known, mut latest) = (Duration::from_secs(100), None, None);
            let mut seen = Seen::default();
            for (after, event) in history {
                now += Duration::from_secs(after);
                match event {
                    Event::Look { is_found: true } => (known, seen) = (None, Seen::default()),
                    Event::Look { is_found: false } => {
                        seen.reads.push(now);
                        let look = unread(known, now, SETTLE, latest);
                        known = look.known;
                        if look.presence == Presence::There {
                            seen = Seen::default();
                        }
                        if look.presence == Presence::GoneAgain {
                            let apart = |times: &[Duration]| {
                                times.iter().any(|one| times.iter().any(|other| *other >= *one + SETTLE))
                            };
                            prop_assert!(apart(&seen.reads), "reads at {:?}", seen.reads);
                            prop_assert!(apart(&seen.lists), "lists at {:?}", seen.lists);
                        }
                    }
                    Event::Sweep { ago, witness } => {
                        let begun = now.saturating_sub(Duration::from_secs(ago));
                        latest = Some((begun, witness));
                        match witness {
                            Witness::Listed => {
                                seen = Seen::default();
                                known = known.map(|known| listed(known, begun));
                            }
                            Witness::Absent => {
                                seen.lists.push(begun);
                                known = known.or(Some(Absence::Suspected(begun)));
                            }
                            Witness::Withheld => seen.lists.push(begun),
                            Witness::Silent => {}
                        }
                    }
                }
            }
        }

        #[test]
        fn a_project_that_is_really_gone_is_found_out_by_two_sweeps_and_two_looks(gap in 0..100_u64) {
            let (start, gap) = (Duration::from_secs(1000), Duration::from_secs(gap));
            let first = unread(Some(Absence::Suspected(start)), start + gap, SETTLE, Some((start, Witness::Absent)));
            prop_assert_eq!((first.presence, first.wants_sweep), (Presence::Gone, false));
            let again = start + gap + SETTLE;
            let early = unread(first.known, again, SETTLE, Some((start, Witness::Absent)));
            prop_assert_eq!((early.presence, early.wants_sweep), (Presence::Unclear, true));
            let second = unread(early.known, again + gap, SETTLE, Some((again, Witness::Absent)));
            prop_assert_eq!(second.presence, Presence::GoneAgain);
            // It stays found out, without another sweep.
            let later = unread(second.known, again + gap + SETTLE, SETTLE, Some((again, Witness::Absent)));
            prop_assert_eq!((later.presence, later.wants_sweep), (Presence::GoneAgain, false));
        }
    }
}
