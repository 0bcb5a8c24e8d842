//! `riverrun store`: examine a data directory, and go on after damage.

use std::path::Path;

use riverrun_kernel::RunId;
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

/// Refuses a directory without a store, where opening it would make one.
pub fn must_exist(data: &Path) -> Result<(), CliError> {
    if EmbeddedStore::is_in(data) {
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
        "unknown": one.unknown,
        "suspended": one.suspended,
        "row_damaged": one.row_damaged,
        "identity_damaged": one.identity_damaged,
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
    if one.row_damaged {
        text.push_str("its own row is damaged, and was found out from its log\n");
    }
    if one.identity_damaged {
        text.push_str("the store's identity is damaged: with a new one, callback tokens that were given out are not accepted any more\n");
    }
    if one.unknown {
        text.push_str("some of what is lost cannot be read: any run that was open may have gone on in it\n");
    }
    let will = if one.accepted { "are suspended for repair" } else { "would be suspended for repair" };
    tell_runs(
        &mut text,
        &format!("these open runs {will}: look at each, then resume or cancel it"),
        &one.suspended,
    );
    let others: Vec<_> = one.touched.iter().filter(|run| !one.suspended.contains(run)).copied().collect();
    tell_runs(&mut text, "these runs began, ended or were changed in what is lost", &others);
    text.truncate(text.trim_end().len());
    text
}

fn tell_runs(text: &mut String, what: &str, runs: &[RunId]) {
    if !runs.is_empty() {
        text.extend([what, ":\n"]);
        text.extend(runs.iter().map(|run| format!("  {run}\n")));
    }
}
