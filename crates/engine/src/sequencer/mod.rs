//! One partition's loop without threads, clocks or I/O: requests and answers of the store go in, calls of the store and answers come out.
//!
//! The engine's threads and the simulation drive the same [`Sequencer`]. It owns a kernel [`Partition`], has requests decided in *turns*,
//! asks for the turns' records to be appended, and lets the answers and effects of a turn out when its records are durable. While one group of
//! turns is being written the next is decided; it shares the fate of the one before it. A read takes its place in the same order, so that no
//! caller ever sees what could still be lost.
//!
//! ```text
//!            submit                    Append                 Appended
//! requests ─────────► decide ─► turn ─────────► in flight ─────────► outputs
//!              ▲                  │ Load                     │ Refused
//!              └── waiting ◄──────┘                          └─► drop memory, recover, serve reads, try again
//! ```

mod checkpoints;
mod commits;
mod intake;
mod reads;
mod recovery;
mod types;

use std::collections::{BTreeMap, HashMap, VecDeque};

use riverrun_kernel::schedule::ScheduleId;
use riverrun_kernel::{
    Command, Config, Drivers, Due, KeyId, Message, Now, Partition, PartitionId, RunId, Ticks, WorkerId,
};
use riverrun_store::{BatchId, Epoch};

use crate::error::EngineError;
use crate::settings::Settings;

use checkpoints::Checkpoints;
use commits::{Flight, Turn};
use intake::Loads;
use recovery::Stage;
pub use types::{Answer, Ask, Clock, Dirty, Done, Io, Library, Output, Query, Request, Standing, Tally};

/// Requests decided in one call of [`Sequencer::run`], so that answers of the store are not kept waiting.
const ASKS_PER_RUN: usize = 1024;
/// The same in one call of [`Sequencer::run_briefly`]: about a millisecond's work.
const ASKS_PER_BRIEF_RUN: usize = 64;
/// Runs that one tick fires, so that requests get their turns between ticks.
const RUNS_PER_TICK: usize = 256;
/// A turn that has formed for so long is closed, so that its moment stays close to the present.
const TURN_MS: u64 = 5;
/// How often dates are looked at again: the wall clock may have jumped.
const WALL_CHECK_MS: u64 = 1_000;
/// A message that was not acknowledged for so long is sent again.
const RESEND_MS: u64 = 1_000;
/// Messages sent again to one partition at a time.
const RESEND_COUNT: usize = 256;

/// A request and who wants to know.
#[derive(Debug)]
struct Asked<H> {
    to: Option<H>,
    ask: Ask,
}

/// What a request is about. Requests about the same thing are decided in the order of their arrival.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Topic {
    Run(RunId),
    Key(KeyId),
    Schedule(ScheduleId),
    Line(PartitionId),
    Worker(WorkerId),
}

/// One partition's loop. `H` is what an answer is handed to.
#[derive(Debug)]
pub struct Sequencer<H> {
    settings: Settings,
    config: Config,
    epoch: Epoch,
    kernel: Partition,
    standing: Standing,
    stage: Stage,
    /// Counts how often memory was dropped.
    life: u64,

    clock: Clock,
    /// Partition time is `ticks_base` plus what the monotonic clock has advanced since `mono_base`.
    ticks_base: Ticks,
    mono_base: u64,
    /// Whether these two are set: by the first recovery.
    anchored: bool,

    incoming: VecDeque<Asked<H>>,
    /// Requests that wait for a load, or behind one that does, in the order of their arrival.
    waiting: Vec<Asked<H>>,
    blocked: HashMap<Topic, usize>,
    /// Runs that are to go on once the store takes writes again.
    held: Vec<Asked<H>>,
    loads: Loads,

    forming: Turn<H>,
    sealed: VecDeque<Turn<H>>,
    in_flight: Option<Flight<H>>,
    next_batch: BatchId,
    checkpoints: Checkpoints,

    tick_queued: bool,
    tick_not_before: u64,
    /// Messages that are durable and not yet acknowledged.
    outbox: BTreeMap<(PartitionId, u64), Message>,
    resend_at: u64,
    /// When a call of the store that failed is made again, and how long the last wait was.
    retry_at: u64,
    backoff_ms: u64,

    out: Vec<Output<H>>,
    tally: Tally,
}

impl<H> Sequencer<H> {
    /// A partition that this node owns under `epoch`. It recovers first.
    pub fn new(settings: Settings, config: Config, epoch: Epoch, clock: Clock) -> Self {
        Sequencer {
            kernel: Partition::new(config.clone()),
            settings,
            config,
            epoch,
            standing: Standing::Recovering,
            stage: Stage::Read,
            life: 1,
            clock,
            ticks_base: Ticks(0),
            mono_base: clock.mono,
            anchored: false,
            incoming: VecDeque::new(),
            waiting: Vec::new(),
            blocked: HashMap::new(),
            held: Vec::new(),
            loads: Loads::default(),
            forming: Turn::default(),
            sealed: VecDeque::new(),
            in_flight: None,
            next_batch: BatchId(1),
            checkpoints: Checkpoints::default(),
            tick_queued: false,
            tick_not_before: 0,
            outbox: BTreeMap::new(),
            resend_at: 0,
            retry_at: 0,
            backoff_ms: 0,
            out: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Takes a request in. It is decided in a later [`Sequencer::run`].
    pub fn submit(&mut self, to: Option<H>, ask: Ask) {
        self.incoming.push_back(Asked { to, ask });
    }

    /// Takes in how a call of the store went.
    pub fn done(&mut self, clock: Clock, life: u64, done: Done, drivers: &dyn Drivers) {
        self.set_clock(clock);
        match done {
            Done::Appended(result) if life == self.life => self.appended(result),
            Done::LookedUp(result) if life == self.life => self.looked_up(result),
            Done::Loaded(result) if life == self.life => self.loaded(result, drivers),
            Done::Checkpointed(result) => self.checkpoint_written(life, result),
            Done::Appended(_) | Done::LookedUp(_) | Done::Loaded(_) => {}
        }
    }

    /// Decides what has come in and what has become due. To be called after every input, and at [`Sequencer::deadline`].
    pub fn run(&mut self, clock: Clock, drivers: &dyn Drivers) {
        self.set_clock(clock);
        match &self.standing {
            Standing::Recovering => self.advance_recovery(),
            Standing::Fenced | Standing::Broken(_) => self.turn_away(),
            Standing::Serving | Standing::ReadOnly(_) => {
                self.retry();
                self.decide(drivers, ASKS_PER_RUN);
                self.advance_checkpoint();
                self.flush();
                self.request_loads();
            }
        }
    }

    /// The same without what takes longer than deciding, for a caller's own thread: [`Sequencer::leaves_work`] says whether somebody else must
    /// call [`Sequencer::run`]. What is decided until then is written together.
    pub fn run_briefly(&mut self, clock: Clock, drivers: &dyn Drivers) {
        if !matches!(self.standing, Standing::Serving | Standing::ReadOnly(_)) {
            return self.run(clock, drivers);
        }
        self.set_clock(clock);
        self.retry();
        self.decide(drivers, ASKS_PER_BRIEF_RUN);
        if self.may_append() {
            self.seal_if_grown();
        } else {
            self.flush();
        }
        self.request_loads();
    }

    /// Whether [`Sequencer::run`] has something to do that [`Sequencer::run_briefly`] does not.
    pub fn leaves_work(&self) -> bool {
        // What is in flight leads to a call of `run` by itself.
        let checkpoint = self.in_flight.is_none() && self.checkpoint_is_due();
        self.may_append() || (checkpoint && self.standing == Standing::Serving)
    }

    /// Ends the partition's service: something is wrong that only a new start can mend. Everybody who waits is answered.
    pub fn break_down(&mut self, reason: String) {
        self.end(Standing::Broken(reason));
    }

    /// What has come out since the last call, in order.
    pub fn take_outputs(&mut self) -> Vec<Output<H>> {
        std::mem::take(&mut self.out)
    }

    /// When [`Sequencer::run`] wants to be called next, on the monotonic clock, should nothing happen before.
    pub fn deadline(&self) -> Option<u64> {
        match self.standing {
            Standing::Recovering => {
                let waits = self.stage.wants_retry() && !self.checkpoints.is_writing();
                waits.then_some(self.retry_at)
            }
            Standing::Fenced | Standing::Broken(_) => (!self.incoming.is_empty()).then_some(0),
            Standing::Serving | Standing::ReadOnly(_) => self.serving_deadline(),
        }
    }

    fn serving_deadline(&self) -> Option<u64> {
        if self.may_decide() && !self.incoming.is_empty() {
            return Some(0);
        }
        let lookup = self.in_flight.as_ref().is_some_and(|flight| flight.lookup_wanted);
        let serving = self.standing == Standing::Serving;
        let probe = !serving && !self.checkpoints.has_slice();
        let retry = (lookup || probe).then_some(self.retry_at);
        let checkpoint = if serving { self.checkpoint_deadline() } else { None };
        let resend = (!self.outbox.is_empty()).then_some(self.resend_at);
        let tick = if self.may_tick() { self.tick_deadline() } else { None };
        [retry, resend, tick, checkpoint, self.loads.deadline()].into_iter().flatten().min()
    }

    /// Where the partition stands.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        let (loaded, stubs) = self.kernel.loaded();
        Tally {
            dirty_records: self.kernel.dirty_records(),
            loaded_runs: loaded as u64,
            sleeping_runs: stubs as u64,
            schedules: self.kernel.schedule_count() as u64,
            ..self.tally
        }
    }

    /// The partition's memory, to look at.
    pub fn kernel(&self) -> &Partition {
        &self.kernel
    }

    /// The present moment of the partition.
    pub fn now(&self) -> Now {
        let elapsed = self.clock.mono.saturating_sub(self.mono_base);
        Now { wall: self.clock.wall, ticks: self.ticks_base.plus(elapsed) }
    }

    /// Whether nothing waits, is being decided or being written.
    pub fn is_idle(&self) -> bool {
        self.incoming.is_empty()
            && self.waiting.is_empty()
            && self.in_flight.is_none()
            && self.forming.is_empty()
            && self.sealed.is_empty()
            && self.checkpoints.is_idle()
    }

    /// Messages to other partitions that were not yet acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.outbox.len()
    }

    fn set_clock(&mut self, clock: Clock) {
        self.clock = Clock { wall: clock.wall, mono: clock.mono.max(self.clock.mono) };
    }

    // ---- timers

    fn may_tick(&self) -> bool {
        self.standing == Standing::Serving && !self.tick_queued && self.may_decide()
    }

    /// When the next timer is due, on the monotonic clock.
    fn tick_deadline(&self) -> Option<u64> {
        let now = self.now();
        let (ticks, wall) = self.kernel.next_due();
        let ticks = ticks.map(|due| match due {
            Due::Ticks(at) => at.0.saturating_sub(now.ticks.0),
            Due::Wall(at) => at.0.saturating_sub(now.wall.0).max(0) as u64,
        });
        let wall = wall.map(|due| match due {
            Due::Ticks(at) => at.0.saturating_sub(now.ticks.0),
            Due::Wall(at) => (at.0.saturating_sub(now.wall.0).max(0) as u64).min(WALL_CHECK_MS),
        });
        let wait = match (ticks, wall) {
            (Some(ticks), Some(wall)) => ticks.min(wall),
            (ticks, wall) => ticks.or(wall)?,
        };
        Some((self.clock.mono + wait).max(self.tick_not_before))
    }

    fn queue_tick_if_due(&mut self) {
        if !self.may_tick() || self.clock.mono < self.tick_not_before {
            return;
        }
        let now = self.now();
        let (ticks, wall) = self.kernel.next_due();
        let Some(due) = [ticks, wall].into_iter().flatten().find(|due| due.reached(now)) else {
            return;
        };
        if let Due::Ticks(at) = due {
            self.tally.timer_lateness_ms = now.ticks.0.saturating_sub(at.0);
        }
        self.tick_queued = true;
        let ask = Ask::Command(Command::Tick { limit: RUNS_PER_TICK });
        self.incoming.push_back(Asked { to: None, ask });
    }

    /// Looks after what failed or was not answered in time.
    fn retry(&mut self) {
        if self.clock.mono >= self.resend_at && !self.outbox.is_empty() {
            self.resend();
        }
        if self.clock.mono < self.retry_at {
            return;
        }
        if matches!(self.standing, Standing::ReadOnly(_)) {
            self.probe();
        }
        self.look_up_again();
    }

    fn resend(&mut self) {
        self.resend_at = self.clock.mono + RESEND_MS;
        let mut sent: HashMap<PartitionId, usize> = HashMap::new();
        for ((to, seq), message) in &self.outbox {
            let count = sent.entry(*to).or_default();
            *count += 1;
            if *count <= RESEND_COUNT {
                self.out.push(Output::Send { to: *to, seq: *seq, message: message.clone() });
            }
        }
    }

    /// Gives everybody who executes something a whole lease from now on: nobody could be heard of for a while.
    pub fn renew_leases(&mut self, clock: Clock) {
        self.set_clock(clock);
        let now = self.now();
        self.kernel.renew_leases(now);
    }

    /// The store has taken a write.
    fn serve(&mut self) {
        if matches!(self.standing, Standing::ReadOnly(_)) {
            // Workers could neither connect nor be heard of meanwhile.
            self.renew_leases(self.clock);
        }
        self.standing = Standing::Serving;
        self.backoff_ms = 0;
        self.incoming.extend(std::mem::take(&mut self.held));
    }

    /// Sets the time of the next try after a failure: twice as long as the last wait, between 50 ms and 5 s.
    fn back_off(&mut self) {
        self.backoff_ms = (self.backoff_ms * 2).clamp(50, 5_000);
        self.retry_at = self.clock.mono + self.backoff_ms;
    }

    fn answer(&mut self, to: Option<H>, error: EngineError) {
        if let Some(to) = to {
            self.out.push(Output::Answer { to, answer: Err(error) });
        }
    }

    /// Answers everything that waits: nothing will be decided here any more.
    fn turn_away(&mut self) {
        let error = EngineError::Unavailable(self.unavailable());
        let waiting = std::mem::take(&mut self.waiting);
        let incoming = std::mem::take(&mut self.incoming);
        for asked in waiting.into_iter().chain(incoming) {
            self.answer(asked.to, error.clone());
        }
    }

    fn unavailable(&self) -> String {
        match &self.standing {
            Standing::Recovering => "the partition is being read from the store; try again".to_owned(),
            Standing::Serving => "the store did not take the change; try again".to_owned(),
            Standing::ReadOnly(reason) => {
                format!("the store cannot be written now: {reason}; try again later")
            }
            Standing::Fenced => "another node owns the partition now; ask that one".to_owned(),
            Standing::Broken(reason) => format!("the storage is broken ({reason}); the server stops"),
        }
    }
}
