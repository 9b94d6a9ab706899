//! The emulator's behaviour over plain HTTP: API 15, rule by rule. Nothing here uses a client of the API.
//! This file holds what the tests share: an emulator with one organization, and calls to it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on must stop"
)]

#[path = "emulator/authentication.rs"]
mod authentication;
#[path = "emulator/control.rs"]
mod control;
#[path = "emulator/faults.rs"]
mod faults;
#[path = "emulator/late.rs"]
mod late;
#[path = "emulator/lifecycle.rs"]
mod lifecycle;
#[path = "emulator/projects.rs"]
mod projects;
#[path = "emulator/settings.rs"]
mod settings;

use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use testbed::emulator::{Control, Emulator, Modes, Options, Organization, OrganizationOptions};

/// The longest that a test waits for something that must happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// An emulator with one organization.
struct World {
    emulator: Emulator,
    control: Control,
    acme: Organization,
    http: reqwest::Client,
}

/// An answer that has come completely.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }

    /// Status, code and slug of an error with the envelope.
    fn error(&self) -> (u16, u64, String) {
        let error = &self.json()["error"];
        assert_eq!(error["status"], self.status, "{error}");
        assert!(error["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{error}");
        (self.status, error["code"].as_u64().unwrap(), error["slug"].as_str().unwrap().to_owned())
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name}")).to_str().unwrap()
    }

    fn is_html(&self) -> bool {
        self.header("content-type").starts_with("text/html") && self.text.starts_with("<!DOCTYPE html>")
    }
}

fn http() -> reqwest::Client {
    // Fails when another test has installed it already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(DEADLINE)
        .build()
        .unwrap()
}

impl World {
    async fn new() -> Self {
        Self::with(Modes::default()).await
    }

    async fn with(modes: Modes) -> Self {
        let emulator = Emulator::start(Options::default()).await.unwrap();
        let control = emulator.control();
        let acme =
            control.add_organization(OrganizationOptions { modes, ..OrganizationOptions::named("acme") });
        Self { emulator, control, acme, http: http() }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.emulator.url()))
    }

    /// A call with the organization key.
    fn organization(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.request(method, &format!("/api/v3/org/owner/project{path}"))
            .header("x-org-api-key", &self.acme.key)
    }

    /// A call of the settings endpoint with a project key.
    fn settings(&self, method: Method, key: &str) -> reqwest::RequestBuilder {
        self.request(method, "/api/v3/org/project/config").header("x-api-key", key)
    }

    async fn create(&self, body: Value) -> Got {
        send(self.organization(Method::POST, "/new").json(&body)).await
    }

    /// A project with a key: id and key.
    async fn project(&self, name: &str) -> (String, String) {
        let got = self.create(json!({"name": name, "should_create_api_key": true})).await;
        assert_eq!(got.status, 200, "{}", got.text);
        let body = got.json();
        (body["id"].as_str().unwrap().to_owned(), body["api_key"].as_str().unwrap().to_owned())
    }

    async fn list(&self) -> Value {
        let got = send(self.organization(Method::GET, "/list")).await;
        assert_eq!(got.status, 200, "{}", got.text);
        got.json()
    }

    async fn read(&self, id: &str) -> Got {
        send(self.organization(Method::GET, &format!("/{id}"))).await
    }

    /// The status of a call that only proves that a project key lives.
    async fn categories(&self, key: &str) -> Got {
        send(self.request(Method::GET, "/api/v3/toolkits/categories").header("x-api-key", key)).await
    }

    async fn admin(&self, method: Method, path: &str, body: Value) -> Got {
        send(self.request(method, &format!("/_emulator{path}")).json(&body)).await
    }
}

async fn send(request: reqwest::RequestBuilder) -> Got {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Got { status, headers, text: response.text().await.unwrap() }
}

/// The names in a list answer, in its order.
fn names(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

/// Waits for something that must happen.
async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(DEADLINE, what).await.expect("it did not happen in time")
}

/// Waits until a condition holds that nothing announces.
async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
