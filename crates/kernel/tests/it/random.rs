//! Random commands, crashes, checkpoints and evictions: nothing panics, the same commands give the same records, the state is what the
//! records say, and every run can end. The transitions that were reached are compared with the table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use riverrun_kernel::driver::{Child, OnParentEnd, Sleep, Work};
use riverrun_kernel::life::{self, Phase};
use riverrun_kernel::workflow::Act;
use riverrun_kernel::*;

use crate::world::{Op, SECRET, World, call, flow, retry, task, token_of, workflow};

#[derive(Debug, Clone)]
enum Move {
    StartFlow(u8),
    StartTask(u8),
    StartWorkflow(u8),
    /// The code of a workflow does something, or repeats what it did.
    Act(u8, u8),
    Park(u8, bool),
    StartKeyed(u8, u8),
    Cancel(u8),
    Pause(u8),
    Resume(u8),
    Delete(u8),
    Signal(u8),
    Callback(u8),
    Report(u8, u8),
    ReportOld(u8, u8),
    Worker(u8),
    Goodbye(u8, bool),
    Heartbeat(u8),
    /// A worker takes so many attempts beyond its slots.
    Ahead(u8, u8),
    DeleteKey(bool),
    Labels(u8),
    StartLimited(u8, u8),
    /// A limit of a queue or a key is set or lifted.
    Limit(u8),
    StartMany(u8),
    /// A queue is emptied.
    Withdraw(u8),
    Pass(u32),
    Checkpoint(u8),
    Evict,
    Crash,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => any::<u8>().prop_map(Move::StartFlow),
        3 => any::<u8>().prop_map(Move::StartTask),
        4 => any::<u8>().prop_map(Move::StartWorkflow),
        20 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Move::Act(which, how)),
        4 => (any::<u8>(), any::<bool>()).prop_map(|(which, seen)| Move::Park(which, seen)),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(how, input)| Move::StartKeyed(how, input)),
        3 => any::<u8>().prop_map(Move::Cancel),
        2 => any::<u8>().prop_map(Move::Pause),
        4 => any::<u8>().prop_map(Move::Resume),
        1 => any::<u8>().prop_map(Move::Delete),
        4 => any::<u8>().prop_map(Move::Signal),
        4 => any::<u8>().prop_map(Move::Callback),
        16 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Move::Report(which, how)),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Move::ReportOld(which, how)),
        6 => any::<u8>().prop_map(Move::Worker),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(which, goodbye)| Move::Goodbye(which, goodbye)),
        3 => any::<u8>().prop_map(Move::Heartbeat),
        2 => (any::<u8>(), 0..3_u8).prop_map(|(which, many)| Move::Ahead(which, many)),
        1 => any::<bool>().prop_map(Move::DeleteKey),
        1 => any::<u8>().prop_map(Move::Labels),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(key, how)| Move::StartLimited(key, how)),
        1 => any::<u8>().prop_map(|which| if which < 32 { Move::Withdraw(which) } else { Move::Limit(which) }),
        1 => any::<u8>().prop_map(Move::StartMany),
        8 => prop_oneof![0..50_u32, 0..5_000_u32, 0..400_000_u32].prop_map(Move::Pass),
        3 => any::<u8>().prop_map(Move::Checkpoint),
        2 => Just(Move::Evict),
        2 => Just(Move::Crash),
    ];
    prop::collection::vec(one, 1..80)
}

const FUNCTIONS: [&str; 5] = ["a", "b", "once", "workflow:code", callback::CALLBACK];

fn flows() -> Vec<(&'static str, Vec<Op>)> {
    let mut flaky = call("a");
    flaky.retry = retry(2, 100);
    let mut limited = call("b");
    limited.timeout_ms = Some(500);
    limited.retry = retry(1, 10);
    let mut once = call("once");
    once.at_most_once = true;
    let mut called_back = call("a");
    called_back.callback = true;
    called_back.timeout_ms = Some(60_000);
    let mut quick = called_back.clone();
    "b".clone_into(&mut quick.function);
    vec![
        ("steps", vec![Op::Call(flaky.clone()), Op::Sleep(40), Op::Call(limited.clone())]),
        ("both", vec![Op::Both(flaky, limited), Op::Call(once)]),
        ("signal", vec![Op::Signal("go", Some(1_000)), Op::Signal("go", Some(300_000))]),
        ("callback", vec![Op::Call(called_back), Op::Callback(Some(5_000))]),
        ("quick", vec![Op::Call(quick)]),
        ("hands", vec![Op::Hand("clerk", None), Op::Hand("quick", Some("k"))]),
        ("clerk", vec![Op::PassOn("a"), Op::Sleep(40)]),
        ("spin", vec![Op::Spin(500), Op::Sleep(1), Op::Fail]),
        ("endless", vec![Op::Spin(u32::MAX)]),
        ("broken", vec![Op::Sleep(3), Op::Broken]),
        ("parent", vec![Op::Child("steps", true, OnParentEnd::Cancel, None)]),
        ("guardian", vec![Op::Child("steps", false, OnParentEnd::Wait, None), Op::Sleep(2)]),
        ("careless", vec![Op::Child("signal", false, OnParentEnd::Abandon, None), Op::Call(call("b"))]),
        ("shared", vec![Op::Child("steps", true, OnParentEnd::Cancel, Some("k"))]),
    ]
}

/// Plays moves on a world, remembering what it did.
struct Player {
    world: World,
    runs: Vec<RunId>,
    offers: Vec<Offer>,
    old: Vec<Offer>,
    /// Acts that were taken of each attempt at code.
    acts: BTreeMap<AttemptId, u64>,
    workers: u64,
}

impl Player {
    fn new() -> Self {
        Player {
            world: World::new(&flows()),
            runs: Vec::new(),
            offers: Vec::new(),
            old: Vec::new(),
            acts: BTreeMap::new(),
            workers: 0,
        }
    }

    fn pick(&self, which: u8) -> Option<RunId> {
        (!self.runs.is_empty()).then(|| self.runs[which as usize % self.runs.len()])
    }

    /// Whether the command was refused does not matter here; that nothing breaks does.
    fn send(&mut self, command: Command) {
        let _ = self.world.send(command);
    }

    fn play(&mut self, step: &Move) {
        let flows = flows();
        match step {
            Move::StartFlow(which) => {
                let mut request = self.world.request(flow(flows[*which as usize % flows.len()].0));
                if which % 7 == 0 {
                    request.options.timeout_ms = Some(2_000);
                }
                if which % 5 == 0 {
                    request.options.run_at = Some(self.world.now.wall.plus(u64::from(*which) * 10));
                }
                self.begin(request);
            }
            Move::StartTask(which) => {
                let mut request =
                    self.world.request(task(["a", "b", "once", "unknown"][*which as usize % 4]));
                if which % 4 == 0 {
                    request.options.queue_ttl_ms = Some(1_000);
                }
                if which % 6 == 0 {
                    request.options.delay_ms = Some(300);
                }
                self.begin(request);
            }
            Move::StartWorkflow(which) => {
                let mut request = self.world.request(workflow("code"));
                if which % 7 == 0 {
                    request.options.timeout_ms = Some(2_000);
                }
                self.begin(request);
            }
            Move::Act(which, how) => self.act(*which, *how),
            Move::Park(which, all) => {
                let bodies = self.bodies();
                if let Some(offer) = bodies.get(*which as usize % bodies.len().max(1)).cloned() {
                    let seen = if *all { u64::MAX } else { 0 };
                    let _ = self.world.report(&offer, Report::Parked { seen });
                }
            }
            Move::StartKeyed(how, input) => self.start_keyed(*how, *input),
            Move::Cancel(which) => {
                if let Some(run) = self.pick(*which) {
                    let failure = Failure::new("Enough", "");
                    let stop = which.is_multiple_of(2);
                    let cancel = Command::Cancel { run, reason: String::new() };
                    self.send(if stop { Command::Stop { run, failure } } else { cancel });
                }
            }
            Move::Pause(which) => {
                if let Some(run) = self.pick(*which) {
                    self.send(Command::Pause { run });
                }
            }
            Move::Resume(which) => {
                if let Some(run) = self.pick(*which) {
                    self.send(Command::Resume { run });
                }
            }
            Move::Delete(which) => {
                if let Some(run) = self.pick(*which) {
                    self.send(Command::Delete { run });
                }
            }
            Move::Signal(which) => {
                if let Some(run) = self.pick(*which) {
                    let id = (which % 3 == 0).then(|| which.to_string());
                    self.send(Command::Signal { run, name: "go".into(), payload: Json::null(), id });
                }
            }
            Move::Callback(which) => self.call_back(*which),
            Move::Report(which, how) => {
                if !self.offers.is_empty() {
                    let offer = self.offers.remove(*which as usize % self.offers.len());
                    self.report(&offer, *how);
                    self.old.push(offer);
                }
            }
            Move::ReportOld(which, how) => {
                if !self.old.is_empty() {
                    let offer = self.old[*which as usize % self.old.len()].clone();
                    self.report(&offer, *how);
                }
            }
            Move::Worker(which) => self.connect(*which),
            Move::Goodbye(which, goodbye) => {
                let worker = WorkerId(u64::from(*which) % (self.workers + 1));
                self.send(Command::DisconnectWorker { worker, goodbye: *goodbye });
            }
            Move::Heartbeat(which) => {
                let worker = WorkerId(u64::from(*which) % (self.workers + 1));
                self.send(Command::Heartbeat { worker });
            }
            Move::Ahead(which, many) => {
                let worker = WorkerId(u64::from(*which) % (self.workers + 1));
                self.send(Command::OfferAhead { worker, attempts: u32::from(*many) });
            }
            Move::DeleteKey(cancel) => {
                let key = key_options("{}").id;
                self.send(Command::DeleteKey { key, cancel: *cancel });
            }
            Move::Labels(which) => {
                if let Some(run) = self.pick(*which) {
                    let labels = Labels::from([("n".to_owned(), which.to_string())]);
                    self.send(Command::SetLabels { run, labels });
                }
            }
            Move::StartLimited(key, how) => {
                let request = self.limited(*key, *how);
                self.begin(request);
            }
            Move::Limit(which) => self.limit(*which),
            Move::StartMany(which) => {
                let starts: Vec<StartRun> =
                    (0..which % 20).map(|n| self.limited(which.wrapping_add(n), n)).collect();
                self.runs.extend(starts.iter().map(|start| start.run));
                self.send(Command::StartMany(starts));
            }
            Move::Withdraw(which) => {
                let queue = ["narrow", "default"][usize::from(which % 2)].to_owned();
                let (runs, reason) = (self.runs.clone(), "emptied".to_owned());
                self.send(Command::Withdraw { queue, runs, reason });
            }
            Move::Pass(ms) => self.world.pass(u64::from(*ms)),
            Move::Checkpoint(limit) => self.world.checkpoint(*limit as usize % 5 + 1),
            Move::Evict => self.world.evict(),
            Move::Crash => {
                self.world.crash();
                self.workers += 1;
            }
        }
        self.offers.extend(self.world.offers.drain(..).map(|(_, offer)| offer));
    }

    fn limited(&mut self, key: u8, how: u8) -> StartRun {
        let mut request = self.world.request(task(["a", "b"][usize::from(how % 2)]));
        let (key, max_running, rate) = KEYS[usize::from(key) % KEYS.len()];
        let rate = (rate > 0).then_some(Rate { count: rate, per_ms: RATE_MS });
        request.options.callback_url = how.is_multiple_of(4).then(|| "https://hook.example/".into());
        request.options.task = Some(TaskOptions {
            limit: Some(Arc::new(CallLimit { key: key.into(), max_running, rate })),
            priority: Some(how / 2 % 3),
            queue: if how.is_multiple_of(5) { "narrow".into() } else { String::new() },
            timeout_ms: how.is_multiple_of(7).then_some(400),
            retry: if how.is_multiple_of(3) { retry(1, 20) } else { vec![] },
            ..TaskOptions::default()
        });
        request
    }

    fn limit(&mut self, which: u8) {
        let limiter = LimiterId {
            namespace: "default".into(),
            kind: LimiterKind::Queue,
            name: ["narrow", "default"][usize::from(which % 2)].into(),
        };
        let change = match which / 2 % 6 {
            0 => LimiterChange { paused: Some(true), ..LimiterChange::default() },
            1 | 2 => LimiterChange { paused: Some(false), ..LimiterChange::default() },
            3 => LimiterChange {
                max_running: Some(Some(u32::from(which / 12 % 3) + 1)),
                ..LimiterChange::default()
            },
            4 => LimiterChange { max_running: Some(None), ..LimiterChange::default() },
            _ => {
                LimiterChange { rate: Some(Some(Rate { count: 2, per_ms: 100 })), ..LimiterChange::default() }
            }
        };
        self.send(Command::ChangeLimit { limiter, change });
    }

    /// The offers of code that were not reported yet.
    fn bodies(&self) -> Vec<Offer> {
        self.offers.iter().filter(|offer| offer.body.is_some()).cloned().collect()
    }

    fn act(&mut self, which: u8, how: u8) {
        let bodies = self.bodies();
        let Some(offer) = bodies.get(which as usize % bodies.len().max(1)).cloned() else { return };
        let sent = self.acts.entry(offer.attempt).or_default();
        let again = u64::from(how > 240 && *sent > 0);
        let first = *sent + 1 - again;
        let tag = u64::from(how);
        let path = tag.to_string();
        let child = Child {
            definition: flow("steps"),
            input: Json::trusted("{}"),
            continue_id: None,
            is_name: false,
            wait: how.is_multiple_of(2),
            callback: None,
            on_parent_end: OnParentEnd::Cancel,
            options: Box::default(),
        };
        let mut flaky = call("a");
        flaky.retry = retry(1, 10);
        let work = match how % 6 {
            0 => Work::Sleep(Sleep::For(tag)),
            1 => Work::Signal { name: "go".to_owned(), timeout_ms: Some(400) },
            2 => Work::Child(child),
            _ => Work::Call(flaky),
        };
        let act = match how % 8 {
            0 | 1 => Act::Ran { tag, path, outcome: Ok(Json::null()) },
            2 => Act::Starting { tag, path },
            3 => Act::Abort { tag: u64::from(which) },
            4 => Act::Status(Json::null()),
            _ => Act::Begin { tag, path, work },
        };
        let counts = u64::from(act.counts());
        if self.world.progress(&offer, first, vec![act]).is_ok() {
            *self.acts.entry(offer.attempt).or_default() += counts.saturating_sub(again);
        }
    }

    fn begin(&mut self, request: StartRun) {
        if let Ok((run, ..)) = self.world.start_run(request) {
            self.runs.push(run);
        }
    }

    fn start_keyed(&mut self, how: u8, input: u8) {
        let input = ["{}", "{\"n\":1}"][usize::from(input.is_multiple_of(8))];
        let mut request = self.world.request(flow("steps"));
        request.input = Json::trusted(input);
        // Whatever it names: a step that waits for a token, one that does not, one that is over, none.
        let awaited =
            self.pick(how).map(|run| AwaitedStep { run, step: StepId(1 + u32::from(input.len() > 2)) });
        request.options.report_to = awaited;
        let mut key = key_options(input);
        key.on_running = [OnRunning::Attach, OnRunning::Restart, OnRunning::Reject][how as usize % 3];
        key.on_success = [OnSuccess::Reuse, OnSuccess::Rerun, OnSuccess::Reject][how as usize / 3 % 3];
        key.on_failure = [None, Some(OnFailure::Resume), Some(OnFailure::Rerun), Some(OnFailure::Return)]
            [how as usize / 9 % 4];
        key.force = how > 230;
        key.allow_new_input = how.is_multiple_of(2);
        request.key = Some(key);
        self.begin(request);
    }

    fn call_back(&mut self, which: u8) {
        // A token is for the function that is called, or handed to it by the parent of its run.
        let handed = |offer: &Offer| Some(offer.call.input.to_value().ok()?["to"][0].as_str()?.to_owned());
        let token = |offer: &Offer| offer.callback.clone().or_else(|| handed(offer)).as_deref().map(token_of);
        let known: Vec<CallbackToken> = self.offers.iter().chain(&self.old).filter_map(token).collect();
        let Some(&token) = known.get(which as usize % known.len().max(1)) else {
            return;
        };
        let outcome =
            if which.is_multiple_of(3) { Err(Failure::new("Outside", "no")) } else { Ok(Json::null()) };
        self.send(Command::CompleteCallback { token, outcome });
    }

    fn report(&mut self, offer: &Offer, how: u8) {
        let report = match how % 8 {
            0..=2 => Report::Succeeded(Json::trusted("{}")),
            3 | 4 => Report::Failed(Failure::new("Flaky", "no")),
            5 => Report::Lost(Lost::Crashed),
            6 => Report::Lost(Lost::Bystander),
            _ => Report::Stopped,
        };
        let _ = self.world.report(offer, report);
    }

    fn connect(&mut self, which: u8) {
        self.workers += 1;
        let id = 1_000 + self.workers;
        let claims = if which.is_multiple_of(2) {
            self.offers.iter().map(|offer| (offer.attempt, offer.token)).collect()
        } else {
            vec![]
        };
        // One of two processes, now and then over a connection that was overtaken by a later one; or one that does not say.
        let process = ["p", "q"].get(usize::from(which / 4 % 3));
        let connection = if (which / 16).is_multiple_of(4) { self.workers / 2 } else { self.workers };
        self.world.incarnation =
            process.map(|process| Incarnation { process: (*process).into(), connection });
        self.world.reconnect(id, &FUNCTIONS, u32::from(which % 4) + 1, claims);
        self.workers = self.workers.max(id - 1_000);
    }

    /// Faults stop: everything that can go on does, and every run must end.
    fn settle(&mut self) {
        let stay: Vec<RunId> = self.open();
        for run in stay {
            let repair =
                self.world.view(run).summary.waiting.is_some_and(|waiting| waiting.kind == WaitKind::Repair);
            if repair {
                self.send(Command::Cancel { run, reason: String::new() });
            } else {
                self.send(Command::Resume { run });
            }
        }
        self.world.incarnation = None;
        self.world.reconnect(9_999, &FUNCTIONS, 1_000, vec![]);
        for which in 2..4 {
            self.limit(which);
        }
        for _ in 0..200 {
            self.offers.extend(self.world.offers.drain(..).map(|(_, offer)| offer));
            for offer in std::mem::take(&mut self.offers) {
                let _ = self.world.report(&offer, Report::Succeeded(Json::trusted("{}")));
            }
            for stopped in std::mem::take(&mut self.world.stops) {
                // A worker that is told to stop does, whoever it is by now.
                let of = |offer: &&Offer| offer.attempt == stopped;
                if let Some(offer) = self.old.iter().find(of).cloned() {
                    let _ = self.world.report(&offer, Report::Stopped);
                }
            }
            for run in self.open() {
                if self.world.waiting(run) == Some(WaitKind::Repair) {
                    self.send(Command::Cancel { run, reason: String::new() });
                }
            }
            self.answer_for_children();
            self.world.pass(10_000);
            self.send(Command::Heartbeat { worker: WorkerId(9_999) });
            if self.open().is_empty() {
                return;
            }
        }
        let open: Vec<_> = self.open().into_iter().map(|run| (run, self.world.view(run))).collect();
        panic!("these runs can never end: {open:#?}");
    }

    /// Whoever has a token that was handed to a child uses it in the end: the child itself ends no step.
    fn answer_for_children(&mut self) {
        for run in self.open() {
            let steps = self.world.view(run).steps;
            let waits = |waiting: &Waiting| waiting.kind == WaitKind::Callback;
            for step in steps.iter().filter(|step| &*step.kind == "child") {
                if step.waiting.as_ref().is_some_and(waits) {
                    let token = CallbackToken::of(&SECRET, run, step.id);
                    self.send(Command::CompleteCallback { token, outcome: Ok(Json::null()) });
                }
            }
        }
    }

    fn open(&self) -> Vec<RunId> {
        let mut created: Vec<RunId> = Vec::new();
        for record in self.world.log.iter().flat_map(|batch| &batch.records) {
            if let Record::Run(run, Entry::RunCreated(_)) = record {
                created.push(*run);
            }
        }
        created.retain(|run| self.world.partition.is_open(*run));
        created
    }
}

fn key_options(input: &str) -> KeyOptions {
    let id = KeyId {
        namespace: "default".into(),
        definition: "steps".into(),
        version: "".into(),
        continue_id: "k".into(),
    };
    KeyOptions::new(id, Fingerprint::of(input).expect("valid"))
}

/// Follows every journal through the table; returns the transitions it took.
fn transitions(world: &World) -> BTreeSet<(Phase, &'static str)> {
    let mut phases = std::collections::HashMap::new();
    let mut taken = BTreeSet::new();
    for record in world.log.iter().flat_map(|batch| &batch.records) {
        let Record::Run(run, entry) = record else { continue };
        if let Entry::RunCreated(_) = entry {
            assert!(phases.insert(*run, Phase::Queued).is_none(), "{run} was created twice");
            continue;
        }
        let phase = phases[run];
        let next = life::next(phase, entry);
        assert!(next.is_some(), "{} in phase {phase:?} of {run}", entry.name());
        taken.insert((phase, entry.name()));
        phases.insert(*run, next.expect("checked"));
    }
    taken
}

/// A step whose outcome is on record is never given out again.
fn no_recorded_step_runs_again(world: &World) {
    let mut recorded = BTreeSet::new();
    for record in world.log.iter().flat_map(|batch| &batch.records) {
        match record {
            Record::Run(run, Entry::StepSucceeded { step, .. } | Entry::StepFailed { step, .. }) => {
                assert!(recorded.insert((*run, *step)), "{run} step {step:?} has two outcomes");
            }
            Record::Run(run, Entry::AttemptStarted { step, .. }) => {
                assert!(!recorded.contains(&(*run, *step)), "{run} step {step:?} ran again after its record");
            }
            _ => {}
        }
    }
}

/// A step of a flow that is begun again, because its run goes on, has no second child where the first has succeeded.
fn no_child_does_again_what_one_has_done(world: &World) {
    let mut paths: BTreeMap<(RunId, StepId), &String> = BTreeMap::new();
    let mut parents: BTreeMap<RunId, (RunId, &String)> = BTreeMap::new();
    let mut done: BTreeMap<(RunId, &String), RunId> = BTreeMap::new();
    let records = || world.log.iter().flat_map(|batch| &batch.records);
    // What was deleted is not known to have succeeded.
    let deleted: BTreeSet<RunId> = records()
        .filter_map(|record| if let Record::RunDeleted(run) = record { Some(*run) } else { None })
        .collect();
    for record in records() {
        let Record::Run(run, entry) = record else { continue };
        match entry {
            // One that was handed a token does not end its step.
            Entry::StepBegun { step, path, work: Work::Child(child), .. } if child.wait => {
                paths.insert((*run, *step), path);
            }
            Entry::ChildStarted { step, run: child } => {
                if let Some(path) = paths.get(&(*run, *step)) {
                    parents.insert(*child, (*run, path));
                }
            }
            Entry::RunSucceeded { .. } if !deleted.contains(run) => {
                let Some(place) = parents.get(run) else { continue };
                let before = done.insert(*place, *run);
                assert!(before.is_none(), "{run} did again what {before:?} had done for {place:?}");
            }
            _ => {}
        }
    }
}

/// Keys with how many of them may execute at once, and how many may start within [`RATE_MS`].
const KEYS: [(&str, Option<u32>, u32); 4] =
    [("one", Some(1), 0), ("two", Some(2), 0), ("rated", None, 3), ("both", Some(2), 2)];
const RATE_MS: u64 = 300;

/// The queue and the concurrency key of a call.
type Standing = (String, Option<String>);

/// No limit is exceeded at any instant, as the log tells it: attempts count from their start until they are known to have stopped.
fn no_limit_is_exceeded(world: &World) {
    let mut calls: BTreeMap<(RunId, StepId), Standing> = BTreeMap::new();
    let mut out: BTreeSet<(RunId, StepId, u32)> = BTreeSet::new();
    let mut queues: BTreeMap<String, LimiterSettings> = BTreeMap::new();
    let mut starts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for batch in &world.log {
        for record in &batch.records {
            match record {
                Record::LimitSet { limiter, settings } => {
                    queues.insert(limiter.name.to_string(), *settings);
                }
                Record::Run(
                    run,
                    Entry::StepBegun { step, work: Work::Call(call) | Work::Body(call), .. },
                ) => {
                    let key = call.limit.as_ref().map(|limit| limit.key.to_string());
                    calls.insert((*run, *step), (call.queue.clone(), key));
                }
                Record::Run(run, Entry::AttemptStarted { step, attempt, .. }) => {
                    out.insert((*run, *step, *attempt));
                    let (queue, key) = calls[&(*run, *step)].clone();
                    let count = |of: &dyn Fn(&Standing) -> bool| {
                        out.iter().filter(|(run, step, _)| of(&calls[&(*run, *step)])).count() as u32
                    };
                    if let Some(settings) = queues.get(&queue) {
                        assert!(!settings.paused, "{run} started in a paused queue");
                        let running = count(&|call| call.0 == queue);
                        assert!(
                            settings.max_running.is_none_or(|max| running <= max),
                            "queue {queue}: {running}"
                        );
                    }
                    let Some(key) = key else { continue };
                    // Any other key is that of a host that is told how runs have ended.
                    let known = KEYS.iter().find(|known| known.0 == key);
                    let (_, max, rate) = known.copied().unwrap_or(("", Some(8), 0));
                    let running = count(&|call| call.1.as_ref() == Some(&key));
                    assert!(max.is_none_or(|max| running <= max), "key {key}: {running} at once");
                    let times = starts.entry(key).or_default();
                    times.push(batch.now.ticks.0);
                    let burst = rate as usize;
                    if rate > 0 && times.len() > burst {
                        let gap = times[times.len() - 1] - times[times.len() - 1 - burst];
                        assert!(gap >= RATE_MS / u64::from(rate), "{times:?}");
                    }
                }
                Record::Run(
                    run,
                    Entry::StepSucceeded { step, attempt, .. }
                    | Entry::StepFailed { step, attempt, draining: false, .. }
                    | Entry::AttemptFailed { step, attempt, draining: false, .. }
                    | Entry::AttemptLost { step, attempt, .. }
                    | Entry::AttemptParked { step, attempt, .. }
                    | Entry::CallReturned { step, attempt }
                    | Entry::AttemptStopped { step, attempt },
                ) => {
                    out.remove(&(*run, *step, *attempt));
                }
                _ => {}
            }
        }
    }
}

/// Each end of a run that an address wants to know of starts one run that tells it.
fn every_end_is_told_once(world: &World) {
    let mut wanted: BTreeMap<String, i32> = BTreeMap::new();
    for record in world.log.iter().flat_map(|batch| &batch.records) {
        let Record::Run(run, entry) = record else { continue };
        match entry {
            Entry::RunCreated(created) => {
                if created.options.callback_url.is_some() {
                    wanted.insert(run.to_string(), 0);
                }
                if let Some(of) = created.options.labels.get(callback::LABEL) {
                    *wanted.get_mut(of).expect("the run that has ended") -= 1;
                }
            }
            Entry::RunSucceeded { .. }
            | Entry::RunFailed { .. }
            | Entry::RunTimedOut
            | Entry::RunCancelled
            | Entry::RunExpired => {
                if let Some(ends) = wanted.get_mut(&run.to_string()) {
                    *ends += 1;
                }
            }
            _ => {}
        }
    }
    assert!(wanted.values().all(|left| *left == 0), "{wanted:?}");
}

static REACHED: Mutex<BTreeSet<(Phase, &'static str)>> = Mutex::new(BTreeSet::new());

fn check(steps: &[Move]) {
    let mut player = Player::new();
    for step in steps {
        player.play(step);
    }
    player.settle();
    no_recorded_step_runs_again(&player.world);
    no_limit_is_exceeded(&player.world);
    every_end_is_told_once(&player.world);
    no_child_does_again_what_one_has_done(&player.world);
    REACHED.lock().expect("not poisoned").extend(transitions(&player.world));

    let mut again = Player::new();
    for step in steps {
        again.play(step);
    }
    again.settle();
    let records = |player: &Player| format!("{:?}", player.world.log);
    assert_eq!(records(&player), records(&again), "the same commands give the same records");

    // The records alone give the state: rows and evictions made no difference.
    let mut replayed = Partition::new(Config::new(PartitionId(0), 1, [7; 32]));
    for batch in &player.world.log {
        let needs = replayed.replay_needs(&batch.records);
        let absent = LoadedRows {
            runs: needs.runs.into_iter().map(|run| (run, None)).collect(),
            keys: needs.keys.into_iter().map(|key| (key, None)).collect(),
            schedules: needs.schedules.into_iter().map(|id| (id, None)).collect(),
        };
        replayed.recover_rows(batch.now, absent);
        replayed.replay(batch.now, batch.first, &batch.records);
    }
    let mut runs: Vec<RunId> = Vec::new();
    for record in player.world.log.iter().flat_map(|batch| &batch.records) {
        match record {
            Record::Run(run, Entry::RunCreated(_)) => runs.push(*run),
            Record::RunDeleted(run) => runs.retain(|other| other != run),
            _ => {}
        }
    }
    let now = player.world.now;
    for run in runs {
        let live = player.world.view(run);
        assert_eq!(Some(live), replayed.run(now, run), "of {run}");
    }
}

/// By default the same commands each time; `RIVERRUN_KERNEL_CASES=100000` plays that many others.
#[test]
fn random_commands_keep_every_promise() {
    let more = std::env::var("RIVERRUN_KERNEL_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = ProptestConfig {
        cases: more.unwrap_or(2_500),
        failure_persistence: None,
        max_shrink_iters: 3_000,
        ..ProptestConfig::default()
    };
    let mut runner = match more {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let played = runner.run(&moves(), |steps| {
        check(&steps);
        Ok(())
    });
    if let Err(failure) = played {
        panic!("{failure}");
    }
    list_untested_transitions();
}

/// Every transition of the table was taken by some random run.
fn list_untested_transitions() {
    let reached = REACHED.lock().expect("not poisoned");
    let mut untested = Vec::new();
    for phase in Phase::ALL {
        for entry in one_of_each() {
            if life::next(phase, &entry).is_some() && !reached.contains(&(phase, entry.name())) {
                untested.push(format!("{phase:?} {}", entry.name()));
            }
        }
    }
    assert!(untested.is_empty(), "no test reached these transitions: {untested:#?}");
}

fn one_of_each() -> Vec<Entry> {
    let (step, attempt, failure) = (StepId(1), 1, Failure::new("E", ""));
    vec![
        Entry::RunStarted,
        Entry::RunPaused,
        Entry::RunResumed,
        Entry::RunSuspended { reason: String::new() },
        Entry::Advanced { cells: vec![], transitions: 0, unfinished: false },
        Entry::StepBegun { step, tag: 0, path: String::new(), work: Work::Sleep(Sleep::For(1)) },
        Entry::AttemptStarted { step, attempt, worker: "".into(), in_process: false, incarnation: None },
        Entry::AttemptFailed {
            step,
            attempt,
            failure: failure.clone(),
            policy: 0,
            retry_at: Ticks(0),
            draining: false,
        },
        Entry::AttemptLost { step, attempt, reason: Lost::Returned, with_worker: false },
        Entry::AttemptParked { step, attempt, ready: false },
        Entry::AttemptStopped { step, attempt },
        Entry::StepRan { tag: 0, path: String::new(), outcome: Ok(Json::null()) },
        Entry::StepStarting { tag: 0, path: String::new() },
        Entry::StatusPublished { status: Json::null() },
        Entry::CallReturned { step, attempt },
        Entry::StepSucceeded { step, attempt, output: Json::null() },
        Entry::StepFailed { step, attempt, failure: failure.clone(), draining: false },
        Entry::StepCancelled { step },
        Entry::ChildStarted { step, run: RunId::new(0, Slot(0), 0) },
        Entry::ChildEnded { run: RunId::new(0, Slot(0), 0) },
        Entry::SignalReceived { name: String::new(), payload: Json::null(), id: None },
        Entry::LabelsSet { labels: Labels::new() },
        Entry::CancelRequested { reason: String::new(), failure: None },
        Entry::RunEnding { outcome: Ok(Json::null()) },
        Entry::RunSucceeded { output: Json::null() },
        Entry::RunFailed { failure },
        Entry::RunTimedOut,
        Entry::RunCancelled,
        Entry::RunExpired,
        Entry::RunReopened,
    ]
}
