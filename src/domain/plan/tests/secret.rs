//! Laws of a single decision about the published Secret.

use std::time::Duration;

use proptest::prelude::*;

use super::worlds::{Case, case, is_mine, owned_case, record};
use crate::domain::claim::{Phase, Published, Record};
use crate::domain::plan::{Action, Step, plan, superseded_left, without_calls};
use crate::domain::world::{ClaimView, SecretView, World};

proptest! {
    #[test]
    fn a_key_that_is_worth_a_proof_is_neither_overwritten_nor_replaced_before_it_is_disproved(
        case in case(), owned in owned_case(), version in "[0-2]",
    ) {
        for Case(wish, world) in [case, owned] {
            let world = World { unproven_key: Some(version.clone()), ..world };
            if world.pass.disproved.as_ref() != Some(&version) && is_mine(&world) && record(&world).is_some() {
                let step = plan(&wish, &world);
                let takes_it_away = matches!(
                    step,
                    Step::Do(Action::PublishSecret | Action::AcquireKey { .. } | Action::DeleteUnusable(_)) | Step::Done
                );
                prop_assert!(!takes_it_away, "{:?}", step);
            }
        }
    }

    #[test]
    fn only_a_key_that_nobody_has_judged_in_this_version_is_proven(case in case()) {
        let Case(wish, world) = &case;
        if plan(wish, world) == Step::Do(Action::ProveKey) {
            prop_assert!(world.unproven_key.is_some() && world.unproven_key != world.pass.disproved);
            let phase = record(world).map(|record| record.claim.phase());
            prop_assert!(is_mine(world) && matches!(phase, Some(Phase::KeyPending | Phase::Owned)));
        }
    }

    #[test]
    fn a_secret_that_was_renamed_away_is_removed_only_after_its_time_and_beside_a_published_one(
        case in owned_case(), any in case(),
    ) {
        for Case(wish, world) in [case, any] {
            if let Step::Do(Action::RemoveSuperseded(old, next)) = plan(&wish, &world) {
                let claim = &record(&world).unwrap().claim;
                prop_assert!(claim.superseded().contains(&old) && !next.superseded().contains(&old));
                prop_assert_eq!(next.published(), claim.published());
                let age = world.settling.now.duration_since(old.since_time);
                prop_assert!(Duration::try_from(age).unwrap() >= world.superseded_retention);
                prop_assert_ne!(&old.name, &wish.secret.name);
                prop_assert!(!wish.is_suspended);
                let is_published = matches!(world.secret, SecretView::Ours { is_current: true, .. });
                prop_assert!(is_published, "its successor is not there");
            }
        }
    }

    #[test]
    fn nothing_is_done_with_superseded_secrets_left_over_their_time(case in case()) {
        let Case(wish, world) = &case;
        if plan(wish, world) == Step::Done {
            let left = superseded_left(world, &record(world).unwrap().claim);
            prop_assert!(left.is_none_or(|left| !left.is_zero()));
        }
    }

    #[test]
    fn without_calls_a_secret_of_ours_is_written_and_recorded_and_nothing_else_happens(
        case in owned_case(), any in case(),
    ) {
        for Case(wish, world) in [case, any] {
            let Some(record) = record(&world) else { continue };
            let claim = &record.claim;
            let action = without_calls(&wish, &world, claim).unwrap();
            match &action {
                Some(Action::PublishSecret) => {
                    let is_foreign = matches!(world.secret, SecretView::Foreign(_));
                    prop_assert!(!is_foreign && !wish.is_suspended && claim.phase() == Phase::Owned);
                }
                Some(Action::WriteClaim(next)) => {
                    prop_assert_eq!(next.key(), claim.key());
                    prop_assert!(next.published().is_some() && next.published() != claim.published());
                }
                other => prop_assert!(other.is_none(), "{:?}", other),
            }
        }
    }

    #[test]
    fn a_secret_that_was_published_is_restored_before_the_settings_are_looked_at(case in owned_case()) {
        let Case(wish, world) = &case;
        let record = record(world).unwrap();
        let published = Published { name: "shop".to_owned(), uid: "gone".to_owned() };
        let claim = record.claim.clone().publishing(published, world.settling.now).unwrap();
        let record = Box::new(Record { claim, ..record.clone() });
        let world = World {
            claim: ClaimView::Present(record),
            secret: SecretView::Absent,
            unproven_key: None,
            earlier: None,
            ..world.clone()
        };
        prop_assert_eq!(plan(wish, &world), Step::Do(Action::PublishSecret));
    }
}
