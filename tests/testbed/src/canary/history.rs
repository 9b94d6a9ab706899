//! Everything that is ever stored in etcd, read from etcd itself: every version of every object, also of those that are
//! overwritten or deleted a moment later, and of kinds that nobody thinks of. Which is more than a walk over all keys at
//! the end would see.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, watch};

use super::Kind;
use super::places::Places;
use crate::controlplane::ControlPlane;

/// All keys, in etcd's words: from the first one, to no end.
const ALL: &str = "AA==";

/// How long the reader may be behind.
const PATIENCE: Duration = Duration::from_mins(2);

/// One watch on all of etcd, from a beginning to the end of the process.
pub struct History {
    url: String,
    places: Arc<Mutex<Places>>,
    read: watch::Receiver<Progress>,
}

/// The revision up to which everything was searched, or why the rest will not be.
type Progress = Result<i64, String>;

/// One message of the watch.
#[derive(Deserialize)]
struct Message {
    result: Option<Changes>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Changes {
    #[serde(default)]
    canceled: bool,
    #[serde(default)]
    events: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    kv: Stored,
}

/// A deletion has no value.
#[derive(Deserialize)]
struct Stored {
    key: String,
    #[serde(default)]
    value: String,
    mod_revision: String,
}

impl History {
    /// That of the control plane of this process, from the first call on.
    pub async fn shared(control_plane: &ControlPlane) -> Result<&'static Self, String> {
        static SHARED: OnceCell<Result<History, String>> = OnceCell::const_new();
        let history = SHARED.get_or_init(|| Self::follow(control_plane.etcd_client_url())).await;
        history.as_ref().map_err(Clone::clone)
    }

    /// From now on. It belongs to the process and not to the calling runtime.
    pub async fn follow(etcd_url: &str) -> Result<Self, String> {
        let start = revision(etcd_url).await?;
        let places = Arc::<Mutex<Places>>::default();
        let (progress, read) = watch::channel(Ok(start));
        let (url, searched) = (etcd_url.to_owned(), places.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let end = match runtime {
                Ok(runtime) => runtime.block_on(follow(&url, start, &searched, &progress)),
                Err(error) => Err(error.to_string()),
            };
            let why = end.err().unwrap_or_else(|| "etcd has ended the watch".to_owned());
            progress.send_modify(|progress| *progress = Err(why));
        });
        Ok(Self { url: etcd_url.to_owned(), places, read })
    }

    /// Declares the namespace of an operator: its claims hold keys.
    pub fn permit_ledger(&self, namespace: &str) {
        self.places().ledger(namespace);
    }

    /// Declares a Secret that the test itself fills with a key; to be called before.
    pub fn permit(&self, kind: Kind, namespace: &str, secret: &str) {
        self.places().declare(kind, namespace, secret);
    }

    /// Where keys were found that do not belong there, in everything that etcd has stored until now; and how many were
    /// found that do.
    pub async fn findings(&self) -> Result<(Vec<String>, u64), String> {
        let now = revision(&self.url).await?;
        let mut read = self.read.clone();
        let is_there = |progress: &Progress| progress.as_ref().map_or(true, |read| *read >= now);
        let reached = tokio::time::timeout(PATIENCE, read.wait_for(is_there)).await;
        let reached = reached.map_err(|_| format!("etcd's history was not read within {PATIENCE:?}"))?;
        reached.map_err(|_| "nobody reads etcd's history".to_owned())?.clone()?;
        let places = self.places();
        Ok((places.findings.iter().cloned().collect(), places.in_place))
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The revision that etcd is at.
async fn revision(etcd_url: &str) -> Result<i64, String> {
    let body = json!({"key": ALL, "range_end": ALL, "limit": 1, "keys_only": true});
    let answer: Value = post(etcd_url, "kv/range", &body).await?.json().await.map_err(reason)?;
    let revision = answer["header"]["revision"].as_str().and_then(|revision| revision.parse().ok());
    revision.ok_or_else(|| "etcd does not say its revision".to_owned())
}

async fn post(etcd_url: &str, path: &str, body: &Value) -> Result<reqwest::Response, String> {
    let client = reqwest::Client::builder().no_proxy().build().map_err(reason)?;
    client.post(format!("{etcd_url}/v3/{path}")).json(body).send().await.map_err(reason)
}

/// Never the text of an error of a parser, which may quote what it parses.
fn reason(error: reqwest::Error) -> String {
    format!("reading from etcd: {}", error.without_url())
}

async fn follow(
    etcd_url: &str,
    start: i64,
    places: &Mutex<Places>,
    progress: &watch::Sender<Progress>,
) -> Result<(), String> {
    let request = json!({"key": ALL, "range_end": ALL, "start_revision": start + 1});
    let mut answer = post(etcd_url, "watch", &json!({"create_request": request})).await?;
    let mut pending = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reason)? {
        pending.extend_from_slice(&chunk);
        let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { continue };
        let rest = pending.split_off(end + 1);
        for line in pending.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            search(line, places, progress)?;
        }
        pending = rest;
    }
    Ok(())
}

/// Searches one message. etcd does not spread a revision over several.
fn search(line: &[u8], places: &Mutex<Places>, progress: &watch::Sender<Progress>) -> Result<(), String> {
    let unreadable = "etcd sent what cannot be read";
    let message: Message = serde_json::from_slice(line).map_err(|_| unreadable.to_owned())?;
    let changes = match message {
        Message { result: Some(changes), error: None } if !changes.canceled => changes,
        Message { error, .. } => return Err(format!("etcd has ended the watch: {error:?}")),
    };
    let mut last = 0;
    for Change { kv } in changes.events {
        let [key, value] = [kv.key, kv.value].map(|text| STANDARD.decode(text));
        let (Ok(key), Ok(value), Ok(revision)) = (key, value, kv.mod_revision.parse()) else {
            return Err(unreadable.to_owned());
        };
        if !value.is_empty() {
            let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
            places.search(&String::from_utf8_lossy(&key), &value);
        }
        last = revision;
    }
    progress.send_if_modified(|progress| {
        let is_later = progress.as_ref().is_ok_and(|read| *read < last);
        if is_later {
            *progress = Ok(last);
        }
        is_later
    });
    Ok(())
}
