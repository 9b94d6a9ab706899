//! The one `call`: budget, send gate, deadline, headers, classification, metrics, server time. One client per
//! ComposioOrganization; the credential comes as a value with each call.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, redirect};
use serde_json::Value;
use tokio::sync::Semaphore;
use tower::limit::GlobalConcurrencyLimitLayer;
use tracing::debug;
use url::{Host, Url};

use super::budget::{Permit, SharedBudget};
use super::clock::{BootInstant, ServerClock};
use super::error::{classify, transport, unknown};
use super::lead::Lead;
use super::metrics::{CallMetrics, Operation};
use super::roots::Roots;
use crate::domain::answer::CallError;
use crate::domain::budget::{Lane, PATIENCE};
use crate::domain::key::ApiKey;

/// Longest body that is read, in bytes: fifty projects are about 40 KiB.
const LONGEST_BODY: usize = 4 << 20;
/// How long an answer is still taken after its deadline. A process that was stopped finds the deadline passed and the
/// answer there, both at once; then the answer counts, for it may carry a key that is shown once.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// Most connections that are being made at once.
const MOST_CONNECTING: usize = 64;

/// Bounds of the safety protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest time from sending a request to its answer.
    pub request_deadline: Duration,
    /// A mutation is sent only while the look that dated its announcement was begun less than this ago.
    pub gate: Duration,
    /// What is added for clocks and for commits after the answer.
    pub settle_margin: Duration,
}

impl Limits {
    /// The gate of the design, 5 seconds.
    pub const GATE: Duration = Duration::from_secs(5);

    /// Longest time from an announcement to its last possible effect.
    pub fn settle(&self) -> Duration {
        self.request_deadline + self.gate + self.settle_margin
    }
}

/// A claim has announced the mutation, for which the budget has room; the look that decided it, and dated the
/// announcement, was begun at this time.
#[derive(Debug, Clone, Copy)]
pub struct Announced {
    begun: BootInstant,
    /// Proves that it is counted.
    _permit: Permit,
}

impl Announced {
    /// On the ground of a look begun at this time.
    pub fn new(begun: BootInstant, permit: Permit) -> Self {
        Self { begun, _permit: permit }
    }
}

/// One credential, in the header that matches its kind (API 3).
pub(super) enum Credential<'a> {
    /// `x-org-api-key`
    Organization(&'a ApiKey),
    /// `x-api-key`
    Project(&'a ApiKey),
}

/// A request as an endpoint describes it.
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) method: Method,
    /// After `/api/v3`, made of literals and checked ids only.
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
    /// Present for every mutation that is not repeatable.
    pub(super) announced: Option<Announced>,
}

/// A parsed 2xx.
pub(super) struct Reply {
    /// The JSON body. May hold a key: never logged.
    pub(super) body: Value,
    /// Server time of the answer.
    pub(super) time: Timestamp,
    /// The `x-request-id` that was sent.
    pub(super) request_id: String,
}

/// Client of one endpoint; cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    budget: SharedBudget,
    lead: Lead,
    lane: Lane,
    goes_on: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

struct Inner {
    http: reqwest::Client,
    base: Url,
    roots: Option<Roots>,
    limits: Limits,
    metrics: CallMetrics,
    clock: ServerClock,
    /// A permit is out for each connection that is being made.
    connecting: Arc<Semaphore>,
}

impl Client {
    /// A client of `base` (without version), which is trusted by `roots` or, without them, by the platform's. Redirects
    /// are never followed; `HTTPS_PROXY` and `NO_PROXY` are honoured.
    pub fn new(
        base: Url,
        roots: Option<Roots>,
        limits: Limits,
        metrics: CallMetrics,
        budget: SharedBudget,
    ) -> Result<Self, reqwest::Error> {
        // A proxy is the way out of this machine, not to itself.
        let builder = reqwest::Client::builder();
        let builder = if is_loopback(&base) { builder.no_proxy() } else { builder };
        let builder = match &roots {
            Some(roots) => builder.tls_certs_only(roots.certificates()?),
            None => builder,
        };
        let connecting = Arc::new(Semaphore::new(MOST_CONNECTING));
        let http = builder
            .user_agent(concat!("composio-operator/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(limits.request_deadline.min(Duration::from_secs(5)))
            .connector_layer(GlobalConcurrencyLimitLayer::with_semaphore(connecting.clone()))
            .pool_idle_timeout(Duration::from_secs(30))
            .build()?;
        let clock = ServerClock::default();
        let inner = Arc::new(Inner { http, base, roots, limits, metrics, clock, connecting });
        Ok(Self { inner, budget, lead: Lead::always(), lane: Lane::Work, goes_on: None })
    }

    /// The same, sending only while `lead` is held, and a mutation only if its whole deadline is left on it.
    #[must_use]
    pub fn led_by(&self, lead: Lead) -> Self {
        Self { lead, ..self.clone() }
    }

    /// The same for what this lane is for.
    #[must_use]
    pub fn in_lane(&self, lane: Lane) -> Self {
        Self { lane, ..self.clone() }
    }

    /// The same, sending only while `goes_on` says so: a walk of many pages may outlast what it is for.
    #[must_use]
    pub fn only_while(&self, goes_on: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { goes_on: Some(Arc::new(goes_on)), ..self.clone() }
    }

    /// What its calls are for.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// The organization's budget.
    pub fn budget(&self) -> &SharedBudget {
        &self.budget
    }

    /// Base URL, without a slash at its end.
    pub fn base_url(&self) -> &str {
        bare(&self.inner.base)
    }

    /// The certificates that it trusts in place of the platform's.
    pub fn roots(&self) -> Option<&Roots> {
        self.inner.roots.as_ref()
    }

    /// Whether the other one has the same endpoint, trusted by the same certificates.
    pub fn is_like(&self, other: &Self) -> bool {
        self.is_for(&other.inner.base, other.roots())
    }

    /// Whether it is for this endpoint, however its URL was written, trusted by these certificates.
    pub fn is_for(&self, base: &Url, roots: Option<&Roots>) -> bool {
        (self.base_url(), self.roots()) == (bare(base), roots)
    }

    /// Now, in the server's time.
    pub fn server_now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Sends one request and says what the answer means. Never repeats anything.
    pub(super) async fn call(
        &self,
        credential: Credential<'_>,
        request: Request,
    ) -> Result<Reply, CallError> {
        let (operation, lane) = (request.operation, self.lane_of(request.operation));
        let turn = self.turn(lane, &request).await;
        let (started, request_id) = (Instant::now(), uuid::Uuid::new_v4().to_string());
        let result = match turn {
            Ok(()) => self.send(credential, request, &request_id).await,
            Err(error) => Err(error),
        };
        self.inner.metrics.observe((operation, lane), (&result).into(), started.elapsed());
        let (outcome, milliseconds) = (super::CallOutcome::from(&result), started.elapsed().as_millis());
        if operation.is_mutation() {
            tracing::info!(request.id = request_id, ?operation, ?outcome, duration_ms = %milliseconds, "mutation at Composio");
        } else {
            debug!(request.id = request_id, ?operation, ?outcome, duration_ms = %milliseconds, "call to Composio");
        }
        result
    }

    /// Releases and rotations go first, whatever the client was made for.
    fn lane_of(&self, operation: Operation) -> Lane {
        match operation {
            Operation::Delete | Operation::Regenerate => Lane::Urgent,
            _ => self.lane,
        }
    }

    /// Waits for the budget, if it is not long.
    async fn turn(&self, lane: Lane, request: &Request) -> Result<(), CallError> {
        if request.announced.is_some() {
            // It has its permit.
            return Ok(());
        }
        let is_next_page = request.query.iter().any(|(name, _)| *name == "cursor");
        let turn = match is_next_page {
            true => self.budget.turn_of_next_page(lane).await,
            false => self.budget.turn(lane, PATIENCE).await,
        };
        turn.map_err(|left| CallError::Throttled(Some(left)))
    }

    async fn send(
        &self,
        credential: Credential<'_>,
        request: Request,
        request_id: &str,
    ) -> Result<Reply, CallError> {
        let deadline = self.inner.limits.request_deadline;
        let lead_needed = if request.operation.is_mutation() { deadline } else { Duration::ZERO };
        if let Some(left) = self.budget.paused_for() {
            return Err(CallError::Throttled(Some(left)));
        }
        let url = format!("{}/api/v3{}", self.base_url(), request.path);
        let mut builder = self
            .inner
            .http
            .request(request.method, url)
            .query(&request.query)
            .headers(headers(&credential, request_id)?);
        if let Some(body) = &request.body {
            builder = builder.json(body);
        }
        // The last thing before sending: a process that was stopped in between must not send.
        if request.announced.is_some_and(|announced| announced.begun.elapsed() >= self.inner.limits.gate) {
            return Err(CallError::NotSent("the announcement is too old".to_owned()));
        }
        if !self.lead.is_held_for(lead_needed) {
            return Err(CallError::NotSent("this process does not lead, or not for long enough".to_owned()));
        }
        if self.goes_on.as_ref().is_some_and(|goes_on| !goes_on()) {
            return Err(CallError::NotSent("the organization has changed meanwhile".to_owned()));
        }
        self.within(deadline, self.exchange(builder, request_id)).await
    }

    /// Waits for an answer until the deadline. After it, one that is there already is still taken, but nothing is sent:
    /// where a connection is being made, it may be this request that waits for it.
    async fn within(
        &self,
        deadline: Duration,
        exchange: impl Future<Output = Result<Reply, CallError>>,
    ) -> Result<Reply, CallError> {
        let (begun, mut exchange) = (BootInstant::now(), pin!(exchange));
        let mut timer = pin!(tokio::time::sleep(deadline));
        let in_time = poll_fn(|task| {
            // First, and by the clock that counts, or a process that was stopped would send before it sees the time.
            if begun.elapsed() >= deadline || timer.as_mut().poll(task).is_ready() {
                return Poll::Ready(None);
            }
            exchange.as_mut().poll(task).map(Some)
        });
        if let Some(result) = in_time.await {
            return result;
        }
        let is_sent = self.inner.connecting.available_permits() == MOST_CONNECTING;
        let late = if is_sent { tokio::time::timeout(LAST_LOOK, exchange).await.ok() } else { None };
        late.unwrap_or_else(|| {
            self.budget.unanswered();
            Err(unknown("no answer in time", None))
        })
    }

    async fn exchange(&self, builder: reqwest::RequestBuilder, request_id: &str) -> Result<Reply, CallError> {
        let mut response = builder.send().await.map_err(|error| {
            self.budget.unanswered();
            transport(error)
        })?;
        let (status, headers) = (response.status(), response.headers().clone());
        self.budget.answered(&headers);
        if let Some(date) = headers.get(DATE).and_then(|date| date.to_str().ok()) {
            self.inner.clock.observe(date);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_BODY {
                return Err(unknown("an answer of more than 4 MiB", Some(status)));
            }
        }
        if !status.is_success() {
            let error = classify(status, retry_after(&headers), &body);
            if let CallError::Throttled(retry_after) = &error {
                self.budget.throttled(*retry_after);
            }
            return Err(error);
        }
        match serde_json::from_slice(&body) {
            Ok(body) => Ok(Reply { body, time: self.server_now(), request_id: request_id.to_owned() }),
            // Somebody in between answers with a page. What is merely damaged says nothing, not even by its status.
            Err(_) if is_page(&body) => Err(unknown("a page instead of an answer", Some(status))),
            Err(_) => Err(unknown("a 2xx whose body is not JSON", None)),
        }
    }
}

/// Whether a body is HTML.
fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// Without a slash at its end.
fn bare(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

/// Whether a URL names this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn headers(credential: &Credential<'_>, request_id: &str) -> Result<HeaderMap, CallError> {
    let (name, key) = match credential {
        Credential::Organization(key) => ("x-org-api-key", key),
        Credential::Project(key) => ("x-api-key", key),
    };
    let unusable = |_| CallError::NotSent("the key cannot be sent as a header".to_owned());
    let mut value = HeaderValue::from_str(key.expose()).map_err(unusable)?;
    value.set_sensitive(true);
    let mut headers = HeaderMap::from_iter([(reqwest::header::HeaderName::from_static(name), value)]);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    Ok(headers)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(Duration::from_mins(10)))
}
