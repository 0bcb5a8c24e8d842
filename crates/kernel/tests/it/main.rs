//! Tests of the kernel through its boundary.
