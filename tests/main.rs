//! The one integration-test binary: one link instead of ten.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails, also in its helpers"
)]

mod cli;
mod ledger;
mod tidy;
mod harness;
mod ledger;
mod time;

mod audit;
mod cli;
mod tidy;

mod bad_policies;

mod sqlite_store;

mod conformance;

mod audit;
