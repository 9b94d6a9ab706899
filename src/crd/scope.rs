//! Schema of which namespaces an organization serves: a label selector as Kubernetes has it, with bounds.

use std::collections::{BTreeMap, BTreeSet};

use kube::KubeSchema;
use kube::core::{Expression, Selector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rules;
use super::secret::null_as_empty;

/// Selects namespaces by their labels. All conditions must hold; without any condition, every namespace is selected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelectorSpec {
    /// Labels that must be there with exactly these values, at most 32.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("nullable" = true, "maxProperties" = 32, "additionalProperties" = rules::label_values()))]
    #[x_kube(validation = rules::qualified_names())]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions, at most 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub match_expressions: Option<Vec<LabelConditionSpec>>,
}

/// A condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)")
        .message("must have at least one value, because operator is In or NotIn").field_path(".values").reason(Reason::FieldValueRequired),
    validation = Rule::new("self.operator in ['In', 'NotIn'] || !has(self.values) || self.values.size() == 0")
        .message("must be absent, because operator is Exists or DoesNotExist").field_path(".values").reason(Reason::FieldValueForbidden)
)]
pub struct LabelConditionSpec {
    /// Name of the label.
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(validation = rules::qualified_name())]
    pub key: String,
    /// In, NotIn: its value is, or is not, among values; without the label, NotIn holds. Exists, DoesNotExist: it is there,
    /// or not, whatever its value.
    pub operator: LabelOperator,
    /// Values for In and NotIn, at most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxItems" = 64, "items" = label_value()))]
    pub values: Option<Vec<String>>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// Its value is one of these.
    In,
    /// It is not there, or its value is none of these.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

fn label_value() -> Value {
    let mut schema = rules::label_values();
    schema["description"] = "A value of the label.".into();
    schema
}

impl From<&NamespaceSelectorSpec> for Selector {
    fn from(spec: &NamespaceSelectorSpec) -> Self {
        let NamespaceSelectorSpec { match_labels, match_expressions } = spec;
        let equal = match_labels.iter().map(|(key, value)| Expression::Equal(key.clone(), value.clone()));
        let expressions = match_expressions.iter().flatten().map(|condition| {
            let LabelConditionSpec { key, operator, values } = condition;
            let (key, values) = (key.clone(), values.iter().flatten().cloned().collect::<BTreeSet<_>>());
            match operator {
                LabelOperator::In => Expression::In(key, values),
                LabelOperator::NotIn => Expression::NotIn(key, values),
                LabelOperator::Exists => Expression::Exists(key),
                LabelOperator::DoesNotExist => Expression::DoesNotExist(key),
            }
        });
        equal.chain(expressions).collect()
    }
}

#[cfg(test)]
mod tests {
    use kube::core::SelectorExt as _;
    use serde_json::json;

    use super::*;

    fn selects(spec: Value, labels: &[(&str, &str)]) -> bool {
        let spec: NamespaceSelectorSpec = serde_json::from_value(spec).unwrap();
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Selector::from(&spec).matches(&labels)
    }

    #[test]
    fn a_selector_means_what_it_means_in_kubernetes() {
        let condition = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "team", "operator": operator, "values": values}]});
        let (shop, other, none) = ([("team", "shop")], [("team", "other")], []);
        assert!(selects(json!({}), &none) && selects(json!({"matchLabels": null}), &shop));
        for (spec, selected) in [
            (json!({"matchLabels": {"team": "shop"}}), [true, false, false]),
            (condition("In", &["shop", "store"]), [true, false, false]),
            (condition("NotIn", &["shop", "store"]), [false, true, true]),
            (condition("Exists", &[]), [true, true, false]),
            (condition("DoesNotExist", &[]), [false, false, true]),
        ] {
            let found = [&shop[..], &other, &none].map(|labels| selects(spec.clone(), labels));
            assert_eq!(found, selected, "{spec}");
        }
        let both = json!({
            "matchLabels": {"team": "shop"}, "matchExpressions": [{"key": "env", "operator": "Exists"}]
        });
        assert!(!selects(both.clone(), &shop) && selects(both, &[("team", "shop"), ("env", "")]));
    }
}
