//! What goes into a [`super::Sequencer`] and comes out of it.

use std::sync::Arc;

use riverrun_kernel::schedule::{FiredBy, Schedule, ScheduleEntry, ScheduleId};
use riverrun_kernel::workflow::Event;
use riverrun_kernel::{
    AttemptId, Command, Drivers, Holdup, JournalRow, Key, KeyId, LoadedRows, Message, Needs, Offer,
    PartitionId, QueueDepth, QueueView, Reply, RunId, RunSummary, RunView, Wall, WorkerId, WorkerView,
};
use riverrun_store::{AppendError, Batch, BatchId, Checkpoint, RunFilter, StoreError};

use crate::error::EngineError;

/// What the clocks of this process show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Wall time; it may jump.
    pub wall: Wall,
    /// Milliseconds of the monotonic clock since some moment before the partition was opened.
    pub mono: u64,
}

/// A request to a partition.
#[derive(Debug, Clone)]
pub enum Ask {
    /// Change something.
    Command(Command),
    /// Read something.
    Query(Query),
}

/// A read. Its answer leaves once everything that it shows is durable.
#[derive(Debug, Clone)]
pub enum Query {
    /// A run.
    Run(RunId),
    /// The lines of a run's journal that no row has yet, after a number.
    Tail(RunId, u64),
    /// A key.
    Key(KeyId),
    /// The runs that lists must take from memory: those that match, and the ids of all that may have outdated rows.
    DirtyRuns(Box<RunFilter>),
    /// The same without waiting for what is being written: of a run that this is about it is only told that it goes on.
    DurableRuns(Box<RunFilter>),
    /// As [`Query::DirtyRuns`], for keys.
    DirtyKeys,
    /// A schedule.
    Schedule(ScheduleId),
    /// Schedules in the order of their names.
    Schedules {
        /// Of this namespace.
        namespace: String,
        /// Whose names begin so.
        prefix: String,
        /// After this name.
        after: Option<String>,
        /// At most so many.
        limit: usize,
    },
    /// The workers.
    Workers,
    /// Steps that wait for a worker.
    QueueDepths,
    /// Queues, with what is set and counted.
    Queues,
    /// What holds up each of these runs, if anything does.
    Holdups(Vec<RunId>),
}

/// What a list takes from memory.
#[derive(Debug, Clone, Default)]
pub struct Dirty {
    /// Runs whose rows are outdated, and runs that have no row yet.
    pub ids: Vec<RunId>,
    /// Those of them that match the filter, as they are.
    pub matching: Vec<RunSummary>,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone)]
pub enum Answer {
    /// To a command.
    Reply(Reply),
    /// To [`Query::Run`].
    Run(Box<RunView>),
    /// To [`Query::Tail`]: the lines, how many the journal has, and whether the run is closed.
    Tail {
        /// The lines in memory.
        rows: Vec<JournalRow>,
        /// Lines in all.
        entries: u64,
        /// Whether the run is closed.
        closed: bool,
    },
    /// To [`Query::Key`].
    Key(Option<Key>),
    /// To [`Query::DirtyRuns`] and [`Query::DurableRuns`].
    DirtyRuns(Dirty),
    /// To [`Query::DirtyKeys`].
    DirtyKeys(Vec<(KeyId, Option<Key>)>),
    /// To [`Query::Schedule`] and [`Query::Schedules`].
    Schedules(Vec<Schedule>),
    /// To [`Query::Workers`].
    Workers(Vec<WorkerView>),
    /// To [`Query::QueueDepths`].
    QueueDepths(Vec<QueueDepth>),
    /// To [`Query::Queues`].
    Queues(Vec<QueueView>),
    /// To [`Query::Holdups`].
    Holdups(Vec<Option<Holdup>>),
}

/// A call of the store that is to be made, and answered with [`Done`] under the same number.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which life of the partition's memory asked: answers to an earlier one are dropped.
    pub life: u64,
    /// The call.
    pub io: Io,
}

/// A call of the store.
#[derive(Debug, Clone)]
pub enum Io {
    /// [`riverrun_store::Store::append`].
    Append(Arc<[Batch]>),
    /// [`riverrun_store::Store::has_batch`].
    HasBatch(BatchId),
    /// [`riverrun_store::Store::load`].
    Load(Needs),
    /// [`riverrun_store::Store::checkpoint`].
    Checkpoint(Box<Checkpoint>),
    /// [`riverrun_store::Store::recover`], fed to [`super::Sequencer::recover`] by the thread that has the sequencer.
    Recover,
}

/// How a call of the store went.
#[derive(Debug, Clone)]
pub enum Done {
    /// Of [`Io::Append`].
    Appended(Result<(), AppendError>),
    /// Of [`Io::HasBatch`].
    LookedUp(Result<bool, StoreError>),
    /// Of [`Io::Load`].
    Loaded(Result<LoadedRows, StoreError>),
    /// Of [`Io::Checkpoint`].
    Checkpointed(Result<(), StoreError>),
}

/// What a sequencer lets out.
#[derive(Debug, Clone)]
pub enum Output<H> {
    /// Call the store.
    Request(Request),
    /// Answer a request.
    Answer {
        /// Whose.
        to: H,
        /// What.
        answer: Result<Answer, EngineError>,
    },
    /// Give an attempt to a worker.
    Offer {
        /// To whom.
        worker: WorkerId,
        /// What.
        offer: Box<Offer>,
    },
    /// Tell a worker to stop an attempt.
    Stop {
        /// The worker.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
        /// How long it may clean up.
        grace_ms: u64,
    },
    /// Tell the worker that executes a run's code what was recorded.
    Tell {
        /// The worker.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
        /// What.
        event: Event,
    },
    /// Have a worker let a run's code go.
    Park {
        /// The worker.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// End a worker's connection: it was silent for too long.
    Evict(WorkerId),
    /// Deliver a message to another partition, as [`Command::Receive`].
    Send {
        /// To whom.
        to: PartitionId,
        /// Its number.
        seq: u64,
        /// The message.
        message: Message,
    },
    /// Wake who watches a run.
    Changed {
        /// The run.
        run: RunId,
        /// Whether it has closed.
        closed: bool,
    },
    /// The partition's memory was dropped: every worker must connect again, with what it executes.
    Forgotten,
}

/// Where a partition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It reads what the store has; requests wait.
    Recovering,
    /// All is well.
    Serving,
    /// The store refused a write, for this reason: reads are served, writes are tried again later.
    ReadOnly(String),
    /// Another node owns it.
    Fenced,
    /// The storage is broken, in this way: the process must stop.
    Broken(String),
}

/// The definitions that a sequencer finds while it recovers, and their drivers.
pub trait Library: Drivers {
    /// Takes in a definition that is durable.
    fn learn(&self, definition: &riverrun_kernel::Definition);
}

/// What a sequencer has counted since it was made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Commands decided.
    pub commands: u64,
    /// Commands refused by the kernel.
    pub refused: u64,
    /// Batches made durable.
    pub batches: u64,
    /// Records made durable.
    pub records: u64,
    /// Checkpoint slices written.
    pub checkpoints: u64,
    /// Rows read from the store for commands and timers.
    pub loads: u64,
    /// Times that memory was dropped because the store refused a write.
    pub reloads: u64,
    /// Records that no row has yet.
    pub dirty_records: u64,
    /// How late the last due timer was fired, in milliseconds.
    pub timer_lateness_ms: u64,
    /// Runs in memory.
    pub loaded_runs: u64,
    /// Open runs of which only a stub is in memory.
    pub sleeping_runs: u64,
    /// Runs created.
    pub runs_started: u64,
    /// Runs closed, by state: succeeded, failed, timed out, cancelled, expired.
    pub runs_closed: [u64; 5],
    /// Schedules.
    pub schedules: u64,
    /// Runs started because their planned time came.
    pub schedules_fired: u64,
    /// Planned times left out because a run was open.
    pub schedules_skipped: u64,
    /// Planned times that came too late, and were not made up for.
    pub schedules_missed: u64,
    /// Planned times whose run could not be started.
    pub schedules_failed: u64,
}

impl Tally {
    /// Counts what became of planned times.
    pub(super) fn count_schedule(&mut self, entry: &ScheduleEntry) {
        match entry {
            ScheduleEntry::Started { by: FiredBy::Plan, .. } => self.schedules_fired += 1,
            ScheduleEntry::Skipped { times } => self.schedules_skipped += times.len() as u64,
            ScheduleEntry::Due { missed: Some(missed), .. } => self.schedules_missed += missed.count,
            ScheduleEntry::NotStarted { .. } => self.schedules_failed += 1,
            _ => {}
        }
    }
}
