//! The parts of a process that serves, each a task of its own: one line for each. It owns the list; a part ends by itself
//! when [`Service::stop`] is cancelled, and one that ends before that ends the process.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::exporting;
use super::files::{self, Files};
use super::runner::{self, publish};
use super::watching;
use crate::deliveries;
use crate::http::{self, Bound};
use crate::service::Service;

/// How often the audit log is published while entries come in: what is not published yet is not protected yet.
const PUBLISHING_PAUSE: Duration = Duration::from_secs(60);

/// A part's name, and why it ended where that is known.
pub(super) type Ended = (&'static str, Result<(), String>);

/// Starts every part.
pub(super) fn start(
    service: &Arc<Service>,
    files: Files,
    again: Arc<Notify>,
    bound: Bound,
    metrics: Option<TcpListener>,
) -> JoinSet<Ended> {
    let mut parts = JoinSet::new();
    let shared = || Arc::clone(service);
    spawn(&mut parts, "schedule", runner::run(shared()));
    spawn(&mut parts, "files", files::run(shared(), files, again));
    spawn(&mut parts, "publishing", publishing(shared()));
    spawn(&mut parts, "watching", watching::run(shared()));
    spawn(&mut parts, "deliveries", deliveries::run(shared()));
    spawn(&mut parts, "exports", exporting::run(shared()));
    spawn(&mut parts, "http", http::serve(shared(), bound));
    if let Some(listener) = metrics {
        spawn(&mut parts, "metrics", http::metrics::serve(shared(), listener));
    }
    parts
}

fn spawn(parts: &mut JoinSet<Ended>, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
    parts.spawn(async move {
        part.await;
        (name, Ok(()))
    });
}

/// Publishes what was recorded since, also during a long run and when other processes record.
async fn publishing(service: Arc<Service>) {
    let mut published = None;
    while !service.stop.is_cancelled() {
        // A ledger that cannot be asked is noted by the schedule.
        if let Ok(count) = service.ledger().entry_count().await
            && published != Some(count)
        {
            publish(&service).await;
            // Where it failed it is tried again.
            published = Some(count).filter(|_| service.notes().unpublished.is_none());
        }
        tokio::select! {
            () = service.stop.cancelled() => {}
            () = tokio::time::sleep(PUBLISHING_PAUSE) => {}
        }
    }
}
