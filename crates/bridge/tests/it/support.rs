//! A Redis, an engine over memory, and a worker that does what its input says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use riverrun_bridge::{Bridge, Settings};
use riverrun_engine::{Engine, TaskContract, ToWorker, WorkerLink};
use riverrun_kernel::{Failure, Json, Offer, Report, RunId, WorkerSpec};
use riverrun_store::{Cursor, MemoryStore, RunFilter, Store};

use crate::redis::{Client, Redis, until};

/// The queue of all tests, and its keys.
pub const PING: &str = "/demo_api/ping";
pub const QUEUE: &str = "mq:queue:{/demo_api/ping}";
pub const TAKEN: &str = "riverrun:taken:{/demo_api/ping}";
pub const REFUSED: &str = "riverrun:refused:{/demo_api/ping}";
pub const WIP: &str = "mq:wip:{/demo_api/ping}";
pub const FINISHED: &str = "mq:finished:{/demo_api/ping}";
pub const FAILED: &str = "mq:failed:{/demo_api/ping}";

/// A Redis, and an engine whose runs outlive bridges.
pub struct World {
    pub redis: Redis,
    pub engine: Engine,
}

impl World {
    pub fn new() -> World {
        World { redis: Redis::start(), engine: engine() }
    }

    pub fn bridge(&self) -> Bridge {
        Bridge::start(self.engine.clone(), self.settings()).expect("good settings")
    }

    pub fn settings(&self) -> Settings {
        Settings { port: 7733, ..Settings::new(self.redis.url(), vec![PING.to_owned()]) }
    }

    pub fn client(&self) -> Client {
        self.redis.client()
    }

    pub async fn worker(&self) -> WorkerLink {
        self.worker_taking(&BTreeMap::new()).await
    }

    /// A worker that says what its functions take and how they are run.
    pub async fn worker_taking(&self, contracts: &BTreeMap<String, TaskContract>) -> WorkerLink {
        let spec = WorkerSpec {
            name: "host:17".into(),
            namespace: "default".into(),
            queues: BTreeSet::new(),
            functions: BTreeSet::from([PING.to_owned()]),
            slots: 4,
            in_process: false,
            incarnation: None,
        };
        self.engine.connect_worker_taking(spec, contracts, Vec::new()).await.expect("a worker connects")
    }

    /// Every run that there is.
    pub async fn runs(&self) -> Vec<RunId> {
        let filter = RunFilter { namespace: "default".to_owned(), ..RunFilter::default() };
        let none: Option<Cursor> = None;
        let page = self.engine.list(filter, none, 1000).await.expect("a list");
        page.items.into_iter().map(|run| run.id).collect()
    }
}

fn engine() -> Engine {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    Engine::open(store, riverrun_engine::Settings::default()).expect("the store opens")
}

/// The next call for a worker, which must come.
pub async fn next_offer(link: &mut WorkerLink) -> Box<Offer> {
    let offer = async {
        loop {
            match link.next().await {
                Some(ToWorker::Offer(offer)) => return offer,
                Some(_) => {}
                None => panic!("the connection ended"),
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), offer).await.expect("an offer comes")
}

pub async fn answer(link: &WorkerLink, offer: &Offer, output: &str) {
    let output = Json::parse(output).expect("test JSON");
    link.report(offer.attempt, offer.token, Report::Succeeded(output), 0).await.expect("a report");
}

pub async fn raise(link: &WorkerLink, offer: &Offer, failure: Failure) {
    link.report(offer.attempt, offer.token, Report::Failed(failure), 0).await.expect("a report");
}

/// Answers every call with `OK` and its input.
pub fn echo(mut link: WorkerLink) {
    tokio::spawn(async move {
        while let Some(message) = link.next().await {
            if let ToWorker::Offer(offer) = message {
                let output = format!(r#"["OK", {{"data": {}}}]"#, offer.call.input.get());
                answer(&link, &offer, &output).await;
            }
        }
    });
}

/// Waits until nothing is left of what was taken.
#[track_caller]
pub fn settled(client: &mut Client) {
    until("everything is let go", || {
        let left = client.number(&["LLEN", TAKEN]) + client.number(&["ZCARD", WIP]);
        (left == 0 && client.number(&["LLEN", QUEUE]) == 0).then_some(())
    });
}

/// The text of a failure, as a reader of the original takes it.
pub fn exc_info(client: &mut Client, id: &str) -> String {
    let bytes = client.bytes(&["HGET", &format!("mq:msg:{id}"), "exc_info"]).expect("there is one");
    let text = miniz_oxide::inflate::decompress_to_vec_zlib(&bytes).expect("it is zlib");
    String::from_utf8(text).expect("it is text")
}

/// A figure of `/metrics`.
pub fn metric(bridge: &Bridge, name: &str) -> u64 {
    let all = bridge.metrics()();
    let found = all.iter().find(|(found, ..)| *found == format!("riverrun_bridge_{name}"));
    found.expect("it is counted").3 as u64
}
