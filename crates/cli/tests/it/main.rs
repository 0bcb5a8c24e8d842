//! Whole-process tests: the real binary, real Python, real kills.

mod arrows;
mod bad_input;
mod baichuan;
mod callbacks;
mod crashes;
#[cfg(target_os = "linux")]
mod crowd;
mod dev;
#[cfg(target_os = "linux")]
mod disk;
mod examples;
mod exit_codes;
mod flows;
#[cfg(target_os = "linux")]
mod hammer;
mod http_calls;
mod https_calls;
mod keys;
mod operations;
mod queue;
mod readme;
#[path = "../../../bridge/tests/it/redis.rs"]
mod redis;
mod redis_bridge;
mod schedules;
mod support;
mod telling;
