//! A house of one test: a data directory, functions that count their calls, and processes that end with the test.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take that needs a real process.
const PATIENCE: Duration = Duration::from_mins(1);

/// One test's folder, and what runs in it.
pub struct House {
    folder: tempfile::TempDir,
}

/// How a command ended.
pub struct Done {
    /// Exit code; 128 and the signal's number where a signal ended it.
    pub code: i32,
    /// Its data.
    pub stdout: String,
    /// All the rest.
    pub stderr: String,
}

impl Done {
    pub fn of(output: Output) -> Done {
        let status = output.status;
        Done {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
            stdout: String::from_utf8(output.stdout).expect("stdout is text"),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless the command ended so.
    #[track_caller]
    pub fn expect(self, code: i32) -> Done {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Its data as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}\nstdout: {}\nstderr: {}", self.stdout, self.stderr))
    }
}

impl House {
    pub fn new() -> House {
        House { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Leaves everything where it is, for whoever has to find out what happened.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes a file, folders included, and returns its path as text.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it lies in the house")).expect("a folder");
        fs::write(&path, text).expect("a file");
        path.to_str().expect("a path of text").to_owned()
    }

    /// A function that notes each call in `calls` before it does what `body` says. `event` is decoded.
    pub fn function(&self, name: &str, body: &str) {
        let body = body.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n");
        let calls = self.path("calls").to_str().expect("text").to_owned();
        self.write(
            &format!("functions/{name}.py"),
            &format!(
                "import json, os, sys, time\n\n\ndef note(text):\n    with open({calls:?}, 'a') as calls:\n        \
                 calls.write(text + '\\n')\n\n\ndef handler(event, context):\n    event = json.loads(event)\n    note({name:?})\n{body}\n",
            ),
        );
    }

    /// How often a function was called, or a line was noted.
    pub fn calls(&self, line: &str) -> usize {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().filter(|found| *found == line).count()
    }

    /// The binary, on this house's data, with nothing of the outer environment's settings.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_riverrun"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("RIVERRUN_DATA", self.data())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env_remove("RIVERRUN_SERVER")
            .env_remove("RIVERRUN_TOKEN")
            .env_remove("RIVERRUN_NAMESPACE")
            .env_remove("VIRTUAL_ENV")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().expect("the binary starts"))
    }

    /// What a command says that ends with this code, without what changes from house to house.
    #[track_caller]
    pub fn said(&self, args: &[&str], code: i32) -> String {
        let done = self.run(args).expect(code);
        let mut text = done.stderr.replace(self.folder.path().to_str().expect("text"), "[HOUSE]");
        let mut output = String::new();
        for line in text.lines().map(str::trim_end).filter(|line| !line.contains(" WARN ")) {
            output.push_str(line);
            output.push('\n');
        }
        text = without_numbers(&output, "127.0.0.1:", "[PORT]");
        text = without_numbers(&text, "0.0.0.0:", "[PORT]");
        text = without_numbers(&text, "process ", "[PID]");
        without_runs(&text)
    }

    /// Starts a command that goes on.
    pub fn spawn(&self, args: &[&str]) -> Process {
        let child = self
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        Process { child: Some(child) }
    }

    /// Starts a server on this house's data and waits until it answers. Tests may start tasks before their worker is there.
    pub fn server(&self, more: &[&str]) -> Server {
        self.strict_server(&[&["--accept-unknown-tasks"], more].concat())
    }

    /// The same, and it takes only tasks that a worker has announced.
    pub fn strict_server(&self, more: &[&str]) -> Server {
        self.server_at(&format!("http://127.0.0.1:{}", free_port()), more)
    }

    /// The same at the address of an earlier one.
    pub fn server_at(&self, url: &str, more: &[&str]) -> Server {
        let listen = url.strip_prefix("http://").expect("a server's address").to_owned();
        let data = self.data();
        let mut args = vec!["server", "--listen", &listen, "--data", data.to_str().expect("text")];
        args.extend(more);
        let mut process = self.spawn(&args);
        until("the server answers", || {
            process.expect_running();
            std::net::TcpStream::connect(&listen).is_ok().then_some(())
        });
        Server { process, url: url.to_owned() }
    }

    /// A run as `runs show --json` has it.
    pub fn show(&self, server: &str, run: &str) -> Value {
        self.run(&["runs", "show", run, "--json", "--server", server]).expect(0).json()
    }

    /// The names of a run's journal entries.
    pub fn journal(&self, run: &str) -> Vec<Value> {
        let done = self.run(&["runs", "journal", run, "--json", "--all"]).expect(0);
        done.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

/// Replaces the digits after each `before`.
fn without_numbers(text: &str, before: &str, place: &str) -> String {
    let mut parts = text.split(before);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        kept.push_str(before);
        kept.push_str(if rest.len() < part.len() { place } else { "" });
        kept.push_str(rest);
    }
    kept
}

/// Replaces the ids of runs, but for those that a test made up.
fn without_runs(text: &str) -> String {
    let mut parts = text.split("run_");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let id: String = part.chars().take_while(char::is_ascii_alphanumeric).collect();
        if id.len() == 26 && !id.contains("aaaaaa") {
            kept.push_str("[RUN]");
            kept.push_str(&part[id.len()..]);
        } else {
            kept.push_str("run_");
            kept.push_str(part);
        }
    }
    kept
}

/// A port that nobody listens on, most probably.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
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
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server of the house.
pub struct Server {
    pub process: Process,
    pub url: String,
}

/// A process that does not outlive the test.
pub struct Process {
    child: Option<Child>,
}

impl Process {
    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it was not waited for")
    }

    pub fn id(&mut self) -> u32 {
        self.child().id()
    }

    /// `kill -9`, and gone.
    pub fn kill(mut self) {
        self.child().kill().expect("it can be killed");
        self.child().wait().expect("it ends");
    }

    /// Sends a signal by name: `INT`, `TERM`.
    pub fn signal(&mut self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Done {
        let child = self.child.take().expect("it was not waited for");
        Done::of(child.wait_with_output().expect("it ends"))
    }

    /// Fails the test with what it said if it has ended.
    #[track_caller]
    pub fn expect_running(&mut self) {
        let child = self.child();
        if let Some(status) = child.try_wait().expect("its state is known") {
            let mut said = String::new();
            if let Some(err) = child.stderr.as_mut() {
                let _ = err.read_to_string(&mut said);
            }
            panic!("it ended with {status}: {said}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a signal by name to any process.
pub fn signal(pid: u32, name: &str) {
    let status =
        Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill(1)");
    assert!(status.success(), "kill -{name} {pid}");
}

/// Sends a request to a server, as any program would, and returns the whole answer.
pub fn request(server: &str, what: &str, headers: &[(&str, &str)], body: &str) -> String {
    let host = server.strip_prefix("http://").expect("a server's address");
    let mut stream = std::net::TcpStream::connect(host).expect("the server answers");
    let mut text = format!("{what} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    if headers.iter().all(|(name, _)| *name != "content-length") {
        text.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
    }
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer is text");
    answer
}

/// Sends JSON to a server, and returns its JSON.
pub fn post(server: &str, path: &str, body: &str) -> Value {
    let answer = request(server, &format!("POST {path}"), &[("content-type", "application/json")], body);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}\n{head}\n{body}"))
}

/// The repository's own files.
pub fn repository(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    path.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .to_str()
        .expect("text")
        .to_owned()
}
