//! The end of a project: its deletion announced, answered, taken back, and what stays of it as proof. When one may be
//! announced is `plan`'s to decide.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Claim, Illegal, Phase, Stage};

/// What a deletion is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// The project can never have a key: it is made again.
    Replace,
    /// The resource is being deleted, by the policy `Delete`.
    Delete,
    /// The resource is being deleted, by the policy `DeleteAndRevoke`.
    DeleteAndRevoke,
}

/// A deletion that was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Server time of the announcement.
    pub started_time: Timestamp,
    /// What it is for.
    pub purpose: Purpose,
    /// Composio has answered that it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// Composio's answer to a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// `x-request-id` of the request.
    pub request_id: String,
    /// The job that revokes the credentials of connected accounts (API 5.5), where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_job_id: Option<String>,
}

/// What became of a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeletionOutcome {
    /// Done.
    Done(Receipt),
    /// Refused for good, or not sent.
    Undone,
}

impl Claim {
    /// `KeyPending`, `Owned`, `Deleting`: announces the deletion of its project. Another one that is announced already is
    /// replaced by it. A creation that may still come to something must be settled before.
    pub fn announce_deletion(mut self, now: Timestamp, purpose: Purpose) -> Result<Self, Illegal> {
        let is_legal = match self.phase {
            Phase::Creating => false,
            Phase::KeyPending => purpose == Purpose::Replace || self.attempts.is_empty(),
            Phase::Owned | Phase::Deleting => purpose != Purpose::Replace && self.attempts.is_empty(),
        };
        if !is_legal {
            return Err(Illegal { phase: self.phase, transition: "announce a deletion" });
        }
        let receipt = self.deletion.and_then(|deletion| deletion.receipt);
        self.phase = Phase::Deleting;
        self.deletion = Some(Deletion { started_time: now, purpose, receipt });
        Ok(self)
    }

    /// `Deleting`: the deletion was refused or not sent, or the project is still there when it is settled.
    pub fn kept(mut self) -> Result<Self, Illegal> {
        self.only_in(Phase::Deleting, "keep its project")?;
        self.phase = if self.key.is_some() { Phase::Owned } else { Phase::KeyPending };
        self.deletion = None;
        Ok(self)
    }

    /// Any phase: the answer to the deletion that was announced at `started_time`; an answer to another one takes nothing
    /// back. A project that was deleted to be replaced is gone; any other is looked for before it counts as gone.
    pub fn deletion_answered(
        mut self,
        started_time: Option<Timestamp>,
        outcome: DeletionOutcome,
    ) -> Result<Self, Illegal> {
        let Some(deletion) = &mut self.deletion else { return Ok(self) };
        let is_meant = Some(deletion.started_time) == started_time;
        match (deletion.purpose, outcome) {
            (Purpose::Delete | Purpose::DeleteAndRevoke, DeletionOutcome::Done(receipt)) => {
                deletion.receipt.get_or_insert(receipt);
                Ok(self)
            }
            (Purpose::Replace, DeletionOutcome::Done(_)) if is_meant => self.gone(),
            (_, DeletionOutcome::Undone) if is_meant => self.kept(),
            _ => Ok(self),
        }
    }

    /// `KeyPending`, or `Deleting` to be replaced: the project is not there: back to `Creating`.
    pub fn gone(mut self) -> Result<Self, Illegal> {
        let is_replaced = self.deletion.as_ref().is_some_and(|open| open.purpose == Purpose::Replace);
        if !is_replaced {
            self.only_in(Phase::KeyPending, "lose its project")?;
        }
        self.phase = Phase::Creating;
        self.deletion = None;
        self.origin = None;
        self.project_id = None;
        self.created_time = None;
        if let Some(rotation) = &mut self.rotation {
            rotation.stage = Stage::Withdrawn;
            rotation.doubtful_since = None;
        }
        self.applied_settings = None;
        Ok(self)
    }

    /// The announced deletion, while `Deleting`.
    pub fn deletion(&self) -> Option<&Deletion> {
        self.deletion.as_ref()
    }

    /// Server time of the announcement, while `Deleting`.
    pub fn deletion_started_time(&self) -> Option<Timestamp> {
        self.deletion.as_ref().map(|deletion| deletion.started_time)
    }

    /// What stays of a claim whose project was seen to be gone at `time`: the claim with the phase `Deleted` and the
    /// proof, without secrets. The ledger keeps it as a tombstone.
    pub fn tombstone(&self, time: Timestamp) -> Value {
        // A claim consists of JSON only.
        let mut value = serde_json::to_value(self).unwrap_or_default();
        let receipt = self.deletion.as_ref().and_then(|deletion| deletion.receipt.as_ref());
        let request_ids: Vec<_> = receipt.map(|receipt| receipt.request_id.clone()).into_iter().collect();
        let job = receipt.and_then(|receipt| receipt.revoke_job_id.clone());
        value["phase"] = json!("Deleted");
        value["deleted"] = json!({"time": time, "revokeJobId": job, "requestIds": request_ids});
        value
    }
}
