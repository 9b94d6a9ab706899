//! Random walks of one claim, and what they are made of. No laws.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use crate::domain::answer::Answer;
use crate::domain::claim::{
    Claim, DeletionOutcome, Illegal, Merge, Owner, Published, Purpose, Receipt, Record, RotationReason, merge,
};
use crate::domain::ids::{OrganizationId, ProjectId, ProjectName};
use crate::domain::key::{ApiKey, FingerprintKey, KeyRecord};
use crate::domain::settings::{Member, Settings};

/// In every key, and nowhere else.
pub(in crate::domain) const MARKER: &str = "MARKERMARKER";
pub(in crate::domain) const SETTLE: Duration = Duration::from_mins(1);
/// UID of the Secret that keeps the claim.
pub(in crate::domain) const UID: &str = "uid-1";

pub(in crate::domain) fn secret() -> FingerprintKey {
    FingerprintKey::new("of the ledger".to_owned())
}

pub(in crate::domain) fn key(number: u32) -> ApiKey {
    ApiKey::parse(&format!("ak_{MARKER}{number:08}")).unwrap()
}

pub(in crate::domain) fn id(number: u8) -> ProjectId {
    ProjectId::try_from(format!("pr_{number}")).unwrap()
}

/// The first is the one that the wishes of the plan's laws have.
fn secret_name(number: u8) -> String {
    if number == 0 { "shop".to_owned() } else { format!("shop-{number}") }
}

fn secret_uid(number: u8) -> String {
    if number == 0 { "secret-uid".to_owned() } else { format!("secret-uid-{number}") }
}

pub(in crate::domain) fn owner(uid: &str) -> Owner {
    Owner {
        namespace: "team".to_owned(),
        namespace_uid: "namespace-uid".to_owned(),
        name: "shop".to_owned(),
        uid: uid.to_owned(),
    }
}

pub(in crate::domain) fn start() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

/// One step: a transition or a late answer. Numbers and ids may be of anything, also of what never was.
#[derive(Debug, Clone)]
pub(in crate::domain) enum Op {
    Tick(u8),
    Announce,
    Refused { attempt: u32, conflict: bool },
    Recovered { id: u8, born_before: u8 },
    Settled,
    SettledButYoungest,
    AnnounceKey,
    AnnounceRotation,
    KeyProven,
    KeyRefused { attempt: u32 },
    KeyMissed { attempt: u32 },
    AnnounceDeletion(Purpose),
    Kept,
    Gone,
    DeletionAnswered { is_gone: bool },
    Rebound,
    Publish { name: u8, uid: u8 },
    RemoveSuperseded { uid: u8 },
    TakeUp { age: u8 },
    WithSettings,
    OfOrganization,
    Adopted { id: u8 },
    AdoptedWithKey { id: u8 },
    RecoveredWithKey { id: u8 },
    Lost,
    Created { attempt: u32, id: u8, has_key: bool },
    Regenerated { attempt: u32, id: u8, age: u8 },
}

impl Op {
    /// Without what it carries.
    pub(in crate::domain) fn name(&self) -> String {
        let text = format!("{self:?}");
        text.split([' ', '(']).next().unwrap_or_default().to_owned()
    }
}

pub(in crate::domain) fn op() -> impl Strategy<Value = Op> {
    let (number, id) = (1..6_u32, 0..2_u8);
    prop_oneof![
        2 => (1..90_u8).prop_map(Op::Tick),
        4 => Just(Op::Announce),
        2 => (number.clone(), any::<bool>()).prop_map(|(attempt, conflict)| Op::Refused { attempt, conflict }),
        2 => (id.clone(), 0..100_u8).prop_map(|(id, born_before)| Op::Recovered { id, born_before }),
        1 => Just(Op::Settled),
        1 => Just(Op::SettledButYoungest),
        4 => Just(Op::AnnounceKey),
        4 => Just(Op::AnnounceRotation),
        1 => Just(Op::KeyProven),
        1 => number.clone().prop_map(|attempt| Op::KeyRefused { attempt }),
        1 => number.clone().prop_map(|attempt| Op::KeyMissed { attempt }),
        3 => prop_oneof![Just(Purpose::Replace), Just(Purpose::Delete), Just(Purpose::DeleteAndRevoke)]
            .prop_map(Op::AnnounceDeletion),
        1 => Just(Op::Kept),
        1 => Just(Op::Gone),
        1 => any::<bool>().prop_map(|is_gone| Op::DeletionAnswered { is_gone }),
        1 => Just(Op::Rebound),
        2 => (0..3_u8, 0..3_u8).prop_map(|(name, uid)| Op::Publish { name, uid }),
        1 => (0..3_u8).prop_map(|uid| Op::RemoveSuperseded { uid }),
        1 => (0..90_u8).prop_map(|age| Op::TakeUp { age }),
        1 => Just(Op::WithSettings),
        1 => Just(Op::OfOrganization),
        1 => id.clone().prop_map(|id| Op::Adopted { id }),
        1 => id.clone().prop_map(|id| Op::AdoptedWithKey { id }),
        1 => id.clone().prop_map(|id| Op::RecoveredWithKey { id }),
        1 => Just(Op::Lost),
        3 => (number.clone(), id.clone(), any::<bool>())
            .prop_map(|(attempt, id, has_key)| Op::Created { attempt, id, has_key }),
        2 => (number, id, 0..90_u8).prop_map(|(attempt, id, age)| Op::Regenerated { attempt, id, age }),
    ]
}

/// At most `most` steps.
pub(in crate::domain) fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    proptest::collection::vec(op(), 0..=most)
}

/// A claim under way, as the ledger holds it.
pub(in crate::domain) struct Walk {
    pub(in crate::domain) record: Record,
    pub(in crate::domain) now: Timestamp,
    /// Numbers of all announced creations, in order.
    pub(in crate::domain) creations: Vec<u32>,
    /// Numbers of all announced key replacements, in order.
    pub(in crate::domain) replacements: Vec<u32>,
    keys: u32,
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}", self.record.claim, self.record.uid)
    }
}

impl Walk {
    pub(in crate::domain) fn new() -> Self {
        let name = ProjectName::try_from("prod-shop".to_owned()).unwrap();
        Self::of(Claim::new(owner("resource-1"), "default".to_owned(), None, name))
    }

    /// Goes on with a claim that has no key.
    pub(in crate::domain) fn of(claim: Claim) -> Self {
        let key = claim.key().map(|_| key(0));
        let record = Record { claim, key, uid: UID.to_owned(), resource_version: "1".to_owned() };
        Self { record, now: start(), creations: Vec::new(), replacements: Vec::new(), keys: 0 }
    }

    pub(in crate::domain) fn open_attempts(&self) -> Vec<u32> {
        self.record.claim.attempts().iter().map(|attempt| attempt.number).collect()
    }

    /// Carries one step out; an illegal one leaves the claim as it is, as it does in the ledger.
    pub(in crate::domain) fn step(&mut self, op: &Op) -> Result<(), Illegal> {
        self.now += SignedDuration::from_millis(10);
        let (claim, now) = (self.record.claim.clone(), self.now);
        self.record.claim = match op {
            Op::Tick(seconds) => {
                self.now += SignedDuration::from_secs((*seconds).into());
                claim
            }
            Op::Announce => {
                let (claim, number) = claim.announce(now)?;
                self.creations.push(number);
                claim
            }
            Op::AnnounceKey => {
                let (claim, number) = claim.announce_key(now)?;
                self.replacements.push(number);
                claim
            }
            Op::AnnounceRotation => {
                let (claim, number) = claim.announce_rotation(now, RotationReason::InvalidKey)?;
                self.replacements.push(number);
                claim
            }
            Op::TakeUp { age } => {
                self.keys += 1;
                let (key, issued_time) = (key(self.keys), now - SignedDuration::from_secs((*age).into()));
                let claim = self.record.taking_up(&key, issued_time, &secret())?;
                self.record.key = Some(key);
                claim
            }
            Op::AdoptedWithKey { id: n } | Op::RecoveredWithKey { id: n } => {
                self.keys += 1;
                let key = key(self.keys);
                let about = KeyRecord::new(&key, now, &secret());
                let claim = match op {
                    Op::AdoptedWithKey { .. } => claim.adopted_with_key(id(*n), now, about)?,
                    _ => claim.recovered_with_key(id(*n), now, about)?,
                };
                self.record.key = Some(key);
                claim
            }
            Op::Lost => {
                let claim = claim.lost()?;
                self.record.key = None;
                claim
            }
            Op::Created { .. } | Op::Regenerated { .. } => {
                let (attempt, answer) = self.answer(op);
                self.absorb(attempt, &answer);
                return Ok(());
            }
            transition => apply(claim, transition, now)?,
        };
        Ok(())
    }

    /// The answer that an operation stands for, with a key of its own.
    pub(in crate::domain) fn answer(&mut self, op: &Op) -> (u32, Answer) {
        self.keys += 1;
        match op {
            Op::Created { attempt, id: n, has_key } => {
                let key = has_key.then(|| key(self.keys));
                let (id, time) = (id(*n), self.now);
                (*attempt, Answer::Created { id, key, time })
            }
            Op::Regenerated { attempt, id: n, age } => {
                let time = self.now - SignedDuration::from_secs((*age).into());
                let (id, key) = (id(*n), key(self.keys));
                (*attempt, Answer::Regenerated { id, key, time })
            }
            other => panic!("{other:?} is no answer"),
        }
    }

    /// Merges an answer and writes what comes of it.
    pub(in crate::domain) fn absorb(&mut self, attempt: u32, answer: &Answer) {
        if let Merge::Write(claim, key) = merge(Some(&self.record), UID, attempt, answer, &secret()) {
            self.record.claim = *claim;
            self.record.key = key;
        }
    }
}

/// Composio's word that a project is deleted.
pub(in crate::domain) fn receipt() -> DeletionOutcome {
    DeletionOutcome::Done(Receipt { request_id: "request-1".to_owned(), revoke_job_id: None })
}

fn apply(claim: Claim, op: &Op, now: Timestamp) -> Result<Claim, Illegal> {
    Ok(match op {
        Op::Refused { attempt, conflict } => claim.refused(*attempt, *conflict),
        Op::Recovered { id: n, born_before } => {
            claim.recovered(id(*n), now - SignedDuration::from_secs((*born_before).into()))?
        }
        Op::Adopted { id: n } => claim.adopted(id(*n), now)?,
        Op::Settled => claim.settled(),
        Op::SettledButYoungest => claim.settled_but_youngest(),
        Op::KeyRefused { attempt } => claim.key_refused(*attempt),
        Op::KeyProven => claim.key_proven(),
        Op::KeyMissed { attempt } => claim.key_missed(*attempt, SETTLE)?,
        Op::AnnounceDeletion(purpose) => claim.announce_deletion(now, *purpose)?,
        Op::Kept => claim.kept()?,
        Op::Gone => claim.gone()?,
        Op::DeletionAnswered { is_gone } => {
            let started_time = claim.deletion_started_time();
            let outcome = if *is_gone { receipt() } else { DeletionOutcome::Undone };
            claim.deletion_answered(started_time, outcome)?
        }
        Op::Rebound => claim.rebound(owner("resource-2")),
        Op::Publish { name, uid } => {
            claim.publishing(Published { name: secret_name(*name), uid: secret_uid(*uid) }, now)?
        }
        Op::RemoveSuperseded { uid } => claim.without_superseded(&secret_uid(*uid)),
        Op::WithSettings => {
            let values: Settings = [(Member::DisplayName, json!("Shop"))].into_iter().collect();
            claim.with_settings(values, now)?
        }
        Op::OfOrganization => {
            let id = OrganizationId::try_from("ok_1".to_owned()).unwrap();
            claim.of_organization(Some(&id))
        }
        other => panic!("{other:?} is no plain transition"),
    })
}
