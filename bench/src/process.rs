//! Processes that are measured: started in groups of their own, watched through `/proc`, ended with everything that they started.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Ticks of `/proc/PID/stat` in a second: fixed by Linux for what programs see.
const TICKS: f64 = 100.0;

/// What a process and its descendants have used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor time, in seconds.
    pub cpu: f64,
    /// Bytes handed to the disk.
    pub written: u64,
    /// Resident memory now, in bytes.
    pub resident: u64,
    /// The most resident memory so far, in bytes.
    pub peak: u64,
}

/// A process that ends with the benchmark.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it; what it says goes to a file.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Process> {
        let log = File::options().create(true).append(true).open(log)?;
        command.stderr(Stdio::from(log.try_clone()?)).process_group(0);
        Ok(Process { child: command.spawn()? })
    }

    /// Its standard input and output, where it was started with pipes.
    pub fn pipes(&mut self) -> Option<(std::process::ChildStdin, std::process::ChildStdout)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?))
    }

    /// What it has used.
    pub fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for pid in family(self.child.id()) {
            let one = usage(pid);
            sum.cpu += one.cpu;
            sum.written += one.written;
            sum.resident += one.resident;
            sum.peak += one.peak;
        }
        sum
    }

    /// Ends it at once, and everything that it started.
    pub fn kill(&mut self) {
        if let Some(group) = self.pid() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits until it has.
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(pid) = self.pid() {
            kill_process(pid, Signal::TERM)?;
        }
        self.child.wait()
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).ok()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Usage {
    /// What was used since `before`; memory is as it is now.
    pub fn since(self, before: Usage) -> Usage {
        Usage { cpu: self.cpu - before.cpu, written: self.written.saturating_sub(before.written), ..self }
    }
}

/// The processor time of this process, in seconds.
pub fn own_cpu() -> f64 {
    usage(std::process::id()).cpu
}

/// A process and its descendants.
fn family(root: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        if !found.insert(pid) {
            continue;
        }
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            open.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    found
}

fn usage(pid: u32) -> Usage {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let stat = read("stat");
    // The name, in brackets, may hold anything; user, system, and the same of reaped children stand 12th to 15th after it.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(4).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    let number = |text: &str, name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    let status = read("status");
    Usage {
        cpu: ticks / TICKS,
        written: number(&read("io"), "write_bytes:"),
        resident: number(&status, "VmRSS:") << 10,
        peak: number(&status, "VmHWM:") << 10,
    }
}
