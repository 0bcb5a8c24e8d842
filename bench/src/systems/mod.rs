//! What is measured: Riverrun and its peers, each started anew for a workload and ended after it.

pub mod dbos;
pub mod program;
pub mod redis;
pub mod restate;
pub mod riverrun;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::process::{Process, Usage};

/// A system that runs and takes requests over HTTP.
#[derive(Debug)]
pub struct Stand {
    /// Where it takes requests.
    pub address: SocketAddr,
    /// What keeps the state.
    pub engine: Process,
    /// What executes the steps.
    pub worker: Option<Process>,
}

/// What engine and worker have used.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// The engine.
    pub engine: Usage,
    /// The worker.
    pub worker: Usage,
}

impl Stand {
    /// What its processes have used so far.
    pub fn used(&self) -> Used {
        let worker = self.worker.as_ref().map(Process::usage).unwrap_or_default();
        Used { engine: self.engine.usage(), worker }
    }
}

impl Used {
    /// What was used since `before`.
    pub fn since(self, before: Used) -> Used {
        Used { engine: self.engine.since(before.engine), worker: self.worker.since(before.worker) }
    }
}

/// An address of this machine that nobody listens on.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
