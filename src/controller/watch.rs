//! Watches: tolerant of objects that this release cannot read, slim, and quiet about our own writes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{FutureExt, Stream, StreamExt, future};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::api_error::is_forbidden;
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
    let refusals = refusals(api.namespace());
    watcher(api, watcher::Config::default().page_size(500))
        .default_backoff()
        .inspect(refusals)
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

/// Tells that the API server refuses a watch, which is tried again for ever: once, until it has worked. To an operator that
/// has Roles only, a namespace that is not there looks like one without rights.
pub fn refusals<K: Resource<DynamicType = ()>>(
    namespace: Option<&str>,
) -> impl FnMut(&watcher::Result<Event<K>>) + use<K> {
    let (kind, namespace) = (K::kind(&()), namespace.map(ToOwned::to_owned));
    let mut is_told = false;
    move |event| match event {
        // Comes before each try.
        Ok(Event::Init) => {}
        Ok(_) => is_told = false,
        Err(error) if !is_told && is_refusal(error) => {
            is_told = true;
            let (watch, rights) =
                ("the API server refuses a watch", "grant the operator the rights of its chart");
            match &namespace {
                None => warn!(watch.kind = %kind, %error, "{watch}; {rights}"),
                Some(namespace) => warn!(
                    watch.kind = %kind,
                    watch.namespace = namespace,
                    %error,
                    "{watch}; create the namespace, {rights} in it, or take it out of --watch-namespaces"
                ),
            }
        }
        Err(_) => {}
    }
}

/// Whether an error says that the watch is not permitted.
pub fn is_refusal(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => is_forbidden(error),
        watcher::Error::WatchError(status) => status.is_forbidden(),
        watcher::Error::NoResourceVersion => false,
    }
}

/// Runs a controller to its end. When it is stopped before its cache has had the first list, kube's own goes on waiting for
/// that; until then it has reconciled nothing, so that nothing is cut short.
pub async fn to_its_end<K>(store: Store<K>, run: impl Future<Output = ()>, stop: CancellationToken)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let stopped_before = async {
        stop.cancelled().await;
        if matches!(store.wait_until_ready().now_or_never(), Some(Ok(()))) {
            future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = run => {}
        () = stopped_before => {}
    }
}

/// Puts what the watch tells into a cache, and passes on those objects for which a pass may be due. What the cache has had
/// until then is all that it takes to know: kube's own filter would remember every object once more. `gone` is told of an
/// object that was deleted, when the cache does not have it any more.
pub fn cached<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    reader: Store<K>,
    writer: Writer<K>,
    gone: impl Fn(&K),
) -> impl Stream<Item = watcher::Result<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    // Each event is taken through all of this before the next one comes.
    let (judged, verdict) = {
        let is_news = Arc::new(AtomicBool::new(false));
        (is_news.clone(), is_news)
    };
    let judge = move |event: &watcher::Result<Event<K>>| {
        if let Ok(Event::Apply(object) | Event::InitApply(object)) = event {
            let before = reader.get(&ObjectRef::from_obj(object));
            let is_news = before.is_none_or(|before| relevance(&*before) != relevance(object));
            judged.store(is_news, Ordering::Relaxed);
        }
    };
    events.inspect(judge).reflect(writer).filter_map(move |event| {
        future::ready(match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                verdict.load(Ordering::Relaxed).then_some(Ok(object))
            }
            Ok(Event::Delete(object)) => {
                gone(&object);
                None
            }
            Ok(Event::Init | Event::InitDone) => None,
            Err(error) => Some(Err(error)),
        })
    })
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

#[cfg(test)]
mod tests {
    use futures::stream;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::reflector::store;
    use serde_json::json;

    use super::*;

    fn object(name: &str, uid: &str, generation: i64) -> ConfigMap {
        let metadata = json!({"name": name, "namespace": "team-a", "uid": uid, "generation": generation});
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    #[tokio::test]
    async fn what_changes_nothing_of_interest_goes_into_the_cache_and_no_further() {
        let (one, two) = (object("one", "a", 1), object("two", "b", 1));
        let mut ours = one.clone();
        ours.metadata.resource_version = Some("7".to_owned());
        let events = [
            Event::Init,
            Event::InitApply(one.clone()),
            Event::InitApply(two.clone()),
            Event::InitDone,
            Event::Apply(ours.clone()),
            Event::Apply(object("one", "a", 2)),
            Event::Delete(two.clone()),
            // Made again: another object.
            Event::Apply(object("two", "c", 1)),
            // A new list with nothing new.
            Event::Init,
            Event::InitApply(object("one", "a", 2)),
            Event::InitApply(object("two", "c", 1)),
            Event::InitDone,
        ];
        let (reader, writer) = store();
        let gone =
            |object: &ConfigMap| assert!(reader.get(&ObjectRef::from_obj(object)).is_none(), "it is there");
        let cached = cached(stream::iter(events.map(Ok)), reader.clone(), writer, gone);
        let news: Vec<_> = cached.map(|object| object.unwrap().metadata).collect().await;
        let news: Vec<_> =
            news.iter().map(|meta| (meta.uid.as_deref().unwrap(), meta.generation.unwrap())).collect();
        assert_eq!(news, [("a", 1), ("b", 1), ("a", 2), ("c", 1)]);
        assert_eq!(reader.len(), 2);
    }
}
