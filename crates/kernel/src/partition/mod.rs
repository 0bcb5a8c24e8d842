//! One partition: its state, and the one way to change it.
//!
//! `mod` holds the state and the way from a command to records; the decisions are in the files beside it, one per subject.

mod advance;
mod attempts;
mod checkpoints;
mod close;
mod code;
mod control;
mod index;
pub mod life;
mod lines;
mod memory;
mod messages;
mod recovery;
mod rest;
mod schedules;
mod start;
mod state;
mod ticking;
mod view;
mod workers;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::command::{Command, Refusal, Reply};
use crate::definition::Definition;
use crate::driver::Drivers;
use crate::effect::{Decided, Effect, Needs};
use crate::entry::{Entry, Record};
use crate::ids::{AttemptId, PartitionId, RunId, StepId, Token, WorkerId};
use crate::keys::KeyId;
use crate::message::Message;
use crate::rows::{JournalRow, PartitionRow};
use crate::time::Now;

use index::{Graces, Index};
use memory::KeySlot;
use rest::Rest;
pub use state::RunState;
use workers::Worker;
pub use workers::WorkerView;

/// Settings of a partition. Durations are milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// This partition.
    pub id: PartitionId,
    /// How many there are.
    pub partitions: u16,
    /// What tokens are derived from: 256 random bits, the same for the life of the deployment.
    pub secret: [u8; 32],
    /// A worker that is silent for so long loses its attempts.
    pub lease_ms: u64,
    /// A worker whose connection broke has so long to come back before its attempts go to others.
    pub reconnect_grace_ms: u64,
    /// How long a cancelled attempt may clean up before it is killed.
    pub cancel_grace_ms: u64,
    /// How much longer than an attempt's time limit the partition waits for the worker's own verdict.
    pub timeout_slack_ms: u64,
    /// Transitions in one turn of a run.
    pub fuel: u32,
    /// Transitions without a task or a wait after which a run fails.
    pub max_transitions: u32,
    /// Signals that a run may have which no step has taken yet.
    pub max_signals: usize,
    /// Bytes that they may have together.
    pub max_signal_bytes: usize,
    /// Lines that the journal of a flow's run may have before the run fails.
    pub max_entries: u64,
    /// Schedules that there may be in the partition.
    pub max_schedules: usize,
}

impl Config {
    /// The defaults, for partition `id` of `partitions`.
    pub fn new(id: PartitionId, partitions: u16, secret: [u8; 32]) -> Self {
        Config {
            id,
            partitions,
            secret,
            lease_ms: 30_000,
            reconnect_grace_ms: 3_000,
            cancel_grace_ms: 300_000,
            timeout_slack_ms: 2_000,
            fuel: 200,
            max_transitions: 10_000,
            max_signals: 10_000,
            max_signal_bytes: 64 << 20,
            max_entries: 1_000_000,
            max_schedules: 1_000_000,
        }
    }

    fn graces(&self) -> Graces {
        Graces { cancel_ms: self.cancel_grace_ms, slack_ms: self.timeout_slack_ms }
    }
}

/// Turns of drivers within one command. A run that still has something to decide goes on with `Command::Continue`, so that no
/// chain of runs that wake each other holds up the others.
const TURNS_PER_COMMAND: u32 = 64;

/// A run in memory.
#[derive(Debug)]
struct Slot {
    state: RunState,
    /// Journal lines that no row has yet.
    tail: Vec<JournalRow>,
    /// The number of the last record folded in.
    last: u64,
    /// The number of the first record that the row lacks; `None` when the row is up to date.
    dirty_since: Option<u64>,
    /// The same, counted from the slice that is being written.
    dirty_again: Option<u64>,
    /// How many lines of `tail` are being written.
    flushing: usize,
}

/// One partition's state, and the only way to change it.
#[derive(Debug)]
pub struct Partition {
    config: Config,
    now: Now,
    /// The number the next record gets.
    next: u64,
    decided: Decided,

    /// In boxes: the map keeps room for up to twice as many.
    runs: HashMap<RunId, Box<Slot>>,
    stubs: HashMap<RunId, Rest>,
    /// Runs that were looked for and have no row.
    absent: HashSet<RunId>,
    /// Removed runs whose rows may still be there, with the number of the first record that their rows lack.
    deleted: BTreeMap<RunId, u64>,
    keys: HashMap<KeyId, KeySlot>,
    /// The runs in memory of each key.
    key_runs: HashMap<KeyId, BTreeSet<RunId>>,
    /// Runs that were active when the partition was recovered and are not loaded yet.
    recovering: BTreeSet<RunId>,
    schedules: schedules::Schedules,
    /// Definitions that no row has yet, with their record's number.
    definitions: Vec<(u64, Definition)>,
    index: Index,
    dirty: BTreeSet<(u64, RunId)>,
    dirty_keys: BTreeSet<(u64, KeyId)>,

    lines: PartitionRow,
    lines_dirty: Option<u64>,
    lines_again: Option<u64>,
    /// The last record whose start the buckets of the partition's row already contain.
    charged_to: u64,
    flush: Option<checkpoints::Flush>,

    workers: BTreeMap<WorkerId, Worker>,
    /// Who executes what: every attempt that is out is here or among the orphans.
    holders: HashMap<AttemptId, WorkerId>,
    orphans: BTreeMap<AttemptId, crate::time::Ticks>,

    /// Within one command: messages to runs of this partition, runs to advance, and how many turns are left.
    inbox: VecDeque<Message>,
    to_advance: VecDeque<RunId>,
    turns_left: u32,
}

impl Partition {
    /// An empty partition.
    pub fn new(config: Config) -> Self {
        Partition {
            now: Now::default(),
            next: 1,
            decided: Decided::default(),
            runs: HashMap::new(),
            stubs: HashMap::new(),
            absent: HashSet::new(),
            deleted: BTreeMap::new(),
            keys: HashMap::new(),
            key_runs: HashMap::new(),
            recovering: BTreeSet::new(),
            schedules: schedules::Schedules::default(),
            definitions: Vec::new(),
            index: Index::new(config.id.0, config.partitions),
            dirty: BTreeSet::new(),
            dirty_keys: BTreeSet::new(),
            lines: PartitionRow::default(),
            lines_dirty: None,
            lines_again: None,
            charged_to: 0,
            flush: None,
            workers: BTreeMap::new(),
            holders: HashMap::new(),
            orphans: BTreeMap::new(),
            inbox: VecDeque::new(),
            to_advance: VecDeque::new(),
            turns_left: 0,
            config,
        }
    }

    /// What must be loaded before `command` can be applied: empty when everything is in memory.
    pub fn needs(&self, command: &Command) -> Needs {
        let mut needs = Needs::default();
        match command {
            Command::Start(start) => self.start_needs(start, &mut needs),
            Command::StartMany(starts) => {
                for start in starts {
                    self.start_needs(start, &mut needs);
                }
            }
            Command::Signal { run, .. }
            | Command::Cancel { run, .. }
            | Command::Stop { run, .. }
            | Command::Pause { run }
            | Command::Resume { run }
            | Command::Delete { run }
            | Command::SetLabels { run, .. } => self.run_needs(*run, &mut needs),
            Command::Withdraw { runs, .. } => {
                for run in runs {
                    self.run_needs(*run, &mut needs);
                }
            }
            Command::CompleteCallback { token, .. } => self.run_needs(token.run, &mut needs),
            Command::Report { attempt, .. } | Command::Progress { attempt, .. } => {
                self.run_needs(attempt.run, &mut needs);
            }
            Command::DeleteKey { key, .. } => self.key_needs(key, &mut needs),
            Command::Schedule(id, _) => self.schedule_needs(id, &mut needs),
            Command::SweepKey { key } => {
                if !self.keys.contains_key(key) {
                    needs.keys.push(key.clone());
                }
            }
            Command::ConnectWorker { claims, .. } => {
                for (attempt, _) in claims {
                    self.run_needs(attempt.run, &mut needs);
                }
            }
            Command::Receive { message, .. } => self.message_needs(message, &mut needs),
            // A run that was asked to continue is in memory, or has been closed meanwhile.
            Command::Continue { .. }
            | Command::Deploy(_)
            | Command::OfferAhead { .. }
            | Command::LimitSlots { .. }
            | Command::ChangeLimit { .. }
            | Command::DrainWorker { .. }
            | Command::DisconnectWorker { .. }
            | Command::Heartbeat { .. }
            | Command::Tick { .. }
            | Command::Loaded(_)
            | Command::Acknowledge { .. } => {}
        }
        needs
    }

    fn run_needs(&self, run: RunId, needs: &mut Needs) {
        let known =
            self.runs.contains_key(&run) || self.absent.contains(&run) || self.deleted.contains_key(&run);
        if !known && !needs.runs.contains(&run) {
            needs.runs.push(run);
        }
    }

    fn key_needs(&self, key: &KeyId, needs: &mut Needs) {
        match self.keys.get(key) {
            None => needs.keys.push(key.clone()),
            // A decision about a key looks at its run.
            Some(slot) => {
                if let Some(found) = slot.key.as_ref().filter(|found| !found.purged) {
                    self.run_needs(found.run, needs);
                }
            }
        }
    }

    /// Decides one command at `now`. Records and effects are appended to what [`Partition::take_decided`] returns.
    ///
    /// `now` must be the same for all commands between two calls of `take_decided`, and never less than before.
    /// A refused command changes nothing of what it names. Work that waited for anything may still be given out behind it: a refused
    /// report frees its worker's slot all the same.
    pub fn apply(&mut self, now: Now, command: Command, drivers: &dyn Drivers) -> Result<Reply, Refusal> {
        self.set_now(now);
        self.turns_left = TURNS_PER_COMMAND;
        let reply = self.decide(command, drivers);
        self.settle(drivers);
        reply
    }

    fn decide(&mut self, command: Command, drivers: &dyn Drivers) -> Result<Reply, Refusal> {
        match command {
            Command::Start(start) => self.start(*start),
            Command::StartMany(starts) => Ok(self.start_many(starts)),
            Command::ChangeLimit { limiter, change } => Ok(self.change_limit(limiter, change)),
            Command::Signal { run, name, payload, id } => self.signal(run, name, payload, id),
            Command::Cancel { run, reason } => self.cancel(run, reason),
            Command::Stop { run, failure } => self.stop(run, failure),
            Command::Pause { run } => self.pause(run),
            Command::Resume { run } => self.resume(run),
            Command::Withdraw { queue, runs, reason } => Ok(self.withdraw(&queue, runs, &reason)),
            Command::Delete { run } => self.delete(run),
            Command::SetLabels { run, labels } => {
                self.slot(run)?;
                self.emit(run, Entry::LabelsSet { labels });
                Ok(Reply::Done)
            }
            Command::CompleteCallback { token, outcome } => self.complete_callback(token, outcome),
            Command::DeleteKey { key, cancel } => self.delete_key(key, cancel),
            Command::SweepKey { key } => {
                let found = self.keys.get(&key).and_then(|slot| slot.key.as_ref());
                if found.is_some_and(|key| key.is_expired(self.now.wall)) {
                    self.record(Record::KeyDeleted(key));
                }
                Ok(Reply::Done)
            }
            Command::Deploy(definition) => {
                self.record(Record::DefinitionDeployed(definition));
                Ok(Reply::Done)
            }
            Command::Schedule(id, command) => self.change_schedule(id, command, drivers),
            Command::ConnectWorker { worker, spec, claims } => Ok(self.connect_worker(worker, spec, &claims)),
            Command::OfferAhead { worker, attempts } => Ok(self.offer_ahead(worker, attempts)),
            Command::LimitSlots { worker, slots, why } => Ok(self.limit_slots(worker, slots, why)),
            Command::DrainWorker { worker } => Ok(self.drain_worker(worker)),
            Command::DisconnectWorker { worker, goodbye } => Ok(self.disconnect_worker(worker, goodbye)),
            Command::Heartbeat { worker } => Ok(self.heartbeat(worker)),
            Command::Report { attempt, token, report, acts } => self.report(attempt, token, report, acts),
            Command::Progress { attempt, token, first, acts } => {
                self.progress(attempt, token, first, acts, drivers)
            }
            Command::Tick { limit } => Ok(self.tick(limit)),
            Command::Continue { run } => {
                self.to_advance.push_back(run);
                Ok(Reply::Done)
            }
            Command::Loaded(rows) => {
                self.install(*rows);
                Ok(Reply::Done)
            }
            Command::Receive { from, seq, message } => self.receive(from, seq, message),
            Command::Acknowledge { to, seq } => {
                if self.lines.outbox.iter().any(|(line, number, _)| *line == to && *number <= seq) {
                    self.record(Record::MessagesAcknowledged { to, seq });
                }
                Ok(Reply::Done)
            }
        }
    }

    fn set_now(&mut self, now: Now) {
        self.now = now;
        self.index.lines.set_now(now.ticks);
    }

    /// Follows up what a decision led to, until nothing of this partition is left to decide now.
    fn settle(&mut self, drivers: &dyn Drivers) {
        loop {
            if let Some(message) = self.inbox.pop_front() {
                self.handle(message);
            } else if let Some(run) = self.to_advance.pop_front() {
                self.advance(run, drivers);
            } else if let Some(id) = self.schedules.to_fire.pop_front() {
                self.fire_schedule(&id, drivers);
            } else {
                break;
            }
        }
        self.dispatch();
    }

    /// Takes the records and effects decided since the last call: one batch.
    pub fn take_decided(&mut self) -> Decided {
        let mut decided = std::mem::take(&mut self.decided);
        decided.now = self.now;
        decided.first = self.next - decided.records.len() as u64;
        decided
    }

    /// The records decided since [`Partition::take_decided`] was called.
    pub fn decided_records(&self) -> &[Record] {
        &self.decided.records
    }

    /// The number the next record gets.
    pub fn next_record(&self) -> u64 {
        self.next
    }

    // ---- from decisions to records

    fn record(&mut self, record: Record) {
        self.fold(self.next, &record);
        self.next += 1;
        self.decided.records.push(record);
    }

    fn emit(&mut self, run: RunId, entry: Entry) {
        let told = self.fact(run, &entry);
        self.record(Record::Run(run, entry));
        if let Some((attempt, fact)) = told {
            self.tell(attempt, fact);
        }
        let closed = self.runs.get(&run).is_some_and(|slot| slot.state.phase.is_closed());
        match self.decided.effects.last_mut() {
            // One notice for all entries of a run in a row.
            Some(Effect::Changed { run: last, closed: was }) if *last == run => *was = closed,
            _ => self.effect(Effect::Changed { run, closed }),
        }
    }

    fn effect(&mut self, effect: Effect) {
        self.decided.effects.push(effect);
    }

    fn slot(&self, run: RunId) -> Result<&Slot, Refusal> {
        self.runs.get(&run).map(|slot| &**slot).ok_or(Refusal::UnknownRun(run))
    }

    fn state(&self, run: RunId) -> Option<&RunState> {
        self.runs.get(&run).map(|slot| &slot.state)
    }

    // ---- secrets

    /// Derives a token: nobody without the secret can make one, and none needs to be stored.
    fn token(&self, purpose: &[u8], run: RunId, step: StepId, attempt: u32) -> Token {
        Token::derive(&self.config.secret, purpose, run, step, attempt)
    }

    fn lease_token(&self, attempt: AttemptId) -> Token {
        self.token(b"lease", attempt.run, attempt.step, attempt.attempt)
    }

    fn callback_token(&self, run: RunId, step: StepId) -> Token {
        self.token(b"callback", run, step, 0)
    }
}

/// A worker's announcement, shared with whoever shows it.
pub(crate) type Spec = Arc<crate::command::WorkerSpec>;
