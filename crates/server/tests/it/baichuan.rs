//! BaiChuan's HTTP API, byte for byte but for ids and moments.

use reqwest::Method;
use riverrun_kernel::{Failure, Json};
use riverrun_server::ServerConfig;
use serde_json::{Value, json};

use crate::support::{Answer, Server, Worker};

const PING: &str = r#"/demo_api/ping {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": false}"#;

impl Server {
    /// As `curl -d` sends it.
    async fn curl(&self, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, "/baichuan/task_create");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = self.send(request).await;
        answer.is_baichuan();
        answer
    }

    async fn created(&self, body: &str) -> String {
        let answer = self.curl(body.to_owned()).await;
        answer.body["data"]["task_id"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned()
    }

    async fn task(&self, id: &str) -> Answer {
        let answer = self.get(&format!("/baichuan/task_get?task_id={id}")).await;
        answer.is_baichuan();
        answer
    }

    /// Looks until the task has left `stat`.
    async fn after(&self, stat: &str, id: &str) -> Answer {
        loop {
            let answer = self.task(id).await;
            if answer.body["stat"] != stat {
                return answer;
            }
        }
    }
}

impl Answer {
    #[track_caller]
    fn is_baichuan(&self) {
        self.is(200);
        assert_eq!(self.headers["content-type"], "application/json");
        let id = self.headers["x-reqid"].to_str().unwrap();
        assert!(is_id(id), "{id}");
        let cost = self.headers["x-cost"].to_str().unwrap();
        assert!(cost.split_once('.').is_some_and(|(_, decimals)| decimals.len() == 6), "{cost}");
        assert!(self.body["stat"].is_string(), "{}", self.text);
    }

    #[track_caller]
    fn is_bad(&self, because: &str) {
        assert_eq!(self.text, r#"{"stat": "ERR_BAD_PARAMS"}"#);
        let reason = self.headers["x-reason"].to_str().unwrap();
        assert!(reason.contains(because), "{reason}");
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte))
}

/// Moments become `T`, costs `C`.
fn still(answer: &Answer) -> String {
    let mut text = answer.text.clone();
    let info = &answer.body["task_info"];
    for name in ["created_at", "started_at", "ended_at"] {
        if let Some(at) = info[name].as_str() {
            assert!(at.len() == 27 && at.ends_with("000Z"), "{at}");
            text = text.replace(at, "T");
        }
    }
    if let Some(cost) = info["cost"].as_str().filter(|cost| cost.contains('.')) {
        text = text.replace(&format!("\"cost\": \"{cost}\""), "\"cost\": \"C\"");
    }
    text.replace(&format!(":{}:", port(answer)), ":PORT:")
}

fn port(answer: &Answer) -> String {
    let worker = answer.body["task_info"]["handle_worker"].as_str().unwrap_or_default();
    worker.rsplit(':').nth(1).unwrap_or("none").to_owned()
}

async fn done(worker: &mut Worker, output: Value) {
    let offer = worker.offer().await;
    let report = worker.done(&offer, output).await;
    worker.acknowledged(report).await;
}

#[tokio::test]
async fn a_task_goes_its_way_as_baichuan_tells_it() {
    let server = Server::new().await;
    let created = server.curl(r#"{"handler":"/demo_api/ping", "params":{}}"#).await;
    let id = created.body["data"]["task_id"].as_str().unwrap().to_owned();
    assert!(is_id(&id), "{id}");
    assert_eq!(created.text, format!(r#"{{"stat": "OK", "data": {{"task_id": "{id}"}}}}"#));
    assert_eq!(created.headers["x-reqid"], *id);
    assert!(!created.headers.contains_key("x-reason"));

    let queued = server.task(&id).await;
    assert_eq!(
        still(&queued),
        r#"{"stat": "ERR_MSG_IN_QUEUED", "task_info": {"origin": "/demo_api/ping", "status": "queued", "timeout": "-1", "ip": "127.0.0.1", "created_at": "T", "enqueued_at": "T", "handle_worker": "", "data": "{}"}}"#
    );
    let mut worker = server.worker(&[PING]).await;
    let offer = worker.offer().await;
    assert_eq!(offer.input.get(), "{}");
    let started = server.after("ERR_MSG_IN_QUEUED", &id).await;
    assert_eq!(
        still(&started),
        r#"{"stat": "ERR_MSG_IN_STARTED", "task_info": {"origin": "/demo_api/ping", "status": "started", "timeout": "-1", "ip": "127.0.0.1", "created_at": "T", "enqueued_at": "T", "handle_worker": "played:PORT:0", "data": "{}", "cost": "0", "started_at": "T"}}"#
    );
    assert_eq!(port(&started), server.address.port().to_string());
    worker.done(&offer, json!(["OK", {"randstr": "百"}])).await;
    let finished = server.after("ERR_MSG_IN_STARTED", &id).await;
    assert_eq!(
        still(&finished),
        r#"{"stat": "OK", "task_info": {"origin": "/demo_api/ping", "status": "finished", "timeout": "-1", "ip": "127.0.0.1", "created_at": "T", "enqueued_at": "T", "handle_worker": "played:PORT:0", "data": "{}", "cost": "C", "started_at": "T", "ended_at": "T", "result": "{\"stat\": \"OK\", \"randstr\": \"\\u767e\"}"}, "data": {"randstr": "\u767e"}}"#
    );
}

#[tokio::test]
async fn a_handlers_own_stat_is_passed_on_and_two_of_them_are_failures() {
    let server = Server::new().await;
    let mut worker = server.worker(&[PING]).await;
    let create = r#"{"handler": "/demo_api/ping", "params": {}}"#;
    let id = server.created(create).await;
    done(&mut worker, json!({"stat": "ERR_NO_BACKENDS", "data": [1, 2]})).await;
    let answer = server.task(&id).await;
    assert_eq!((&answer.body["stat"], &answer.body["data"]), (&json!("ERR_NO_BACKENDS"), &json!([1, 2])));
    assert_eq!(answer.body["task_info"]["status"], "finished");

    let id = server.created(create).await;
    done(&mut worker, json!({"stat": "ERR_BAD_PARAMS"})).await;
    let answer = server.task(&id).await;
    assert_eq!(answer.body["stat"], "ERR_MSG_EXE_FAILED");
    assert_eq!(answer.body["task_info"]["status"], "failed");

    // A result that is no object is its data; one that is no JSON, and one that raises what cannot be shown, are told apart.
    let id = server.created(create).await;
    done(&mut worker, json!("pong")).await;
    let answer = server.task(&id).await;
    assert_eq!((&answer.body["stat"], &answer.body["data"]), (&json!("OK"), &json!("pong")));
    for (failure, stat) in [
        (Failure::new("InvalidOutput", "a set is no JSON").not_retryable(), "ERR_MSG_RESULT_FAILED"),
        (Failure::new("Weird", "<unprintable Weird>\u{7}\n百川"), "ERR_MSG_EXE_FAILED"),
    ] {
        let id = server.created(create).await;
        let offer = worker.offer().await;
        let report = worker.fail(&offer, failure.clone()).await;
        worker.acknowledged(report).await;
        let answer = server.task(&id).await;
        assert_eq!(answer.body["stat"], stat, "{}", answer.text);
        let why = answer.body["task_info"]["exc_info"].as_str().unwrap();
        assert_eq!(why, format!("{}: {}", failure.error, failure.message));
        assert!(answer.headers["x-reason"].to_str().unwrap().starts_with(&failure.error));
    }
}

#[tokio::test]
async fn bad_arguments_are_refused_and_queue_nothing() {
    let server = Server::new().await;
    let _worker = server.worker(&[PING]).await;
    for (body, because) in [
        ("", "missing field `handler`"),
        ("handler=/demo_api/ping", "not valid"),
        ("[]", "not valid"),
        (r#"{"handler": "/demo_api/ping"}"#, "missing field `params`"),
        (r#"{"params": {}}"#, "missing field `handler`"),
        (r#"{"handler": "", "params": {}}"#, "handler is empty"),
        (r#"{"handler": 5, "params": {}}"#, "expected a string"),
        (r#"{"handler": "/demo_api/ping", "params": []}"#, "params must be an object"),
        (r#"{"handler": "/demo_api/ping", "params": {}, "reslut_ttl": 1}"#, "did you mean `result_ttl`"),
        (r#"{"handler": "/demo_api/ping", "params": {"m": 1}}"#, "there is no parameter `m`"),
        (r#"{"handler": "/demo_api/ping", "params": {"n": "1"}}"#, "`n` must be an integer, and is a string"),
        (r#"{"handler": "/demo_api/ping", "params": {"n": 1, "n": 2}}"#, "not valid"),
        (r#"{"handler": "/demo_api/ping", "params": {}, "timeout": "soon"}"#, "timeout is `soon`"),
        (r#"{"handler": "/demo_api/ping", "params": {}, "timeout": 0}"#, "timeout is 0"),
        (r#"{"handler": "/demo_api/ping", "params": {}, "msg_create_unique": "maybe"}"#, "msg_create_unique"),
    ] {
        server.curl(body).await.is_bad(because);
    }
    // GBK for 百川: no UTF-8.
    let gbk =
        [&br#"{"handler": "/demo_api/ping", "params": {"n": ""#[..], &[0xB0, 0xD9, 0xB4, 0xA8], b"\"}}"]
            .concat();
    server.curl(gbk).await.is_bad("not UTF-8");
    let large = format!(r#"{{"handler": "/demo_api/ping", "params": {{"n": "{}"}}}}"#, "x".repeat(100 << 20));
    server.curl(large).await.is_bad("max_body");
    assert_eq!(server.get("/v1/runs/count").await.body["count"], 0);
    for query in ["", "?task_id", "?task=1", "?task_id=1&task_id=2", "?task_id=1&more=2"] {
        let answer = server.get(&format!("/baichuan/task_get{query}")).await;
        answer.is_baichuan();
        assert!(answer.text.starts_with(r#"{"stat": "ERR_"#), "{query}: {}", answer.text);
    }
    for id in ["xxxx", "0000000000000000", "AC3C301A7CA516EA", "%E7%99%BE%E5%B7%9D", "+C3C301A7CA516EA"] {
        assert_eq!(server.task(id).await.text, r#"{"stat": "ERR_MSG_NOT_EXIST"}"#);
    }
}

#[tokio::test]
async fn an_unknown_handler_is_refused() {
    let store = std::sync::Arc::new(riverrun_store::MemoryStore::new(1, [7; 32]));
    let strict = riverrun_engine::Settings { accept_unknown_tasks: false, ..Default::default() };
    let server = Server::set(store, strict, ServerConfig::default()).await;
    let _worker = server.worker(&[PING]).await;
    let answer = server.curl(r#"{"handler": "/demo_api/pnig", "params": {}}"#).await;
    answer.is_bad("Did you mean `/demo_api/ping`?");
    let answer = server.curl(r#"{"handler": "/百川/x", "params": {}}"#).await;
    answer.is_bad(r"/\u767e\u5ddd/x");
}

#[tokio::test]
async fn a_result_that_is_not_kept_is_gone_once_it_was_read() {
    let limits = riverrun_server::Limits { read_grace: std::time::Duration::ZERO, ..Default::default() };
    let server = Server::limited(limits).await;
    let id = server.created(r#"{"handler": "/demo_api/ping", "params": {}, "result_ttl": 0}"#).await;
    let mut worker = server.worker(&["/demo_api/ping"]).await;
    let offer = worker.offer().await;
    let report = worker.done(&offer, json!({"stat": "OK"})).await;
    worker.acknowledged(report).await;
    assert_eq!(server.task(&id).await.body["stat"], "OK");
    while server.task(&id).await.body["stat"] != "ERR_MSG_NOT_EXIST" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_task_created_once_is_not_created_again_while_it_is_open() {
    let server = Server::new().await;
    let once = |n: u32, more: &str| {
        format!(
            r#"{{"handler": "/demo_api/ping", "params": {{"n": {n}{more}}}, "msg_create_unique": "yes", "result_ttl": 900, "timeout": "60"}}"#
        )
    };
    let first = server.created(&once(1, "")).await;
    assert!(is_id(&first), "{first}");
    assert_eq!(server.created(&once(1, " ")).await, first);
    assert_ne!(server.created(&once(2, "")).await, first);
    let queued = server.task(&first).await;
    assert_eq!(queued.body["task_info"]["timeout"], "60");
    let mut worker = server.worker(&["/demo_api/ping"]).await;
    let offer = worker.offer().await;
    assert_eq!(offer.timeout_ms, Some(60_000));
    let report = worker.done(&offer, json!({"stat": "OK"})).await;
    worker.acknowledged(report).await;
    let finished = server.task(&first).await;
    assert_eq!(finished.body["task_info"]["result_ttl"], "900");
    assert_eq!(finished.body["data"], json!({}));
    let again = server.created(&once(1, "")).await;
    assert_ne!(again, first);
    assert_eq!(server.task(&first).await.body["stat"], "OK");
}

#[tokio::test]
async fn a_web_page_cannot_queue_a_task() {
    let server = Server::new().await;
    let body = r#"{"handler": "/demo_api/ping", "params": {}}"#;
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let request = server.request(Method::POST, "/baichuan/task_create").header(name, value);
        let request = request.header("content-type", "text/plain").body(body);
        server.send(request).await.is_problem(403, "origin_not_allowed");
    }
    assert_eq!(server.get("/v1/runs/count").await.body["count"], 0);
    let guarded = ServerConfig { tokens: vec!["correct-horse-battery".to_owned()], ..Default::default() };
    let server = Server::with(guarded).await;
    let request = server.request(Method::POST, "/baichuan/task_create").body(body);
    server.send(request).await.is_problem(401, "unauthorized");
    let request = server.request(Method::POST, "/baichuan/task_create").bearer_auth("correct-horse-battery");
    server.send(request.body(body)).await.is_baichuan();
}

#[tokio::test]
async fn the_address_in_front_of_a_proxy_is_shown() {
    let server = Server::new().await;
    let request = server.request(Method::POST, "/baichuan/task_create").header("x-real-ip", "10.1.2.3");
    let created = server.send(request.body(r#"{"handler": "/a", "params": {}}"#)).await;
    let id = created.body["data"]["task_id"].as_str().unwrap();
    assert_eq!(server.task(id).await.body["task_info"]["ip"], "10.1.2.3");
    assert_eq!(Json::parse(&created.text).unwrap().to_value().unwrap()["stat"], "OK");
}
