//! How the name of a host becomes addresses.
//! It owns the look-up by the operating system; whether an address may be called is judged by its callers.

use std::net::IpAddr;

use async_trait::async_trait;
use reqwest::dns;

/// Looks up names.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// Every address of a name; none is an answer too.
    ///
    /// # Errors
    /// A fragment for people where nobody can say.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, &'static str>;
}

/// The operating system's way.
#[derive(Debug, Clone, Copy)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, &'static str> {
        let found = tokio::net::lookup_host((host, 0)).await;
        Ok(found
            .map_err(|_| "the name of the host could not be looked up")?
            .map(|found| found.ip())
            .collect())
    }
}

/// Nobody: for a client that is told the addresses and must not ask for others.
pub(super) struct Nobody;

impl dns::Resolve for Nobody {
    fn resolve(&self, _: dns::Name) -> dns::Resolving {
        Box::pin(async { Err("nothing is looked up a second time".into()) })
    }
}
