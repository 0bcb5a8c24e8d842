//! The command line of `riverrun queue`, and what a task may be told by `riverrun run`.

use std::time::Duration;

use clap::{Args, Subcommand, value_parser};
use riverrun_kernel::Rate;

use crate::args::Target;
use crate::values::{Retention, duration, retention};

/// `riverrun queue`.
#[derive(Debug, Subcommand)]
pub enum Queue {
    /// List queues: what waits, since when, what runs, who serves it
    #[command(alias = "ls")]
    List(QueueList),
    /// Show one queue, function by function
    Show(OneQueue),
    /// Begin nothing of a queue until it is resumed; what runs goes on
    Pause(OneQueue),
    /// Let a paused queue go on
    Resume(OneQueue),
    /// Pause a queue and wait until nothing of it runs
    Drain(QueueDrain),
    /// Cancel everything of a queue that has not been started: waiting, delayed, or waiting for another try
    Empty(QueueEmpty),
    /// Limit how much of a queue or a concurrency key runs, while it runs
    Limit(QueueLimit),
    /// Watch queues and workers live
    Top(QueueTop),
    /// Tasks that failed for good: list them, try them again, remove them
    #[command(subcommand)]
    Dead(Dead),
}

/// `riverrun queue list`.
#[derive(Debug, Args)]
pub struct QueueList {
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// A command on one queue.
#[derive(Debug, Args)]
pub struct OneQueue {
    /// The queue
    #[arg(value_name = "QUEUE")]
    pub queue: String,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun queue drain`.
#[derive(Debug, Args)]
pub struct QueueDrain {
    /// Wait for so long at most, then exit with 8; the queue stays paused [default: until nothing runs]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
    /// The queue.
    #[command(flatten)]
    pub queue: OneQueue,
}

/// `riverrun queue empty`.
#[derive(Debug, Args)]
pub struct QueueEmpty {
    /// Do it: without this it only says what would be cancelled
    #[arg(long)]
    pub yes: bool,
    /// The queue.
    #[command(flatten)]
    pub queue: OneQueue,
}

/// `riverrun queue limit`.
#[derive(Debug, Args)]
pub struct QueueLimit {
    /// The queue, or with --key the concurrency key
    #[arg(value_name = "NAME")]
    pub name: String,
    /// NAME is a concurrency key
    #[arg(long)]
    pub key: bool,
    /// At most so many run at once, or `none`
    #[arg(long, value_name = "N", value_parser = limit::<u32>)]
    pub max_running: Option<Limit<u32>>,
    /// At most so many start in so long, such as 30/s or 100/m, or `none`
    #[arg(long, value_name = "RATE", value_parser = limit::<Rate>)]
    pub rate: Option<Limit<Rate>>,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// A limit to set or to lift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<T>(pub Option<T>);

fn limit<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<Limit<T>, String> {
    match text {
        "none" => Ok(Limit(None)),
        _ => text.parse().map(|limit| Limit(Some(limit))).map_err(|error: T::Err| error.to_string()),
    }
}

/// `riverrun queue top`.
#[derive(Debug, Args)]
pub struct QueueTop {
    /// How often to look
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    pub every: Duration,
    /// Look so often and end; once where the output is no terminal
    #[arg(long, short = 'n', value_name = "N")]
    pub count: Option<u32>,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun queue dead`.
#[derive(Debug, Subcommand)]
pub enum Dead {
    /// List dead letters, newest first
    #[command(alias = "ls")]
    List(DeadList),
    /// Try dead letters again, with all their retries
    Retry(DeadChange),
    /// Remove dead letters and their journals
    #[command(alias = "rm")]
    Delete(DeadChange),
}

/// Which dead letters.
#[derive(Debug, Clone, Args)]
pub struct DeadFilter {
    /// Only those of this queue
    #[arg(long, value_name = "QUEUE")]
    pub queue: Option<String>,
    /// Only those of this task
    #[arg(long, value_name = "NAME")]
    pub definition: Option<String>,
    /// Only those that ended with this error, such as WorkerCrashed
    #[arg(long, value_name = "ERROR")]
    pub error: Option<String>,
}

/// `riverrun queue dead list`.
#[derive(Debug, Args)]
pub struct DeadList {
    /// Which.
    #[command(flatten)]
    pub filter: DeadFilter,
    /// How many at most
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Go on after an earlier page: the cursor that it printed
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun queue dead retry` and `delete`.
#[derive(Debug, Args)]
pub struct DeadChange {
    /// One run
    #[arg(value_name = "RUN", required_unless_present = "all", conflicts_with = "all")]
    pub run: Option<String>,
    /// All of them, or all that the filters name
    #[arg(long)]
    pub all: bool,
    /// Which.
    #[command(flatten)]
    pub filter: DeadFilter,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// What a task may be told.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Tasks")]
pub struct TaskArgs {
    /// The queue that it stands in
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// 0 to 9; higher first
    #[arg(long, value_name = "N", value_parser = value_parser!(u8).range(0..=9))]
    pub priority: Option<u8>,
    /// Begin not before so long from now; for flows too
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub delay: Option<Duration>,
    /// Begin not before this date (RFC 3339); for flows too
    #[arg(long, value_name = "DATE", conflicts_with = "delay")]
    pub run_at: Option<String>,
    /// Give it up as expired unless it begins within so long; for flows too
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub queue_ttl: Option<Duration>,
    /// Try a failed attempt again so often, with growing waits and jitter
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// Give it up after its worker died so often [default: 3]
    #[arg(long, value_name = "N")]
    pub max_crashes: Option<u32>,
    /// Never run it again once it may have begun
    #[arg(long)]
    pub at_most_once: bool,
    /// Join the same task with the same input where that is queued or running; for flows too
    #[arg(long)]
    pub unique: bool,
    /// The same by this key instead of the input
    #[arg(long, value_name = "KEY")]
    pub unique_key: Option<String>,
    /// Share --max-running and --rate with all tasks of this key [default: the task's name]
    #[arg(long, value_name = "KEY")]
    pub concurrency_key: Option<String>,
    /// At most so many of its key run at once
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub max_running: Option<u32>,
    /// At most so many of its key start in so long, such as 30/s
    #[arg(long, value_name = "RATE")]
    pub rate: Option<Rate>,
    /// Keep its output so long, or `forever` [default: 7d]; for flows too
    #[arg(long, value_name = "TIME", value_parser = retention)]
    pub result_ttl: Option<Retention>,
    /// Keep any other outcome so long, or `forever` [default: 7d]; for flows too
    #[arg(long, value_name = "TIME", value_parser = retention)]
    pub failure_ttl: Option<Retention>,
    /// Have this address told how it has ended, by a signed POST that is tried for up to a day; for flows too
    #[arg(long, value_name = "URL")]
    pub callback_url: Option<String>,
}
