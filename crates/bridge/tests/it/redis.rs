//! A Redis of one test: Debian's `redis-server`, and a client that shares nothing with the one under test. Also used by the tests of the
//! binary.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

/// How long anything may take that needs a real process.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server with an append-only file, which survives `kill -9`.
pub struct Redis {
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl Redis {
    pub fn start() -> Redis {
        let mut redis = Redis::absent();
        redis.revive();
        redis
    }

    /// One that is not there yet.
    pub fn absent() -> Redis {
        install();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        Redis { folder: tempfile::tempdir().expect("a temporary folder"), port, process: None }
    }

    pub fn url(&self) -> String {
        // As the original's settings have it: the options after the question mark are for its own client.
        format!("redis://@127.0.0.1:{}/0?socket_timeout=2&retry_on_timeout=false", self.port)
    }

    /// Starts it on what it has written, and waits until it answers.
    pub fn revive(&mut self) {
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""])
            // What is handed to the system outlives a killed process: no write has to wait for the disk.
            .args(["--appendonly", "yes", "--appendfsync", "no", "--dir"])
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        self.process = Some(process);
        until("redis-server answers", || {
            let mut client = Client::connect(self.port)?;
            (client.ask(&[b"PING"]) == Reply::Text("PONG".to_owned())).then_some(())
        });
    }

    /// `kill -9`, and gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it can be killed");
            process.wait().expect("it ends");
        }
    }

    pub fn client(&self) -> Client {
        until("redis-server takes a connection", || Client::connect(self.port))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Tests install what they need where it is absent.
fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let is_there =
            || Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
        if is_there() {
            return;
        }
        let apt = |args: &[&str]| {
            let done = Command::new("apt-get")
                .args(["-qq", "-o", "DPkg::Lock::Timeout=300"])
                .args(args)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdout(Stdio::null())
                .status();
            done.is_ok_and(|status| status.success())
        };
        let package = ["install", "-y", "--no-install-recommends", "redis-server"];
        let installed = apt(&package) || (apt(&["update"]) && apt(&package));
        assert!(installed && is_there(), "these tests need redis-server: apt-get install redis-server");
    });
}

/// What Redis answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Nil,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
    Many(Vec<Reply>),
    Error(String),
}

/// A connection that speaks the protocol by hand.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(port: u16) -> Option<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(Client { stream: BufReader::new(stream) })
    }

    /// One command. An answer that does not come is an error too.
    pub fn ask(&mut self, words: &[&[u8]]) -> Reply {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend(format!("${}\r\n", word.len()).into_bytes());
            request.extend(*word);
            request.extend(b"\r\n");
        }
        let sent = self.stream.get_mut().write_all(&request);
        sent.and_then(|()| self.reply()).unwrap_or_else(|error| Reply::Error(error.to_string()))
    }

    fn reply(&mut self) -> std::io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at(1);
        let length = || rest.parse::<i64>().expect("a number");
        Ok(match kind {
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(length()),
            "$" | "*" if length() < 0 => Reply::Nil,
            "$" => {
                let mut bytes = vec![0; length() as usize + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Reply::Bytes(bytes)
            }
            "*" => Reply::Many((0..length()).map(|_| self.reply()).collect::<Result<_, _>>()?),
            _ => panic!("not a reply: {line}"),
        })
    }

    /// A command of text whose answer is a number.
    #[track_caller]
    pub fn number(&mut self, words: &[&str]) -> i64 {
        match self.tell(words) {
            Reply::Number(number) => number,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    /// A command of text.
    pub fn tell(&mut self, words: &[&str]) -> Reply {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.ask(&words)
    }

    /// A command of text whose answer is a value, if there is one.
    #[track_caller]
    pub fn bytes(&mut self, words: &[&str]) -> Option<Vec<u8>> {
        match self.tell(words) {
            Reply::Bytes(bytes) => Some(bytes),
            Reply::Nil => None,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    pub fn text(&mut self, words: &[&str]) -> String {
        String::from_utf8(self.bytes(words).unwrap_or_default()).expect("text")
    }

    /// A field of a message.
    pub fn field(&mut self, id: &str, name: &str) -> String {
        self.text(&["HGET", &format!("mq:msg:{id}"), name])
    }

    /// The elements of a list.
    pub fn list(&mut self, key: &str) -> Vec<String> {
        match self.tell(&["LRANGE", key, "0", "-1"]) {
            Reply::Many(all) => all
                .into_iter()
                .map(|item| match item {
                    Reply::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                    other => panic!("{other:?}"),
                })
                .collect(),
            other => panic!("{key}: {other:?}"),
        }
    }

    /// What the original's `Queue(NAME).enqueue(data)` does, command by command, with the fields that it writes.
    pub fn enqueue(&mut self, queue: &str, id: &str, data: &[u8], more: &[(&str, &[u8])]) {
        let key = format!("mq:queue:{{{queue}}}");
        self.tell(&["SADD", "mq:queues", &key]);
        self.write_message(queue, id, data, more);
        self.tell(&["RPUSH", &key, id]);
    }

    pub fn write_message(&mut self, queue: &str, id: &str, data: &[u8], more: &[(&str, &[u8])]) {
        let name = format!("mq:msg:{id}");
        let mut words: Vec<&[u8]> = vec![b"HMSET", name.as_bytes()];
        let standard: [(&str, &[u8]); 9] = [
            ("created_at", b"2026-11-21T12:51:01.295271Z"),
            ("data", data),
            ("origin", queue.as_bytes()),
            ("enqueued_at", b"2026-11-21T12:51:01.295388Z"),
            ("timeout", b"180"),
            ("status", b"queued"),
            ("ip", b"127.0.0.1"),
            ("handle_worker", b""),
            ("cost", b"0"),
        ];
        for (field, value) in standard.iter().filter(|(name, _)| !more.iter().any(|(field, _)| field == name))
        {
            words.extend([field.as_bytes(), value]);
        }
        for (field, value) in more {
            words.extend([field.as_bytes(), value]);
        }
        assert_eq!(self.ask(&words), Reply::Text("OK".to_owned()));
    }

    /// Waits until a message has this status.
    #[track_caller]
    pub fn wait_for(&mut self, id: &str, status: &str) {
        until(&format!("{id} is {status}"), || (self.field(id, "status") == status).then_some(()));
    }
}

/// Asks until there is an answer; fails the test when there is none for too long.
#[track_caller]
pub fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ready() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
