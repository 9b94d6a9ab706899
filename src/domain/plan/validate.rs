//! From the raw spec to [`Desired`]: scope, suspension, organization, names, templates. Every field of the spec is taken
//! up here; nothing after this looks at it again.

use std::collections::BTreeMap;

use super::{Step, WATCHED, suspended};
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
    /// It is in the operator's own namespace.
    pub is_in_own_namespace: bool,
    /// Name of the ComposioOrganization.
    pub organization: String,
    /// `spec.projectName` or the name of the resource.
    pub project_name: String,
    /// `spec.settings`.
    pub settings: Settings,
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

/// Validates; `Err` is the step that the pass ends with instead.
pub fn validate(wish: Wish, organization: &OrganizationView) -> Result<Desired, Step> {
    let wait = |reason, detail: String| {
        if wish.is_suspended { suspended() } else { Step::Wait(reason, detail, WATCHED) }
    };
    if wish.is_in_own_namespace {
        return Err(Step::Stall(
            Reason::NamespaceNotAllowed,
            format!("{:?} is the operator's own", wish.namespace),
        ));
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
        secret: wish.secret,
        base_url: facts.base_url.clone(),
        paused_for: facts.paused_for,
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
