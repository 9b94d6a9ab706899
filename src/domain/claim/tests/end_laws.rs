//! Laws of the end of a claim: what is known of a deletion is not forgotten, and what stays of it holds no key.

use proptest::prelude::*;
use serde_json::json;

use super::walk::{self, Op, Walk, ops};
use crate::domain::claim::{Claim, Phase, Purpose};

fn receipt(claim: &Claim) -> Option<&crate::domain::claim::Receipt> {
    claim.deletion().and_then(|deletion| deletion.receipt.as_ref())
}

proptest! {
    #[test]
    fn composios_word_that_a_project_is_deleted_is_never_lost_while_the_deletion_is_announced(
        before in ops(12), after in ops(8), again in any::<bool>(),
    ) {
        let mut walk = Walk::new();
        let created = Op::Created { attempt: 1, id: 1, has_key: true };
        let deleted = [Op::Settled, Op::AnnounceDeletion(Purpose::Delete), Op::DeletionAnswered { is_gone: true }];
        let once_more = again.then_some(Op::AnnounceDeletion(Purpose::DeleteAndRevoke));
        let ops = before.iter().chain([&Op::Announce, &created]).chain(&deleted).chain(&once_more).chain(&after);
        for op in ops {
            let before = receipt(&walk.record.claim).cloned();
            let _ = walk.step(op);
            let claim = &walk.record.claim;
            if before.is_some() && claim.phase() == Phase::Deleting {
                prop_assert_eq!(receipt(claim), before.as_ref(), "{:?}", op);
            }
            if before.is_some() && claim.phase() != Phase::Deleting {
                let is_meant = matches!(op, Op::Kept | Op::Gone | Op::DeletionAnswered { .. });
                prop_assert!(is_meant, "{:?} ended a deletion that is done", op);
            }
        }
    }

    #[test]
    fn an_announced_deletion_ends_by_a_look_or_by_its_own_answer_only(ops in ops(24)) {
        let mut walk = Walk::new();
        for op in &ops {
            let was = walk.record.claim.phase() == Phase::Deleting;
            let _ = walk.step(op);
            if was && walk.record.claim.phase() != Phase::Deleting {
                let is_meant = matches!(op, Op::Kept | Op::Gone | Op::DeletionAnswered { .. });
                prop_assert!(is_meant, "{:?}", op);
            }
        }
    }

    #[test]
    fn a_tombstone_names_project_owner_and_proof_and_holds_no_key(ops in ops(24)) {
        let mut walk = Walk::new();
        for op in &ops {
            let _ = walk.step(op);
            let claim = &walk.record.claim;
            let tombstone = claim.tombstone(walk.now);
            prop_assert_eq!(&tombstone["phase"], "Deleted");
            prop_assert_eq!(&tombstone["projectName"], claim.project_name().as_str());
            prop_assert_eq!(&tombstone["owner"]["uid"], claim.owner().uid.as_str());
            prop_assert_eq!(&tombstone["deleted"]["time"], &json!(walk.now));
            let proof: Vec<_> = receipt(claim).map(|known| known.request_id.clone()).into_iter().collect();
            prop_assert_eq!(&tombstone["deleted"]["requestIds"], &json!(proof));
            prop_assert!(!tombstone.to_string().contains(walk::MARKER), "a key is in it");
            // Whoever takes it for a claim cannot read it.
            prop_assert!(serde_json::from_value::<Claim>(tombstone).is_err());
        }
    }
}
