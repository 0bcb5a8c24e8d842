//! The `riverrun` binary: durable runs on the command line.
//!
//! Every command that needs runs talks HTTP to a server: one that was named, the one that holds the data directory, or one that this
//! process starts for itself. So there is one way for everything, and what a command can do a program can do too. Only `check`,
//! `store`, `restore` and `sql` read files themselves.

mod args;
mod client;
mod commands;
mod config;
mod data_dir;
mod entries;
mod error;
mod excerpt;
mod executor;
mod exit;
mod flow_file;
mod follow;
mod house;
mod input;
mod node;
mod printer;
mod python;
mod show;
mod signals;
mod story;
mod time;
mod token;
mod values;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::error::CliError;
use crate::exit::Exit;
use crate::printer::Printer;

/// A step allocates some hundred times, on several threads; docs/design/performance.md has what it saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let printer = Printer::new(&cli.global);
    start_logging(&cli.command);
    let done = runtime(&cli.command)
        .map_err(|error| {
            CliError::failed(
                format!("this process gets no threads: {error}"),
                "raise the limits of the system",
            )
        })
        .and_then(|runtime| runtime.block_on(dispatch(&printer, cli.command)));
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            printer.error(&error);
            error.exit.into()
        }
    }
}

/// The threads of a command. A worker has one: what it does between a child and the server is short, and a message that changes threads on
/// its way costs more than everything else about it.
fn runtime(command: &Command) -> std::io::Result<Runtime> {
    match command {
        Command::Worker(_) => Builder::new_current_thread().enable_all().build(),
        _ => Runtime::new(),
    }
}

async fn dispatch(printer: &Printer, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Run(args) => commands::run::run(printer, *args).await,
        Command::Server(args) => commands::server::server(printer, args).await,
        Command::Worker(args) => commands::worker::worker(printer, args).await,
        Command::Dev(args) => commands::dev::dev(printer, args).await,
        Command::Deploy(args) => commands::deploy::deploy(printer, args).await,
        Command::Definitions(command) => commands::definitions::definitions(printer, command).await,
        Command::Check(args) => commands::check::check(printer, &args),
        Command::Test(args) => commands::test::test(printer, &args),
        Command::Graph(args) => commands::graph::graph(printer, &args),
        Command::Runs(command) => commands::runs::runs(printer, command).await,
        Command::Keys(command) => commands::keys::keys(printer, command).await,
        Command::Schedule(command) => commands::schedule::schedule(printer, command).await,
        Command::Queue(command) => commands::queue::queue(printer, command).await,
        Command::Workers(args) => commands::workers::workers(printer, args).await,
        Command::Store(command) => commands::store::store(printer, command),
        Command::Backup(args) => commands::backup::backup(printer, args).await,
        Command::Restore(args) => commands::restore::restore(printer, &args),
        Command::Sql(args) => commands::sql::sql(printer, args).await,
    }
}

/// Logs go to stderr: what `RIVERRUN_LOG` asks for, else what a person who runs the command wants to see.
fn start_logging(command: &Command) {
    let standard = match command {
        Command::Server(_) | Command::Worker(_) => "info",
        _ => "warn",
    };
    let filter = EnvFilter::try_from_env("RIVERRUN_LOG").unwrap_or_else(|_| EnvFilter::new(standard));
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::env::var("RIVERRUN_LOG_FORMAT").is_ok_and(|format| format == "json") {
        logs.json().init();
    } else {
        logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
}
