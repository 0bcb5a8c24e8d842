//! Functions that have an address, called by a real server over real HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{House, post, until};

/// How long a call may take to come.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// One request, which waits for its answer.
pub struct Request {
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Value,
    /// The body as it came.
    pub text: String,
    stream: TcpStream,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub fn answer(mut self, status: &str, body: &str) {
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        self.stream.write_all(format!("{head}{body}").as_bytes()).expect("the answer is sent");
    }
}

/// A service of the outer world: its address, and the requests that come.
pub fn service() -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (send, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Some(request) = read(stream) else { continue };
            if send.send(request).is_err() {
                return;
            }
        }
    });
    (url, requests)
}

fn read(stream: TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let text = String::from_utf8(body).ok()?;
    Some(Request { path, headers, body: serde_json::from_str(&text).ok()?, text, stream })
}

fn flow(steps: &str) -> String {
    format!("version: v1\ntype: flow\nsteps:\n{steps}")
}

#[test]
fn addresses_and_configured_functions_are_called_with_their_secrets_and_nobody_is_told_these() {
    let house = House::new();
    let (url, requests) = service();
    house.write("flow.yaml", &flow(&format!(
        "  - {{type: task, name: Ask, resourceArn: '{url}/ask?part=1'}}\n  - {{type: task, name: Charge, resourceArn: shop/charge}}\n"
    )));
    house.write("secrets/charge", "hunter2-of-a-file\n");
    house.write("riverrun.toml", &format!(
        "[http]\nallowed_hosts = [\"127.0.0.1\"]\n\n[functions.\"shop/charge\"]\nurl = \"{url}/charge\"\ntimeout = \"20s\"\n\n\
         [functions.\"shop/charge\".headers]\nauthorization = {{ env = \"CHARGE_TOKEN\", prefix = \"Bearer \" }}\n\
         x-key = {{ file = \"secrets/charge\" }}\nx-plain = \"plain\"\n"
    ));
    let answering = std::thread::spawn(move || {
        let ask = requests.recv_timeout(PATIENCE).expect("the address is called");
        assert_eq!((ask.path.as_str(), &ask.body), ("/ask?part=1", &json!({"n": 1})));
        assert!(ask.header("idempotency-key").len() >= 16 && ask.header("riverrun-run").starts_with("run_"));
        ask.answer("200 OK", "{\"price\": 12345678901234567890123}");
        let charge = requests.recv_timeout(PATIENCE).expect("the function is called");
        assert_eq!(charge.path, "/charge");
        assert_eq!(charge.header("authorization"), "Bearer hunter2-of-the-environment");
        assert_eq!(charge.header("x-key"), "hunter2-of-a-file");
        assert_eq!(charge.header("x-plain"), "plain");
        charge.answer("401 Unauthorized", "no such customer");
    });
    let mut run = house.command(&["run", "flow.yaml", "--input", "{\"n\": 1}"]);
    let done = run.env("CHARGE_TOKEN", "hunter2-of-the-environment").output().expect("the binary starts");
    answering.join().expect("the service was called as expected");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("FC.InvalidArgument") && said.contains("no such customer"), "{said}");
    assert!(said.contains("12345678901234567890123"), "numbers stay what they are: {said}");
    let mut kept = said;
    let list =
        house.command(&["runs", "list", "--json"]).env("CHARGE_TOKEN", "x").output().expect("it starts");
    let list: Value = serde_json::from_slice(&list.stdout).expect("JSON");
    let run = list["items"][0]["run_id"].as_str().expect("a run");
    for what in ["journal", "history", "show"] {
        let told = house
            .command(&["runs", what, run, "--json"])
            .env("CHARGE_TOKEN", "x")
            .output()
            .expect("it starts");
        assert!(!told.stdout.is_empty());
        kept.push_str(&String::from_utf8_lossy(&told.stdout));
    }
    assert!(!kept.contains("hunter2"), "{kept}");
}

#[test]
fn a_call_that_was_out_when_the_server_was_killed_is_repeated_under_the_same_key() {
    let house = House::new();
    let (url, requests) = service();
    house.write("flow.yaml", &flow(&format!("  - {{type: task, name: Ask, resourceArn: '{url}/ask'}}\n")));
    let server = house.server(&[]);
    house.run(&["deploy", "flow.yaml", "--name", "ask", "--server", &server.url]).expect(0);
    let started = post(&server.url, "/v1/runs", &json!({"definition": "ask"}).to_string());
    let run = started["run_id"].as_str().expect("a run id").to_owned();
    let first = requests.recv_timeout(PATIENCE).expect("the address is called");
    server.process.kill();
    let server = house.server_at(&server.url, &[]);
    let again = requests.recv_timeout(PATIENCE).expect("it is called again");
    let key = first.header("idempotency-key").to_owned();
    assert!(!key.is_empty());
    assert_eq!(again.header("idempotency-key"), key);
    assert_eq!((first.header("riverrun-attempt"), again.header("riverrun-attempt")), ("1", "2"));
    again.answer("200 OK", "{\"done\": true}");
    let ended = until("the run ends", || {
        let run = house.show(&server.url, &run);
        (run["state"] == "succeeded").then_some(run)
    });
    assert_eq!(ended["output"], json!({"done": true}));
}

#[test]
fn a_configuration_that_is_wrong_is_refused_before_anything_is_opened() {
    let house = House::new();
    house.write("flow.yaml", &flow("  - {type: pass, name: P}\n"));
    house.write("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    house.write("bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (text, told) in [
        ("[functions.\"a/b\"]\nadress = \"x\"\n", "adress"),
        ("[functions.\"a/b\"]\ntimeout = \"5s\"\n", "has no url"),
        ("[functions.\"a/b\"]\nurl = \"ftp://x\"\n", "is no address"),
        (
            "[functions.\"a/b\"]\nurl = \"http://x\"\nheaders.k = {env = \"NOT_SET_ANYWHERE\"}\n",
            "NOT_SET_ANYWHERE",
        ),
        ("[functions.\"a/b\"]\nurl = \"http://x\"\nheaders.k = {file = \"nowhere\"}\n", "nowhere"),
        ("[http]\nallowed_hosts = [\"y\"]\n[functions.\"a/b\"]\nurl = \"http://x\"\n", "allowed_hosts"),
        ("[http]\nca_file = \"nowhere.pem\"\n", "nowhere.pem"),
        ("[http]\nca_file = \"flow.yaml\"\n", "holds no certificate"),
        ("[http]\nca_file = \"cut.pem\"\n", "not whole"),
        ("[http]\nca_file = \"bad.pem\"\n", "cannot be used"),
        ("[http\n", "line 1"),
    ] {
        house.write("riverrun.toml", text);
        let refused = house.run(&["run", "flow.yaml"]).expect(2);
        assert!(refused.stderr.contains(told), "{text}: {}", refused.stderr);
    }
    house.run(&["run", "flow.yaml", "--config", "missing.toml"]).expect(2);
}
