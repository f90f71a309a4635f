//! The one integration-test binary: one link instead of ten.

// `cfg(test)` tells clippy that these are tests, where unwrap, expect and panic are allowed.
#[cfg(test)]
mod ledger;
