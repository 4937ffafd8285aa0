//! Everything that is served at the port: the gRPC services, health, reflection and a few plain pages.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use driftless_proto::{FILE_DESCRIPTOR_SET, v1};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_reflection::server::Builder as Reflection;

use crate::services::{self, Core};

const TEXT: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];

/// Makes the router, and the reporter of what gRPC health says.
pub(crate) async fn new(core: &Arc<Core>) -> (Router, HealthReporter) {
    let (reporter, health) = tonic_health::server::health_reporter();
    report(&reporter, ServingStatus::Serving).await;
    let mut routes = services::routes(core);
    routes.add_service(health);
    routes.add_service(
        Reflection::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("the descriptors were made by the compiler of this build"),
    );
    let pages = Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(core));
    let grpc = routes.routes().into_axum_router().reset_fallback();
    (pages.merge(grpc).fallback(unknown), reporter)
}

/// Tells gRPC health how all services do.
pub(crate) async fn report(reporter: &HealthReporter, status: ServingStatus) {
    let services = [
        "",
        v1::sync_server::SERVICE_NAME,
        v1::enrollment_server::SERVICE_NAME,
        v1::publish_server::SERVICE_NAME,
        v1::fleet_server::SERVICE_NAME,
    ];
    for service in services {
        reporter.set_service_status(service, status).await;
    }
}

async fn index() -> impl IntoResponse {
    let version = env!("CARGO_PKG_VERSION");
    (
        TEXT,
        format!(
            "Driftless server {version}\n\n/healthz  is it serving\n/metrics  for Prometheus\n\nThe rest is gRPC: driftless.v1, with reflection.\n"
        ),
    )
}

/// Is this server serving? It is not once it has begun to stop, so that load balancers turn away.
async fn healthz(State(core): State<Arc<Core>>) -> impl IntoResponse {
    if core.stopping.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, TEXT, "stopping\n")
    } else {
        (StatusCode::OK, TEXT, "ok\n")
    }
}

async fn metrics(State(core): State<Arc<Core>>) -> impl IntoResponse {
    core.measure_progress();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], core.metrics.encode())
}

async fn unknown(headers: HeaderMap) -> Response {
    let is_grpc = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        let text = "this server does not know this service: it may be older than the caller";
        return tonic::Status::unimplemented(text).into_http();
    }
    (StatusCode::NOT_FOUND, TEXT, "there is nothing here\n").into_response()
}
