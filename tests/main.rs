//! The one integration-test binary: one link instead of ten.

mod cli;
mod ledger;
mod tidy;
