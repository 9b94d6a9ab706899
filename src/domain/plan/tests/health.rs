//! Laws of a single decision about the health of a key.

use std::time::Duration;

use proptest::prelude::*;

use super::worlds::{Case, Whose, case, claim_view, owned_case, record};
use crate::domain::budget::{Lane, Room};
use crate::domain::claim::tests::walk::{Op, Walk};
use crate::domain::claim::{Phase, Published, Stage};
use crate::domain::plan::{Action, Step, plan, wanted_lane};
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::takeover::{Suspicion, TakeOverView};
use crate::domain::world::{
    Capability, ClaimView, Desired, InvalidKeyPolicy, KeyCheck, KeyHealth, KeysSeen, OwnKey, Pass,
    SecretView, World,
};

/// A world in which two witnesses agree that the key of an `Owned` claim is dead, a day after its birth.
pub(super) fn dead_case(others: usize) -> BoxedStrategy<Case> {
    let dead = owned_case().prop_map(move |Case(wish, mut world)| {
        world.settling.now += jiff::SignedDuration::from_hours(24);
        world.pass.key = KeyCheck::Rejected("it is unknown".to_owned());
        let others = vec![world.settling.now; others];
        world.pass.keys = Some(KeysSeen::Listed { own: OwnKey::Unlisted, others });
        world.pass.is_key_refused = false;
        world.secret = SecretView::Ours { uid: "secret-uid".to_owned(), has_key: true, is_current: true };
        if let ClaimView::Present(record) = &mut world.claim {
            let published = Published { name: "shop".to_owned(), uid: "secret-uid".to_owned() };
            record.claim = record.claim.clone().publishing(published, world.settling.now).unwrap();
        }
        let superseded_retention = Duration::from_hours(1000);
        Case(wish, World { unproven_key: None, earlier: None, superseded_retention, ..world })
    });
    dead.boxed()
}

/// The same with a replacement of the key that was announced, and answered if so; nothing else is open.
fn rotating(Case(wish, world): &Case, is_answered: bool) -> Case {
    let mut walk = Walk::new();
    let created = Op::Created { attempt: 1, id: 1, has_key: true };
    let ops = [Op::Announce, created, Op::AnnounceRotation, Op::Regenerated { attempt: 1, id: 1, age: 0 }];
    for op in ops.iter().take(if is_answered { 4 } else { 3 }) {
        walk.step(op).unwrap();
    }
    let mut record = walk.record;
    let published = Published { name: "shop".to_owned(), uid: "secret-uid".to_owned() };
    record.claim = record.claim.publishing(published, walk.now).unwrap();
    let wish = Desired { settings: Settings::default(), key_health: KeyHealth::default(), ..wish.clone() };
    let mut world = World {
        claim: claim_view(Whose::Mine, record),
        secret: SecretView::Ours { uid: "secret-uid".to_owned(), has_key: true, is_current: true },
        unproven_key: None,
        earlier: None,
        take_over: TakeOverView::default(),
        pass: Pass::default(),
        ..world.clone()
    };
    world.settling.now = walk.now;
    let mut wish = wish;
    wish.take_over.spec.suspicion = Suspicion::None;
    Case(wish, world)
}

fn with_policy(wish: &Desired, on_invalid: InvalidKeyPolicy) -> Desired {
    let mut wish = Desired { regenerate_key: Capability::Unknown, ..wish.clone() };
    wish.key_health.on_invalid = on_invalid;
    wish
}

fn is_replaced(step: &Step) -> bool {
    matches!(step, Step::Do(Action::AcquireKey { .. }))
}

proptest! {
    #[test]
    fn a_known_key_is_replaced_only_where_two_witnesses_call_it_dead_and_nobody_is_hurt(
        any in case(), owned in owned_case(), dead in dead_case(0),
    ) {
        for Case(wish, world) in [&any, &owned, &dead] {
            let (step, Some(before)) = (plan(wish, world), record(world)) else { continue };
            let Step::Do(Action::AcquireKey { claim: next, .. }) = &step else { continue };
            if before.claim.phase() != Phase::Owned {
                continue;
            }
            prop_assert!(matches!(world.pass.key, KeyCheck::Rejected(_)));
            let Some(KeysSeen::Listed { own, others }) = &world.pass.keys else { panic!("one witness alone") };
            prop_assert_ne!(*own, OwnKey::Listed);
            let is_open = before.claim.is_key_doubtful();
            let policy = wish.key_health.on_invalid;
            let is_harmless = others.is_empty() || (is_open && others.len() == 1);
            prop_assert!(is_harmless || policy == InvalidKeyPolicy::Regenerate);
            prop_assert!(is_open || policy != InvalidKeyPolicy::Report);
            prop_assert!(!wish.is_suspended || before.claim.is_key_announced());
            prop_assert!(matches!(world.secret, SecretView::Ours { .. }), "it could not be published");
            prop_assert_eq!(next.key(), before.claim.key(), "the old key stays until the new one is there");
            prop_assert_eq!(next.rotation().map(|rotation| rotation.stage), Some(Stage::Announced));
            prop_assert_eq!(next.is_key_doubtful(), true);
        }
    }

    #[test]
    fn a_dead_key_is_replaced_by_default_only_where_no_other_key_is_left(none in dead_case(0), some in dead_case(2)) {
        for policy in [InvalidKeyPolicy::RegenerateIfNoneLeft, InvalidKeyPolicy::Regenerate] {
            prop_assert!(is_replaced(&plan(&with_policy(&none.0, policy), &none.1)));
        }
        let default = plan(&with_policy(&some.0, InvalidKeyPolicy::RegenerateIfNoneLeft), &some.1);
        prop_assert!(matches!(&default, Step::Stall(Reason::KeyRejected, words) if words.contains("(2)")), "{default:?}");
        prop_assert!(is_replaced(&plan(&with_policy(&some.0, InvalidKeyPolicy::Regenerate), &some.1)));
        for Case(wish, world) in [&none, &some] {
            let step = plan(&with_policy(wish, InvalidKeyPolicy::Report), world);
            prop_assert!(matches!(step, Step::Stall(Reason::KeyRejected, _)), "{:?}", step);
        }
    }

    #[test]
    fn where_composio_refuses_it_a_dead_key_is_replaced_again_only_when_a_person_asks(
        case in dead_case(0), is_asked: bool,
    ) {
        let Case(wish, world) = &case;
        let mut wish = with_policy(wish, InvalidKeyPolicy::Regenerate);
        wish.regenerate_key = Capability::Unavailable;
        wish.key_health.is_asked = is_asked;
        let step = plan(&wish, world);
        prop_assert_eq!(is_replaced(&step), is_asked, "{:?}", step);
        prop_assert!(is_asked || matches!(step, Step::Stall(Reason::RotationNotEnabled, _)));
    }

    #[test]
    fn a_key_that_was_issued_a_moment_ago_is_not_judged(case in dead_case(0)) {
        let Case(wish, mut world) = case;
        let issued = record(&world).and_then(|record| record.claim.key().map(|key| key.issued_time)).unwrap();
        world.settling.now = issued + jiff::SignedDuration::try_from(Duration::from_secs(30)).unwrap();
        let step = plan(&wish, &world);
        prop_assert!(!matches!(step, Step::Do(Action::AcquireKey { .. } | Action::ReadKeys { .. })), "{:?}", step);
        prop_assert!(!matches!(step, Step::Stall(Reason::KeyRejected, _)), "{:?}", step);
    }

    #[test]
    fn what_proves_a_replacement_has_room_as_long_as_releases_have(case in owned_case(), is_answered: bool) {
        let Case(wish, world) = rotating(&case, is_answered);
        let closed = Some(Duration::from_secs(7));
        let wish = Desired { room: Room { work: closed, observe: closed, urgent: None }, ..wish };
        prop_assert_eq!(plan(&wish, &world), Step::Do(Action::ProveOwnKey { lane: Lane::Urgent }));
    }

    #[test]
    fn a_suspended_resource_publishes_the_key_that_its_replacement_has_brought(case in owned_case()) {
        let Case(wish, mut world) = rotating(&case, true);
        let wish = Desired { is_suspended: true, ..wish };
        let ours = |is_current| SecretView::Ours { uid: "secret-uid".to_owned(), has_key: is_current, is_current };
        world.secret = ours(false);
        prop_assert_eq!(plan(&wish, &world), Step::Do(Action::PublishSecret));
        world.secret = ours(true);
        prop_assert_eq!(plan(&wish, &world), Step::Do(Action::ProveOwnKey { lane: Lane::Urgent }));
        world.pass.key = KeyCheck::Lives;
        let step = plan(&wish, &world);
        let Step::Do(Action::WriteClaim(proven)) = &step else { panic!("{step:?}") };
        prop_assert!(!proven.is_rotation_open());
    }

    #[test]
    fn who_waits_for_room_waits_in_the_lane_of_what_comes_next(any in case(), owned in owned_case()) {
        let closed = Some(Duration::from_secs(7));
        for Case(wish, world) in [any, owned] {
            for lane in Lane::ALL {
                let mut room = Room::default();
                match lane {
                    Lane::Urgent => room.urgent = closed,
                    Lane::Work => room.work = closed,
                    Lane::Observe => room.observe = closed,
                }
                let wish = Desired { room, ..wish.clone() };
                if matches!(plan(&wish, &world), Step::Wait(Reason::Throttled, ..)) {
                    prop_assert_eq!(wanted_lane(&wish, &world), Some(lane));
                }
            }
        }
    }
}
