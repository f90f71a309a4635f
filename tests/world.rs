//! The whole program over SQLite and files: each promise as a story that an operator lives through.
//! It owns the stories; the world that they happen in is built by the harness.

mod age;
mod approvals;
mod bad_tenants;
mod bad_times;
mod calls;
mod endings;
mod holds;
mod identity;
mod objects;
mod passes;
mod plans;
mod reports;
mod requests;
mod together;
mod zero;
