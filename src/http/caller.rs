//! Who calls: a bearer token in the `Authorization` header, looked up by its digest, good or not, with one role.
//! It owns tokens' form and the refusals; what a role may do is said by each route.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Api;
use super::error::ApiError;
use crate::id::{TenantId, TokenId};
use crate::ledger::{LedgerError, Role};

/// What every token begins with, so that scanners for lost secrets find it.
const PREFIX: &str = "rt_";

/// 256 random bits as base64url without padding.
const SECRET_CHARS: usize = 43;

/// Who calls, by a token that is good now.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The person or service: two tokens of one principal are one person.
    pub principal: String,
    /// Which token.
    pub token: TokenId,
    /// What it may do.
    pub role: Role,
    /// The one tenant of a requester.
    pub tenant: Option<TenantId>,
}

/// The address that the connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// A new token: what its bearer is given, once, and the digest that the ledger keeps.
///
/// # Errors
/// Where the system gives no randomness.
pub fn new_token() -> Result<(SecretString, String), LedgerError> {
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *random)
        .map_err(|error| LedgerError::State(format!("the system gives no randomness: {error}")))?;
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(*random));
    let digest = digest_of(&token);
    Ok((token.into(), digest))
}

impl Caller {
    /// Refuses every role but these.
    ///
    /// # Errors
    /// 403.
    pub fn must_be(&self, roles: &[Role]) -> Result<(), ApiError> {
        if roles.contains(&self.role) { Ok(()) } else { Err(ApiError::forbidden()) }
    }

    /// True where the caller may know of this tenant's things.
    pub fn may_see(&self, tenant: &TenantId) -> bool {
        match self.role {
            Role::Requester => self.tenant.as_ref() == Some(tenant),
            Role::Operator | Role::Approver | Role::Auditor => true,
        }
    }

    /// The answer to a requester who asks for what is not there, or not for it: both are written down and look alike, in
    /// like time.
    pub(super) async fn not_found(&self, api: &Api, what: &'static str) -> ApiError {
        if self.role == Role::Requester {
            let fields = json!({
                "principal": self.principal, "token_id": self.token, "tenant": self.tenant, "what": what,
            });
            if let Err(error) = api.ledger().record_entry("not-found", fields, api.now()).await {
                return error.into();
            }
            api.published.notify_one();
        }
        ApiError::not_found()
    }
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip());
        let Some(caller) = caller_of(&parts.headers, api).await? else {
            return Err(match peer {
                Some(peer) if !api.failed(peer) => ApiError::later(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too-many-failures",
                    "too many calls without a good token came from this address",
                    60,
                ),
                Some(_) | None => ApiError::new(
                    StatusCode::UNAUTHORIZED,
                    "unauthorized",
                    "there is no good token in the Authorization header",
                ),
            });
        };
        if !api.may_call(&caller.principal) {
            let message = "this principal calls too often";
            return Err(ApiError::later(StatusCode::TOO_MANY_REQUESTS, "too-often", message, 1));
        }
        Ok(caller)
    }
}

async fn caller_of(headers: &HeaderMap, api: &Api) -> Result<Option<Caller>, ApiError> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return Ok(None) };
    let Some(token) = value.to_str().ok().and_then(bearer) else { return Ok(None) };
    let digest = digest_of(token);
    let now = api.now();
    // Nothing secret is compared: what is looked up is a digest, and how long that takes says nothing about a token of
    // 256 random bits.
    let Some(row) = api.ledger().token_of_digest(&digest).await? else { return Ok(None) };
    let is_good = row.revoked_at.is_none() && row.expires_at.is_none_or(|until| now < until);
    // A requester without a tenant would see nobody's things, or everybody's; there is none.
    let is_whole = row.role != Role::Requester || row.tenant.is_some();
    Ok((is_good && is_whole).then_some(Caller {
        principal: row.principal,
        token: row.token_id,
        role: row.role,
        tenant: row.tenant,
    }))
}

/// The token of `Bearer rt_…`; the scheme in any case, the token to the letter.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let secret = token.strip_prefix(PREFIX)?;
    let is_token = secret.len() == SECRET_CHARS
        && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(token)
}

fn digest_of(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_new_token_is_one_that_is_read_and_no_two_are_alike() {
        let (token, digest) = new_token().unwrap();
        let header = format!("Bearer {}", token.expose_secret());
        assert_eq!(bearer(&header), Some(token.expose_secret()));
        assert_eq!(digest, digest_of(token.expose_secret()));
        assert_ne!(new_token().unwrap().1, digest);
    }

    #[test]
    fn only_a_bearer_token_to_the_letter_is_read() {
        let good = format!("rt_{}", "a".repeat(43));
        assert_eq!(bearer(&format!("bearer {good}")), Some(good.as_str()));
        for bad in [
            good.clone(),
            format!("Basic {good}"),
            format!("Bearer  {good}"),
            format!("Bearer {good} "),
            format!("Bearer {good}a"),
            format!("Bearer {}", good.trim_end_matches('a')),
            format!("Bearer rt_{}", "%".repeat(43)),
            "Bearer eyJhbGciOiJub25lIn0.e30.".to_owned(),
            "Bearer ".to_owned(),
        ] {
            assert_eq!(bearer(&bad), None, "{bad}");
        }
    }
}
