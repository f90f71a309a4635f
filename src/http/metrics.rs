//! Metrics on a listener of their own: no token, nothing but numbers, and nobody can make ledger or stores work by asking.
//! It owns the one route; what is in the answer is made in [`crate::metrics`].

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Limits, ServeError, connections};
use crate::metrics::{CONTENT_TYPE, MetricFacts, render};
use crate::service::Service;

/// Scrapers at the same time: a pair of servers, and somebody who looks.
const CONNECTIONS: usize = 16;

/// Listens on `[http] metrics`. Other machines may be let in by naming such an address: there is no secret in the answer.
///
/// # Errors
/// Where the address is taken or is none of this machine's.
pub async fn bind(address: &str) -> Result<TcpListener, ServeError> {
    let failed = |error: std::io::Error| ServeError::Listen {
        address: address.to_owned(),
        message: error.to_string(),
    };
    TcpListener::bind(address).await.map_err(failed)
}

/// Serves metrics until `service.stop`.
pub async fn serve(service: Arc<Service>, listener: TcpListener) {
    let limits = Limits { connections: CONNECTIONS, ..Limits::default() };
    let stop = service.stop.clone();
    connections::run(listener, None, router(service), limits, stop).await;
}

/// The one route.
pub fn router(service: Arc<Service>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(service)
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let facts = MetricFacts { snapshot: service.board.snapshot(), now: service.world().clock.now() };
    match render(&facts) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
