//! The sections about other parties: `[outgoing]`, `[tenants.NAME]`, `[opendsr]`.
//! It owns their forms; no host is looked up and no file is read.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::SecretString;

use super::alarms;
use super::settings::path;
use crate::config::Config;
use crate::config::outside::{Host, OpenDsrConfig, OutgoingConfig, TenantConfig};
use crate::id::TenantId;
use crate::outgoing::Rules;
use crate::policy::schema::{OPENDSR, OPENDSR_IDENTITIES, OUTGOING, TENANTS};
use crate::policy::tree::{Section, Value, Wrong};

/// The three sections; `None` where one is wrong.
pub(super) type Outside =
    (Option<OutgoingConfig>, Option<BTreeMap<TenantId, TenantConfig>>, Option<Option<OpenDsrConfig>>);

/// Shortest secret: 128 bits, where each character has six.
const SECRET_CHARS_MIN: usize = 22;

/// `[outgoing]`: nothing may be called where it is left out. `None` where it is wrong.
pub(super) fn outgoing(root: &Section<'_>, base: &Path) -> Option<OutgoingConfig> {
    let Some(value) = root.get("outgoing") else { return Some(OutgoingConfig::default()) };
    let section = value.section(&OUTGOING)?;
    let hosts = section.get("hosts").map_or(Some(Vec::new()), |value| hosts(&value));
    let private_hosts = section.get("private_hosts").map_or(Some(Vec::new()), |value| private_hosts(&value));
    let ca_file = section.get("ca_file").map_or(Some(None), |value| path(&value, base).map(Some));
    Some(OutgoingConfig { hosts: hosts?, private_hosts: private_hosts?, ca_file: ca_file? })
}

/// `[tenants.NAME]`. `None` where one of them is wrong.
pub(super) fn tenants(root: &Section<'_>) -> Option<BTreeMap<TenantId, TenantConfig>> {
    let Some(value) = root.get("tenants") else { return Some(BTreeMap::new()) };
    let section = value.free_section()?;
    let read: Vec<_> = section.entries().map(|(name, value)| tenant(name, &value)).collect();
    read.into_iter().collect()
}

fn tenant(name: &str, value: &Value<'_>) -> Option<(TenantId, TenantConfig)> {
    let wrong = |error: crate::id::InvalidName| {
        value.fault(&error.to_string(), "write the tenant as its records name it: [tenants.NAME]");
    };
    let id = TenantId::parse(name).map_err(wrong).ok();
    let section = value.section(&TENANTS)?;
    let notices = section.get("notices").map_or(Some(None), |value| value.parsed(alarms::address).map(Some));
    let controller = section.get("controller").map_or(Some(None), |value| value.text().map(Some));
    let callback_hosts = section.get("callback_hosts").map_or(Some(Vec::new()), |value| hosts(&value));
    let secret = section.get("secret").map_or(Some(None), |value| value.parsed(secret).map(Some));
    let config = TenantConfig {
        notices: notices?,
        controller: controller?,
        callback_hosts: callback_hosts?,
        secret: secret?,
    };
    Some((id?, config))
}

/// `[opendsr]`: `None` where it is wrong, `Some(None)` where it is left out.
pub(super) fn opendsr(root: &Section<'_>, base: &Path) -> Option<Option<OpenDsrConfig>> {
    let Some(value) = root.get("opendsr") else { return Some(None) };
    let section = value.section(&OPENDSR)?;
    let help = "name the domain that receives requests, for example opendsr.example.com";
    let domain = section.require("domain", help).and_then(|value| value.parsed(domain));
    let help = "name the PEM file of the certificate for the domain";
    let certificate = section.require("certificate", help).and_then(|value| path(&value, base));
    let help = "name the PEM file of the certificate's RSA key";
    let key = section.require("key", help).and_then(|value| path(&value, base));
    let identities = section.get("identities").map_or(Some(BTreeMap::new()), |value| {
        let section = value.section(&OPENDSR_IDENTITIES)?;
        section.entries().map(|(name, value)| Some((name.to_owned(), value.text()?))).collect()
    });
    Some(Some(OpenDsrConfig {
        domain: domain?,
        certificate: certificate?,
        key: key?,
        identities: identities?,
    }))
}

/// Reports addresses of the configuration itself that nothing would be sent to: an alarm that cannot be told is no alarm.
pub(super) fn check_addresses(root: &Section<'_>, config: &Config) {
    let rules = Rules::of(config);
    let check = |value: &Value<'_>, url: &str, tenant: Option<&TenantId>| {
        if let Err(why) = rules.check(url, tenant) {
            let help =
                "write https://host/path; a private host stands in [outgoing] private_hosts, with its port";
            value.fault(&format!("nothing is sent there: {why}"), help);
        }
    };
    let webhooks = root.get("alarms").and_then(|value| value.free_section()?.get("webhooks")?.items());
    for (value, url) in webhooks.unwrap_or_default().iter().zip(&config.alarms.webhooks) {
        check(value, url, None);
    }
    let Some(tenants) = root.get("tenants").and_then(|value| value.free_section()) else { return };
    for (id, tenant) in &config.tenants {
        let value = tenants.get(id.as_str()).and_then(|value| value.free_section()?.get("notices"));
        if let Some((value, url)) = value.zip(tenant.notices.as_ref()) {
            check(&value, url, Some(id));
        }
    }
}

/// A secret that is shared with a receiver. It is never repeated.
pub(super) fn secret(text: &str) -> Result<SecretString, Wrong> {
    if text.chars().count() < SECRET_CHARS_MIN {
        let help = "make one with `openssl rand -hex 32` and take it from the environment: ${NAME}";
        return Err(Wrong::new("the secret is too short to be one", help));
    }
    Ok(SecretString::from(text))
}

fn hosts(value: &Value<'_>) -> Option<Vec<Host>> {
    let items = value.items()?;
    let hosts: Vec<Option<Host>> = items.iter().map(|item| item.parsed(host)).collect();
    hosts.into_iter().collect()
}

/// Which hosts may be private is said with the port, so that nothing else on the same machine is opened by it.
fn private_hosts(value: &Value<'_>) -> Option<Vec<Host>> {
    let items = value.items()?;
    let with_port = |text: &str| {
        let host = host(text)?;
        if host.port.is_none() {
            let message = format!("`{}` has no port", text.escape_debug());
            return Err(Wrong::new(message, "write host and port, for example \"hooks.internal:8443\""));
        }
        Ok(host)
    };
    let hosts: Vec<Option<Host>> = items.iter().map(|item| item.parsed(with_port)).collect();
    hosts.into_iter().collect()
}

fn host(text: &str) -> Result<Host, Wrong> {
    Host::parse(text).map_err(|why| {
        let help = "write a name in lower case, with a port where it is not 443: \"hooks.example.com:8443\"";
        Wrong::new(format!("`{}` {why}", text.escape_debug()), help)
    })
}

fn domain(text: &str) -> Result<String, Wrong> {
    let host = host(text)?;
    if host.port.is_some() || !host.name.contains('.') || host.name.parse::<std::net::IpAddr>().is_ok() {
        let message = format!("`{}` is not a domain", text.escape_debug());
        return Err(Wrong::new(message, "write it without a port, for example opendsr.example.com"));
    }
    Ok(host.name)
}
