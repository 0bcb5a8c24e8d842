//! kill -9, at the worst moments: nothing recorded is lost, nothing recorded is done again.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::{House, signal, until};

/// One wait between two calls.
const FLOW: &str = "\
version: v1
type: flow
steps:
  - {type: task, name: First, resourceArn: shop/first}
  - {type: wait, name: Nap, duration: 3}
  - {type: task, name: Second, resourceArn: shop/second}
";

fn house() -> House {
    let house = House::new();
    house.write("flow.yaml", FLOW);
    house.function("shop/first", "return {'first': 1}");
    house.function("shop/second", "return {'second': event['first'] + 1}");
    house
}

/// A flow of one call of `shop/NAME`, which does what `body` says.
fn house_of_one(name: &str, body: &str) -> House {
    let house = House::new();
    house.write(
        "flow.yaml",
        &format!(
            "version: v1\ntype: flow\nsteps:\n  - {{type: task, name: Only, resourceArn: shop/{name}}}\n"
        ),
    );
    house.function(&format!("shop/{name}"), body);
    house
}

/// Deploys the house's flow and starts a run of it.
fn start(house: &House, server: &str, input: Value) -> String {
    house.run(&["deploy", "flow.yaml", "--name", "tried", "--server", server]).expect(0);
    let body = json!({"definition": "tried", "input": input}).to_string();
    crate::support::post(server, "/v1/runs", &body)["run_id"].as_str().expect("a run id").to_owned()
}

fn waiting_for(house: &House, server: &str, run: &str, kind: &str) -> Option<Value> {
    let waiting = house.show(server, run)["waiting"].clone();
    (waiting["kind"] == kind).then_some(waiting)
}

/// Waits for the run's end, and returns its output.
fn output(house: &House, server: &str, run: &str) -> Value {
    house.run(&["runs", "attach", run, "--server", server]).expect(0).json()
}

#[test]
fn a_flow_goes_on_after_its_server_is_killed_while_it_waits() {
    let house = house();
    let server = house.server(&[]);
    let _worker = house.spawn(&["worker", "functions", "--server", &server.url]);
    let run = start(&house, &server.url, json!({}));
    let before = until("the flow waits", || waiting_for(&house, &server.url, &run, "timer"));
    assert_eq!(before["name"], "Nap");
    server.process.kill();

    let server = house.server_at(&server.url, &[]);
    assert_eq!(house.show(&server.url, &run)["waiting"]["name"], "Nap");
    assert_eq!(output(&house, &server.url, &run), json!({"first": 1, "second": 2}));
    assert_eq!((house.calls("shop/first"), house.calls("shop/second")), (1, 1));
}

#[test]
fn a_function_that_outlives_its_server_is_not_called_again() {
    let house = house_of_one(
        "slow",
        "while not os.path.exists(event['gate']):\n    time.sleep(0.02)\nnote('returned')\nreturn {'slow': True}",
    );
    let server = house.server(&[]);
    let _worker = house.spawn(&["worker", "functions", "--server", &server.url]);
    let gate = house.path("gate");
    let run = start(&house, &server.url, json!({"gate": gate}));
    until("the function is called", || (house.calls("shop/slow") == 1).then_some(()));
    server.process.kill();
    house.write("gate", "");
    until("the function returns to nobody", || (house.calls("returned") == 1).then_some(()));

    let server = house.server_at(&server.url, &[]);
    assert_eq!(output(&house, &server.url, &run), json!({"slow": true}));
    assert_eq!(house.calls("shop/slow"), 1);
}

#[test]
fn a_start_that_was_answered_is_kept() {
    let house = house();
    let server = house.server(&[]);
    let run = start(&house, &server.url, json!({}));
    server.process.kill();

    let server = house.server_at(&server.url, &[]);
    assert_eq!(house.show(&server.url, &run)["waiting"]["kind"], "worker");
    let _worker = house.spawn(&["worker", "functions", "--server", &server.url]);
    assert_eq!(output(&house, &server.url, &run)["second"], 2);
    assert_eq!((house.calls("shop/first"), house.calls("shop/second")), (1, 1));
}

#[test]
fn a_child_that_is_killed_is_replaced_and_its_call_made_again() {
    let house = house_of_one(
        "die",
        "import signal\nif not os.path.exists(event['mark']):\n    open(event['mark'], 'w').close()\n    \
         os.kill(os.getpid(), signal.SIGKILL)\nreturn {'alive': True}",
    );
    let input = json!({"mark": house.path("mark")}).to_string();
    let done = house.run(&["run", "flow.yaml", "--input", &input]).expect(0);
    assert_eq!(done.json(), json!({"alive": true}));
    assert_eq!(house.calls("shop/die"), 2);
}

#[test]
fn attempts_of_a_killed_supervisor_go_on_elsewhere_after_the_lease() {
    let house = house_of_one(
        "hang",
        "if not os.path.exists(event['mark']):\n    open(event['mark'], 'w').close()\n    time.sleep(600)\nreturn {'ok': True}",
    );
    let server = house.server(&["--lease", "1s"]);
    let mut first = house.spawn(&["worker", "functions", "--server", &server.url]);
    let run = start(&house, &server.url, json!({"mark": house.path("mark")}));
    until("the function is called", || (house.calls("shop/hang") == 1).then_some(()));
    signal(first.id(), "KILL");
    let _second = house.spawn(&["worker", "functions", "--server", &server.url]);
    assert_eq!(output(&house, &server.url, &run), json!({"ok": true}));
    assert_eq!(house.calls("shop/hang"), 2);
}

#[test]
fn sigterm_drains_a_server_and_ends_it_with_zero() {
    let house = house();
    let mut server = house.server(&[]);
    let run = start(&house, &server.url, json!({}));
    server.process.signal("TERM");
    let done = server.process.wait().expect(0);
    assert!(done.stderr.contains("stops"), "{}", done.stderr);
    assert!(!house.data().join("server.json").exists());
    let shown = house.run(&["runs", "show", &run, "--json"]).expect(0).json();
    assert_eq!(shown["waiting"]["kind"], "worker", "{shown}");
}

#[test]
fn sigterm_lets_a_worker_finish_what_it_executes() {
    let house = house_of_one(
        "slow",
        "while not os.path.exists(event['gate']):\n    time.sleep(0.02)\nreturn {'slow': True}",
    );
    let server = house.server(&[]);
    let mut worker = house.spawn(&["worker", "functions", "--server", &server.url]);
    let run = start(&house, &server.url, json!({"gate": house.path("gate")}));
    until("the function is called", || (house.calls("shop/slow") == 1).then_some(()));
    worker.signal("TERM");
    house.write("gate", "");
    worker.wait().expect(0);
    assert_eq!(output(&house, &server.url, &run), json!({"slow": true}));
    assert_eq!(house.calls("shop/slow"), 1);
}

#[test]
fn a_stranger_at_the_address_of_a_dead_server_is_shown_no_token() {
    let house = house();
    let stranger = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", stranger.local_addr().expect("an address"));
    let token = house.write("token", "the-secret-of-the-dead");
    let file = json!({"url": url, "pid": 1, "token_file": token, "version": "0", "instance": "dead"});
    house.write("data/server.json", &file.to_string());
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = stranger.accept().expect("a caller");
        let mut heard = vec![0; 4096];
        let read = stream.read(&mut heard).expect("a request");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .expect("an answer");
        String::from_utf8_lossy(&heard[..read]).into_owned()
    });
    let refused = house.run(&["worker", "functions"]).expect(2);
    assert!(refused.stderr.contains("no server to work for"), "{}", refused.stderr);
    let heard = heard.join().expect("the stranger ends");
    assert!(heard.starts_with("GET /healthz") && !heard.contains("the-secret-of-the-dead"), "{heard}");
}
