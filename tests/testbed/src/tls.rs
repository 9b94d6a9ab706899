//! TLS in front of a server that speaks plain HTTP on loopback, signed by a throw-away authority of its own.
//!
//! It belongs to the runtime it was started on, so each test has its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running front. Dropping it closes its connections.
#[derive(Debug)]
pub struct TlsFront {
    url: String,
    ca_pem: String,
    _running: DropGuard,
}

impl TlsFront {
    /// Starts one in front of `upstream`, such as `http://127.0.0.1:40123`.
    ///
    /// # Errors
    ///
    /// The URL is not one of loopback, or nothing can be signed or listened on.
    pub async fn start(upstream: &str) -> anyhow::Result<Self> {
        Self::start_as("127.0.0.1", upstream).await
    }

    /// The same as a server that is reached by another name, which leads to loopback.
    ///
    /// # Errors
    ///
    /// As [`TlsFront::start`].
    pub async fn start_as(name: &str, upstream: &str) -> anyhow::Result<Self> {
        let upstream = upstream.strip_prefix("http://").context("an upstream that speaks http")?;
        let upstream: SocketAddr = upstream.parse().context("an upstream that is an address")?;
        anyhow::ensure!(upstream.ip().is_loopback(), "{upstream} is not a loopback address");
        let (ca_pem, config) = signed(name)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen")?;
        let port = listener.local_addr().context("the listener has no address")?.port();
        let url = format!("https://{name}:{port}");
        let running = CancellationToken::new();
        let accepting = accept(listener, TlsAcceptor::from(Arc::new(config)), upstream, running.clone());
        tokio::spawn(running.clone().run_until_cancelled_owned(accepting));
        Ok(Self { url, ca_pem, _running: running.drop_guard() })
    }

    /// Such as `https://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of the authority, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    upstream: SocketAddr,
    running: CancellationToken,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let relay = relay(stream, acceptor.clone(), upstream);
        tokio::spawn(running.clone().run_until_cancelled_owned(relay));
    }
}

/// Errors are the end of a connection: by either side, or because the caller does not trust the certificate.
async fn relay(stream: TcpStream, acceptor: TlsAcceptor, upstream: SocketAddr) {
    if let (Ok(mut stream), Ok(mut upstream)) =
        (acceptor.accept(stream).await, TcpStream::connect(upstream).await)
    {
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
    }
}

/// An authority, and what a server needs that it has signed.
fn signed(name: &str) -> anyhow::Result<(String, ServerConfig)> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "testbed-tls-front");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority_key = KeyPair::generate()?;
    let ca_pem = authority.self_signed(&authority_key)?.pem();
    let key = KeyPair::generate()?;
    let server = CertificateParams::new([name.to_owned()])?;
    let certificate = server.signed_by(&key, &Issuer::new(authority, authority_key))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok((ca_pem, config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key)?))
}
