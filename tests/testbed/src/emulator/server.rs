//! The server: a thread with a runtime of its own, the listener, and the end of a connection that a fault cuts.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, ensure};
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::answer::CutMark;
use super::control::Control;
use super::exchange::Shared;
use super::modes::OrganizationOptions;
use super::routes;

/// How an emulator is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen on; must be a loopback address. Default `127.0.0.1:0`, which takes a free port.
    pub listen: SocketAddr,
    /// Organizations that exist from the start. Default none.
    pub organizations: Vec<OrganizationOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), organizations: Vec::new() }
    }
}

/// A running emulator. It lives on its own thread, so it outlives the runtime that started it, and stops when dropped.
pub struct Emulator {
    url: String,
    control: Control,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Emulator {
    /// Starts an emulator and waits until it listens.
    ///
    /// # Errors
    ///
    /// The address is not a loopback address or cannot be bound, an organization id is given twice, or the thread cannot be started.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let listen = options.listen;
        ensure!(
            listen.ip().is_loopback(),
            "the emulator listens on loopback addresses only, not on {listen}"
        );
        let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
        listener.set_nonblocking(true).context("cannot prepare the listener")?;
        let url = format!("http://{}", listener.local_addr().context("the listener has no address")?);
        let shared = Arc::new(Shared::default());
        for organization in options.organizations {
            let name = organization.name.clone();
            let added = shared.lock().add_organization(organization);
            ensure!(added.is_some(), "the id of organization {name} is given twice");
        }
        let control = Control::new(Arc::clone(&shared));
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("composio-emulator".to_owned())
            .spawn(move || run(listener, shared, ready, stopped))
            .context("cannot start the emulator's thread")?;
        started.await.context("the emulator's thread ended before it served")??;
        Ok(Self { url, control, stop: Some(stop), thread: Some(thread) })
    }

    /// Base URL such as `http://127.0.0.1:40123`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A handle to steer and observe it from test code.
    pub fn control(&self) -> Control {
        self.control.clone()
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Emulator").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // An error means that the thread panicked; its message is on stderr already.
            let _ = thread.join();
        }
    }
}

/// Body of the thread: serves until told to stop, then drops the runtime and with it every connection and held request.
fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    ready: oneshot::Sender<anyhow::Result<()>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(anyhow::Error::new(error).context("cannot build the emulator's runtime")));
            return;
        }
    };
    runtime.block_on(async move {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                let _ = ready.send(Err(anyhow::Error::new(error).context("cannot use the listener")));
                return;
            }
        };
        if ready.send(Ok(())).is_err() {
            return;
        }
        tokio::select! {
            () = accept(listener, shared) => {}
            _ = stopped => {}
        }
    });
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    let router = TowerToHyperService::new(routes::router(shared));
    loop {
        // An error concerns the one connection that was about to come, or a moment without free descriptors.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move { serve_connection(stream, router).await });
    }
}

async fn serve_connection(stream: TcpStream, router: TowerToHyperService<axum::Router>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let response = router.call(request);
        async move { cut_if_marked(response.await) }
    });
    // Errors are the end of a connection: by the caller, or by a fault.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An error from the service makes the server close the connection without an answer.
fn cut_if_marked<E>(response: Result<Response<Body>, E>) -> Result<Response<Body>, ConnectionCut> {
    match response {
        Ok(response) if response.extensions().get::<CutMark>().is_none() => Ok(response),
        _ => Err(ConnectionCut),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the connection is cut by a fault")]
struct ConnectionCut;
