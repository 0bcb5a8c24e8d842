//! `riverrun restore`: a data directory from a backup.

use riverrun_store::{EmbeddedStore, StoreError};
use serde_json::json;

use crate::args::Restore;
use crate::error::CliError;
use crate::exit::Exit;
use crate::node;
use crate::printer::{Printer, good};

/// Makes the directory, once everything in the backup was read and found to be in order.
pub fn restore(printer: &Printer, args: &Restore) -> Result<Exit, CliError> {
    if !args.source.is_dir() {
        let text = format!("there is no directory {}", args.source.display());
        return Err(CliError::usage(text, "name one that `riverrun backup` made"));
    }
    let (manifest, found) =
        EmbeddedStore::restore(&args.source, &args.data).map_err(|error| match error {
            StoreError::Corrupt(text) => {
                CliError::failed(format!("nothing was restored: {text}"), "take another backup")
            }
            other => node::store_error(other).into_cli(),
        })?;
    if printer.is_json() {
        printer.json(&json!({ "manifest": manifest, "runs": found.runs, "keys": found.keys, "batches": found.batches }));
    } else {
        let data = args.data.display();
        printer.text(&format!(
            "{}  {data}: {} runs and {} keys in rows, {} batches in the log",
            good("restored"),
            found.runs,
            found.keys,
            found.batches
        ));
        printer.note(&format!(
            "what was done after the backup is not known there, and is done again when `riverrun server --data {data}` starts"
        ));
    }
    Ok(Exit::Ok)
}
