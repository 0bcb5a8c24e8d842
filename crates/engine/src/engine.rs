//! The engine's public face.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use riverrun_kernel::callback;
use riverrun_kernel::driver::ANY_ADDRESS;
use riverrun_kernel::{
    AttemptId, AwaitedStep, CallbackToken, Claims, Command, Definition, DefinitionKind, DefinitionRef,
    Failure, JournalRow, Json, Key, KeyId, Labels, Next, PartitionId, QueueDepth, Refusal, Reply, RunId,
    RunOptions, RunView, Slot, StartKind, StartRun, State, StepId, Token, Wall, WorkerSpec, WorkerView,
};
use riverrun_plan::{Diagnostic, Flow};
use riverrun_store::{Snapshot, Store};
use sha2::{Digest, Sha256};

use crate::error::{BatchError, DeployError, EngineError, Health, OpenError};
use crate::hub::Counters;
use crate::library::TaskContract;
use crate::node::{Node, Sweep, mismatch, reply, stopping, wall};
use crate::sequencer::{Answer, Ask, Library, Query};
use crate::settings::Settings;
use crate::short_id::ShortId;
use crate::start::{Start, StartNext, Started, check_labels, check_name, prepare, prepare_next};
use crate::watch::Watch;
use crate::worker_link::WorkerLink;

/// The longest source of a flow, in bytes.
const MAX_SOURCE: usize = 1 << 20;

/// How long a worker that connects waits for the store to remember each of its tasks.
const KEEPING: Duration = Duration::from_secs(2);

/// A deployment's answer.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// The definition.
    pub definition: Definition,
    /// Whether this version is new; else it was deployed before.
    pub created: bool,
    /// What is legal and surely wrong.
    pub warnings: Vec<Diagnostic>,
}

/// Part of a journal.
#[derive(Debug, Clone)]
pub struct Journal {
    /// The lines.
    pub rows: Vec<JournalRow>,
    /// Whether the run is closed and these are its last lines.
    pub complete: bool,
}

/// A run that was started or found.
#[derive(Debug)]
pub struct Shown {
    /// Which, and how.
    pub started: Started,
    /// The run as it stood then.
    pub view: Result<RunView, EngineError>,
    /// Tells what has changed since.
    pub watch: Watch,
}

/// What a sweep asked to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Closed runs.
    pub runs: usize,
    /// Keys.
    pub keys: usize,
}

/// The engine of one node. Cheap to clone. When the last clone is dropped its threads end; [`Engine::shutdown`] writes a checkpoint first.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) node: Arc<Node>,
}

impl Engine {
    /// Acquires the store's partitions, recovers them and starts the engine's threads.
    pub fn open(store: Arc<dyn Store>, settings: Settings) -> Result<Engine, OpenError> {
        Ok(Engine { node: Node::open(store, settings)? })
    }

    // ---- definitions

    /// Checks and keeps a flow. The newest version again changes nothing; an older one again becomes the newest. What is kept with the
    /// flow stays.
    pub async fn deploy(&self, namespace: &str, name: &str, source: &str) -> Result<Deployed, DeployError> {
        self.keep(namespace, name, source, None).await
    }

    /// The same, and keeps these facts with it instead of what was kept before.
    pub async fn deploy_with(
        &self,
        namespace: &str,
        name: &str,
        source: &str,
        facts: BTreeMap<String, String>,
    ) -> Result<Deployed, DeployError> {
        self.keep(namespace, name, source, Some(facts)).await
    }

    async fn keep(
        &self,
        namespace: &str,
        name: &str,
        source: &str,
        facts: Option<BTreeMap<String, String>>,
    ) -> Result<Deployed, DeployError> {
        check_name("namespace", namespace)?;
        check_name("definition", name)?;
        if source.len() > MAX_SOURCE {
            let problem = format!("the source has {} bytes, over the limit of {MAX_SOURCE}", source.len());
            return Err(EngineError::Invalid(problem).into());
        }
        let limits = self.node.settings.flow_limits;
        let (_, warnings) = Flow::parse_within(source, limits).map_err(DeployError::Invalid)?;
        let definitions = &self.node.hub.definitions;
        let version = version_of(source);
        let last = definitions.last(namespace, name);
        let newest = last.as_ref().filter(|last| !last.deleted);
        let facts = facts.or_else(|| newest.map(|newest| newest.facts.clone())).unwrap_or_default();
        if let Some(newest) = newest
            && *newest.reference.version == *version
            && newest.facts == facts
        {
            return Ok(Deployed { definition: newest.clone(), created: false, warnings });
        }
        let created = newest.is_none() || definitions.find(namespace, name, Some(&version)).is_none();
        let deployed = after(last.as_ref());
        let first = newest.map_or(Some(deployed), |newest| newest.created);
        let reference = DefinitionRef {
            namespace: namespace.into(),
            kind: DefinitionKind::Flow,
            name: name.into(),
            version: version.into(),
        };
        let definition = Definition { created: first, facts, ..Definition::new(reference, source, deployed) };
        self.put(&definition).await?;
        Ok(Deployed { definition, created, warnings })
    }

    pub(crate) async fn put(&self, definition: &Definition) -> Result<(), EngineError> {
        let home = self.node.partition_of(home(&definition.reference.namespace, &definition.reference.name));
        let ask = Ask::Command(Command::Deploy(definition.clone()));
        self.node.ask(home, ask, definition.source.len()).await?;
        self.node.hub.definitions.learn(definition);
        Ok(())
    }

    /// Deletes a flow: nothing of it is started any more. Its runs and keys go with [`Engine::clear_deleted`]. Tells whether there was
    /// one.
    pub async fn delete_definition(&self, namespace: &str, name: &str) -> Result<bool, EngineError> {
        let last = self.node.hub.definitions.last(namespace, name);
        let Some(last) = last.filter(|last| !last.deleted) else { return Ok(false) };
        let deployed = after(Some(&last));
        self.put(&Definition { deleted: true, facts: BTreeMap::new(), deployed, ..last }).await?;
        Ok(true)
    }

    /// A definition, the newest version by default.
    pub fn definition(&self, namespace: &str, name: &str, version: Option<&str>) -> Option<Definition> {
        self.node.hub.definitions.find(namespace, name, version)
    }

    /// All definitions of a namespace, newest version of each name.
    pub fn definitions(&self, namespace: &str) -> Vec<Definition> {
        self.node.hub.definitions.all(namespace)
    }

    // ---- runs

    /// Starts a run, or finds the one that its key or id stands for.
    pub async fn start(&self, start: Start) -> Result<Started, EngineError> {
        let (request, bytes) = self.request(start)?;
        self.hand_in(request, bytes).await
    }

    /// Starts a run and shows it as it then stands. The look at it does not wait for the answer to the start, so that both take one turn.
    pub async fn start_and_show(&self, start: Start) -> Result<Shown, EngineError> {
        let (request, bytes) = self.request(start)?;
        let (run, keyed) = (request.run, request.key.is_some());
        // Before there is anything to see, so that nothing is missed.
        let watch = self.watch(run);
        let look = async {
            // What a key stands for is not known yet.
            if keyed { None } else { Some(self.run(run).await) }
        };
        let (started, view) = tokio::join!(self.hand_in(request, bytes), look);
        let started = started?;
        match view {
            Some(view) if started.run == run => Ok(Shown { started, view, watch }),
            _ => {
                let watch = self.watch(started.run);
                let view = self.run(started.run).await;
                Ok(Shown { started, view, watch })
            }
        }
    }

    /// The same for a client whose ids are short: [`ShortId`] gives the run's id back.
    pub async fn start_short(&self, start: Start) -> Result<Started, EngineError> {
        let (mut request, bytes) = self.request(start)?;
        request.run = ShortId::of(request.run).run();
        self.hand_in(request, bytes).await
    }

    fn request(&self, mut start: Start) -> Result<(StartRun, usize), EngineError> {
        let definitions = &self.node.hub.definitions;
        let version = start.version.as_deref();
        let definition = definitions.resolve(&start.namespace, &start.definition, start.kind, version)?;
        definitions.admit(&definition, start.input.get(), self.node.settings.accept_unknown_tasks)?;
        self.check_time(&definition, &start.options)?;
        let timeout_ms = definitions.timeout_ms(&definition);
        let bytes = start.input.get().len();
        definitions.fill(&definition, &mut start.options);
        let request = prepare(start, definition, timeout_ms, wall(), entropy()?)?;
        if let Some(limiter) = request.options.limiter(&request.definition)
            && self.node.partition_of(limiter.slot()) != self.node.partition_of_run(request.run)
        {
            return Err(EngineError::Invalid(format!(
                "a run with the concurrency key `{}` lives where that is counted, and this one's {} lies elsewhere: leave that out",
                limiter.name,
                if request.key.is_some() { "continue_id or unique" } else { "run_id" }
            )));
        }
        Ok((request, bytes))
    }

    /// What is to start when a run has succeeded, with its definition looked up.
    pub fn next(&self, namespace: &str, mut next: StartNext) -> Result<Next, EngineError> {
        let definitions = &self.node.hub.definitions;
        let definition =
            definitions.resolve(namespace, &next.definition, next.kind, next.version.as_deref())?;
        // What else its input gets is only known when the run before has ended.
        if let (Some(input), None) = (&next.input, &next.into) {
            definitions.admit(&definition, input.get(), self.node.settings.accept_unknown_tasks)?;
        }
        self.check_time(&definition, &next.options)?;
        let timeout_ms = definitions.timeout_ms(&definition);
        definitions.fill(&definition, &mut next.options);
        prepare_next(next, definition, timeout_ms)
    }

    /// Whether a run of a flow may be given so much time.
    fn check_time(&self, definition: &DefinitionRef, options: &RunOptions) -> Result<(), EngineError> {
        let limit = self.node.settings.flow_limits.run_seconds;
        match (options.timeout_ms, limit) {
            (Some(asked), Some(limit))
                if definition.kind == DefinitionKind::Flow && asked > limit.saturating_mul(1000) =>
            {
                Err(EngineError::Invalid(format!(
                    "the timeout is {} seconds, over the limit of {limit} (run_seconds): leave it out, or give less",
                    asked.div_ceil(1000)
                )))
            }
            _ => Ok(()),
        }
    }

    /// Starts many runs: one commit for those of a partition. One that is malformed refuses them all; what each finds or is refused for
    /// by its key or id is its own answer, in their order.
    pub async fn start_many(
        &self,
        starts: Vec<Start>,
    ) -> Result<Vec<Result<Started, EngineError>>, BatchError> {
        let mut shares: BTreeMap<PartitionId, (Vec<usize>, Vec<StartRun>, usize)> = BTreeMap::new();
        let count = starts.len();
        for (at, start) in starts.into_iter().enumerate() {
            let (request, bytes) = self.request(start).map_err(|error| BatchError { at: Some(at), error })?;
            let share = shares.entry(self.node.partition_of_run(request.run)).or_default();
            share.0.push(at);
            share.1.push(request);
            share.2 += bytes;
        }
        let mut asked = Vec::new();
        for (partition, (places, requests, bytes)) in shares {
            let ask = Ask::Command(Command::StartMany(requests));
            asked.push((places, self.node.ask(partition, ask, bytes)));
        }
        let mut answers: Vec<Option<Result<Started, EngineError>>> = (0..count).map(|_| None).collect();
        for (places, answer) in asked {
            let found = match answer.await.and_then(reply) {
                Ok(Reply::StartedMany(found)) => found,
                Ok(other) => return Err(mismatch(&Answer::Reply(other)).into()),
                Err(error) if count == places.len() => return Err(error.into()),
                Err(error) => {
                    for place in places {
                        answers[place] = Some(Err(error.clone()));
                    }
                    continue;
                }
            };
            for (place, found) in places.into_iter().zip(found) {
                let started = found.map(|(run, kind, generation)| Started { run, kind, generation });
                answers[place] = Some(started.map_err(EngineError::Refused));
            }
        }
        let lost = || Err(EngineError::Unavailable("a partition left a start unanswered".to_owned()));
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect())
    }

    async fn hand_in(&self, request: StartRun, bytes: usize) -> Result<Started, EngineError> {
        let counters = &self.node.hub.counters;
        let keyed = request.key.is_some();
        let partition = self.node.partition_of_run(request.run);
        let answer = self.node.ask(partition, Ask::Command(Command::Start(Box::new(request))), bytes).await;
        if let Err(EngineError::Refused(Refusal::KeyMismatch { .. })) = &answer {
            Counters::add(&counters.keys_mismatched, 1);
        }
        match reply(answer?)? {
            Reply::Started { run, kind, generation } => {
                match kind {
                    StartKind::Reused if keyed => Counters::add(&counters.keys_reused, 1),
                    StartKind::Attached if keyed => Counters::add(&counters.keys_attached, 1),
                    _ => {}
                }
                Ok(Started { run, kind, generation })
            }
            other => Err(mismatch(&Answer::Reply(other))),
        }
    }

    /// A run as it durably stands.
    pub async fn run(&self, run: RunId) -> Result<RunView, EngineError> {
        match self.query_run(run, Query::Run(run)).await? {
            Answer::Run(view) => Ok(*view),
            other => Err(mismatch(&other)),
        }
    }

    /// Waits until the run is closed, at most so long; then the run as it stands.
    pub async fn wait(&self, run: RunId, limit: Duration) -> Result<RunView, EngineError> {
        let watch = self.watch(run);
        let view = self.run(run).await?;
        self.wait_on(view, watch, limit).await
    }

    /// The same for a run that was seen already, and is watched since before that.
    pub async fn wait_on(
        &self,
        mut view: RunView,
        mut watch: Watch,
        limit: Duration,
    ) -> Result<RunView, EngineError> {
        let deadline = tokio::time::Instant::now() + limit;
        while !view.summary.state.is_closed() && tokio::time::Instant::now() < deadline {
            // Too late or not: the run is looked at again.
            let _ = tokio::time::timeout_at(deadline, watch.closed()).await;
            view = self.run(view.summary.id).await?;
        }
        Ok(view)
    }

    /// Lines of its journal with `seq > after`.
    pub async fn journal(&self, run: RunId, after: u64, limit: usize) -> Result<Journal, EngineError> {
        // What is in memory is taken before the rows are read: what a checkpoint moves in between is then in both, and never in neither.
        let (tail, entries, closed) = match self.query_run(run, Query::Tail(run, after)).await? {
            Answer::Tail { rows, entries, closed } => (rows, entries, closed),
            other => return Err(mismatch(&other)),
        };
        let mut rows = if tail.first().map_or(after < entries, |first| first.seq > after + 1) {
            self.blocking(move |store| store.journal(run, after, limit)).await?
        } else {
            Vec::new()
        };
        let last = rows.last().map_or(after, |row| row.seq);
        rows.extend(tail.into_iter().filter(|row| row.seq > last));
        rows.truncate(limit);
        let complete = closed && rows.last().map_or(after, |row| row.seq) >= entries;
        Ok(Journal { rows, complete })
    }

    /// Watches a run.
    pub fn watch(&self, run: RunId) -> Watch {
        Watch::new(self.node.hub.clone(), run)
    }

    /// Sends a signal.
    pub async fn signal(
        &self,
        run: RunId,
        name: String,
        payload: Json,
        id: Option<String>,
    ) -> Result<(), EngineError> {
        check_name("name of a signal", &name)?;
        if let Some(id) = &id {
            check_name("id of a signal", id)?;
        }
        let bytes = payload.get().len();
        self.command(run, Command::Signal { run, name, payload, id }, bytes).await.map(drop)
    }

    /// Asks a run to stop.
    pub async fn cancel(&self, run: RunId, reason: String) -> Result<State, EngineError> {
        self.change(run, Command::Cancel { run, reason }).await
    }

    /// The same, and the run's outcome is this failure.
    pub async fn stop(&self, run: RunId, failure: Failure) -> Result<State, EngineError> {
        self.change(run, Command::Stop { run, failure }).await
    }

    /// Lets it begin nothing new.
    pub async fn pause(&self, run: RunId) -> Result<State, EngineError> {
        self.change(run, Command::Pause { run }).await
    }

    /// Lets it go on; reopens a failed or timed-out one.
    pub async fn resume(&self, run: RunId) -> Result<State, EngineError> {
        self.change(run, Command::Resume { run }).await
    }

    /// How long closed runs are kept; `None` is for ever.
    pub fn retention(&self) -> Option<Duration> {
        self.node.settings.retention
    }

    /// Removes a closed run.
    pub async fn delete(&self, run: RunId) -> Result<(), EngineError> {
        self.command(run, Command::Delete { run }, 0).await.map(drop)
    }

    /// Replaces its labels.
    pub async fn set_labels(&self, run: RunId, labels: Labels) -> Result<(), EngineError> {
        check_labels(&labels)?;
        self.command(run, Command::SetLabels { run, labels }, 0).await.map(drop)
    }

    /// Completes a step by its callback token.
    pub async fn complete_callback(
        &self,
        token: &str,
        outcome: Result<Json, Failure>,
    ) -> Result<(), EngineError> {
        let token = callback_token(token).ok_or(Refusal::InvalidCallback)?;
        let bytes = outcome.as_ref().map_or(0, |output| output.get().len());
        self.command(token.run, Command::CompleteCallback { token, outcome }, bytes).await.map(drop)
    }

    /// The step that a callback token stands for, if it is one of this deployment's. Whether the step still waits is not looked at.
    pub fn awaited_by(&self, token: &str) -> Option<AwaitedStep> {
        let token = callback_token(token)?;
        let CallbackToken { run, step, .. } = token;
        let genuine = CallbackToken::of(&self.node.store.secret(), run, step);
        (token == genuine).then_some(AwaitedStep { run, step })
    }

    async fn command(&self, run: RunId, command: Command, bytes: usize) -> Result<Reply, EngineError> {
        let partition = self.node.partition_of_run(run);
        reply(self.node.ask(partition, Ask::Command(command), bytes).await?)
    }

    async fn change(&self, run: RunId, command: Command) -> Result<State, EngineError> {
        match self.command(run, command, 0).await? {
            Reply::State(state) => Ok(state),
            other => Err(mismatch(&Answer::Reply(other))),
        }
    }

    async fn query_run(&self, run: RunId, query: Query) -> Result<Answer, EngineError> {
        self.node.ask(self.node.partition_of_run(run), Ask::Query(query), 0).await
    }

    // ---- keys

    /// A key.
    pub async fn key(&self, key: KeyId) -> Result<Option<Key>, EngineError> {
        let partition = self.node.partition_of(key.slot());
        match self.node.ask(partition, Ask::Query(Query::Key(key)), 0).await? {
            Answer::Key(key) => Ok(key),
            other => Err(mismatch(&other)),
        }
    }

    /// Forgets a key.
    pub async fn delete_key(&self, key: KeyId, cancel: bool) -> Result<(), EngineError> {
        let partition = self.node.partition_of(key.slot());
        let ask = Ask::Command(Command::DeleteKey { key, cancel });
        self.node.ask(partition, ask, 0).await.map(drop)
    }

    // ---- workers

    /// Connects a worker that says nothing of what its functions take.
    pub async fn connect_worker(
        &self,
        spec: WorkerSpec,
        claims: Vec<(AttemptId, Token)>,
    ) -> Result<WorkerLink, EngineError> {
        self.connect_worker_taking(spec, &BTreeMap::new(), claims).await
    }

    /// Connects a worker. Its functions become known as tasks, and calls of them are checked against the JSON Schemas that it has for
    /// their parameters; what a start does not say of its run, their options do. With several partitions its slots are shared out among them, at least one each.
    pub async fn connect_worker_taking(
        &self,
        spec: WorkerSpec,
        contracts: &BTreeMap<String, TaskContract>,
        claims: Vec<(AttemptId, Token)>,
    ) -> Result<WorkerLink, EngineError> {
        check_name("namespace", &spec.namespace)?;
        if self.node.hub.stopping.load(Ordering::Acquire) {
            return Err(stopping());
        }
        let partitions = self.node.partitions();
        let (worker, messages) = self.node.hub.links.add();
        // From here on, giving up ends the connection.
        let mut link = WorkerLink::new(self.node.clone(), worker, Claims::default(), messages);
        // What is served everywhere is known as a task where nothing else is named.
        let is_everywhere = *spec.namespace == *WorkerSpec::EVERY_NAMESPACE;
        let known = if is_everywhere { "default".into() } else { spec.namespace.clone() };
        let is_own = |name: &str| name.starts_with(callback::RESERVED);
        let tasks = spec.functions.iter().filter(|function| *function != ANY_ADDRESS && !is_own(function));
        let functions = tasks.map(|name| (name, contracts.get(name)));
        let news = self.node.hub.definitions.announce(&known, worker, functions, wall());
        self.keep_tasks(news).await;
        let shared =
            Arc::new(WorkerSpec { slots: spec.slots.div_ceil(u32::from(partitions)).max(1), ..spec });
        let mut answers = Vec::new();
        for id in 0..partitions {
            let partition = PartitionId(id);
            let own =
                |(attempt, _): &&(AttemptId, Token)| self.node.partition_of_run(attempt.run) == partition;
            let claims = claims.iter().filter(own).copied().collect();
            let command = Command::ConnectWorker { worker, spec: shared.clone(), claims };
            answers.push(self.node.ask_freely(partition, Ask::Command(command)));
        }
        let mut all = Claims::default();
        for answer in answers {
            match reply(answer.await?)? {
                Reply::Claims(claims) => {
                    all.keep.extend(claims.keep);
                    all.drop.extend(claims.drop);
                }
                other => return Err(mismatch(&Answer::Reply(other))),
            }
        }
        link.set_claims(all);
        Ok(link)
    }

    /// Has the store remember tasks, so that they are known also when no worker has connected yet. A worker does not wait for a store
    /// that cannot be written: what is not kept now is announced again.
    async fn keep_tasks(&self, tasks: Vec<Definition>) {
        let ask = |task: Definition| {
            let home = self.node.partition_of(home(&task.reference.namespace, &task.reference.name));
            (task.clone(), self.node.ask_freely(home, Ask::Command(Command::Deploy(task))))
        };
        let asked: Vec<_> = tasks.into_iter().map(ask).collect();
        for (task, answer) in asked {
            match tokio::time::timeout(KEEPING, answer).await {
                Ok(Ok(_)) => self.node.hub.definitions.learn(&task),
                Ok(Err(error)) => {
                    tracing::warn!(task = %task.reference.name, %error, "the store did not take a worker's task");
                }
                Err(_) => {
                    tracing::warn!(task = %task.reference.name, "the store is slow to take a worker's task");
                }
            }
        }
    }

    /// The connected workers.
    pub async fn workers(&self) -> Result<Vec<WorkerView>, EngineError> {
        let mut workers: Vec<WorkerView> = Vec::new();
        for answer in self.node.ask_all_freely(&|| Ask::Query(Query::Workers)) {
            let found = match answer.await? {
                Answer::Workers(found) => found,
                other => return Err(mismatch(&other)),
            };
            for worker in found {
                match workers.iter_mut().find(|known| known.id == worker.id) {
                    Some(known) => known.attempts.extend(worker.attempts),
                    None => workers.push(worker),
                }
            }
        }
        Ok(workers)
    }

    /// Calls that wait for a worker: (namespace, queue, function, how many, whether a connected worker serves them).
    pub async fn queue_depths(&self) -> Result<Vec<QueueDepth>, EngineError> {
        let mut depths: Vec<QueueDepth> = Vec::new();
        for answer in self.node.ask_all_freely(&|| Ask::Query(Query::QueueDepths)) {
            let found = match answer.await? {
                Answer::QueueDepths(found) => found,
                other => return Err(mismatch(&other)),
            };
            for depth in found {
                let line = |depth: &QueueDepth| {
                    (depth.namespace.clone(), depth.queue.clone(), depth.function.clone())
                };
                let same = |known: &&mut QueueDepth| line(known) == line(&depth);
                match depths.iter_mut().find(same) {
                    Some(known) => known.waiting += depth.waiting,
                    None => depths.push(depth),
                }
            }
        }
        Ok(depths)
    }

    // ---- the node

    /// Whether the node serves.
    pub fn health(&self) -> Health {
        self.node.hub.health()
    }

    /// Waits until `health` becomes `Broken`; the text is why.
    pub async fn broken(&self) -> String {
        let mut health = self.node.hub.watch_health();
        let broken = health.wait_for(|health| matches!(health, Health::Broken(_))).await;
        if let Ok(health) = broken
            && let Health::Broken(reason) = &*health
        {
            return reason.clone();
        }
        std::future::pending().await
    }

    /// Takes no new work, writes a checkpoint, gives the partitions up. Workers are told to connect again later.
    pub async fn shutdown(&self) {
        let node = self.node.clone();
        // The threads are waited for on one that may block.
        if tokio::task::spawn_blocking(move || node.stop(true)).await.is_err() {
            tracing::error!("the engine's threads did not end in order");
        }
    }

    /// Removes closed runs that were kept long enough and keys that have expired, without waiting for the next sweep.
    pub async fn sweep(&self) -> Result<Swept, EngineError> {
        let node = self.node.clone();
        let swept = tokio::task::spawn_blocking(move || {
            let mut sweep = Sweep::default();
            while node.sweep(wall(), &mut sweep)? {}
            Ok(Swept { runs: sweep.runs, keys: sweep.keys })
        });
        let swept = swept.await.map_err(|_| stopping())?;
        swept.map_err(|error: riverrun_store::StoreError| EngineError::Unavailable(error.to_string()))
    }

    /// Brings the rows up to date with everything that was answered before.
    pub async fn checkpoint(&self) -> Result<(), EngineError> {
        for written in self.node.checkpoint_all() {
            written.await.map_err(|_| match self.health() {
                Health::ReadOnly(reason) | Health::Broken(reason) => {
                    EngineError::Unavailable(format!("no checkpoint can be written now: {reason}"))
                }
                Health::Serving | Health::Stopping => stopping(),
            })?;
        }
        Ok(())
    }

    /// Copies everything that is durable now into a file, for a backup. It may take long; everything else goes on meanwhile.
    pub async fn snapshot(&self) -> Result<Snapshot, EngineError> {
        let store = self.node.store.clone();
        let made = tokio::task::spawn_blocking(move || store.snapshot()).await.map_err(|_| stopping())?;
        made.map_err(|error| EngineError::Unavailable(error.to_string()))
    }

    /// Reads from the store on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, riverrun_store::StoreError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let store = self.node.store.clone();
        self.node.readers.run(move || {
            // Who asked may be gone.
            let _ = sender.send(read(&*store));
        });
        let read = receiver.await.map_err(|_| stopping())?;
        read.map_err(|error| EngineError::Unavailable(error.to_string()))
    }
}

/// Where a definition is kept.
fn home(namespace: &str, name: &str) -> Slot {
    let mut hash = Sha256::new();
    hash.update((namespace.len() as u64).to_be_bytes());
    hash.update(namespace.as_bytes());
    hash.update(name.as_bytes());
    let digest = hash.finalize();
    Slot(u16::from_be_bytes([digest[0], digest[1]]))
}

/// The first 12 hex digits of the digest of its source.
fn version_of(source: &str) -> String {
    let digest = Sha256::digest(source.as_bytes());
    let version = digest[..6].iter().fold(0, |number: u64, byte| (number << 8) | u64::from(*byte));
    format!("{version:012x}")
}

/// The newest is the one deployed last, also when the clock was set back meanwhile.
pub(crate) fn after(last: Option<&Definition>) -> Wall {
    last.map_or(wall(), |last| wall().max(last.deployed.plus(1)))
}

fn entropy() -> Result<[u8; 16], EngineError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| EngineError::Unavailable(format!("the system gives no random numbers: {error}")))?;
    Ok(bytes)
}

/// Reads `run_….STEP.TOKEN`.
fn callback_token(text: &str) -> Option<CallbackToken> {
    let mut parts = text.split('.');
    let token = CallbackToken {
        run: parts.next()?.parse().ok()?,
        step: StepId(parts.next()?.parse().ok()?),
        token: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(token)
}
