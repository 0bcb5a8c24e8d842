//! `riverrun store`: examine a data directory.

use riverrun_store::Store;
use serde_json::json;

use crate::args::{StoreCommand, StoreVerify};
use crate::error::CliError;
use crate::exit::Exit;
use crate::node;
use crate::printer::{Printer, good};

/// Does one of the commands.
pub fn store(printer: &Printer, command: StoreCommand) -> Result<Exit, CliError> {
    match command {
        StoreCommand::Verify(args) => verify(printer, &args),
    }
}

/// Reads everything. The directory must not be in use: what is written meanwhile would look like damage.
fn verify(printer: &Printer, args: &StoreVerify) -> Result<Exit, CliError> {
    if !args.data.is_dir() {
        return Err(CliError::usage(
            format!("there is no data directory {}", args.data.display()),
            "check the path",
        ));
    }
    let store = node::open_store(&args.data).map_err(node::NodeError::into_cli)?;
    let found = store
        .verify()
        .map_err(|error| node::store_error(error).into_cli())?;
    if printer.is_json() {
        printer.json(&json!({
            "batches": found.batches, "runs": found.runs, "journal": found.journal, "keys": found.keys, "blobs": found.blobs,
        }));
    } else {
        printer.text(&format!(
            "{}  {} runs, {} journal entries, {} keys, {} large values, {} batches in the log",
            good("in order"),
            found.runs,
            found.journal,
            found.keys,
            found.blobs,
            found.batches
        ));
    }
    Ok(Exit::Ok)
}
