//! Kubeconfigs of the test bed, and the clients made from them.
//!
//! They hold their credentials inline, so they can be handed to other processes as one file.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::Error;
use super::pki::{ClientCredentials, write_private};

const NAME: &str = "testbed";

/// A kubeconfig for `url` as the holder of a client certificate.
pub(crate) fn with_certificate(
    url: &str,
    ca_pem: &str,
    credentials: &ClientCredentials,
) -> Result<Kubeconfig, Error> {
    let user = json!({
        "client-certificate-data": STANDARD.encode(&credentials.certificate_pem),
        "client-key-data": STANDARD.encode(&credentials.key_pem),
    });
    kubeconfig(&cluster(url, ca_pem), &user, "default")
}

/// A kubeconfig for `url` as the holder of a bearer token, at home in `namespace`.
pub(crate) fn with_token(url: &str, ca_pem: &str, token: &str, namespace: &str) -> Result<Kubeconfig, Error> {
    kubeconfig(&cluster(url, ca_pem), &json!({ "token": token }), namespace)
}

/// A kubeconfig for a server on plain HTTP that asks for no credentials.
pub(crate) fn without_credentials(url: &str) -> Result<Kubeconfig, Error> {
    kubeconfig(&json!({ "server": url }), &json!({}), "default")
}

fn cluster(url: &str, ca_pem: &str) -> Value {
    json!({ "server": url, "certificate-authority-data": STANDARD.encode(ca_pem) })
}

fn kubeconfig(cluster: &Value, user: &Value, namespace: &str) -> Result<Kubeconfig, Error> {
    serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": NAME, "cluster": cluster }],
        "users": [{ "name": NAME, "user": user }],
        "contexts": [{ "name": NAME, "context": { "cluster": NAME, "user": NAME, "namespace": namespace } }],
        "current-context": NAME,
    }))
    .map_err(|error| Error::Kubeconfig(error.to_string()))
}

/// Writes a kubeconfig as YAML, readable by its owner only.
pub fn write_kubeconfig(path: &Path, kubeconfig: &Kubeconfig) -> Result<(), Error> {
    let yaml = serde_saphyr::to_string(kubeconfig).map_err(|error| Error::Kubeconfig(error.to_string()))?;
    write_private(path, &yaml).map_err(Error::io(format!("write {}", path.display())))
}

/// A client for a kubeconfig. It belongs to the calling runtime, so each test makes its own.
///
/// kube's own retries (429, 503 and 504 of any verb, for minutes) are off: a test wants to see the first answer.
pub async fn client_for(kubeconfig: Kubeconfig) -> Result<kube::Client, Error> {
    install_crypto_provider();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| Error::Kubeconfig(error.to_string()))?;
    config.default_retry = false;
    // The servers of the test bed are on this machine.
    config.proxy_url = None;
    kube::Client::try_from(config).map_err(|error| Error::Kubeconfig(error.to_string()))
}

/// Makes ring the provider of cryptography of this process, unless there is one. Needed before any TLS client is made;
/// everything in the test bed that makes one does it itself.
pub fn install_crypto_provider() {
    // The error says that there is one already.
    let _there_is_one = rustls::crypto::ring::default_provider().install_default();
}
