//! Clients that start runs, insist on an answer, and remember all they are told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Dice, code, http};

/// What clients were told about one key.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Each run that an answer named, with its output once there was one.
    pub answers: Vec<(String, Option<Value>)>,
    /// The run failed, because its worker died as often as a step may lose one.
    pub given_up: bool,
    /// Answers that cannot be right, such as a failed run.
    pub wrong: Vec<String>,
    /// The journal, as it was read right after the end and once more after everything.
    pub journals: Vec<Vec<Value>>,
}

/// By the number that the key stands for.
pub type AllSeen = HashMap<u64, Seen>;

/// Whether the key stands for a run of the workflow, and not of the flow.
pub fn is_code(key: u64) -> bool {
    key.is_multiple_of(2)
}

struct Shared {
    server: String,
    stop: AtomicBool,
    next: AtomicU64,
    seen: Mutex<AllSeen>,
}

/// The clients at work.
pub struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    pub fn begin(server: &str, count: u64) -> Clients {
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
            seen: Mutex::default(),
        });
        let work = |seed| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work(Dice(seed)))
        };
        let threads = (0..count).map(work).collect();
        Clients { shared, threads }
    }

    /// Fails the test when a client has given up.
    pub fn expect_well(&self) {
        assert!(self.threads.iter().all(|thread| !thread.is_finished()), "a client has given up");
    }

    /// Lets each client bring its run to the end, and asks for everything once more.
    pub fn finish(self, patience: Duration) -> AllSeen {
        self.shared.stop.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + patience;
        for thread in self.threads {
            while !thread.is_finished() {
                assert!(Instant::now() < deadline, "runs did not end within {patience:?}");
                std::thread::sleep(Duration::from_millis(20));
            }
            thread.join().expect("a client does not panic");
        }
        let keys: Vec<u64> = self.shared.seen().keys().copied().collect();
        for key in keys {
            self.shared.ask(key);
            self.shared.read_journal(key);
        }
        std::mem::take(&mut *self.shared.seen())
    }
}

impl Shared {
    fn seen(&self) -> std::sync::MutexGuard<'_, AllSeen> {
        self.seen.lock().expect("no client panics")
    }

    fn work(&self, mut dice: Dice) {
        while !self.stop.load(Ordering::SeqCst) {
            // Now and then the key of somebody else: two clients want the same.
            let newest = self.next.load(Ordering::SeqCst);
            let key = if newest > 0 && dice.below(8) == 0 {
                newest - 1 - dice.below(newest.min(64))
            } else {
                self.next.fetch_add(1, Ordering::SeqCst)
            };
            self.ask(key);
            self.read_journal(key);
        }
    }

    /// Asks for the key's result until there is one.
    fn ask(&self, key: u64) {
        let (definition, kind) = if is_code(key) { (code::NAME, "workflow") } else { ("hammered", "flow") };
        let body = json!({
            "definition": definition, "kind": kind, "input": {"n": key}, "continue_id": format!("key {key}"), "wait": "5s",
            "on_failure": "return"
        });
        loop {
            let (status, answer) = self.insist("POST /v1/runs", Some(&body));
            let run = answer["run_id"].as_str().unwrap_or_default().to_owned();
            let output = answer.get("output").cloned();
            let state = answer["state"].as_str().unwrap_or_default();
            let mut all = self.seen();
            let seen = all.entry(key).or_default();
            seen.answers.push((run, output.clone()));
            match (status, state) {
                (200, "succeeded") => return,
                (200..=202, "queued" | "running" | "suspended") => {}
                // Three kills in a row hit one step: the run fails then, as documented.
                (200..=202, "failed") if answer.to_string().contains("max_crashes") => {
                    seen.given_up = true;
                    return;
                }
                _ => {
                    seen.wrong.push(format!("{status}: {answer}"));
                    return;
                }
            }
        }
    }

    fn read_journal(&self, key: u64) {
        let run = match self.seen().get(&key).and_then(|seen| seen.answers.last()) {
            Some((run, Some(_))) => run.clone(),
            _ => return,
        };
        let (_, answer) = self.insist(&format!("GET /v1/runs/{run}/journal?internal=true"), None);
        let entries = answer["items"].as_array().cloned().unwrap_or_default();
        self.seen().entry(key).or_default().journals.push(entries);
    }

    /// Sends a request until somebody answers who can.
    fn insist(&self, what: &str, body: Option<&Value>) -> (u16, Value) {
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            match http::call(&self.server, what, body) {
                Ok((status, answer)) if status != 503 && status != 429 => return (status, answer),
                answer => assert!(Instant::now() < deadline, "{what}: {answer:?}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
