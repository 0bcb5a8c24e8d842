//! `riverrun server`: serve a data directory until told to stop.

use crate::args::Server;
use crate::config;
use crate::data_dir;
use crate::error::CliError;
use crate::exit::Exit;
use crate::node::{Node, NodeError, Setup};
use crate::printer::{Printer, bold};
use crate::signals;
use crate::token;

/// Serves until SIGTERM or Ctrl-C, then hands everything over to the disk and ends with 0.
pub async fn server(printer: &Printer, args: Server) -> Result<Exit, CliError> {
    let token = token::for_server(args.token_file.as_deref())?;
    data_dir::create(&args.data)?;
    let setup = Setup {
        data: &args.data,
        listen: &args.listen,
        token,
        token_file: args.token_file.clone(),
        is_passing: false,
        allow_hosts: args.allow_hosts.clone(),
        config: config::read(args.node.config.as_deref())?,
        accept_unknown_tasks: args.accept_unknown_tasks,
        node: args.node.clone(),
        limits: args.limits.clone(),
    };
    let node = Node::start(setup).await.map_err(NodeError::into_cli)?;
    printer.note(&format!("serves {} at {}", args.data.display(), bold(node.url())));
    tokio::select! {
        () = signals::end_requested() => {}
        error = node.broken() => return Err(error),
    }
    printer.note("stops: takes no new work, writes a checkpoint");
    node.stop().await;
    Ok(Exit::Ok)
}
