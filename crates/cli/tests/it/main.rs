//! Whole-process tests: the real binary, real Python, real kills.

mod arrows;
mod support;
