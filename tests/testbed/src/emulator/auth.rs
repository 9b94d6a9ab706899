//! Who is calling (API 3, 10.2, 15.1). Authentication comes before everything else.

use axum::http::HeaderMap;

use super::errors::Refusal;
use super::identifiers::mask;
use super::journal::{CredentialKind, Operation};
use super::state::{KeyState, State};

const ORGANIZATION_HEADER: &str = "x-org-api-key";
const PROJECT_HEADER: &str = "x-api-key";
const USER_HEADER: &str = "x-user-api-key";
const CONSUMER_HEADER: &str = "x-consumer-api-key";

const KINDS: [(&str, CredentialKind); 4] = [
    (ORGANIZATION_HEADER, CredentialKind::Organization),
    (PROJECT_HEADER, CredentialKind::Project),
    (USER_HEADER, CredentialKind::User),
    (CONSUMER_HEADER, CredentialKind::Consumer),
];

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) organization: String,
    /// Place of the project, with a project key.
    pub(super) project: Option<usize>,
}

/// The credentials of one request. Has no `Debug`: it holds keys.
pub(super) struct Credentials<'a>(&'a HeaderMap);

impl<'a> Credentials<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        Self(headers)
    }

    /// The value of a credential header; an empty one counts as missing.
    fn value(&self, header: &str) -> Option<&'a str> {
        self.0.get(header).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
    }

    /// The kind by the headers, whatever the values.
    pub(super) fn kind(&self) -> CredentialKind {
        let count: usize = KINDS.iter().map(|(header, _)| self.0.get_all(*header).iter().count()).sum();
        match KINDS.iter().find(|(header, _)| self.0.contains_key(*header)) {
            None => CredentialKind::Nothing,
            Some((_, kind)) if count == 1 => *kind,
            Some(_) => CredentialKind::Several,
        }
    }

    /// The organization that the credential belongs or belonged to, also when it is dead; for the journal.
    pub(super) fn organization(&self, state: &State) -> Option<String> {
        let by_organization_key =
            || state.organization_of_key(self.value(ORGANIZATION_HEADER)?).map(|(id, _)| id.clone());
        let by_project_key = || {
            let place = state.project_of_key(self.value(PROJECT_HEADER)?)?;
            Some(state.projects[place].organization.clone())
        };
        by_organization_key().or_else(by_project_key)
    }

    /// The place of the project that the key belongs or belonged to; for the journal.
    pub(super) fn project(&self, state: &State) -> Option<usize> {
        state.project_of_key(self.value(PROJECT_HEADER)?)
    }

    /// Admits the caller or says why not.
    pub(super) fn authenticate(&self, state: &mut State, operation: Operation) -> Result<Caller, Refusal> {
        // "Send one credential per request" (API 3). What the service does with two is unknown; refusing finds the mistake.
        if self.kind() == CredentialKind::Several {
            return Err(Refusal::validation(vec![
                "headers: send exactly one credential per request".to_owned(),
            ]));
        }
        let is_organization_route = operation.is_organization_route();
        let caller = if is_organization_route {
            self.organization_caller(state)?
        } else {
            self.project_caller(state, operation)?
        };
        match state.organizations.get(&caller.organization).map(|organization| &organization.modes) {
            Some(modes) if modes.address_banned && is_organization_route => {
                Err(Refusal::banned_on_organization_route())
            }
            Some(modes) if modes.address_banned => Err(Refusal::banned_on_project_route()),
            Some(modes) if modes.suspended => Err(Refusal::organization_suspended()),
            _ => Ok(caller),
        }
    }

    fn organization_caller(&self, state: &State) -> Result<Caller, Refusal> {
        let key = self.value(ORGANIZATION_HEADER).ok_or_else(Refusal::no_credential)?;
        if ["ak_", "uak_", "ck_"].iter().any(|prefix| key.starts_with(prefix)) {
            return Err(Refusal::no_credential());
        }
        match state.organization_of_key(key) {
            Some((id, true)) => Ok(Caller { organization: id.clone(), project: None }),
            _ => Err(Refusal::invalid_organization_key()),
        }
    }

    fn project_caller(&self, state: &mut State, operation: Operation) -> Result<Caller, Refusal> {
        if self.value(USER_HEADER).is_some() {
            return Err(Refusal::user_key_dead());
        }
        let value = self.value(PROJECT_HEADER).ok_or_else(Refusal::no_credential)?;
        if value.starts_with("uak_") {
            return Err(Refusal::user_key_in_project_header());
        }
        if ["oak_", "ck_"].iter().any(|prefix| value.starts_with(prefix)) {
            return Err(Refusal::no_credential());
        }
        let invalid = || Refusal::invalid_project_key(&mask(value));
        let place = state.project_of_key(value).ok_or_else(invalid)?;
        let key = state.key_mut(value).ok_or_else(invalid)?;
        if key.refusals > 0 {
            key.refusals -= 1;
            return Err(invalid());
        }
        match &key.state {
            KeyState::Live => {}
            KeyState::Expired => return Err(Refusal::expired_project_key()),
            KeyState::AddressNotAllowed => return Err(Refusal::address_not_allowed()),
            KeyState::Scoped(areas) => scope_covers(operation, |area| areas.contains(area))?,
        }
        Ok(Caller { organization: state.projects[place].organization.clone(), project: Some(place) })
    }
}

/// Scoped keys: the categories belong to the area `toolkits`; no area covers settings (API 6).
fn scope_covers(operation: Operation, has: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    match operation {
        Operation::Categories if has("toolkits") => Ok(()),
        Operation::Categories => {
            Err(Refusal::insufficient_permissions("This API key does not have read access to toolkits"))
        }
        _ => Err(Refusal::insufficient_permissions("This API key does not have access to project settings")),
    }
}
