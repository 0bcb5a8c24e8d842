//! `riverrun backup`: everything as it is at one moment, in a directory of its own.

use riverrun_store::{Backup, Manifest};

use crate::args;
use crate::commands::store::must_exist;
use crate::error::CliError;
use crate::exit::Exit;
use crate::house::Session;
use crate::node::{self, NodeError};
use crate::printer::{Printer, good};

/// Makes one: by the server that was named, by the one that holds the directory, or directly where nobody does.
pub async fn backup(printer: &Printer, args: args::Backup) -> Result<Exit, CliError> {
    if args.target.server.is_none() {
        must_exist(&args.target.data)?;
    }
    let backup = Backup::begin(&args.dest).map_err(|error| node::store_error(error).into_cli())?;
    let manifest = if direct(&args, &backup)? {
        complete(backup, None)?
    } else {
        let session = Session::reach(printer, &args.target).await?;
        let made = session.client.backup(&backup.part()).await;
        session.leave().await;
        complete(backup, Some(&made?))?
    };
    if printer.is_json() {
        printer.json(&manifest);
    } else {
        let Manifest { bytes, sha256, .. } = manifest;
        let dest = args.dest.display();
        printer.text(&format!("{}  {bytes} bytes in {dest}, SHA-256 {sha256}", good("backed up")));
    }
    Ok(Exit::Ok)
}

/// Copies the store, unless a server is asked for or holds the directory.
fn direct(args: &args::Backup, backup: &Backup) -> Result<bool, CliError> {
    if args.target.server.is_some() {
        return Ok(false);
    }
    match node::open_store(&args.target.data) {
        Ok(store) => {
            store.copy_into(&backup.part()).map_err(|error| node::store_error(error).into_cli())?;
            Ok(true)
        }
        Err(NodeError::Locked(_)) => Ok(false),
        Err(NodeError::Other(error)) => Err(error),
    }
}

fn complete(backup: Backup, expected: Option<&Manifest>) -> Result<Manifest, CliError> {
    backup.complete(expected).map_err(|error| {
        CliError::failed(
            format!("the backup was not completed: {error}"),
            "try again; what is there is no backup",
        )
    })
}
