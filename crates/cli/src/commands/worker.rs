//! `riverrun worker`: execute the functions of a folder until told to stop.

use riverrun_worker::Supervisor;
use tokio_util::sync::CancellationToken;

use crate::args::Worker;
use crate::client::Client;
use crate::data_dir::ServerFile;
use crate::error::CliError;
use crate::executor::{config, describe};
use crate::exit::Exit;
use crate::printer::Printer;
use crate::signals;
use crate::token;

/// Serves until SIGTERM or Ctrl-C, then finishes what it executes and goes.
pub async fn worker(printer: &Printer, args: Worker) -> Result<Exit, CliError> {
    let client = server(&args).await?;
    let mut config = config(printer, &client, &args.code, &args.folder, None)?;
    config.name = args.name;
    config.queues = args.queues;
    let supervisor = Supervisor::new(config).map_err(describe)?;
    printer.note(&format!("executes the functions of {} for {}", args.folder.display(), client.url()));
    let shutdown = CancellationToken::new();
    let running = supervisor.run(shutdown.clone());
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended.map(|()| Exit::Ok).map_err(describe),
        () = signals::end_requested() => {
            printer.note("takes nothing more, and finishes what it executes; once more to end at once");
            shutdown.cancel();
        }
    }
    tokio::select! {
        ended = running => ended.map(|()| Exit::Ok).map_err(describe),
        () = signals::end_requested() => Ok(Exit::Interrupted),
    }
}

/// The server to work for: a worker never opens a data directory itself.
async fn server(args: &Worker) -> Result<Client, CliError> {
    let target = &args.target;
    if let Some(url) = &target.server {
        let token = token::for_client(target.token_file.as_deref(), None)?;
        return Ok(Client::new(url, token, &target.namespace)?.reached_by(target));
    }
    if let Some(file) = ServerFile::read(&target.data)
        && Client::new(&file.url, None, &target.namespace)?.is(&file.instance).await
    {
        let token = token::for_client(target.token_file.as_deref(), file.token_file.as_deref())?;
        return Ok(Client::new(&file.url, token, &target.namespace)?.reached_by(target));
    }
    Err(CliError::usage(
        format!(
            "there is no server to work for: none was named, and nobody serves {}",
            target.data.display()
        ),
        "name one with --server http://127.0.0.1:7733, or start one with `riverrun server`",
    ))
}
