//! The one integration-test binary: one link instead of ten.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    clippy::let_underscore_must_use,
    reason = "a test that cannot go on fails, also in its helpers"
)]

mod audit;
mod bad_policies;
mod center;
mod cli;
mod conformance;
mod crash;
mod daemon;
mod deploy;
mod down;
mod elasticsearch_store;
mod export;
mod grants;
mod harness;
mod ledger;
mod mysql_store;
mod properties;
mod red;
mod redis_store;
mod s3_store;
mod scenarios;
mod servers;
mod shipped;
mod sqlite_store;
mod tidy;
mod time;
mod world;

/// A tenant by its name.
fn tenant(name: &str) -> retentiond::id::TenantId {
    retentiond::id::TenantId::parse(name).unwrap()
}
