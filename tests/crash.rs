//! Runs that die.
