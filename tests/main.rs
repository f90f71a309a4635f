//! The one integration-test binary: one link instead of ten.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails, also in its helpers"
)]

mod audit;
mod bad_policies;
mod cli;
mod conformance;
mod harness;
mod sqlite_store;
mod tidy;
mod time;
