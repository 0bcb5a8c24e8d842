//! Simulated clients: each wants one thing and asks again until it is answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use riverrun_engine::EngineError;
use riverrun_engine::sequencer::{Answer, Ask, Library};
use riverrun_kernel::compose::{self, ChainInput, GroupInput};
use riverrun_kernel::schedule::{
    MissedPolicy, Overlap, PutMode, ScheduleCommand, ScheduleId, ScheduleSpec, Target,
};
use riverrun_kernel::{
    CallLimit, CallbackToken, Command, Definition, DefinitionKind, Fingerprint, Json, KeyId, KeyOptions,
    LimiterChange, LimiterId, LimiterKind, Next, OnFailure, OnRunning, PartitionId, Rate, Refusal, Reply,
    RunId, RunOptions, Slot, StartRun, StepId, TaskOptions, Ttl, Wall,
};

use super::script::{FLOW, SCRIPTS, call, reference};
use super::world::{Dice, Event, PARTITIONS, To, World};

/// Concurrency keys: how many of each may execute at once, and at most one start in so many milliseconds.
pub const LIMITS: [(&str, Option<u32>, Option<u64>); 3] =
    [("sim-one", Some(1), None), ("sim-two", Some(2), None), ("sim-rate", None, Some(300))];

/// The queue that everything stands in.
fn queue() -> LimiterId {
    LimiterId { namespace: "default".into(), kind: LimiterKind::Queue, name: "default".into() }
}

/// Asks again after so long without an answer.
const PATIENCE_MS: u64 = 3_000;

#[derive(Debug, Clone)]
enum Wish {
    Deploy,
    /// Key number, whether its results are reused (else each start may begin a new generation), input.
    Keyed {
        key: u64,
        strict: bool,
        input: u64,
    },
    Unkeyed,
    /// A task with a limit, a group of such, or one that is followed by another.
    Limited(u64),
    /// Several of them in one command.
    Batch,
    /// A queue is paused in one partition, or limited there.
    Queue(u64),
    /// Something about a run that is known by then.
    Cancel,
    Pause,
    Signal,
    Delete,
    /// Writes, pauses, lets go on, triggers or forgets a schedule.
    Schedule,
    /// Once all is calm: whatever waits for a person is helped on.
    Help,
}

#[derive(Debug)]
struct Client {
    wish: Wish,
    begins: u64,
    /// What it asks for, the same each time.
    asked: Option<(u16, Command)>,
    sent: u64,
    answered: bool,
}

#[derive(Debug)]
pub struct Clients {
    all: Vec<Client>,
    /// Callback tokens that functions were given.
    pub tokens: Vec<(RunId, String)>,
    known: Vec<RunId>,
    /// The run and input that stand for a strict key.
    keys: BTreeMap<u64, (RunId, u64)>,
}

impl Clients {
    pub fn new(dice: &mut Dice) -> Self {
        let mut clients = vec![(Wish::Deploy, 5), (Wish::Help, 60_000)];
        for _ in 0..8 + dice.below(25) {
            let wish = match dice.below(27) {
                0..=6 => {
                    Wish::Keyed { key: dice.below(4), strict: true, input: u64::from(dice.in_thousand(100)) }
                }
                7..=10 => Wish::Keyed { key: 100 + dice.below(3), strict: false, input: 0 },
                11..=15 => Wish::Unkeyed,
                16 => Wish::Cancel,
                17 => Wish::Pause,
                18 => Wish::Signal,
                19 => Wish::Delete,
                20..=23 => Wish::Limited(dice.below(9)),
                24..=25 => Wish::Batch,
                _ => Wish::Queue(dice.below(6)),
            };
            clients.push((wish, dice.below(45_000)));
        }
        for _ in 0..dice.below(6) {
            clients.push((Wish::Schedule, dice.below(45_000)));
        }
        let client = |(wish, begins)| Client { wish, begins, asked: None, sent: 0, answered: false };
        Clients {
            all: clients.into_iter().map(client).collect(),
            tokens: Vec::new(),
            known: Vec::new(),
            keys: BTreeMap::new(),
        }
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    pub fn begins(&self, client: usize) -> u64 {
        self.all[client].begins
    }

    pub fn have_ended(&self) -> bool {
        self.all.iter().all(|client| client.answered || matches!(client.wish, Wish::Help))
    }

    pub fn unanswered(&self) -> Vec<String> {
        self.all.iter().filter(|client| !client.answered).map(|client| format!("{client:?}")).collect()
    }
}

impl World {
    pub fn client_acts(&mut self, index: usize) {
        let client = &self.clients.all[index];
        if client.answered {
            return;
        }
        if matches!(client.wish, Wish::Help) {
            self.help();
            return self.after(5_000, Event::Client(index));
        }
        let client = &self.clients.all[index];
        if client.asked.is_none() {
            let wish = client.wish.clone();
            let asked = self.command_of(&wish);
            let client = &mut self.clients.all[index];
            // Without a command there is no run yet that it could be about.
            client.answered = asked.is_none();
            client.asked = asked;
            if client.answered {
                return;
            }
        }
        let now = self.now;
        let client = &mut self.clients.all[index];
        if client.sent == 0 || client.sent + PATIENCE_MS <= now {
            client.sent = now;
            if let Some((partition, mut command)) = client.asked.clone()
                && !self.fault(50)
            {
                // The engine makes a new id for each call, where the client brings none.
                if let Command::Start(start) = &mut command
                    && start.key.is_some()
                {
                    start.run = RunId::new(self.wall_ms(), start.run.slot(), self.dice.number());
                }
                self.post(partition, Some(To::Client(index)), Ask::Command(command));
            }
        }
        self.after(PATIENCE_MS, Event::Client(index));
    }

    fn command_of(&mut self, wish: &Wish) -> Option<(u16, Command)> {
        let some_run = |world: &mut World| {
            let count = world.clients.known.len() as u64;
            (count > 0).then(|| world.clients.known[world.dice.below(count) as usize])
        };
        let command = match wish {
            Wish::Deploy => {
                let definition = Definition::new(reference(DefinitionKind::Flow, "planned"), FLOW, Wall(1));
                return Some((2, Command::Deploy(definition)));
            }
            Wish::Keyed { key, strict, input } => self.start(Some((*key, *strict, *input))),
            Wish::Unkeyed => self.start(None),
            Wish::Limited(kind) => Command::Start(Box::new(self.limited(*kind))),
            Wish::Batch => {
                // All of one key, so that they belong to one partition.
                let starts: Vec<StartRun> = (0..12).map(|_| self.limited(1)).collect();
                let partition = PartitionId::of(starts[0].run.slot(), PARTITIONS).0;
                return Some((partition, Command::StartMany(starts)));
            }
            Wish::Queue(what) => {
                let limiter = queue();
                let change = match what / 3 {
                    0 => LimiterChange { paused: Some(true), ..LimiterChange::default() },
                    _ => LimiterChange { max_running: Some(Some(2)), ..LimiterChange::default() },
                };
                return Some(((what % 3) as u16, Command::ChangeLimit { limiter, change }));
            }
            Wish::Cancel => Command::Cancel { run: some_run(self)?, reason: "simulated".to_owned() },
            Wish::Pause => Command::Pause { run: some_run(self)? },
            Wish::Signal => Command::Signal {
                run: some_run(self)?,
                name: "go".to_owned(),
                payload: Json::null(),
                id: Some("once".to_owned()),
            },
            Wish::Delete => Command::Delete { run: some_run(self)? },
            Wish::Schedule => {
                let (id, command) = self.schedule();
                let partition = PartitionId::of(id.slot(), PARTITIONS).0;
                return Some((partition, Command::Schedule(id, command)));
            }
            Wish::Help => return None,
        };
        let run = match &command {
            Command::Start(start) => start.run,
            Command::Cancel { run, .. }
            | Command::Pause { run }
            | Command::Signal { run, .. }
            | Command::Delete { run } => *run,
            _ => return None,
        };
        Some((PartitionId::of(run.slot(), PARTITIONS).0, command))
    }

    /// A run that stands under a limit, or is made of such.
    fn limited(&mut self, kind: u64) -> StartRun {
        let (key, max_running, rate) = LIMITS[(kind % 3) as usize];
        let limit =
            CallLimit { key: key.into(), max_running, rate: rate.map(|per_ms| Rate { count: 1, per_ms }) };
        let options = RunOptions {
            task: Some(TaskOptions {
                timeout_ms: Some(5_000),
                retry: call().retry,
                priority: Some((kind / 3) as u8),
                limit: Some(Arc::new(limit)),
                ..TaskOptions::default()
            }),
            // What tells of its end lives in another partition, most often.
            callback_url: kind.is_multiple_of(4).then(|| format!("https://host-{kind}.example/").into()),
            ..RunOptions::default()
        };
        let task = reference(DefinitionKind::Task, "work");
        let part = Next { definition: task.clone(), input: None, into: None, options: options.clone() };
        let slot = options.limiter(&task).expect("it has a limit").slot();
        let mut start = StartRun {
            run: RunId::new(self.wall_ms(), slot, self.dice.number()),
            client_id: true,
            definition: task,
            input: Json::empty_object(),
            key: None,
            parent: None,
            options,
        };
        match kind {
            6 => start.options.then = Some(Box::new(Next { into: Some("before".to_owned()), ..part })),
            7 => {
                start.definition = reference(DefinitionKind::Builtin, compose::GROUP);
                start.options = RunOptions::default();
                let input =
                    GroupInput { parts: vec![part.clone(); 5], then: Some(part), allow_failures: true };
                start.input = Json::trusted(serde_json::to_string(&input).expect("an input"));
            }
            8 => {
                start.definition = reference(DefinitionKind::Builtin, compose::CHAIN);
                start.options = RunOptions::default();
                let input = ChainInput { parts: vec![part; 3] };
                start.input = Json::trusted(serde_json::to_string(&input).expect("an input"));
            }
            _ => {}
        }
        start
    }

    fn start(&mut self, key: Option<(u64, bool, u64)>) -> Command {
        let script = |number: u64| SCRIPTS[(number % SCRIPTS.len() as u64) as usize];
        let chosen = match key {
            Some((key, ..)) => key,
            None => self.dice.below(11),
        };
        let (definition, task) = match chosen {
            8 => (reference(DefinitionKind::Flow, "planned"), None),
            9 | 10 => {
                let options = TaskOptions {
                    timeout_ms: Some(5_000),
                    retry: call().retry,
                    at_most_once: Some(chosen == 10),
                    ..TaskOptions::default()
                };
                (reference(DefinitionKind::Task, "work"), Some(options))
            }
            other => (reference(DefinitionKind::Flow, script(other)), None),
        };
        let input = Json::trusted(format!("{{\"n\":{}}}", key.map_or(0, |(.., input)| input)));
        let key = key.map(|(number, strict, _)| {
            let id = KeyId {
                namespace: "default".into(),
                definition: definition.name.clone(),
                version: "".into(),
                continue_id: format!("key-{number}").into(),
            };
            let fingerprint = Fingerprint::of(input.get()).expect("the input is canonical");
            let mut options = KeyOptions { ttl: Ttl::Forever, ..KeyOptions::new(id, fingerprint) };
            if strict {
                options.on_failure = Some(OnFailure::Return);
            } else {
                options.max_generations = 100;
                match self.dice.below(3) {
                    0 => options.on_running = OnRunning::Restart,
                    1 => options.on_failure = Some(OnFailure::Resume),
                    _ => options.force = true,
                }
            }
            options
        });
        let slot = key.as_ref().map_or(Slot(self.dice.number() as u16), |key| key.id.slot());
        let delayed = self.dice.in_thousand(200);
        let timed = self.dice.in_thousand(150);
        let options = RunOptions {
            delay_ms: delayed.then_some(2_000),
            timeout_ms: timed.then_some(8_000),
            task,
            ..RunOptions::default()
        };
        Command::Start(Box::new(StartRun {
            run: RunId::new(self.wall_ms(), slot, self.dice.number()),
            client_id: key.is_none(),
            definition,
            input,
            key,
            parent: None,
            options,
        }))
    }

    fn schedule(&mut self) -> (ScheduleId, ScheduleCommand) {
        let number = self.dice.below(3);
        let id = ScheduleId { namespace: "default".into(), name: format!("schedule-{number}").into() };
        let command = match self.dice.below(10) {
            0 => ScheduleCommand::Pause { reason: String::new() },
            1 => ScheduleCommand::Resume,
            2 => ScheduleCommand::Trigger { request: Some(format!("{}", self.dice.below(3))) },
            3 => ScheduleCommand::Delete,
            _ => {
                let spec = ScheduleSpec {
                    when: ["@every 2s", "*/3 * * * * *", "@hourly"][self.dice.below(3) as usize].into(),
                    zone: "Europe/Berlin".into(),
                    target: Target {
                        definition: reference(DefinitionKind::Flow, SCRIPTS[number as usize]),
                        input: Json::trusted("{}"),
                        options: RunOptions::default(),
                        planned_as: Some("planned".to_owned()),
                    },
                    overlap: [Overlap::Skip, Overlap::Queue, Overlap::CancelOther, Overlap::Allow]
                        [self.dice.below(4) as usize],
                    missed: [MissedPolicy::Skip, MissedPolicy::One, MissedPolicy::All { max: 3 }]
                        [self.dice.below(3) as usize],
                    missed_after_ms: 3_000,
                    jitter_ms: self.dice.below(2) * 1_500,
                    from: None,
                    until: None,
                    description: String::new(),
                };
                ScheduleCommand::Put { spec: Box::new(spec), mode: PutMode::Put, paused: None }
            }
        };
        (id, command)
    }

    pub fn client_answered(&mut self, index: usize, answer: Result<Answer, EngineError>) {
        let client = &mut self.clients.all[index];
        if client.answered {
            return;
        }
        match &answer {
            Ok(_) | Err(EngineError::Refused(_)) => client.answered = true,
            // Not done, or not known: asked again in its time.
            Err(_) => return,
        }
        let wish = client.wish.clone();
        match (wish, answer) {
            (Wish::Deploy, Ok(_)) => {
                let definition = Definition::new(reference(DefinitionKind::Flow, "planned"), FLOW, Wall(1));
                self.library.learn(&definition);
            }
            (Wish::Keyed { key, strict: true, input }, Ok(Answer::Reply(Reply::Started { run, .. }))) => {
                self.clients.known.push(run);
                let stands = *self.clients.keys.entry(key).or_insert((run, input));
                assert_eq!(stands, (run, input), "one key, two runs or two inputs");
            }
            (Wish::Keyed { key, strict: true, input }, Err(EngineError::Refused(refusal))) => match refusal {
                Refusal::KeyMismatch { run, .. } => {
                    let other =
                        self.clients.keys.get(&key).is_none_or(|stands| stands.0 == run && stands.1 != input);
                    assert!(other, "a start was refused although its input is the key's");
                }
                Refusal::KeyPurged { .. } => {}
                other => panic!("a start under a key was refused: {other}"),
            },
            (_, Ok(Answer::Reply(Reply::Started { run, .. }))) => self.clients.known.push(run),
            (_, Ok(Answer::Reply(Reply::StartedMany(started)))) => {
                let runs = started.into_iter().map(|started| started.expect("a start without a key").0);
                self.clients.known.extend(runs);
            }
            _ => {}
        }
    }

    /// Everything that waits for somebody gets it.
    fn help(&mut self) {
        if !self.calm() {
            return;
        }
        for id in self.ledger.schedules.keys().cloned().collect::<Vec<_>>() {
            let partition = PartitionId::of(id.slot(), PARTITIONS).0;
            let pause = ScheduleCommand::Pause { reason: "the end".to_owned() };
            self.post(partition, None, Ask::Command(Command::Schedule(id, pause)));
        }
        for partition in 0..PARTITIONS {
            let change = LimiterChange { paused: Some(false), ..LimiterChange::default() };
            self.post(partition, None, Ask::Command(Command::ChangeLimit { limiter: queue(), change }));
        }
        let open: Vec<RunId> =
            self.ledger.runs.iter().filter(|(_, told)| !told.closed).map(|(run, _)| *run).collect();
        for run in open {
            let partition = PartitionId::of(run.slot(), PARTITIONS).0;
            let signal = Command::Signal {
                run,
                name: "go".to_owned(),
                payload: Json::null(),
                id: Some("help".to_owned()),
            };
            self.post(partition, None, Ask::Command(Command::Resume { run }));
            self.post(partition, None, Ask::Command(signal));
        }
        for (run, token) in self.clients.tokens.clone() {
            let mut parts = token.split('.').skip(1);
            let (Some(step), Some(secret)) = (parts.next(), parts.next()) else {
                panic!("a callback token: {token}")
            };
            let token = CallbackToken {
                run,
                step: StepId(step.parse().expect("a step")),
                token: secret.parse().expect("a secret"),
            };
            let partition = PartitionId::of(run.slot(), PARTITIONS).0;
            self.post(
                partition,
                None,
                Ask::Command(Command::CompleteCallback { token, outcome: Ok(Json::null()) }),
            );
        }
    }
}
