//! What is reported of the settings: the condition, the list of what differs, the Events; and what a pass that has looked
//! leaves behind for the next ones.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tracing::info;

use super::gather::Facts;
use crate::controller::context::Context;
use crate::controller::status;
use crate::crd::{ComposioProject, ComposioProjectStatus, DriftStatus};
use crate::domain::condition::{Known, Outcome};
use crate::domain::drift::DriftPolicy;
use crate::domain::plan::{Step, open_settings};
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;

/// Longest value in the list.
const LONGEST_VALUE: usize = 2048;

/// The managed members that are not known to be as wanted.
fn open(facts: &Facts) -> Option<Settings> {
    let desired = facts.desired.as_ref()?;
    Some(match &facts.record {
        Some(record) => open_settings(desired, &record.claim),
        None => desired.settings.clone(),
    })
}

/// Differences that stay after a look are not tried again before the next one.
pub(super) fn conclude(context: &Context, facts: &Facts, outcome: &Outcome) {
    let has_ended = matches!(outcome, Outcome::Step(Step::Done | Step::Stall(..)));
    if let (true, Some(desired), Some(open)) = (has_ended && facts.has_looked, &facts.desired, open(facts)) {
        context.looks.concluded(desired, !open.is_empty());
    }
}

/// `SettingsSynced`; `None` where nothing is known that is not in the status already.
pub(super) fn settings_known(facts: &Facts, outcome: &Outcome) -> Known {
    let (desired, open) = (facts.desired.as_ref()?, open(facts)?);
    let (reason, detail) = outcome.reason()?;
    if desired.settings.is_empty() {
        return Some((true, Reason::Reconciled, "no settings are managed".to_owned()));
    }
    let is_gone = desired.settings_endpoint.is_gone();
    let fields = desired.settings.fields();
    Some(match outcome {
        _ if open.is_empty() && is_gone => {
            (true, Reason::AppliedAtCreation, Reason::AppliedAtCreation.message(&fields))
        }
        _ if open.is_empty() => (true, Reason::Reconciled, format!("applied: {fields}")),
        // Only where it is only to be reported.
        Outcome::Step(Step::Done) => {
            let reason = if is_gone { Reason::SettingsUnavailable } else { Reason::Drifted };
            (false, reason, reason.message(&open.fields()))
        }
        // As it was said before.
        _ if desired.drift.policy == DriftPolicy::Report && facts.record.is_some() => return None,
        _ => (false, reason, reason.message(detail)),
    })
}

/// What differs, where it is only to be reported; since when stays as long as it differs.
pub(super) fn drift(facts: &Facts, outcome: &Outcome, before: &[DriftStatus]) -> Vec<DriftStatus> {
    let (Some(desired), Some(record)) = (&facts.desired, &facts.record) else {
        return before.to_vec();
    };
    let is_reported = desired.drift.policy == DriftPolicy::Report && !desired.settings_endpoint.is_gone();
    let applied = match record.claim.applied_settings() {
        Some(applied) if is_reported && matches!(outcome, Outcome::Step(Step::Done)) => applied,
        _ if is_reported => return before.to_vec(),
        _ => return Vec::new(),
    };
    let short = |value: &str| value.chars().take(LONGEST_VALUE).collect::<String>();
    let differences = desired.settings.differences(&applied.values).into_iter();
    let status = differences.map(|difference| {
        let since = before.iter().find(|old| old.field == difference.field);
        DriftStatus {
            field: difference.field.to_owned(),
            desired: short(&difference.desired),
            observed: difference.observed.as_deref().map(short),
            since_time: since.map_or_else(|| Time(Timestamp::now()), |old| old.since_time.clone()),
        }
    });
    status.collect()
}

/// One Event for members that somebody else had changed and that are as wanted again. Nothing else shows it.
pub(super) async fn put_back(context: &Context, object: &ComposioProject, facts: &Facts) {
    let is_well = open(facts).is_some_and(|open| open.is_empty());
    if let Some(fields) = facts.put_back.as_ref().filter(|_| is_well) {
        let note = format!("settings were changed at Composio and are put back: {fields}");
        info!("{note}");
        context.events.publish(object, true, Reason::Drifted, &note).await;
    }
}

/// One Event when settings begin to differ that are only to be reported.
pub(super) async fn tell_drift(
    context: &Context,
    object: &ComposioProject,
    before: &ComposioProjectStatus,
    after: &ComposioProjectStatus,
) {
    let drifted = |status: &ComposioProjectStatus| {
        let synced = status::find(&status.conditions, "SettingsSynced").cloned();
        synced.filter(|synced| synced.reason == Reason::Drifted.as_str())
    };
    if let (None, Some(synced)) = (drifted(before), drifted(after)) {
        context.events.publish(object, false, Reason::Drifted, &synced.message).await;
    }
}
