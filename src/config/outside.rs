//! The configuration of what reaches other parties: hosts that may be called, tenants' own settings, `OpenDSR`.
//! It owns the types and the strict form of a host; it looks up nothing.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use secrecy::SecretString;

/// The port of https.
const PORT: u16 = 443;

/// Longest name of a host, as in the name system.
const HOST_BYTES_MAX: usize = 253;

/// Longest part of such a name.
const LABEL_BYTES_MAX: usize = 63;

/// `[outgoing]`.
#[derive(Debug, Clone, Default)]
pub struct OutgoingConfig {
    /// Hosts that messages may be sent to, for everybody.
    pub hosts: Vec<Host>,
    /// Of the hosts that may be called, those that may be private and need not be encrypted.
    pub private_hosts: Vec<Host>,
    /// Certificate authorities beside those of the machine.
    pub ca_file: Option<PathBuf>,
}

/// `[tenants.NAME]`. Tenants need no registration: this only says how to reach some of them.
#[derive(Debug, Clone, Default)]
pub struct TenantConfig {
    /// Where notices before the destruction of its data go; the operator's webhooks where there is none.
    pub notices: Option<String>,
    /// How the tenant is called as a controller; its own name where there is none.
    pub controller: Option<String>,
    /// Hosts that messages about this tenant may be sent to, beside those for everybody.
    pub callback_hosts: Vec<Host>,
    /// What messages about this tenant are signed with.
    pub secret: Option<SecretString>,
}

/// `[opendsr]`.
#[derive(Debug, Clone)]
pub struct OpenDsrConfig {
    /// The domain that receives requests, and that the certificate is for.
    pub domain: String,
    /// PEM: the certificate, then those between it and an authority.
    pub certificate: PathBuf,
    /// PEM: its RSA key.
    pub key: PathBuf,
    /// Kinds of subject, by the identity types of the specification.
    pub identities: BTreeMap<String, String>,
}

/// One entry of a list of hosts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    /// A name in lower case, or an IP address (IPv6 in brackets).
    pub name: String,
    /// The port; 443 where there is none.
    pub port: Option<u16>,
}

impl Host {
    /// Reads `name` or `name:port`.
    ///
    /// # Errors
    /// A fragment for people.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, port) = split_host(text)?;
        if name != name.to_ascii_lowercase() {
            return Err("is not in lower case");
        }
        Ok(Self { name: name.to_owned(), port })
    }

    /// Whether this entry means that host and port.
    pub fn is(&self, name: &str, port: u16) -> bool {
        self.name == name && self.port.unwrap_or(PORT) == port
    }
}

/// Name and port of a host, as they are written.
///
/// # Errors
/// A fragment for people: what is no name, or could be read as another one (a number in another base, a long IPv6
/// address), is refused.
pub fn split_host(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, after) = rest.split_once(']').ok_or("has a bracket that is not closed")?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return Err("has something between host and port"),
            };
            let address: Ipv6Addr = inner.parse().map_err(|_| "has brackets around no IPv6 address")?;
            if address.to_string() != inner {
                return Err("spells its IPv6 address in another way than usual");
            }
            (text.get(..inner.len().saturating_add(2)).unwrap_or_default(), port)
        }
        None => {
            let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
            refuse_unless_name(name)?;
            (name, port)
        }
    };
    let number = |port: &str| {
        let is_plain = !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit());
        port.parse::<u16>().ok().filter(|_| is_plain).ok_or("has a port that is not a number")
    };
    Ok((name, port.map(number).transpose()?))
}

fn refuse_unless_name(name: &str) -> Result<(), &'static str> {
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.len() > HOST_BYTES_MAX || !name.split('.').all(is_label) {
        return Err("has no host, or one that is not a name");
    }
    let last = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_number && name.parse::<Ipv4Addr>().is_err() {
        return Err("writes its host as a number");
    }
    Ok(())
}
