//! The proof that a key found in a Secret is a living key of one project. Tenants write Secrets, so that nothing is sent
//! but what looks like a project key and fits a mask that the project lists; and what the API says about a proof that
//! fails is for nobody: status must not become an oracle.

use tracing::debug;

use crate::controller::organizations::Organization;
use crate::domain::answer::{CallError, CredentialProblem};
use crate::domain::ids::ProjectId;
use crate::domain::key::ApiKey;

/// What a proof shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// It works, and the project lists a key with its mask.
    Lives,
    /// The project lists its mask, and the API says that it does not work.
    Dead,
    /// Not the form of a project key, or no key of the project has its mask. It was sent nowhere.
    NotOfThisProject,
    /// Nothing was shown, neither way. It may be given to `Context::call_failure`: what the API said about the key itself
    /// is not in it.
    Unsure(CallError),
}

/// Proves a key for a project, with one read by id and, only if the mask fits, one call with the key (API 5.4 and 8).
pub(super) async fn prove(organization: &Organization, id: &ProjectId, candidate: &ApiKey) -> Proof {
    if !candidate.has_form_of_project_key() {
        return Proof::NotOfThisProject;
    }
    let client = &organization.client;
    let detail = match client.read_project(&organization.key, id).await {
        Ok(Some(detail)) => detail,
        // One witness alone never decides that something is gone.
        Ok(None) => return Proof::Unsure(CallError::NotFound("the project".to_owned())),
        Err(error) => return Proof::Unsure(error),
    };
    if !detail.api_keys.iter().any(|listed| listed.mask.fits(candidate)) {
        return Proof::NotOfThisProject;
    }
    match client.prove_key(candidate).await {
        Ok(()) => Proof::Lives,
        Err(CallError::Credential(
            CredentialProblem::ProjectKey | CredentialProblem::ExpiredProjectKey,
            _,
        )) => Proof::Dead,
        Err(error @ CallError::Throttled(_)) => Proof::Unsure(error),
        // Whoever writes a Secret must not make the organization's own key look refused.
        Err(error) => {
            debug!(%error, "a key that was found could not be proven");
            let words = "a key that was found in a Secret could not be proven".to_owned();
            Proof::Unsure(CallError::Unknown { words, status: None })
        }
    }
}
