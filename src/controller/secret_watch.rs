//! The watch on published Secrets: metadata only, by our label, and no store. It wakes the project whose Secret was
//! deleted, edited or relabelled by somebody else, also when that happened while the watch was down.
//!
//! What is remembered of each Secret is a few bytes: the version that the last pass wrote or found in order. Losing it
//! costs time, never correctness.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::cached::CachedProject;
use super::context::Context;
use super::watch;
use crate::composio::BootInstant;
use crate::crd::PROJECT_LABEL;

/// A hash of names, UIDs or versions: ten thousand Secrets must not cost megabytes.
type Short = u64;

fn short(value: impl Hash) -> Short {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What this process knows of the published Secrets.
#[derive(Default)]
pub struct Publications(Mutex<HashMap<Short, Known>>);

/// What is known of one Secret, by namespace and name.
#[derive(Clone, Copy)]
struct Known {
    /// UID of the Secret that a pass has written or found in order, with that of the resource; `None` where only the
    /// watch has seen it.
    bound: Option<Short>,
    version: Short,
    /// Since when it is known not to be in order.
    lost_since: Option<BootInstant>,
    /// A pass is writing it; the watch may tell of the write before the answer comes.
    write: Write,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Write {
    None,
    UnderWay,
    /// The watch has told of this version meanwhile.
    Seen(Short),
}

/// A write that is under way; dropped without [`Writing::done`], it has failed.
pub struct Writing<'a> {
    publications: &'a Publications,
    place: Short,
    resource: &'a str,
}

/// What is known after a write.
pub struct Written {
    /// How long the Secret was not in order, where that is known.
    pub lost_for: Option<Duration>,
    /// Somebody else has written meanwhile: another look is due.
    pub is_news: bool,
}

impl Publications {
    fn lock(&self) -> MutexGuard<'_, HashMap<Short, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pass over the resource of this UID has found the Secret in order. Returns whether the first list of the watch
    /// had another version, so that another look is due.
    pub fn found(&self, resource: &str, secret: &Secret) -> bool {
        let (bound, version) = (bound(secret, resource), short(secret.resource_version()));
        let known = Known { bound: Some(bound), version, lost_since: None, write: Write::None };
        let place = short((secret.namespace().unwrap_or_default(), secret.name_any()));
        let before = self.lock().insert(place, known);
        before.is_some_and(|before| before.bound.is_none() && before.version != version)
    }

    /// Whether this process has written this very Secret for this resource, or found it in order.
    pub fn remembers(&self, resource: &str, secret: &Secret) -> bool {
        let place = short((secret.namespace().unwrap_or_default(), secret.name_any()));
        self.lock().get(&place).is_some_and(|known| known.bound == Some(bound(secret, resource)))
    }

    /// A pass is about to write the Secret for the resource of this UID.
    pub fn writing<'a>(&'a self, namespace: &str, name: &str, resource: &'a str) -> Writing<'a> {
        let place = short((namespace, name));
        let unseen = Known { bound: None, version: 0, lost_since: None, write: Write::None };
        self.lock().entry(place).or_insert(unseen).write = Write::UnderWay;
        Writing { publications: self, place, resource }
    }

    /// The watch tells of a version. Returns whether somebody else has written it.
    fn is_news(&self, secret: &PartialObjectMeta<Secret>) -> bool {
        let version = short(secret.resource_version());
        match self.lock().get_mut(&place(secret)) {
            Some(known) if known.version == version => false,
            Some(known) if known.write != Write::None => {
                known.write = Write::Seen(version);
                false
            }
            Some(known) => {
                known.lost_since = known.lost_since.or_else(|| Some(BootInstant::now()));
                true
            }
            None => true,
        }
    }

    /// A list tells of a version. Where no pass has looked yet, the one that comes compares.
    fn is_listed_news(&self, secret: &PartialObjectMeta<Secret>) -> bool {
        let version = short(secret.resource_version());
        let unseen = Known { bound: None, version, lost_since: None, write: Write::None };
        let is_known = self.lock().entry(place(secret)).or_insert(unseen).bound.is_some();
        is_known && self.is_news(secret)
    }

    /// The watch tells that it is gone.
    fn gone(&self, place: Short) {
        if let Some(known) = self.lock().get_mut(&place) {
            known.lost_since = known.lost_since.or_else(|| Some(BootInstant::now()));
            known.version = 0;
        }
    }

    /// A pass has written it or found it in order.
    fn was_published(&self, place: Short) -> bool {
        self.lock().get(&place).is_some_and(|known| known.bound.is_some())
    }

    fn forget(&self, place: Short) {
        self.lock().remove(&place);
    }
}

impl Writing<'_> {
    /// The API server has written it.
    pub fn done(self, written: &Secret) -> Written {
        let (bound, version) = (bound(written, self.resource), short(written.resource_version()));
        let known = Known { bound: Some(bound), version, lost_since: None, write: Write::None };
        let before = self.publications.lock().insert(self.place, known);
        let is_news = before.is_some_and(
            |before| matches!(before.write, Write::Seen(seen) if seen != version && seen != before.version),
        );
        Written { lost_for: before.and_then(|before| before.lost_since).map(BootInstant::elapsed), is_news }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if let Some(known) = self.publications.lock().get_mut(&self.place) {
            known.write = Write::None;
        }
    }
}

fn bound(secret: &Secret, resource: &str) -> Short {
    short((secret.uid(), resource))
}

fn place(secret: &PartialObjectMeta<Secret>) -> Short {
    short((secret.namespace().unwrap_or_default(), secret.name_any()))
}

/// Watches the Secrets of one namespace, or of all; `projects` is the cache of the same.
pub async fn run(
    context: Arc<Context>,
    api: Api<PartialObjectMeta<Secret>>,
    projects: Store<CachedProject>,
    stop: CancellationToken,
) {
    let config = watcher::Config::default().labels(PROJECT_LABEL).page_size(500);
    let refusals = watch::refusals(api.namespace());
    let mut events = std::pin::pin!(watcher(api, config).default_backoff().inspect(refusals));
    let mut watch = Watch { context, projects, listed: HashSet::new() };
    while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
        match event {
            Ok(event) => watch.take(event),
            Err(error) if watch::is_refusal(&error) => {}
            Err(error) => {
                warn!(%error, "the watch on published Secrets is down; it is tried again, and nothing is missed");
            }
        }
    }
}

struct Watch {
    context: Arc<Context>,
    projects: Store<CachedProject>,
    /// What the list that is under way has shown.
    listed: HashSet<Short>,
}

impl Watch {
    fn take(&mut self, event: Event<PartialObjectMeta<Secret>>) {
        let known = &self.context.publications;
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(secret) => {
                self.listed.insert(place(&secret));
                if known.is_listed_news(&secret) {
                    self.wake_owner(&secret);
                }
            }
            Event::InitDone => self.wake_missing(),
            Event::Apply(secret) => {
                if known.is_news(&secret) {
                    self.wake_owner(&secret);
                }
            }
            // Also when our label is taken away: it leaves what is watched.
            Event::Delete(secret) => {
                known.gone(place(&secret));
                if !self.wake_owner(&secret) {
                    known.forget(place(&secret));
                }
            }
        }
    }

    /// Who wants a Secret of this name: as a rule the resource that its label names. Only if that does not want it, all
    /// others of the namespace: whoever waits for the name must not be faster than whoever has it. Returns whether there
    /// is one.
    fn wake_owner(&self, secret: &PartialObjectMeta<Secret>) -> bool {
        let (namespace, name) = (secret.namespace(), secret.name_any());
        let label = secret.labels().get(PROJECT_LABEL).map(String::as_str).unwrap_or_default();
        let reference = ObjectRef::new(label).within(namespace.as_deref().unwrap_or_default());
        let owner = self.projects.get(&reference).filter(|project| project.secret() == name);
        let is_waiting =
            |project: &CachedProject| project.namespace() == namespace && project.secret() == name;
        let woken = owner.map_or_else(|| self.projects.state_filter(is_waiting), |owner| vec![owner]);
        for project in &woken {
            self.wake(project, &name);
        }
        !woken.is_empty()
    }

    /// After a list: whoever has published a Secret that is not in it.
    fn wake_missing(&mut self) {
        for project in self.projects.state() {
            let name = project.secret();
            let place = short((project.namespace().unwrap_or_default(), &*name));
            if !self.listed.contains(&place) && self.context.publications.was_published(place) {
                self.context.publications.gone(place);
                self.wake(&project, &name);
            }
        }
        self.listed = HashSet::new();
    }

    fn wake(&self, project: &CachedProject, secret: &str) {
        debug!(object.name = project.name_any(), secret.name = secret, "a published Secret has changed");
        // The receiver lives as long as the process.
        let _ = self.context.wake.projects.send(project.reference());
    }
}
