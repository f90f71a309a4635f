//! Exports and rollovers in a process that serves: each minute those whose turn it is are carried out. It owns when; what an
//! export takes along, and that several processes do each once, is decided in [`crate::export`].

use std::sync::Arc;
use std::time::Duration;

use crate::export;
use crate::gather::Trouble;
use crate::service::Service;

/// How often it is asked whose turn it is; an export that was asked for waits no longer than this.
const ROUND: Duration = Duration::from_secs(10);

/// Carries out exports until the process is to stop. One that is under way then is dropped: it is begun anew at the next
/// start, and until it is read back it never counts as finished.
pub(super) async fn run(service: Arc<Service>) {
    let mut known: Option<String> = None;
    while !service.stop.is_cancelled() {
        let done = tokio::select! {
            () = service.stop.cancelled() => return,
            done = run_once(&service) => done,
        };
        let why = done.err().map(|trouble| trouble.to_string());
        if let Some(why) = why.as_ref().filter(|why| known.as_ref() != Some(*why)) {
            tracing::error!(error = %why, "failed to look for exports");
        }
        known = why;
        tokio::select! {
            () = service.stop.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

async fn run_once(service: &Service) -> Result<(), Trouble> {
    let world = service.world();
    let ledger = service.ledger().as_ref();
    let now = world.clock.now();
    // A rollover that cannot be asked for keeps no export waiting.
    let rolled = export::due_rollovers(&world, ledger, now).await;
    if !export::work_off(&world, ledger, now).await?.is_empty() {
        // What waited for an export may be due now.
        service.news.notify_one();
    }
    rolled.map(drop)
}
