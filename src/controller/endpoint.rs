//! The client of an organization's endpoint, and the certificates that the endpoint is trusted by.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use url::Url;

use super::api_error::failure;
use super::context::Context;
use crate::composio::{Client, Roots, SharedBudget};
use crate::crd::{CaBundleRef, DEFAULT_ENDPOINT, Endpoint};
use crate::domain::failure::Failure;
use crate::domain::reason::Reason;

/// Entry of the ConfigMap where none is named, as cert-manager and Kubernetes call it.
const DEFAULT_ENTRY: &str = "ca.crt";

fn invalid(detail: String) -> Failure {
    Failure::terminal(Reason::EndpointInvalid, detail)
}

fn parse(url: &str) -> Result<Url, Failure> {
    Url::parse(url).map_err(|error| invalid(format!("{url:?}: {error}")))
}

impl Context {
    /// The client for an endpoint: the one that is `known`, with what it knows of server time, unless another
    /// URL or other certificates apply.
    pub(super) async fn client_of(
        &self,
        endpoint: Option<&Endpoint>,
        known: Option<&Client>,
        budget: &SharedBudget,
    ) -> Result<Client, Failure> {
        let Endpoint { url, ca_bundle_ref } = endpoint.cloned().unwrap_or_default();
        let url = url.as_deref().unwrap_or(DEFAULT_ENDPOINT);
        let roots = match &ca_bundle_ref {
            Some(reference) => Some(self.roots(reference).await?),
            None => None,
        };
        let base = parse(url)?;
        if let Some(known) = known.filter(|known| known.is_for(&base, roots.as_ref())) {
            return Ok(known.clone());
        }
        let client = Client::new(base, roots, self.limits, self.call_metrics.clone(), budget.clone());
        let client = client.map_err(|error| invalid(format!("{url:?}: {error}")))?;
        Ok(client.led_by(self.lead.clone()))
    }

    /// Reads a bundle live, so that a new one counts with the next look.
    async fn roots(&self, reference: &CaBundleRef) -> Result<Roots, Failure> {
        let (name, entry) = (&reference.name, reference.key.as_deref().unwrap_or(DEFAULT_ENTRY));
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = api.get_opt(name).await;
        let found = found.map_err(|error| failure("reading the ConfigMap with the certificates", &error))?;
        let found = found.ok_or_else(|| {
            invalid(format!("there is no ConfigMap {name:?} in the operator's namespace, which should hold the certificates"))
        })?;
        let bundle = found.data.as_ref().and_then(|data| data.get(entry));
        let bundle =
            bundle.ok_or_else(|| invalid(format!("ConfigMap {name:?} has no entry {entry:?} with text")))?;
        Roots::parse(bundle)
            .map_err(|problem| invalid(format!("ConfigMap {name:?}, entry {entry:?}: {problem}")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::composio::{CallMetrics, Limits};

    #[test]
    fn a_url_that_is_merely_written_otherwise_keeps_the_client() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let second = Duration::from_secs(1);
        let limits = Limits { request_deadline: second, gate: second, settle_margin: second };
        let base = parse("https://Backend.composio.DEV:443/").unwrap();
        let budget = SharedBudget::new(|| ());
        let client = Client::new(base, None, limits, CallMetrics::default(), budget).unwrap();
        for (url, is_same) in [
            ("https://Backend.composio.DEV:443/", true),
            ("https://backend.composio.dev", true),
            ("https://backend.composio.dev:444", false),
            ("https://backend.composio.dev/v2", false),
        ] {
            assert_eq!(client.is_for(&parse(url).unwrap(), None), is_same, "{url}");
        }
    }
}
