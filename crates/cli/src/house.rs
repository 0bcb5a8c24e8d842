//! The way to a server: the one that was named, the one that holds the data directory, or one in this process.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use riverrun_kernel::RunId;

use crate::args::{self, Target};
use crate::client::{Client, is_gone};
use crate::config;
use crate::data_dir::{self, ServerFile};
use crate::error::CliError;
use crate::exit::Exit;
use crate::follow::Follower;
use crate::node::{Node, NodeError, Setup};
use crate::printer::Printer;
use crate::token;

/// How long a data directory may be in somebody's hands who does not answer: a server starts or stops just now.
const HANDOVER: Duration = Duration::from_secs(10);

/// A server to talk to, and the one in this process if it is that.
pub struct Session {
    /// Talks to it.
    pub client: Client,
    /// The data directory, unless the server was named by its address.
    pub data: Option<PathBuf>,
    own: Option<Node>,
    /// The server is another command's, and ends with it.
    is_passing: bool,
}

impl Session {
    /// Reaches a server for a command that needs existing data.
    pub async fn reach(printer: &Printer, target: &Target) -> Result<Session, CliError> {
        if target.server.is_none() && !target.data.is_dir() {
            return Err(CliError::failed(
                format!("there is no data directory {}", target.data.display()),
                "`riverrun run FILE` makes one; or name another with --data, or a server with --server",
            ));
        }
        Session::open(printer, target, &args::Node::standard()).await
    }

    /// Reaches a server; makes the data directory where there is none.
    pub async fn open(printer: &Printer, target: &Target, node: &args::Node) -> Result<Session, CliError> {
        if let Some(url) = &target.server {
            let token = token::for_client(target.token_file.as_deref(), None)?;
            let client = Client::new(url, token, &target.namespace)?.reached_by(target);
            return Ok(Session { client, data: None, own: None, is_passing: false });
        }
        data_dir::create(&target.data)?;
        let begun = Instant::now();
        loop {
            let locked = match Session::own(target, node).await {
                Ok(session) => return Ok(session),
                Err(NodeError::Locked(text)) => text,
                Err(NodeError::Other(error)) => return Err(error),
            };
            if let Some(session) = Session::holder(printer, target).await? {
                return Ok(session);
            }
            if begun.elapsed() > HANDOVER {
                return Err(CliError::unavailable(
                    format!("{locked}, and no server answers for it"),
                    "end the process that holds it, or give another directory with --data",
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Opens the store and serves it from this process, for this process.
    async fn own(target: &Target, node: &args::Node) -> Result<Session, NodeError> {
        let secret = token::make()?;
        let setup = Setup {
            data: &target.data,
            listen: "127.0.0.1:0",
            token: Some(secret.clone()),
            token_file: None,
            is_passing: true,
            allow_hosts: Vec::new(),
            config: config::read(node.config.as_deref())?,
            // The command's own worker announces what it has only after the server is up.
            accept_unknown_tasks: true,
            node: node.clone(),
            limits: args::Limits::standard(),
        };
        let own = Node::start(setup).await?;
        let client = Client::new(own.url(), Some(secret), &target.namespace)?.reached_by(target);
        Ok(Session { client, data: Some(target.data.clone()), own: Some(own), is_passing: false })
    }

    /// The server that holds the directory, if it answers.
    async fn holder(printer: &Printer, target: &Target) -> Result<Option<Session>, CliError> {
        let Some(file) = ServerFile::read(&target.data) else {
            return Ok(None);
        };
        if !Client::new(&file.url, None, &target.namespace)?.is(&file.instance).await {
            return Ok(None);
        }
        let token = token::for_client(target.token_file.as_deref(), file.token_file.as_deref())?;
        let client = Client::new(&file.url, token, &target.namespace)?.reached_by(target);
        if file.version != env!("CARGO_PKG_VERSION") {
            printer.note(&format!("{} is served by version {}", target.data.display(), file.version));
        }
        Ok(Some(Session { client, data: Some(target.data.clone()), own: None, is_passing: file.passing }))
    }

    /// Whether the server is in this process: nobody else serves functions for it.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Completes when the own server can no longer go on; never for another's.
    pub async fn broken(&self) -> CliError {
        match &self.own {
            Some(node) => node.broken().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until a run's journal has grown beyond an entry.
    pub async fn changed(&self, run: RunId, after: u64) -> Result<(), CliError> {
        Follower::from(&self.client, run, after).wake().await
    }

    /// Whether a worker that this command brings never outlives the server: it is in this process, too, or another command's, after
    /// whose end this one begins anew.
    pub fn takes_workers_along(&self) -> bool {
        self.is_own() || self.is_passing
    }

    /// Whether this error says that the other command, whose server this was, has ended: the data directory is free, or somebody
    /// else's by now.
    pub fn is_left(&self, error: &CliError) -> bool {
        self.is_passing && is_gone(error)
    }

    /// Stops the own server, in order.
    pub async fn leave(self) {
        if let Some(node) = self.own {
            node.stop().await;
        }
    }
}

/// Does something with a server that may be begun again, and leaves. When the server was another command's and has ended with it,
/// the work goes on with the next one, which is this process's own if nobody was faster. `can_go_on` says whether it may.
pub async fn work(
    printer: &Printer,
    target: &Target,
    node: &args::Node,
    can_go_on: impl Fn() -> bool,
    work: impl AsyncFn(&Session) -> Result<Exit, CliError>,
) -> Result<Exit, CliError> {
    loop {
        let session = Session::open(printer, target, node).await?;
        let done = tokio::select! {
            done = work(&session) => done,
            error = session.broken() => return Err(error),
        };
        let goes_on = matches!(&done, Err(error) if session.is_left(error)) && can_go_on();
        session.leave().await;
        if !goes_on {
            return done;
        }
        printer.note(&format!(
            "the command that served {} has ended; the run goes on from here",
            target.data.display()
        ));
    }
}

/// Reaches a server, does something with it, and leaves.
pub async fn with(
    printer: &Printer,
    target: &Target,
    work: impl AsyncFnOnce(&Session) -> Result<Exit, CliError>,
) -> Result<Exit, CliError> {
    let session = Session::reach(printer, target).await?;
    let done = work(&session).await;
    session.leave().await;
    done
}
