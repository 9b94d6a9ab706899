//! The walk for evidence: the whole list, and one read by id where a project may be ours. The verdict is
//! `domain::evidence`'s.

use super::api_error::words;
use super::context::Context;
use super::organizations::Organization;
use crate::composio::BootInstant;
use crate::domain::answer::CallError;
use crate::domain::claim::Record;
use crate::domain::evidence::{Detail, Evidence, Found, in_window};

/// Walks for the project of one claim.
pub async fn walk(
    context: &Context,
    organization: &Organization,
    record: &Record,
) -> Result<Evidence, CallError> {
    let (client, key) = (&organization.client, &organization.key);
    let wanted = record.claim.project_name().as_str();
    let settle = context.limits.settle();
    // Before the walk: what it overlooks because it was too early proves nothing.
    let settling = context.sightings.settling(record, client.server_now(), settle);
    let (is_settled, ago) = settling.counts_from(record.claim.attempts());
    let listing = organization.listed(BootInstant::now().earlier(ago)).await?;
    let found = listing.named(wanted).cloned();
    if found.is_none() && !organization.proves_absence(&record.claim) {
        return Err(CallError::NotSent(
            "the key has not shown yet that it is of this organization, so that an empty list proves nothing"
                .to_owned(),
        ));
    }
    context.sightings.walked(&record.uid, is_settled && found.is_none());
    let Some(project) = found else {
        return Ok(Evidence { is_settled, found: None });
    };
    let unreadable =
        |error: kube::Error| CallError::NotSent(format!("the ledger cannot be listed: {}", words(&error)));
    let is_claimed =
        context.ledger.is_claimed(&project.id, &record.claim.name()).await.map_err(unreadable)?;
    let is_candidate = !is_claimed && in_window(record.claim.attempts(), project.created_at, settle);
    let detail = match is_candidate {
        true => client.read_project(key, &project.id).await?,
        false => None,
    };
    let detail = detail.map(|detail| Detail {
        keys: detail.api_keys.iter().map(|key| key.created_at).collect(),
        is_used: detail.last_subscribed_at.is_some(),
    });
    Ok(Evidence {
        is_settled,
        found: Some(Found { id: project.id, created_time: project.created_at, is_claimed, detail }),
    })
}
