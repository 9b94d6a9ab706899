//! The way of one request through the emulator: arrive (authentication, budget, faults drawn) → wait → commit → wait →
//! answer. The order is that of API 15: authentication first, then the budget, then validation and effect.
//!
//! A request runs in a task of its own, so that it has its effect also when the caller has gone away, as on a real server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body as HttpBody, Bytes};
use axum::http::{HeaderMap, Method, Response, Uri};
use serde_json::Value;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::answer::{Answer, Delivery, cut_response};
use super::auth::{Caller, Credentials};
use super::errors::Refusal;
use super::faults::{Fault, Point, Subject, Taken, Which, members};
use super::identifiers::redact;
use super::journal::{Arrival, Operation, Outcome};
use super::operations::{self, Done};
use super::settings::{self, Gone};
use super::state::State;

/// The state behind its lock; shared by the server and all controls.
#[derive(Default)]
pub(super) struct Shared(Mutex<State>);

impl Shared {
    /// The state. A test that panicked while it held the lock does not take the emulator down for others.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a request is addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Operation(Operation),
    /// A call of versions 1 and 2.
    RemovedVersion,
    /// No route of the API: the dashboard app answers.
    Nowhere,
}

/// A request that has been read completely. Has no `Debug`: it holds keys.
pub(super) struct Received {
    pub(super) target: Target,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// The project id in the path, decoded; empty where there is none.
    pub(super) project_id: String,
    pub(super) query: Vec<(String, String)>,
    /// Content; `Err`: what is wrong with it.
    pub(super) body: Result<Bytes, &'static str>,
}

impl Received {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The caller's request id, or a new one (API 15.13).
    fn request_id(&self) -> String {
        let given = self.header("x-request-id").filter(|id| !id.is_empty());
        given.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
    }

    fn json(&self) -> Result<Value, Refusal> {
        let wrong = |message: &str| Refusal::validation(vec![message.to_owned()]);
        let bytes = self.body.as_ref().map_err(|message| wrong(message))?;
        let is_json = self.header("content-type").is_some_and(|kind| {
            kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        });
        if !is_json {
            return Err(wrong("content-type: must be application/json"));
        }
        serde_json::from_slice(bytes).map_err(|_| wrong("body: is not valid JSON"))
    }
}

/// A request that may go on.
struct Admitted {
    operation: Operation,
    caller: Caller,
    faults: Taken,
}

/// One request, from its arrival to the answer.
struct Exchange {
    shared: Arc<Shared>,
    received: Received,
    request_id: String,
    sequence: u64,
}

/// Serves a request; resolves with its answer. Dropping the future does not stop the request.
pub(super) async fn serve(shared: Arc<Shared>, received: Received) -> Response<HttpBody> {
    let request_id = received.request_id();
    let mut exchange = Exchange { shared: Arc::clone(&shared), received, request_id, sequence: 0 };
    let admitted = exchange.arrive();
    let mut presence = Presence { shared, sequence: exchange.sequence, answered: false };
    let (sender, answer) = oneshot::channel();
    match admitted {
        Err(answer) => exchange.deliver(answer, sender),
        Ok(admitted) => drop(tokio::spawn(async move { exchange.proceed(admitted, sender).await })),
    }
    let response = answer.await.unwrap_or_else(|_| cut_response());
    presence.answered = true;
    response
}

/// Lives as long as the caller's connection waits for the answer, and notes when the caller goes away first.
struct Presence {
    shared: Arc<Shared>,
    sequence: u64,
    answered: bool,
}

impl Drop for Presence {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.lock().journal.amend(self.sequence, |entry| entry.outcome = Outcome::Abandoned);
        }
    }
}

impl Exchange {
    /// Journal entry, authentication, budget, faults; nothing else has happened when this returns.
    fn arrive(&mut self) -> Result<Admitted, Answer> {
        let shared = Arc::clone(&self.shared);
        let state = &mut *shared.lock();
        self.open_entry(state);
        let refused = |refusal: Refusal| Answer::refused(&refusal, &self.request_id);
        let operation = match self.received.target {
            Target::Operation(operation) => operation,
            Target::RemovedVersion => return Err(refused(Refusal::version_removed())),
            Target::Nowhere => return Err(Answer::edge_page(404)),
        };
        if let Some(answer) = self.settings_are_gone(state, operation) {
            return Err(answer);
        }
        let caller =
            Credentials::of(&self.received.headers).authenticate(state, operation).map_err(refused)?;
        if let Err((seconds, limit, window)) = state.take_budget(&caller.organization) {
            return Err(Answer::over_budget(seconds, limit, window.as_secs()));
        }
        let faults = self.draw_faults(state, operation, &caller);
        Ok(Admitted { operation, caller, faults })
    }

    fn open_entry(&mut self, state: &mut State) {
        let received = &self.received;
        let credentials = Credentials::of(&received.headers);
        let operation = match received.target {
            Target::Operation(operation) => Some(operation),
            Target::RemovedVersion | Target::Nowhere => None,
        };
        self.sequence = state.journal.open(&Arrival {
            operation,
            method: received.method.as_str(),
            path: received.uri.path_and_query().map_or("", |path| path.as_str()),
            request_id: received.header("x-request-id"),
            user_agent: received.header("user-agent"),
            credential: credentials.kind(),
        });
        let (organization, settings) = (credentials.organization(state), self.given_settings());
        state.journal.amend(self.sequence, |entry| {
            entry.organization = organization;
            entry.settings = settings;
        });
        let place = match received.project_id.as_str() {
            "" => credentials.project(state),
            id => state.find(id),
        };
        if let Some(project) = place.map(|place| &state.projects[place]) {
            state.journal.about(self.sequence, Some(&project.id), Some(&project.name));
        } else {
            let id = Some(received.project_id.as_str()).filter(|id| !id.is_empty());
            state.journal.about(self.sequence, id, self.given_name().as_deref());
        }
    }

    /// The name that a creation asks for.
    fn given_name(&self) -> Option<String> {
        let creates = self.received.target == Target::Operation(Operation::Create);
        let body = self.received.body.as_ref().ok().filter(|_| creates)?;
        members(body).get("name")?.as_str().map(str::to_owned)
    }

    /// Names of the settings that a creation or a change has in its body.
    fn given_settings(&self) -> Vec<String> {
        let given = self.received.body.as_ref().map(|body| members(body)).unwrap_or_default();
        let given = match self.received.target {
            Target::Operation(Operation::PatchSettings) => given,
            Target::Operation(Operation::Create) => {
                given.get("config").and_then(Value::as_object).cloned().unwrap_or_default()
            }
            _ => return Vec::new(),
        };
        given.keys().map(|name| redact(name)).collect()
    }

    /// A settings endpoint that has been taken away answers everybody the same (API 7.3).
    fn settings_are_gone(&self, state: &State, operation: Operation) -> Option<Answer> {
        if !matches!(operation, Operation::ReadSettings | Operation::PatchSettings) {
            return None;
        }
        let organization = Credentials::of(&self.received.headers).organization(state)?;
        match settings::gone(state.organizations.get(&organization)?.modes.settings)? {
            Gone::Envelope(refusal) => Some(Answer::refused(&refusal, &self.request_id)),
            Gone::Page => Some(Answer::edge_page(404)),
        }
    }

    fn draw_faults(&self, state: &mut State, operation: Operation, caller: &Caller) -> Taken {
        let name = self.given_name();
        let by_path = (!self.received.project_id.is_empty()).then_some(self.received.project_id.as_str());
        let known = caller.project.or_else(|| state.find(by_path?)).map(|place| &state.projects[place]);
        let project = [
            known.map(|project| project.id.as_str()).or(by_path),
            known.map(|project| project.name.as_str()).or(name.as_deref()),
        ];
        state.rules.take(&Subject { organization: &caller.organization, operation, project })
    }

    async fn proceed(self, admitted: Admitted, sender: oneshot::Sender<Response<HttpBody>>) {
        self.wait(Point::BeforeCommit, &admitted.faults).await;
        let fault = admitted.faults.answer.as_ref();
        if let Some(early) = fault.and_then(|fault| fault.answer_before(admitted.operation, &self.request_id))
        {
            self.deliver(early, sender);
            if let Some(Fault::CommitLate { gate, .. }) = fault {
                let gate = self.shared.lock().gates.named(gate);
                gate.wait().await;
                self.commit(&admitted);
            }
            return;
        }
        let mut answer = self.commit(&admitted);
        if let Some(Fault::Twice { answer: which }) = fault {
            let second = self.commit(&admitted);
            if *which == Which::Second {
                answer = second;
            }
        }
        self.wait(Point::AfterCommit, &admitted.faults).await;
        let answer = match &admitted.faults.answer {
            Some(fault) => fault.alter(answer, &self.request_id),
            None => answer,
        };
        self.deliver(answer, sender);
    }

    async fn wait(&self, here: Point, faults: &Taken) {
        if let Some(Fault::Delay { point, milliseconds }) = &faults.delay
            && *point == here
        {
            tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
        }
        if let Some(Fault::Hold { point, gate }) = &faults.hold
            && *point == here
        {
            let gate = self.shared.lock().gates.named(gate);
            gate.wait().await;
        }
    }

    /// Validation and effect. Effect and journal change under one lock, so that nobody sees one without the other.
    fn commit(&self, admitted: &Admitted) -> Answer {
        let state = &mut *self.shared.lock();
        match self.perform(state, admitted) {
            Err(refusal) => Answer::refused(&refusal, &self.request_id),
            Ok(Done { body, committed, project }) => {
                if committed {
                    state.journal.commit(self.sequence);
                }
                if let Some(project) = project.map(|place| &state.projects[place]) {
                    state.journal.about(self.sequence, Some(&project.id), Some(&project.name));
                }
                Answer::json(200, body)
            }
        }
    }

    fn perform(&self, state: &mut State, admitted: &Admitted) -> Result<Done, Refusal> {
        let (received, organization) = (&self.received, admitted.caller.organization.as_str());
        let (id, query) = (received.project_id.as_str(), received.query.as_slice());
        match (admitted.operation, admitted.caller.project) {
            (Operation::Create, _) => operations::create(state, organization, &received.json()?),
            (Operation::List, _) => operations::list(state, organization, query),
            (Operation::Read, _) => operations::read(state, organization, id),
            (Operation::Delete, _) => operations::delete(state, organization, id, query),
            (Operation::Regenerate, _) => operations::regenerate(state, organization, id),
            (Operation::Categories, _) => Ok(operations::categories()),
            (Operation::ReadSettings, Some(project)) => settings::read(state, project),
            (Operation::PatchSettings, Some(project)) => settings::patch(state, project, &received.json()?),
            (Operation::ReadSettings | Operation::PatchSettings, None) => Err(Refusal::no_credential()),
        }
    }

    /// Hands the answer to the connection and notes what the caller gets.
    fn deliver(&self, answer: Answer, sender: oneshot::Sender<Response<HttpBody>>) {
        let response = {
            let state = &mut *self.shared.lock();
            let organization = Credentials::of(&self.received.headers).organization(state);
            let (date, rate) = state.answer_headers(organization.as_deref());
            let outcome = match answer.delivery {
                Delivery::Cut => Outcome::Cut,
                _ => Outcome::Answered(answer.status),
            };
            // Before the bytes go out: who has the answer also finds it in the journal.
            state.journal.amend(self.sequence, |entry| {
                if entry.outcome == Outcome::Pending {
                    entry.outcome = outcome;
                }
            });
            answer.into_response(date, rate)
        };
        // An error means that the caller has gone away, which `Presence` notes.
        let _ = sender.send(response);
    }
}
