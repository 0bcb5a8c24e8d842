//! Flows through their public face: texts in, mistakes or decisions out.

#![expect(
    clippy::unnecessary_wraps,
    clippy::format_collect,
    reason = "stubs share one signature, and sources are put together from pieces"
)]

mod conditions;
mod containers;
mod corpus;
mod dataflow;
mod harness;
mod history;
mod limits;
mod mistakes;
mod order;
mod picture;
mod rehearsal;
mod retry;
mod seed;
mod state;
mod tasks;
mod warnings;
mod yaml;
