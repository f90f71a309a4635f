//! The loop of a serving process that tells others what has happened: it notices, signs and sends.
//! It owns when the loop looks and with what it signs; what is said, and how often it is tried, is decided below.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::config::Config;
use crate::gather::World;
use crate::ledger::{DeliveryRow, LedgerError};
use crate::opendsr::signature::Signer;
use crate::opendsr::{CALLBACK, note_changes};
use crate::outgoing::sign::{Secrets, Sign};
use crate::outgoing::{DELIVERIES_MOST, Delivered, Outgoing, deliver_once};
use crate::service::Service;

/// How often it looks. It does not wait for [`Service::news`]: that wakes one waiter, and the schedule is that one; and
/// what another process records is news too.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often it looks whether what keeps it from sending was mended; each look that fails is a line in the log.
const MEND_EVERY: Duration = Duration::from_secs(60);

/// Tells what is to be told, until the service stops. What is under way then is sent again later.
pub async fn run(service: Arc<Service>) {
    let mut means: Option<Means> = None;
    loop {
        let world = service.world();
        if means.as_ref().is_none_or(|means| !Arc::ptr_eq(&means.world, &world)) {
            means = Means::of(&world);
        }
        let more = match &means {
            None => false,
            Some(means) => {
                let pass = run_once(&service, means, world.clock.now());
                let done = tokio::select! {
                    biased;
                    () = service.stop.cancelled() => return,
                    done = pass => done,
                };
                match done {
                    Ok(done) => done.taken >= usize::try_from(DELIVERIES_MOST).unwrap_or(usize::MAX),
                    Err(error) => {
                        tracing::warn!(%error, "failed to send messages; tried again");
                        false
                    }
                }
            }
        };
        if more {
            continue;
        }
        tokio::select! {
            () = service.stop.cancelled() => return,
            () = tokio::time::sleep(if means.is_some() { LOOK_EVERY } else { MEND_EVERY }) => {}
        }
    }
}

/// One look: changed requests are noticed, and what is due is sent.
///
/// # Errors
/// Where the ledger cannot be read or written.
pub async fn run_once(
    service: &Service,
    means: &Means,
    now: DateTime<Utc>,
) -> Result<Delivered, LedgerError> {
    let ledger = service.ledger().as_ref();
    note_changes(ledger, &means.world.config, now).await?;
    deliver_once(ledger, &means.outgoing, &means.signatures, now).await
}

/// What messages are sent with, as long as the configuration is the same.
pub struct Means {
    world: Arc<World>,
    outgoing: Outgoing,
    signatures: Signatures,
}

impl Means {
    /// As the configuration says. `None`, with a log entry, where that cannot be: asked again at the next look.
    pub fn of(world: &Arc<World>) -> Option<Self> {
        let outgoing = match Outgoing::new(&world.config) {
            Ok(outgoing) => outgoing,
            Err(error) => {
                tracing::error!(%error, "no message can be sent");
                return None;
            }
        };
        Some(Self { world: Arc::clone(world), outgoing, signatures: Signatures::of(&world.config) })
    }

    /// The same, with another client.
    #[must_use]
    pub fn with(self, outgoing: Outgoing) -> Self {
        Self { outgoing, ..self }
    }
}

/// Which message is signed how.
struct Signatures {
    secrets: Secrets,
    opendsr: Option<Signer>,
}

impl Signatures {
    fn of(config: &Config) -> Self {
        let own = config.tenants.iter().filter_map(|(id, own)| Some((id.clone(), own.secret.clone()?)));
        let opendsr = config.opendsr.as_ref().and_then(|config| {
            let signer = Signer::read(config);
            signer.inspect_err(|error| tracing::error!(%error, "no callback can be signed")).ok()
        });
        Self { secrets: Secrets { general: config.alarms.secret.clone(), tenants: own.collect() }, opendsr }
    }
}

impl Sign for Signatures {
    fn headers(&self, row: &DeliveryRow, now: DateTime<Utc>) -> Result<Vec<(String, String)>, &'static str> {
        if row.kind != CALLBACK {
            return self.secrets.headers(row, now);
        }
        let signer = self.opendsr.as_ref().ok_or("there is no key to sign callbacks with")?;
        let headers = signer.headers(row.body.as_bytes())?;
        Ok(headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}
