//! Which rights the chart grants the operator, and which it uses.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::Method;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use testbed::chart::rendered;
use testbed::proxy::{Action, ApiProxy, Exchange, Match};

/// One verb on one resource; in the operator's own namespace, or elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    place: &'static str,
    group: String,
    /// With its subresource.
    resource: String,
    verb: &'static str,
}

const OWN: &str = "own namespace";
const ELSEWHERE: &str = "elsewhere";
const VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];

/// What the chart grants without values.
pub(crate) fn granted(system: &str) -> BTreeSet<Right> {
    let objects = rendered(system, &[]).expect("the chart");
    let mut rights = BTreeSet::new();
    for object in objects {
        let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
        let is_for_people =
            object.metadata.labels.iter().flatten().any(|(name, _)| name.contains("aggregate-to"));
        let (place, rules) = match kind.as_str() {
            "Role" => (OWN, object.try_parse::<Role>().expect("a Role").rules),
            "ClusterRole" if !is_for_people => {
                (ELSEWHERE, object.try_parse::<ClusterRole>().expect("a ClusterRole").rules)
            }
            _ => continue,
        };
        rights.extend(rules.into_iter().flatten().flat_map(|rule| of_rule(place, rule)));
    }
    rights
}

fn of_rule(place: &'static str, rule: PolicyRule) -> Vec<Right> {
    let (groups, resources) = (rule.api_groups.unwrap_or_default(), rule.resources.unwrap_or_default());
    let mut rights = Vec::new();
    for (group, resource) in
        groups.iter().flat_map(|group| resources.iter().map(move |resource| (group, resource)))
    {
        for verb in &rule.verbs {
            let verb = VERBS.into_iter().find(|known| known == verb).expect("a verb, and no asterisk");
            rights.push(Right { place, group: group.clone(), resource: resource.clone(), verb });
        }
    }
    rights
}

/// What goes through a proxy, which it keeps up.
pub(crate) struct Used {
    rights: Arc<Mutex<BTreeSet<Right>>>,
    _proxy: ApiProxy,
}

impl Used {
    /// Notes what an operator of this namespace asks for.
    pub(crate) fn follow(proxy: ApiProxy, system: &str) -> Self {
        let used: Arc<Mutex<BTreeSet<Right>>> = Arc::default();
        let (noted, system) = (used.clone(), system.to_owned());
        let note = move |exchange: &Exchange| {
            let right = of_request(exchange, &system);
            noted.lock().unwrap_or_else(PoisonError::into_inner).extend(right);
            false
        };
        proxy.on(Match::any().when(note), Action::before(|_| async {}));
        Self { rights: used, _proxy: proxy }
    }

    /// All until now.
    pub(crate) fn all(&self) -> BTreeSet<Right> {
        self.rights.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The right that a request takes, in the manner of the API server; `None` for what is not about a resource.
fn of_request(exchange: &Exchange, system: &str) -> Option<Right> {
    let parts: Vec<&str> = exchange.path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        rest => (None, rest),
    };
    let (resource, name) = match rest {
        [resource, name, sub] => (format!("{resource}/{sub}"), Some(name)),
        [resource, name] => ((*resource).to_owned(), Some(name)),
        [resource] => ((*resource).to_owned(), None),
        _ => return None,
    };
    let verb = match (&exchange.method, name) {
        (&Method::GET, Some(_)) => "get",
        (&Method::GET, None) if exchange.query.contains("watch=") => "watch",
        (&Method::GET, None) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, _) => "delete",
        _ => return None,
    };
    let place = if namespace == Some(system) { OWN } else { ELSEWHERE };
    Some(Right { place, group: group.to_owned(), resource, verb })
}
