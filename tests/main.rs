//! The one integration-test binary: one link instead of ten.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests may fail a test; clippy only knows the test functions themselves"
)]

mod conformance;
