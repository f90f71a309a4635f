//! Signals from outside: stop, stop at once, read the files again. It owns which signal means what.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// The signals that a process that serves listens to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Told at each SIGHUP.
    pub(super) again: Arc<Notify>,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            again: Arc::new(Notify::new()),
        })
    }

    /// Returns at the next SIGTERM or SIGINT, with its name; passes on every SIGHUP before.
    pub(super) async fn stop_asked(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => self.again.notify_one(),
            }
        }
    }
}
