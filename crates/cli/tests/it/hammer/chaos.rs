//! A server, two workers with Python children and one in Rust, and whoever of them is killed next.

use std::fs::{File, OpenOptions};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::history::History;
use super::{Dice, code};
use crate::support::{House, free_port, until};

/// After so many kills there is a calm.
const STORM: u32 = 32;
/// Longer than the server's lease: an attempt whose worker died together with the server is free a lease after the next start, and never
/// where no server lives for as long as that.
const CALM: Duration = Duration::from_secs(7);

/// The processes, and the dice that say who dies.
pub struct Chaos<'a> {
    house: &'a House,
    history: &'a History,
    dice: Dice,
    url: String,
    server: Child,
    workers: Vec<Child>,
    coder: Child,
    kills: u32,
}

impl<'a> Chaos<'a> {
    pub fn begin(house: &'a House, history: &'a History, dice: Dice) -> Self {
        let url = format!("http://127.0.0.1:{}", free_port());
        let server = start_server(house, &url);
        let workers = (0..2).map(|_| start_worker(house, &url)).collect();
        let coder = start_coder(house, &url);
        Chaos { house, history, dice, url, server, workers, coder, kills: 0 }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Lets some time go by and kills somebody, who is replaced at once.
    pub fn strike(&mut self) {
        let calm = if self.kills % STORM == STORM - 1 { CALM } else { Duration::ZERO };
        std::thread::sleep(calm + Duration::from_millis(100 + self.dice.below(1_000)));
        self.expect_running();
        self.kills += 1;
        match self.dice.below(10) {
            0..=1 => {
                kill(self.history, "server", &mut self.server);
                self.server = start_server(self.house, &self.url);
            }
            8 => {
                kill(self.history, "coder", &mut self.coder);
                self.coder = start_coder(self.house, &self.url);
            }
            9 => {
                kill(self.history, "coder", &mut self.coder);
                kill(self.history, "server", &mut self.server);
                self.server = start_server(self.house, &self.url);
                self.coder = start_coder(self.house, &self.url);
            }
            2..=3 => {
                let chosen = self.dice.below(2) as usize;
                kill(self.history, "supervisor", &mut self.workers[chosen]);
                self.workers[chosen] = start_worker(self.house, &self.url);
            }
            4 => {
                // Both sides of a connection at once.
                let chosen = self.dice.below(2) as usize;
                kill(self.history, "supervisor", &mut self.workers[chosen]);
                kill(self.history, "server", &mut self.server);
                self.server = start_server(self.house, &self.url);
                self.workers[chosen] = start_worker(self.house, &self.url);
            }
            _ => {
                let chosen = self.dice.below(2) as usize;
                let children = children_of(self.workers[chosen].id());
                // A worker whose first child dies before it has found any functions ends, and says so.
                if children.len() > 1 {
                    let child = children[self.dice.below(children.len() as u64) as usize];
                    self.history.note("kill", "child");
                    // It may have ended by itself.
                    let _ = Command::new("kill").args(["-KILL", &child.to_string()]).output();
                    self.history.note("killed", "child");
                }
            }
        }
    }

    /// Ends everything gently. How often somebody was killed.
    pub fn end(mut self) -> u32 {
        self.expect_running();
        for child in self.workers.iter_mut().chain([&mut self.coder, &mut self.server]) {
            crate::support::signal(child.id(), "TERM");
            let status = child.wait().expect("it ends");
            assert!(status.success(), "after SIGTERM: {status}");
        }
        self.kills
    }

    /// Nobody ends but by being killed.
    fn expect_running(&mut self) {
        let named = self.workers.iter_mut().map(|child| ("worker", child));
        for (name, child) in named.chain([("coder", &mut self.coder), ("server", &mut self.server)]) {
            if let Some(status) = child.try_wait().expect("its state is known") {
                let log =
                    std::fs::read_to_string(self.house.path(&format!("{name}.log"))).unwrap_or_default();
                let from = log.len().saturating_sub(4000);
                panic!("a {name} ended by itself with {status}: {}", &log[log.ceil_char_boundary(from)..]);
            }
        }
    }
}

impl Drop for Chaos<'_> {
    fn drop(&mut self) {
        for child in self.workers.iter_mut().chain([&mut self.coder, &mut self.server]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn kill(history: &History, who: &str, child: &mut Child) {
    history.note("kill", who);
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    history.note("killed", who);
}

fn log(house: &House, name: &str) -> File {
    let path = house.path(&format!("{name}.log"));
    OpenOptions::new().append(true).create(true).open(path).expect("a log")
}

fn start(house: &House, name: &str, args: &[&str]) -> Child {
    let log = log(house, name);
    let mut command = house.command(args);
    command.stdout(Stdio::null()).stderr(log).spawn().expect("the binary starts")
}

fn start_server(house: &House, url: &str) -> Child {
    let listen = url.strip_prefix("http://").expect("a server's address");
    let args = ["server", "--listen", listen, "--lease", "5s", "--reconnect-grace", "1s"];
    let mut server = start(house, "server", &args);
    until("the server answers", || {
        let ended = server.try_wait().expect("its state is known");
        assert!(
            ended.is_none(),
            "the server does not start again: {ended:?}, see {}",
            house.path("server.log").display()
        );
        std::net::TcpStream::connect(listen).is_ok().then_some(())
    });
    server
}

fn start_worker(house: &House, url: &str) -> Child {
    start(house, "worker", &["worker", "functions", "--server", url, "--concurrency", "4"])
}

fn start_coder(house: &House, url: &str) -> Child {
    code::start_worker(url, &house.path("history"), log(house, "coder")).expect("a worker")
}

/// The children of a supervisor that execute functions, or are about to.
fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("a system with /proc");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let executes = String::from_utf8_lossy(&command).contains("riverrun._child");
        executes && after_name.split(' ').nth(1) == Some(&parent.to_string())
    };
    pids.filter(is_child).collect()
}
