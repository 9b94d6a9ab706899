//! Laws of a single decision about taking projects over and about missing ones, in any world whatever.

use std::time::Duration;

use proptest::prelude::*;

use super::worlds::{Case, case, is_mine, record};
use crate::domain::budget::Room;
use crate::domain::claim::tests::walk;
use crate::domain::claim::{Claim, Origin, Phase};
use crate::domain::key::KeyRecord;
use crate::domain::plan::model::SETTLE;
use crate::domain::plan::{Action, Step, plan};
use crate::domain::reason::Reason;
use crate::domain::takeover::{
    Adopt, Candidate, Grant, KeySeen, KeySource, MissingPolicy, Permit, Presence, ProvenKey, Seen, Suspicion,
    TakeOver, TakeOverSeen, TakeOverSpec, TakeOverView,
};
use crate::domain::world::{Desired, SecretView, World};

fn adopt() -> impl Strategy<Value = Option<Adopt>> {
    let secret = || KeySource::Secret { name: "old".to_owned(), entry: "apiKey".to_owned() };
    let source = prop_oneof![Just(secret()), Just(KeySource::Regenerate)];
    let adopt = (0..2_u8, source).prop_map(|(id, source)| Adopt { project_id: walk::id(id), source });
    proptest::option::weighted(0.7, adopt)
}

fn permit() -> impl Strategy<Value = Permit> {
    let grant = proptest::option::of(0..2_u8).prop_map(|id| Grant {
        project_name: "prod-shop".to_owned(),
        namespace: "team".to_owned(),
        project_id: id.map(walk::id),
    });
    (proptest::option::of(grant), any::<bool>()).prop_map(|(grant, with_key)| Permit { grant, with_key })
}

fn candidate() -> impl Strategy<Value = Option<Candidate>> {
    let about = || KeyRecord::new(&walk::key(7), walk::start(), &walk::secret());
    let proven = move || KeySeen::Proven(Box::new(ProvenKey { key: walk::key(7), about: about() }));
    let key = prop_oneof![
        Just(KeySeen::Unneeded),
        Just(KeySeen::Unusable("there is none".to_owned())),
        Just(KeySeen::Refuted),
        Just(proven()),
    ];
    let project = (0..2_u8, any::<bool>(), any::<bool>()).prop_map(|(id, has_name, is_claimed)| Seen {
        id: walk::id(id),
        created_time: walk::start(),
        has_name,
        is_claimed,
    });
    let candidate = (proptest::option::weighted(0.8, project), key);
    proptest::option::weighted(0.8, candidate.prop_map(|(project, key)| Candidate { project, key }))
}

/// Any world, in which something is said of taking over.
fn takeover_case() -> impl Strategy<Value = Case> {
    let suspicion = prop_oneof![Just(Suspicion::None), Just(Suspicion::Asked), Just(Suspicion::Reported)];
    let on_missing = prop_oneof![Just(MissingPolicy::Report), Just(MissingPolicy::Recreate)];
    let spec = (adopt(), on_missing, suspicion).prop_map(|(adopt, on_missing, suspicion)| TakeOverSpec {
        adopt,
        on_missing,
        suspicion,
    });
    let presence = prop_oneof![
        Just(Presence::There),
        Just(Presence::Gone),
        Just(Presence::GoneAgain),
        Just(Presence::Unclear),
        Just(Presence::Withheld)
    ];
    let presence = proptest::option::of((0..2_u8, presence).prop_map(|(id, seen)| (walk::id(id), seen)));
    let view = (any::<bool>(), proptest::option::of(0..200_u64), any::<bool>());
    (case(), (spec, permit()), (candidate(), presence), view).prop_map(
        |(Case(wish, world), (spec, permit), (candidate, presence), (has_relic, gone_for, is_doubted))| {
            let gone_for = gone_for.map(Duration::from_secs);
            let take_over = TakeOverView { has_relic, gone_for, is_doubted };
            let mut world = World { take_over, ..world };
            world.pass.take_over = TakeOverSeen { candidate, presence };
            Case(Desired { take_over: TakeOver { spec, permit }, ..wish }, world)
        },
    )
}

/// Independent of the code: what permits a take-over of this project, by this key.
fn is_permitted(wish: &Desired, claim: &Claim, is_proven: bool) -> bool {
    let permit = &wish.take_over.permit;
    let id = claim.project_id();
    let is_granted = permit.grant.as_ref().is_some_and(|grant| match &grant.project_id {
        None => true,
        granted => granted.as_ref() == id,
    });
    is_granted || (permit.with_key && is_proven)
}

proptest! {
    #[test]
    fn a_project_is_taken_up_only_with_a_permit_while_no_claim_knows_one_and_never_from_another_claim(
        case in takeover_case(),
    ) {
        let Case(wish, world) = &case;
        if let Step::Do(Action::TakeUp { claim, key }) = plan(wish, world) {
            let before = record(world).map(|record| &record.claim);
            prop_assert!(is_mine(world) && !wish.is_suspended && !world.is_in_flight);
            prop_assert!(before.is_none_or(Claim::is_vacant), "a claim loses what it had");
            prop_assert!(is_permitted(wish, &claim, key.is_some()), "nothing permits it");
            let seen = world.pass.take_over.candidate.as_ref().and_then(|seen| seen.project.as_ref()).unwrap();
            prop_assert_eq!(claim.project_id(), Some(&seen.id));
            prop_assert!(!seen.is_claimed, "another claim has it");
            let granted = wish.take_over.permit.grant.as_ref().and_then(|grant| grant.project_id.as_ref());
            prop_assert!(seen.has_name || granted == Some(&seen.id), "it has another name");
            match &wish.take_over.spec.adopt {
                // What the claim's own project was is not looked for in the block.
                Some(adopt) if claim.origin() == Some(Origin::Adopted) => {
                    prop_assert_eq!(key.is_none(), adopt.source == KeySource::Regenerate);
                }
                _ => prop_assert!(claim.origin() == Some(Origin::Recovered) && key.is_some()),
            }
            prop_assert_eq!(claim.phase(), if key.is_some() { Phase::Owned } else { Phase::KeyPending });
        }
    }

    #[test]
    fn without_a_permit_nothing_is_asked_about_a_project_that_a_spec_names(case in takeover_case()) {
        let Case(wish, world) = &case;
        let wish = Desired { take_over: TakeOver { permit: Permit::default(), ..wish.take_over.clone() }, ..wish.clone() };
        let step = plan(&wish, world);
        let asks = matches!(step, Step::Do(Action::ReadCandidate | Action::TakeUp { .. }));
        prop_assert!(!asks, "{:?}", step);
    }

    #[test]
    fn who_was_granted_nothing_is_told_the_same_whatever_there_is(case in takeover_case(), other in candidate()) {
        let Case(wish, world) = &case;
        let permit = Permit { grant: None, with_key: true };
        let wish = Desired { take_over: TakeOver { permit, ..wish.take_over.clone() }, ..wish.clone() };
        let is_about_project = |world: &World| {
            let seen = world.pass.take_over.candidate.as_ref();
            seen.is_some_and(|seen| !matches!(seen.key, KeySeen::Unusable(_)))
        };
        let mut other_world = world.clone();
        other_world.pass.take_over.candidate = other;
        if !is_about_project(world) || !is_about_project(&other_world) {
            return Ok(());
        }
        if let (Step::Stall(Reason::AdoptionDenied, one), Step::Stall(Reason::AdoptionDenied, two)) =
            (plan(&wish, world), plan(&wish, &other_world))
        {
            prop_assert_eq!(one, two);
        }
    }

    #[test]
    fn a_claim_of_another_namespace_is_taken_over_with_a_grant_of_its_project_only(case in takeover_case()) {
        let Case(wish, world) = &case;
        let Some(record) = record(world).filter(|_| !is_mine(world)) else { return Ok(()) };
        let (theirs, ours) = (record.claim.owner(), &world.owner);
        let is_neighbour = (&theirs.namespace, &theirs.namespace_uid) == (&ours.namespace, &ours.namespace_uid);
        match plan(wish, world) {
            Step::Do(Action::WriteClaim(next)) => {
                prop_assert!(!world.is_held && !wish.is_suspended);
                prop_assert!(is_neighbour || is_permitted(wish, &record.claim, false));
                prop_assert_eq!(next.project_id(), record.claim.project_id());
            }
            Step::Stall(reason, _) => {
                prop_assert!(reason == Reason::RebindDenied && !is_neighbour);
                prop_assert!(!is_permitted(wish, &record.claim, false));
            }
            Step::Wait(reason, ..) => {
                prop_assert!(matches!(reason, Reason::ClaimHeld | Reason::Suspended), "{:?}", reason);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn a_project_is_given_up_only_when_it_was_gone_twice_and_the_spec_wants_another(case in takeover_case()) {
        let Case(wish, world) = &case;
        let before = record(world).map(|record| &record.claim);
        let step = plan(wish, world);
        let id = before.and_then(Claim::project_id);
        let seen = world.pass.take_over.presence.as_ref().filter(|(seen, _)| Some(seen) == id);
        let is_gone = matches!(seen, Some((_, Presence::GoneAgain)));
        let was_owned = before.is_some_and(|claim| claim.phase() == Phase::Owned);
        match &step {
            Step::Do(Action::WriteClaim(next)) if was_owned && next.phase() == Phase::Creating => {
                prop_assert!(is_gone && is_mine(world) && !wish.is_suspended);
                prop_assert_eq!(wish.take_over.spec.on_missing, MissingPolicy::Recreate);
                prop_assert_eq!(next.published(), before.and_then(Claim::published));
            }
            Step::Stall(Reason::ProjectMissing, _) => {
                prop_assert!(is_gone);
                prop_assert_eq!(wish.take_over.spec.on_missing, MissingPolicy::Report);
            }
            _ => {}
        }
    }

    #[test]
    fn between_two_looks_that_find_nothing_there_is_a_settle_time(case in takeover_case()) {
        let Case(wish, world) = &case;
        if let Step::Do(Action::LookForProject { .. }) = plan(wish, world) {
            let since = world.take_over.gone_for;
            prop_assert!(since.is_none_or(|since| since >= SETTLE), "{:?}", since);
            prop_assert!(!wish.is_suspended && wish.room == Room::default());
        }
    }

    #[test]
    fn a_block_that_names_another_project_is_no_success_and_takes_no_key(case in takeover_case()) {
        let Case(wish, world) = &case;
        let id = record(world).filter(|_| is_mine(world)).and_then(|record| record.claim.project_id());
        let adopt = wish.take_over.spec.adopt.as_ref();
        if let (Some(id), Some(adopt)) = (id, adopt.filter(|_| !wish.is_suspended))
            && *id != adopt.project_id
        {
            prop_assert_ne!(plan(wish, world), Step::Done);
        }
    }

    #[test]
    fn a_foreign_secret_keeps_a_project_from_being_taken_up_unless_its_key_comes_from_there(
        case in takeover_case(),
    ) {
        let Case(wish, world) = &case;
        let world = World { secret: SecretView::Foreign("somebody".to_owned()), ..world.clone() };
        if let Step::Do(Action::TakeUp { claim, .. }) = plan(wish, &world) {
            let is_relic = claim.origin() == Some(Origin::Recovered) && world.take_over.has_relic;
            prop_assert!(is_relic, "a Secret called \"old\" is not the published one");
        }
    }
}
