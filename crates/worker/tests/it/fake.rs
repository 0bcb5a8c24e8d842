//! A server that says what a test tells it to, and a worker on a folder of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use riverrun_kernel::{AttemptId, Json, RunId, Slot, StepId, Token};
use riverrun_wire::frame;
use riverrun_wire::worker::{FromWorker, Offer, ToWorker};
use riverrun_worker::sdk::{Builder, Worker};
use riverrun_worker::{Config, Supervisor, WorkerError};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A real process must come up and answer within this; no test waits for it to pass.
pub const PATIENCE: Duration = Duration::from_mins(1);

pub struct Fake {
    listener: TcpListener,
    pub config: Config,
    folder: TempDir,
    shutdown: CancellationToken,
    worker: Option<JoinHandle<Result<(), WorkerError>>>,
    pub shown: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// A server, and a folder with these files.
    pub async fn new(files: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let folder = TempDir::new().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        let port = listener.local_addr().expect("an address").port();
        let mut config = Config::new(format!("http://127.0.0.1:{port}"), folder.path());
        config.python_path = Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../python/src"));
        config.timeout_grace = Duration::from_millis(300);
        // Tests run where many processes start at the same time.
        config.start_patience = PATIENCE;
        config.slots = 2;
        let shown = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&shown);
        config.show_output = Some(Arc::new(move |line| {
            sink.lock().expect("no panic").push(format!("{}|{}|{}", line.function, line.stream, line.text));
        }));
        Fake { listener, config, folder, shutdown: CancellationToken::new(), worker: None, shown }
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Starts the worker.
    pub fn start(&mut self) {
        let supervisor = Supervisor::new(self.config.clone()).expect("good settings");
        self.worker = Some(tokio::spawn(supervisor.run(self.shutdown.clone())));
    }

    /// Starts a worker of functions of this process.
    pub fn start_functions(&mut self, functions: impl FnOnce(Builder) -> Builder) {
        let builder = Worker::builder(&self.config.server).slots(2).name("host:4711");
        let worker = functions(builder).build().expect("good settings");
        self.worker = Some(tokio::spawn(worker.run(self.shutdown.clone())));
    }

    /// The same, welcomed.
    pub async fn welcomed_functions(&mut self, functions: impl FnOnce(Builder) -> Builder) -> Peer {
        self.start_functions(functions);
        let mut peer = self.accept().await;
        peer.hello().await;
        peer.welcome(&[], &[]).await;
        peer
    }

    /// Starts the worker and welcomes it.
    pub async fn welcomed(&mut self) -> Peer {
        self.start();
        let mut peer = self.accept().await;
        peer.hello().await;
        peer.welcome(&[], &[]).await;
        peer
    }

    /// The next connection, upgraded.
    pub async fn accept(&mut self) -> Peer {
        let (mut stream, _) = within(self.listener.accept()).await.expect("a connection");
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("GET /v1/worker HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("upgrade: riverrun-worker/1\r\n"), "{head}");
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: riverrun-worker/1\r\n\r\n")
            .await
            .expect("written");
        Peer {
            stream,
            input: BytesMut::new(),
            messages: Vec::new(),
            logs: String::new(),
            ahead: 0,
            slots: None,
        }
    }

    /// The next connection, answered with this and closed.
    pub async fn refuse(&mut self, answer: &str) {
        let (mut stream, _) = within(self.listener.accept()).await.expect("a connection");
        read_head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.expect("written");
    }

    /// Asks the worker to shut down.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// How the worker ended.
    pub async fn ended(&mut self) -> Result<(), WorkerError> {
        within(self.worker.take().expect("a worker")).await.expect("no panic")
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.expect("a byte"));
    }
    String::from_utf8(head).expect("ASCII")
}

/// The server's end of a connection.
pub struct Peer {
    stream: TcpStream,
    input: BytesMut,
    messages: Vec<FromWorker>,
    /// Everything that was printed, by all attempts.
    pub logs: String,
    /// How many attempts the worker takes beyond its slots.
    pub ahead: u32,
    /// How many of its slots it said last that it can use, and why.
    pub slots: Option<(u32, Option<String>)>,
}

impl Peer {
    pub async fn send(&mut self, messages: &[ToWorker]) {
        let mut bytes = BytesMut::new();
        frame::encode(messages, &mut bytes).expect("JSON");
        self.stream.write_all(&bytes).await.expect("written");
    }

    /// The next message; beats are skipped, logs and what is asked for ahead are kept.
    pub async fn next(&mut self) -> FromWorker {
        loop {
            match within(self.read()).await.expect("the worker closed the connection") {
                FromWorker::Beat {} => {}
                FromWorker::Log { text, .. } => self.logs.push_str(&text),
                FromWorker::Ahead { attempts } => self.ahead = attempts,
                FromWorker::Slots { slots, why } => self.slots = Some((slots, why)),
                message => return message,
            }
        }
    }

    /// The next message of any kind; `None` at the end of the connection.
    pub async fn read(&mut self) -> Option<FromWorker> {
        while self.messages.is_empty() {
            if let Some(mut messages) = frame::decode(&mut self.input, frame::MAX_FRAME).expect("a frame") {
                messages.reverse();
                self.messages = messages;
            } else if !matches!(self.stream.read_buf(&mut self.input).await, Ok(1..)) {
                return None;
            }
        }
        self.messages.pop()
    }

    /// How many slots it says that it can use, which must be the next that it says.
    pub async fn told_slots(&mut self) -> u32 {
        loop {
            match within(self.read()).await.expect("the worker closed the connection") {
                FromWorker::Beat {} | FromWorker::Log { .. } => {}
                FromWorker::Slots { slots, .. } => return slots,
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn hello(&mut self) -> FromWorker {
        let hello = self.next().await;
        assert!(matches!(hello, FromWorker::Hello { .. }), "{hello:?}");
        hello
    }

    pub async fn welcome(&mut self, keep: &[AttemptId], drop: &[AttemptId]) {
        self.send(&[ToWorker::Welcome {
            protocol: 1,
            server: "0.1.0".to_owned(),
            lease_ms: 30_000,
            keep: keep.to_vec(),
            drop: drop.to_vec(),
        }])
        .await;
    }

    /// Offers a call and returns how it ended, acknowledged.
    pub async fn call(&mut self, number: u32, function: &str, input: &str) -> FromWorker {
        self.send(&[offer(number, function, input, None)]).await;
        self.outcome().await
    }

    /// The next report, acknowledged.
    pub async fn outcome(&mut self) -> FromWorker {
        let report = self.next().await;
        let seq = seq(&report);
        self.send(&[ToWorker::Ack { seq }]).await;
        report
    }
}

pub fn seq(report: &FromWorker) -> u64 {
    match report {
        FromWorker::Done { seq, .. }
        | FromWorker::Failed { seq, .. }
        | FromWorker::Lost { seq, .. }
        | FromWorker::Stopped { seq, .. }
        | FromWorker::Progress { seq, .. }
        | FromWorker::Parked { seq, .. }
        | FromWorker::Unreplayable { seq, .. } => *seq,
        other => panic!("{other:?} is no report"),
    }
}

pub fn attempt(number: u32) -> AttemptId {
    AttemptId { run: RunId::new(1, Slot(0), u64::from(number)), step: StepId(1), attempt: 1 }
}

pub fn offer(number: u32, function: &str, input: &str, timeout_ms: Option<u64>) -> ToWorker {
    ToWorker::Offer(Box::new(Offer {
        attempt: attempt(number),
        token: Token([number as u8; 16]),
        function: function.to_owned(),
        input: Json::parse(input).expect("JSON"),
        definition: "polling".to_owned(),
        path: "step".to_owned(),
        timeout_ms,
        idempotency_key: "5a".to_owned(),
        callback: None,
        workflow: None,
    }))
}

/// The output of a report that must be a success.
pub fn output(report: &FromWorker) -> &str {
    match report {
        FromWorker::Done { output, .. } => output.get(),
        other => panic!("{other:?} is no success"),
    }
}

/// Name and message of a report that must be a failure.
pub fn failure(report: &FromWorker) -> (&str, &str) {
    match report {
        FromWorker::Failed { failure, .. } => (&failure.error, &failure.message),
        other => panic!("{other:?} is no failure"),
    }
}

pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened for a minute")
}
