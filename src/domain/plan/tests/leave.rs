//! Laws of a single decision about a resource that is being deleted, in any world whatever.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::worlds::{Case, case, record};
use crate::domain::claim::tests::walk;
use crate::domain::claim::{Claim, Origin, Phase, Purpose};
use crate::domain::ids::ProjectId;
use crate::domain::plan::{LeaveStep, Leaving, OrphanSeen, Reach, leave};
use crate::domain::reason::Reason;
use crate::domain::world::{ClaimView, DeletionPolicy, World};

/// A world, and what only a resource that is leaving depends on.
struct End {
    policy: DeletionPolicy,
    known_id: Option<ProjectId>,
    is_settled_elsewhere: bool,
    reach: Reach,
    seen: OrphanSeen,
    world: World,
}

impl End {
    fn step(&self) -> LeaveStep {
        let step = leave(&Leaving {
            policy: self.policy,
            claim: &self.world.claim,
            known_id: self.known_id.as_ref(),
            is_settled_elsewhere: self.is_settled_elsewhere,
            is_in_flight: self.world.is_in_flight,
            reach: &self.reach,
            settling: &self.world.settling,
            seen: &self.seen,
        });
        step.expect("no world leads to an illegal transition")
    }

    fn claim(&self) -> Option<&Claim> {
        record(&self.world).map(|record| &record.claim)
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (claim, world) = (self.claim(), &self.world);
        write!(f, "{:?} {:?} elsewhere {} ", self.policy, self.known_id, self.is_settled_elsewhere)?;
        write!(f, "{:?} {:?} in flight {}\n{claim:?}\n", self.reach, self.seen, world.is_in_flight)?;
        write!(f, "{:?}", world.settling)
    }
}

fn end() -> impl Strategy<Value = End> {
    let policy = prop_oneof![
        1 => Just(DeletionPolicy::Retain),
        4 => Just(DeletionPolicy::Delete),
        2 => Just(DeletionPolicy::DeleteAndRevoke),
    ];
    let reach = prop_oneof![
        4 => Just(Reach::Open),
        1 => (1..60_u64).prop_map(|seconds| Reach::Paused(Duration::from_secs(seconds))),
        1 => Just(Reach::Waiting("not reachable".to_owned())),
        1 => Just(Reach::Blocked("no such organization".to_owned())),
    ];
    let known_id = proptest::option::of((0..2_u8).prop_map(walk::id));
    (case(), policy, reach, known_id, proptest::bool::weighted(0.2)).prop_map(
        |(Case(_, world), policy, reach, known_id, is_settled_elsewhere)| {
            let seen = OrphanSeen { evidence: world.pass.evidence.clone(), exists: world.pass.exists };
            End { policy, known_id, is_settled_elsewhere, reach, seen, world }
        },
    )
}

proptest! {
    #[test]
    fn retain_lets_go_of_everything_at_once_and_without_a_call(end in end()) {
        let end = End { policy: DeletionPolicy::Retain, ..end };
        prop_assert_eq!(end.step(), LeaveStep::Release);
    }

    #[test]
    fn a_project_is_deleted_only_where_the_policy_says_so_and_no_creation_can_come_late(end in end()) {
        if let LeaveStep::Delete(next) = end.step() {
            let claim = end.claim().unwrap();
            prop_assert!(end.policy != DeletionPolicy::Retain && !end.world.is_in_flight);
            prop_assert!(claim.phase() != Phase::Creating);
            prop_assert!(end.world.settling.left(claim.attempts()).is_zero(), "an attempt is open");
            prop_assert!(!end.is_settled_elsewhere || claim.origin() == Some(Origin::Created));
            let purpose = match end.policy {
                DeletionPolicy::DeleteAndRevoke => Purpose::DeleteAndRevoke,
                DeletionPolicy::Delete | DeletionPolicy::Retain => Purpose::Delete,
            };
            let announced = next.deletion().unwrap();
            prop_assert_eq!((next.phase(), announced.purpose), (Phase::Deleting, purpose));
            prop_assert_eq!(announced.started_time, end.world.settling.now);
            prop_assert_eq!(next.project_id(), claim.project_id());
            prop_assert_eq!(next.key(), claim.key(), "it may turn out to be kept");
            if claim.phase() == Phase::Deleting {
                prop_assert_eq!(end.seen.exists, Some(true), "announced again without a look");
            }
        }
    }

    #[test]
    fn what_is_to_be_deleted_goes_only_without_a_claim_and_with_nothing_known_to_exist(end in end()) {
        if end.policy != DeletionPolicy::Retain && end.step() == LeaveStep::Release {
            prop_assert!(matches!(end.world.claim, ClaimView::Absent));
            let is_gone = end.known_id.is_none() || end.seen.exists == Some(false);
            prop_assert!(is_gone || end.is_settled_elsewhere);
        }
    }

    #[test]
    fn a_tombstone_is_written_only_after_a_look_that_saw_the_project_gone(end in end()) {
        if end.step() == LeaveStep::Bury {
            prop_assert_eq!(end.seen.exists, Some(false));
            prop_assert_eq!(end.claim().unwrap().phase(), Phase::Deleting);
        }
    }

    #[test]
    fn a_claim_is_removed_without_a_tombstone_only_where_nothing_exists_of_it_or_another_claim_has_it(
        end in end(),
    ) {
        if end.step() == LeaveStep::RemoveClaim {
            let (claim, settling) = (end.claim().unwrap(), &end.world.settling);
            if claim.phase() == Phase::Creating && !claim.attempts().is_empty() {
                prop_assert!(settling.left(claim.attempts()).is_zero(), "before it is settled");
                let is_twice = settling.nothing_for.is_some_and(|since| since >= settling.settle);
                let found = end.seen.evidence.as_ref().map(|seen| seen.found.is_some());
                prop_assert!(found == Some(true) || (found == Some(false) && is_twice), "{:?}", found);
            } else if claim.phase() != Phase::Creating {
                prop_assert!(end.is_settled_elsewhere && claim.origin() != Some(Origin::Created));
            }
        }
    }

    #[test]
    fn a_claim_that_cannot_be_read_is_never_touched_and_never_let_go(end in end()) {
        if end.policy != DeletionPolicy::Retain && matches!(end.world.claim, ClaimView::Unreadable(_)) {
            prop_assert!(matches!(end.step(), LeaveStep::Stall(Reason::ClaimUnreadable, _)));
        }
    }

    #[test]
    fn a_write_of_the_claim_takes_up_what_evidence_has_found_and_nothing_else(end in end()) {
        if let LeaveStep::Write(next) = end.step() {
            let found = end.seen.evidence.as_ref().and_then(|seen| seen.found.as_ref()).unwrap();
            prop_assert_eq!(end.claim().unwrap().phase(), Phase::Creating);
            prop_assert_eq!((next.phase(), next.project_id()), (Phase::KeyPending, Some(&found.id)));
            prop_assert!(!found.is_claimed);
        }
    }

    #[test]
    fn calls_are_made_only_where_they_may_be_and_not_while_one_is_under_way(end in end()) {
        let step = end.step();
        let is_call =
            matches!(step, LeaveStep::ReadEvidence | LeaveStep::ReadProject(_) | LeaveStep::Delete(_));
        prop_assert!(!is_call || end.reach == Reach::Open, "{:?}", step);
        if end.policy != DeletionPolicy::Retain && end.world.is_in_flight && end.claim().is_some() {
            prop_assert!(matches!(step, LeaveStep::Wait(..)), "{:?}", step);
        }
    }

    #[test]
    fn every_world_goes_on_by_itself_or_says_what_a_person_has_to_do(end in end()) {
        match end.step() {
            LeaveStep::Wait(reason, _, time) => {
                prop_assert!(!time.is_zero() && time <= Duration::from_hours(2), "{:?}", time);
                prop_assert!(!reason.stalls());
            }
            LeaveStep::Stall(reason, detail) => {
                let message = reason.message(&detail);
                prop_assert!(reason.stalls() && reason.remedy().is_some());
                let has_way_out = message.contains("Retain") || reason == Reason::ClaimUnreadable;
                prop_assert!(has_way_out, "{}", message);
            }
            _ => {}
        }
    }

    /// Whatever a read says, the next step is another: no pass goes round in circles.
    #[test]
    fn a_look_is_followed_by_a_decision(end in end(), exists in any::<bool>()) {
        if let LeaveStep::ReadProject(_) = end.step() {
            let seen = OrphanSeen { exists: Some(exists), ..end.seen.clone() };
            let after = End { seen, ..end };
            prop_assert!(!matches!(after.step(), LeaveStep::ReadProject(_)));
        }
    }
}

/// The laws above are worth something only if the worlds lead to everything that they speak of.
#[test]
fn the_worlds_lead_to_every_end() {
    let (mut runner, mut reached) = (TestRunner::deterministic(), BTreeSet::new());
    for _ in 0..4096 {
        let end = end().new_tree(&mut runner).unwrap().current();
        let step = end.step();
        let kind = match &step {
            LeaveStep::Wait(reason, ..) | LeaveStep::Stall(reason, _) => format!("{reason:?}"),
            LeaveStep::Delete(_) if end.claim().unwrap().phase() == Phase::Deleting => "again".to_owned(),
            LeaveStep::Release if end.policy != DeletionPolicy::Retain => "Release".to_owned(),
            LeaveStep::Release => "Retain".to_owned(),
            other => format!("{other:?}").split(['(', ' ']).next().unwrap().to_owned(),
        };
        reached.insert(kind);
    }
    for wanted in [
        "Retain",
        "Release",
        "RemoveClaim",
        "ReadEvidence",
        "ReadProject",
        "Write",
        "Delete",
        "again",
        "Bury",
        "Deleting",
        "ResolvingOutcome",
        "Throttled",
        "DeletionBlocked",
        "ClaimMissing",
        "ClaimUnreadable",
    ] {
        assert!(reached.contains(wanted), "no world leads to {wanted}: {reached:?}");
    }
}
