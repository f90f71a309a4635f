//! How a message proves who sent it and when: a keyed digest over time and body.
//! It owns the header `Retentiond-Signature`; which secret belongs to whom is the configuration's.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

use crate::id::TenantId;
use crate::ledger::DeliveryRow;

/// The header that carries the signature.
pub const HEADER: &str = "Retentiond-Signature";

/// What a message is signed with: gives the headers that go with it.
pub trait Sign: Send + Sync {
    /// Names and values of headers.
    ///
    /// # Errors
    /// A fragment for people where it cannot be signed; it is not sent then.
    fn headers(&self, row: &DeliveryRow, now: DateTime<Utc>) -> Result<Vec<(String, String)>, &'static str>;
}

/// The secrets that are shared with receivers.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// The operator's, for everything that has no own one.
    pub general: Option<SecretString>,
    /// Tenants' own.
    pub tenants: BTreeMap<TenantId, SecretString>,
}

impl Sign for Secrets {
    fn headers(&self, row: &DeliveryRow, now: DateTime<Utc>) -> Result<Vec<(String, String)>, &'static str> {
        let own = row.tenant.as_ref().and_then(|tenant| self.tenants.get(tenant));
        let secret = own.or(self.general.as_ref()).ok_or("there is no secret to sign the message with")?;
        Ok(vec![(HEADER.to_owned(), signature(secret, &row.body, now))])
    }
}

/// The value of the header: `t=UNIX,v1=HEX`, where HEX is the HMAC-SHA256 of `UNIX.BODY`.
///
/// # Properties
/// The time is signed too, so that a receiver can refuse what is replayed later; the scheme has a version, so that
/// another can stand beside it.
pub fn signature(secret: &SecretString, body: &str, now: DateTime<Utc>) -> String {
    let time = now.timestamp();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let tag = hmac::sign(&key, format!("{time}.{body}").as_bytes());
    format!("t={time},v1={}", hex::encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_another_program_makes() {
        // printf '1798761600.{"a":1}' | openssl dgst -sha256 -hmac 'a secret'
        let now = DateTime::from_timestamp(1_798_761_600, 999_000_000).unwrap();
        let wanted = "t=1798761600,v1=9bf938a59772075891e6751b18da33662b9a0bec947fa93671778e0e68fc2be0";
        assert_eq!(signature(&SecretString::from("a secret"), "{\"a\":1}", now), wanted);
    }
}
