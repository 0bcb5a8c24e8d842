//! What is old goes: closed runs after the retention, keys after their time to live.

use std::sync::Arc;
use std::time::Duration;

use riverrun_engine::{Engine, EngineError, Settings, Start, Swept};
use riverrun_kernel::{KeyId, Refusal, RunId, Ttl};
use riverrun_store::{KeyFilter, RunFilter, Store};

use crate::support::{key, memory, open, task};

fn start(namespace: &str, continue_id: &str, ttl: Ttl) -> Start {
    let mut start = Start { namespace: namespace.to_owned(), ..task("{}") };
    start.key = Some(riverrun_engine::StartKey { ttl, ..key(continue_id) });
    start
}

/// Starts a run and cancels it.
async fn close(engine: &Engine, start: Start) -> RunId {
    let run = engine.start(start).await.expect("an answer").run;
    engine.cancel(run, "tested".to_owned()).await.expect("an answer");
    run
}

/// Leaves keys of three kinds, and waits until those with a time to live have expired.
async fn leave_keys(engine: &Engine, expiring: usize) {
    close(engine, start("default", "kept", Ttl::Forever)).await;
    engine.start(start("default", "running", Ttl::Ms(1))).await.expect("an answer");
    for number in 0..expiring {
        let namespace = ["default", "other"][number % 2];
        let continue_id = format!("key-{number}");
        close(engine, start(namespace, &continue_id, Ttl::Ms(1))).await;
        let id = KeyId {
            namespace: namespace.into(),
            definition: "work".into(),
            version: "".into(),
            continue_id: continue_id.as_str().into(),
        };
        while engine.key(id.clone()).await.expect("an answer").is_some() {
            tokio::task::yield_now().await;
        }
    }
}

fn keys_in_rows(store: &Arc<dyn Store>) -> Vec<String> {
    let names = store.namespaces().expect("an answer").into_iter();
    let keys = names.flat_map(|namespace| {
        let filter = KeyFilter { namespace, definition: None };
        store.keys(&filter, None, usize::MAX).expect("an answer")
    });
    keys.map(|key| key.id.continue_id.to_string()).collect()
}

#[tokio::test]
async fn expired_keys_are_swept_from_memory() {
    let store = memory();
    let engine = open(&store);
    leave_keys(&engine, 3).await;
    assert_eq!(engine.sweep().await.unwrap(), Swept { runs: 0, keys: 3 });
    assert_eq!(engine.sweep().await.unwrap(), Swept { runs: 0, keys: 0 });
    engine.shutdown().await;
    assert_eq!(keys_in_rows(&store), ["kept", "running"]);
}

#[tokio::test]
async fn expired_keys_are_swept_from_rows_in_slices() {
    let store = memory();
    let engine = open(&store);
    leave_keys(&engine, 450).await;
    engine.shutdown().await;
    assert_eq!(keys_in_rows(&store).len(), 452);

    let engine = open(&store);
    assert_eq!(engine.sweep().await.unwrap(), Swept { runs: 0, keys: 450 });
    engine.shutdown().await;
    assert_eq!(keys_in_rows(&store), ["kept", "running"]);
}

#[tokio::test]
async fn a_key_that_stands_for_a_new_run_outlives_the_sweep_of_its_old_row() {
    let store = memory();
    let engine = open(&store);
    leave_keys(&engine, 1).await;
    engine.shutdown().await;

    let engine = open(&store);
    let again = engine.start(start("default", "key-0", Ttl::Forever)).await.unwrap();
    engine.sweep().await.unwrap();
    let attached = engine.start(start("default", "key-0", Ttl::Forever)).await.unwrap();
    assert_eq!((attached.run, attached.generation), (again.run, again.generation));
    engine.shutdown().await;
}

#[tokio::test]
async fn old_runs_are_swept_from_rows_in_slices_and_open_ones_stay() {
    let store = memory();
    let settings = Settings { retention: Some(Duration::ZERO), ..Settings::default() };
    let engine = Engine::open(store.clone(), settings).unwrap();
    for number in 0..450 {
        let namespace = ["default", "other"][number % 2].to_owned();
        close(&engine, Start { namespace, ..task("{}") }).await;
    }
    let open = engine.start(task("{}")).await.unwrap().run;
    assert_eq!(runs_in_rows(&store), 0);
    engine.checkpoint().await.unwrap();
    assert_eq!(runs_in_rows(&store), 451);
    // A run goes when the clock shows a later millisecond than its end.
    let ended = std::time::SystemTime::now();
    while ended.elapsed().unwrap_or_default() < Duration::from_millis(2) {
        tokio::task::yield_now().await;
    }
    assert_eq!(engine.sweep().await.unwrap().runs, 450);
    engine.checkpoint().await.unwrap();
    assert_eq!(runs_in_rows(&store), 1);
    assert!(!engine.run(open).await.unwrap().summary.state.is_closed());
    engine.shutdown().await;
}

fn runs_in_rows(store: &Arc<dyn Store>) -> u64 {
    let names = store.namespaces().expect("an answer").into_iter();
    let count = |namespace| RunFilter { namespace, ..RunFilter::default() };
    names.map(|namespace| store.count(&count(namespace), 10_000).expect("an answer").count).sum()
}

#[tokio::test]
async fn old_runs_go_also_where_nothing_is_deployed_and_no_worker_connected() {
    let store = memory();
    let engine = open(&store);
    let run = close(&engine, Start { namespace: "other".to_owned(), ..task("{}") }).await;
    engine.shutdown().await;

    let settings = Settings { retention: Some(Duration::ZERO), ..Settings::default() };
    let engine = Engine::open(store.clone(), settings).unwrap();
    // Until the clock shows a later millisecond than the run's end.
    while engine.sweep().await.unwrap().runs == 0 {}
    assert_eq!(engine.run(run).await.unwrap_err(), EngineError::Refused(Refusal::UnknownRun(run)));
    engine.shutdown().await;
    assert_eq!(store.namespaces(), Ok(Vec::new()));
}

#[tokio::test]
async fn a_run_goes_by_its_own_time_to_live_and_by_nothing_else() {
    let store = memory();
    let settings = Settings { retention: Some(Duration::ZERO), ..Settings::default() };
    let engine = Engine::open(store.clone(), settings).unwrap();
    let kept_for = |ttl: Ttl| {
        let mut start = task("{}");
        start.options.failure_ttl = Some(ttl);
        start
    };
    let short = close(&engine, kept_for(Ttl::Ms(1))).await;
    let long = close(&engine, kept_for(Ttl::Ms(3_600_000))).await;
    let forever = close(&engine, kept_for(Ttl::Forever)).await;
    engine.checkpoint().await.unwrap();
    while engine.sweep().await.unwrap().runs == 0 {}
    assert_eq!(engine.run(short).await.unwrap_err(), EngineError::Refused(Refusal::UnknownRun(short)));
    for run in [long, forever] {
        assert!(engine.run(run).await.unwrap().summary.state.is_closed());
    }
    engine.shutdown().await;
}
