//! What several tests use: engines over stores, starts, and a worker that answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use riverrun_engine::{Engine, Settings, Start, StartKey, ToWorker, WorkerLink};
use riverrun_kernel::{
    DefinitionKind, Json, Offer, OnInput, OnRunning, OnSuccess, Report, RunOptions, Ttl, WorkerSpec,
};
use riverrun_store::{MemoryStore, Store};

pub fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::default())
}

pub fn open(store: &Arc<dyn Store>) -> Engine {
    Engine::open(store.clone(), Settings::default()).expect("the store opens")
}

pub fn json(text: &str) -> Json {
    Json::parse(text).expect("test JSON")
}

/// A start of the task `work`.
pub fn task(input: &str) -> Start {
    Start {
        namespace: "default".to_owned(),
        definition: "work".to_owned(),
        kind: Some(DefinitionKind::Task),
        version: None,
        input: json(input),
        run: None,
        key: None,
        options: RunOptions::default(),
    }
}

pub fn flow(name: &str, input: &str) -> Start {
    Start { definition: name.to_owned(), kind: None, ..task(input) }
}

pub fn key(continue_id: &str) -> StartKey {
    StartKey {
        continue_id: continue_id.to_owned(),
        scope_version: false,
        fingerprint_paths: None,
        on_success: OnSuccess::Reuse,
        on_failure: None,
        on_running: OnRunning::Attach,
        on_input: OnInput::Refuse,
        allow_new_input: false,
        rerun_purged: false,
        force: false,
        ttl: Ttl::DEFAULT,
        max_generations: 10,
    }
}

pub fn worker(slots: u32) -> WorkerSpec {
    WorkerSpec {
        name: "w".into(),
        namespace: "default".into(),
        queues: BTreeSet::new(),
        functions: BTreeSet::from(["work".to_owned(), "svc/fn".to_owned()]),
        slots,
        in_process: false,
        incarnation: None,
    }
}

pub async fn connect(engine: &Engine) -> WorkerLink {
    engine.connect_worker(worker(4), Vec::new()).await.expect("a worker connects")
}

pub async fn next_offer(link: &mut WorkerLink) -> Box<Offer> {
    match link.next().await {
        Some(ToWorker::Offer(offer)) => offer,
        other => panic!("expected an offer, got {other:?}"),
    }
}

/// Answers every offer with its own input.
pub async fn echo(mut link: WorkerLink) {
    while let Some(message) = link.next().await {
        if let ToWorker::Offer(offer) = message {
            let report = Report::Succeeded(offer.call.input.clone());
            tokio::spawn(link.report(offer.attempt, offer.token, report, 0));
        }
    }
}
