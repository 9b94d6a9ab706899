//! Laws of a single decision, in any world whatever, reachable or not. Laws of whole histories are in `laws`.

mod health;
mod leave;
mod secret;
mod takeover;
mod worlds;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use self::health::dead_case;
use self::worlds::{Case, case, is_mine, owned_case, record};
use super::model::SETTLE;
use super::{Action, OrphanSeen, OrphanStep, Step, open_settings, orphan, plan};
use crate::domain::budget::{Lane, Room};
use crate::domain::claim::tests::walk;
use crate::domain::claim::{Attempt, Claim, Origin, Phase, Purpose};
use crate::domain::drift::{DriftPolicy, LookView};
use crate::domain::evidence::{Verdict, judge};
use crate::domain::failure::Failure;
use crate::domain::reason::Reason;
use crate::domain::takeover::TakeOverSeen;
use crate::domain::world::{ClaimView, Desired, KeyCheck, KeyHealth, Pass, SecretView, SettingsView, World};

/// The claim that an action writes, if it writes one.
fn written(step: &Step) -> Option<&Claim> {
    match step {
        Step::Do(
            Action::CreateProject { claim, .. }
            | Action::WriteClaim(claim)
            | Action::Conclude(claim, _)
            | Action::AcquireKey { claim, .. }
            | Action::DeleteUnusable(claim)
            | Action::RemoveSuperseded(_, claim),
        ) => Some(claim),
        _ => None,
    }
}

proptest! {
    #[test]
    fn every_world_leads_to_a_step_that_goes_on_by_itself_or_says_what_a_person_has_to_do(case in case()) {
        let step = plan(&case.0, &case.1);
        match &step {
            Step::Wait(_, _, time) => prop_assert!(!time.is_zero()),
            Step::Stall(reason, detail) => {
                prop_assert!(reason.stalls() && reason.remedy().is_some(), "{reason:?}");
                prop_assert_ne!(*reason, Reason::InternalError, "{}", detail);
            }
            Step::Do(_) | Step::Fail(_) | Step::Done => {}
            Step::Ignore => prop_assert!(false, "a resource in scope is not ignored"),
        }
        prop_assert!(!format!("{step:?}").contains(walk::MARKER), "a key is shown");
    }

    #[test]
    fn a_claim_that_cannot_be_read_or_belongs_to_another_is_left_alone(case in case()) {
        let Case(wish, world) = &case;
        let step = plan(wish, world);
        if let ClaimView::Unreadable(_) = world.claim {
            prop_assert!(matches!(step, Step::Stall(Reason::ClaimUnreadable, _)), "{:?}", step);
        }
        if let Some(record) = record(world).filter(|_| !is_mine(world)) {
            let theirs = record.claim.owner();
            let ours = &world.owner;
            let is_neighbour = (&theirs.namespace, &theirs.namespace_uid) == (&ours.namespace, &ours.namespace_uid);
            match &step {
                Step::Do(Action::WriteClaim(next)) => {
                    prop_assert!(is_neighbour && !world.is_held && !wish.is_suspended);
                    let rebound = record.claim.clone().rebound(ours.clone());
                    prop_assert_eq!(&**next, &rebound, "only the owner changes");
                }
                Step::Wait(reason, ..) => {
                    prop_assert!(matches!(reason, Reason::ClaimHeld | Reason::Suspended), "{:?}", reason);
                }
                Step::Stall(reason, _) => prop_assert!(*reason == Reason::RebindDenied && !is_neighbour),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn while_an_answer_is_awaited_nothing_is_done_about_the_claim(case in case()) {
        let Case(wish, world) = &case;
        if world.is_in_flight && record(world).is_some() && is_mine(world) {
            prop_assert!(matches!(plan(wish, world), Step::Wait(..)));
        }
    }

    #[test]
    fn a_suspended_resource_finishes_what_is_announced_and_starts_nothing(case in case()) {
        let Case(wish, world) = &case;
        let step = plan(&Desired { is_suspended: true, ..wish.clone() }, world);
        match &step {
            Step::Do(
                Action::AcquireKey { .. } | Action::ProveKey | Action::ProveOwnKey { .. } | Action::ReadKeys { .. },
            ) => {
                prop_assert!(record(world).is_some_and(|record| record.claim.is_rotation_open()));
            }
            Step::Do(Action::PublishSecret) => {
                let is_stored = |claim: &Claim| claim.is_rotation_open() && !claim.is_key_announced();
                prop_assert!(record(world).is_some_and(|record| is_stored(&record.claim)));
            }
            Step::Do(
                Action::ReadEvidence
                | Action::ReadProject
                | Action::WriteClaim(_)
                | Action::Conclude(..)
                | Action::Bury,
            ) => {
                prop_assert!(record(world).is_some_and(|record| record.claim.is_uncertain()), "{:?}", step);
            }
            Step::Do(other) => prop_assert!(false, "{:?}", other),
            Step::Ignore | Step::Done | Step::Wait(..) | Step::Stall(..) | Step::Fail(_) => {}
        }
    }

    #[test]
    fn a_foreign_secret_is_not_written_and_keeps_projects_from_being_made(case in case()) {
        let Case(wish, world) = &case;
        let world = World { secret: SecretView::Foreign("somebody".to_owned()), ..world.clone() };
        let step = plan(wish, &world);
        let is_wrong = matches!(step, Step::Do(Action::PublishSecret | Action::CreateProject { .. }));
        prop_assert!(!is_wrong, "{:?}", step);
        prop_assert_ne!(step, Step::Done);
    }

    #[test]
    fn a_project_is_made_only_where_none_can_be(case in case()) {
        let Case(wish, world) = &case;
        if let Step::Do(Action::CreateProject { claim, attempt, config }) = plan(wish, world) {
            let before = record(world).map(|record| &record.claim);
            prop_assert!(is_mine(world));
            prop_assert!(before.is_none_or(|claim| claim.phase() == Phase::Creating));
            let open = before.map(Claim::attempts).unwrap_or_default();
            if !open.is_empty() {
                prop_assert!(world.settling.left(open).is_zero(), "before it is settled");
                let has_found = world.pass.evidence.as_ref().map(|seen| seen.found.is_some());
                prop_assert_eq!(has_found, Some(false), "without a look");
                prop_assert!(!open.iter().any(|open| open.conflict), "although the name is taken");
                let youngest = open.last().map(|open| open.number);
                let oldest = claim.attempts().first().map(|open| open.number);
                prop_assert_eq!(oldest, youngest, "its window stays open");
            }
            prop_assert_eq!(attempt, before.map_or(0, Claim::last_attempt) + 1);
            let announced = claim.attempts().last().map(|open| (open.number, open.started_time));
            prop_assert_eq!(announced, Some((attempt, world.settling.now)));
            let inline = wish.settings.can_be_inline().then_some(&wish.settings);
            prop_assert_eq!(config.as_ref(), inline, "nothing is invented");
        }
    }

    #[test]
    fn only_an_unused_project_that_our_own_answer_made_is_ever_deleted(case in case()) {
        let Case(wish, world) = &case;
        if let Step::Do(Action::DeleteUnusable(claim)) = plan(wish, world) {
            let before = &record(world).unwrap().claim;
            prop_assert_eq!(before.phase(), Phase::KeyPending);
            prop_assert_eq!(before.origin(), Some(Origin::Created));
            prop_assert!(before.published().is_none() && before.last_attempt() < 3);
            prop_assert!(world.pass.is_key_refused);
            let age = world.settling.now.duration_since(before.created_time().unwrap());
            prop_assert!(age < SignedDuration::from_hours(1));
            prop_assert_eq!(claim.phase(), Phase::Deleting);
        }
    }

    #[test]
    fn a_decision_brings_a_project_into_the_claim_only_by_evidence_and_never_touches_a_key(case in case()) {
        let Case(wish, world) = &case;
        let step = plan(wish, world);
        if let Some(next) = written(&step) {
            let before = record(world).map(|record| &record.claim);
            prop_assert_eq!(next.key(), before.and_then(Claim::key), "{:?}", step);
            let (known, id) = (before.and_then(Claim::project_id), next.project_id());
            if id.is_some() && id != known {
                let found = world.pass.evidence.as_ref().and_then(|seen| seen.found.as_ref());
                prop_assert!(found.is_some_and(|found| Some(&found.id) == id && !found.is_claimed));
                prop_assert_eq!(next.origin(), Some(Origin::Recovered));
            }
            if known.is_some() && id.is_none() {
                prop_assert_eq!(world.pass.exists, Some(false), "forgotten, although a read knows it");
            }
        }
    }

    #[test]
    fn an_unmanaged_setting_is_never_sent_and_a_managed_one_only_where_it_differs(case in owned_case()) {
        let Case(wish, world) = &case;
        if let Step::Do(Action::PatchSettings(members)) = plan(wish, world) {
            let SettingsView::Seen { observed, is_patched } = &world.pass.settings else {
                panic!("without a look")
            };
            prop_assert!(!is_patched, "twice in one pass");
            prop_assert_eq!(wish.drift.policy, DriftPolicy::Correct, "what is only reported is not changed");
            prop_assert_eq!(&members, &wish.settings.differing_from(observed));
            prop_assert!(members.differing_from(&wish.settings).is_empty() && !members.is_empty());
        }
    }

    #[test]
    fn done_means_owned_published_and_as_wished(any in case(), owned in owned_case()) {
        for Case(wish, world) in [&any, &owned] {
            if plan(wish, world) == Step::Done {
                let record = record(world).unwrap();
                prop_assert!(is_mine(world) && !wish.is_suspended && !world.is_in_flight);
                prop_assert_eq!(record.claim.phase(), Phase::Owned);
                let is_published = matches!(world.secret, SecretView::Ours { is_current: true, .. });
                prop_assert!(is_published);
                let is_reported = wish.drift.policy == DriftPolicy::Report;
                prop_assert!(is_reported || open_settings(wish, &record.claim).is_empty());
            }
        }
    }

    #[test]
    fn a_look_that_is_only_due_comes_when_nothing_else_is_open_and_its_failure_changes_nothing(
        case in owned_case(), failure in any::<bool>(),
    ) {
        let Case(wish, world) = &case;
        let wish = &Desired { key_health: KeyHealth::default(), ..wish.clone() };
        let world = &World { is_key_suspected: false, ..world.clone() };
        let record = record(world).unwrap();
        let settings = match failure {
            true => SettingsView::Failed(Failure::transient("reset")),
            false => SettingsView::Unseen,
        };
        let pass = Pass { settings, key: KeyCheck::Unseen, take_over: TakeOverSeen::default(), ..world.pass.clone() };
        let without = World { look: LookView { is_due: false, ..world.look }, pass, ..world.clone() };
        let with = World { look: LookView { is_due: true, ..world.look }, ..without.clone() };
        let is_open = !open_settings(wish, &record.claim).is_empty() && !world.look.is_tried;
        match (plan(wish, &with), plan(wish, &without)) {
            (Step::Do(Action::ReadSettings { lane: Lane::Observe }), _) => prop_assert!(!failure && !is_open),
            (Step::Do(Action::ProveOwnKey { lane: Lane::Observe }), _) => prop_assert!(!failure && wish.settings_endpoint.is_gone()),
            (with, without) => prop_assert_eq!(with, without),
        }
    }

    #[test]
    fn neither_settings_that_fail_nor_a_pause_keep_a_known_key_from_its_workloads(case in owned_case()) {
        let Case(wish, world) = &case;
        let has_failed = matches!(world.pass.settings, SettingsView::Failed(_));
        let room = if has_failed { Room::default() } else { Room::paused(Duration::from_secs(7)) };
        let wish = Desired { room, ..wish.clone() };
        let world = World { secret: SecretView::Absent, unproven_key: None, ..world.clone() };
        let step = plan(&wish, &world);
        let is_write = matches!(step, Step::Do(Action::PublishSecret | Action::WriteClaim(_)));
        prop_assert!(is_write, "{:?}", step);
    }

    #[test]
    fn while_the_organization_is_paused_nothing_is_called(case in case()) {
        let Case(wish, world) = &case;
        let wish = Desired { room: Room::paused(Duration::from_secs(7)), ..wish.clone() };
        if let Step::Do(action) = plan(&wish, world) {
            let is_write = matches!(
                action,
                Action::WriteClaim(_)
                    | Action::Conclude(..)
                    | Action::PublishSecret
                    | Action::RemoveSuperseded(..)
                    | Action::Bury
            );
            prop_assert!(is_write, "{:?}", action);
        }
    }

    #[test]
    fn an_ownerless_claim_is_never_announced_for_and_what_is_known_is_kept(case in case()) {
        let Case(_, world) = &case;
        let Some(record) = record(world) else { return Ok(()) };
        let seen = OrphanSeen { evidence: world.pass.evidence.clone(), exists: world.pass.exists };
        let (claim, left) = (&record.claim, world.settling.left(record.claim.attempts()));
        match orphan(claim, world.is_in_flight, &seen, &world.settling).unwrap() {
            OrphanStep::Keep => prop_assert!(matches!(claim.phase(), Phase::Owned | Phase::KeyPending)),
            OrphanStep::Remove => {
                prop_assert!(claim.phase() == Phase::Creating && !world.is_in_flight);
                let is_twice = world.settling.nothing_for.is_some_and(|since| since >= SETTLE);
                let is_seen = seen.evidence.is_some_and(|seen| seen.found.is_some() || is_twice);
                prop_assert!(claim.attempts().is_empty() || (left.is_zero() && is_seen));
            }
            OrphanStep::Write(next) => {
                prop_assert_eq!(next.last_attempt(), claim.last_attempt());
                prop_assert!(next.attempts().len() <= claim.attempts().len());
                prop_assert!(!next.is_key_announced() || claim.is_key_announced());
                prop_assert!(next.phase() != Phase::Deleting && next.phase() != claim.phase());
            }
            OrphanStep::Bury => {
                prop_assert!(claim.phase() == Phase::Deleting && seen.exists == Some(false));
                prop_assert!(claim.deletion().is_some_and(|open| open.purpose != Purpose::Replace));
            }
            OrphanStep::Wait(time) => prop_assert!(!time.is_zero()),
            OrphanStep::ReadEvidence => prop_assert!(seen.evidence.is_none() && !claim.attempts().is_empty()),
            OrphanStep::ReadProject => {
                prop_assert!(seen.exists.is_none() && claim.phase() == Phase::Deleting);
            }
        }
    }

    #[test]
    fn evidence_is_final_only_after_the_settle_time_and_takes_only_what_is_ours(case in case()) {
        let Case(_, world) = &case;
        let (Some(record), Some(evidence)) = (record(world), &world.pass.evidence) else { return Ok(()) };
        let (attempts, settling) = (record.claim.attempts(), &world.settling);
        let is_settled = settling.left(attempts).is_zero();
        let is_twice = settling.nothing_for.is_some_and(|since| since >= settling.settle);
        let found = evidence.found.as_ref();
        match judge(attempts, evidence, settling) {
            Verdict::Ours(id, born) => {
                let found = found.unwrap();
                let detail = found.detail.as_ref().unwrap();
                prop_assert_eq!((&id, born), (&found.id, found.created_time));
                prop_assert!(!found.is_claimed && !detail.is_used && detail.keys.len() == 1);
                let age = |attempt: &Attempt| born.duration_since(attempt.started_time).as_secs_f64();
                let is_inside = attempts.iter().any(|attempt| (-5.0..=65.0).contains(&age(attempt)));
                prop_assert!(is_inside, "out of every window");
            }
            Verdict::Wait(time) => prop_assert!(!time.is_zero()),
            Verdict::Again => {
                let has_conflict = attempts.iter().any(|open| open.conflict);
                prop_assert!(is_settled && found.is_none() && !has_conflict);
            }
            Verdict::Absent => prop_assert!(is_settled && is_twice && found.is_none()),
            Verdict::Taken(born) => {
                prop_assert!(is_settled && born == found.map(|found| found.created_time));
                prop_assert!(born.is_some() || is_twice);
            }
        }
    }
}

/// The laws above are worth something only if the worlds lead to everything that they speak of.
#[test]
fn the_worlds_lead_to_every_kind_of_step() {
    let (mut runner, mut reached) = (TestRunner::deterministic(), BTreeSet::new());
    for number in 0..5120 {
        let case = match number % 10 {
            0 | 5 => owned_case().boxed(),
            1 => dead_case(number % 3).boxed(),
            _ => case().boxed(),
        };
        let Case(wish, world) = case.new_tree(&mut runner).unwrap().current();
        let open = record(&world).is_some_and(|record| !record.claim.attempts().is_empty());
        let step = plan(&wish, &world);
        let text = format!("{step:?}");
        let kind = match &step {
            Step::Do(Action::CreateProject { .. }) if open => "another attempt",
            Step::Do(Action::AcquireKey { claim, .. }) if claim.phase() == Phase::Owned => {
                "a key is replaced"
            }
            Step::Do(_) => text.trim_start_matches("Do(").split([' ', '(', ')']).next().unwrap(),
            Step::Stall(reason, _) | Step::Wait(reason, ..) => &format!("{reason:?}"),
            Step::Fail(_) => "Fail",
            Step::Done | Step::Ignore => &text,
        };
        reached.insert(kind.to_owned());
    }
    let actions = [
        "CreateProject",
        "another attempt",
        "WriteClaim",
        "Conclude",
        "ReadEvidence",
        "AcquireKey",
        "DeleteUnusable",
        "ReadProject",
        "ReadSettings",
        "PatchSettings",
        "PublishSecret",
        "ProveKey",
        "ReadKeys",
        "a key is replaced",
        "RemoveSuperseded",
        "Done",
    ];
    let reasons = [
        "ClaimHeld",
        "ClaimUnreadable",
        "RebindDenied",
        "Suspended",
        "Creating",
        "ResolvingOutcome",
        "AcquiringKey",
        "KeyUnavailable",
        "Rotating",
        "KeyRejected",
        "RotationNotEnabled",
        "SecretConflict",
        "SettingsIncomplete",
        "SettingsUnavailable",
        "SettingsNotApplied",
    ];
    for wanted in actions.into_iter().chain(reasons) {
        assert!(reached.contains(wanted), "no world leads to {wanted}: {reached:?}");
    }
}
