//! What is kept with a flow, and what becomes of one that is deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use riverrun_engine::{Engine, EngineError, Start};
use riverrun_kernel::RunId;
use riverrun_store::{RunFilter, Store};

use crate::support::{flow, key, memory, open};

const WAITS: &str = "version: v1\ntype: flow\nsteps:\n  - {type: wait, name: Long, duration: 86400}\n";
const PASSES: &str = "version: v1\ntype: flow\nsteps:\n  - {type: pass, name: Short}\n";

fn facts(text: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("description".to_owned(), text.to_owned())])
}

fn named(continue_id: &str) -> Start {
    Start { key: Some(key(continue_id)), ..flow("f", "{}") }
}

/// The process dies; what it had not written to rows is in the log.
fn reopened(store: &Arc<dyn Store>, engine: Engine) -> Engine {
    drop(engine);
    open(store)
}

async fn runs(engine: &Engine) -> Vec<RunId> {
    let filter = RunFilter { namespace: "default".to_owned(), ..RunFilter::default() };
    let page = engine.list(filter, None, 100).await.expect("a page");
    page.items.into_iter().map(|run| run.id).collect()
}

#[tokio::test]
async fn facts_stay_with_a_flow() {
    for checkpoint in [false, true] {
        let store = memory();
        let engine = open(&store);
        let first = engine.deploy_with("default", "f", WAITS, facts("one")).await.unwrap();
        assert!(first.created);
        let same = engine.deploy_with("default", "f", WAITS, facts("one")).await.unwrap();
        assert_eq!(same.definition, first.definition, "the same again changes nothing");
        let changed = engine.deploy_with("default", "f", WAITS, facts("two")).await.unwrap();
        assert!(!changed.created);
        assert!(changed.definition.deployed > first.definition.deployed);
        if checkpoint {
            engine.checkpoint().await.unwrap();
        }
        let engine = reopened(&store, engine);
        let found = engine.definition("default", "f", None).unwrap();
        assert_eq!((&found.facts, found.created), (&facts("two"), first.definition.created));
        // A deployment that says nothing about them leaves them.
        let other = engine.deploy("default", "f", PASSES).await.unwrap().definition;
        assert_eq!((other.facts, other.created), (facts("two"), first.definition.created));
        assert_eq!(engine.definition("default", "f", None).unwrap().source.as_ref(), PASSES);
    }
}

#[tokio::test]
async fn a_deleted_flow_starts_nothing_and_its_runs_and_keys_go() {
    for checkpoint in [false, true] {
        let store = memory();
        let engine = open(&store);
        let version = engine.deploy("default", "f", WAITS).await.unwrap().definition.reference.version;
        engine.deploy("default", "g", WAITS).await.unwrap();
        for number in 0..300 {
            engine.start(named(&format!("e{number}"))).await.unwrap();
        }
        engine.start(flow("f", "{}")).await.unwrap();
        let other = engine.start(flow("g", "{}")).await.unwrap().run;
        assert!(engine.delete_definition("default", "f").await.unwrap());
        assert!(!engine.delete_definition("default", "f").await.unwrap(), "it is gone");
        if checkpoint {
            engine.checkpoint().await.unwrap();
        }
        let engine = reopened(&store, engine);
        assert!(engine.definition("default", "f", None).is_none());
        assert!(engine.definitions("default").iter().all(|found| &*found.reference.name != "f"));
        let exact = Start { version: Some(version.to_string()), ..flow("f", "{}") };
        for start in [named("e1"), flow("f", "{}"), exact] {
            let refused = engine.start(start).await;
            assert!(matches!(refused, Err(EngineError::UnknownDefinition(_))), "{refused:?}");
        }
        // What is shown of its runs until they are gone.
        assert!(engine.definition("default", "f", Some(&version)).is_some());
        while engine.clear_deleted().await.unwrap() {}
        assert_eq!(runs(&engine).await, [other]);

        let again = engine.deploy_with("default", "f", WAITS, BTreeMap::new()).await.unwrap();
        assert!(again.created);
        let started = engine.start(named("e1")).await.unwrap();
        assert_eq!((started.generation, started.kind), (1, riverrun_kernel::StartKind::Created));
        assert!(!engine.clear_deleted().await.unwrap());
        assert_eq!(runs(&engine).await.len(), 2, "what is new stays");
    }
}
