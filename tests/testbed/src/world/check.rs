//! What must hold at the end of every scenario: as many projects as claims, no key lost, every published key works, and
//! no key where none belongs.

use std::collections::BTreeSet;

use composio_operator::crd::ComposioProject;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use super::World;
use crate::canary::{assert_no_key, leaks_in_logs, lines_searched};
use crate::controlplane::Part;
use crate::emulator::Entry;

/// Type of a claim's Secret, as an outsider knows it.
const CLAIM_TYPE: &str = "composio.dev/project-claim";

/// A claim, read from the outside: `claim.json` and the key.
pub struct Claims(Vec<(Value, Option<String>)>);

impl Claims {
    /// `claim.json` of each.
    pub fn all(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().map(|(claim, _)| claim)
    }

    /// `claim.json` of the project of this full name.
    pub fn of(&self, project_name: &str) -> Option<&Value> {
        self.all().find(|claim| claim["projectName"] == project_name)
    }

    /// The key of the project of this full name.
    pub fn key(&self, project_name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(claim, _)| claim["projectName"] == project_name);
        found.and_then(|(_, key)| key.as_deref())
    }

    /// Ids of the projects in them.
    pub fn project_ids(&self) -> BTreeSet<String> {
        self.all().filter_map(|claim| claim["projectId"].as_str()).map(ToOwned::to_owned).collect()
    }
}

#[expect(clippy::expect_used, reason = "an assertion of tests")]
impl World {
    /// The ledger, read from the outside.
    pub async fn claims(&self) -> Claims {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.system);
        let params = ListParams::default().fields(&format!("type={CLAIM_TYPE}"));
        let secrets = api.list(&params).await.expect("an API server that answers");
        let read = |secret: Secret| {
            let mut data = secret.data.unwrap_or_default();
            let claim = data.remove("claim.json").expect("a claim with its content");
            let key = data.remove("apiKey").and_then(|key| String::from_utf8(key.0).ok());
            (serde_json::from_slice(&claim.0).expect("a claim that is JSON"), key)
        };
        Claims(secrets.into_iter().map(read).collect())
    }

    /// Requests since a mark of the journal, other than the probes of organizations, whose time is their own.
    pub fn calls_since(&self, mark: u64) -> Vec<Entry> {
        let calls = self.control.journal_since(mark).into_iter();
        calls.filter(|entry| !entry.path.ends_with("/list?limit=1")).collect()
    }

    /// Ids of the living projects of an organization at the emulator.
    pub fn remote_ids(&self, organization: &str) -> BTreeSet<String> {
        self.control.projects(organization).into_iter().map(|project| project.id).collect()
    }

    /// Stops the operator and checks what must hold in every world. `foreign` are ids of projects that third parties
    /// have made.
    pub async fn finish(mut self, foreign: &[&str]) {
        let metrics = self.metrics().await;
        self.stop_operator().await;
        let claims = self.claims().await;
        let mut remote = self.remote_ids(&self.organization.id);
        for other in self.control.organizations() {
            remote.extend(self.remote_ids(&other.id));
        }
        for id in foreign {
            assert!(remote.remove(*id), "the foreign project {id} is gone");
        }
        assert_eq!(remote, claims.project_ids(), "projects at Composio (left) and in claims (right) differ");
        for (claim, key) in &claims.0 {
            let works = key.as_deref().map(|key| self.control.project_of_key(key));
            let id = claim["projectId"].as_str().map(ToOwned::to_owned);
            assert!(
                works.is_none_or(|works| works == id),
                "the key in the claim of {} does not work",
                claim["projectName"]
            );
            let is_owned = claim["phase"] == "Owned";
            assert!(
                key.is_some() == is_owned || claim["phase"] == "Deleting",
                "phase and key of {}",
                claim["projectName"]
            );
        }
        for namespace in std::iter::once(&self.namespace).chain(&self.others) {
            self.published_keys_work(namespace, &claims).await;
        }
        self.no_key_where_none_belongs(&metrics).await;
        self.is_finished = true;
    }

    async fn published_keys_work(&self, namespace: &str, claims: &Claims) {
        let projects: Api<ComposioProject> = Api::namespaced(self.client.clone(), namespace);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        for project in projects.list(&ListParams::default()).await.expect("a list") {
            let status = project.status.clone().unwrap_or_default();
            let Some(binding) = status.binding else { continue };
            let secret = secrets.get(&binding.name).await.expect("the Secret that the status names");
            let id = status.project.and_then(|project| project.id).expect("the id of a published project");
            let found = claims.0.iter().find(|(claim, _)| claim["projectId"] == id.as_str());
            let key = found.and_then(|(_, key)| key.as_deref()).expect("a published key stands in the claim");
            let is_published =
                secret.data.unwrap_or_default().values().any(|value| value.0 == key.as_bytes());
            assert!(is_published, "Secret {} does not hold the key of the claim", binding.name);
        }
    }

    /// In nothing that this test binary has made until now: the last world of a binary looks at all of it.
    async fn no_key_where_none_belongs(&self, metrics: &str) {
        assert_no_key("the metrics page", metrics.as_bytes());
        assert!(lines_searched() > 0, "no log line was searched");
        assert_eq!(leaks_in_logs(), Vec::<String>::new(), "a key is in the logs");
        let (findings, in_place) = self.history.findings().await.expect("the history of etcd");
        assert_eq!(
            findings,
            Vec::<String>::new(),
            "keys are stored where none belongs (a test that does so itself permits it with `world.history`)"
        );
        assert!(in_place > 0, "not even the keys of the organizations are found");
        for part in Part::ALL {
            let log = std::fs::read(self.control_plane.log_path(part)).expect("its log");
            assert_no_key(&format!("the log of {}", part.name()), &log);
        }
    }

    /// The metrics page of the running operator.
    pub async fn metrics(&self) -> String {
        let Some(running) = &self.operator else {
            return String::new();
        };
        let page = super::get(&running.metrics_url).await.expect("a metrics page");
        page.text().await.expect("a metrics page that is text")
    }
}
