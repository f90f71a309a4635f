//! The one integration-test binary: one link instead of ten.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail like tests; clippy knows only test functions")]

mod sqlite_store;
