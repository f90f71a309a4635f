//! What the service manager is told: ready, what is going on, still alive, stopping. It owns the words; without a
//! manager (`NOTIFY_SOCKET` unset) nobody is told and nothing is wrong.

use sd_notify::NotifyState;

/// The process serves.
pub(super) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// What is going on, in one line.
pub(super) fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// The schedule's loop has come round. Sent by the loop that does the work, so that a process which hangs is noticed.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The process ends what it has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: a batch that runs is finished")]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "failed to tell the service manager");
    }
}
