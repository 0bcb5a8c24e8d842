//! `riverrun store`: examine a data directory, and go on after damage.

use std::path::Path;

use riverrun_store::{EmbeddedStore, Repaired, Store};
use serde_json::json;

use crate::args::{StoreCommand, StoreRepair, StoreVerify};
use crate::error::CliError;
use crate::exit::Exit;
use crate::node;
use crate::printer::{Printer, bad, care, good};

/// Does one of the commands. The directory must not be in use: what is written meanwhile would look like damage.
pub fn store(printer: &Printer, command: StoreCommand) -> Result<Exit, CliError> {
    match command {
        StoreCommand::Verify(args) => verify(printer, &args),
        StoreCommand::Repair(args) => repair(printer, &args),
    }
}

fn verify(printer: &Printer, args: &StoreVerify) -> Result<Exit, CliError> {
    must_exist(&args.data)?;
    let store = node::open_store(&args.data).map_err(node::NodeError::into_cli)?;
    let found = store.verify().map_err(|error| node::store_error(error).into_cli())?;
    if printer.is_json() {
        printer.json(&json!({
            "runs": found.runs,
            "journal": found.journal,
            "keys": found.keys,
            "blobs": found.blobs,
            "batches": found.batches,
        }));
    } else {
        printer.text(&format!(
            "{}  {} runs, {} journal entries, {} keys and {} large values in rows, {} batches in the log",
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

fn repair(printer: &Printer, args: &StoreRepair) -> Result<Exit, CliError> {
    must_exist(&args.data)?;
    let found = EmbeddedStore::repair(&args.data, args.accept_loss)
        .map_err(|error| node::store_error(error).into_cli())?;
    let whole = found.iter().all(Repaired::is_whole);
    if printer.is_json() {
        printer.json(&found.iter().map(as_json).collect::<Vec<_>>());
    } else if whole {
        printer.text(&format!("{}  nothing is missing, nothing was changed", good("in order")));
    } else {
        for damaged in found.iter().filter(|one| !one.is_whole()) {
            printer.text(&tell(damaged));
        }
    }
    if whole || args.accept_loss {
        return Ok(Exit::Ok);
    }
    Err(CliError::failed(
        format!("{} has lost what it had acknowledged", args.data.display()),
        "put a backup in its place, or go on without what is missing: the same command with --accept-loss",
    ))
}

fn must_exist(data: &Path) -> Result<(), CliError> {
    if data.is_dir() {
        return Ok(());
    }
    Err(CliError::usage(format!("there is no data directory {}", data.display()), "check the path"))
}

fn as_json(one: &Repaired) -> serde_json::Value {
    json!({
        "partition": one.partition,
        "good": one.good,
        "acknowledged": one.acknowledged,
        "cut_off": one.cut_off,
        "touched": one.touched,
        "accepted": one.accepted,
    })
}

fn tell(one: &Repaired) -> String {
    let mut text = format!(
        "{}  partition {}: batch {} is the last that can be used; {} were acknowledged, and {} lie after the damage\n",
        if one.accepted { care("cut off") } else { bad("damaged") },
        one.partition.0,
        one.good,
        one.acknowledged,
        one.cut_off
    );
    if !one.touched.is_empty() {
        text.push_str(
            "these runs are older now than what was acknowledged; look at each before it goes on:\n",
        );
        let lines: Vec<_> = one.touched.iter().map(|run| format!("  {run}")).collect();
        text.push_str(&lines.join("\n"));
    }
    text
}
