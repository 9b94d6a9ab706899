//! Watches: tolerant of objects that this release cannot read, slim, and quiet about our own writes.

use std::hash::{DefaultHasher, Hash, Hasher};

use futures::{Stream, StreamExt, future};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::crd::{CONFIRM_ANNOTATION, RECONCILE_ANNOTATION};

/// Watches one kind. An object that cannot be read is left out and logged, so that it does not stop the others; when it is
/// being deleted, `bare` makes what comes instead of its metadata alone, so that it can go.
pub fn objects<K>(
    api: Api<DeserializeGuard<K>>,
    bare: fn(ObjectMeta) -> K,
) -> impl Stream<Item = watcher::Result<Event<K>>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, watcher::Config::default().page_size(500))
        .default_backoff()
        .filter_map(move |event| future::ready(readable(event, bare)))
        .map(|event| event.map(|event| event.modify(|object| object.meta_mut().managed_fields = None)))
}

fn readable<K: Resource<DynamicType = ()>>(
    event: watcher::Result<Event<DeserializeGuard<K>>>,
    bare: fn(ObjectMeta) -> K,
) -> Option<watcher::Result<Event<K>>> {
    let object = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(object) => Some(object),
        Err(invalid) if invalid.metadata.deletion_timestamp.is_some() => Some(bare(invalid.metadata)),
        Err(invalid) => {
            let (namespace, name) = (invalid.metadata.namespace, invalid.metadata.name);
            warn!(object.namespace = ?namespace, object.name = ?name, error = %invalid.error, "object cannot be read and is left alone");
            None
        }
    };
    match event {
        Err(error) => Some(Err(error)),
        Ok(Event::Init) => Some(Ok(Event::Init)),
        Ok(Event::InitDone) => Some(Ok(Event::InitDone)),
        Ok(Event::InitApply(guard)) => object(guard).map(|object| Ok(Event::InitApply(object))),
        Ok(Event::Apply(guard)) => object(guard).map(|object| Ok(Event::Apply(object))),
        Ok(Event::Delete(guard)) => object(guard).map(|object| Ok(Event::Delete(object))),
    }
}

/// Changes when a pass may be due: spec, deletion, a request by annotation; not with our own status writes.
pub fn relevance<K: Resource>(object: &K) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let meta = object.meta();
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some()).hash(&mut hasher);
    object.annotations().get(RECONCILE_ANNOTATION).hash(&mut hasher);
    object.annotations().get(CONFIRM_ANNOTATION).hash(&mut hasher);
    Some(hasher.finish())
}
