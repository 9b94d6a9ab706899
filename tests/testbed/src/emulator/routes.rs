//! The routes of the API for both versions (API 4), and what answers everywhere else. What happens then is in `exchange`.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts as _, Path, Query, Request};
use axum::handler::Handler;
use axum::http::Response;
use axum::routing::{any, get, post};

use super::admin;
use super::exchange::{Received, Shared, Target, serve};
use super::journal::Operation;

/// The prefixes of the versions that are served.
const VERSIONS: [&str; 2] = ["/api/v3", "/api/v3.1"];

/// The largest body that is read, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Everything that the server serves: the API, the admin routes, and the dashboard's page for the rest.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new().nest("/_emulator", admin::router());
    for version in VERSIONS {
        router = router.merge(api(version));
    }
    for removed in ["/api/v1/{*rest}", "/api/v2/{*rest}"] {
        router = router.route(removed, any(To(Target::RemovedVersion)));
    }
    router.fallback(To(Target::Nowhere)).method_not_allowed_fallback(To(Target::Nowhere)).with_state(shared)
}

/// The routes of one version; not nested, because nesting hides the prefix from the journal.
fn api(version: &str) -> Router<Arc<Shared>> {
    let on = |operation| To(Target::Operation(operation));
    let project = format!("{version}/org/owner/project");
    Router::new()
        .route(&format!("{project}/new"), post(on(Operation::Create)))
        .route(&format!("{project}/list"), get(on(Operation::List)))
        .route(&format!("{project}/{{nano_id}}"), get(on(Operation::Read)).delete(on(Operation::Delete)))
        .route(&format!("{project}/{{nano_id}}/regenerate_api_key"), post(on(Operation::Regenerate)))
        .route(
            &format!("{version}/org/project/config"),
            get(on(Operation::ReadSettings)).patch(on(Operation::PatchSettings)),
        )
        .route(&format!("{version}/toolkits/categories"), get(on(Operation::Categories)))
}

/// The handler of one target: reads the whole request and serves it.
#[derive(Clone, Copy)]
struct To(Target);

impl Handler<(), Arc<Shared>> for To {
    type Future = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

    fn call(self, request: Request, shared: Arc<Shared>) -> Self::Future {
        Box::pin(async move { serve(shared, receive(self.0, request).await).await })
    }
}

async fn receive(target: Target, request: Request) -> Received {
    let (mut parts, body) = request.into_parts();
    let path = Path::<HashMap<String, String>>::from_request_parts(&mut parts, &()).await;
    // A path that cannot be decoded holds no id that could be valid, but it is not an empty one either.
    let project_id =
        path.map_or_else(|_| "?".to_owned(), |Path(mut path)| path.remove("nano_id").unwrap_or_default());
    let query = Query::try_from_uri(&parts.uri).map(|Query(query)| query).unwrap_or_default();
    Received {
        target,
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        project_id,
        query,
        body: to_bytes(body, MAX_BODY).await.map_err(|_| "body: could not be read, or is too large"),
    }
}
