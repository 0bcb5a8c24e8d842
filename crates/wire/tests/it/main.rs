//! Tests of this crate through its boundary.

mod frames;
