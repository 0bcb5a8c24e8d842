//! Addresses that are told how runs have ended, by a real server that is killed.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::http_calls::{PATIENCE, Request, service};
use crate::support::{House, until};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Verifies as the specification says, with nothing of ours.
const VERIFY: &str = "import base64, hashlib, hmac, sys, time
secret, id, timestamp, signatures = sys.argv[1:]
key = base64.b64decode(secret.removeprefix('whsec_'))
signed = id.encode() + b'.' + timestamp.encode() + b'.' + sys.stdin.buffer.read()
expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
assert ('v1,' + expected) in signatures.split(' '), signatures
assert abs(time.time() - int(timestamp)) < 300, timestamp
";

fn verify(request: &Request) {
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| request.header(name));
    let mut python = Command::new("python3")
        .args(["-c", VERIFY, SECRET])
        .args(headers)
        .stdin(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    python.stdin.take().expect("a pipe").write_all(request.text.as_bytes()).expect("written");
    assert!(python.wait().expect("it ends").success(), "the signature does not fit");
}

#[test]
fn an_end_is_told_though_the_server_is_killed_before_and_the_address_refuses_twice() {
    let house = House::new();
    let (url, requests) = service();
    house.write("flow.yaml", "version: v1\ntype: flow\nsteps:\n  - {type: pass, name: Hello, outputMappings: [{target: said, source: hello}]}\n");
    house.write("secrets/callbacks", SECRET);
    house.write("riverrun.toml", "[callbacks]\nsecrets = [{ file = \"secrets/callbacks\" }]\n");
    let server = house.server(&[]);
    let at = |args: &[&str]| house.run(&[args, &["--server", &server.url]].concat()).expect(0);
    at(&["queue", "pause", "riverrun:callbacks"]);
    let hook = format!("{url}/hook");
    at(&["run", "flow.yaml", "--callback-url", &hook]);
    let (kept, address) = (server.url.clone(), server.url.clone());
    server.process.kill();

    let server = house.server_at(&address, &[]);
    assert!(requests.try_recv().is_err(), "its queue is paused");
    house.run(&["queue", "resume", "riverrun:callbacks", "--server", &kept]).expect(0);
    let mut ids = Vec::new();
    for status in ["500 Internal Server Error", "503 Service Unavailable\r\nretry-after: 1", "200 OK"] {
        let request = requests.recv_timeout(PATIENCE).expect("the address is told");
        verify(&request);
        assert_eq!((request.path.as_str(), &request.body["state"]), ("/hook", &json!("succeeded")));
        ids.push(request.header("webhook-id").to_owned());
        request.answer(status, "");
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let list = ["runs", "list", "--label"];
    let told = until("it is recorded that it was told", || {
        let run = house.show(&kept, &ids[0]);
        (run["state"] == "succeeded").then_some(run)
    });
    let of = told["labels"]["callback_of"].as_str().expect("a label");
    let label = format!("callback_of={of}");
    let found = house.run(&[&list[..], &[&label, "--json", "--server", &kept]].concat()).expect(0).json();
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(house.show(&kept, of)["callback_url"], hook);
    drop(server);
}
