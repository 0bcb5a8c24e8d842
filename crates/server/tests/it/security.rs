//! Who may ask.

use reqwest::Method;
use riverrun_engine::{Engine, Settings};
use riverrun_server::{ServeError, ServerConfig, serve};
use riverrun_store::MemoryStore;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::Server;

const TOKEN: &str = "correct-horse-battery";

fn guarded() -> ServerConfig {
    ServerConfig { tokens: vec!["another-token-of-ours".to_owned(), TOKEN.to_owned()], ..Default::default() }
}

#[tokio::test]
async fn beyond_loopback_nothing_listens_without_a_good_token() {
    let open = async |tokens: Vec<String>| {
        let store = std::sync::Arc::new(MemoryStore::new(1, [7; 32]));
        let engine = Engine::open(store, Settings::default()).unwrap();
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        serve(engine, listener, ServerConfig { tokens, ..Default::default() }, stop).await
    };
    assert!(matches!(open(vec![]).await, Err(ServeError::NoToken { .. })));
    assert!(matches!(open(vec!["short".to_owned()]).await, Err(ServeError::WeakToken)));
    assert!(open(vec![TOKEN.to_owned()]).await.is_ok());
}

#[tokio::test]
async fn a_token_is_wanted_wherever_one_is_set() {
    let server = Server::with(guarded()).await;
    let answer = server.get("/v1/runs").await;
    answer.is_problem(401, "unauthorized");
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    for wrong in ["Bearer wrong", "Basic Zm9v", TOKEN, "Bearer", "Bearer correct-horse-batterz"] {
        let request = server.request(Method::GET, "/v1/runs").header("authorization", wrong);
        server.send(request).await.is_problem(401, "unauthorized");
    }
    for token in [TOKEN, "another-token-of-ours"] {
        server.send(server.request(Method::GET, "/v1/runs").bearer_auth(token)).await.is(200);
    }
    for path in ["/", "/metrics", "/openapi.json", "/v1/worker", "/nowhere"] {
        server.get(path).await.is_problem(401, "unauthorized");
    }
    for path in ["/healthz", "/readyz", "/errors/unauthorized"] {
        server.get(path).await.is(200);
    }
    // A callback carries its own right.
    server.post("/v1/callbacks/nonsense", json!({"output": 1})).await.is_problem(404, "invalid_callback");
}

#[tokio::test]
async fn a_rebound_name_is_refused_on_the_loopback() {
    let server = Server::new().await;
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", ""] {
        let text = server
            .raw(format!("GET /v1/runs HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())
            .await;
        assert!(text.starts_with("HTTP/1.1 403"), "{host}: {text}");
        assert!(text.contains("host_not_allowed"), "{host}: {text}");
    }
    for host in ["localhost", "LOCALHOST:99", "127.0.0.1", "127.9.9.9:1", "[::1]:7733"] {
        let text = server
            .raw(format!("GET /v1/runs HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())
            .await;
        assert!(text.starts_with("HTTP/1.1 200"), "{host}: {text}");
    }
    let absolute = server
        .raw(b"GET http://evil.example/v1/runs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    assert!(absolute.starts_with("HTTP/1.1 403"), "{absolute}");
    let none = server.raw(b"GET /v1/runs HTTP/1.0\r\n\r\n").await;
    assert!(none.contains("host_not_allowed"), "{none}");
}

#[tokio::test]
async fn a_configured_name_is_taken() {
    let config = ServerConfig { allowed_hosts: vec!["flows.example".to_owned()], ..Default::default() };
    let server = Server::with(config).await;
    let text =
        server.raw(b"GET /v1/runs HTTP/1.1\r\nhost: Flows.Example:443\r\nconnection: close\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn a_page_of_another_site_is_refused() {
    let server = Server::new().await;
    let own = format!("http://{}", server.address);
    let foreign = ["http://evil.example", "null", "http://localhost:1", "http://127.0.0.1", "file://"];
    for origin in foreign {
        let request = server.request(Method::POST, "/v1/runs").header("origin", origin);
        server
            .send(request.json(&json!({"definition": "quick"})))
            .await
            .is_problem(403, "origin_not_allowed");
        let preflight = server.request(Method::OPTIONS, "/v1/runs").header("origin", origin);
        let answer = server.send(preflight).await;
        answer.is_problem(403, "origin_not_allowed");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    let request = server.request(Method::POST, "/v1/runs").header("origin", own);
    server.send(request.json(&json!({"definition": "quick"}))).await.is(201);
    assert_eq!(server.get("/v1/runs/count").await.body["count"], 1);
}

#[tokio::test]
async fn a_body_must_be_sent_as_json() {
    let server = Server::new().await;
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/yaml"]
    {
        let request = server.request(Method::POST, "/v1/runs").header("content-type", kind);
        let answer = server.send(request.body(r#"{"definition": "quick"}"#)).await;
        answer.is_problem(415, "unsupported_media_type");
        assert!(answer.detail().contains("application/json"));
    }
    let bare = server.request(Method::POST, "/v1/runs").body(r#"{"definition": "quick"}"#);
    server.send(bare).await.is_problem(415, "unsupported_media_type");
    let charset =
        server.request(Method::POST, "/v1/runs").header("content-type", "Application/JSON; charset=utf-8");
    server.send(charset.body(r#"{"definition": "quick"}"#)).await.is(201);
    assert_eq!(server.get("/v1/runs/count").await.body["count"], 1);
}

#[tokio::test]
async fn the_page_for_people_loads_nothing_from_elsewhere() {
    let server = Server::new().await;
    let page = server.get("/").await;
    page.is(200);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    assert!(!page.text.contains("http://") && !page.text.contains("https://"));
}
