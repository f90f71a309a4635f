//! The one integration-test binary: one link instead of ten.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails, also in its helpers"
)]

mod cli;
mod harness;
mod tidy;
mod time;
