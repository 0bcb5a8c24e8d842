//! From a request to its decision: what must be loaded first, what must wait behind it, and what is answered.

use std::collections::BTreeSet;

use riverrun_kernel::schedule::{ScheduleCommand, ScheduleId};
use riverrun_kernel::{Command, Drivers, KeyId, LoadedRows, Message, Needs, RunId};
use riverrun_store::StoreError;

use crate::error::EngineError;

use super::recovery::Stage;
use super::types::{Answer, Ask, Io, Output, Request, Standing};
use super::{Asked, Sequencer, Topic};

/// Runs and keys read in one call of the store.
const LOAD_CHUNK: usize = 256;
/// After a failed read of a run that a timer woke, it is read again after so long.
const LOAD_RETRY_MS: u64 = 1_000;
/// A tick that changed nothing is not repeated at once.
const IDLE_TICK_MS: u64 = 10;

/// Rows that are wanted, or are being read.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    runs: BTreeSet<RunId>,
    keys: BTreeSet<KeyId>,
    schedules: BTreeSet<ScheduleId>,
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.keys.is_empty() && self.schedules.is_empty()
    }

    fn len(&self) -> usize {
        self.runs.len() + self.keys.len() + self.schedules.len()
    }

    /// Whether any of these is wanted here.
    fn has_any(&self, needs: &Needs) -> bool {
        needs.runs.iter().any(|run| self.runs.contains(run))
            || needs.keys.iter().any(|key| self.keys.contains(key))
            || needs.schedules.iter().any(|id| self.schedules.contains(id))
    }

    fn needs(&self) -> Needs {
        Needs {
            runs: self.runs.iter().copied().collect(),
            keys: self.keys.iter().cloned().collect(),
            schedules: self.schedules.iter().cloned().collect(),
        }
    }
}

/// Rows that are wanted, and those that are being read. One call at a time, so that no answer is older than what is in memory.
#[derive(Debug, Default)]
pub(super) struct Loads {
    wanted: Wanted,
    reading: Option<Wanted>,
    /// Runs and schedules whose read failed and that no request asks for.
    failed: Wanted,
    retry_at: u64,
}

impl Loads {
    pub(super) fn want(&mut self, needs: Needs) {
        let nothing = Wanted::default();
        let reading = self.reading.as_ref().unwrap_or(&nothing);
        self.wanted.runs.extend(needs.runs.into_iter().filter(|run| !reading.runs.contains(run)));
        self.wanted.keys.extend(needs.keys.into_iter().filter(|key| !reading.keys.contains(key)));
        let schedules = needs.schedules.into_iter();
        self.wanted.schedules.extend(schedules.filter(|id| !reading.schedules.contains(id)));
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        (!self.failed.is_empty()).then_some(self.retry_at)
    }

    /// Takes the next chunk, unless one is being read. What is known by now is left out: it may leave memory again before the answer comes,
    /// which would then bring back what it was.
    pub(super) fn next_chunk(&mut self, unknown: impl Fn(Needs) -> bool) -> Option<Needs> {
        if self.reading.is_some() {
            return None;
        }
        let run = |run: &RunId| unknown(Needs { runs: vec![*run], ..Needs::default() });
        let schedule = |id: &ScheduleId| unknown(Needs { schedules: vec![id.clone()], ..Needs::default() });
        let chunk = Wanted {
            runs: take(&mut self.wanted.runs, run),
            keys: take(&mut self.wanted.keys, |_| true),
            schedules: take(&mut self.wanted.schedules, schedule),
        };
        if chunk.is_empty() {
            return None;
        }
        let needs = chunk.needs();
        self.reading = Some(chunk);
        Some(needs)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.reading.is_none()
    }

    pub(super) fn finish(&mut self) -> Wanted {
        self.reading.take().unwrap_or_default()
    }
}

/// The first of a set that are still to be read, at most a chunk of them.
fn take<T: Ord>(wanted: &mut BTreeSet<T>, unknown: impl Fn(&T) -> bool) -> BTreeSet<T> {
    std::iter::from_fn(|| wanted.pop_first()).filter(unknown).take(LOAD_CHUNK).collect()
}

impl<H> Sequencer<H> {
    /// Decides what has come in, at most so many requests.
    pub(super) fn decide(&mut self, drivers: &dyn Drivers, limit: usize) {
        for _ in 0..limit {
            self.queue_tick_if_due();
            if !self.may_decide() {
                self.read_past(drivers);
                break;
            }
            let Some(asked) = self.incoming.pop_front() else { break };
            if let Some(asked) = self.admit(asked) {
                self.take(asked, drivers, &Needs::default());
            }
            self.seal_if_grown();
        }
    }

    /// Refuses what the partition does not take in now.
    fn admit(&mut self, asked: Asked<H>) -> Option<Asked<H>> {
        let Ask::Command(command) = &asked.ask else {
            return Some(asked);
        };
        let stops = matches!(
            command,
            Command::Cancel { .. }
                | Command::Stop { .. }
                | Command::Delete { .. }
                | Command::DeleteKey { .. }
                | Command::Schedule(_, ScheduleCommand::Pause { .. } | ScheduleCommand::Delete)
                | Command::Loaded(_)
        );
        if matches!(self.standing, Standing::ReadOnly(_)) && !stops {
            if matches!(command, Command::Tick { .. }) {
                self.tick_queued = false;
            }
            if matches!(command, Command::Continue { .. }) {
                self.held.push(asked);
                return None;
            }
            let error = EngineError::Unavailable(self.unavailable());
            self.answer(asked.to, error);
            return None;
        }
        let grows = matches!(
            command,
            Command::Start(_)
                | Command::StartMany(_)
                | Command::Signal { .. }
                | Command::Deploy(_)
                | Command::Schedule(_, ScheduleCommand::Put { .. } | ScheduleCommand::Trigger { .. })
        );
        if grows && let Some(limit) = self.overfull() {
            self.answer(asked.to, EngineError::Busy { limit });
            return None;
        }
        Some(asked)
    }

    /// Decides a request, or has it wait for what it needs; `fresh` has just been read and is not read again for it.
    pub(super) fn take(&mut self, asked: Asked<H>, drivers: &dyn Drivers, fresh: &Needs) {
        let needs = match &asked.ask {
            Ask::Command(command) => {
                let behind = !self.blocked.is_empty()
                    && topics(command).iter().any(|topic| self.blocked.contains_key(topic));
                if behind {
                    return self.park(asked);
                }
                self.kernel.needs(command)
            }
            Ask::Query(query) => self.query_needs(query),
        };
        let missing = needs.runs.iter().any(|run| !fresh.runs.contains(run))
            || needs.keys.iter().any(|key| !fresh.keys.contains(key))
            || needs.schedules.iter().any(|id| !fresh.schedules.contains(id));
        if missing {
            self.loads.want(needs);
            return self.park(asked);
        }
        match asked.ask {
            Ask::Command(command) => self.apply(asked.to, command, drivers),
            Ask::Query(query) => {
                let durable = self.is_durable(&query);
                let answer = self.read(query);
                match asked.to {
                    Some(to) if durable => self.out.push(Output::Answer { to, answer }),
                    to => self.answer_read(to, answer),
                }
            }
        }
    }

    fn park(&mut self, asked: Asked<H>) {
        if let Ask::Command(command) = &asked.ask {
            for topic in topics(command) {
                *self.blocked.entry(topic).or_default() += 1;
            }
        }
        self.waiting.push(asked);
    }

    pub(super) fn apply(&mut self, to: Option<H>, command: Command, drivers: &dyn Drivers) {
        let now = self.turn_now();
        self.tally.commands += 1;
        let is_tick = matches!(command, Command::Tick { .. });
        let acknowledged = match &command {
            Command::Acknowledge { to, seq } => Some((*to, *seq)),
            _ => None,
        };
        let due = is_tick.then(|| self.kernel.next_due());
        let result = self.kernel.apply(now, command, drivers);
        if is_tick {
            self.tick_queued = false;
            if due == Some(self.kernel.next_due()) {
                self.tick_not_before = self.clock.mono + IDLE_TICK_MS;
            }
        }
        match result {
            Ok(reply) => {
                if let Some((to, seq)) = acknowledged {
                    self.outbox.retain(|(line, number), _| *line != to || *number > seq);
                }
                self.forming.answer(to, Ok(Answer::Reply(reply)));
            }
            Err(refusal) => {
                self.tally.refused += 1;
                self.forming.answer(to, Err(EngineError::Refused(refusal)));
            }
        }
    }

    // ---- loading

    /// Asks for the rows that are wanted, a chunk at a time.
    pub(super) fn request_loads(&mut self) {
        if self.clock.mono >= self.loads.retry_at {
            let failed = std::mem::take(&mut self.loads.failed);
            self.loads.wanted.runs.extend(failed.runs);
            self.loads.wanted.schedules.extend(failed.schedules);
        }
        let kernel = &self.kernel;
        let unknown = |needs: Needs| {
            needs.runs.iter().any(|run| !kernel.needs(&Command::Pause { run: *run }).is_empty())
                || !kernel.needs_of_schedules(&needs.schedules).is_empty()
        };
        if let Some(needs) = self.loads.next_chunk(unknown) {
            self.out.push(Output::Request(Request { life: self.life, io: Io::Load(needs) }));
        }
    }

    pub(super) fn loaded(&mut self, result: Result<LoadedRows, StoreError>, drivers: &dyn Drivers) {
        let read = self.loads.finish();
        match (result, &self.stage) {
            (Ok(rows), Stage::Serve) => {
                self.tally.loads += read.len() as u64;
                self.apply(None, Command::Loaded(Box::new(rows)), drivers);
                let fresh = read.needs();
                self.blocked.clear();
                for asked in std::mem::take(&mut self.waiting) {
                    self.take(asked, drivers, &fresh);
                }
            }
            (Ok(rows), _) => self.recovery_loaded(rows),
            (Err(error), Stage::Serve) => self.load_failed(&read, &error),
            (Err(error), _) => self.recovery_failed(&error),
        }
    }

    /// Requests that wait for these rows are answered; runs that a timer woke are read again later.
    fn load_failed(&mut self, read: &Wanted, error: &StoreError) {
        if *error == StoreError::Fenced {
            return self.fence();
        }
        self.loads.failed.runs.extend(&read.runs);
        self.loads.failed.schedules.extend(read.schedules.iter().cloned());
        self.loads.retry_at = self.clock.mono + LOAD_RETRY_MS;
        self.blocked.clear();
        for asked in std::mem::take(&mut self.waiting) {
            let needs = match &asked.ask {
                Ask::Command(command) => self.kernel.needs(command),
                Ask::Query(query) => self.query_needs(query),
            };
            if read.has_any(&needs) {
                self.answer(asked.to, EngineError::Unavailable(error.to_string()));
            } else {
                // What waited behind a failed request goes first again.
                self.loads.want(needs);
                self.park(asked);
            }
        }
        if self.loads.wanted.is_empty() {
            let freed = std::mem::take(&mut self.waiting);
            self.blocked.clear();
            for asked in freed.into_iter().rev() {
                self.incoming.push_front(asked);
            }
        }
    }
}

/// What a command is about.
pub(super) fn topics(command: &Command) -> Vec<Topic> {
    let start = |start: &riverrun_kernel::StartRun| match &start.key {
        Some(key) => vec![Topic::Key(key.id.clone()), Topic::Run(start.run)],
        None => vec![Topic::Run(start.run)],
    };
    match command {
        Command::Start(asked) => start(asked),
        Command::StartMany(asked) => asked.iter().flat_map(start).collect(),
        Command::Signal { run, .. }
        | Command::Cancel { run, .. }
        | Command::Stop { run, .. }
        | Command::Pause { run }
        | Command::Resume { run }
        | Command::Delete { run }
        | Command::SetLabels { run, .. }
        | Command::Continue { run } => vec![Topic::Run(*run)],
        Command::Withdraw { runs, .. } => runs.iter().copied().map(Topic::Run).collect(),
        Command::CompleteCallback { token, .. } => vec![Topic::Run(token.run)],
        Command::Report { attempt, .. } | Command::Progress { attempt, .. } => {
            vec![Topic::Run(attempt.run)]
        }
        Command::DeleteKey { key, .. } | Command::SweepKey { key } => vec![Topic::Key(key.clone())],
        Command::Schedule(id, _) => vec![Topic::Schedule(id.clone())],
        Command::ConnectWorker { worker, claims, .. } => {
            let runs = claims.iter().map(|(attempt, _)| Topic::Run(attempt.run));
            std::iter::once(Topic::Worker(*worker)).chain(runs).collect()
        }
        Command::OfferAhead { worker, .. }
        | Command::LimitSlots { worker, .. }
        | Command::DrainWorker { worker }
        | Command::DisconnectWorker { worker, .. }
        | Command::Heartbeat { worker } => vec![Topic::Worker(*worker)],
        Command::Receive { from, message, .. } => {
            let mut topics = match message {
                Message::StartChild(asked) => start(asked),
                Message::ReopenChild { child, start: asked } => {
                    let mut topics = start(asked);
                    topics.push(Topic::Run(*child));
                    topics
                }
                other => vec![Topic::Run(other.target())],
            };
            topics.push(Topic::Line(*from));
            topics
        }
        Command::Acknowledge { .. }
        | Command::Deploy(_)
        | Command::ChangeLimit { .. }
        | Command::Tick { .. }
        | Command::Loaded(_) => Vec::new(),
    }
}
