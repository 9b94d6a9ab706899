//! `/livez`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::readiness::Readiness;

#[derive(Clone)]
struct Served {
    readiness: Readiness,
    registry: Arc<Registry>,
}

/// Binds the address; a busy one is an error that names it.
pub(super) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| {
        anyhow::anyhow!("--http-address {address} cannot be used: {error}; choose another one")
    })
}

/// Serves until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    registry: Arc<Registry>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Served { readiness, registry });
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn readyz(State(served): State<Served>) -> (StatusCode, String) {
    match served.readiness.closed().as_slice() {
        [] => (StatusCode::OK, "ok\n".to_owned()),
        closed => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", closed.join(", "))),
    }
}

async fn metrics(State(served): State<Served>) -> impl IntoResponse {
    let mut text = String::new();
    let content_type = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    match prometheus_client::encoding::text::encode(&mut text, &served.registry) {
        Ok(()) => (StatusCode::OK, content_type, text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, content_type, String::new()),
    }
}
