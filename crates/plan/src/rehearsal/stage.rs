//! The stage: one partition, its records in memory, a worker that answers from stubs, and a clock that jumps to whatever is
//! due next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use riverrun_kernel::driver::Work;
use riverrun_kernel::{
    AttemptId, CallbackToken, Command, Config, DefinitionKind, DefinitionRef, Due, Effect, Entry, Failure,
    JournalRow, Json, LoadedRows, Lost, Needs, Now, Offer, Partition, PartitionId, Record, Refusal, Reply,
    Report, RunId, RunOptions, Slot, StartRun, State, StepId, Ticks, Token, Wall, WorkerId, WorkerSpec,
};

use super::cast::{Cast, Part, Prompter};
use super::{Answer, Case, Crash, Outcome, Played, Program};

/// Longer than any case: nobody on this stage falls silent, unless the case says so.
const NO_LEASE_MS: u64 = 1 << 50;
/// How long the worker's silence lasts where offers are lost in a crash.
const LEASE_MS: u64 = 300_000;

/// Plays a case.
pub fn rehearse(program: &Program, case: &Case, crash: Crash) -> Played {
    let mut stage = Stage::new(program, case, crash);
    stage.play(case);
    stage.close()
}

struct Batch {
    now: Now,
    first: u64,
    records: Vec<Record>,
}

/// What happens when its time has come.
enum Cue {
    Report(AttemptId, Token, Report),
    CallBack(CallbackToken, Result<Json, Failure>),
    Cancel,
}

struct Stage {
    partition: Partition,
    config: Config,
    cast: Cast,
    prompter: Arc<Mutex<Prompter>>,
    now: Now,
    start: Now,
    log: Vec<Batch>,
    batches: usize,
    crash: Crash,
    offers: VecDeque<Offer>,
    /// Attempts that the worker has.
    held: BTreeMap<AttemptId, Token>,
    cues: BTreeMap<(Ticks, u64), Cue>,
    serial: u64,
    worker: u64,
    run: RunId,
    functions: BTreeSet<String>,
    /// Queues whose messages nobody has to answer.
    queues: BTreeSet<String>,
    problems: Vec<String>,
}

impl Stage {
    fn new(program: &Program, case: &Case, crash: Crash) -> Self {
        let prompter = Arc::new(Mutex::new(Prompter::of(case)));
        let lease_ms = if matches!(crash, Crash::Before(_)) { LEASE_MS } else { NO_LEASE_MS };
        let config = Config { lease_ms, ..Config::new(PartitionId(0), 1, [7; 32]) };
        let flows = || std::iter::once(&program.flow).chain(program.children.values());
        let queues: BTreeSet<String> = flows().flat_map(|flow| flow.queues()).collect();
        let functions: BTreeSet<String> =
            flows().flat_map(|flow| flow.functions()).chain(queues.iter().cloned()).collect();
        let problems = never_asked(program, case, &functions);
        let now = Now { wall: Wall(case.starts), ticks: Ticks(0) };
        Stage {
            partition: Partition::new(config.clone()),
            config,
            cast: Cast::of(program, &prompter),
            prompter,
            now,
            start: now,
            log: Vec::new(),
            batches: 0,
            crash,
            offers: VecDeque::new(),
            held: BTreeMap::new(),
            cues: BTreeMap::new(),
            serial: 0,
            worker: 0,
            run: RunId::new(u64::try_from(case.starts).unwrap_or(0), Slot(0), 1),
            functions,
            queues,
            problems,
        }
    }

    fn play(&mut self, case: &Case) {
        self.connect();
        let start = StartRun {
            run: self.run,
            client_id: false,
            definition: DefinitionRef {
                namespace: "default".into(),
                kind: DefinitionKind::Flow,
                name: self.cast.name().into(),
                version: "case".into(),
            },
            input: case.input.clone(),
            key: None,
            parent: None,
            options: RunOptions { timeout_ms: self.cast.timeout_ms(), ..RunOptions::default() },
        };
        self.send(Command::Start(Box::new(start)));
        if let Some(after) = case.cancel_after_ms {
            self.cue(after, Cue::Cancel);
        }
        while self.batches < case.max_batches {
            if let Some(offer) = self.offers.pop_front() {
                self.answer(&offer);
            } else if self.is_over() || !self.go_on() {
                return;
            }
        }
        let passed = crate::draw::spoken_duration(self.now.ticks.0);
        self.problems.push(format!(
            "the run is still open after {} batches of records and {passed} on its clock: it goes round for ever, or the \
             case needs a greater max_batches",
            case.max_batches
        ));
    }

    /// Whether nothing that the case can see comes any more.
    fn is_over(&self) -> bool {
        self.partition.run(self.now, self.run).is_none_or(|view| view.summary.state.is_closed())
    }

    /// Does what is due next; `false` where nothing is.
    fn go_on(&mut self) -> bool {
        let cue = self.cues.first_key_value().map(|((at, _), _)| *at);
        let (ticks, wall) = self.partition.next_due();
        let on_clock = match ticks {
            Some(Due::Ticks(at)) => Some(at),
            _ => None,
        };
        let on_wall = match wall {
            Some(Due::Wall(at)) => {
                let ahead = u64::try_from(at.0 - self.now.wall.0).unwrap_or(0);
                Some(self.now.ticks.plus(ahead))
            }
            _ => None,
        };
        let timer = on_clock.into_iter().chain(on_wall).min();
        match (cue, timer) {
            (Some(cue), timer) if timer.is_none_or(|timer| cue <= timer) => {
                self.jump(cue);
                if let Some((_, cue)) = self.cues.pop_first() {
                    self.act_on(cue);
                }
                true
            }
            (_, Some(timer)) if timer.0.saturating_sub(self.start.ticks.0) < NO_LEASE_MS => {
                self.jump(timer);
                // The worker is there all the time.
                self.send(Command::Heartbeat { worker: WorkerId(self.worker) });
                self.send(Command::Tick { limit: 1000 });
                true
            }
            _ => {
                self.stuck();
                false
            }
        }
    }

    fn jump(&mut self, to: Ticks) {
        let ms = to.0.saturating_sub(self.now.ticks.0);
        self.now = Now { wall: self.now.wall.plus(ms), ticks: self.now.ticks.plus(ms) };
    }

    fn stuck(&mut self) {
        let waiting = self.partition.run(self.now, self.run).and_then(|view| view.summary.waiting);
        let problem = match waiting {
            Some(waiting) if waiting.name.is_empty() => {
                format!("the run waits for a {:?} that never comes", waiting.kind).to_lowercase()
            }
            Some(waiting) => format!(
                "the run waits for the {} of `{}`, which never comes",
                format!("{:?}", waiting.kind).to_lowercase(),
                waiting.name
            ),
            None => "the run waits for an answer that the case never gives".to_owned(),
        };
        self.problems.push(problem);
    }

    fn cue(&mut self, after_ms: u64, cue: Cue) {
        self.serial += 1;
        self.cues.insert((self.now.ticks.plus(after_ms), self.serial), cue);
    }

    fn ask(&mut self, part: Part, name: &str, input: &Json, path: &str) -> Option<Answer> {
        self.prompter.lock().unwrap_or_else(PoisonError::into_inner).ask(part, name, input, path)
    }

    /// The worker was given a call: when will it say what?
    fn answer(&mut self, offer: &Offer) {
        self.held.insert(offer.attempt, offer.token);
        let call = &offer.call;
        let no_stub = || Answer {
            outcome: Outcome::Error {
                error: "NoStub".to_owned(),
                cause: format!("`{}` has no answer", call.function),
            },
            after_ms: 0,
        };
        let answer =
            self.ask(self.part(offer), &call.function, &call.input, &offer.path).unwrap_or_else(no_stub);
        let report = match &answer.outcome {
            Outcome::Result(result) => Some(Report::Succeeded(result.clone())),
            Outcome::Error { error, cause } => Some(Report::Failed(Failure::new(error, cause))),
            Outcome::Crash => Some(Report::Lost(Lost::Crashed)),
            Outcome::Never => None,
        };
        let (after_ms, report) = match (call.timeout_ms, report) {
            (Some(limit), report) if answer.after_ms >= limit || report.is_none() => {
                let late =
                    Failure::new(Failure::TIMEOUT, format!("no answer within {} seconds", limit / 1000));
                (limit, Some(Report::Failed(late)))
            }
            (_, report) => (answer.after_ms, report),
        };
        if let Some(report) = report {
            self.cue(after_ms, Cue::Report(offer.attempt, offer.token, report));
        }
        self.expect_callback(offer);
    }

    fn part(&self, offer: &Offer) -> Part {
        if self.queues.contains(&offer.call.function) { Part::Queue } else { Part::Function }
    }

    /// Whoever is to call back, does.
    fn expect_callback(&mut self, offer: &Offer) {
        let Some(token) = offer.callback.as_deref().and_then(token_of) else { return };
        self.ask_for_callback(token, &offer.call.input, &offer.path);
    }

    /// The same where the token went to a child flow.
    fn expect_callbacks(&mut self, records: &[Record]) {
        for record in records {
            if let Record::Run(run, Entry::StepBegun { step, path, work: Work::Child(child), .. }) = record
                && child.callback.is_some()
            {
                let token = CallbackToken::of(&self.config.secret, *run, *step);
                self.ask_for_callback(token, &child.input, path);
            }
        }
    }

    fn ask_for_callback(&mut self, token: CallbackToken, input: &Json, path: &str) {
        let name = crate::trace::step_name(path).to_owned();
        let Some(answer) = self.ask(Part::Callback, &name, input, path) else { return };
        if answer.outcome != Outcome::Never {
            self.cue(answer.after_ms, Cue::CallBack(token, answer.outcome.as_result()));
        }
    }

    fn act_on(&mut self, cue: Cue) {
        match cue {
            Cue::Report(attempt, token, report) => {
                if self.held.remove(&attempt).is_some() {
                    self.send(Command::Report { attempt, token, report, acts: 0 });
                }
            }
            Cue::CallBack(token, outcome) => {
                self.send(Command::CompleteCallback { token, outcome });
            }
            Cue::Cancel => {
                self.send(Command::Cancel { run: self.run, reason: "the case says so".to_owned() });
            }
        }
    }

    fn connect(&mut self) {
        self.worker += 1;
        let spec = WorkerSpec {
            name: "stubs".into(),
            namespace: "default".into(),
            queues: BTreeSet::new(),
            functions: self.functions.clone(),
            slots: 100_000,
            in_process: false,
            incarnation: None,
        };
        let claims = self.held.iter().map(|(attempt, token)| (*attempt, *token)).collect();
        self.send(Command::ConnectWorker { worker: WorkerId(self.worker), spec: Arc::new(spec), claims });
    }

    /// Applies a command as the engine does: what it needs first, then the record, then what may leave.
    fn send(&mut self, command: Command) {
        let mut waiting = VecDeque::from([command]);
        while let Some(command) = waiting.pop_front() {
            loop {
                let needs = self.partition.needs(&command);
                if needs.is_empty() {
                    break;
                }
                let rows = Command::Loaded(Box::new(nothing(&needs)));
                // What is not in memory does not exist here.
                if self.partition.apply(self.now, rows, &self.cast).is_err() {
                    break;
                }
            }
            let reply = self.partition.apply(self.now, command, &self.cast);
            self.heed(&reply);
            let decided = self.partition.take_decided();
            if decided.records.is_empty() {
                self.act(decided.effects, &mut waiting);
                continue;
            }
            self.expect_callbacks(&decided.records);
            self.log.push(Batch { now: decided.now, first: decided.first, records: decided.records });
            self.batches += 1;
            match self.crash {
                Crash::Before(at) if at + 1 == self.batches => self.recover(&mut waiting),
                Crash::AfterEvery => {
                    self.act(decided.effects, &mut waiting);
                    self.recover(&mut waiting);
                }
                _ => self.act(decided.effects, &mut waiting),
            }
        }
    }

    /// What a worker or a caller makes of a reply.
    fn heed(&mut self, reply: &Result<Reply, Refusal>) {
        match reply {
            // What the worker has no right to any more, it drops.
            Ok(Reply::Claims(claims)) => self.held.retain(|attempt, _| !claims.drop.contains(attempt)),
            // Only a start can be refused for what the case says; other refusals are met every day.
            Err(refusal @ (Refusal::UnknownDefinition(_) | Refusal::UnknownRun(_))) => {
                self.problems.push(refusal.to_string());
            }
            _ => {}
        }
    }

    fn act(&mut self, effects: Vec<Effect>, waiting: &mut VecDeque<Command>) {
        for effect in effects {
            match effect {
                Effect::Offer { offer, .. } => self.offers.push_back(*offer),
                Effect::Stop { attempt, .. } => {
                    if let Some(token) = self.held.remove(&attempt) {
                        waiting.push_back(Command::Report {
                            attempt,
                            token,
                            report: Report::Stopped,
                            acts: 0,
                        });
                    }
                    self.offers.retain(|offer| offer.attempt != attempt);
                }
                Effect::Send { to, seq, message } => {
                    waiting.push_back(Command::Receive { from: PartitionId(0), seq, message });
                    waiting.push_back(Command::Acknowledge { to, seq });
                }
                Effect::Load { run } => {
                    let rows = nothing(&Needs { runs: vec![run], ..Needs::default() });
                    waiting.push_back(Command::Loaded(Box::new(rows)));
                }
                Effect::Continue { run } => waiting.push_back(Command::Continue { run }),
                _ => {}
            }
        }
    }

    /// The process dies, and another one knows nothing but the records.
    fn recover(&mut self, waiting: &mut VecDeque<Command>) {
        let mut partition = Partition::new(self.config.clone());
        for batch in &self.log {
            // Through their written form, as everything that is kept.
            let written = serde_json::to_string(&batch.records).unwrap_or_default();
            let records: Vec<Record> = serde_json::from_str(&written).unwrap_or_default();
            while !partition.replay_needs(&records).is_empty() {
                let rows = nothing(&partition.replay_needs(&records));
                partition.recover_rows(batch.now, rows);
            }
            partition.replay(batch.now, batch.first, &records);
        }
        self.partition = partition;
        let active = self.partition.recovered(self.now);
        let decided = self.partition.take_decided();
        // Commands that had arrived and were not applied went with the process, but for the line's own.
        waiting.retain(|command| {
            !matches!(
                command,
                Command::Loaded(_)
                    | Command::Continue { .. }
                    | Command::Receive { .. }
                    | Command::Acknowledge { .. }
            )
        });
        self.act(decided.effects, waiting);
        for run in active {
            let rows = nothing(&Needs { runs: vec![run], ..Needs::default() });
            waiting.push_back(Command::Loaded(Box::new(rows)));
        }
        let crash = std::mem::take(&mut self.crash);
        // Offers on their way arrived; what the worker has, it claims.
        for offer in std::mem::take(&mut self.offers) {
            self.answer(&offer);
        }
        self.connect();
        self.crash = if matches!(crash, Crash::AfterEvery) { crash } else { Crash::Never };
    }

    fn close(mut self) -> Played {
        let prompter = std::mem::take(&mut *self.prompter.lock().unwrap_or_else(PoisonError::into_inner));
        let mut problems = prompter.problems;
        problems.append(&mut self.problems);
        let view = self.partition.run(self.now, self.run);
        let mut journal = Vec::new();
        for batch in &self.log {
            for record in &batch.records {
                if let Record::Run(run, entry) = record
                    && *run == self.run
                {
                    let seq = journal.len() as u64 + 1;
                    journal.push(JournalRow { run: self.run, seq, at: batch.now.wall, entry: entry.clone() });
                }
            }
        }
        Played {
            state: view.as_ref().map_or(State::Failed, |view| view.summary.state),
            outcome: view.and_then(|view| view.outcome),
            calls: prompter.calls,
            took_ms: took(&journal, self.start.wall),
            journal,
            batches: self.batches,
            problems,
        }
    }
}

/// Stubs that nothing calls, where child flows are played: what those call was not known when the case was read.
fn never_asked(program: &Program, case: &Case, functions: &BTreeSet<String>) -> Vec<String> {
    if program.children.is_empty() {
        return Vec::new();
    }
    let flows = || std::iter::once(&program.flow).chain(program.children.values());
    let callbacks: BTreeSet<String> = flows().flat_map(|flow| flow.callbacks()).collect();
    let children: BTreeSet<String> = flows().flat_map(|flow| flow.children()).collect();
    let starts_any = flows().any(|flow| flow.starts_any());
    let unknown = |what: &str, name: &String| format!("{what} `{name}`, and the case has a stub for it");
    let functions = case.functions.keys().filter(|name| !functions.contains(*name));
    let callbacks = case.callbacks.keys().filter(|name| !callbacks.contains(*name));
    let children = case.flows.keys().filter(|name| !children.contains(*name) && !starts_any);
    functions
        .map(|name| unknown("no step of the flows calls the function", name))
        .chain(children.map(|name| unknown("no step of the flows runs the flow", name)))
        .chain(
            callbacks.map(|name| unknown("no step of the flows waits for a callback under the name", name)),
        )
        .collect()
}

/// From the start to the last entry.
fn took(journal: &[JournalRow], start: Wall) -> u64 {
    journal.last().map_or(0, |row| u64::try_from(row.at.0 - start.0).unwrap_or(0))
}

/// Rows for what was asked: there are none.
fn nothing(needs: &Needs) -> LoadedRows {
    LoadedRows {
        runs: needs.runs.iter().map(|run| (*run, None)).collect(),
        keys: needs.keys.iter().map(|key| (key.clone(), None)).collect(),
        schedules: Vec::new(),
    }
}

/// A callback's token: `run.step.secret`.
fn token_of(text: &str) -> Option<CallbackToken> {
    let mut pieces = text.rsplitn(3, '.');
    let (token, step, run) = (pieces.next()?, pieces.next()?, pieces.next()?);
    Some(CallbackToken {
        run: run.parse().ok()?,
        step: StepId(step.parse().ok()?),
        token: token.parse().ok()?,
    })
}

/// Steps whose outcome a journal has more than once: there must be none.
pub(super) fn recorded_twice(journal: &[JournalRow]) -> Vec<String> {
    let mut paths: BTreeMap<StepId, &str> = BTreeMap::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut twice = Vec::new();
    for row in journal {
        match &row.entry {
            Entry::StepBegun { step, path, .. } => {
                paths.insert(*step, path);
            }
            Entry::StepSucceeded { step, .. } => {
                if let Some(path) = paths.get(step)
                    && !done.insert(path)
                {
                    twice.push((*path).to_owned());
                }
            }
            _ => {}
        }
    }
    twice
}
