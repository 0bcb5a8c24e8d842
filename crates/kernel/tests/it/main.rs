//! Tests of the kernel through its boundary: commands in, records and effects out.

mod attempts;
mod callbacks;
mod canonical;
mod compose;
mod control;
mod keys;
mod limits;
mod memory;
mod random;
mod runs;
mod schedules;
mod times;
mod workflow;
mod world;
