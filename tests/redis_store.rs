//! What only the Redis store can do.
