//! The whole program over SQLite and files: each promise as a story that an operator lives through.
//! It owns the stories; the world that they happen in is built by the harness.

mod calls;
