//! Organization routes: create, list, read, delete, regenerate (API 5). One function each.

use std::collections::BTreeSet;

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::{Announced, Client, Credential, Reply, Request};
use super::clock::BootInstant;
use super::error::unknown;
use super::listing::{ListedProject, Listing};
use super::metrics::Operation;
use crate::domain::answer::{Answer, CallError};
use crate::domain::claim::Receipt;
use crate::domain::ids::{OrganizationId, ProjectId, ProjectName};
use crate::domain::key::{ApiKey, Mask};
use crate::domain::settings::Settings;

/// Largest page that the API serves (API 12).
const PAGE: &str = "50";
/// End of a walk that does not end by itself.
const MOST_PAGES: usize = 20_000;

/// A project as a read by id shows it, as far as it is used.
#[derive(Debug, Clone, Deserialize)]
pub struct ProjectDetail {
    /// Its exact name.
    #[serde(default)]
    pub name: Option<String>,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    /// Treated as gone.
    #[serde(default)]
    pub deleted: bool,
    /// Somebody has subscribed to its events.
    #[serde(default)]
    pub last_subscribed_at: Option<String>,
    /// Its living keys.
    pub api_keys: Vec<ListedKey>,
}

/// A key as a read by id shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedKey {
    /// When it was issued.
    pub created_at: Timestamp,
    /// Its masked form.
    #[serde(rename = "key", default)]
    pub mask: Mask,
}

/// A project as the list shows it, as far as it is used.
#[derive(Deserialize)]
struct Item {
    id: ProjectId,
    org_id: OrganizationId,
    name: Box<str>,
    created_at: Timestamp,
    #[serde(default)]
    deleted: bool,
}

#[derive(Deserialize)]
struct Page {
    #[serde(alias = "items")]
    data: Vec<Item>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// Takes what is needed out of a reply; what does not fit leaves the outcome open.
fn parse<T: DeserializeOwned>(reply: Reply) -> Result<T, CallError> {
    // The error of serde quotes values, which may be keys: it is dropped.
    serde_json::from_value(reply.body).map_err(|_| unknown("a 2xx without what it must have", None))
}

fn organization(operation: Operation, method: Method, path: &str) -> Request {
    let path = format!("/org/owner/project/{path}");
    Request { operation, method, path, query: Vec::new(), body: None, announced: None }
}

impl Client {
    /// API 5.1: creates a project with a key, and with settings where they are complete.
    pub async fn create_project(
        &self,
        key: &ApiKey,
        announced: Announced,
        name: &ProjectName,
        config: Option<&Settings>,
    ) -> Result<Answer, CallError> {
        #[derive(Deserialize)]
        struct Created {
            id: ProjectId,
            #[serde(default)]
            api_key: Option<String>,
        }
        let mut body = json!({"name": name, "should_create_api_key": true});
        if let Some(config) = config {
            body["config"] = config.to_wire(true);
        }
        let request = Request {
            body: Some(body),
            announced: Some(announced),
            ..organization(Operation::Create, Method::POST, "new")
        };
        let reply = self.call(Credential::Organization(key), request).await?;
        let time = reply.time;
        let created: Created = parse(reply)?;
        let key = created.api_key.and_then(|key| ApiKey::parse(&key).ok());
        Ok(Answer::Created { id: created.id, key, time })
    }

    /// API 5.2 and 12: one page with one project, for the sake of the key and of the organization's id.
    pub async fn probe(&self, key: &ApiKey) -> Result<Option<OrganizationId>, CallError> {
        let mut request = organization(Operation::List, Method::GET, "list");
        request.query.push(("limit", "1".to_owned()));
        let page: Page = parse(self.call(Credential::Organization(key), request).await?)?;
        Ok(page.data.into_iter().next().map(|project| project.org_id))
    }

    /// API 5.2 and 12: a walk over the whole list; an error means that it is not complete. A project with `deleted: true`
    /// counts as gone (API 16.13).
    pub async fn list_projects(&self, key: &ApiKey) -> Result<Listing, CallError> {
        let (begun, begun_time) = (BootInstant::now(), self.server_now());
        let (mut living, mut organization_id, mut cursors) = (Vec::new(), None, BTreeSet::new());
        let mut cursor: Option<String> = None;
        for pages in 1..=MOST_PAGES {
            let mut request = organization(Operation::List, Method::GET, "list");
            request.query.push(("limit", PAGE.to_owned()));
            request.query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page: Page = parse(self.call(Credential::Organization(key), request).await?)?;
            for Item { id, org_id, name, created_at, deleted } in page.data {
                if organization_id.get_or_insert_with(|| org_id.clone()) != &org_id {
                    return Err(unknown("a list of several organizations", None));
                }
                living.extend((!deleted).then_some(ListedProject { id, name, created_at }));
            }
            match page.next_cursor.filter(|next| !next.is_empty()) {
                None => return Ok(Listing::new(begun, begun_time, pages, organization_id, living)),
                Some(next) if !cursors.insert(next.clone()) => {
                    return Err(unknown("a list that repeats a cursor", None));
                }
                next => cursor = next,
            }
        }
        Err(unknown("a list that does not end", None))
    }

    /// API 5.3: one project by id; `None` for 404 and for `deleted: true`.
    pub async fn read_project(
        &self,
        key: &ApiKey,
        id: &ProjectId,
    ) -> Result<Option<ProjectDetail>, CallError> {
        let request = organization(Operation::Read, Method::GET, id.as_str());
        match self.call(Credential::Organization(key), request).await {
            Ok(reply) => Ok(Some(parse::<ProjectDetail>(reply)?).filter(|project| !project.deleted)),
            Err(CallError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// API 5.5: deletes a project; with `revoke`, the credentials of its connected accounts are revoked as well.
    pub async fn delete_project(
        &self,
        key: &ApiKey,
        announced: Announced,
        id: &ProjectId,
        revoke: bool,
    ) -> Result<Receipt, CallError> {
        #[derive(Deserialize)]
        struct Deleted {
            #[serde(default)]
            revoke_job_id: Option<String>,
        }
        let mut request = Request {
            announced: Some(announced),
            ..organization(Operation::Delete, Method::DELETE, id.as_str())
        };
        request.query.extend(revoke.then(|| ("revoke_on_delete", "true".to_owned())));
        let reply = self.call(Credential::Organization(key), request).await?;
        let request_id = reply.request_id.clone();
        Ok(Receipt { request_id, revoke_job_id: parse::<Deleted>(reply)?.revoke_job_id })
    }

    /// API 5.6: replaces all keys of a project by one. The `api_key` member is an object here.
    pub async fn regenerate_key(
        &self,
        key: &ApiKey,
        announced: Announced,
        id: &ProjectId,
    ) -> Result<Answer, CallError> {
        #[derive(Deserialize)]
        struct Regenerated {
            api_key: Issued,
        }
        #[derive(Deserialize)]
        struct Issued {
            key: String,
            created_at: Timestamp,
        }
        let path = format!("{id}/regenerate_api_key");
        let request = Request {
            announced: Some(announced),
            ..organization(Operation::Regenerate, Method::POST, &path)
        };
        let issued = parse::<Regenerated>(self.call(Credential::Organization(key), request).await?)?.api_key;
        let key = ApiKey::parse(&issued.key).map_err(|problem| unknown(problem.to_string(), None))?;
        Ok(Answer::Regenerated { id: id.clone(), key, time: issued.created_at })
    }
}

/// The value of a reply as it is, for the settings.
pub(super) fn body(reply: Reply) -> Value {
    reply.body
}
