//! `riverrun runs attach`: follow a run that was started before, and serve its functions if nobody else does.

use std::path::PathBuf;

use crate::args::RunsAttach;
use crate::data_dir::Folders;
use crate::error::CliError;
use crate::executor::Executor;
use crate::exit::Exit;
use crate::follow::{Followed, finish, follow};
use crate::house::{self, Session};
use crate::input;
use crate::printer::Printer;

/// Follows a run to its end and prints its output.
pub async fn attach(printer: &Printer, args: RunsAttach) -> Result<Exit, CliError> {
    if args.target.server.is_none() && !args.target.data.is_dir() {
        // The same error as for every command that only looks.
        return Session::reach(printer, &args.target).await.map(|_| Exit::Ok);
    }
    house::work(
        printer,
        &args.target,
        &args.node,
        || true,
        async |session| serve_and_follow(printer, &args, session).await,
    )
    .await
}

async fn serve_and_follow(printer: &Printer, args: &RunsAttach, session: &Session) -> Result<Exit, CliError> {
    let id = input::run_id(&args.run, &args.target)?;
    let run = session.client.run(id).await?;
    if run.item.state.is_closed() {
        return finish(printer, session, Followed::Closed(Box::new(run)), id, "");
    }
    let mut executor = match functions(args, session, &run.item.definition) {
        Some(folder) => Some(
            Executor::start(
                printer,
                &session.client,
                &args.code,
                &folder,
                session.data.as_deref(),
                session.takes_workers_along(),
                true,
            )
            .await?,
        ),
        None => None,
    };
    let done = tokio::select! {
        followed = follow(printer, session, id, args.wait.wait) => followed,
        error = Executor::gave_up(&mut executor) => Err(error),
    };
    if let Some(executor) = executor {
        executor.stop().await;
    }
    finish(printer, session, done?, id, &functions_option(args))
}

/// How to name the folder again, where it was named.
fn functions_option(args: &RunsAttach) -> String {
    args.functions.as_ref().map(|folder| format!(" --functions {}", folder.display())).unwrap_or_default()
}

/// The folder that was named, or the one that `run` used on this data directory.
fn functions(args: &RunsAttach, session: &Session, definition: &str) -> Option<PathBuf> {
    if args.functions.is_some() || !session.is_own() {
        return args.functions.clone();
    }
    let data = session.data.as_deref()?;
    Folders::of(data, definition).filter(|folder| folder.exists())
}
