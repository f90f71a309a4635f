//! The watch over every promise: a look each minute and after each run, for alarms, notices and metrics. It owns when it
//! looks and what the process says of itself; what follows from a look is decided in [`crate::alarms`].

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::alarms::{self, Notes, watch_once};
use crate::clock::Stopwatch;
use crate::ledger::NewAlarm;
use crate::service::{self, Note, Service};

/// How often it is asked whether it is time: soon enough after a run.
const ROUND: Duration = Duration::from_secs(1);

/// Looks until the process is to stop.
pub(super) async fn run(service: Arc<Service>) {
    let node = node();
    let mut is_lost = false;
    while !service.stop.is_cancelled() {
        let since = Stopwatch::start();
        let pause = match look(&service, &node).await {
            Ok(pause) => {
                is_lost = false;
                pause
            }
            Err(trouble) => {
                service.board.lost();
                if !std::mem::replace(&mut is_lost, true) {
                    tracing::error!(error = %trouble, "failed to look for alarms");
                }
                alarms::PAUSE_MIN
            }
        };
        wait(&service, since, pause).await;
    }
}

async fn look(service: &Service, node: &str) -> Result<Duration, crate::gather::Trouble> {
    let world = service.world();
    let notes = Notes { node: node.to_owned(), alarms: said(&service.notes()) };
    let ledger = service.ledger().as_ref();
    let watched = watch_once(&world, ledger, &notes, world.clock.now()).await?;
    let pause = watched.pause();
    service.board.post(watched, ledger).await?;
    tracing::debug!("looked at every promise");
    Ok(pause)
}

/// Waits until the pause is over, a run has ended or the process is to stop.
async fn wait(service: &Service, since: Stopwatch, pause: Duration) {
    let mut was_running = service.notes().running_since.is_some();
    while since.elapsed() < pause {
        tokio::select! {
            () = service.stop.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
        let is_running = service.notes().running_since.is_some();
        if was_running && !is_running {
            return;
        }
        was_running = is_running;
    }
}

/// What the process knows of itself, as alarms. A run that could not even begin is in no ledger.
fn said(notes: &service::Notes) -> Vec<NewAlarm> {
    let broken = notes.files_broken.as_ref().map(|note| {
        let message =
            "the files on disk are faulty, and those before them stay in force; `retentiond check` says why";
        alarm("policy-broken", message, note)
    });
    let failed = notes.failed.as_ref().map(|note| {
        alarm("run-failed", "the last run has failed, or could not begin; the log says why", note)
    });
    broken.into_iter().chain(failed).collect()
}

/// Without what the note says: it goes to addresses outside, and may speak of hosts and files.
fn alarm(kind: &str, message: &str, note: &Note) -> NewAlarm {
    let fields = json!({"since": note.since});
    NewAlarm { key: kind.to_owned(), kind: kind.to_owned(), message: message.to_owned(), fields }
}

/// The name of this process among others: the host's. Containers have one each.
fn node() -> String {
    // Asked of the kernel: a hardened service may see no such file.
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
