//! (being built)
pub mod checkpoint;
pub mod entry;
pub mod merkle;
