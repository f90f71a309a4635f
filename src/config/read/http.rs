//! `[http]` of the configuration. It owns its defaults and that nothing is served in the clear to other machines; no
//! address is listened on.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::settings::path;
use crate::config::HttpConfig;
use crate::policy::tree::{Section, Wrong};

const LISTEN_DEFAULT: &str = "127.0.0.1:8787";

/// Reads the section; `None` where it is left out.
pub(super) fn read(section: Option<&Section<'_>>, base: &Path) -> Option<HttpConfig> {
    let get = |name: &str| section.and_then(|section| section.get(name));
    let (certificate, key) = (get("certificate"), get("key"));
    let is_secret = certificate.is_some() && key.is_some();
    let lone = "certificate and key belong together";
    let both = "give both as PEM files, or neither";
    if let (Some(value), None) | (None, Some(value)) = (&certificate, &key) {
        value.fault(lone, both);
    }
    let listen = match get("listen") {
        None => Some(LISTEN_DEFAULT.to_owned()),
        Some(value) => value.parsed(|text| {
            let listen = address(text)?;
            if is_secret || is_loopback(&listen) {
                return Ok(listen);
            }
            let message = "other machines can reach this address, and nothing keeps tokens secret on the way";
            Err(Wrong::new(message, "give `certificate` and `key`, or listen on 127.0.0.1"))
        }),
    };
    Some(HttpConfig {
        listen: listen?,
        certificate: certificate.as_ref().map_or(Some(None), |value| path(value, base).map(Some))?,
        key: key.as_ref().map_or(Some(None), |value| path(value, base).map(Some))?,
        metrics: get("metrics").map_or(Some(None), |value| value.parsed(address).map(Some))?,
        rate: get("rate").map_or(Some(None), |value| value.count().map(Some))?,
    })
}

/// An address with a port.
fn address(text: &str) -> Result<String, Wrong> {
    let port = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() || text.contains(char::is_whitespace) {
        let message = format!("`{}` is not an address with a port", text.escape_debug());
        return Err(Wrong::new(message, "for example 127.0.0.1:8787"));
    }
    Ok(text.to_owned())
}

/// True where only this machine can reach it, as far as the text tells; what a name means is asked when it is listened on.
fn is_loopback(address: &str) -> bool {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_reached_by_nobody_else() {
        for near in ["127.0.0.1:8787", "127.9.9.9:1", "[::1]:8787", "localhost:0"] {
            assert!(is_loopback(near), "{near}");
        }
        for far in [
            "0.0.0.0:8787",
            "[::]:8787",
            "10.0.0.1:1",
            "[::ffff:127.0.0.1]:1",
            "localhost.example:1",
            "host:1",
        ] {
            assert!(!is_loopback(far), "{far}");
        }
    }
}
