//! From the raw spec to [`Desired`]: scope, suspension, organization, names, templates. Every field of the spec is taken
//! up here; nothing after this looks at it again.

use std::collections::BTreeMap;

use super::{Step, WATCHED, suspended};
use crate::domain::drift::DriftSpec;
use crate::domain::ids::ProjectName;
use crate::domain::reason::Reason;
use crate::domain::settings::Settings;
use crate::domain::takeover::{TakeOver, TakeOverSpec};
use crate::domain::template::{project_name, render};
use crate::domain::world::{DeletionPolicy, Desired, KeyHealth, OrganizationView, SecretWish};

/// The spec as the user wrote it, defaults filled in, nothing rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// UID of the resource.
    pub uid: String,
    /// Whether it may be in its namespace.
    pub scope: Scope,
    /// Name of the ComposioOrganization.
    pub organization: String,
    /// `spec.projectName` or the name of the resource.
    pub project_name: String,
    /// `spec.settings`.
    pub settings: Settings,
    /// `spec.onDrift`, and what the status says of settings that differ.
    pub drift: DriftSpec,
    /// `spec.secret`.
    pub secret: SecretWish,
    /// `spec.suspend`.
    pub is_suspended: bool,
    /// `spec.deletionPolicy`.
    pub deletion_policy: DeletionPolicy,
    /// `spec.adopt` and `spec.onProjectMissing`.
    pub take_over: TakeOverSpec,
    /// `spec.onInvalidKey`, and whether there is reason to look.
    pub key_health: KeyHealth,
    /// What the status calls the project. A hint: it may stop, never allow.
    pub known_as: Option<String>,
}

/// Whether resources of a namespace may refer to an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// They may.
    Allowed,
    /// It is the operator's own, where nothing is ever made.
    Own,
    /// The organization does not serve it; why.
    Excluded(String),
}

/// Validates; `Err` is the step that the pass ends with instead.
pub fn validate(wish: Wish, organization: &OrganizationView) -> Result<Desired, Step> {
    let wait = |reason, detail: String| {
        if wish.is_suspended { suspended() } else { Step::Wait(reason, detail, WATCHED) }
    };
    let not_allowed = |detail| Err(Step::Stall(Reason::NamespaceNotAllowed, detail));
    match &wish.scope {
        Scope::Allowed => {}
        Scope::Own => return not_allowed(format!("{:?} is the operator's own", wish.namespace)),
        Scope::Excluded(_) if wish.is_suspended => return Err(suspended()),
        Scope::Excluded(why) => return not_allowed(why.clone()),
    }
    let facts = match organization {
        OrganizationView::Ready(facts) => facts,
        OrganizationView::NotFound => {
            return Err(wait(Reason::OrganizationNotFound, format!("{:?}", wish.organization)));
        }
        OrganizationView::NotReady(why) => {
            return Err(wait(Reason::OrganizationNotReady, format!("{:?}, {why}", wish.organization)));
        }
    };
    let invalid = |problem: String| Step::Stall(Reason::SpecInvalid, problem);
    let project_name = project_name(&facts.template, &wish.namespace, &wish.project_name)
        .map_err(|problem| invalid(format!("spec.projectName: {problem}")))?;
    if let Some(known) = wish.known_as.filter(|known| known != project_name.as_str()) {
        let name = project_name.as_str();
        return Err(invalid(format!(
            "the project is called {known:?} and the spec now renders {name:?}; Composio has no rename"
        )));
    }
    check_templates(&wish.secret.template, &project_name).map_err(invalid)?;
    let permit = facts.permits.of(&project_name, &wish.namespace);
    Ok(Desired {
        take_over: TakeOver { spec: wish.take_over, permit },
        key_health: wish.key_health,
        namespace: wish.namespace,
        name: wish.name,
        uid: wish.uid,
        organization: wish.organization,
        organization_id: facts.id.clone(),
        settings_endpoint: facts.settings_endpoint,
        regenerate_key: facts.regenerate_key,
        project_name,
        settings: wish.settings.over(&facts.defaults),
        drift: wish.drift,
        secret: wish.secret,
        base_url: facts.base_url.clone(),
        room: facts.room,
        is_suspended: wish.is_suspended,
        deletion_policy: wish.deletion_policy,
    })
}

/// A template that cannot be rendered is found before the project is made.
fn check_templates(templates: &BTreeMap<String, String>, project_name: &ProjectName) -> Result<(), String> {
    let values = [("apiKey", ""), ("projectId", ""), ("projectName", project_name.as_str()), ("baseUrl", "")];
    for (entry, template) in templates {
        render(template, &values).map_err(|problem| format!("spec.secret.template[{entry:?}]: {problem}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::world::EntryNames;

    fn wish(scope: Scope, is_suspended: bool) -> Wish {
        let text = str::to_owned;
        let entries = EntryNames { api_key: text("KEY"), project_id: text("ID"), base_url: None };
        Wish {
            namespace: text("team"),
            name: text("shop"),
            uid: text("u"),
            scope,
            organization: text("default"),
            project_name: text("shop"),
            settings: Settings::default(),
            drift: DriftSpec::default(),
            secret: SecretWish {
                name: text("shop"),
                entries,
                template: BTreeMap::new(),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
            },
            is_suspended,
            deletion_policy: DeletionPolicy::Retain,
            take_over: TakeOverSpec::default(),
            key_health: KeyHealth::default(),
            known_as: None,
        }
    }

    fn reason(scope: &Scope, is_suspended: bool) -> Option<Reason> {
        match validate(wish(scope.clone(), is_suspended), &OrganizationView::NotFound) {
            Err(Step::Stall(reason, _) | Step::Wait(reason, ..)) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn the_scope_comes_before_the_organization_and_after_suspension() {
        let excluded = Scope::Excluded("labels".to_owned());
        assert_eq!(reason(&Scope::Allowed, false), Some(Reason::OrganizationNotFound));
        assert_eq!(reason(&excluded, false), Some(Reason::NamespaceNotAllowed));
        assert_eq!(reason(&excluded, true), Some(Reason::Suspended));
        assert_eq!(
            reason(&Scope::Own, true),
            Some(Reason::NamespaceNotAllowed),
            "nothing is ever made there"
        );
    }
}
