//! What both kinds share in reporting: conditions with their times, and the patch of a status that differs.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as ApiCondition, Time};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::api_error;
use super::ledger::FIELD_MANAGER;
use crate::domain::condition::Condition;
use crate::domain::failure::Failure;
use crate::domain::reason::Reason;

/// Conditions as the API has them; one whose status did not change keeps its time.
pub fn api_conditions(
    before: &[ApiCondition],
    now: &[Condition],
    generation: Option<i64>,
) -> Vec<ApiCondition> {
    let api_condition = |condition: &Condition| {
        let status = if condition.status { "True" } else { "False" };
        let same = before.iter().find(|old| old.type_ == condition.kind && old.status == status);
        ApiCondition {
            type_: condition.kind.to_owned(),
            status: status.to_owned(),
            reason: condition.reason.as_str(),
            message: condition.message.clone(),
            observed_generation: generation,
            last_transition_time: same
                .map_or_else(|| Time(Timestamp::now()), |old| old.last_transition_time.clone()),
        }
    };
    now.iter().map(api_condition).collect()
}

/// One condition of a list.
pub fn find<'a>(conditions: &'a [ApiCondition], kind: &str) -> Option<&'a ApiCondition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether a status calls its project Ready, and why; only reasons that this release knows, since others can write a status
/// too.
pub fn readiness(conditions: &[ApiCondition]) -> (bool, Option<Reason>) {
    let ready = find(conditions, "Ready");
    let is_known = |reason: &Reason| ready.is_some_and(|ready| ready.reason == reason.as_str());
    (ready.is_some_and(|ready| ready.status == "True"), Reason::ALL.into_iter().find(is_known))
}

/// Writes the status if it differs, unless somebody else has written since `object` was read.
pub async fn patch<K, S>(api: &Api<K>, object: &K, before: Option<&S>, now: &S) -> Result<bool, Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    S: Serialize,
{
    let value =
        |status: Option<&S>| serde_json::to_value(status).map_err(|error| Failure::bug(error.to_string()));
    let changes = difference(&value(before)?, &value(Some(now))?);
    if changes.as_object().is_some_and(Map::is_empty) {
        return Ok(false);
    }
    let metadata = json!({"uid": object.uid(), "resourceVersion": object.resource_version()});
    let body = json!({"metadata": metadata, "status": changes});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_status(&object.name_any(), &params, &Patch::Merge(&body)).await {
        Ok(_) => Ok(true),
        // Deleted meanwhile: nobody is left to tell.
        Err(error) if api_error::is_not_found(&error) => Ok(false),
        Err(error) => Err(api_error::failure("writing the status", &error)),
    }
}

/// The JSON merge patch (RFC 7386) that turns `before` into `now`.
fn difference(before: &Value, now: &Value) -> Value {
    let (Value::Object(before), Value::Object(now)) = (before, now) else {
        return now.clone();
    };
    let gone = before.keys().filter(|name| !now.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let changed = now.iter().filter(|(name, value)| before.get(*name) != Some(value)).map(|(name, value)| {
        let old = before.get(name).unwrap_or(&Value::Null);
        (name.clone(), difference(old, value))
    });
    Value::Object(gone.chain(changed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_removes_adds_and_leaves_equal_members_out() {
        let (before, now) =
            (json!({"a": 1, "b": {"c": 1, "d": 2}, "e": 3}), json!({"b": {"c": 1, "f": [1]}, "e": 3}));
        assert_eq!(difference(&before, &now), json!({"a": null, "b": {"d": null, "f": [1]}}));
        assert_eq!(difference(&now, &now), json!({}));
        assert_eq!(difference(&Value::Null, &now), now);
    }
}
