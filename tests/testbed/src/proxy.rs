//! A proxy in front of an API server, for tests that must stop the world at an exact point.
//!
//! It speaks plain HTTP on loopback, adds the credentials of the kubeconfig it was started with, and passes on
//! everything else as it is; answers are streamed, so watches work. Tests add rules at run time. It writes down
//! the requests that can change something, without their bodies.
//!
//! It belongs to the runtime it was started on, so each test has its own.

mod rules;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request};
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use kube::config::Kubeconfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::controlplane::{Error, client_for, without_credentials};
use rules::{Kind, Rules};

pub use rules::{Action, Exchange, Gate, Match, Rule};

type Relayed = Response<UnsyncBoxBody<Bytes, kube::Error>>;

/// Headers that are about one connection, and the ones that belong to the other side of the proxy.
const NOT_PASSED_ON: [HeaderName; 10] = [
    AUTHORIZATION,
    CONNECTION,
    CONTENT_LENGTH,
    HOST,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A request that could change something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// The method.
    pub method: Method,
    /// The path without the query.
    pub path: String,
    /// The query without the question mark; empty if there is none.
    pub query: String,
    /// What the API server (or a rule) answered; `None`: no answer yet, or the connection was cut before it.
    pub status: Option<StatusCode>,
    /// Whether the API server saw it.
    pub forwarded: bool,
}

/// A running proxy. Dropping it closes all its connections.
#[derive(Debug)]
pub struct ApiProxy {
    url: String,
    rules: Rules,
    journal: Journal,
    connections: Connections,
    _running: DropGuard,
}

impl ApiProxy {
    /// Starts a proxy in front of the server that `upstream` names.
    pub async fn start(upstream: Kubeconfig) -> Result<Self, Error> {
        let client = client_for(upstream).await?;
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .map_err(Error::io("listen on loopback"))?;
        let address = listener.local_addr().map_err(Error::io("listen on loopback"))?;
        let (rules, journal) = (Rules::default(), Journal::default());
        let running = CancellationToken::new();
        let relay = Relay { client, rules: rules.clone(), journal: journal.clone() };
        let connections = Connections(Arc::new(Mutex::new(running.child_token())));
        tokio::spawn(accept(listener, relay, running.clone(), connections.clone()));
        let url = format!("http://{address}");
        Ok(Self { url, rules, journal, connections, _running: running.drop_guard() })
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How to reach the API server through the proxy: without credentials, for the proxy adds them.
    pub fn kubeconfig(&self) -> Result<Kubeconfig, Error> {
        without_credentials(&self.url)
    }

    /// Adds a rule. Of several, the first one that acts on a request wins; an added rule comes last.
    pub fn on(&self, matcher: Match, action: Action) -> Rule {
        self.rules.add(matcher, action)
    }

    /// Takes all rules away.
    pub fn clear_rules(&self) {
        self.rules.clear();
    }

    /// Closes all connections that there are, watches included, whatever is on its way in them. Changes that the proxy
    /// has read are made all the same, as by a real server. New connections are welcome.
    pub fn cut_connections(&self) {
        self.connections.cut();
    }

    /// All requests until now that could change something, in the order of their arrival.
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.journal.locked().clone()
    }

    /// How many requests of the journal fulfil a condition.
    pub fn count(&self, test: impl Fn(&JournalEntry) -> bool) -> usize {
        self.journal.locked().iter().filter(|entry| test(entry)).count()
    }
}

#[derive(Clone, Debug, Default)]
struct Journal(Arc<Mutex<Vec<JournalEntry>>>);

impl Journal {
    fn locked(&self) -> MutexGuard<'_, Vec<JournalEntry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a request down and gives its place.
    fn arrived(&self, exchange: &Exchange) -> usize {
        let Exchange { method, path, query, .. } = exchange.clone();
        let mut entries = self.locked();
        entries.push(JournalEntry { method, path, query, status: None, forwarded: false });
        entries.len() - 1
    }
}

/// What ends the connections of now.
#[derive(Clone, Debug)]
struct Connections(Arc<Mutex<CancellationToken>>);

impl Connections {
    fn cut(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).cancel();
    }

    /// The end of a connection that begins now.
    fn next(&self, running: &CancellationToken) -> CancellationToken {
        let mut token = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if token.is_cancelled() {
            *token = running.child_token();
        }
        token.clone()
    }
}

async fn accept(listener: TcpListener, relay: Relay, running: CancellationToken, connections: Connections) {
    while let Some(Ok((stream, _))) = running.run_until_cancelled(listener.accept()).await {
        let (relay, end) = (relay.clone(), connections.next(&running));
        tokio::spawn(async move { end.run_until_cancelled(connection(stream, relay)).await });
    }
}

async fn connection(stream: TcpStream, relay: Relay) {
    let _only_a_delay = stream.set_nodelay(true);
    let service = service_fn(|request| relay.clone().serve(request));
    // An error is a cut by a rule, or a peer that is gone.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
struct Cut;

#[derive(Clone)]
struct Relay {
    client: Client,
    rules: Rules,
    journal: Journal,
}

impl Relay {
    async fn serve(self, request: Request<Incoming>) -> Result<Relayed, Cut> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        let exchange = Exchange {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&body).ok(),
            status: None,
        };
        if !exchange.is_mutating() {
            // If the client goes away, the watch at the API server ends with this future.
            return self.act(head, body, exchange, None).await;
        }
        let place = self.journal.arrived(&exchange);
        // A task of its own: what was sent arrives, whether or not its sender still lives.
        let work = tokio::spawn(async move { self.act(head, body, exchange, Some(place)).await });
        work.await.unwrap_or(Err(Cut))
    }

    async fn act(
        &self,
        head: request::Parts,
        body: Bytes,
        mut exchange: Exchange,
        place: Option<usize>,
    ) -> Result<Relayed, Cut> {
        let action = self.rules.decide(&exchange);
        match action.map(|action| action.0) {
            None => self.forward(head, body, place).await,
            Some(Kind::Before(hook)) => {
                hook(exchange).await;
                self.forward(head, body, place).await
            }
            Some(Kind::After(hook)) => {
                let answer = whole(self.forward(head, body, place).await?).await?;
                exchange.status = Some(answer.status());
                hook(exchange).await;
                Ok(answer)
            }
            Some(Kind::Answer(code, body)) => {
                self.note(place, |entry| entry.status = Some(code));
                answer(code, &body)
            }
            Some(Kind::CutBefore) => Err(Cut),
            Some(Kind::CutAfter) => {
                whole(self.forward(head, body, place).await?).await?;
                Err(Cut)
            }
        }
    }

    /// Passes a request on. Boxed, for the type of the future inside is a page long.
    fn forward(
        &self,
        head: request::Parts,
        body: Bytes,
        place: Option<usize>,
    ) -> BoxFuture<'_, Result<Relayed, Cut>> {
        async move {
            self.note(place, |entry| entry.forwarded = true);
            let mut request = Request::new(Body::from(body.to_vec()));
            *request.method_mut() = head.method;
            *request.uri_mut() = target(&head.uri);
            *request.headers_mut() = passed_on(head.headers);
            let relayed = match self.client.send(request).await {
                Ok(response) => {
                    let (mut head, body) = response.into_parts();
                    head.headers = passed_on(head.headers);
                    Response::from_parts(head, body.map_err(Into::into).boxed_unsync())
                }
                Err(error) => {
                    let message = format!("the proxy cannot reach the API server: {error}");
                    let code = StatusCode::BAD_GATEWAY;
                    answer(code, &rules::status(code, "InternalError", &message))?
                }
            };
            self.note(place, |entry| entry.status = Some(relayed.status()));
            Ok(relayed)
        }
        .boxed()
    }

    /// Changes the journal entry of a request that has one.
    fn note(&self, place: Option<usize>, change: impl FnOnce(&mut JournalEntry)) {
        let mut entries = self.journal.locked();
        if let Some(entry) = place.and_then(|place| entries.get_mut(place)) {
            change(entry);
        }
    }
}

/// The path and query alone; the client knows the server.
fn target(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().map(Uri::from).unwrap_or_default()
}

fn passed_on(mut headers: HeaderMap) -> HeaderMap {
    for name in NOT_PASSED_ON {
        headers.remove(name);
    }
    headers
}

/// The answer with all of its body at hand: the API server is done with the request.
async fn whole(answer: Relayed) -> Result<Relayed, Cut> {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    Ok(Response::from_parts(head, in_memory(body)))
}

fn answer(code: StatusCode, body: &serde_json::Value) -> Result<Relayed, Cut> {
    let body = serde_json::to_vec(body).map_err(|_| Cut)?;
    let mut response = Response::new(in_memory(body.into()));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn in_memory(body: Bytes) -> UnsyncBoxBody<Bytes, kube::Error> {
    Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync()
}
