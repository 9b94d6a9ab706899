//! Tombstones: what stays in the ledger of a project that was deleted, as proof, for `--tombstone-retention`. They hold
//! no key and lock no name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PartialObjectMeta, Preconditions};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::api_error::{is_conflict, words};
use super::context::Context;
use super::ledger::{CLAIM_ENTRY, Ledger, PHASE_LABEL, post_params, secret};
use crate::domain::claim::{Claim, Record};
use crate::domain::ids::{ProjectId, tombstone_name};

/// Type of a tombstone.
const TOMBSTONE_TYPE: &str = "composio.dev/project-tombstone";
/// Annotation of a tombstone: when it was written. One that was restored from a backup has a later `creationTimestamp`.
const WRITTEN_ANNOTATION: &str = "composio.dev/written-time";
/// Selects tombstones.
const TOMBSTONES: &str = "composio.dev/phase=Deleted";
/// Distance between two looks for tombstones that are old enough.
const PURGE_INTERVAL: Duration = Duration::from_hours(1);

impl Ledger {
    /// Writes the tombstone of a claim whose project was seen to be gone at `time`, then removes the claim.
    pub async fn bury(&self, record: &Record, time: Timestamp) -> Result<(), kube::Error> {
        match self.secrets.create(&post_params(), &tombstone(&record.claim, time)?).await {
            Err(error) if !is_conflict(&error) => return Err(error),
            // Written before a crash.
            _ => {}
        }
        self.remove(record).await
    }

    /// Whether a tombstone says that this project is gone.
    pub async fn is_buried(&self, id: &ProjectId) -> Result<bool, kube::Error> {
        Ok(self.secrets.get_metadata_opt(&tombstone_name(id)).await?.is_some())
    }

    /// Removes the tombstones that are older than `retention`; returns how many.
    pub async fn purge(&self, retention: Duration) -> Result<usize, kube::Error> {
        let params = ListParams::default().labels(TOMBSTONES);
        let mut purged = 0;
        for tombstone in self.secrets.list_metadata(&params).await? {
            let age = written_time(&tombstone).map(|written| Timestamp::now().duration_since(written));
            let is_old = age.and_then(|age| Duration::try_from(age).ok()).is_some_and(|age| age > retention);
            if is_old {
                let preconditions = Some(Preconditions { uid: tombstone.uid(), resource_version: None });
                let params = DeleteParams { preconditions, ..DeleteParams::default() };
                self.secrets.delete(&tombstone.name_any(), &params).await?;
                purged += 1;
            }
        }
        Ok(purged)
    }
}

/// When a tombstone was written; for one of a release that did not say so, when its Secret was made.
pub(super) fn written_time(tombstone: &PartialObjectMeta<Secret>) -> Option<Timestamp> {
    let stated = tombstone.annotations().get(WRITTEN_ANNOTATION).and_then(|time| time.parse().ok());
    stated.or_else(|| tombstone.creation_timestamp().map(|born| born.0))
}

/// No secret values: the keys of a project that is gone are dead, and nobody needs them.
fn tombstone(claim: &Claim, time: Timestamp) -> Result<Secret, kube::Error> {
    let mut secret = secret(claim, None)?;
    secret.metadata.name = claim.project_id().map(tombstone_name);
    secret.type_ = Some(TOMBSTONE_TYPE.to_owned());
    let json = serde_json::to_vec(&claim.tombstone(time)).map_err(kube::Error::SerdeError)?;
    secret.data = Some(BTreeMap::from([(CLAIM_ENTRY.to_owned(), ByteString(json))]));
    secret.metadata.labels.get_or_insert_default().insert(PHASE_LABEL.to_owned(), "Deleted".to_owned());
    // By the clock that its age is taken by, which need not be Composio's.
    let written = (WRITTEN_ANNOTATION.to_owned(), Timestamp::now().to_string());
    secret.metadata.annotations.get_or_insert_default().extend([written]);
    Ok(secret)
}

/// Removes old tombstones now and every hour, until stopped.
pub async fn purge(context: Arc<Context>, retention: Duration, stop: CancellationToken) {
    let purging = async {
        while context.leads().is_ok() {
            match context.ledger.purge(retention).await {
                Ok(0) => {}
                Ok(count) => info!(count, "tombstones older than --tombstone-retention were removed"),
                Err(error) => warn!(error = words(&error), "old tombstones were not removed"),
            }
            tokio::time::sleep(PURGE_INTERVAL).await;
        }
    };
    // It ends when it is stopped, or does not lead any more.
    let _: Option<()> = stop.run_until_cancelled(purging).await;
}
