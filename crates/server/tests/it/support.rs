//! A server on a free port, a client, and a worker that a test plays.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder};
use riverrun_engine::{Engine, Settings};
use riverrun_kernel::{AttemptId, Failure, Json};
use riverrun_server::{Limits, ServeError, ServerConfig, serve};
use riverrun_store::{MemoryStore, Store};
use riverrun_wire::frame::{MAX_FRAME, decode, encode};
use riverrun_wire::worker::{Claim, FromWorker, Function, Offer, PROTOCOL, ToWorker};
use riverrun_wire::workflow::{Act, Event};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const QUICK: &str = "version: v1\ntype: flow\nsteps:\n  - type: pass\n    name: Hello\n";
pub const SLEEPER: &str =
    "version: v1\ntype: flow\nsteps:\n  - type: wait\n    name: Long\n    duration: 86400\n";
pub const FAILING: &str = "version: v1\ntype: flow\nsteps:\n  - type: fail\n    name: No\n    error: NoLuck\n    cause: out of luck\n";
pub const CALLING: &str =
    "version: v1\ntype: flow\nsteps:\n  - type: task\n    name: Work\n    resourceArn: shop/work\n";

pub struct Server {
    pub address: SocketAddr,
    pub engine: Engine,
    pub stop: CancellationToken,
    pub serving: JoinHandle<Result<(), ServeError>>,
    client: reqwest::Client,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("")
    }
    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or("")
    }
    /// Checks status, code and the form of a problem.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["type"], format!("/errors/{code}"));
        assert_eq!(self.body["status"], status);
        assert!(!self.detail().is_empty());
        self
    }
    #[track_caller]
    pub fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
    pub fn run_id(&self) -> String {
        self.body["run_id"].as_str().unwrap_or_default().to_owned()
    }
}

impl Server {
    pub async fn new() -> Self {
        Server::with(ServerConfig::default()).await
    }

    pub async fn limited(limits: Limits) -> Self {
        Server::with(ServerConfig { limits, ..ServerConfig::default() }).await
    }

    pub async fn with(config: ServerConfig) -> Self {
        Server::on(Arc::new(MemoryStore::new(1, [7; 32])), config).await
    }

    pub async fn on(store: Arc<dyn Store>, config: ServerConfig) -> Self {
        Server::set(store, Settings::default(), config).await
    }

    pub async fn set(store: Arc<dyn Store>, settings: Settings, config: ServerConfig) -> Self {
        let engine = Engine::open(store, settings).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(engine.clone(), listener, config, stop.clone()));
        let server = Server { address, engine, stop, serving, client: reqwest::Client::new() };
        // A server that wants a token gets its flows from the test.
        for (name, source) in
            [("quick", QUICK), ("sleeper", SLEEPER), ("failing", FAILING), ("calling", CALLING)]
        {
            server.engine.deploy("default", name, source).await.unwrap();
        }
        server
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = tokio::time::timeout(PATIENCE, request.send()).await.unwrap().unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, body, text }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(&body)).await
    }
    /// Sends a body as it is, as JSON.
    pub async fn post_text(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.send(request.body(body)).await
    }
    pub async fn start(&self, body: Value) -> Answer {
        self.post("/v1/runs", body).await
    }
    pub async fn start_with_key(&self, key: &str, body: Value) -> Answer {
        let name = HeaderName::from_static("idempotency-key");
        let request =
            self.request(Method::POST, "/v1/runs").header(name, HeaderValue::from_str(key).unwrap());
        self.send(request.json(&body)).await
    }
    /// A run of `flow` that has ended.
    pub async fn ended(&self, flow: &str) -> Answer {
        let answer = self.start(json!({"definition": flow, "wait": "20s"})).await;
        answer.is(200);
        answer
    }
    /// Sends bytes and reads until the server closes.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut text = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await.unwrap().unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }
    pub async fn worker(&self, functions: &[&str]) -> Worker {
        let mut worker = Worker::connect(self.address).await;
        worker.hello(functions).await;
        worker
    }
}

impl Server {
    /// The code and the text with which a worker of these functions is refused.
    pub async fn refused_worker(&self, functions: &[&str]) -> (String, String) {
        let mut worker = Worker::connect(self.address).await;
        worker.greet(functions, vec![]).await;
        match worker.next().await {
            Some(ToWorker::Error { code, message }) => (code, message),
            other => panic!("{other:?} is no refusal"),
        }
    }
}

/// A worker, played by the test.
pub struct Worker {
    pub stream: TcpStream,
    /// The longest frame that it reads.
    pub max_frame: usize,
    input: BytesMut,
    waiting: VecDeque<ToWorker>,
    seq: u64,
}

impl Worker {
    /// Upgrades a connection.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET /v1/worker HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: riverrun-worker/1\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Worker { stream, max_frame: MAX_FRAME, input: BytesMut::new(), waiting: VecDeque::default(), seq: 0 }
    }

    pub async fn hello(&mut self, functions: &[&str]) {
        self.claim(functions, vec![]).await;
    }

    /// Says hello with what it executes, and returns what it keeps of that.
    pub async fn claim(&mut self, functions: &[&str], attempts: Vec<Claim>) -> Vec<AttemptId> {
        self.greet(functions, attempts).await;
        match self.next().await {
            Some(ToWorker::Welcome { protocol: PROTOCOL, keep, .. }) => keep,
            other => panic!("{other:?} is no welcome"),
        }
    }

    async fn greet(&mut self, functions: &[&str], attempts: Vec<Claim>) {
        // `NAME`, `workflow NAME`, `NAME {the schema of its parameters}`, or `NAME with {its options}`.
        let function = |text: &&str| {
            let (text, options) = match text.split_once(" with {") {
                Some((name, options)) => (name, Some(Json::parse(&format!("{{{options}")).unwrap())),
                None => (*text, None),
            };
            let (text, parameters) = match text.split_once(" {") {
                Some((name, schema)) => (name, Some(Json::parse(&format!("{{{schema}")).unwrap())),
                None => (text, None),
            };
            let name = text.strip_prefix("workflow ");
            let workflow = name.is_some();
            Function { name: name.unwrap_or(text).to_owned(), broken: None, parameters, options, workflow }
        };
        let functions = functions.iter().map(function).collect();
        self.say(&[FromWorker::Hello {
            protocol: PROTOCOL,
            name: "played".to_owned(),
            namespace: "default".to_owned(),
            queues: vec![],
            functions,
            slots: 8,
            in_process: false,
            incarnation: None,
            attempts,
        }])
        .await;
    }

    pub async fn say(&mut self, messages: &[FromWorker]) {
        let mut bytes = BytesMut::new();
        encode(messages, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next message; `None` when the server has closed.
    pub async fn next(&mut self) -> Option<ToWorker> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Some(message);
            }
            if let Some(messages) = decode::<ToWorker>(&mut self.input, self.max_frame).unwrap() {
                self.waiting.extend(messages);
                continue;
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
            if read.expect("the server says something in time").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub async fn offer(&mut self) -> Offer {
        loop {
            match self.next().await {
                Some(ToWorker::Offer(offer)) => return *offer,
                Some(_) => {}
                None => panic!("the server closed instead of offering"),
            }
        }
    }

    /// Reports what the code of a workflow did, and returns the report's number.
    pub async fn progress(&mut self, offer: &Offer, first: u64, acts: Vec<Act>) -> u64 {
        self.seq += 1;
        let (seq, attempt, token) = (self.seq, offer.attempt, offer.token);
        self.say(&[FromWorker::Progress { seq, attempt, token, first, acts }]).await;
        seq
    }

    /// Lets the code of a workflow go that has done so many acts.
    pub async fn park(&mut self, offer: &Offer, seen: u64, acts: u64) -> u64 {
        self.seq += 1;
        let (seq, attempt, token) = (self.seq, offer.attempt, offer.token);
        self.say(&[FromWorker::Parked { seq, attempt, token, seen, acts }]).await;
        seq
    }

    /// What the code of a workflow must know.
    pub async fn history(&mut self, offer: &Offer) -> Vec<Event> {
        self.say(&[FromWorker::WantHistory { attempt: offer.attempt, token: offer.token }]).await;
        let mut known = Vec::new();
        loop {
            match self.next().await {
                Some(ToWorker::History { events, last, .. }) => {
                    known.extend(events);
                    if last {
                        return known;
                    }
                }
                Some(_) => {}
                None => panic!("the server closed instead of telling the history"),
            }
        }
    }

    /// The next events of a running workflow.
    pub async fn events(&mut self) -> Vec<Event> {
        loop {
            match self.next().await {
                Some(ToWorker::Events { events, .. }) => return events,
                Some(_) => {}
                None => panic!("the server closed instead of telling of events"),
            }
        }
    }

    /// Reports an output, and returns the report's number.
    pub async fn done(&mut self, offer: &Offer, output: Value) -> u64 {
        self.seq += 1;
        self.say(&[FromWorker::Done {
            seq: self.seq,
            attempt: offer.attempt,
            token: offer.token,
            output: output.into(),
            acts: 0,
        }])
        .await;
        self.seq
    }

    /// Reports a failure, and returns the report's number.
    pub async fn fail(&mut self, offer: &Offer, failure: Failure) -> u64 {
        self.seq += 1;
        let (seq, attempt, token) = (self.seq, offer.attempt, offer.token);
        self.say(&[FromWorker::Failed { seq, attempt, token, failure, acts: 0 }]).await;
        seq
    }

    /// Waits until reports up to `seq` are acknowledged; what was refused on the way.
    pub async fn acknowledged(&mut self, seq: u64) -> Vec<(u64, String)> {
        let mut refused = Vec::new();
        loop {
            match self.next().await {
                Some(ToWorker::Ack { seq: up_to }) if up_to >= seq => return refused,
                Some(ToWorker::Refused { seq, code, .. }) => refused.push((seq, code)),
                Some(_) => {}
                None => panic!("the server closed before report {seq} was acknowledged"),
            }
        }
    }
}
