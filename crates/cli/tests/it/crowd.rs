//! More connections than a process may have files by default, all of them idle.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::support::{House, free_port, request, until};

/// As many connections as the test opens, where it may: more than most systems allow a process by default.
const CROWD: usize = 3_000;

/// Soft and hard limit of open files of a process.
fn open_files(pid: &str) -> (usize, usize) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("a system with /proc");
    let line = text.lines().find(|line| line.starts_with("Max open files")).expect("the limit is there");
    let mut numbers = line.split_whitespace().skip(3).map(|word| word.parse().unwrap_or(usize::MAX));
    (numbers.next().expect("a soft limit"), numbers.next().expect("a hard limit"))
}

/// What a process has in memory, in KiB.
fn resident(pid: u32) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a system with /proc");
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).expect("it has memory");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// Ends with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn idle_connections_cost_little_and_shut_nobody_out() {
    let house = House::new();
    let listen = format!("127.0.0.1:{}", free_port());
    let server = house.command(&["server", "--listen", &listen]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -Sn 256 && exec \"$0\" \"$@\""])
        .arg(server.get_program())
        .args(server.get_args());
    limited.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Ending(limited.spawn().expect("it starts"));
    until("the server answers", || {
        assert!(process.0.try_wait().expect("its state is known").is_none(), "it ended");
        TcpStream::connect(&listen).is_ok().then_some(())
    });
    let (soft, hard) = open_files("self");
    let crowd = CROWD.min(soft.saturating_sub(500)).min(hard.saturating_sub(600));
    let pid = process.0.id();
    assert!(open_files(&pid.to_string()).0 > crowd, "the limit was raised");

    let before = resident(pid);
    let idle: Vec<TcpStream> =
        (0..crowd).map(|_| TcpStream::connect(&listen).expect("the server takes it")).collect();
    let files = || std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a system with /proc").count();
    until("the server has all of them", || (files() > crowd).then_some(()));
    let url = format!("http://{listen}");
    assert!(request(&url, "GET /v1/runs", &[], "").starts_with("HTTP/1.1 200"));
    let each = resident(pid).saturating_sub(before) / crowd.max(1);
    assert!(each < 64, "each connection costs {each} KiB");
    drop(idle);
    until("the server lets go of them", || (files() < 256).then_some(()));
}
