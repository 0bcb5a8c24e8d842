//! The real engine: threads, real clocks, stores that keep.

use std::sync::Arc;
use std::time::{Duration, Instant};

use riverrun_engine::{Engine, EngineError, Health, Settings, ToWorker};
use riverrun_kernel::{Refusal, Report, RunId, Slot, StartKind, State, WaitKind};
use riverrun_store::{
    AppendError, Batch, EmbeddedStore, Fault, FaultStore, Faults, MemoryStore, NoFaults, Store,
};

use crate::support::{connect, echo, flow, json, key, memory, next_offer, open, task, worker};

const LONG: Duration = Duration::from_secs(20);

const FLOW: &str = "startAt: Work
steps:
  Work:
    type: task
";

#[tokio::test]
async fn a_task_is_offered_reported_and_its_waiter_answered() {
    let engine = open(&memory());
    let mut link = connect(&engine).await;
    let started = engine.start(task(r#"{"n":1}"#)).await.unwrap();
    assert_eq!(started.kind, StartKind::Created);
    let waiting = tokio::spawn({
        let engine = engine.clone();
        async move { engine.wait(started.run, LONG).await }
    });
    let offer = next_offer(&mut link).await;
    assert_eq!(offer.call.input, json(r#"{"n":1}"#));
    link.report(offer.attempt, offer.token, Report::Succeeded(json("7")), 0).await.unwrap();
    let view = waiting.await.unwrap().unwrap();
    assert_eq!(view.summary.state, State::Succeeded);
    assert_eq!(view.outcome, Some(Ok(json("7"))));
    let journal = engine.journal(started.run, 0, 100).await.unwrap();
    assert!(journal.complete);
    assert_eq!(journal.rows.first().map(|row| row.entry.name()), Some("RunCreated"));
    engine.shutdown().await;
}

#[tokio::test]
async fn a_thousand_starts_under_one_key_make_one_run() {
    let engine = open(&memory());
    tokio::spawn(echo(connect(&engine).await));
    let starts: Vec<_> = (0..1000)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let mut start = task(r#"{"n":1}"#);
                start.key = Some(key("one"));
                let started = engine.start(start).await.unwrap();
                engine.wait(started.run, LONG).await.unwrap()
            })
        })
        .collect();
    let mut answers = Vec::new();
    for start in starts {
        answers.push(start.await.unwrap());
    }
    assert!(answers.iter().all(|view| view.summary.id == answers[0].summary.id));
    assert!(answers.iter().all(|view| view.outcome == Some(Ok(json(r#"{"n":1}"#)))));
    let mut other = task(r#"{"n":2}"#);
    other.key = Some(key("one"));
    let refused = engine.start(other).await.unwrap_err();
    assert!(matches!(refused, EngineError::Refused(Refusal::KeyMismatch { .. })), "{refused}");
    engine.shutdown().await;
}

#[tokio::test]
async fn a_reopened_embedded_store_knows_runs_keys_and_definitions() {
    let dir = tempfile::tempdir().unwrap();
    let store = || -> Arc<dyn Store> { Arc::new(EmbeddedStore::open(dir.path()).unwrap()) };
    let engine = open(&store());
    let mut link = connect(&engine).await;
    let mut start = task("{}");
    start.key = Some(key("k"));
    let done = engine.start(start.clone()).await.unwrap();
    let offer = next_offer(&mut link).await;
    link.report(offer.attempt, offer.token, Report::Succeeded(json("1")), 0).await.unwrap();
    drop(link);
    let open_run = engine.start(task(r#"{"later":1}"#)).await.unwrap();
    // Without a checkpoint: everything must come out of the log.
    drop(engine);

    let engine = open(&store());
    let again = engine.start(start.clone()).await.unwrap();
    assert_eq!((again.run, again.kind), (done.run, StartKind::Reused));
    let view = engine.run(open_run.run).await.unwrap();
    assert_eq!(view.summary.waiting.unwrap().kind, WaitKind::Worker);
    engine.shutdown().await;
    drop(engine);

    // With one: everything must come out of the rows.
    let engine = open(&store());
    let again = engine.start(start).await.unwrap();
    assert_eq!((again.run, again.kind), (done.run, StartKind::Reused));
    assert_eq!(engine.run(done.run).await.unwrap().outcome, Some(Ok(json("1"))));
    let mut link = connect(&engine).await;
    let offer = next_offer(&mut link).await;
    assert_eq!(offer.attempt.run, open_run.run);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_worker_that_connects_again_keeps_what_it_executes() {
    let engine = open(&memory());
    let mut link = connect(&engine).await;
    let run = engine.start(task("{}")).await.unwrap().run;
    let offer = next_offer(&mut link).await;
    drop(link);
    let claims = vec![(offer.attempt, offer.token)];
    let link = engine.connect_worker(worker(4), claims).await.unwrap();
    assert_eq!(link.claims().keep, [offer.attempt]);
    link.report(offer.attempt, offer.token, Report::Succeeded(json("2")), 0).await.unwrap();
    assert_eq!(engine.wait(run, LONG).await.unwrap().summary.state, State::Succeeded);
    link.goodbye().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn shutdown_ends_every_thread_and_tells_the_workers() {
    let store = memory();
    let engine = open(&store);
    let mut link = connect(&engine).await;
    engine.shutdown().await;
    assert_eq!(engine.health(), Health::Stopping);
    assert!(matches!(link.next().await, Some(ToWorker::Close)));
    assert!(link.next().await.is_none());
    assert!(matches!(engine.start(task("{}")).await, Err(EngineError::Unavailable(_))));
    // A second one, and another engine on the same store, find nothing in the way.
    engine.shutdown().await;
    open(&store).shutdown().await;
}

#[tokio::test]
async fn too_much_waiting_is_refused_and_named() {
    let settings = Settings { max_waiting: 0, ..Settings::default() };
    let engine = Engine::open(memory(), settings).unwrap();
    let refused = engine.start(task("{}")).await.unwrap_err();
    assert_eq!(refused, EngineError::Busy { limit: "max_waiting" });
    engine.shutdown().await;
}

struct Full;

impl Faults for Full {
    fn append(&mut self, _: &[Batch]) -> Option<Fault<AppendError>> {
        Some(Fault { error: AppendError::Refused("no space left".to_owned()), written: false })
    }
    fn checkpoint(
        &mut self,
        _: riverrun_kernel::PartitionId,
        _: &riverrun_store::Checkpoint,
    ) -> Option<Fault<riverrun_store::StoreError>> {
        let error = riverrun_store::StoreError::Unavailable("no space left".to_owned());
        Some(Fault { error, written: false })
    }
}

#[tokio::test]
async fn a_full_disk_refuses_starts_serves_reads_and_is_left_behind() {
    let store = Arc::new(FaultStore::new(MemoryStore::default(), NoFaults));
    let engine = Engine::open(store.clone(), Settings::default()).unwrap();
    let kept = engine.start(task("{}")).await.unwrap().run;
    store.set_faults(Full);
    let id = RunId::new(1, Slot(3), 4);
    let mut start = task("{}");
    start.run = Some(id);
    let refused = engine.start(start.clone()).await.unwrap_err();
    assert!(
        matches!(&refused, EngineError::Unavailable(text) if text.contains("no space left")),
        "{refused}"
    );
    assert_eq!(engine.run(kept).await.unwrap().summary.id, kept);
    assert!(matches!(engine.run(id).await, Err(EngineError::Refused(Refusal::UnknownRun(_)))));
    store.set_faults(NoFaults);
    let started = loop {
        match engine.start(start.clone()).await {
            Ok(started) => break started,
            Err(EngineError::Unavailable(_)) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(started.run, id);
    assert_eq!(engine.health(), Health::Serving);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_partition_whose_very_first_write_was_refused_takes_the_next() {
    let store = Arc::new(FaultStore::new(MemoryStore::default(), Full));
    let engine = Engine::open(store.clone(), Settings::default()).unwrap();
    let mut start = task("{}");
    start.run = Some(RunId::new(1, Slot(3), 4));
    assert!(matches!(engine.start(start.clone()).await, Err(EngineError::Unavailable(_))));
    store.set_faults(NoFaults);
    let deadline = Instant::now() + LONG;
    let started = loop {
        match engine.start(start.clone()).await {
            Ok(started) => break started,
            Err(EngineError::Unavailable(_)) if Instant::now() < deadline => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(engine.run(started.run).await.unwrap().summary.id, started.run);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_full_disk_for_longer_than_a_lease_takes_no_lease() {
    let store = Arc::new(FaultStore::new(MemoryStore::default(), NoFaults));
    let lease = Duration::from_millis(600);
    let settings = Settings { lease_ms: lease.as_millis() as u64, ..Settings::default() };
    let engine = Engine::open(store.clone(), settings).unwrap();
    let mut link = connect(&engine).await;
    let run = engine.start(task("{}")).await.unwrap().run;
    let offer = next_offer(&mut link).await;
    store.set_faults(Full);
    assert!(engine.start(task("{}")).await.is_err());
    drop(link);
    let full_until = Instant::now() + 2 * lease;
    let claims = vec![(offer.attempt, offer.token)];
    let link = loop {
        if Instant::now() > full_until {
            store.set_faults(NoFaults);
        }
        match engine.connect_worker(worker(4), claims.clone()).await {
            Ok(link) => break link,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!(link.claims().keep, [offer.attempt]);
    link.report(offer.attempt, offer.token, Report::Succeeded(json("2")), 0).await.unwrap();
    assert_eq!(engine.wait(run, LONG).await.unwrap().summary.state, State::Succeeded);
    engine.shutdown().await;
}

struct Broken;

impl Faults for Broken {
    fn append(&mut self, _: &[Batch]) -> Option<Fault<AppendError>> {
        Some(Fault { error: AppendError::Broken("sync failed".to_owned()), written: false })
    }
}

#[tokio::test]
async fn a_broken_storage_is_told_and_nothing_is_acknowledged() {
    let store = Arc::new(FaultStore::new(MemoryStore::default(), Broken));
    let engine = Engine::open(store, Settings::default()).unwrap();
    let run = engine.start(task("{}")).await;
    assert!(matches!(run, Err(EngineError::Unavailable(_))));
    assert_eq!(engine.broken().await, "sync failed");
    engine.shutdown().await;
}

struct Panics;

impl Faults for Panics {
    fn append(&mut self, _: &[Batch]) -> Option<Fault<AppendError>> {
        panic!("the store lost its mind")
    }
}

#[tokio::test]
async fn a_panic_in_the_store_is_told_and_callers_are_answered() {
    let store = Arc::new(FaultStore::new(MemoryStore::default(), Panics));
    let engine = Engine::open(store, Settings::default()).unwrap();
    let refused = engine.start(task("{}")).await.unwrap_err();
    assert!(
        matches!(&refused, EngineError::Unavailable(text) if text.contains("lost its mind")),
        "{refused}"
    );
    assert!(engine.broken().await.contains("lost its mind"));
    assert!(engine.start(task("{}")).await.is_err());
    engine.shutdown().await;
}

#[tokio::test]
async fn a_flow_is_deployed_once_and_an_unknown_name_gets_a_near_one() {
    let engine = open(&memory());
    let source = FLOW;
    match engine.deploy("default", "polling", source).await {
        Ok(deployed) => assert!(deployed.created),
        Err(riverrun_engine::DeployError::Invalid(mistakes)) => {
            assert!(!mistakes.is_empty());
            engine.shutdown().await;
            return;
        }
        Err(other) => panic!("{other}"),
    }
    assert!(!engine.deploy("default", "polling", source).await.unwrap().created);
    let unknown = engine.start(flow("poling", "{}")).await.unwrap_err();
    assert!(unknown.to_string().contains("did you mean `polling`?"), "{unknown}");
    let wrong = engine.start(flow("polling", "[1]")).await.unwrap_err();
    assert!(wrong.to_string().contains("an array"), "{wrong}");
    engine.shutdown().await;
}
