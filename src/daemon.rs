//! The process that serves: it starts its parts, waits for a signal, and stops with nothing left half done.
//! It owns this process's life; when a run is due is decided in [`agenda`], what it erases in [`crate::enforce`].

pub mod agenda;
mod exporting;
mod files;
mod outlook;
mod parts;
mod runner;
mod signals;
mod systemd;
mod watching;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;

use crate::config::read::Loaded;
use crate::gather::{self, Trouble, World};
use crate::http::{self, ServeError};
use crate::ledger;
use crate::service::Service;

pub use files::{Files, Reread};
pub use runner::{Runner, Turn};

/// How long a stopping process waits for what it has begun: a batch and its read-back, each with the tries of a store that
/// is slow. Service managers kill later than that (`TimeoutStopSec`, `terminationGracePeriodSeconds` in `deploy/`).
const STOP_MAX: Duration = Duration::from_secs(60);

/// How a process that served has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// By a signal, with everything finished that was begun.
    Stopped,
    /// By a second signal, or since what was begun took too long: the next start asks the stores what came of it.
    AtOnce,
    /// Since one of its parts ended.
    Broken,
}

impl Ended {
    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::AtOnce | Self::Broken => 1,
        }
    }
}

/// Opens the ledger, which must not be in doubt, for a process that serves.
///
/// # Errors
/// Where the ledger is in doubt or out of reach.
pub async fn open(world: World) -> Result<Arc<Service>, Trouble> {
    gather::ledger_view(&world).await?;
    let ledger = ledger::open(&world.config.ledger).await?;
    Ok(Arc::new(Service::new(world, Arc::from(ledger))))
}

/// Serves until a signal says to stop. `loaded` is what the world of the service was made from.
///
/// # Errors
/// Where nothing could be started.
pub async fn serve(service: &Arc<Service>, file: &Path, loaded: &Loaded) -> Result<Ended, Trouble> {
    let mut signals = signals::Signals::listen()
        .map_err(|error| Trouble::Unreachable(format!("failed to listen to signals: {error}")))?;
    let bound = http::bind(&service.world().config.http).await.map_err(|error| not_served(&error))?;
    let address = bound.address();
    let metrics = match &service.world().config.http.metrics {
        Some(address) => Some(http::metrics::bind(address).await.map_err(|error| not_served(&error))?),
        None => None,
    };
    let files = Files::new(file, loaded);
    let mut parts = parts::start(service, files, Arc::clone(&signals.again), bound, metrics);
    systemd::ready();
    let address = address.map(|address| address.to_string());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), address, "serving");
    let broken = tokio::select! {
        name = signals.stop_asked() => {
            tracing::info!(signal = name, "stopping");
            false
        }
        ended = parts.join_next() => {
            report(ended);
            true
        }
    };
    systemd::stopping();
    service.stop.cancel();
    let finished = tokio::select! {
        finished = tokio::time::timeout(STOP_MAX, join(&mut parts)) => finished.is_ok(),
        name = signals.stop_asked() => {
            tracing::warn!(signal = name, "stopping at once");
            false
        }
    };
    if !finished {
        tracing::warn!("what was begun is not finished; the next start asks the stores what came of it");
        return Ok(Ended::AtOnce);
    }
    runner::publish(service).await;
    tracing::info!("stopped");
    Ok(if broken { Ended::Broken } else { Ended::Stopped })
}

fn not_served(error: &ServeError) -> Trouble {
    match error {
        ServeError::Refused(_) | ServeError::Tls(_) => Trouble::Schema(error.to_string()),
        ServeError::Listen { .. } => Trouble::Unreachable(error.to_string()),
    }
}

async fn join(parts: &mut JoinSet<parts::Ended>) {
    while let Some(ended) = parts.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part broke off");
        }
    }
}

/// A part that ended although nobody asked it to: the service manager starts the process anew.
fn report(ended: Option<Result<parts::Ended, tokio::task::JoinError>>) {
    match ended {
        Some(Ok((name, Ok(())))) => tracing::error!(part = name, "a part ended"),
        Some(Ok((name, Err(why)))) => tracing::error!(part = name, error = %why, "a part failed"),
        Some(Err(error)) => tracing::error!(%error, "a part broke off"),
        None => {}
    }
}
