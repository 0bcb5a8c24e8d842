//! A worker in this process, for as long as a command follows a run: the supervisor of the `worker` crate.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use riverrun_worker::{Config, OutputLine, Supervisor, WorkerError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::Code;
use crate::client::Client;
use crate::error::CliError;
use crate::printer::{Printer, dim};
use crate::python;
use crate::token;

/// How often the server is asked whether the worker is there.
const ASK: Duration = Duration::from_millis(15);

/// A worker that serves a folder from this process.
pub struct Executor {
    functions: BTreeSet<String>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
}

impl Executor {
    /// Starts one, and waits until the server knows its functions. `in_process`: it ends when the server does. `waited_for`: the command
    /// waits for a run that this worker executes, so it ends, with an error, when it can execute nothing any more.
    pub async fn start(
        printer: &Printer,
        client: &Client,
        code: &Code,
        folder: &Path,
        data: Option<&Path>,
        in_process: bool,
        waited_for: bool,
    ) -> Result<Executor, CliError> {
        let name = format!("run-{}-{}", std::process::id(), &token::make()?[..6]);
        let mut config = config(printer, client, code, folder, data)?;
        config.name = Some(name.clone());
        config.in_process = in_process;
        config.ends_without_children = waited_for;
        // The command ends, and nobody waits for what other runs have in execution: it is given back.
        config.drain_timeout = Duration::ZERO;
        let supervisor = Supervisor::new(config).map_err(describe)?;
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(supervisor.run(shutdown.clone()));
        let mut executor = Executor { functions: BTreeSet::new(), shutdown, task };
        executor.functions = executor.announced(client, &name).await?;
        Ok(executor)
    }

    /// What the server says that it has.
    async fn announced(&mut self, client: &Client, name: &str) -> Result<BTreeSet<String>, CliError> {
        loop {
            tokio::select! {
                ended = &mut self.task => return Err(reason(ended)),
                () = tokio::time::sleep(ASK) => {}
            }
            let workers = client.workers().await?;
            if let Some(worker) = workers.items.into_iter().find(|worker| worker.name == name) {
                return Ok(worker.functions.into_iter().collect());
            }
        }
    }

    /// The functions that it serves.
    pub fn functions(&self) -> BTreeSet<String> {
        self.functions.clone()
    }

    /// Completes when the supervisor gave up; never where there is none.
    pub async fn gave_up(executor: &mut Option<Executor>) -> CliError {
        match executor {
            Some(executor) => reason((&mut executor.task).await),
            None => std::future::pending().await,
        }
    }

    /// Says goodbye to the server and ends the children.
    pub async fn stop(self) {
        self.shutdown.cancel();
        if !self.task.is_finished() {
            let _ = self.task.await;
        }
    }
}

/// The settings of a supervisor of this folder, for the server that a client talks to.
pub fn config(
    printer: &Printer,
    client: &Client,
    code: &Code,
    folder: &Path,
    data: Option<&Path>,
) -> Result<Config, CliError> {
    let python = python::find(code.python.as_deref(), data)?;
    let mut config = Config::new(client.url(), folder);
    config.token = client.token().map(str::to_owned);
    client.namespace().clone_into(&mut config.namespace);
    config.python = python.program;
    config.python_path = python.package;
    config.slots = code.concurrency.unwrap_or(config.slots).max(1);
    let printer = printer.clone();
    config.show_output = Some(Arc::new(move |line: OutputLine<'_>| {
        printer.end_live();
        printer.note(&dim(&format!("{:>10} {} | {}", "", line.function, line.text)));
    }));
    Ok(config)
}

fn reason(ended: Result<Result<(), WorkerError>, tokio::task::JoinError>) -> CliError {
    match ended {
        Ok(Err(error)) => describe(error),
        Ok(Ok(())) => CliError::failed("the worker ended before the run did", "try again"),
        Err(error) => CliError::failed(format!("the worker ended: {error}"), "try again"),
    }
}

/// A supervisor's error with the step that comes next.
pub fn describe(error: WorkerError) -> CliError {
    let next = match &error {
        WorkerError::Address { .. } => "write the address as http://127.0.0.1:7733",
        WorkerError::Refused { code, .. } if code.contains("401") || code == "unauthorized" => {
            "give the server's token with --token-file or RIVERRUN_TOKEN"
        }
        WorkerError::Refused { .. } => "check that server and worker are of the same version",
        WorkerError::NoFunctions(_) => "check the path",
        WorkerError::Python { .. } => "install Python 3.11 or newer, or name one with --python",
        WorkerError::Twice(_) | WorkerError::NoWork => "check what the worker was given to execute",
        WorkerError::Start(_) => "mend what the message names, then try again",
    };
    CliError::failed(error.to_string(), next)
}
