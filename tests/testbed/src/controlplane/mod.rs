//! A real Kubernetes control plane for tests: etcd, kube-apiserver and kube-controller-manager on loopback, with
//! their own certificates, in about five seconds.
//!
//! There are no nodes: Pods are never scheduled, Deployments never roll out. Everything else is the real thing:
//! schemas and CEL, RBAC, admission, garbage collection, namespaces, ServiceAccount tokens.
//!
//! Clients are made here, but nothing here knows the operator.

pub mod assets;
mod crds;
mod error;
mod flags;
mod kubeconfig;
mod pki;
mod startup;
mod supervised;

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::config::Kubeconfig;
use tempfile::TempDir;
use tokio::sync::{OnceCell, oneshot};

use crate::eventually::poll;
pub(crate) use supervised::Supervised;

pub use assets::{Finder, Part};
pub use error::Error;
pub(crate) use kubeconfig::without_credentials;
pub use kubeconfig::{client_for, install_crypto_provider, write_kubeconfig};
pub use pki::ClientCredentials;

/// How to start a control plane.
#[derive(Clone, Debug)]
pub struct Options {
    /// Definitions to apply. They are there before kube-controller-manager starts, because its garbage collector
    /// learns of kinds that come later only after up to 40 s.
    pub crds: Vec<CustomResourceDefinition>,
    /// How long the start-up may take, once the programs are found. Default: 3 minutes.
    pub start_within: Duration,
    /// Where the programs come from. Default: as the environment says.
    pub finder: Finder,
}

impl Default for Options {
    fn default() -> Self {
        Self { crds: Vec::new(), start_within: Duration::from_mins(3), finder: Finder::from_env() }
    }
}

impl Options {
    /// The defaults, with these definitions.
    pub fn with_crds(crds: impl IntoIterator<Item = CustomResourceDefinition>) -> Self {
        Self { crds: crds.into_iter().collect(), ..Self::default() }
    }
}

/// A running control plane. Dropping it kills its processes and removes its data; the same happens when this
/// process ends in any other way, `kill -9` included.
#[derive(Debug)]
pub struct ControlPlane {
    // The order of the fields is the order of dropping: the programs end before their data goes.
    controller_manager: Supervised,
    api_server: Supervised,
    etcd: Supervised,
    api_server_start: startup::ApiServerStart,
    url: String,
    etcd_url: String,
    ca_pem: String,
    admin: ClientCredentials,
    kubeconfig: Kubeconfig,
    data: TempDir,
}

static SHARED: OnceCell<Result<ControlPlane, Error>> = OnceCell::const_new();

impl ControlPlane {
    /// Starts one, which includes finding the programs ([`Finder::find`]; the first time this can take minutes).
    ///
    /// It belongs to the process and not to the calling runtime.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let (sender, started) = oneshot::channel();
        // A thread of its own, because it blocks, and has a short-lived runtime of its own.
        std::thread::spawn(move || {
            let _nobody_waits_any_more = sender.send(startup::start(&options));
        });
        started.await.unwrap_or(Err(Error::Panicked))
    }

    /// The one control plane of this process, started by the first caller, whose options count for all.
    ///
    /// It lives until the process ends. An unsuccessful start is not repeated, so that a hundred tests fail in the
    /// time of one.
    pub async fn shared(options: Options) -> Result<&'static Self, &'static Error> {
        SHARED.get_or_init(|| Self::start(options)).await.as_ref()
    }

    /// A client with all rights. It belongs to the calling runtime, so each test makes its own.
    pub async fn client(&self) -> Result<Client, Error> {
        client_for(self.kubeconfig.clone()).await
    }

    /// How to reach the API server with all rights. It holds its credentials inline.
    pub fn kubeconfig(&self) -> Kubeconfig {
        self.kubeconfig.clone()
    }

    /// The same as a file; it is removed with the control plane.
    pub fn kubeconfig_path(&self) -> std::path::PathBuf {
        self.data.path().join(startup::KUBECONFIG)
    }

    /// `https://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of the authority that signed the API server's, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The certificate and key of the group `system:masters`.
    pub fn admin(&self) -> &ClientCredentials {
        &self.admin
    }

    /// `http://127.0.0.1:PORT`: etcd itself (gRPC, and JSON below `/v3/`), to read what is really stored.
    pub fn etcd_client_url(&self) -> &str {
        &self.etcd_url
    }

    /// A kubeconfig for an existing ServiceAccount, with a token that is good for an hour.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<Kubeconfig, Error> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let doing = format!("give a token to the ServiceAccount {namespace}/{name}");
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let token = answer.map_err(Error::api(doing))?.status.map(|status| status.token).unwrap_or_default();
        kubeconfig::with_token(&self.url, &self.ca_pem, &token, namespace)
    }

    /// Applies definitions and waits until they are served. Prefer [`Options::crds`] for kinds with owners or
    /// finalizers: the garbage collector learns late of what is added here.
    pub async fn apply_crds(&self, crds: &[CustomResourceDefinition]) -> Result<(), Error> {
        let client = self.client().await?;
        crds::apply(&client, crds).await?;
        let within = Duration::from_mins(2);
        let outcome = poll(within, async || crds::served(&client, crds).await).await;
        outcome.map_err(|reason| Error::NotReady {
            part: "a CustomResourceDefinition",
            within,
            reason,
            tail: self.log_tail(Part::ApiServer, 10),
            logs: self.data.path().join(startup::LOGS),
        })
    }

    /// Kills the API server (SIGKILL) and starts it again, on the same port and with the same etcd; returns when it is
    /// ready. To its clients this is an outage of some seconds, with every watch and every request cut.
    pub async fn restart_api_server(&mut self) -> Result<(), Error> {
        let client = self.client().await?;
        self.api_server_start.again(&mut self.api_server, &client, Duration::from_mins(3)).await
    }

    /// The process id of one of the programs.
    pub fn pid(&self, part: Part) -> u32 {
        self.part(part).pid()
    }

    /// Where one of the programs logs to.
    pub fn log_path(&self, part: Part) -> &Path {
        self.part(part).log()
    }

    /// The last lines of the log of one of the programs.
    pub fn log_tail(&self, part: Part, lines: usize) -> String {
        self.part(part).log_tail(lines)
    }

    /// The directory with everything that belongs to it; it is removed with the control plane.
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// Kills the programs and removes the data: the same as dropping it, but it says so.
    pub fn stop(self) {}

    fn part(&self, part: Part) -> &Supervised {
        match part {
            Part::Etcd => &self.etcd,
            Part::ApiServer => &self.api_server,
            Part::ControllerManager => &self.controller_manager,
        }
    }
}
