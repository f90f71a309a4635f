//! The one client for everything that is sent to an address that came from outside: alarms, notices, callbacks.
//! It owns where a message may go and how it is sent; what is said, and when it is tried again, is not decided here.
//!
//! The rules, in the order in which they are asked:
//!
//! 1. The address is https, names its host as it is, has no user, password or fragment ([`target`]).
//! 2. Host and port are on the operator's list, `[outgoing] hosts`, or on the tenant's own, `callback_hosts`; or the whole
//!    address is one of the configuration, a webhook of alarms or the one for a tenant's notices.
//! 3. The name is looked up once. No answer means no.
//! 4. Every address that it has is one of the public internet ([`address`]), and none is a store of this deployment or
//!    its own interface. `[outgoing] private_hosts` lifts the first half of this rule, and that of https.
//! 5. The connection goes to one of the addresses that were checked; nothing is looked up again. The certificate is
//!    checked against the name. No redirect is followed and no proxy used.
//! 6. 10 seconds for everything, 64 KiB of the answer.

pub mod address;
mod deliver;
mod own;
mod resolve;
mod rules;
pub mod sign;
pub mod target;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Certificate, Client, redirect};

use self::own::Own;
use self::target::Target;
use crate::config::Config;
use crate::id::TenantId;

pub use deliver::{DELIVERIES_MOST, Delivered, deliver_once};
pub use resolve::{Resolve, SystemResolver};
pub use rules::Rules;

/// Longest time for one message, from the look-up of the name to the end of the answer. Whoever takes longer to say
/// "received" would hold up what is to be told to others.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Most that is read of an answer. Nobody looks at it; it is read so that the other side is not cut off.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Message<'m> {
    /// Where to.
    pub url: &'m str,
    /// Whose list of hosts counts beside the operator's.
    pub tenant: Option<&'m TenantId>,
    /// JSON.
    pub body: &'m str,
    /// Name and value of further headers.
    pub headers: &'m [(String, String)],
}

/// Why a message was not sent, or not answered. Its texts repeat nothing that came from outside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// A rule forbids it.
    #[error("the address {0}")]
    Refused(String),
    /// The other side could not be reached or did not answer in time.
    #[error("{0}")]
    Unreachable(&'static str),
}

/// The client.
pub struct Outgoing {
    rules: Rules,
    authorities: Vec<Certificate>,
    own: Own,
    resolver: Arc<dyn Resolve>,
}

impl Outgoing {
    /// The client as the configuration says.
    ///
    /// # Errors
    /// Where the file with further certificate authorities cannot be read.
    pub fn new(config: &Config) -> Result<Self, String> {
        Self::with_resolver(config, Arc::new(SystemResolver))
    }

    /// As [`Outgoing::new`], with another way to look up names.
    ///
    /// # Errors
    /// As [`Outgoing::new`].
    pub fn with_resolver(config: &Config, resolver: Arc<dyn Resolve>) -> Result<Self, String> {
        let authorities = match &config.outgoing.ca_file {
            None => Vec::new(),
            Some(file) => {
                let wrong = |why: String| format!("failed to read {}: {why}", file.display());
                let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
                let found =
                    Certificate::from_pem_bundle(&pem).map_err(|_| wrong("it is no PEM".to_owned()))?;
                if found.is_empty() {
                    return Err(wrong("it holds no certificate".to_owned()));
                }
                found
            }
        };
        Ok(Self { rules: Rules::of(config), authorities, own: Own::of(config), resolver })
    }

    /// As [`Rules::check`].
    ///
    /// # Errors
    /// As [`Rules::check`].
    pub fn check(&self, url: &str, tenant: Option<&TenantId>) -> Result<Target, Unsent> {
        self.rules.check(url, tenant)
    }

    /// Sends a message; the status of the answer, whatever it is.
    ///
    /// # Errors
    /// Where a rule forbids it or no answer came.
    pub async fn send(&self, message: Message<'_>) -> Result<u16, Unsent> {
        let target = self.check(message.url, message.tenant)?;
        match tokio::time::timeout(TIME_MAX, self.send_to(&target, message)).await {
            Ok(sent) => sent,
            Err(_) => Err(Unsent::Unreachable("no answer came within 10 seconds")),
        }
    }

    async fn send_to(&self, target: &Target, message: Message<'_>) -> Result<u16, Unsent> {
        let addresses = self.checked_addresses(target).await?;
        let client = self.client(target, &addresses)?;
        let mut request = client.post(target.url.clone()).header(CONTENT_TYPE, "application/json");
        for (name, value) in message.headers {
            request = request.header(name, value);
        }
        let sent = request.body(message.body.to_owned()).send().await;
        let mut response = sent.map_err(|error| Unsent::Unreachable(why(&error)))?;
        let status = response.status().as_u16();
        let mut read = 0;
        // Whatever becomes of the rest: the status is the answer.
        while let Ok(Some(part)) = response.chunk().await {
            read += part.len();
            if read >= ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(status)
    }

    /// The addresses of the target, every one of them checked.
    async fn checked_addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, Unsent> {
        let found = match target.literal {
            Some(address) => vec![address],
            None => self.resolver.addresses(&target.host).await.map_err(Unsent::Unreachable)?,
        };
        if found.is_empty() {
            return Err(Unsent::Unreachable("the name of the host has no address"));
        }
        for address in &found {
            self.rules.check_address(target, *address)?;
        }
        let addresses: Vec<_> =
            found.into_iter().map(|address| SocketAddr::new(address, target.port)).collect();
        if self.own.is_among(&addresses, self.resolver.as_ref()).await? {
            return Err(Unsent::Refused("leads to a store of this deployment".to_owned()));
        }
        Ok(addresses)
    }

    /// A client for one message: it knows the addresses of this one name, and asks nobody for others.
    fn client(&self, target: &Target, addresses: &[SocketAddr]) -> Result<Client, Unsent> {
        // Whoever installed one first has the same one: there is no other in the program.
        drop(rustls::crypto::ring::default_provider().install_default());
        Client::builder()
            .resolve_to_addrs(&target.host, addresses)
            .dns_resolver(Arc::new(resolve::Nobody))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .no_gzip()
            .http1_only()
            .pool_max_idle_per_host(0)
            .user_agent(concat!("retentiond/", env!("CARGO_PKG_VERSION")))
            .tls_certs_merge(self.authorities.iter().cloned())
            .build()
            .map_err(|_| Unsent::Unreachable("the client could not be made"))
    }
}

/// What went wrong, in our own words: the library's may repeat the address.
fn why(error: &reqwest::Error) -> &'static str {
    if error.is_connect() {
        "the connection failed, or the certificate is not one for this host"
    } else if error.is_timeout() {
        "no answer came in time"
    } else {
        "the connection broke off, or the answer was none"
    }
}
