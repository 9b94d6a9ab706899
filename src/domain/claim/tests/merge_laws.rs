//! Laws of the merge of answers (design: one that carries an id or a key is never dropped because of a conflict).

use jiff::SignedDuration;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::walk::{self, Op, UID, Walk, id, key, ops, secret, start};
use crate::domain::answer::Answer;
use crate::domain::claim::{Claim, Merge, Origin, Phase, Record, Stage, merge};

/// A claim that some walk reaches.
fn reached() -> impl Strategy<Value = Walk> {
    ops(24).prop_map(|ops| {
        let mut walk = Walk::new();
        for op in &ops {
            let _ = walk.step(op);
        }
        walk
    })
}

fn answers() -> impl Strategy<Value = Op> {
    prop_oneof![
        (1..6_u32, 0..2_u8, any::<bool>()).prop_map(|(attempt, id, has_key)| Op::Created {
            attempt,
            id,
            has_key
        }),
        (1..6_u32, 0..2_u8, 0..90_u8).prop_map(|(attempt, id, age)| Op::Regenerated { attempt, id, age }),
    ]
}

fn is_same(one: Option<&crate::domain::key::ApiKey>, other: Option<&crate::domain::key::ApiKey>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is(other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

fn written(merged: Merge) -> Option<(Claim, Option<crate::domain::key::ApiKey>)> {
    match merged {
        Merge::Write(claim, key) => Some((*claim, key)),
        Merge::Discard(_) | Merge::Drop => None,
    }
}

fn parts(answer: &Answer) -> (&crate::domain::ids::ProjectId, Option<&crate::domain::key::ApiKey>, bool) {
    match answer {
        Answer::Created { id, key, .. } => (id, key.as_ref(), true),
        Answer::Regenerated { id, key, .. } => (id, Some(key), false),
    }
}

proptest! {
    #[test]
    fn an_answer_that_fits_the_claim_is_in_it_afterwards(mut walk in reached(), op in answers()) {
        let (attempt, answer) = walk.answer(&op);
        let (answered_id, answered_key, is_creation) = parts(&answer);
        let before = walk.record.clone();
        let known = before.claim.project_id();
        let fits = known == Some(answered_id) || (known.is_none() && is_creation);
        let is_deleting = before.claim.phase() == Phase::Deleting;
        match merge(Some(&before), UID, attempt, &answer, &secret()) {
            Merge::Write(claim, key) => {
                prop_assert!(fits);
                prop_assert_eq!(claim.project_id(), Some(answered_id));
                prop_assert!(!claim.attempts().iter().any(|open| is_creation && open.number == attempt));
                // A key that comes is there, or a better one is or is on its way, or its project is about to go.
                let is_served = key.is_some() || claim.is_key_doubtful() || is_deleting;
                prop_assert!(answered_key.is_none() || is_served, "a key is lost: {:?}", claim);
            }
            Merge::Discard(discarded) => {
                prop_assert!(!fits && is_creation);
                prop_assert_eq!(&discarded, answered_id);
            }
            Merge::Drop => prop_assert!(!is_creation && (!fits || is_deleting)),
        }
    }

    #[test]
    fn a_create_answer_fills_only_an_empty_key_and_never_while_a_regenerate_may_have_killed_it(
        mut walk in reached(), attempt in 1..6_u32, n in 0..2_u8,
    ) {
        let (_, answer) = walk.answer(&Op::Created { attempt, id: n, has_key: true });
        let before = &walk.record;
        if let Some((claim, key)) = written(merge(Some(before), UID, attempt, &answer, &secret())) {
            let is_awaited = before.claim.is_key_doubtful() || before.claim.phase() == Phase::Deleting;
            let may_fill = before.key.is_none() && !is_awaited;
            let expected = if may_fill { parts(&answer).1 } else { before.key.as_ref() };
            prop_assert!(is_same(key.as_ref(), expected));
            if may_fill {
                // As old as the project, and so older than whatever a regenerate issues.
                prop_assert_eq!(claim.key().map(|known| known.issued_time), claim.created_time());
            }
            prop_assert_eq!(claim.is_key_announced(), before.claim.is_key_announced());
            prop_assert_eq!(claim.origin(), Some(Origin::Created));
        }
    }

    #[test]
    fn a_regenerate_answer_wins_over_an_older_key_only_and_ends_no_later_announcement(
        mut walk in reached(), attempt in 1..6_u32, n in 0..2_u8, age in 0..90_u8,
    ) {
        let (_, answer) = walk.answer(&Op::Regenerated { attempt, id: n, age });
        let Answer::Regenerated { time, .. } = &answer else { unreachable!() };
        let before = &walk.record;
        if let Some((claim, key)) = written(merge(Some(before), UID, attempt, &answer, &secret())) {
            let is_newer = before.claim.key().is_none_or(|known| known.issued_time <= *time);
            let expected = if is_newer { parts(&answer).1 } else { before.key.as_ref() };
            prop_assert!(is_same(key.as_ref(), expected));
            let later = before.claim.rotation().filter(|rotation| rotation.attempt > attempt);
            if later.is_some() {
                prop_assert_eq!(claim.rotation(), later);
            } else {
                let done = claim.rotation().map(|done| (done.attempt, done.stage));
                let own = before.claim.rotation().filter(|rotation| rotation.attempt == attempt);
                let replaces = own.is_some_and(|own| own.reason.is_some() && own.stage != Stage::Done);
                let stage = if replaces { Stage::Stored } else { Stage::Done };
                prop_assert_eq!(done, Some((attempt, stage)));
                // What was never answered before a replacement was announced may still come to something.
                let doubt = own.filter(|own| own.reason.is_some()).and_then(|own| own.doubtful_since);
                prop_assert_eq!(claim.rotation().and_then(|rotation| rotation.doubtful_since), doubt);
            }
        }
    }

    #[test]
    fn an_answer_merged_twice_is_merged_once(mut walk in reached(), op in answers()) {
        let (attempt, answer) = walk.answer(&op);
        walk.absorb(attempt, &answer);
        let once = walk.record.clone();
        walk.absorb(attempt, &answer);
        prop_assert_eq!(&walk.record.claim, &once.claim);
        prop_assert!(is_same(walk.record.key.as_ref(), once.key.as_ref()));
    }

    #[test]
    fn for_a_claim_that_is_gone_or_was_made_again_nothing_is_written(
        mut walk in reached(), op in answers(), is_gone: bool,
    ) {
        let (attempt, answer) = walk.answer(&op);
        let (answered_id, _, is_creation) = parts(&answer);
        let again = Record { uid: "uid-2".to_owned(), ..walk.record.clone() };
        let current = (!is_gone).then_some(&again);
        let is_in_use = current.is_some_and(|record| record.claim.project_id() == Some(answered_id));
        match merge(current, UID, attempt, &answer, &secret()) {
            Merge::Write(..) => prop_assert!(false, "written into a claim that announced nothing"),
            Merge::Discard(discarded) => {
                prop_assert!(is_creation && !is_in_use);
                prop_assert_eq!(&discarded, answered_id);
            }
            Merge::Drop => prop_assert!(!is_creation || is_in_use),
        }
    }

    #[test]
    fn a_project_whose_id_stands_in_the_claim_is_never_discarded(
        mut walk in reached(), op in answers(), uid in 1..3_u8,
    ) {
        let (attempt, answer) = walk.answer(&op);
        walk.record.uid = format!("uid-{uid}");
        if let Merge::Discard(discarded) = merge(Some(&walk.record), UID, attempt, &answer, &secret()) {
            prop_assert_ne!(walk.record.claim.project_id(), Some(&discarded));
        }
    }
}

/// A recovered project whose key was replaced several times, and all the answers that may still come for it.
#[derive(Debug, Clone)]
struct Late {
    /// Answers that come, in two orders: 0 is the creation, others are regenerates by number.
    orders: [Vec<u32>; 2],
    /// Regenerates that were announced.
    announced: u32,
    /// The last announcement was taken back.
    is_withdrawn: bool,
    has_key: bool,
}

fn late() -> impl Strategy<Value = Late> {
    (1..5_u32, any::<bool>(), any::<bool>())
        .prop_flat_map(|(announced, is_withdrawn, has_key)| {
            // What was taken back brings no answer.
            let all: Vec<u32> = (0..=announced - u32::from(is_withdrawn)).collect();
            let some = subsequence(all.clone(), 1..=all.len());
            (some, Just(announced), Just(is_withdrawn), Just(has_key))
        })
        .prop_flat_map(|(some, announced, is_withdrawn, has_key)| {
            let shuffled = Just(some.clone()).prop_shuffle();
            (shuffled, Just(some)).prop_map(move |(shuffled, some)| Late {
                orders: [some, shuffled],
                announced,
                is_withdrawn,
                has_key,
            })
        })
}

impl Late {
    /// The claim when no answer has come yet.
    fn claim(&self) -> Walk {
        let mut walk = Walk::new();
        walk.step(&Op::Announce).unwrap();
        walk.step(&Op::Recovered { id: 1, born_before: 0 }).unwrap();
        for _ in 0..self.announced {
            walk.step(&Op::AnnounceKey).unwrap();
        }
        if self.is_withdrawn {
            walk.step(&Op::KeyRefused { attempt: self.announced }).unwrap();
        }
        walk
    }

    fn answer(&self, number: u32) -> Answer {
        let time = start() + SignedDuration::from_secs(i64::from(number) * 10 + 100);
        match number {
            // Answered after all the regenerates, although its key is the oldest.
            0 => Answer::Created {
                id: id(1),
                key: self.has_key.then(|| key(0)),
                time: start() + SignedDuration::from_secs(500),
            },
            number => Answer::Regenerated { id: id(1), key: key(number), time },
        }
    }

    fn end(&self, order: &[u32]) -> Walk {
        let mut walk = self.claim();
        for number in order {
            walk.absorb((*number).max(1), &self.answer(*number));
        }
        walk
    }
}

proptest! {
    #[test]
    fn the_same_answers_in_any_order_end_with_the_same_project_and_the_newest_key(late in late()) {
        let [one, other] = [late.end(&late.orders[0]), late.end(&late.orders[1])];
        for walk in [&one, &other] {
            super::assert_consistent(&walk.record);
            prop_assert_eq!(walk.record.claim.project_id(), Some(&id(1)));
            let newest = late.orders[0].iter().copied().max().filter(|number| *number > 0);
            if let Some(newest) = newest {
                let is_newest = walk.record.key.as_ref().is_some_and(|known| known.is(&key(newest)));
                prop_assert!(is_newest, "{:?}", late);
            }
        }
        if late.orders[0] == [0] {
            // One that was announced before another was taken back may have killed the key of the creation.
            let is_filled = late.has_key && late.is_withdrawn && late.announced == 1;
            prop_assert_eq!(one.record.key.is_some(), is_filled, "{:?}", late);
        }
        prop_assert_eq!(one.record.claim.rotation().map(|r| (r.attempt, r.stage)),
            other.record.claim.rotation().map(|r| (r.attempt, r.stage)));
        prop_assert!(is_same(one.record.key.as_ref(), other.record.key.as_ref()), "{:?}", late);
        prop_assert_eq!(one.record.claim.phase(), other.record.claim.phase());
    }

    #[test]
    fn of_several_replacements_the_newest_key_wins_in_any_order_and_the_doubt_stays_until_a_proof(
        announced in 1..4_u32,
        numbers in subsequence(vec![1_u32, 2, 3], 0..=3)
            .prop_flat_map(|some| (Just(some.clone()), Just(some).prop_shuffle())),
    ) {
        let known: [Vec<u32>; 2] = [&numbers.0, &numbers.1]
            .map(|order| order.iter().copied().filter(|number| *number <= announced).collect());
        let late = Late { announced, is_withdrawn: false, has_key: true, orders: known.clone() };
        let ends = known.map(|order| {
            let mut walk = Walk::new();
            walk.step(&Op::Announce).unwrap();
            walk.step(&Op::Created { attempt: 1, id: 1, has_key: true }).unwrap();
            (0..announced).for_each(|_| walk.step(&Op::AnnounceRotation).unwrap());
            for number in &order {
                walk.absorb(*number, &late.answer(*number));
            }
            walk
        });
        prop_assert_eq!(&ends[0].record.claim, &ends[1].record.claim);
        prop_assert!(is_same(ends[0].record.key.as_ref(), ends[1].record.key.as_ref()));
        let claim = &ends[0].record.claim;
        if let Some(newest) = numbers.0.iter().filter(|number| **number <= announced).max() {
            prop_assert!(ends[0].record.key.as_ref().is_some_and(|held| held.is(&key(*newest))));
        }
        let is_last_answered = numbers.0.contains(&announced);
        prop_assert_eq!(claim.is_key_announced(), !is_last_answered);
        prop_assert_eq!(claim.is_key_doubtful(), !is_last_answered || announced > 1);
        prop_assert_eq!(claim.last_rotation().is_some(), is_last_answered);
        let proven = claim.clone().key_proven();
        prop_assert!(!proven.is_key_doubtful() && !proven.is_key_announced());
        prop_assert_eq!(proven.key(), claim.key());
    }

    #[test]
    fn answers_to_several_creations_of_one_project_end_alike_in_any_order(
        numbers in subsequence(vec![1_u32, 2, 3], 1..=3)
            .prop_flat_map(|some| (Just(some.clone()), Just(some).prop_shuffle())),
    ) {
        let ends = [&numbers.0, &numbers.1].map(|order| {
            let mut walk = Walk::new();
            for _ in 0..3 {
                walk.step(&Op::Announce).unwrap();
            }
            for attempt in order {
                // One of them was refused by the edge after the commit, and shows no key.
                let shown = (*attempt != 2).then(|| key(7));
                walk.absorb(*attempt, &Answer::Created { id: id(1), key: shown, time: walk::start() });
            }
            walk
        });
        prop_assert_eq!(&ends[0].record.claim, &ends[1].record.claim);
        let open: Vec<u32> = [1, 2, 3].into_iter().filter(|number| !numbers.0.contains(number)).collect();
        prop_assert_eq!(ends[0].open_attempts(), open);
        prop_assert!(is_same(ends[0].record.key.as_ref(), ends[1].record.key.as_ref()));
    }
}
