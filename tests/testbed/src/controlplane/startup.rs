//! The start-up of a control plane, in order: certificates, etcd, API server, definitions, controller manager.
//!
//! Every wait ends at one deadline or when the program that is waited for ends. A port that is lost to another
//! process between choosing and using it means a new attempt with new ports; any other failure is final, and
//! leaves the logs.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kube::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::assets::{Binaries, Part};
use super::pki::{Pki, PkiFiles};
use super::supervised::Supervised;
use super::{ControlPlane, Error, Options};
use super::{client_for, crds, flags, install_crypto_provider, kubeconfig, write_kubeconfig};
use crate::eventually::poll;

/// The file name of the administrator's kubeconfig in the data directory.
pub(super) const KUBECONFIG: &str = "kubeconfig";

/// The name of the directory of logs in the data directory.
pub(super) const LOGS: &str = "logs";

/// How often new ports are tried.
const ATTEMPTS: usize = 5;

/// How much of a log an error shows.
const TAIL: usize = 30;

/// Starts a control plane. Blocks; must not be called inside a runtime.
pub(super) fn start(options: &Options) -> Result<ControlPlane, Error> {
    let binaries = options.finder.find()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start a runtime"))?;
    let deadline = Instant::now() + options.start_within;
    let mut last_tail = String::new();
    for _ in 0..ATTEMPTS {
        let data = tempfile::Builder::new()
            .prefix("composio-testbed-")
            .tempdir()
            .map_err(Error::io("make a temporary directory"))?;
        let launch = Launch { binaries: &binaries, options, deadline, data: data.path() };
        match runtime.block_on(launch.run()) {
            Ok(parts) => return Ok(parts.into_control_plane(data)),
            Err(Error::Ended { tail, .. }) if tail.contains("address already in use") => last_tail = tail,
            Err(error) => {
                keep_logs(data);
                return Err(error);
            }
        }
    }
    Err(Error::Ports { attempts: ATTEMPTS, tail: last_tail })
}

/// Removes all data but the logs.
fn keep_logs(data: TempDir) {
    let dir = data.keep();
    let others = fs::read_dir(&dir).into_iter().flatten().flatten().filter(|entry| entry.file_name() != LOGS);
    for entry in others {
        let path = entry.path();
        let _as_much_as_possible =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}

/// One attempt.
struct Launch<'a> {
    binaries: &'a Binaries,
    options: &'a Options,
    deadline: Instant,
    data: &'a Path,
}

/// What a successful attempt gives; the data directory comes on top.
struct Parts {
    controller_manager: Supervised,
    api_server: Supervised,
    etcd: Supervised,
    api_server_start: ApiServerStart,
    url: String,
    etcd_url: String,
    pki: Pki,
    kubeconfig: kube::config::Kubeconfig,
}

/// How the API server is started, the first time and again.
#[derive(Debug)]
pub(super) struct ApiServerStart {
    program: PathBuf,
    flags: Vec<String>,
    log: PathBuf,
    data: PathBuf,
}

impl ApiServerStart {
    pub(super) fn spawn(&self) -> Result<Supervised, Error> {
        // Fewer garbage collections save a quarter of its CPU time, for memory that a test machine has.
        let environment = [("GOGC", "400")];
        Supervised::spawn(&self.program, self.flags.clone(), &environment, self.log.clone(), &self.data)
            .map_err(Error::io(format!("run {}", self.program.display())))
    }

    /// Kills a running API server, starts it anew, and waits until it is ready. A port that another process has taken
    /// in between is waited for.
    pub(super) async fn again(
        &self,
        running: &mut Supervised,
        client: &Client,
        within: Duration,
    ) -> Result<(), Error> {
        running.kill();
        *running = self.spawn()?;
        let outcome = poll(within, async || match running.exited() {
            None => crds::get(client, "/readyz").await.map(drop),
            Some(status) => {
                *running = self.spawn().map_err(|error| error.to_string())?;
                Err(format!("it ended ({status})"))
            }
        })
        .await;
        let logs = self.log.parent().map(Path::to_path_buf).unwrap_or_default();
        let (part, tail) = (Part::ApiServer.name(), running.log_tail(TAIL));
        outcome.map_err(|reason| Error::NotReady { part, within, reason, tail, logs })
    }
}

impl Parts {
    fn into_control_plane(self, data: TempDir) -> ControlPlane {
        ControlPlane {
            controller_manager: self.controller_manager,
            api_server: self.api_server,
            etcd: self.etcd,
            api_server_start: self.api_server_start,
            url: self.url,
            etcd_url: self.etcd_url,
            ca_pem: self.pki.ca_pem,
            admin: self.pki.admin,
            kubeconfig: self.kubeconfig,
            data,
        }
    }
}

impl Launch<'_> {
    async fn run(&self) -> Result<Parts, Error> {
        fs::create_dir(self.logs()).map_err(Error::io("make a directory for logs"))?;
        let pki = Pki::generate()?;
        let files = pki.write(&self.data.join("pki")).map_err(Error::io("write certificates"))?;
        let (etcd, etcd_url) = self.etcd().await?;
        let port = free_port()?;
        let url = format!("https://127.0.0.1:{port}");
        let kubeconfig = kubeconfig::with_certificate(&url, &pki.ca_pem, &pki.admin)?;
        write_kubeconfig(&self.data.join(KUBECONFIG), &kubeconfig)?;
        let client = client_for(kubeconfig.clone()).await?;
        let api_server_start = ApiServerStart {
            program: self.binaries.api_server.clone(),
            flags: flags::api_server(&files, port, &etcd_url),
            log: self.log(Part::ApiServer),
            data: self.data.to_path_buf(),
        };
        let mut api_server = self.api_server(&api_server_start, &client).await?;
        let crds = &self.options.crds;
        crds::apply(&client, crds).await?;
        let check = async || crds::served(&client, crds).await;
        self.wait(Part::ApiServer, &mut api_server, check).await?;
        let controller_manager = self.controller_manager(&pki, &files, &url, &client).await?;
        Ok(Parts { controller_manager, api_server, etcd, api_server_start, url, etcd_url, pki, kubeconfig })
    }

    async fn etcd(&self) -> Result<(Supervised, String), Error> {
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let name = format!("testbed-{}", uuid::Uuid::new_v4());
        let flags = flags::etcd(&name, &self.data.join("etcd"), &url);
        let mut etcd = self.spawn(Part::Etcd, &self.binaries.etcd, flags)?;
        install_crypto_provider();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
        let http = http.map_err(|error| Error::io("make an HTTP client")(std::io::Error::other(error)))?;
        self.wait(Part::Etcd, &mut etcd, async || etcd_is(&http, &url, &name).await).await?;
        Ok((etcd, url))
    }

    async fn api_server(&self, start: &ApiServerStart, client: &Client) -> Result<Supervised, Error> {
        let mut server = start.spawn()?;
        let check = async || crds::get(client, "/readyz").await.map(drop);
        self.wait(Part::ApiServer, &mut server, check).await?;
        Ok(server)
    }

    /// Started last, so that its garbage collector knows all kinds from the beginning. It works as soon as the
    /// namespace `default` has a ServiceAccount.
    async fn controller_manager(
        &self,
        pki: &Pki,
        files: &PkiFiles,
        url: &str,
        client: &Client,
    ) -> Result<Supervised, Error> {
        let path = self.data.join("controller-manager.kubeconfig");
        write_kubeconfig(&path, &kubeconfig::with_certificate(url, &pki.ca_pem, &pki.controller_manager)?)?;
        let flags = flags::controller_manager(files, &path);
        let part = Part::ControllerManager;
        let mut process = self.spawn(part, &self.binaries.controller_manager, flags)?;
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        self.wait(part, &mut process, async || crds::get(client, account).await.map(drop)).await?;
        Ok(process)
    }

    fn spawn(&self, part: Part, program: &Path, arguments: Vec<String>) -> Result<Supervised, Error> {
        Supervised::spawn(program, arguments, &[], self.log(part), self.data)
            .map_err(Error::io(format!("run {}", program.display())))
    }

    /// Waits until `check` succeeds, the program ends, or the deadline passes.
    async fn wait(
        &self,
        part: Part,
        process: &mut Supervised,
        mut check: impl AsyncFnMut() -> Result<(), String>,
    ) -> Result<(), Error> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        let mut ended = None;
        let outcome = poll(remaining, async || {
            ended = process.exited();
            if ended.is_some() { Ok(()) } else { check().await }
        })
        .await;
        let (tail, logs) = (process.log_tail(TAIL), self.logs());
        if let Some(status) = ended {
            return Err(Error::Ended { part: part.name(), status: status.to_string(), tail, logs });
        }
        let within = self.options.start_within;
        outcome.map_err(|reason| Error::NotReady { part: part.name(), within, reason, tail, logs })
    }

    fn log(&self, part: Part) -> PathBuf {
        self.logs().join(format!("{}.log", part.name()))
    }

    fn logs(&self) -> PathBuf {
        self.data.join(LOGS)
    }
}

/// A port of loopback that is free now. Another process can take it before it is used; see [`start`].
fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("find a free port"))?;
    Ok(listener.local_addr().map_err(Error::io("find a free port"))?.port())
}

/// Whether it is our etcd that answers: on a port that was lost, it would be somebody else's.
async fn etcd_is(http: &reqwest::Client, url: &str, name: &str) -> Result<(), String> {
    let request = http.post(format!("{url}/v3/cluster/member/list")).json(&json!({}));
    let answer = request.send().await.map_err(|error| error.to_string())?;
    let members: Value = answer.json().await.map_err(|error| error.to_string())?;
    if members["members"][0]["name"] == name {
        return Ok(());
    }
    Err("another etcd answers on this port".into())
}
