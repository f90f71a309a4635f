//! Connections: accepted, made secret where a certificate is configured, bounded in number and time, ended in order.
//! It owns sockets and framing; what is asked over them is the router's.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::caller::Peer;
use super::patient::Patient;
use super::{Limits, ServeError};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long calls under way may take once the process is to stop: as long as any call may take.
const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// After an accept failed (no descriptors left), how long until the next.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads certificate and key for TLS 1.2 and 1.3.
///
/// # Errors
/// Where a file cannot be read, holds nothing of its kind, or key and certificate do not belong together.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, ServeError> {
    let failed = |what: &str, path: &Path, error: &dyn std::fmt::Display| {
        ServeError::Tls(format!("failed to read the {what} in {}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed("certificate", certificate, &error))?;
    if chain.is_empty() {
        return Err(failed("certificate", certificate, &"there is none in it"));
    }
    let key_pem = PrivateKeyDer::from_pem_file(key).map_err(|error| failed("key", key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ServeError::Tls(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key_pem)
        .map_err(|error| failed("certificate", certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until `stop`, then lets what is under way finish.
pub async fn run(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            open(stream, peer, tls, router, limits, stop).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    // Whoever has not been answered by then has been told nothing: what it asked under its key it may ask again.
    drop(tokio::time::timeout(LAST_ANSWERS, connections.wait()).await);
}

async fn open(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    // An answer is one small packet; waiting for more would only delay it.
    drop(stream.set_nodelay(true));
    match tls {
        None => talk(stream, peer, router, limits, stop).await,
        Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => talk(stream, peer, router, limits, stop).await,
            Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
            Err(_) => tracing::debug!("a handshake took too long"),
        },
    }
}

async fn talk<S>(stream: S, peer: SocketAddr, router: Router, limits: Limits, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |call: hyper::Request<Incoming>| {
        let mut call: Request = call.map(Body::new);
        call.extensions_mut().insert(Peer(peer));
        let router = router.clone();
        async move {
            Ok::<Response, Infallible>(router.oneshot(call).await.unwrap_or_else(|never| match never {}))
        }
    });
    let mut connection = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read)
            .max_header_size(limits.header_bytes)
            .max_headers(64)
            .serve_connection(TokioIo::new(Patient::new(stream, limits.piece)), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}
