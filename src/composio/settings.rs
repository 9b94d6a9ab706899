//! Project routes: settings (API 7.2, perhaps gone: 7.3) and the proof that a key lives (API 8).

use reqwest::Method;

use super::client::{Client, Credential, Request};
use super::error::unknown;
use super::metrics::Operation;
use super::projects::body;
use crate::domain::answer::CallError;
use crate::domain::key::ApiKey;
use crate::domain::settings::Settings;

fn config(operation: Operation, method: Method) -> Request {
    let path = "/org/project/config".to_owned();
    Request { operation, method, path, query: Vec::new(), body: None, announced: None }
}

impl Client {
    /// Reads the settings of the key's project.
    pub async fn read_settings(&self, key: &ApiKey) -> Result<Settings, CallError> {
        let reply = self.call(Credential::Project(key), config(Operation::ReadSettings, Method::GET)).await?;
        let body = body(reply);
        if body.is_object() {
            Ok(Settings::from_wire(&body))
        } else {
            Err(unknown("settings that are no object", None))
        }
    }

    /// Changes some settings of the key's project. Repeatable, so that no claim announces it.
    pub async fn patch_settings(&self, key: &ApiKey, members: &Settings) -> Result<(), CallError> {
        let mut request = config(Operation::PatchSettings, Method::PATCH);
        request.body = Some(members.to_wire(false));
        self.call(Credential::Project(key), request).await.map(drop)
    }

    /// Proves that a project key lives.
    pub async fn prove_key(&self, key: &ApiKey) -> Result<(), CallError> {
        let path = "/toolkits/categories".to_owned();
        let operation = Operation::Categories;
        let request =
            Request { operation, method: Method::GET, path, query: Vec::new(), body: None, announced: None };
        self.call(Credential::Project(key), request).await.map(drop)
    }
}
