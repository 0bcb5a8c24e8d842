//! The simulated world: clocks, a store that fails, a node that crashes, and a network that loses, doubles and delays.

use std::collections::{BTreeMap, BTreeSet};

use riverrun_engine::sequencer::{Answer, Ask, Clock, Done, Io, Output, Query, Request, Sequencer, Standing};
use riverrun_engine::{Definitions, EngineError, Settings};
use riverrun_kernel::{AttemptId, Command, Offer, PartitionId, Reply, RunId, RunView, Wall, WorkerId};
use riverrun_store::{AppendError, Epoch, MemoryStore, RunFilter, Store, StoreError};

use super::clients::Clients;
use super::ledger::Ledger;
use super::script::Scripts;
use super::workers::{Letter, Workers};

pub const PARTITIONS: u16 = 3;
/// Faults end after so much simulated time.
const CALM_AT: u64 = 60_000;
/// Everything must have ended after so much more.
const PATIENCE: u64 = 3_600_000;

/// Numbers that a seed gives.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit.max(1)
    }

    /// True so many times in a thousand.
    pub fn in_thousand(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }
}

/// Who wants an answer.
#[derive(Debug, Clone)]
pub enum To {
    Client(usize),
    Report {
        worker: usize,
        attempt: AttemptId,
    },
    Connected {
        worker: usize,
        link: u64,
    },
    /// Somebody who only looks.
    Reader,
    Line {
        from: PartitionId,
        to: PartitionId,
    },
    Probe,
}

#[derive(Debug, Clone)]
pub enum Event {
    /// A call of the store is made.
    Call {
        node: u64,
        partition: u16,
        request: Request,
    },
    /// Its answer comes back.
    Landed {
        node: u64,
        partition: u16,
        life: u64,
        done: Done,
    },
    /// A partition wanted to be woken.
    Wake {
        node: u64,
        partition: u16,
    },
    /// A request reaches a partition, if the node is up.
    Mail {
        partition: u16,
        to: Option<To>,
        ask: Ask,
    },
    Answer {
        to: To,
        answer: Result<Answer, EngineError>,
    },
    /// Something reaches a worker on a connection.
    ToWorker {
        link: u64,
        letter: Letter,
    },
    Worker(usize),
    Client(usize),
    Trouble,
    Open,
}

pub struct World {
    pub dice: Dice,
    pub now: u64,
    wall_offset: i64,
    events: BTreeMap<(u64, u64), Event>,
    serial: u64,
    store: MemoryStore,
    settings: Settings,
    pub library: Scripts,
    /// Counts the node's processes; what belongs to an earlier one is dropped.
    node: u64,
    partitions: Vec<Option<(Sequencer<To>, Epoch)>>,
    /// When each partition is to be woken next.
    wakes: Vec<Option<u64>>,
    pub workers: Workers,
    pub clients: Clients,
    pub ledger: Ledger,
    probes: Vec<RunView>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let settings = Settings {
            lease_ms: 3_000,
            reconnect_grace_ms: 1_000,
            cancel_grace_ms: 2_000,
            retention: None,
            checkpoint_records: 20 + dice.below(200),
            max_loaded: 2 + dice.below(30) as usize,
            ..Settings::default()
        };
        let mut world = World {
            now: 1_000,
            wall_offset: 1_700_000_000_000,
            events: BTreeMap::new(),
            serial: 0,
            store: MemoryStore::new(PARTITIONS, [7; 32]),
            settings,
            library: Scripts(Definitions::new()),
            node: 0,
            partitions: (0..PARTITIONS).map(|_| None).collect(),
            wakes: vec![None; usize::from(PARTITIONS)],
            workers: Workers::new(&mut dice),
            clients: Clients::new(&mut dice),
            ledger: Ledger::default(),
            probes: Vec::new(),
            dice,
        };
        world.after(0, Event::Open);
        world.after(100, Event::Trouble);
        for worker in 0..world.workers.count() {
            world.after(10, Event::Worker(worker));
        }
        for client in 0..world.clients.count() {
            let delay = world.clients.begins(client);
            world.after(delay, Event::Client(client));
        }
        world
    }

    /// Lives through the troubles, then until everything has ended; then compares memory with what a new start reads.
    pub fn live(&mut self) {
        // A loop that takes no time would never end.
        let mut at_once = 0;
        while let Some(((at, _), event)) = self.events.pop_first() {
            at_once = if at > self.now { 0 } else { at_once + 1 };
            assert!(at_once < 100_000, "time stands still: {event:?}; {}", self.what_is_open());
            self.now = self.now.max(at);
            self.handle(event);
            if self.calm() && self.has_ended() {
                break;
            }
            assert!(self.now < CALM_AT + PATIENCE, "not everything ended: {}", self.what_is_open());
        }
        let before = self.views();
        self.crash();
        self.handle(Event::Open);
        let mut after = self.views();
        // Schedules go on meanwhile.
        let known: BTreeSet<RunId> = before.iter().map(|view| view.summary.id).collect();
        after.retain(|view| known.contains(&view.summary.id) || view.summary.origin.is_none());
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before, after, "memory and a new start differ");
        }
        self.check_journals(&after);
    }

    pub fn calm(&self) -> bool {
        self.now >= CALM_AT
    }

    pub fn is_up(&self) -> bool {
        self.partitions.iter().all(Option::is_some)
    }

    pub fn after(&mut self, delay: u64, event: Event) {
        self.serial += 1;
        self.events.insert((self.now + delay, self.serial), event);
    }

    /// A delay of the network or the store: mostly short, sometimes long.
    pub fn delay(&mut self) -> u64 {
        if !self.calm() && self.dice.in_thousand(20) { self.dice.below(3_000) } else { self.dice.below(12) }
    }

    pub fn fault(&mut self, in_thousand: u64) -> bool {
        !self.calm() && self.dice.in_thousand(in_thousand)
    }

    fn clock(&self) -> Clock {
        Clock { wall: Wall(self.wall_offset + self.now as i64), mono: self.now }
    }

    pub fn wall_ms(&self) -> u64 {
        self.clock().wall.0 as u64
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Call { node, partition, request } if node == self.node => {
                let life = request.life;
                let done = self.call(partition, request.io);
                let delay = self.delay();
                self.after(delay, Event::Landed { node, partition, life, done });
            }
            Event::Landed { node, partition, life, done } if node == self.node => {
                let clock = self.clock();
                if let Some((sequencer, _)) = &mut self.partitions[usize::from(partition)] {
                    sequencer.done(clock, life, done, &self.library);
                }
                self.turn(partition);
            }
            Event::Wake { node, partition } if node == self.node => {
                let wake = &mut self.wakes[usize::from(partition)];
                if wake.is_some_and(|at| at <= self.now) {
                    *wake = None;
                    self.turn(partition);
                }
            }
            Event::Mail { partition, to, ask } => {
                if let Some((sequencer, _)) = &mut self.partitions[usize::from(partition)] {
                    sequencer.submit(to, ask);
                    self.turn(partition);
                }
            }
            Event::Answer { to, answer } => self.answered(to, answer),
            Event::ToWorker { link, letter } => self.worker_receives(link, letter),
            Event::Worker(worker) => self.worker_acts(worker),
            Event::Client(client) => self.client_acts(client),
            Event::Trouble => self.trouble(),
            Event::Open => self.open(),
            Event::Call { .. } | Event::Landed { .. } | Event::Wake { .. } => {}
        }
    }

    // ---- the node

    fn open(&mut self) {
        if self.is_up() {
            return;
        }
        self.library = Scripts(Definitions::new());
        self.node += 1;
        for id in 0..PARTITIONS {
            let partition = PartitionId(id);
            let epoch = self.store.acquire(partition, "sim").expect("the store gives a partition");
            let config = self.settings.config(partition, PARTITIONS, self.store.secret());
            let mut sequencer = Sequencer::new(self.settings.clone(), config, epoch, self.clock());
            while *sequencer.standing() == Standing::Recovering {
                sequencer.run(self.clock(), &self.library);
                for output in sequencer.take_outputs() {
                    let Output::Request(request) = output else { continue };
                    match request.io {
                        Io::Recover => sequencer
                            .recover(&self.library, |each| self.store.recover(partition, each))
                            .expect("the store is read"),
                        Io::Load(needs) => {
                            let rows = self.store.load(partition, &needs);
                            sequencer.done(self.clock(), request.life, Done::Loaded(rows), &self.library);
                        }
                        other => panic!("a recovery asked for {other:?}"),
                    }
                }
            }
            self.partitions[usize::from(id)] = Some((sequencer, epoch));
        }
        (0..PARTITIONS).for_each(|id| self.turn(id));
    }

    /// The process is killed: what the store was about to write is written or not.
    fn crash(&mut self) {
        let node = self.node;
        let calls: Vec<(u16, Io)> = self
            .events
            .values()
            .filter_map(|event| match event {
                Event::Call { node: of, partition, request } if *of == node => {
                    Some((*partition, request.io.clone()))
                }
                _ => None,
            })
            .collect();
        for (partition, io) in calls {
            if self.dice.in_thousand(500) {
                self.call(partition, io);
            }
        }
        self.node += 1;
        self.wakes.fill(None);
        self.partitions.iter_mut().for_each(|partition| *partition = None);
        self.break_all_links();
    }

    fn trouble(&mut self) {
        if self.calm() {
            if !self.is_up() {
                self.after(1, Event::Open);
            }
            return;
        }
        match self.dice.below(20) {
            0..=1 if self.is_up() => {
                self.crash();
                let delay = 1 + self.dice.below(4_000);
                self.after(delay, Event::Open);
            }
            2 => self.wall_offset += self.dice.below(43_200_000) as i64,
            3 => self.wall_offset -= self.dice.below(43_200_000) as i64,
            4..=6 => self.break_a_link(),
            _ => {}
        }
        let delay = self.dice.below(2_000);
        self.after(delay, Event::Trouble);
    }

    /// Gives a partition its turn and carries out what comes out.
    fn turn(&mut self, partition: u16) {
        loop {
            let clock = self.clock();
            let read = self.some_read(partition);
            // As by a caller's thread, or as by the partition's own.
            let brief = self.dice.below(2) == 0;
            let Some((sequencer, _)) = &mut self.partitions[usize::from(partition)] else { return };
            if let Some(query) = read {
                sequencer.submit(Some(To::Reader), Ask::Query(query));
            }
            if brief {
                sequencer.run_briefly(clock, &self.library);
            } else {
                sequencer.run(clock, &self.library);
            }
            let outputs = sequencer.take_outputs();
            let again = outputs
                .iter()
                .any(|output| matches!(output, Output::Request(Request { io: Io::Recover, .. })));
            let left = brief && sequencer.leaves_work();
            let deadline = if left { Some(0) } else { sequencer.deadline() };
            if let Standing::Broken(_) = sequencer.standing() {
                self.crash();
                let delay = 1 + self.dice.below(2_000);
                return self.after(delay, Event::Open);
            }
            for output in outputs {
                self.perform(partition, output);
            }
            if again {
                continue;
            }
            let Some(at) = deadline else { return };
            let (node, at) = (self.node, at.max(self.now));
            let wake = &mut self.wakes[usize::from(partition)];
            if wake.is_none_or(|earlier| at < earlier) {
                *wake = Some(at);
                self.after(at - self.now, Event::Wake { node, partition });
            }
            return;
        }
    }

    /// Now and then somebody looks at a run or at a list.
    fn some_read(&mut self, partition: u16) -> Option<Query> {
        let filter = || Box::new(RunFilter { namespace: "default".to_owned(), ..RunFilter::default() });
        match self.dice.below(8) {
            0 => {
                let own = |run: &&RunId| PartitionId::of(run.slot(), PARTITIONS).0 == partition;
                let runs: Vec<RunId> = self.ledger.runs.keys().filter(own).copied().collect();
                runs.get(self.dice.below(runs.len() as u64) as usize).map(|run| Query::Run(*run))
            }
            1 => Some(Query::DurableRuns(filter())),
            2 => Some(Query::DirtyRuns(filter())),
            _ => None,
        }
    }

    fn perform(&mut self, partition: u16, output: Output<To>) {
        match output {
            Output::Request(Request { io: Io::Recover, .. }) => {
                let id = PartitionId(partition);
                let fails = self.fault(200);
                let Some((sequencer, _)) = &mut self.partitions[usize::from(partition)] else { return };
                // A failed read is the sequencer's to repeat.
                let _ = sequencer.recover(&self.library, |each| {
                    if fails {
                        return Err(StoreError::Unavailable("simulated".to_owned()));
                    }
                    self.store.recover(id, each)
                });
            }
            Output::Request(request) => {
                let (node, delay) = (self.node, self.delay());
                self.after(delay, Event::Call { node, partition, request });
            }
            Output::Answer { to: To::Line { from, to }, answer } => {
                if let Ok(Answer::Reply(Reply::Received { seq })) = answer {
                    self.post(from.0, None, Ask::Command(Command::Acknowledge { to, seq }));
                }
            }
            Output::Answer { to, answer } => {
                self.check_answer(&answer);
                let delay = self.delay();
                self.after(delay, Event::Answer { to, answer });
            }
            Output::Offer { worker, offer } => {
                if self.workers.is_linked(worker.0) {
                    self.ledger.offered(&offer);
                }
                self.send_to_worker(worker, Letter::Offer(offer));
            }
            Output::Stop { worker, attempt, grace_ms } => {
                self.send_to_worker(worker, Letter::Stop { attempt, grace_ms });
            }
            Output::Tell { .. } | Output::Park { .. } => {
                unreachable!("no run of the simulation is a workflow")
            }
            Output::Evict(worker) => self.break_link(worker.0),
            Output::Send { to, seq, message } => {
                let from = PartitionId(partition);
                let line = To::Line { from, to };
                let ask = Ask::Command(Command::Receive { from, seq, message });
                if !self.fault(100) {
                    self.post(to.0, Some(line.clone()), ask.clone());
                }
                if self.fault(100) {
                    self.post(to.0, Some(line), ask);
                }
            }
            Output::Changed { .. } => {}
            Output::Forgotten => self.break_all_links(),
        }
    }

    /// Sends a request to a partition over the network.
    pub fn post(&mut self, partition: u16, to: Option<To>, ask: Ask) {
        let delay = self.delay();
        self.after(delay, Event::Mail { partition, to, ask });
    }

    fn send_to_worker(&mut self, worker: WorkerId, letter: Letter) {
        let at = self.workers.next_delivery(worker.0, self.now + 1);
        self.after(at - self.now, Event::ToWorker { link: worker.0, letter });
    }

    // ---- the store

    fn call(&mut self, partition: u16, io: Io) -> Done {
        let id = PartitionId(partition);
        let epoch = self.partitions[usize::from(partition)].as_ref().map_or(Epoch(0), |(_, epoch)| *epoch);
        let gone = || StoreError::Unavailable("simulated".to_owned());
        match io {
            Io::Append(batches) => {
                let fate = if self.calm() { 0 } else { self.dice.below(400) };
                let write = !matches!(fate, 1..=4 | 9);
                if write && let Err(error) = self.store.append(&batches) {
                    return Done::Appended(Err(error));
                }
                if write {
                    self.ledger.written(&batches);
                }
                Done::Appended(match fate {
                    1..=2 => Err(AppendError::Refused("simulated: disk full".to_owned())),
                    3..=7 => Err(AppendError::Unknown("simulated".to_owned())),
                    8 | 9 => Err(AppendError::Broken("simulated".to_owned())),
                    _ => Ok(()),
                })
            }
            Io::HasBatch(batch) if self.fault(300) => {
                let _ = batch;
                Done::LookedUp(Err(gone()))
            }
            Io::HasBatch(batch) => Done::LookedUp(self.store.has_batch(id, epoch, batch)),
            Io::Load(..) if self.fault(50) => Done::Loaded(Err(gone())),
            Io::Load(needs) => Done::Loaded(self.store.load(id, &needs)),
            Io::Checkpoint(_) if self.fault(60) => Done::Checkpointed(Err(gone())),
            Io::Checkpoint(checkpoint) => {
                self.check_rows(&checkpoint.rows);
                let result = self.store.checkpoint(id, epoch, &checkpoint);
                let unseen = result.is_ok() && self.fault(30);
                Done::Checkpointed(if unseen { Err(gone()) } else { result })
            }
            Io::Recover => panic!("a recovery is not a call"),
        }
    }

    // ---- what must hold

    /// Nothing leaves before what it depends on is durable.
    fn check_answer(&self, answer: &Result<Answer, EngineError>) {
        match answer {
            Ok(Answer::Reply(Reply::Started { run, .. })) => {
                assert!(self.ledger.has(*run), "{run} was acknowledged and is not in the log");
            }
            Ok(Answer::Run(view)) => {
                let told = &self.ledger.runs[&view.summary.id];
                assert!(
                    view.entries <= told.entries.len() as u64,
                    "a read of {} saw what is not durable",
                    view.summary.id
                );
            }
            Ok(Answer::DirtyRuns(dirty)) => {
                for run in &dirty.matching {
                    let told = &self.ledger.runs[&run.id];
                    assert!(
                        told.has_closed() || !run.state.is_closed(),
                        "a list shows {} as {} before that is durable",
                        run.id,
                        run.state
                    );
                }
            }
            _ => {}
        }
    }

    fn check_rows(&self, rows: &riverrun_kernel::Rows) {
        for line in &rows.journal {
            let told = &self.ledger.runs[&line.run];
            let known = told.entries.get(line.seq as usize - 1);
            assert_eq!(
                known,
                Some(&line.entry),
                "line {} of {} was checkpointed before it was durable",
                line.seq,
                line.run
            );
        }
    }

    fn has_ended(&self) -> bool {
        self.is_up()
            && self.clients.have_ended()
            && self.ledger.runs.values().all(|told| told.closed && told.live.is_empty())
            && self
                .partitions
                .iter()
                .flatten()
                .all(|(sequencer, _)| sequencer.is_idle() && sequencer.unacknowledged() == 0)
    }

    fn what_is_open(&mut self) -> String {
        let open: Vec<RunId> = self
            .ledger
            .runs
            .iter()
            .filter(|(_, told)| !told.closed || !told.live.is_empty())
            .map(|(run, _)| *run)
            .collect();
        let views: Vec<_> = open
            .iter()
            .take(3)
            .map(|run| {
                let partition = PartitionId::of(run.slot(), PARTITIONS);
                let entries: Vec<_> =
                    self.ledger.runs[run].entries.iter().map(|entry| format!("{entry:?}")).collect();
                let live = &self.ledger.runs[run].live;
                let view = self.partitions[usize::from(partition.0)]
                    .as_ref()
                    .and_then(|(sequencer, _)| sequencer.kernel().run(sequencer.now(), *run));
                format!("{run} live {live:?}\n{}\n{view:#?}", entries.join("\n"))
            })
            .collect();
        let standings: Vec<_> = self
            .partitions
            .iter()
            .flatten()
            .map(|(s, _)| (s.standing().clone(), s.is_idle(), s.deadline(), s.now(), s.kernel().next_due()))
            .collect();
        format!(
            "up {} {standings:?}, clients {:?}, {} runs open:\n{}",
            self.is_up(),
            self.clients.unanswered(),
            open.len(),
            views.join("\n\n")
        )
    }

    /// Every run that was not deleted, asked for like anybody would.
    fn views(&mut self) -> Vec<RunView> {
        let runs: Vec<RunId> =
            self.ledger.runs.iter().filter(|(_, told)| !told.deleted).map(|(run, _)| *run).collect();
        self.probes.clear();
        for run in &runs {
            let partition = PartitionId::of(run.slot(), PARTITIONS).0;
            self.post(partition, Some(To::Probe), Ask::Query(Query::Run(*run)));
        }
        let limit = self.now + 60_000;
        while self.probes.len() < runs.len() {
            let Some(((at, _), event)) = self.events.pop_first() else { break };
            self.now = self.now.max(at);
            assert!(self.now < limit, "a read was not answered");
            self.handle(event);
        }
        assert_eq!(self.probes.len(), runs.len());
        self.probes.sort_by_key(|view| view.summary.id);
        std::mem::take(&mut self.probes)
    }

    /// The journals in rows and memory are what was written, entry by entry.
    fn check_journals(&self, views: &[RunView]) {
        for view in views {
            let run = view.summary.id;
            let partition = PartitionId::of(run.slot(), PARTITIONS);
            let mut rows = self.store.journal(run, 0, usize::MAX).expect("a journal is read");
            let last = rows.last().map_or(0, |row| row.seq);
            if let Some((sequencer, _)) = &self.partitions[usize::from(partition.0)] {
                rows.extend(sequencer.kernel().journal_tail(run, last));
            }
            let entries: Vec<_> = rows.into_iter().map(|row| row.entry).collect();
            assert_eq!(
                entries, self.ledger.runs[&run].entries,
                "the journal of {run} is not what was written"
            );
            assert!(view.summary.state.is_closed());
        }
    }

    fn answered(&mut self, to: To, answer: Result<Answer, EngineError>) {
        match to {
            To::Client(client) => self.client_answered(client, answer),
            To::Report { worker, attempt } => self.report_answered(worker, attempt, &answer),
            To::Connected { worker, link } => self.worker_connected(worker, link, answer),
            To::Probe => match answer {
                Ok(Answer::Run(view)) => self.probes.push(*view),
                other => panic!("a run that was acknowledged is lost: {other:?}"),
            },
            To::Line { .. } | To::Reader => {}
        }
    }

    pub fn note_callback(&mut self, offer: &Offer) {
        if let Some(token) = &offer.callback {
            self.clients.tokens.push((offer.attempt.run, token.clone()));
        }
    }
}
