//! Lists and counts take in what no row has yet.

use std::sync::Arc;

use riverrun_engine::{Engine, EngineError, Settings};
use riverrun_kernel::RunId;
use riverrun_store::{MemoryStore, RunFilter};

use crate::support::{connect, json, next_offer, task};

fn everything() -> RunFilter {
    RunFilter { namespace: "default".to_owned(), ..RunFilter::default() }
}

#[tokio::test]
async fn pages_are_whole_while_some_runs_are_in_rows_and_some_in_memory() {
    // A checkpoint after every few records, so that both have some.
    let settings = Settings { checkpoint_records: 7, ..Settings::default() };
    let engine = Engine::open(Arc::new(MemoryStore::default()), settings).unwrap();
    let mut started: Vec<RunId> = Vec::new();
    for number in 0..50 {
        let start = task(&format!("{{\"n\":{number}}}"));
        // So small a log may fill up before its checkpoint is written.
        let run = loop {
            match engine.start(start.clone()).await {
                Err(EngineError::Busy { .. }) => tokio::task::yield_now().await,
                answer => break answer.unwrap().run,
            }
        };
        started.push(run);
    }
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = engine.list(everything(), after, 7).await.unwrap();
        found.extend(page.items.iter().map(|run| (run.created, run.id)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(found.windows(2).all(|pair| pair[0] > pair[1]), "newest first");
    let mut ids: Vec<RunId> = found.into_iter().map(|(_, id)| id).collect();
    ids.sort_unstable();
    started.sort_unstable();
    assert_eq!(ids, started);
    let count = engine.count(everything(), 1_000).await.unwrap();
    assert_eq!((count.count, count.capped), (50, false));
    let capped = engine.count(everything(), 10).await.unwrap();
    assert_eq!((capped.count, capped.capped), (10, true));
    engine.shutdown().await;
}

#[tokio::test]
async fn a_deleted_run_is_gone_from_lists_before_its_row_is() {
    let engine = Engine::open(Arc::new(MemoryStore::default()), Settings::default()).unwrap();
    let mut link = connect(&engine).await;
    let run = engine.start(task("{}")).await.unwrap().run;
    let offer = next_offer(&mut link).await;
    let report = riverrun_kernel::Report::Succeeded(json("1"));
    link.report(offer.attempt, offer.token, report, 0).await.unwrap();
    engine.delete(run).await.unwrap();
    assert!(engine.list(everything(), None, 10).await.unwrap().items.is_empty());
    assert!(engine.run(run).await.is_err());
    engine.shutdown().await;
}
