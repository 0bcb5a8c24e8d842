//! A folder of handlers, asked as BaiChuan's users ask, with whole processes.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{House, Server, post, until};

const DEMO: &str = r#"
def ping(req):
    return "OK", {"data": {}}, [("demo", "1.0.1")]


def hello(req, str_info: str, times: int = 1):
    return "OK", {"str_info": str_info * times, "reqid": req.reqid}


def odd(req):
    class Odd(Exception):
        def __str__(self):
            raise ValueError("unprintable")

    raise Odd


def no_json(req):
    return "OK", {"data": {1, 2}}
"#;

/// A server and a worker that serves the folder `handlers`.
fn serving(house: &House) -> (Server, crate::support::Process) {
    house.write("handlers/demo_api.py", DEMO);
    let server = house.strict_server(&[]);
    let worker = house.spawn(&["worker", "handlers", "--server", &server.url]);
    until("the worker is there", || {
        let known: Value = serde_json::from_str(&curl(&server.url, "GET /v1/workers", "").1).ok()?;
        known["items"].get(0).map(|_| ())
    });
    (server, worker)
}

/// What `curl` sends for `-d BODY`, or without a body, and what it prints: the head and the body of the answer.
fn curl(server: &str, what: &str, body: &str) -> (String, String) {
    let host = server.strip_prefix("http://").expect("an address");
    let mut request = format!(
        "{what} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\nConnection: close\r\n"
    );
    if !body.is_empty() {
        let length = body.len();
        request = format!(
            "{request}Content-Length: {length}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        );
    }
    let mut stream = TcpStream::connect(host).expect("the server listens");
    stream.write_all(format!("{request}\r\n{body}").as_bytes()).expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    (head.to_owned(), body.to_owned())
}

fn ended(server: &str, task: &str) -> Value {
    until("the task has ended", || {
        let answer = curl(server, &format!("GET /baichuan/task_get?task_id={task}"), "").1;
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let open = ["ERR_MSG_IN_QUEUED", "ERR_MSG_IN_STARTED"].iter().any(|stat| answer["stat"] == *stat);
        (!open).then_some(answer)
    })
}

fn create(server: &str, body: &str) -> String {
    let answer = curl(server, "POST /baichuan/task_create", body).1;
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["data"]["task_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn a_handler_has_two_entrances() {
    let house = House::new();
    let (server, _worker) = serving(&house);
    let (head, body) =
        curl(&server.url, "POST /baichuan/task_create", r#"{"handler":"/demo_api/ping", "params":{}}"#);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let task = body
        .strip_prefix(r#"{"stat": "OK", "data": {"task_id": ""#)
        .and_then(|rest| rest.strip_suffix(r#""}}"#))
        .unwrap_or_else(|| panic!("{body}"));
    assert!(
        task.len() == 16 && task.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)),
        "{task}"
    );
    assert!(head.contains(&format!("\r\nx-reqid: {task}\r\n")), "{head}");
    assert!(head.contains("\r\nx-cost: 0."), "{head}");

    let answer = ended(&server.url, task);
    assert_eq!((&answer["stat"], &answer["data"]), (&json!("OK"), &json!({})));
    let info = &answer["task_info"];
    assert_eq!(
        (&info["origin"], &info["status"], &info["ip"], &info["data"], &info["result"]),
        (
            &json!("/demo_api/ping"),
            &json!("finished"),
            &json!("127.0.0.1"),
            &json!("{}"),
            &json!(r#"{"stat": "OK", "data": {}}"#)
        )
    );
    // The same function, called and answered.
    let called = post(&server.url, "/v1/calls", r#"{"task": "/demo_api/ping", "params": {}}"#);
    assert_eq!(called["output"], json!({"stat": "OK", "data": {}}));

    // A handler is told the id under which it was asked for.
    let task =
        create(&server.url, r#"{"handler": "/demo_api/hello", "params": {"str_info": "百", "times": 2}}"#);
    let answer = ended(&server.url, &task);
    assert_eq!(answer["data"], json!({"str_info": "百百", "reqid": task}));
}

#[test]
fn a_slip_is_told_at_once_and_a_failure_with_its_reason() {
    let house = House::new();
    let (server, _worker) = serving(&house);
    for (call, reason) in [
        (r#"{"handler": "/demo_api/pong", "params": {}}"#, "Did you mean `/demo_api/ping`?"),
        (r#"{"handler": "/demo_api/hello", "params": {}}"#, "`str_info` is missing: expected a string"),
        (
            r#"{"handler": "/demo_api/hello", "params": {"str_info": 1}}"#,
            "`str_info` must be a string, and is 1",
        ),
        (r#"{"handler": "/demo_api/ping", "params": {"req": 1}}"#, "there is no parameter `req`"),
    ] {
        let (head, body) = curl(&server.url, "POST /baichuan/task_create", call);
        assert_eq!(body, r#"{"stat": "ERR_BAD_PARAMS"}"#);
        assert!(head.lines().any(|line| line.starts_with("x-reason: ") && line.contains(reason)), "{head}");
    }
    for (handler, stat) in [("odd", "ERR_MSG_EXE_FAILED"), ("no_json", "ERR_MSG_RESULT_FAILED")] {
        let task = create(&server.url, &format!(r#"{{"handler": "/demo_api/{handler}", "params": {{}}}}"#));
        let answer = ended(&server.url, &task);
        assert_eq!(
            (&answer["stat"], &answer["task_info"]["status"]),
            (&json!(stat), &json!("failed")),
            "{answer}"
        );
    }
}
