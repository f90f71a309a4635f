//! What only the files store must stand.
