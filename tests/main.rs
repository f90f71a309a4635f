//! The one integration-test binary: one link instead of ten.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests may fail a test; clippy only knows the test functions themselves"
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails, also in its helpers"
)]

mod audit;
mod bad_policies;
mod cli;
mod conformance;
mod crash;
mod harness;
mod sqlite_store;
mod tidy;
mod time;
mod world;
