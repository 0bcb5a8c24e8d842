//! The bridge against a real `redis-server`: producers and readers as the original's, by a client of the tests' own.

mod bad_input;
mod crashes;
mod messages;
mod pickles;
mod redis;
mod support;
