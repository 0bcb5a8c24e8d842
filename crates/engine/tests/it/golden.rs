//! A data directory that an earlier version wrote is opened, recovered and gone on with. See `tests/golden/README.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use riverrun_engine::{Engine, EngineError, Settings, Start, StartKey, ToWorker, WorkerLink};
use riverrun_kernel::driver::{RetryPolicy, Sleep, Work};
use riverrun_kernel::workflow::{self, Act};
use riverrun_kernel::{
    DefinitionKind, Failure, Offer, Refusal, Report, RunId, RunOptions, RunView, StartKind, State,
    TaskOptions, Ttl, WaitKind, Wall, WorkerSpec,
};
use riverrun_store::{EmbeddedStore, RunFilter, Store};
use serde::{Deserialize, Serialize};

use crate::support::{echo, flow, json, key, task, worker};

const LONG: Duration = Duration::from_secs(20);

const NAP: &str = "version: v1\ntype: flow\nsteps:\n  - {type: wait, name: Nap, duration: 2000000000}\n";
const ASK: &str = "version: v1\ntype: flow\nsteps:\n  - {type: task, name: Ask, resourceArn: svc/fn, pattern: waitForCallback}\n";
const PARENT: &str = "version: v1\ntype: flow\nsteps:\n  - {type: task, name: Child, resourceArn: 'acs:fnf:::flow/nap', pattern: sync}\n";

/// What is known of a run in a golden directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Known {
    run: RunId,
    state: State,
    waiting: Option<WaitKind>,
    entries: u64,
}

/// What is known of a golden directory.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Golden {
    runs: BTreeMap<String, Known>,
    callback: String,
}

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version)
}

fn open(dir: &Path) -> (Arc<dyn Store>, Engine) {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(dir).expect("the store opens"));
    let settings = Settings { retention: None, ..Settings::default() };
    (store.clone(), Engine::open(store, settings).expect("it is recovered"))
}

fn known(view: &RunView) -> Known {
    Known {
        run: view.summary.id,
        state: view.summary.state,
        waiting: view.summary.waiting.as_ref().map(|waiting| waiting.kind),
        entries: view.entries,
    }
}

fn keyed(name: &str) -> StartKey {
    StartKey { ttl: Ttl::Forever, ..key(name) }
}

fn large() -> String {
    format!("\"{}\"", "large ".repeat(20_000))
}

// ---- writing one

/// Makes one run after another.
struct Maker {
    engine: Engine,
    link: WorkerLink,
    runs: BTreeMap<String, RunId>,
}

impl Maker {
    async fn start(&mut self, case: &str, start: Start) -> RunId {
        let mut start = start;
        start.options.labels.insert("case".to_owned(), case.to_owned());
        let run = self.engine.start(start).await.expect("it starts").run;
        self.runs.insert(case.to_owned(), run);
        run
    }

    /// Starts a task, and answers its offer.
    async fn task(&mut self, case: &str, start: Start, report: Report) -> RunId {
        let run = self.start(case, start).await;
        let offer = self.offer().await;
        self.report(&offer, report, 0).await;
        run
    }

    async fn offer(&mut self) -> Box<Offer> {
        loop {
            match self.link.next().await {
                Some(ToWorker::Offer(offer)) => return offer,
                None | Some(ToWorker::Close) => panic!("the connection has ended"),
                Some(_) => {}
            }
        }
    }

    async fn report(&self, offer: &Offer, report: Report, acts: u64) {
        self.link.report(offer.attempt, offer.token, report, acts).await.expect("it is recorded");
    }

    /// Starts a workflow whose code executes a step of its own and then does what `acts` say.
    async fn code(&mut self, case: &str, acts: Vec<Act>) -> (RunId, Box<Offer>) {
        let order =
            Start { definition: "order".to_owned(), kind: Some(DefinitionKind::Workflow), ..task("{}") };
        let run = self.start(case, order).await;
        let offer = self.offer().await;
        let mut all = vec![Act::Ran { tag: 0, path: "reserve".to_owned(), outcome: Ok(json("[1]")) }];
        all.extend(acts);
        self.link.progress(offer.attempt, offer.token, 1, all).await.expect("it is recorded");
        (run, offer)
    }

    async fn workflows(&mut self) {
        let (_, offer) = self.code("workflow_done", Vec::new()).await;
        self.report(&offer, Report::Succeeded(json("{}")), 1).await;
        let (_, offer) = self.code("workflow_repair", Vec::new()).await;
        self.report(&offer, Report::Unreplayable("step 2 is another one".to_owned()), 1).await;
        let nap = Work::Sleep(Sleep::For(2_000_000_000_000));
        let waits = Act::Begin { tag: 1, path: "nap".to_owned(), work: nap };
        let (run, offer) = self.code("workflow_parked", vec![waits]).await;
        let seen = self.engine.run(run).await.expect("a view").entries;
        self.report(&offer, Report::Parked { seen }, 2).await;
        self.code("workflow_running", Vec::new()).await;
    }

    async fn closed_runs(&mut self) {
        let succeeded = Start { key: Some(keyed("k")), ..task(r#"{"n": 1}"#) };
        self.task("succeeded", succeeded, Report::Succeeded(json(&large()))).await;
        let failed = Report::Failed(Failure::new("Boom", "as asked"));
        self.task("failed", task("{}"), failed).await;
        let cancelled = self.start("cancelled", flow("nap", "{}")).await;
        self.engine.cancel(cancelled, "as asked".to_owned()).await.expect("cancelled");
        let short = RunOptions { timeout_ms: Some(1), ..RunOptions::default() };
        let timed_out = self.start("timed_out", Start { options: short, ..flow("nap", "{}") }).await;
        let mut expiring = elsewhere();
        expiring.options.queue_ttl_ms = Some(1);
        let expired = self.start("expired", expiring).await;
        for run in [timed_out, expired] {
            self.engine.wait(run, LONG).await.expect("it ends");
        }
    }

    async fn open_runs(&mut self, golden: &mut Golden) {
        self.start("queued", elsewhere()).await;
        let mut late = task("{}");
        late.options.run_at = Some(Wall(4_102_444_800_000));
        self.start("late", late).await;
        self.start("asleep", Start { key: Some(keyed("nap")), ..flow("nap", r#"{"a": 1}"#) }).await;
        self.start("parent", flow("parent", "{}")).await;
        let paused = self.start("paused", flow("nap", "{}")).await;
        self.engine.pause(paused).await.expect("paused");
        let signalled = self.start("signalled", flow("nap", "{}")).await;
        let signal = self.engine.signal(signalled, "go".to_owned(), json("[1]"), Some("s-1".to_owned()));
        signal.await.expect("kept");
        let run = self.start("callback", flow("ask", "{}")).await;
        let offer = self.offer().await;
        golden.callback = offer.callback.clone().expect("a token");
        self.report(&offer, Report::Succeeded(json("null")), 0).await;
        assert_eq!(self.engine.run(run).await.expect("a view").summary.state, State::Suspended);
        let mut again = task("{}");
        let policy = RetryPolicy {
            errors: Vec::new(),
            max_retries: 3,
            interval_ms: 2_000_000_000_000,
            multiplier: 1.0,
            max_interval_ms: 2_000_000_000_000,
            ..RetryPolicy::default()
        };
        again.options.task = Some(TaskOptions { retry: vec![policy], ..TaskOptions::default() });
        self.task("retrying", again, Report::Failed(Failure::new("Boom", "not yet"))).await;
        self.start("running", task("{}")).await;
        self.offer().await;
        let cancelling = self.start("cancelling", task("{}")).await;
        self.offer().await;
        self.engine.cancel(cancelling, String::new()).await.expect("cancelling");
    }
}

/// A worker that also has the code of a workflow.
fn coder() -> WorkerSpec {
    let mut spec = worker(16);
    spec.functions.insert(workflow::function("order"));
    spec
}

/// A task in a queue that nobody serves.
fn elsewhere() -> Start {
    let mut start = task("{}");
    start.options.task = Some(TaskOptions { queue: "elsewhere".to_owned(), ..TaskOptions::default() });
    start
}

async fn write(dir: &Path) {
    let work = tempfile::tempdir().expect("a directory");
    let (store, engine) = open(work.path());
    for (name, source) in [("nap", NAP), ("ask", ASK), ("parent", PARENT)] {
        engine.deploy("default", name, source).await.expect("deployed");
    }
    let mut spec = coder();
    spec.queues.insert("default".to_owned());
    let link = engine.connect_worker(spec, Vec::new()).await.expect("a worker connects");
    let mut maker = Maker { engine: engine.clone(), link, runs: BTreeMap::new() };
    let mut golden = Golden::default();
    // Some of it in rows, the rest in the log.
    maker.closed_runs().await;
    maker.start("asleep_in_a_row", flow("nap", "{}")).await;
    engine.checkpoint().await.expect("rows");
    maker.open_runs(&mut golden).await;
    maker.workflows().await;
    let runs = maker.runs.clone();
    for (case, run) in runs {
        golden.runs.insert(case, known(&engine.run(run).await.expect("a view")));
    }
    // No checkpoint: as after kill -9.
    drop((maker, engine, store));
    fs::create_dir_all(dir).expect("a directory");
    for name in ["riverrun.db", "acknowledged"] {
        fs::copy(work.path().join(name), dir.join(name)).expect("copied");
    }
    let text = serde_json::to_string_pretty(&golden).expect("JSON");
    fs::write(dir.join("expected.json"), text + "\n").expect("written");
}

// ---- reading one

async fn read(dir: &Path) {
    let golden: Golden =
        serde_json::from_slice(&fs::read(dir.join("expected.json")).expect("read")).expect("JSON");
    let work = tempfile::tempdir().expect("a directory");
    for name in ["riverrun.db", "acknowledged"] {
        fs::copy(dir.join(name), work.path().join(name)).expect("copied");
    }
    let (store, engine) = open(work.path());
    for (case, expected) in &golden.runs {
        let view = engine.run(expected.run).await.expect(case);
        let found = known(&view);
        if case == "cancelling" {
            // The grace to clean up may have passed since the directory was written.
            assert!(matches!(found.state, State::Cancelling | State::Cancelled), "{found:?}");
        } else {
            assert_eq!(found, *expected, "{case}");
        }
        assert_eq!(view.summary.labels.get("case"), Some(case));
        let journal = engine.journal(expected.run, 0, 1_000).await.expect(case);
        assert_eq!(journal.rows.len() as u64, found.entries, "{case}");
        assert_eq!(journal.rows[0].entry.name(), "RunCreated", "{case}");
    }
    let of = |case: &str| golden.runs[case].run;
    let succeeded = engine.run(of("succeeded")).await.expect("a view");
    assert_eq!(succeeded.outcome, Some(Ok(json(&large()))));
    store.verify().expect("everything is in order");
    go_on(&engine, &golden).await;
    engine.shutdown().await;
    drop(engine);
    store.verify().expect("everything is in order after it went on");
    let filter = RunFilter { namespace: "default".to_owned(), ..RunFilter::default() };
    let count = store.count(&filter, 1_000).expect("counted").count;
    assert!(count > golden.runs.len() as u64, "the child of `parent` has a row too: {count}");
}

/// What was begun under the earlier version ends under this one.
async fn go_on(engine: &Engine, golden: &Golden) {
    let of = |case: &str| golden.runs[case].run;
    let again = engine.start(Start { key: Some(keyed("k")), ..task(r#"{"n": 1}"#) }).await.expect("found");
    assert_eq!((again.run, again.kind), (of("succeeded"), StartKind::Reused));
    let joined =
        engine.start(Start { key: Some(keyed("nap")), ..flow("nap", r#"{"a": 1}"#) }).await.expect("found");
    assert_eq!((joined.run, joined.kind), (of("asleep"), StartKind::Attached));
    let other = engine.start(Start { key: Some(keyed("k")), ..task(r#"{"n": 2}"#) }).await;
    assert!(matches!(other, Err(EngineError::Refused(Refusal::KeyMismatch { .. }))), "{other:?}");

    engine.complete_callback(&golden.callback, Ok(json("{\"said\": 1}"))).await.expect("the token is valid");
    let asked = engine.wait(of("callback"), LONG).await.expect("a view");
    assert_eq!(asked.summary.state, State::Succeeded);
    assert_eq!(engine.resume(of("paused")).await, Ok(State::Suspended), "it sleeps on");
    tokio::spawn(echo(engine.connect_worker(coder(), Vec::new()).await.expect("a worker connects")));
    let queued = engine.wait(of("queued"), LONG).await.expect("a view");
    assert_eq!(queued.summary.state, State::Succeeded);
    engine.resume(of("failed")).await.expect("reopened");
    let resumed = engine.wait(of("failed"), LONG).await.expect("a view");
    assert_eq!(resumed.summary.state, State::Succeeded);
    engine.resume(of("workflow_repair")).await.expect("its code was mended");
    let mended = engine.wait(of("workflow_repair"), LONG).await.expect("a view");
    assert_eq!(mended.summary.state, State::Succeeded);
    let cancelled = engine.cancel(of("asleep_in_a_row"), String::new()).await;
    assert_eq!(cancelled, Ok(State::Cancelled));
}

#[tokio::test]
async fn what_version_1_wrote_is_read_and_gone_on_with() {
    let dir = golden("v1");
    if std::env::var_os("RIVERRUN_UPDATE").is_some() {
        write(&dir).await;
    }
    read(&dir).await;
}

/// The same without the files that are kept: what can be kept is known to hold before it is.
#[tokio::test]
async fn what_this_version_writes_is_read_and_gone_on_with() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path()).await;
    read(dir.path()).await;
}
