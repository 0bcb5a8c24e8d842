//! A server whose disk is full, broken, or stuck.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::hammer::http::call;
use crate::support::{House, free_port, until};

const FLOW: &str = "\
version: v1
type: flow
steps:
  - {type: pass, name: Only}
";

/// The library that stands between a process and its disk; the store's tests explain it.
fn library(house: &House) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/it/disk/disk.c");
    let library = house.path("disk.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-pthread", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status()
        .expect("a C compiler");
    assert!(compiled.success(), "disk.c is compiled");
    library
}

/// A server on a disk of its own.
struct OnDisk {
    child: Child,
    url: String,
}

impl OnDisk {
    fn start(house: &House, settings: &[(&str, &str)]) -> OnDisk {
        std::fs::create_dir_all(house.data()).expect("a folder");
        let listen = format!("127.0.0.1:{}", free_port());
        let mut command = house.command(&["server", "--listen", &listen]);
        command.env("LD_PRELOAD", library(house)).env("DISK_DIR", house.data());
        command.envs(settings.iter().copied());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        until("the server answers", || {
            assert!(child.try_wait().expect("its state is known").is_none(), "it ended");
            std::net::TcpStream::connect(&listen).is_ok().then_some(())
        });
        OnDisk { child, url: format!("http://{listen}") }
    }

    fn post(&self, body: &Value) -> std::io::Result<(u16, Value)> {
        call(&self.url, "POST /v1/runs", Some(body))
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn house() -> House {
    let house = House::new();
    house.write("flow.yaml", FLOW);
    house
}

fn deploy(house: &House, url: &str) {
    house.run(&["deploy", "flow.yaml", "--name", "tried", "--server", url]).expect(0);
}

fn start_of(key: u64) -> Value {
    json!({"definition": "tried", "continue_id": format!("key {key}"), "wait": "10s"})
}

#[test]
fn a_server_whose_disk_fails_ends_with_its_own_code_and_the_next_one_serves_all_it_answered() {
    let house = house();
    let mut server = OnDisk::start(&house, &[("DISK_FAULT", "sync:30:1000000:5")]);
    deploy(&house, &server.url);
    let mut answered = Vec::new();
    let ended = until("the disk fails", || {
        if let Ok((200 | 201, run)) = server.post(&start_of(answered.len() as u64)) {
            answered.push(run["run_id"].clone());
        }
        server.child.try_wait().expect("its state is known")
    });
    assert_eq!(ended.code(), Some(74), "{ended}");
    assert!(!answered.is_empty());
    let server = OnDisk::start(&house, &[]);
    for (key, run) in (0..).zip(&answered) {
        let (status, found) = server.post(&start_of(key)).expect("an answer");
        assert_eq!((status, &found["run_id"]), (200, run), "{found}");
        assert_eq!(found["state"], "succeeded");
    }
}

#[test]
fn a_server_whose_disk_is_full_says_so_serves_reads_and_goes_on_when_there_is_room() {
    let house = house();
    let full = house.path("full");
    let server = OnDisk::start(&house, &[("DISK_FULL", full.to_str().expect("text"))]);
    deploy(&house, &server.url);
    assert!(server.post(&start_of(0)).expect("the server lives").0 < 300);
    house.write("full", "");
    let (status, answer) = server.post(&start_of(1)).expect("the server lives");
    assert_eq!((status, &answer["code"]), (503, &json!("unavailable")), "{answer}");
    let (status, list) = call(&server.url, "GET /v1/runs", None).expect("the server lives");
    assert_eq!(status, 200, "{list}");
    std::fs::remove_file(full).expect("removed");
    until("there is room again", || {
        (server.post(&start_of(1)).expect("the server lives").0 < 300).then_some(())
    });
    for key in 0..2 {
        assert_eq!(server.post(&start_of(key)).expect("the server lives").0, 200);
    }
}

#[test]
fn a_server_whose_disk_is_stuck_goes_on_answering_what_needs_no_disk() {
    let house = house();
    let stuck = house.path("stuck");
    let server = OnDisk::start(&house, &[("DISK_STUCK", stuck.to_str().expect("text"))]);
    deploy(&house, &server.url);
    let (status, durable) = server.post(&start_of(1)).expect("an answer");
    assert!(status < 300, "{durable}");
    house.write("stuck", "");
    let url = server.url.clone();
    let waiting = std::thread::spawn(move || call(&url, "POST /v1/runs", Some(&start_of(2))));
    for _ in 0..20 {
        for path in ["/healthz", "/metrics"] {
            let answer = crate::support::request(&server.url, &format!("GET {path}"), &[], "");
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
    }
    // Again and again: a read that waits for the disk must hold up no other.
    let run = durable["run_id"].as_str().expect("an id");
    for _ in 0..3 {
        let (status, view) = call(&server.url, &format!("GET /v1/runs/{run}"), None).expect("an answer");
        assert_eq!((status, &view["state"]), (200, &json!("succeeded")), "{view}");
        let (status, list) = call(&server.url, "GET /v1/runs", None).expect("an answer");
        assert_eq!(status, 200, "{list}");
        let listed: Vec<&Value> =
            list["items"].as_array().expect("a page").iter().map(|run| &run["run_id"]).collect();
        assert_eq!(listed, [&durable["run_id"]], "what is not on the disk is not shown");
    }
    assert!(!waiting.is_finished(), "nothing is acknowledged that is not on the disk");
    std::fs::remove_file(stuck).expect("removed");
    let (status, answer) = waiting.join().expect("no panic").expect("an answer");
    assert!(status < 300 && answer["state"] == "succeeded", "{status}: {answer}");
}
