//! Bodies and query strings of the HTTP API, sent to a whole server over a socket: the first byte chooses the path, a zero byte ends
//! the query. No answer is the server's own fault, and each is JSON.
#![no_main]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use riverrun_engine::{Engine, Settings};
use riverrun_fuzz::parts;
use riverrun_server::{ServerConfig, serve};
use riverrun_store::MemoryStore;
use tokio_util::sync::CancellationToken;

const PATHS: [&str; 10] = [
    "POST /v1/runs",
    "POST /v1/calls",
    "GET /v1/runs",
    "GET /v1/runs/count",
    "POST /v1/definitions",
    "GET /v1/keys",
    "POST /v1/runs/run_00000000010000000000000001/signal",
    "PUT /v1/runs/run_00000000010000000000000001/labels",
    "GET /v1/runs/run_00000000010000000000000001/journal",
    "POST /v1/callbacks/x",
];

thread_local! {
    static CONNECTION: RefCell<Option<TcpStream>> = const { RefCell::new(None) };
}

fn server() -> SocketAddr {
    static SERVER: OnceLock<(SocketAddr, tokio::runtime::Runtime)> = OnceLock::new();
    let begin = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let address = runtime.block_on(async {
            let engine = Engine::open(Arc::new(MemoryStore::new(1, [7; 32])), Settings::default());
            let engine = engine.expect("an engine");
            let quick = "version: v1\ntype: flow\nsteps:\n  - type: pass\n    name: Hello\n";
            engine.deploy("default", "quick", quick).await.expect("deployed");
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            tokio::spawn(serve(engine, listener, ServerConfig::default(), CancellationToken::new()));
            address
        });
        (address, runtime)
    };
    SERVER.get_or_init(begin).0
}

/// Sends a request on the connection that there is, or on another one.
fn ask(request: &[u8]) -> std::io::Result<Vec<u8>> {
    CONNECTION.with_borrow_mut(|kept| {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => TcpStream::connect(server())?,
        };
        stream.write_all(request)?;
        let mut answer = Vec::new();
        let mut chunk = [0; 65_536];
        while !is_whole(&answer) {
            match stream.read(&mut chunk)? {
                0 => return Ok(answer),
                read => answer.extend_from_slice(&chunk[..read]),
            }
        }
        *kept = Some(stream);
        Ok(answer)
    })
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let length =
        head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    answer.len() >= end + 4 + length.unwrap_or(0)
}

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let [query, body] = parts(rest);
    // Whatever cannot stand in a request line is no matter of this server's.
    let stands_in_a_line = |byte: &&u8| byte.is_ascii_graphic() && !b"\"<>#".contains(byte);
    let query: String = query.iter().filter(stands_in_a_line).map(|byte| char::from(*byte)).collect();
    let path = PATHS[usize::from(*first) % PATHS.len()];
    let mut request = format!(
        "{path}?{query} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        server(),
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    // A kept connection may have been closed meanwhile.
    let answer = ask(&request).ok().filter(|answer| !answer.is_empty());
    let answer = answer.unwrap_or_else(|| ask(&request).expect("the server answers"));
    let text = String::from_utf8(answer).expect("answers are text");
    let status: u16 = text.split(' ').nth(1).expect("a status").parse().expect("a number");
    assert!(status < 500 || status == 503, "{text}");
    let (_, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    assert!(status == 204 || serde_json::from_str::<serde_json::Value>(body).is_ok(), "{text}");
});
