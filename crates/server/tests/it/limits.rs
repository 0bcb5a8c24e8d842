//! Bodies that are too large, too deep or too odd, and clients that are too slow or too many.

use std::time::Duration;

use riverrun_server::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, Server};

/// What the server says before it has read more than this.
async fn first_words(server: &Server, sent: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn a_huge_body_is_refused_by_its_announced_length_alone() {
    let server = Server::new().await;
    let head = format!(
        "POST /v1/runs HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 314572800\r\n\r\n",
        server.address
    );
    let text = first_words(&server, &head).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    assert!(text.contains("max_body") && text.contains("--max-body"), "{text}");
}

#[tokio::test]
async fn a_client_that_sends_all_of_a_huge_body_still_gets_the_answer() {
    let server = Server::limited(Limits { max_body: 1_000, ..Default::default() }).await;
    let body = vec![b' '; 3 << 20];
    server.post_text("/v1/runs", body).await.is_problem(413, "body_too_large");
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_at_the_limit() {
    let server = Server::limited(Limits { max_body: 1_000, ..Default::default() }).await;
    let chunk = format!("400\r\n{}\r\n", " ".repeat(1024));
    let head = format!(
        "POST /v1/runs HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{chunk}",
        server.address
    );
    let text = first_words(&server, &head).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
}

#[tokio::test]
async fn large_bodies_wait_for_room_and_small_ones_do_not() {
    let large = 1 << 20;
    let limits = Limits { max_body: large, max_body_memory: large, ..Default::default() };
    let server = Server::limited(limits).await;
    let head = |length: usize| {
        format!(
            "POST /v1/runs HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n",
            server.address
        )
    };
    // The first takes all the room and sends nothing; the server has seen it when it has answered somebody who came later.
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(head(large).as_bytes()).await.unwrap();
    let mut waiting = TcpStream::connect(server.address).await.unwrap();
    let body = format!(r#"{{"definition": "quick"{}}}"#, " ".repeat(large - 23));
    waiting.write_all(head(body.len()).as_bytes()).await.unwrap();
    let sent = waiting.write_all(body.as_bytes());
    for _ in 0..3 {
        server.start(json!({"definition": "quick"})).await.is(201);
    }
    drop(slow);
    tokio::time::timeout(PATIENCE, sent).await.unwrap().unwrap();
    let mut answer = vec![0; 4096];
    let length = tokio::time::timeout(PATIENCE, waiting.read(&mut answer)).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&answer[..length]);
    assert!(text.starts_with("HTTP/1.1 201"), "{text}");
}

#[tokio::test]
async fn a_client_that_asks_and_asks_and_never_reads_is_cut_off() {
    let limits = Limits { write_timeout: Duration::from_millis(50), ..Default::default() };
    let server = Server::limited(limits).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET /openapi.json HTTP/1.1\r\nhost: {}\r\n\r\n", server.address);
    let asking = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("the server takes no more and ends it");
    server.get("/healthz").await.is(200);
}

#[tokio::test]
async fn malformed_json_is_refused_with_its_place_and_changes_nothing() {
    let server = Server::new().await;
    let deep =
        format!(r#"{{"definition":"quick","input":{{"a":{}{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let bodies: [(&[u8], &str); 8] = [
        (deep.as_bytes(), "max_json_depth"),
        (br#"{"definition": "quick", "#, "column"),
        (br#"{"definition": "quick"} x"#, "trailing"),
        (br#"{"definition": "quick", "definition": "failing"}"#, "stands twice"),
        (br#"{"definition": "quick", "input": {"a": 1, "a": 2}}"#, "stands twice"),
        (br#"{"definition": "quick", "input": {"a": "\ud800"}}"#, "hex escape"),
        (br#"{"definition": "quick", "input": {"a": 1e999}}"#, "out of range"),
        (b"{\"definition\": \"qu\xffck\"}", "not UTF-8"),
    ];
    for (body, says) in bodies {
        let answer = server.post_text("/v1/runs", body.to_vec()).await;
        answer.is_problem(400, "invalid_request");
        assert!(answer.detail().contains(says), "{says}: {}", answer.detail());
    }
    for body in ["[1]", "null", r#""text""#] {
        server.post_text("/v1/runs", body).await.is_problem(400, "invalid_request");
    }
    assert_eq!(server.get("/v1/runs/count").await.body["count"], 0);
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_costs_the_connection() {
    let server =
        Server::limited(Limits { header_timeout: Duration::from_millis(50), ..Default::default() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: loc").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server cuts it").unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains("200"));
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_answered_and_cut() {
    let server =
        Server::limited(Limits { body_timeout: Duration::from_millis(50), ..Default::default() }).await;
    let head = format!(
        "POST /v1/runs HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
        server.address
    );
    let text = server.raw(head.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert!(text.contains("body_timeout"), "{text}");
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let server = Server::limited(Limits { max_connections: 1, ..Default::default() }).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first
        .write_all(format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", server.address).as_bytes())
        .await
        .unwrap();
    let mut byte = [0];
    first.read_exact(&mut byte).await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    second.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    assert!(text.contains("retry-after") && text.contains("max_connections"), "{text}");
}

#[tokio::test]
async fn health_readiness_and_metrics_answer() {
    let server = Server::new().await;
    assert_eq!(server.get("/healthz").await.text, "ok\n");
    assert_eq!(server.get("/readyz").await.text, "ready\n");
    server.start(json!({"definition": "nobody"})).await.is_problem(404, "unknown_definition");
    let metrics = server.get("/metrics").await;
    metrics.is(200);
    assert!(metrics.text.contains("riverrun_http_responses_total{class=\"4xx\"} 1"), "{}", metrics.text);
    for line in metrics.text.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let server = Server::new().await;
    server.get("/v1/nothing").await.is_problem(404, "not_found");
    server.get("/errors/nothing").await.is_problem(404, "not_found");
    server.put("/v1/runs", json!({})).await.is_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn lists_tell_a_limit_from_a_missing_worker_whether_in_memory_or_not() {
    let server = Server::new().await;
    server.post("/v1/queues/pause", json!({"queue": "held"})).await.is(200);
    let start = |queue: &str| json!({"definition": "ping", "kind": "task", "queue": queue});
    let mut runs = Vec::new();
    for queue in ["held", "free", "held", "free", "held"] {
        runs.push(server.start(start(queue)).await.run_id());
    }
    for _ in 0..2 {
        for (waiting, places, name) in
            [("limit", vec![4, 2, 0], "queue held: paused"), ("worker", vec![3, 1], "ping")]
        {
            let mut found = Vec::new();
            let mut cursor = String::new();
            loop {
                let page = server.get(&format!("/v1/runs?waiting={waiting}&limit=1{cursor}")).await.body;
                let items = page["items"].as_array().unwrap();
                assert!(items.iter().all(|run| run["waiting"]["name"] == name), "{page}");
                found.extend(items.iter().map(|run| run["run_id"].as_str().unwrap().to_owned()));
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            // Those of one millisecond are in any order.
            found.sort_unstable();
            let mut expected: Vec<String> = places.iter().map(|at| runs[*at].clone()).collect();
            expected.sort_unstable();
            assert_eq!(found, expected);
            let count = server.get(&format!("/v1/runs/count?waiting={waiting}")).await;
            assert_eq!(count.body["count"], places.len());
        }
        let all = server.get("/v1/runs").await;
        let items = all.body["items"].as_array().unwrap();
        let limited = items.iter().filter(|run| run["waiting"]["kind"] == "limit").count();
        assert_eq!((items.len(), limited), (5, 3));
        // From here on rows have them.
        server.engine.checkpoint().await.unwrap();
    }
}
