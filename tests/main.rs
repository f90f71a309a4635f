//! The one integration-test binary: one link instead of ten.

mod bad_policies;
