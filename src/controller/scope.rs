//! Which namespaces an organization serves: `spec.namespaceSelector`, and the labels of namespaces as a watch on them
//! tells, or a read. Nobody but administrators can label a namespace: that is the trust.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PartialObjectMeta;
use kube::core::{Selector, SelectorExt as _};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::api_error::{failure, is_forbidden, words};
use super::context::Context;
use super::watch::{is_refusal, refusals};
use crate::crd::ComposioOrganization;
use crate::domain::failure::Failure;
use crate::domain::plan::Scope;
use crate::domain::reason::Reason;

type NamespaceMeta = PartialObjectMeta<Namespace>;
type Labels = BTreeMap<String, String>;
/// The same in less memory, because there may be as many namespaces as projects.
type Packed = Box<[(Box<str>, Box<str>)]>;

fn pack(labels: &Labels) -> Packed {
    labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

fn unpack(labels: &Packed) -> Labels {
    labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// Labels of all namespaces, once the watch has told of all. Without a watch it knows none, and each look reads.
#[derive(Default)]
pub struct Namespaces(RwLock<Option<HashMap<String, Packed>>>);

impl Namespaces {
    /// Whether the watch has told of all.
    pub fn is_complete(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn labels(&self, name: &str) -> Option<Labels> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.as_ref()?.get(name).map(unpack)
    }

    /// Takes a complete list over; returns the names whose labels it did not know.
    fn replace(&self, all: HashMap<String, Packed>) -> HashSet<String> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.take().unwrap_or_default();
        let is_news = |(name, labels): &(&String, &Packed)| before.get(*name) != Some(labels);
        let news = all.iter().filter(is_news).map(|(name, _)| name.clone()).collect();
        *known = Some(all);
        news
    }

    /// Returns whether the labels are news.
    fn apply(&self, namespace: &NamespaceMeta) -> bool {
        let labels = pack(namespace.labels());
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known.as_mut() else { return false };
        known.insert(namespace.name_any(), labels.clone()).is_none_or(|before| before != labels)
    }

    fn remove(&self, name: &str) {
        if let Some(known) = self.0.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            known.remove(name);
        }
    }
}

/// Watches the labels of all namespaces; `relabelled` is told of those whose labels are news.
pub async fn watch(
    context: &Context,
    relabelled: impl Fn(&HashSet<String>) + Send + Sync,
    stop: CancellationToken,
) {
    let api: Api<NamespaceMeta> = Api::all(context.client.clone());
    let changes = watcher(api, watcher::Config::default().page_size(500)).default_backoff();
    let changes = changes.inspect(refusals(None));
    let mut changes = std::pin::pin!(changes.take_until(stop.cancelled_owned()));
    let (namespaces, mut list) = (&context.namespaces, HashMap::new());
    while let Some(event) = changes.next().await {
        let news = match event {
            Ok(Event::Init) => {
                list = HashMap::new();
                continue;
            }
            Ok(Event::InitApply(namespace)) => {
                list.insert(namespace.name_any(), pack(namespace.labels()));
                continue;
            }
            Ok(Event::InitDone) => namespaces.replace(std::mem::take(&mut list)),
            Ok(Event::Apply(namespace)) if namespaces.apply(&namespace) => [namespace.name_any()].into(),
            Ok(Event::Apply(_)) => continue,
            Ok(Event::Delete(namespace)) => {
                namespaces.remove(&namespace.name_any());
                continue;
            }
            Err(error) if is_refusal(&error) => continue,
            Err(error) => {
                warn!(%error, "the watch on namespaces was interrupted");
                continue;
            }
        };
        relabelled(&news);
    }
}

/// The selector of an organization that does not serve every namespace.
fn selector(organization: &ComposioOrganization) -> Option<Selector> {
    let selector = organization.spec.namespace_selector.as_ref().map(Selector::from)?;
    (!selector.selects_all()).then_some(selector)
}

fn excluded(organization: &str, namespace: &str) -> String {
    format!("ComposioOrganization {organization:?} does not select {namespace:?} by its labels")
}

impl Context {
    /// Whether projects of a namespace may refer to an organization. One that is not there excludes nobody.
    pub async fn scope(&self, namespace: &str, organization: &str) -> Result<Scope, Failure> {
        if namespace == self.namespace {
            return Ok(Scope::Own);
        }
        let object = self.organizations.object(organization);
        let Some(selector) = object.as_deref().and_then(selector) else { return Ok(Scope::Allowed) };
        let labels = match self.namespaces.labels(namespace) {
            Some(labels) => labels,
            None => match self.read_namespace(namespace).await {
                Ok(found) => found.metadata.labels.unwrap_or_default(),
                Err(failure) if failure.reason == Reason::NamespaceNotAllowed => {
                    return Ok(Scope::Excluded(failure.detail));
                }
                Err(failure) => return Err(failure),
            },
        };
        Ok(match selector.matches(&labels) {
            true => Scope::Allowed,
            false => Scope::Excluded(excluded(organization, namespace)),
        })
    }

    /// The UID of a namespace, read live, as are its labels: one that was made again a moment ago may have others than the
    /// watch has told of.
    pub async fn uid_in_scope(&self, namespace: &str, organization: &str) -> Result<String, Failure> {
        let found = self.read_namespace(namespace).await?;
        let object = self.organizations.object(organization);
        if object.as_deref().and_then(selector).is_some_and(|selector| !selector.matches(found.labels())) {
            return Err(Failure::terminal(Reason::NamespaceNotAllowed, excluded(organization, namespace)));
        }
        found.uid().ok_or_else(|| Failure::bug("a Namespace without UID"))
    }

    /// Reads a namespace. A Role in it is enough for that, and without it nobody can tell the namespace from an earlier one
    /// of the same name.
    async fn read_namespace(&self, name: &str) -> Result<NamespaceMeta, Failure> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        match api.get_metadata(name).await {
            Ok(found) => Ok(found),
            Err(error) if is_forbidden(&error) => {
                // The API server's words name the operator's namespace, which is none of a tenant's business.
                warn!(namespace = name, error = words(&error), "a namespace may not be read");
                Err(Failure::terminal(
                    Reason::NamespaceNotAllowed,
                    format!("the operator has no right to get the Namespace {name:?}"),
                ))
            }
            Err(error) => Err(failure("reading the Namespace", &error)),
        }
    }

    /// Whether an organization serves some namespaces only.
    pub fn is_selective(&self, organization: &str) -> bool {
        self.organizations.object(organization).as_deref().is_some_and(|found| selector(found).is_some())
    }
}
