//! Child processes: starting one, talking to it, signalling it, noticing its end. What to do with them is not decided here.
//!
//! A child gets its end of a socket pair as standard input (and moves it away at once), so that no descriptor needs to be
//! inherited by number. It leads a process group of its own: killing the group takes along what user code started.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use riverrun_wire::child::{FromChild, ToChild};
use riverrun_wire::frame::{self, MAX_FRAME};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::Config;

/// How long a child that was told to end, or its open pipes, are waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Run by the interpreter: an installed package comes before the lent one, and another version is refused before it is used.
const BOOTSTRAP: &str = r#"
import sys
if sys.version_info < (3, 11):
    sys.exit("Riverrun needs Python 3.11 or later, and " + sys.executable + " is " + sys.version.split()[0])
sys.path[:] = [place for place in sys.path if place]
lent, expected = sys.argv.pop(1), sys.argv.pop(1)
if lent:
    sys.path.append(lent)
try:
    import riverrun
except ImportError as error:
    sys.exit("the riverrun package cannot be imported by " + sys.executable + ": " + str(error))
found = getattr(riverrun, "__version__", "unknown")
if found != expected:
    sys.exit("the installed riverrun package (" + str(getattr(riverrun, "__file__", "?")) + ") is version " + found
             + ", and this worker is " + expected + ": install riverrun==" + expected + ", or uninstall it to use the built-in one")
from riverrun._child import main
main()
"#;

/// Names a child within its supervisor; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChildId(pub u64);

/// What a child did.
#[derive(Debug)]
pub(crate) enum ChildEvent {
    /// It said something.
    Message(FromChild),
    /// It, or something it started, wrote to a descriptor.
    Raw { stream: &'static str, bytes: Vec<u8> },
    /// It has ended, and everything it said before has been delivered. `how` is a predicate: `ended with exit status 3`.
    Exited { how: String },
}

/// What to do to a child.
#[derive(Debug)]
enum Order {
    Send(ToChild),
    Kill,
}

/// A running child. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct ChildHandle {
    /// No more waits in it than the child was given to execute, and a few words about each.
    orders: mpsc::UnboundedSender<Order>,
    pub pid: u32,
}

impl ChildHandle {
    /// Sends a message. A child that has gone reports that by itself.
    pub fn send(&self, message: ToChild) {
        let _ = self.orders.send(Order::Send(message));
    }

    /// Kills it and everything it started.
    pub fn kill(&self) {
        let _ = self.orders.send(Order::Kill);
    }
}

/// Starts a child. Its task lives in `tasks` and reports to `events`.
pub(crate) fn start(
    config: &Config,
    id: ChildId,
    events: mpsc::Sender<(ChildId, ChildEvent)>,
    tasks: &mut JoinSet<()>,
) -> io::Result<ChildHandle> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let socket = UnixStream::from_std(ours)?;
    let mut process = command(config).stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
    let missing = || io::Error::other("a new process has no id or no pipes");
    let pid = process.id().ok_or_else(missing)?;
    let stdout = process.stdout.take().ok_or_else(missing)?;
    let stderr = process.stderr.take().ok_or_else(missing)?;
    let (orders, received) = mpsc::unbounded_channel();
    let task = ChildTask {
        id,
        process,
        group: i32::try_from(pid).ok().and_then(Pid::from_raw),
        socket,
        input: BytesMut::new(),
        stdout: Pipe { name: "stdout", end: Some(stdout) },
        stderr: Pipe { name: "stderr", end: Some(stderr) },
        events,
        killed: false,
    };
    tasks.spawn(task.run(received));
    Ok(ChildHandle { orders, pid })
}

fn command(config: &Config) -> Command {
    let mut command = Command::new(&config.python);
    let lent = config.python_path.clone().map_or_else(OsString::new, OsString::from);
    command
        .args(["-c", BOOTSTRAP])
        .arg(lent)
        .arg(env!("CARGO_PKG_VERSION"))
        .arg(&config.functions)
        .arg(format!("--max-output-bytes={}", config.max_output_bytes))
        .arg(format!("--max-result-bytes={}", config.max_result_bytes))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

struct ChildTask {
    id: ChildId,
    process: Child,
    /// The group it leads; used only as long as the child has not been reaped, so that the number is still its own.
    group: Option<Pid>,
    socket: UnixStream,
    input: BytesMut,
    stdout: Pipe<tokio::process::ChildStdout>,
    stderr: Pipe<tokio::process::ChildStderr>,
    events: mpsc::Sender<(ChildId, ChildEvent)>,
    /// It was killed from here.
    killed: bool,
}

impl ChildTask {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let status = loop {
            // The pipes come before the socket, so that what an attempt wrote is read before its outcome.
            tokio::select! {
                biased;
                order = orders.recv() => {
                    if !self.obey(order, &mut orders).await {
                        break self.process.wait().await;
                    }
                }
                bytes = self.stdout.read() => self.raw("stdout", bytes).await,
                bytes = self.stderr.read() => self.raw("stderr", bytes).await,
                read = self.socket.read_buf(&mut self.input) => {
                    if !matches!(read, Ok(1..)) || !self.deliver().await {
                        // It closed its socket or talks nonsense: it is of no more use, however alive.
                        let ended = tokio::time::timeout(LAST_WORDS, self.process.wait()).await;
                        self.kill();
                        break if let Ok(status) = ended {
                            status
                        } else {
                            self.killed = true;
                            self.process.wait().await
                        };
                    }
                }
                status = self.process.wait() => break status,
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, self.drain()).await;
        let how = match status {
            // Who killed it is known: no want of memory.
            Ok(status) if self.killed && status.signal() == Some(9) => "was killed by its worker".to_owned(),
            Ok(status) => describe(status),
            Err(error) => error.to_string(),
        };
        self.tell(ChildEvent::Exited { how }).await;
    }

    /// Carries out an order and those that wait behind it. False when the supervisor has let go of the child.
    async fn obey(&mut self, order: Option<Order>, orders: &mut mpsc::UnboundedReceiver<Order>) -> bool {
        let Some(mut order) = order else {
            let _ = tokio::time::timeout(LAST_WORDS, self.process.wait()).await;
            self.kill();
            return false;
        };
        // What is at hand is sent by one write.
        let mut messages = Vec::new();
        let kill = loop {
            match order {
                Order::Send(message) => messages.push(message),
                Order::Kill => break true,
            }
            match orders.try_recv() {
                Ok(next) => order = next,
                Err(_) => break false,
            }
        };
        if kill {
            self.killed = true;
            self.kill();
        } else {
            self.send(&messages).await;
        }
        true
    }

    async fn send(&mut self, messages: &[ToChild]) {
        let mut bytes = BytesMut::new();
        let sent = match frame::encode_within(messages, MAX_FRAME, &mut bytes) {
            Ok(()) => self.socket.write_all(&bytes).await,
            Err(error) => Err(error.into()),
        };
        let look = |message: &ToChild| matches!(message, ToChild::Stop { .. } | ToChild::GiveBack {});
        if sent.is_err() {
            self.kill();
        } else if messages.iter().any(look)
            && let Some(pid) = self.own_pid()
        {
            let _ = kill_process(pid, Signal::USR1);
        }
    }

    fn own_pid(&self) -> Option<Pid> {
        self.process.id().and(self.group)
    }

    fn kill(&mut self) {
        if let Some(group) = self.own_pid() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.process.start_kill();
    }

    /// Delivers what is complete. False if it is no frame of messages.
    async fn deliver(&mut self) -> bool {
        loop {
            match frame::decode::<FromChild>(&mut self.input, MAX_FRAME) {
                Ok(Some(messages)) => {
                    for message in messages {
                        self.tell(ChildEvent::Message(message)).await;
                    }
                }
                Ok(None) => return true,
                Err(error) => {
                    tracing::error!(pid = self.process.id(), %error, "a child sent what is no message; it is killed");
                    return false;
                }
            }
        }
    }

    /// Reads what is left after the end of the process: its last words tell why.
    async fn drain(&mut self) {
        if let Some(group) = self.group {
            // The child is reaped; what it started may live on in its group and hold the pipes open.
            let _ = kill_process_group(group, Signal::KILL);
        }
        while self.stdout.end.is_some() {
            let bytes = self.stdout.read().await;
            self.raw("stdout", bytes).await;
        }
        while self.stderr.end.is_some() {
            let bytes = self.stderr.read().await;
            self.raw("stderr", bytes).await;
        }
        while matches!(self.socket.read_buf(&mut self.input).await, Ok(1..)) {}
        self.deliver().await;
    }

    async fn raw(&mut self, stream: &'static str, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.tell(ChildEvent::Raw { stream, bytes }).await;
        }
    }

    async fn tell(&mut self, event: ChildEvent) {
        // Nobody listens any more only when the supervisor itself is gone.
        let _ = self.events.send((self.id, event)).await;
    }
}

/// One end of a pipe, until it is closed.
struct Pipe<R> {
    name: &'static str,
    end: Option<R>,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    /// The next bytes; none when the pipe has just been closed. Never resolves on a closed one. Cancel-safe.
    async fn read(&mut self) -> Vec<u8> {
        let Some(end) = &mut self.end else {
            return std::future::pending().await;
        };
        let mut bytes = Vec::with_capacity(8192);
        match end.read_buf(&mut bytes).await {
            Ok(1..) => {}
            Ok(0) => self.end = None,
            Err(error) => {
                tracing::warn!(pipe = self.name, %error, "cannot read a child's output");
                self.end = None;
            }
        }
        bytes
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => match signal_name(signal) {
            Some(name) => format!("was killed by signal {signal} ({name})"),
            None => format!("was killed by signal {signal}"),
        },
        (None, Some(code)) => format!("ended with exit status {code}"),
        (None, None) => "ended".to_owned(),
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL, perhaps for want of memory",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        _ => return None,
    })
}
