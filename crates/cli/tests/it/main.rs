//! Whole-process tests: the real binary, real Python, real kills.

mod arrows;
mod bad_input;
mod crashes;
mod dev;
mod examples;
mod exit_codes;
mod keys;
mod operations;
mod readme;
mod support;
