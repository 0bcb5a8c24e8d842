//! Tests of the engine: the real one over real stores, and the simulation of the whole.

mod deletion;
mod golden;
mod lists;
mod node;
mod simulation;
mod support;
mod sweep;
mod timers;
