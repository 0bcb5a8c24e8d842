//! The HTTP interface over real sockets, with the memory store behind it.

#![expect(clippy::unwrap_used, reason = "a test that is surprised fails")]

mod baichuan;
mod callbacks;
mod calls;
mod definitions;
mod fnf;
mod graph;
mod history;
mod journal;
mod keys;
mod limits;
mod openapi;
mod queues;
mod runs;
mod schedules;
mod security;
mod starts;
mod support;
mod tasks;
mod workers;
mod workflows;
