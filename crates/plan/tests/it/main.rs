//! Flows through their public face: texts in, mistakes or decisions out.

mod conditions;
mod containers;
mod corpus;
mod dataflow;
mod harness;
mod mistakes;
mod order;
mod retry;
mod seed;
mod state;
mod tasks;
mod yaml;
