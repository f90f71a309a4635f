//! The one integration-test binary: one link instead of ten.

mod audit;
