//! Where a message is to go, read from its address: scheme, name and port, and whether they are on the list.
//! It owns the strict form of addresses and the list; nothing is looked up here.

use std::net::IpAddr;

use reqwest::Url;

use crate::config::outside::{Host, split_host};

/// Longest address: callbacks of real controllers are far shorter, and logs and rows stay readable.
pub const URL_BYTES_MAX: usize = 2_048;

/// The port of https.
const PORT: u16 = 443;

/// Where a message is to go, as its address says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address, whole.
    pub url: Url,
    /// The name in lower case, or an IP address (IPv6 in brackets).
    pub host: String,
    /// The port.
    pub port: u16,
    /// The IP address, where one is named.
    pub literal: Option<IpAddr>,
    /// Whether what is sent is encrypted.
    pub is_secure: bool,
}

impl Target {
    /// Reads an address.
    ///
    /// # Properties
    /// The host is what is written there, byte by byte but for case: a number in another base, a percent escape or a
    /// name that would be read as another one is refused, not translated.
    ///
    /// # Errors
    /// A fragment for people, without the address.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > URL_BYTES_MAX {
            return Err("is longer than 2 KiB");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(['\\', '"', '<', '>']) {
            return Err("holds a character that no address has");
        }
        if text.contains('#') {
            return Err("has a fragment");
        }
        let (is_secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("does not begin with https://"),
        };
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err("has a user or a password in it");
        }
        let (name, port) = split_host(authority)?;
        let host = name.to_ascii_lowercase();
        let url = Url::parse(text).map_err(|_| "is not an address")?;
        // What the library would connect to is what was read here, or there would be two truths.
        if url.host_str() != Some(host.as_str()) {
            return Err("writes its host in a way that would be read as another one");
        }
        let port = port.unwrap_or(if is_secure { PORT } else { 80 });
        if url.port_or_known_default() != Some(port) {
            return Err("writes its port in a way that would be read as another one");
        }
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        Ok(Self { url, host, port, literal, is_secure })
    }

    /// Whether it is on one of the lists of hosts that may be called.
    pub fn is_among<'h>(&self, hosts: impl IntoIterator<Item = &'h Host>) -> bool {
        hosts.into_iter().any(|host| host.is(&self.host, self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written_or_refused() {
        let target = Target::parse("https://Hooks.Example.com/in?x=1").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.is_secure), ("hooks.example.com", 443, true));
        let target = Target::parse("http://127.0.0.1:8080").unwrap();
        assert_eq!((target.literal, target.port, target.is_secure), ("127.0.0.1".parse().ok(), 8080, false));
        let target = Target::parse("https://[2606:4700::1111]:8443/").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("[2606:4700::1111]", 8443));
        assert_eq!(target.literal, "2606:4700::1111".parse().ok());
    }

    #[test]
    fn whatever_could_mean_something_else_is_refused() {
        let long = format!("https://hooks.example.com/{}", "a".repeat(65_536));
        for text in [
            "",
            "https://",
            "https:///path",
            "hooks.example.com",
            "//hooks.example.com/",
            "HTTPS://hooks.example.com",
            "file:///etc/passwd",
            "gopher://hooks.example.com",
            "ftp://hooks.example.com",
            "javascript:alert(1)",
            "https://user:pass@hooks.example.com/",
            "https://user@hooks.example.com/",
            "https://@hooks.example.com/",
            "https://hooks.example.com@127.0.0.1/",
            "https://hooks.example.com#@127.0.0.1/",
            "https://hooks.example.com/#part",
            "https://hooks.example.com\\@127.0.0.1/",
            "https://hooks.example.com/a b",
            "https://hooks.example.com/\r\nHost: other",
            "https://hooks.example.com/\u{e9}",
            "https://h\u{f6}oks.example.com/",
            "https://hooks%2eexample.com/",
            "https://hooks..example.com/",
            "https://hooks.example.com./",
            "https://.example.com/",
            "https://hooks.example.com:/",
            "https://hooks.example.com:0/",
            "https://hooks.example.com:0443/",
            "https://hooks.example.com:65536/",
            "https://hooks.example.com:44x/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://0x7f.1/",
            "https://127.0.0.0x1/",
            "https://[::ffff:10.0.0.1/",
            "https://[0:0:0:0:0:0:0:1]/",
            "https://[::1]x/",
            "https://[fe80::1%25eth0]/",
            "https://[hooks.example.com]/",
            long.as_str(),
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_is_on_the_list_with_its_port_and_by_its_whole_name() {
        let hosts =
            [Host::parse("hooks.example.com").unwrap(), Host::parse("other.example.com:8443").unwrap()];
        let is_among = |text: &str| Target::parse(text).unwrap().is_among(&hosts);
        assert!(is_among("https://hooks.example.com/in"));
        assert!(is_among("https://hooks.example.com:443/in"));
        assert!(is_among("https://other.example.com:8443/"));
        for text in [
            "https://hooks.example.com:22/",
            "https://hooks.example.com:8443/",
            "https://other.example.com/",
            "https://example.com/",
            "https://a.hooks.example.com/",
            "https://hooks.example.com.evil.test/",
            "https://xhooks.example.com/",
        ] {
            assert!(!is_among(text), "{text}");
        }
        for text in
            ["", "Hooks.example.com", "a b", "*.example.com", "https://a.test", "a.test/", "a.test:x", "1"]
        {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }
}
