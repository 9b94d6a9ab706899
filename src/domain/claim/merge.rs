//! The merge of answers into claims. An answer may come late: after the claim was changed by another pass, another
//! process or a person. One that carries an id or a key is never dropped because of that.

use super::{Claim, KeyRecord, Origin, Phase, Record, Rotation, Stage};
use crate::domain::answer::Answer;
use crate::domain::ids::ProjectId;
use crate::domain::key::{ApiKey, FingerprintKey};

/// What an answer means for the claim as it is now.
pub enum Merge {
    /// Write this claim with this key. Equal to what is there where the answer adds nothing.
    Write(Box<Claim>, Option<ApiKey>),
    /// Nobody can use the project that this very answer made, and nobody has its key: delete it.
    Discard(ProjectId),
    /// An answer that has nobody left to serve, and whose project is not ours to delete any more.
    Drop,
}

/// Merges the answer to `attempt`, announced by the claim whose Secret has the UID `announced_by`, into the claim as it
/// is now (`None`: it is gone). Pure; called again when the write meets a conflict.
pub fn merge(
    current: Option<&Record>,
    announced_by: &str,
    attempt: u32,
    answer: &Answer,
    secret: &FingerprintKey,
) -> Merge {
    let same = current.filter(|record| record.uid == announced_by);
    match answer {
        Answer::Created { id, key, time } => match same {
            Some(record) if record.claim.project_id().is_none_or(|known| known == id) => {
                let record = record.clone();
                let claim = created(record.claim, attempt, id, *time);
                let may_fill = record.key.is_none() && !claim.is_key_doubtful() && is_kept(&claim);
                // As old as the project: any regenerate is younger, however late this answer comes.
                let issued_time = claim.created_time.unwrap_or(*time);
                match key.clone().filter(|_| may_fill) {
                    Some(key) => owned(claim, key, issued_time, secret),
                    None => Merge::Write(Box::new(claim), record.key),
                }
            }
            // The ledger was restored under another UID: the project is in use.
            None if current.is_some_and(|record| record.claim.project_id() == Some(id)) => Merge::Drop,
            _ => Merge::Discard(id.clone()),
        },
        Answer::Regenerated { id, key, time } => match same {
            Some(record) if record.claim.project_id() == Some(id) && is_kept(&record.claim) => {
                let record = record.clone();
                let is_newer = record.claim.key().is_none_or(|known| known.issued_time <= *time);
                let claim = regenerated(record.claim, attempt, *time);
                if is_newer {
                    owned(claim, key.clone(), *time, secret)
                } else {
                    Merge::Write(Box::new(claim), record.key)
                }
            }
            _ => Merge::Drop,
        },
    }
}

/// Its project is not about to be deleted. If it were, a key that comes now may be dead before it is published; if the
/// project turns out to be kept, another key is asked for.
fn is_kept(claim: &Claim) -> bool {
    claim.phase != Phase::Deleting
}

/// The claim knows its project; the answer clears only its own attempt.
fn created(mut claim: Claim, attempt: u32, id: &ProjectId, time: jiff::Timestamp) -> Claim {
    claim.attempts.retain(|open| open.number != attempt);
    if claim.project_id.is_none() {
        claim.phase = Phase::KeyPending;
        claim.project_id = Some(id.clone());
        claim.created_time = Some(time);
    }
    claim.origin = Some(Origin::Created);
    claim
}

/// The key of this answer's replacement is stored; a later announcement stays. One that replaces another key is proven
/// before it is done, and what was never answered before it stays in doubt; the first key of a project was asked for only
/// when that was settled.
fn regenerated(mut claim: Claim, attempt: u32, time: jiff::Timestamp) -> Claim {
    let last = claim.rotation.take_if(|rotation| rotation.attempt <= attempt);
    if claim.rotation.is_some() {
        return claim;
    }
    let started_time = last.as_ref().map_or(time, |rotation| rotation.started_time);
    let own = last.filter(|rotation| rotation.attempt == attempt);
    let reason = own.as_ref().and_then(|rotation| rotation.reason);
    let is_done = own.as_ref().is_some_and(|rotation| rotation.stage == Stage::Done);
    let stage = if reason.is_some() && !is_done { Stage::Stored } else { Stage::Done };
    let doubtful_since = own.and_then(|rotation| rotation.doubtful_since).filter(|_| reason.is_some());
    claim.rotation = Some(Rotation { attempt, started_time, stage, reason, doubtful_since });
    claim
}

fn owned(mut claim: Claim, key: ApiKey, time: jiff::Timestamp, secret: &FingerprintKey) -> Merge {
    claim.phase = Phase::Owned;
    claim.key = Some(KeyRecord::new(&key, time, secret));
    Merge::Write(Box::new(claim), Some(key))
}
