//! A small world around one partition: it plays the engine, the store and the clock, so that tests talk of runs and time only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use riverrun_kernel::driver::{
    Action, Call, Child, DriverFault, Handed, OnParentEnd, RetryPolicy, RunContext, Sleep, Then, Turn, Wake,
    Work,
};
use riverrun_kernel::schedule::{ScheduleId, ScheduleRow};
use riverrun_kernel::task::TaskDriver;
use riverrun_kernel::workflow::{Act, Event, History, WorkflowDriver};
use riverrun_kernel::*;

/// The secret of a world.
pub const SECRET: [u8; 32] = [7; 32];

/// A callback token that was written as text.
pub fn token_of(text: &str) -> CallbackToken {
    let parts: Vec<&str> = text.split('.').collect();
    let [run, step, token] = parts.as_slice() else { panic!("{text} is no token") };
    CallbackToken {
        run: run.parse().expect("a run"),
        step: StepId(step.parse().expect("a step")),
        token: token.parse().expect("a secret"),
    }
}

/// What a test flow does, one after another; a failed step fails the run.
#[derive(Debug, Clone)]
pub enum Op {
    Call(Call),
    Sleep(u64),
    Signal(&'static str, Option<u64>),
    Callback(Option<u64>),
    Child(&'static str, bool, OnParentEnd, Option<&'static str>),
    /// A child that has the step's callback token in its input.
    Hand(&'static str, Option<&'static str>),
    /// A call with the run's own input.
    PassOn(&'static str),
    /// Two calls side by side; the first failure ends the run.
    Both(Call, Call),
    /// So many transitions that do nothing.
    Spin(u32),
    Fail,
    Broken,
}

pub fn call(function: &str) -> Call {
    Call {
        function: function.to_owned(),
        input: Json::trusted("{}"),
        queue: "default".to_owned(),
        priority: 0,
        timeout_ms: None,
        retry: Vec::new(),
        at_most_once: false,
        max_crashes: 3,
        callback: false,
        callback_paths: Vec::new(),
        limit: None,
    }
}

pub fn retry(max_retries: u32, interval_ms: u64) -> Vec<RetryPolicy> {
    vec![RetryPolicy {
        errors: vec![],
        max_retries,
        interval_ms,
        multiplier: 2.0,
        max_interval_ms: 86_400_000,
        ..RetryPolicy::default()
    }]
}

/// Runs a list of [`Op`]s. Cell 0 holds the position, the spins left and how many of a pair are open.
#[derive(Debug)]
struct Script(Vec<Op>);

impl Driver for Script {
    fn advance(&self, run: RunContext<'_>, wake: &Wake, fuel: u32) -> Result<Turn, DriverFault> {
        let cell = run.cells.get(&0).map_or("[0,0,0]", |text| text);
        let [mut at, mut spun, mut open]: [u32; 3] =
            serde_json::from_str(cell).expect("a cell of this driver");
        let mut turn = Turn::default();
        match wake {
            Wake::StepEnded { outcome: Err(failure), .. } => turn.then = Then::End(Err(failure.clone())),
            Wake::StepEnded { outcome: Ok(_), .. } => {
                open = open.saturating_sub(1);
                at += u32::from(open == 0);
            }
            // The next step has begun already if its predecessor's outcome was seen only now.
            Wake::Reopened => open = 0,
            Wake::Started | Wake::Continued => {}
        }
        while open == 0 && turn.then == Then::Wait {
            turn.transitions += 1;
            let Some(op) = self.0.get(at as usize) else {
                turn.then = Then::End(Ok(Json::trusted(format!("{{\"did\":{at}}}"))));
                break;
            };
            let mut begin = |tag: u64, work: Work| {
                turn.actions.push(Action::Begin { tag, path: format!("s{at}.{tag}"), work });
            };
            open = 1;
            match op {
                Op::Call(call) => begin(1, Work::Call(call.clone())),
                Op::Sleep(ms) => begin(1, Work::Sleep(Sleep::For(*ms))),
                Op::Signal(name, timeout_ms) => {
                    begin(1, Work::Signal { name: (*name).to_owned(), timeout_ms: *timeout_ms });
                }
                Op::Callback(timeout_ms) => begin(1, Work::Callback { timeout_ms: *timeout_ms }),
                Op::Child(name, wait, on_parent_end, key) => begin(
                    1,
                    Work::Child(Child {
                        definition: flow(name),
                        input: Json::trusted("{}"),
                        continue_id: key.map(str::to_owned),
                        is_name: false,
                        wait: *wait,
                        callback: None,
                        on_parent_end: *on_parent_end,
                        options: Box::default(),
                    }),
                ),
                Op::Hand(name, key) => begin(
                    1,
                    Work::Child(Child {
                        definition: flow(name),
                        input: Json::trusted(r#"{"to":[null],"n":12345678901234567890.0}"#),
                        continue_id: key.map(str::to_owned),
                        is_name: false,
                        wait: false,
                        callback: Some(Handed {
                            paths: vec!["/to/0".to_owned()],
                            timeout_ms: Some(1_000_000),
                        }),
                        on_parent_end: OnParentEnd::Abandon,
                        options: Box::default(),
                    }),
                ),
                Op::PassOn(function) => {
                    begin(1, Work::Call(Call { input: run.input.clone(), ..call(function) }));
                }
                Op::Both(one, other) => {
                    begin(1, Work::Call(one.clone()));
                    begin(2, Work::Call(other.clone()));
                    open = 2;
                }
                Op::Spin(count) => {
                    open = 0;
                    spun += 1;
                    if spun >= *count {
                        (spun, at) = (0, at + 1);
                    }
                    if turn.transitions >= fuel {
                        turn.then = Then::Continue;
                    }
                }
                Op::Fail => turn.then = Then::End(Err(Failure::new("Boom", "as asked"))),
                Op::Broken => return Err(DriverFault("this cell is not readable".to_owned())),
            }
        }
        turn.cells.push((0, Some(format!("[{at},{spun},{open}]").into())));
        Ok(turn)
    }
}

#[derive(Debug, Default, Clone)]
pub struct Library(BTreeMap<String, Arc<Vec<Op>>>);

impl Drivers for Library {
    fn driver(&self, definition: &DefinitionRef) -> Option<Arc<dyn Driver>> {
        match definition.kind {
            DefinitionKind::Task if &*definition.name == "unknown" => None,
            DefinitionKind::Task => Some(Arc::new(TaskDriver)),
            DefinitionKind::Workflow => Some(Arc::new(WorkflowDriver)),
            DefinitionKind::Builtin => compose::driver(&definition.name),
            DefinitionKind::Flow => {
                let ops = self.0.get(&*definition.name)?;
                Some(Arc::new(Script(ops.to_vec())))
            }
        }
    }
}

pub fn flow(name: &str) -> DefinitionRef {
    reference(DefinitionKind::Flow, name)
}

pub fn task(name: &str) -> DefinitionRef {
    reference(DefinitionKind::Task, name)
}

pub fn workflow(name: &str) -> DefinitionRef {
    reference(DefinitionKind::Workflow, name)
}

fn reference(kind: DefinitionKind, name: &str) -> DefinitionRef {
    DefinitionRef { namespace: "default".into(), kind, name: name.into(), version: "v1".into() }
}

#[derive(Debug, Clone)]
pub struct Logged {
    pub now: Now,
    pub first: u64,
    pub records: Vec<Record>,
}

/// The rows that checkpoints wrote.
#[derive(Debug, Default, Clone)]
pub struct Table {
    pub runs: BTreeMap<RunId, RunRow>,
    pub keys: BTreeMap<KeyId, KeyRow>,
    pub schedules: BTreeMap<ScheduleId, ScheduleRow>,
    pub journal: BTreeMap<(RunId, u64), JournalRow>,
    pub partition: PartitionRow,
    pub trimmed_below: u64,
}

pub struct World {
    pub partition: Partition,
    pub library: Library,
    pub now: Now,
    pub log: Vec<Logged>,
    pub table: Table,
    pub offers: VecDeque<(WorkerId, Offer)>,
    pub stops: Vec<AttemptId>,
    pub evicted: Vec<WorkerId>,
    pub told: Vec<(AttemptId, Event)>,
    pub parks: Vec<AttemptId>,
    /// Whether workers that connect live in the process of the partition.
    pub in_process: bool,
    /// What workers that connect say of their process.
    pub incarnation: Option<Incarnation>,
    config: Config,
    serial: u64,
}

impl World {
    pub fn new(flows: &[(&str, Vec<Op>)]) -> Self {
        let config = Config::new(PartitionId(0), 1, SECRET);
        let library =
            Library(flows.iter().map(|(name, ops)| ((*name).to_owned(), Arc::new(ops.clone()))).collect());
        World {
            partition: Partition::new(config.clone()),
            library,
            now: Now { wall: Wall(1_700_000_000_000), ticks: Ticks(0) },
            log: Vec::new(),
            table: Table::default(),
            offers: VecDeque::new(),
            stops: Vec::new(),
            evicted: Vec::new(),
            told: Vec::new(),
            parks: Vec::new(),
            in_process: false,
            incarnation: None,
            config,
            serial: 0,
        }
    }

    /// The same with room for so many signals of a run.
    pub fn with_max_signals(mut self, max_signals: usize) -> Self {
        self.config.max_signals = max_signals;
        self.partition = Partition::new(self.config.clone());
        self
    }

    /// The same with room for so many bytes of signals that were not taken.
    pub fn with_max_signal_bytes(mut self, max_signal_bytes: usize) -> Self {
        self.config.max_signal_bytes = max_signal_bytes;
        self.partition = Partition::new(self.config.clone());
        self
    }

    /// The same with room for so many lines of a journal.
    pub fn with_max_entries(mut self, max_entries: u64) -> Self {
        self.config.max_entries = max_entries;
        self.partition = Partition::new(self.config.clone());
        self
    }

    /// The same with room for so many schedules.
    pub fn with_max_schedules(mut self, max_schedules: usize) -> Self {
        self.config.max_schedules = max_schedules;
        self.partition = Partition::new(self.config.clone());
        self
    }

    /// Applies a command as the engine would: loads first, then commits, then acts on the effects.
    pub fn send(&mut self, command: Command) -> Result<Reply, Refusal> {
        let mut answer = None;
        let mut waiting = VecDeque::from([command]);
        while let Some(command) = waiting.pop_front() {
            loop {
                let needs = self.partition.needs(&command);
                if needs.is_empty() {
                    break;
                }
                let rows = self.load(&needs);
                self.partition
                    .apply(self.now, Command::Loaded(Box::new(rows)), &self.library)
                    .expect("a load");
            }
            let reply = self.partition.apply(self.now, command, &self.library);
            let decided = self.partition.take_decided();
            if reply.is_err() {
                let given_out = |record: &Record| {
                    matches!(record, Record::Run(_, Entry::AttemptStarted { .. } | Entry::RunStarted))
                };
                assert!(
                    decided.records.iter().all(given_out),
                    "a refused command recorded {:?}",
                    decided.records
                );
            }
            if !decided.records.is_empty() {
                self.log.push(Logged { now: decided.now, first: decided.first, records: decided.records });
            }
            self.act(decided.effects, &mut waiting);
            answer.get_or_insert(reply);
        }
        answer.expect("the command was applied")
    }

    fn act(&mut self, effects: Vec<Effect>, waiting: &mut VecDeque<Command>) {
        for effect in effects {
            match effect {
                Effect::Offer { worker, offer } => self.offers.push_back((worker, *offer)),
                Effect::Stop { attempt, .. } => self.stops.push(attempt),
                Effect::Send { to, seq, message } => {
                    waiting.push_back(Command::Receive { from: PartitionId(0), seq, message });
                    waiting.push_back(Command::Acknowledge { to, seq });
                }
                Effect::Load { run } => {
                    let rows = self.load(&Needs { runs: vec![run], ..Needs::default() });
                    waiting.push_back(Command::Loaded(Box::new(rows)));
                }
                Effect::LoadSchedule { id } => {
                    let rows = self.load(&Needs { schedules: vec![id], ..Needs::default() });
                    waiting.push_back(Command::Loaded(Box::new(rows)));
                }
                Effect::Continue { run } => waiting.push_back(Command::Continue { run }),
                Effect::Changed { .. } => {}
                Effect::Evict { worker } => self.evicted.push(worker),
                Effect::Tell { attempt, event, .. } => self.told.push((attempt, event)),
                Effect::Park { attempt, .. } => self.parks.push(attempt),
            }
        }
    }

    fn load(&self, needs: &Needs) -> LoadedRows {
        let key = |key: &KeyId| (key.clone(), self.table.keys.get(key).cloned());
        let mut rows = LoadedRows {
            runs: needs.runs.iter().map(|run| (*run, self.table.runs.get(run).cloned())).collect(),
            keys: needs.keys.iter().map(key).collect(),
            schedules: needs
                .schedules
                .iter()
                .map(|id| (id.clone(), self.table.schedules.get(id).cloned()))
                .collect(),
        };
        let more: Vec<_> = rows.keys_of_runs().iter().map(key).collect();
        rows.keys.extend(more);
        rows
    }

    /// Lets time pass, firing what is due on the way.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.ticks.0 + ms;
        loop {
            let due = match self.partition.next_due() {
                (Some(Due::Ticks(at)), wall) => Some((at.0, wall)),
                (_, wall) => wall.map(|_| (u64::MAX, wall)),
            };
            let Some((ticks, wall)) = due else { break };
            let by_wall = match wall {
                Some(Due::Wall(at)) => self.now.ticks.0 + u64::try_from(at.0 - self.now.wall.0).unwrap_or(0),
                _ => u64::MAX,
            };
            let at = ticks.min(by_wall).max(self.now.ticks.0);
            if at > end {
                break;
            }
            self.step_clock(at - self.now.ticks.0);
            self.send(Command::Tick { limit: 100 }).expect("a tick");
        }
        self.step_clock(end - self.now.ticks.0);
    }

    fn step_clock(&mut self, ms: u64) {
        self.now = Now { wall: self.now.wall.plus(ms), ticks: self.now.ticks.plus(ms) };
    }

    pub fn fresh_id(&mut self) -> RunId {
        self.serial += 1;
        RunId::new(1_700_000_000_000 + self.serial, Slot(self.serial as u16), self.serial)
    }

    pub fn request(&mut self, definition: DefinitionRef) -> StartRun {
        StartRun {
            run: self.fresh_id(),
            client_id: false,
            definition,
            input: Json::trusted("{}"),
            key: None,
            parent: None,
            options: RunOptions::default(),
        }
    }

    pub fn start(&mut self, definition: DefinitionRef) -> RunId {
        let request = self.request(definition);
        self.start_run(request).expect("a start").0
    }

    pub fn start_run(&mut self, request: StartRun) -> Result<(RunId, StartKind, u32), Refusal> {
        match self.send(Command::Start(Box::new(request)))? {
            Reply::Started { run, kind, generation } => Ok((run, kind, generation)),
            other => panic!("a start was answered with {other:?}"),
        }
    }

    pub fn worker(&mut self, id: u64, functions: &[&str], slots: u32) -> WorkerId {
        self.reconnect(id, functions, slots, vec![]);
        WorkerId(id)
    }

    pub fn reconnect(
        &mut self,
        id: u64,
        functions: &[&str],
        slots: u32,
        claims: Vec<(AttemptId, Token)>,
    ) -> Claims {
        let spec = WorkerSpec {
            name: format!("w{id}").into(),
            namespace: "default".into(),
            queues: [].into(),
            functions: functions.iter().map(|name| (*name).to_owned()).collect(),
            slots,
            in_process: self.in_process,
            incarnation: self.incarnation.clone(),
        };
        match self.send(Command::ConnectWorker { worker: WorkerId(id), spec: Arc::new(spec), claims }) {
            Ok(Reply::Claims(claims)) => claims,
            other => panic!("a worker was answered with {other:?}"),
        }
    }

    pub fn offer(&mut self) -> Offer {
        self.offers.pop_front().expect("an offer").1
    }

    pub fn report(&mut self, offer: &Offer, report: Report) -> Result<Reply, Refusal> {
        self.send(Command::Report { attempt: offer.attempt, token: offer.token, report, acts: 0 })
    }

    pub fn progress(&mut self, offer: &Offer, first: u64, acts: Vec<Act>) -> Result<Reply, Refusal> {
        self.send(Command::Progress { attempt: offer.attempt, token: offer.token, first, acts })
    }

    /// What the code of a run must know, read from rows and memory.
    pub fn history(&self, run: RunId) -> Vec<Event> {
        let rows = self.table.journal.range((run, 0)..=(run, u64::MAX)).map(|(_, line)| line.clone());
        let mut lines: BTreeMap<u64, JournalRow> = rows.map(|line| (line.seq, line)).collect();
        lines.extend(self.partition.journal_tail(run, 0).into_iter().map(|line| (line.seq, line)));
        let mut history = History::default();
        lines.values().filter_map(|line| history.read(line)).collect()
    }

    pub fn succeed(&mut self, offer: &Offer) {
        assert_eq!(self.report(offer, Report::Succeeded(Json::trusted("{\"ok\":true}"))), Ok(Reply::Done));
    }

    pub fn fail(&mut self, offer: &Offer, error: &str) {
        assert_eq!(self.report(offer, Report::Failed(Failure::new(error, "no"))), Ok(Reply::Done));
    }

    pub fn view(&mut self, run: RunId) -> RunView {
        if let Some(view) = self.partition.run(self.now, run) {
            return view;
        }
        self.table.runs.get(&run).unwrap_or_else(|| panic!("no {run}")).state.view(self.now)
    }

    pub fn state(&mut self, run: RunId) -> State {
        self.view(run).summary.state
    }

    pub fn waiting(&mut self, run: RunId) -> Option<WaitKind> {
        self.view(run).summary.waiting.map(|waiting| waiting.kind)
    }

    /// The names of a run's entries, without the interpreter's.
    pub fn journal(&self, run: RunId) -> Vec<&'static str> {
        self.entries(run).iter().map(Entry::name).filter(|name| *name != "Advanced").collect()
    }

    pub fn entries(&self, run: RunId) -> Vec<Entry> {
        let of_run = |record: &Record| match record {
            Record::Run(id, entry) if *id == run => Some(entry.clone()),
            _ => None,
        };
        self.log.iter().flat_map(|batch| &batch.records).filter_map(of_run).collect()
    }

    /// Writes a checkpoint of at most `limit` dirty runs.
    pub fn checkpoint(&mut self, limit: usize) {
        let rows = self.partition.checkpoint_slice(limit);
        for row in rows.runs {
            self.table.runs.insert(row.summary.id, row);
        }
        for line in rows.journal {
            self.table.journal.insert((line.run, line.seq), line);
        }
        for row in rows.keys {
            self.table.keys.insert(row.key.id.clone(), row);
        }
        for key in rows.deleted_keys {
            self.table.keys.remove(&key);
        }
        for id in rows.deleted_schedules {
            self.table.schedules.remove(&id);
        }
        for row in rows.schedules {
            self.table.schedules.insert(row.schedule.id.clone(), row);
        }
        for run in rows.deleted_runs {
            self.table.runs.remove(&run);
            self.table.journal.retain(|(of, _), _| *of != run);
        }
        self.table.partition = rows.partition.expect("every slice has the partition's row");
        self.partition.checkpointed(self.now);
        self.table.trimmed_below = self.partition.trim_point();
    }

    /// The process dies and another one recovers from rows and log. Workers and their offers are gone from memory.
    pub fn crash(&mut self) {
        let mut partition = Partition::new(self.config.clone());
        partition.recover_partition(self.table.partition.clone());
        for row in self.table.runs.values() {
            if let Some(stub) = &row.stub {
                partition.recover_stub(stub.clone());
            }
        }
        for row in self.table.schedules.values() {
            partition.recover_schedule(row.stub.clone());
        }
        let below = self.table.trimmed_below;
        for batch in &self.log {
            if batch.first + batch.records.len() as u64 <= below {
                continue;
            }
            loop {
                let needs = partition.replay_needs(&batch.records);
                if needs.is_empty() {
                    break;
                }
                let rows = self.load(&needs);
                partition.recover_rows(batch.now, rows);
            }
            partition.replay(batch.now, batch.first, &batch.records);
        }
        self.partition = partition;
        let active = self.partition.recovered(self.now);
        let decided = self.partition.take_decided();
        assert_eq!(decided.records, vec![], "recovery decides nothing");
        let mut waiting = VecDeque::new();
        self.act(decided.effects, &mut waiting);
        for run in active {
            let rows = self.load(&Needs { runs: vec![run], ..Needs::default() });
            waiting.push_back(Command::Loaded(Box::new(rows)));
        }
        for command in waiting {
            self.send(command).expect("a follow-up of recovery");
        }
    }

    /// Drops from memory what can be dropped.
    pub fn evict(&mut self) {
        self.checkpoint(usize::MAX);
        self.partition.evict(usize::MAX);
    }
}
