//! Laws of the claim: random walks of transitions and late answers, legal and illegal, in any order. Laws of the merge
//! alone are in `merge_laws`.

mod end_laws;
mod merge_laws;
pub(in crate::domain) mod walk;

use proptest::prelude::*;
use serde_json::{Value, json};

use self::walk::{Op, Walk, ops};
use super::{Claim, DeletionOutcome, Phase, Purpose, Record};

/// What must hold of every claim that can be reached.
fn assert_consistent(record: &Record) {
    let claim = &record.claim;
    let (id, key) = (claim.project_id().is_some(), claim.key().is_some());
    let fits = match claim.phase() {
        Phase::Creating => !id && !key,
        Phase::KeyPending => id && !key,
        Phase::Deleting => id,
        Phase::Owned => id && key,
    };
    assert!(fits, "phase, id and key do not fit: {claim:?}");
    assert_eq!(key, record.key.is_some(), "key and its description part: {claim:?}");
    if let (Some(known), Some(key)) = (claim.key(), &record.key) {
        assert_eq!(known.fingerprint, walk::secret().fingerprint(key));
        assert_eq!(known.masked, key.masked());
    }
    assert_eq!(claim.origin().is_some(), id, "an id has an origin: {claim:?}");
    assert_eq!(claim.created_time().is_some(), id, "a project has a birth: {claim:?}");
    assert_eq!(claim.deletion_started_time().is_some(), claim.phase() == Phase::Deleting);
    assert!(claim.applied_settings().is_none() || id);
    let numbers: Vec<u32> = claim.attempts().iter().map(|attempt| attempt.number).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "attempts are in order: {numbers:?}");
    assert!(numbers.iter().all(|number| *number <= claim.last_attempt()));
    if !numbers.is_empty() || claim.is_key_announced() || claim.phase() == Phase::Deleting {
        assert!(claim.is_uncertain(), "an announcement is forgotten: {claim:?}");
    }
}

/// Independent of the code: where a transition is legal.
fn is_legal(op: &Op, claim: &Claim) -> bool {
    let phase = claim.phase();
    let is_replaced = claim.deletion().is_some_and(|open| open.purpose == Purpose::Replace);
    match op {
        Op::Announce | Op::Recovered { .. } => phase == Phase::Creating,
        Op::AnnounceKey | Op::AnnounceDeletion(Purpose::Replace) => phase == Phase::KeyPending,
        Op::AnnounceDeletion(_) => phase != Phase::Creating && claim.attempts().is_empty(),
        Op::Kept => phase == Phase::Deleting,
        Op::Gone => phase == Phase::KeyPending || is_replaced,
        Op::AnnounceRotation | Op::Publish { .. } => phase == Phase::Owned,
        Op::TakeUp { .. } => matches!(phase, Phase::KeyPending | Phase::Owned),
        Op::WithSettings => phase != Phase::Creating,
        Op::Adopted { .. } | Op::AdoptedWithKey { .. } | Op::RecoveredWithKey { .. } => {
            phase == Phase::Creating && claim.attempts().is_empty()
        }
        Op::Lost => matches!(phase, Phase::KeyPending | Phase::Owned),
        _ => true,
    }
}

const LOSES_PROJECT: &[&str] =
    &["phase", "deletion", "origin", "projectId", "createdTime", "rotation", "appliedSettings"];

/// Independent of the code: the fields that a transition may change. Nothing else may, unknown fields included.
fn may_change(op: &Op) -> &'static [&'static str] {
    match op {
        Op::Tick(_) => &[],
        Op::Announce => &["attempts", "lastAttempt"],
        Op::Refused { .. } | Op::Settled | Op::SettledButYoungest => &["attempts"],
        Op::Recovered { .. } => &["phase", "origin", "attempts", "projectId", "createdTime"],
        Op::AnnounceKey | Op::AnnounceRotation | Op::KeyProven | Op::KeyRefused { .. } => &["rotation"],
        Op::AnnounceDeletion(_) | Op::Kept => &["phase", "deletion"],
        Op::Gone | Op::KeyMissed { .. } | Op::DeletionAnswered { .. } => LOSES_PROJECT,
        Op::Rebound => &["owner"],
        Op::Publish { .. } => &["published", "superseded"],
        Op::RemoveSuperseded { .. } => &["superseded"],
        Op::WithSettings => &["appliedSettings"],
        Op::OfOrganization => &["organizationId"],
        Op::Adopted { .. } => &["phase", "origin", "projectId", "createdTime"],
        Op::AdoptedWithKey { .. } | Op::RecoveredWithKey { .. } => {
            &["phase", "origin", "projectId", "createdTime", "key"]
        }
        Op::Lost => &["phase", "origin", "projectId", "createdTime", "key", "rotation", "appliedSettings"],
        Op::Created { .. } => &["phase", "origin", "attempts", "projectId", "createdTime", "key"],
        Op::Regenerated { .. } | Op::TakeUp { .. } => &["phase", "key", "rotation"],
    }
}

fn json_of(claim: &Claim) -> Value {
    serde_json::to_value(claim).unwrap()
}

fn changed(before: &Value, after: &Value) -> Vec<String> {
    let (before, after) = (before.as_object().unwrap(), after.as_object().unwrap());
    let names = before.keys().chain(after.keys());
    names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

proptest! {
    #[test]
    fn every_walk_keeps_phase_id_key_and_origin_together(ops in ops(24)) {
        let mut walk = Walk::new();
        for op in &ops {
            // An illegal step leaves the claim as it was; that it is refused is another law.
            let _ = walk.step(op);
            assert_consistent(&walk.record);
        }
    }

    #[test]
    fn a_transition_is_refused_exactly_where_it_is_illegal_and_changes_only_its_own_fields(ops in ops(24)) {
        let mut walk = Walk::new();
        for op in &ops {
            let (claim, before) = (walk.record.claim.clone(), json_of(&walk.record.claim));
            let phase = claim.phase();
            let result = walk.step(op);
            prop_assert_eq!(result.is_ok(), is_legal(op, &claim), "{:?} in {:?}", op, phase);
            let changed = changed(&before, &json_of(&walk.record.claim));
            if let Err(illegal) = result {
                prop_assert!(changed.is_empty());
                prop_assert!(illegal.to_string().contains(&format!("{phase:?}")), "{}", illegal);
            }
            let is_own = |name: &String| may_change(op).contains(&name.as_str());
            prop_assert!(changed.iter().all(is_own), "{:?} changed {:?}", op, changed);
        }
    }

    #[test]
    fn numbers_of_attempts_and_of_key_replacements_grow_and_are_never_used_twice(ops in ops(24)) {
        let mut walk = Walk::new();
        for op in &ops {
            let _ = walk.step(op);
        }
        prop_assert!(walk.creations.is_sorted_by(|one, next| one < next), "{:?}", walk.creations);
        prop_assert!(walk.replacements.is_sorted_by(|one, next| one < next), "{:?}", walk.replacements);
        prop_assert_eq!(walk.record.claim.last_attempt(), walk.creations.last().copied().unwrap_or(0));
    }

    #[test]
    fn an_attempt_ends_by_its_own_answer_or_by_evidence_only(ops in ops(24)) {
        let mut walk = Walk::new();
        for op in &ops {
            let open = walk.record.claim.attempts().to_vec();
            let before: Vec<u32> = walk.open_attempts();
            if walk.step(op).is_err() {
                continue;
            }
            let after = walk.open_attempts();
            let ended: Vec<u32> = before.iter().copied().filter(|open| !after.contains(open)).collect();
            match op {
                Op::Refused { attempt, .. } | Op::Created { attempt, .. } => {
                    prop_assert!(ended.iter().all(|ended| ended == attempt), "{:?} ended {:?}", op, ended);
                }
                Op::Settled => prop_assert_eq!(ended, before),
                Op::SettledButYoungest => {
                    prop_assert!(ended.iter().all(|ended| Some(ended) != before.iter().max()));
                }
                // What began after the birth of the project that was found has not made it.
                Op::Recovered { .. } => {
                    let born = walk.record.claim.created_time().unwrap();
                    for attempt in &open {
                        let is_later = attempt.started_time.duration_since(born).as_secs_f64() > 5.0;
                        prop_assert_eq!(after.contains(&attempt.number), is_later, "{:?}", attempt);
                    }
                }
                _ => prop_assert!(ended.is_empty(), "{:?} ended {:?}", op, ended),
            }
        }
    }

    #[test]
    fn a_conflict_is_noted_on_every_attempt_that_stays_open_and_is_never_forgotten(ops in ops(24)) {
        let mut walk = Walk::new();
        for op in &ops {
            let before = walk.record.claim.attempts().to_vec();
            let _ = walk.step(op);
            for attempt in walk.record.claim.attempts() {
                let last = before.iter().find(|open| open.number == attempt.number);
                let was = last.is_some_and(|open| open.conflict);
                let is_new = matches!(op, Op::Refused { conflict: true, .. });
                prop_assert_eq!(attempt.conflict, was || is_new, "{:?}", op);
            }
        }
    }

    #[test]
    fn a_key_once_owned_is_only_ever_replaced_by_a_newer_one(ops in ops(24)) {
        let mut walk = Walk::new();
        for op in &ops {
            let before = walk.record.claim.key().cloned();
            let _ = walk.step(op);
            let after = walk.record.claim.key();
            if matches!(op, Op::Lost) {
                continue;
            }
            if let Some(before) = &before {
                prop_assert!(after.is_some(), "{:?} lost a key", op);
                prop_assert!(after.is_none_or(|after| after.issued_time >= before.issued_time), "{:?}", op);
            }
            if after != before.as_ref() {
                prop_assert!(matches!(
                    op,
                    Op::Created { .. } | Op::Regenerated { .. } | Op::TakeUp { .. } | Op::AdoptedWithKey { .. }
                        | Op::RecoveredWithKey { .. }
                ), "{:?}", op);
            }
        }
    }

    #[test]
    fn a_secret_once_recorded_is_published_or_superseded_until_it_is_removed_or_made_again(ops in ops(24)) {
        let mut walk = Walk::new();
        for op in &ops {
            let before = walk.record.claim.clone();
            let _ = walk.step(op);
            let claim = &walk.record.claim;
            let names: Vec<_> = claim.superseded().iter().map(|old| &old.name).chain(claim.published().map(|now| &now.name)).collect();
            let distinct: std::collections::BTreeSet<_> = names.iter().collect();
            prop_assert_eq!(names.len(), distinct.len(), "a name twice: {:?}", names);
            let old = before.superseded().iter().map(|old| &old.name).chain(before.published().map(|now| &now.name));
            for name in old.filter(|name| !names.contains(name)) {
                prop_assert!(matches!(op, Op::RemoveSuperseded { .. }), "{:?} lost {}", op, name);
            }
            for old in claim.superseded() {
                prop_assert!(before.has_published(&old.uid) && old.since_time <= walk.now);
            }
        }
    }

    #[test]
    fn an_answer_to_another_announcement_takes_nothing_back(ops in ops(24), other in 90_u32..99) {
        let mut walk = Walk::new();
        for op in &ops {
            let _ = walk.step(op);
        }
        let claim = walk.record.claim.clone();
        let later = walk.now + jiff::SignedDuration::from_hours(1);
        prop_assert_eq!(&claim.clone().refused(other, false), &claim);
        prop_assert_eq!(&claim.clone().key_refused(other), &claim);
        prop_assert_eq!(&claim.clone().key_missed(other, walk::SETTLE).unwrap(), &claim);
        let refused = claim.clone().deletion_answered(Some(later), DeletionOutcome::Undone).unwrap();
        prop_assert_eq!(&refused, &claim);
        let done = claim.clone().deletion_answered(Some(later), walk::receipt()).unwrap();
        prop_assert_eq!(done.phase(), claim.phase());
    }

    #[test]
    fn the_json_of_a_claim_brings_it_back_with_the_fields_of_a_later_release(
        ops in ops(24), number in any::<i64>(),
    ) {
        let mut walk = Walk::new();
        for op in &ops {
            let _ = walk.step(op);
        }
        let mut json = json_of(&walk.record.claim);
        let later = json!({"revoke": {"jobs": [number, {"deep": null}]}, "since": "2031-01-01T00:00:00Z"});
        json["later"] = later.clone();
        let text = serde_json::to_string(&json).unwrap();
        let read: Claim = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&json_of(&read), &json);
        // They survive what this release does with the claim.
        let mut walk = Walk::of(read);
        for op in &ops {
            let _ = walk.step(op);
            prop_assert_eq!(&json_of(&walk.record.claim)["later"], &later);
        }
    }

    #[test]
    fn nothing_of_a_key_is_in_the_debug_form_or_the_json_of_a_claim(ops in ops(24)) {
        let mut walk = Walk::new();
        for op in &ops {
            let result = walk.step(op);
            let shown = format!("{:?} {} {:?}", walk.record.claim, json_of(&walk.record.claim), result.err());
            prop_assert!(!shown.contains(walk::MARKER), "a key is shown: {}", op.name());
        }
    }
}

/// The walks are worth something only if they get everywhere.
#[test]
fn the_walks_reach_every_phase_with_and_without_open_announcements() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let (mut runner, mut reached) = (TestRunner::deterministic(), std::collections::BTreeSet::new());
    for _ in 0..4096 {
        let mut walk = Walk::new();
        for op in &ops(24).new_tree(&mut runner).unwrap().current() {
            let _ = walk.step(op);
            let claim = &walk.record.claim;
            reached.insert((format!("{:?}", claim.phase()), "open attempts", !claim.attempts().is_empty()));
            reached.insert((format!("{:?}", claim.phase()), "an announced key", claim.is_key_announced()));
        }
    }
    for phase in ["Creating", "KeyPending", "Owned", "Deleting"] {
        for (what, is_so) in [
            ("open attempts", false),
            ("open attempts", true),
            ("an announced key", false),
            ("an announced key", phase != "Creating"),
        ] {
            let wanted = (phase.to_owned(), what, is_so);
            assert!(reached.contains(&wanted), "no walk reaches {wanted:?}");
        }
    }
}
