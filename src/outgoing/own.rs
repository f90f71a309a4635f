//! The places of this deployment itself: its stores, its ledger, its own listeners, its collector. No message goes there.
//! It owns reading them from the configuration; it connects to none of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use reqwest::Url;
use secrecy::ExposeSecret;

use super::{Resolve, Unsent};
use crate::config::{Config, LedgerPlace, StoreConfig};

/// Hosts and ports of the deployment.
pub(super) struct Own {
    places: BTreeSet<(String, u16)>,
}

impl Own {
    /// Everything in the configuration that has a host and a port.
    pub(super) fn of(config: &Config) -> Self {
        let mut places = BTreeSet::new();
        places.extend(place(&config.http.listen));
        places.extend(config.http.metrics.iter().filter_map(|text| place(text)));
        places.extend(config.telemetry.otlp.iter().filter_map(|url| place_of_url(url, 443)));
        match &config.ledger.place {
            LedgerPlace::Mysql { url } => places.extend(place_of_url(url.expose_secret(), 3_306)),
            LedgerPlace::Sqlite { .. } => {}
        }
        for store in config.stores.values() {
            match store {
                StoreConfig::Mysql { url } => places.extend(place_of_url(url.expose_secret(), 3_306)),
                StoreConfig::Redis { url, nodes, sentinel, .. } => {
                    places.extend(url.iter().filter_map(|url| place_of_url(url.expose_secret(), 6_379)));
                    let named = nodes.iter().chain(sentinel);
                    places.extend(named.filter_map(|node| {
                        let node = node.split_once("://").map_or(node.as_str(), |(_, rest)| rest);
                        place(node.split('/').next().unwrap_or_default())
                    }));
                }
                StoreConfig::S3(s3) => {
                    places.extend(s3.endpoint.iter().filter_map(|url| place_of_url(url, 443)));
                }
                StoreConfig::Elasticsearch { url, .. } => places.extend(place_of_url(url, 443)),
                StoreConfig::Sqlite { .. } | StoreConfig::Files { .. } => {}
            }
        }
        Self { places }
    }

    /// Whether one of these addresses is one of the deployment's. Only what has the same port is looked up.
    ///
    /// # Errors
    /// Where the name of a store with the same port cannot be looked up: then nobody can say.
    pub(super) async fn is_among(
        &self,
        addresses: &[SocketAddr],
        resolver: &dyn Resolve,
    ) -> Result<bool, Unsent> {
        for (host, port) in &self.places {
            if !addresses.iter().any(|address| address.port() == *port) {
                continue;
            }
            let own = match host.parse() {
                Ok(address) => vec![address],
                Err(_) => resolver.addresses(host).await.map_err(|_| {
                    Unsent::Unreachable(
                        "a store with the same port could not be looked up, to compare the two",
                    )
                })?,
            };
            let is_own = |ip: IpAddr| {
                own.contains(&ip) || own.iter().any(IpAddr::is_unspecified) && is_of_this_machine(ip)
            };
            if addresses.iter().any(|address| address.port() == *port && is_own(address.ip())) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Who listens on 0.0.0.0 or [::] listens on every address that this machine has; only those can be bound.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

fn place_of_url(url: &str, port_default: u16) -> Option<(String, u16)> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    Some((host, url.port_or_known_default().unwrap_or(port_default)))
}

fn place(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_from_every_form_of_address() {
        let some = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(place_of_url("mysql://user:secret@db.internal/calls", 3_306), some("db.internal", 3_306));
        assert_eq!(place_of_url("mysql://user:secret@10.0.0.7:3307/calls", 3_306), some("10.0.0.7", 3_307));
        assert_eq!(place_of_url("redis://:secret@[::1]:7000/0", 6_379), some("::1", 7_000));
        assert_eq!(place_of_url("https://search", 443), some("search", 443));
        assert_eq!(place_of_url("http://search:9200/", 443), some("search", 9_200));
        assert_eq!(place("127.0.0.1:8787"), some("127.0.0.1", 8_787));
        assert_eq!(place("[::1]:8787"), some("::1", 8_787));
    }
}
