//! Where messages may go, as the configuration says: everything that can be asked before a name is looked up.
//! It owns lists and exceptions; it sends nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Unsent;
use super::address;
use super::target::Target;
use crate::config::Config;
use crate::config::outside::Host;
use crate::id::TenantId;

/// The lists.
pub struct Rules {
    hosts: Vec<Host>,
    private_hosts: Vec<Host>,
    tenants: BTreeMap<TenantId, Vec<Host>>,
    /// Whole addresses that the operator named, with the tenant that they are for.
    named: Vec<(Option<TenantId>, String)>,
}

impl Rules {
    /// As the configuration says.
    pub fn of(config: &Config) -> Self {
        let hosts_of = |(id, own): (&TenantId, &crate::config::outside::TenantConfig)| {
            (id.clone(), own.callback_hosts.clone())
        };
        let webhooks = config.alarms.webhooks.iter().map(|url| (None, url.clone()));
        let notices =
            config.tenants.iter().filter_map(|(id, own)| Some((Some(id.clone()), own.notices.clone()?)));
        Self {
            hosts: config.outgoing.hosts.clone(),
            private_hosts: config.outgoing.private_hosts.clone(),
            tenants: config.tenants.iter().map(hosts_of).collect(),
            named: webhooks.chain(notices).collect(),
        }
    }

    /// Whether a message may be sent there one day: everything but what the name resolves to, which is asked when
    /// it is sent. For checking an address at the door.
    ///
    /// # Errors
    /// [`Unsent::Refused`].
    pub fn check(&self, url: &str, tenant: Option<&TenantId>) -> Result<Target, Unsent> {
        let refuse = |why: &str| Err(Unsent::Refused(why.to_owned()));
        let target = Target::parse(url).map_err(|why| Unsent::Refused(why.to_owned()))?;
        let of_tenant = tenant.and_then(|tenant| self.tenants.get(tenant)).into_iter().flatten();
        let is_named = self.named.iter().any(|(whose, named)| whose.as_ref() == tenant && named == url);
        if !is_named && !target.is_among(self.hosts.iter().chain(of_tenant)) {
            return refuse("has a host or port that is not on the list of those that may be called");
        }
        if !target.is_secure && !self.is_private(&target) {
            return refuse("does not begin with https://");
        }
        if let Some(address) = target.literal {
            self.check_address(&target, address)?;
        }
        Ok(target)
    }

    /// Whether one of the target's addresses may be called.
    ///
    /// # Errors
    /// [`Unsent::Refused`].
    pub fn check_address(&self, target: &Target, address: IpAddr) -> Result<(), Unsent> {
        match address::closed(address) {
            Some(what) if !self.is_private(target) => Err(Unsent::Refused(format!("leads to {what}"))),
            Some(_) | None => Ok(()),
        }
    }

    fn is_private(&self, target: &Target) -> bool {
        target.is_among(&self.private_hosts)
    }
}
