//! The HTTP interface: one router, its limits, and how it is served. It owns what every route shares; each group of routes
//! has a file of its own below, which parses, calls one service function and shapes the answer.
//!
//! Metrics have a listener of their own: [`connections::run`] serves any router.

mod accounts;
pub mod bucket;
mod caller;
mod carry;
pub mod connections;
mod error;
mod guard;
mod health;
mod inputs;
pub mod metrics;
mod once;
mod opendsr;
mod orders;
mod pairs;
mod patient;
mod pull;
mod pulls;
mod reading;
mod requests;
pub mod shapes;
mod strict;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::audit;
use crate::clock::Stopwatch;
use crate::config::HttpConfig;
use crate::desk;
use crate::gather::World;
use crate::ledger::Ledger;
use crate::service::Service;
use bucket::Buckets;

pub use caller::{Caller, new_token};
pub use error::{ApiError, ErrorBody, ErrorFields};
pub use guard::CallId;
pub use once::{Again, Question, Reply};

/// How long answers under idempotency keys are kept.
const ANSWERS_DAYS: i64 = 30;

/// How often old answers are forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(3_600);

/// How often what was approved and could not be done is tried again, and what has expired meanwhile is told.
const FINISH: Duration = Duration::from_secs(60);

/// The audit log is published so long after a fact at most: many facts share one publication.
const PUBLISH_AFTER: Duration = Duration::from_millis(500);

/// What bounds the interface. The defaults are what is shipped; tests make them small.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at the same time; others wait to be accepted.
    pub connections: usize,
    /// Calls that change something, at the same time; others are answered 503.
    pub queue: usize,
    /// Calls a second for each principal; twice as many at once.
    pub rate: u32,
    /// Calls without a good token that one address may make at once; one more each second.
    pub failures: u32,
    /// How long the head of a call may take to arrive.
    pub header_read: Duration,
    /// Largest head of a call.
    pub header_bytes: usize,
    /// How long a body may take to arrive.
    pub body_read: Duration,
    /// How long the other side may leave what waits to be sent, a piece or two.
    pub piece: Duration,
    /// Files of exports that are pulled at the same time; others are answered 503.
    pub pulls: usize,
    /// Those of one principal; others are answered 429.
    pub pulls_each: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            queue: 128,
            rate: 100,
            failures: 30,
            header_read: Duration::from_secs(10),
            header_bytes: 16 * 1_024,
            body_read: Duration::from_secs(10),
            piece: Duration::from_secs(60),
            pulls: 8,
            pulls_each: 2,
        }
    }
}

/// Why the interface is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Other machines could reach it in the clear (exit 2).
    #[error("{0}")]
    Refused(String),
    /// Certificate or key cannot be used (exit 2).
    #[error("{0}")]
    Tls(String),
    /// The address cannot be listened on (exit 1).
    #[error("failed to listen on {address}: {message}")]
    Listen {
        /// Which.
        address: String,
        /// A lower-case fragment.
        message: String,
    },
}

impl ServeError {
    /// The exit code that tells it to scripts.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Tls(_) => 2,
            Self::Listen { .. } => 1,
        }
    }
}

/// An address that is listened on, and the certificate for it.
pub struct Bound {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: Limits,
}

impl Bound {
    /// Where it listens; tells the port where port 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// The same with other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// Listens on the address of `[http]`.
///
/// # Errors
/// Where other machines could reach it and there is no certificate, a file cannot be used, or the address is taken.
pub async fn bind(config: &HttpConfig) -> Result<Bound, ServeError> {
    let tls = match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => Some(connections::acceptor(certificate, key)?),
        (None, _) | (_, None) => None,
    };
    let failed = |error: std::io::Error| ServeError::Listen {
        address: config.listen.clone(),
        message: error.to_string(),
    };
    let listener = TcpListener::bind(&config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    if tls.is_none() && !address.ip().is_loopback() {
        return Err(ServeError::Refused(format!(
            "{address} can be reached by other machines, and there is no certificate; hint: give `certificate` and \
             `key` in [http], or listen on 127.0.0.1"
        )));
    }
    let rate = config.rate.and_then(|rate| u32::try_from(rate).ok());
    let limits = Limits { rate: rate.unwrap_or(Limits::default().rate), ..Limits::default() };
    Ok(Bound { listener, tls, limits })
}

/// Serves the interface until `service.stop`, then answers what is under way and returns.
pub async fn serve(service: Arc<Service>, bound: Bound) {
    let stop = service.stop.clone();
    let api = Arc::new(Api::new(service, bound.limits));
    let keeper = tokio::spawn(keep_house(Arc::clone(&api)));
    let carrier = tokio::spawn(carry::carry_plans(Arc::clone(&api)));
    let (router, _) = router(&api);
    connections::run(bound.listener, bound.tls, router, bound.limits, stop).await;
    api.tasks.close();
    api.tasks.wait().await;
    for task in [keeper, carrier] {
        if let Err(error) = task.await {
            tracing::warn!(%error, "a task of the HTTP interface failed");
        }
    }
    api.publish().await;
}

/// Routes and document, from one place.
pub fn router(api: &Arc<Api>) -> (Router, utoipa::openapi::OpenApi) {
    let (router, document) = OpenApiRouter::with_openapi(shapes::Document::openapi())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(requests::create, requests::list))
        .routes(routes!(requests::show, requests::cancel))
        .routes(routes!(accounts::tenants))
        .routes(routes!(accounts::tenant))
        .routes(routes!(accounts::terminate))
        .routes(routes!(accounts::reinstate))
        .routes(routes!(accounts::entitlements, accounts::grant))
        .routes(routes!(accounts::end))
        .routes(routes!(accounts::exports, accounts::ask_export))
        .routes(routes!(accounts::export))
        .routes(routes!(pull::file))
        .routes(routes!(orders::list, orders::place))
        .routes(routes!(orders::release))
        .routes(routes!(orders::stop))
        .routes(routes!(orders::go))
        .routes(routes!(pairs::list))
        .routes(routes!(pairs::show))
        .routes(routes!(pairs::approve))
        .routes(routes!(pairs::propose_plan))
        .routes(routes!(reading::status))
        .routes(routes!(reading::plan))
        .routes(routes!(reading::certificate))
        .routes(routes!(reading::checkpoint))
        .routes(routes!(reading::proof))
        .routes(routes!(reading::tile))
        .split_for_parts();
    let document = plain(document);
    let text = document.to_json().unwrap_or_default();
    let router = router
        .merge(opendsr::routes(api))
        .route("/openapi.json", axum::routing::get(move || async move { health::document(text) }))
        .with_state(Arc::clone(api))
        .fallback(|| async { ApiError::not_found() })
        .layer(axum::middleware::from_fn(guard::guard));
    (router, document)
}

/// The document without the router's own signs: there is none for *the rest of the path*.
fn plain(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    document
}

/// What all handlers share.
pub struct Api {
    service: Arc<Service>,
    limits: Limits,
    since: Stopwatch,
    rates: Mutex<Buckets<String>>,
    failures: Mutex<Buckets<IpAddr>>,
    flights: Arc<Mutex<HashSet<(String, String)>>>,
    queue: Arc<Semaphore>,
    /// Calls that ask every store, at the same time: few, since each of them costs what a plan costs.
    heavy: Semaphore,
    pulls: pulls::Pulls,
    tasks: TaskTracker,
    published: Notify,
    approved: Notify,
}

impl Api {
    /// What handlers share in this process.
    pub fn new(service: Arc<Service>, limits: Limits) -> Self {
        Self {
            service,
            limits,
            since: Stopwatch::start(),
            rates: Mutex::new(Buckets::new(limits.rate, limits.rate.saturating_mul(2))),
            failures: Mutex::new(Buckets::new(1, limits.failures)),
            flights: Arc::default(),
            queue: Arc::new(Semaphore::new(limits.queue)),
            heavy: Semaphore::new(2),
            pulls: pulls::Pulls::new(&limits),
            tasks: TaskTracker::new(),
            published: Notify::new(),
            approved: Notify::new(),
        }
    }

    /// Configuration, policies and clock as last read.
    pub fn world(&self) -> Arc<World> {
        self.service.world()
    }

    /// The ledger.
    pub fn ledger(&self) -> &dyn Ledger {
        &**self.service.ledger()
    }

    /// The present instant.
    pub fn now(&self) -> DateTime<Utc> {
        self.world().clock.now()
    }

    /// Something was recorded: the schedule looks again, and the audit log is published soon.
    pub fn tell(&self) {
        self.service.news.notify_one();
        self.published.notify_one();
    }

    fn may_call(&self, principal: &str) -> bool {
        locked(&self.rates).take(&principal.to_owned(), self.since.elapsed())
    }

    /// Counts a call without a good token. False where there were too many from this address.
    fn failed(&self, peer: IpAddr) -> bool {
        locked(&self.failures).take(&peer, self.since.elapsed())
    }

    /// What was recorded is in the signed log. Where that fails the facts stand, and it is tried at the next occasion.
    async fn publish(&self) {
        let world = self.world();
        if let Err(error) = audit::publish(self.ledger(), &world.config.audit, world.clock.now()).await {
            tracing::warn!(%error, "failed to publish the audit log");
        }
    }
}

/// A question that is being answered in this process; ends when dropped.
struct Flight {
    flights: Arc<Mutex<HashSet<(String, String)>>>,
    name: (String, String),
}

impl Flight {
    /// `None` where the same is being answered already.
    fn begin(api: &Api, name: (String, String)) -> Option<Self> {
        let flights = Arc::clone(&api.flights);
        let is_first = locked(&flights).insert(name.clone());
        is_first.then_some(Self { flights, name })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        locked(&self.flights).remove(&self.name);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finishes what is approved but undone, publishes the audit log a moment after facts, and forgets
/// old answers.
async fn keep_house(api: Arc<Api>) {
    let stop = api.service.stop.clone();
    let mut finish = tokio::time::interval(FINISH);
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = api.published.notified() => {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(PUBLISH_AFTER) => {}
                }
                api.publish().await;
            }
            _ = finish.tick() => {
                if let Err(error) = desk::finish_approved(&api.world(), api.ledger(), api.now()).await {
                    tracing::warn!(%error, "failed to finish what was approved");
                }
            }
            _ = tick.tick() => {
                let before = api.now() - TimeDelta::days(ANSWERS_DAYS);
                if let Err(error) = api.ledger().forget_answers(before).await {
                    tracing::warn!(%error, "failed to forget old answers");
                }
            }
        }
    }
}
