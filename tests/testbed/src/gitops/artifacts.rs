//! Serves archives on loopback, as Flux's source-controller does.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::programs::cache::hex;

type Stored = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Artifacts {
    stored: Stored,
    address: String,
    _server: AbortOnDropHandle<()>,
}

/// Where an archive is, and what it is.
pub(super) struct Artifact {
    pub(super) url: String,
    pub(super) digest: String,
    pub(super) size: usize,
    pub(super) revision: String,
}

impl Artifacts {
    pub(super) async fn serve() -> anyhow::Result<Self> {
        let stored = Stored::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = format!("http://{}", listener.local_addr()?);
        let router = Router::new().route("/{name}", get(fetch)).with_state(Arc::clone(&stored));
        let server = async move {
            let _ends_with_the_task = axum::serve(listener, router).await;
        };
        Ok(Self { stored, address, _server: AbortOnDropHandle::new(tokio::spawn(server)) })
    }

    /// Files by their paths, as an archive.
    pub(super) fn add(&self, files: &[(String, String)]) -> anyhow::Result<Artifact> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, content.as_bytes())?;
        }
        let bytes = archive.into_inner()?.finish()?;
        let digest = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        let name = format!("{}.tar.gz", &digest[7..19]);
        let size = bytes.len();
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), bytes);
        let (url, revision) = (format!("{}/{name}", self.address), format!("main@{digest}"));
        Ok(Artifact { url, digest, size, revision })
    }
}

async fn fetch(State(stored): State<Stored>, Path(name): Path<String>) -> Result<Vec<u8>, StatusCode> {
    let stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
    stored.get(&name).cloned().ok_or(StatusCode::NOT_FOUND)
}
