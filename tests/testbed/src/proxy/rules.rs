//! What a test tells the proxy to do: which requests, and what happens to them.
//!
//! Pure bookkeeping; nothing here touches a connection.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{Method, StatusCode};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;

/// A request on its way, as rules and hooks see it.
#[derive(Clone)]
pub struct Exchange {
    /// The method.
    pub method: Method,
    /// The path without the query, such as `/api/v1/namespaces/default/secrets/one`.
    pub path: String,
    /// The query without the question mark; empty if there is none.
    pub query: String,
    /// The body, if it is JSON. It can hold Secrets, so `Debug` leaves it out.
    pub body: Option<Value>,
    /// The answer of the API server, in hooks that run after it.
    pub status: Option<StatusCode>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, query, body: _, status } = self;
        write!(f, "{method} {path}?{query} ({status:?})")
    }
}

impl Exchange {
    /// Whether it can change something.
    pub fn is_mutating(&self) -> bool {
        ![Method::GET, Method::HEAD, Method::OPTIONS].contains(&self.method)
    }
}

type Test = Arc<dyn Fn(&Exchange) -> bool + Send + Sync>;

/// Which requests a rule is for. All conditions must hold.
#[derive(Clone)]
#[must_use]
pub struct Match {
    tests: Vec<Test>,
    first: usize,
    times: Option<usize>,
}

impl fmt::Debug for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Match({} conditions, from {}, times {:?})", self.tests.len(), self.first, self.times)
    }
}

impl Match {
    /// Every request.
    pub fn any() -> Self {
        Self { tests: Vec::new(), first: 1, times: None }
    }

    /// Every request that can change something: not GET, HEAD, OPTIONS.
    pub fn mutating() -> Self {
        Self::any().when(Exchange::is_mutating)
    }

    /// Every request with this method.
    pub fn method(method: Method) -> Self {
        Self::any().when(move |exchange| exchange.method == method)
    }

    /// Only if the path (without the query) passes.
    pub fn path(self, test: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.when(move |exchange| test(&exchange.path))
    }

    /// Only if the path contains this.
    pub fn path_contains(self, part: impl Into<String>) -> Self {
        let part = part.into();
        self.path(move |path| path.contains(&part))
    }

    /// Only if the path ends with this.
    pub fn path_ends_with(self, end: impl Into<String>) -> Self {
        let end = end.into();
        self.path(move |path| path.ends_with(&end))
    }

    /// Only if the body is JSON and passes.
    pub fn json(self, test: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        self.when(move |exchange| exchange.body.as_ref().is_some_and(&test))
    }

    /// Only if the whole request passes.
    pub fn when(mut self, test: impl Fn(&Exchange) -> bool + Send + Sync + 'static) -> Self {
        self.tests.push(Arc::new(test));
        self
    }

    /// Only the `n`-th of them, counted from 1.
    pub fn nth(self, n: usize) -> Self {
        Self { first: n, times: Some(1), ..self }
    }

    /// Only the first `times` of them; after [`Match::nth`]: so many, beginning with that one.
    pub fn times(self, times: usize) -> Self {
        Self { times: Some(times), ..self }
    }

    fn fits(&self, exchange: &Exchange) -> bool {
        self.tests.iter().all(|test| test(exchange))
    }

    /// Whether the rule acts on its `n`-th fitting request.
    fn acts_on(&self, n: usize) -> bool {
        n >= self.first && self.times.is_none_or(|times| n < self.first + times)
    }
}

type Hook = Arc<dyn Fn(Exchange) -> BoxFuture<'static, ()> + Send + Sync>;

/// What happens to a request.
#[derive(Clone)]
#[must_use]
pub struct Action(pub(super) Kind);

#[derive(Clone)]
pub(super) enum Kind {
    Before(Hook),
    After(Hook),
    Answer(StatusCode, Value),
    CutBefore,
    CutAfter,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Before(_) => "Before",
            Kind::After(_) => "After",
            Kind::Answer(..) => "Answer",
            Kind::CutBefore => "CutBefore",
            Kind::CutAfter => "CutAfter",
        })
    }
}

impl Action {
    /// Runs a hook, then forwards.
    pub fn before<F: Future<Output = ()> + Send + 'static>(
        hook: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Kind::Before(Arc::new(move |exchange| hook(exchange).boxed())))
    }

    /// Forwards, waits for the whole answer of the API server (so the change is made), runs a hook, then relays the
    /// answer.
    pub fn after<F: Future<Output = ()> + Send + 'static>(
        hook: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Kind::After(Arc::new(move |exchange| hook(exchange).boxed())))
    }

    /// Holds the request back until the gate is opened, then forwards it, even if the sender is gone by then: as
    /// if it had been on the way for so long.
    pub fn hold_before(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::before(move |_| gate.clone().pass())
    }

    /// Forwards, and holds the answer back until the gate is opened.
    pub fn hold_after(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::after(move |_| gate.clone().pass())
    }

    /// Answers in the place of the API server, which never sees the request.
    pub fn answer(status: StatusCode, body: Value) -> Self {
        Self(Kind::Answer(status, body))
    }

    /// Answers in the words of the API server: a `Status` with this code, reason (such as `Forbidden`) and message.
    pub fn refuse(code: StatusCode, reason: &str, message: &str) -> Self {
        Self::answer(code, status(code, reason, message))
    }

    /// Closes the connection without forwarding: the sender cannot know that nothing happened.
    pub fn cut_before() -> Self {
        Self(Kind::CutBefore)
    }

    /// Forwards, waits for the answer, and closes the connection: the change is made, the sender cannot know.
    pub fn cut_after() -> Self {
        Self(Kind::CutAfter)
    }
}

/// An answer of the kind `Status`.
pub(super) fn status(code: StatusCode, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code.as_u16(),
    })
}

/// A place where requests wait until a test lets them pass.
#[derive(Clone, Debug)]
pub struct Gate {
    waiting: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self { waiting: watch::Sender::new(0), open: watch::Sender::new(false) }
    }

    /// Waits until a request stands at the gate (or has stood there).
    pub async fn reached(&self) {
        self.reached_by(1).await;
    }

    /// Waits until this many requests have come to the gate.
    pub async fn reached_by(&self, requests: usize) {
        until(&self.waiting, |count| *count >= requests).await;
    }

    /// Lets all pass, from now on.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    async fn pass(self) {
        self.waiting.send_modify(|count| *count += 1);
        until(&self.open, |open| *open).await;
    }
}

async fn until<T>(value: &watch::Sender<T>, test: impl FnMut(&T) -> bool) {
    let mut receiver = value.subscribe();
    // It can only fail if all senders are gone, and one is borrowed here.
    let _reached = receiver.wait_for(test).await;
}

/// A rule that was added to a proxy; dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Rule {
    entry: Arc<Entry>,
    rules: Rules,
}

impl Rule {
    /// How often it has acted.
    pub fn hits(&self) -> usize {
        *self.entry.hits.borrow()
    }

    /// Waits until it has acted at least once.
    pub async fn hit(&self) {
        until(&self.entry.hits, |hits| *hits > 0).await;
    }

    /// Takes it away. Requests that it already acts on are not concerned.
    pub fn remove(self) {
        self.rules.locked().retain(|entry| !Arc::ptr_eq(entry, &self.entry));
    }
}

#[derive(Debug)]
struct Entry {
    matcher: Match,
    action: Action,
    fitting: Mutex<usize>,
    hits: watch::Sender<usize>,
}

/// All rules of a proxy.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules(Arc<Mutex<Vec<Arc<Entry>>>>);

impl Rules {
    pub(super) fn add(&self, matcher: Match, action: Action) -> Rule {
        let entry = Arc::new(Entry { matcher, action, fitting: Mutex::new(0), hits: watch::Sender::new(0) });
        self.locked().push(Arc::clone(&entry));
        Rule { entry, rules: self.clone() }
    }

    pub(super) fn clear(&self) {
        self.locked().clear();
    }

    /// The action for a request: that of the first rule that acts on it. Every rule counts what fits it, whether or
    /// not another one acts.
    pub(super) fn decide(&self, exchange: &Exchange) -> Option<Action> {
        let mut action = None;
        for entry in self.locked().iter().filter(|entry| entry.matcher.fits(exchange)) {
            let mut fitting = entry.fitting.lock().unwrap_or_else(PoisonError::into_inner);
            *fitting += 1;
            if action.is_none() && entry.matcher.acts_on(*fitting) {
                entry.hits.send_modify(|hits| *hits += 1);
                action = Some(entry.action.clone());
            }
        }
        action
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(method: Method, path: &str) -> Exchange {
        Exchange { method, path: path.into(), query: String::new(), body: None, status: None }
    }

    fn name(action: Option<Action>) -> String {
        action.map_or_else(|| "none".into(), |action| format!("{action:?}"))
    }

    #[test]
    fn a_rule_for_the_second_secret_acts_on_that_one_alone() {
        let rules = Rules::default();
        let rule = rules.add(Match::mutating().path_contains("/secrets").nth(2), Action::cut_after());
        let seen: Vec<String> = [
            exchange(Method::GET, "/api/v1/secrets"),
            exchange(Method::POST, "/api/v1/secrets"),
            exchange(Method::POST, "/api/v1/configmaps"),
            exchange(Method::POST, "/api/v1/secrets"),
            exchange(Method::POST, "/api/v1/secrets"),
        ]
        .iter()
        .map(|request| name(rules.decide(request)))
        .collect();
        assert_eq!(seen, ["none", "none", "none", "CutAfter", "none"]);
        assert_eq!(rule.hits(), 1);
    }

    #[test]
    fn the_first_rule_that_acts_wins_and_the_others_still_count() {
        let rules = Rules::default();
        rules.add(Match::any().nth(1), Action::cut_before());
        rules.add(Match::any().nth(2).times(2), Action::cut_after());
        let seen: Vec<String> = (0..4).map(|_| name(rules.decide(&exchange(Method::GET, "/")))).collect();
        assert_eq!(seen, ["CutBefore", "CutAfter", "CutAfter", "none"]);
    }

    #[test]
    fn a_removed_rule_no_longer_acts() {
        let rules = Rules::default();
        let rule = rules.add(Match::any(), Action::cut_before());
        rule.remove();
        assert_eq!(name(rules.decide(&exchange(Method::GET, "/"))), "none");
    }
}
