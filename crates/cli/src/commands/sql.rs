//! `riverrun sql`: questions in SQL, on rows that are up to date.

use std::io::Read;

use riverrun_store::{EmbeddedStore, QueryError};
use serde_json::{Map, Value};

use crate::args::{Sql, Target};
use crate::commands::store::must_exist;
use crate::error::CliError;
use crate::exit::Exit;
use crate::house::Session;
use crate::node;
use crate::printer::{Printer, table};

/// Has a checkpoint written, so that the rows hold everything, and answers from them.
pub async fn sql(printer: &Printer, args: Sql) -> Result<Exit, CliError> {
    must_exist(&args.data)?;
    let text = text(&args.query)?;
    let target = Target {
        server: None,
        data: args.data.clone(),
        token_file: args.token_file.clone(),
        namespace: "default".to_owned(),
    };
    let session = Session::reach(printer, &target).await?;
    let done = match session.client.checkpoint().await {
        // Reading blocks, and nothing else is to be done here meanwhile.
        Ok(()) => tokio::task::block_in_place(|| answer(printer, &args, &text)),
        Err(error) => Err(error),
    };
    session.leave().await;
    done.map(|()| Exit::Ok)
}

fn text(query: &str) -> Result<String, CliError> {
    if query != "-" {
        return Ok(query.to_owned());
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| {
        CliError::failed(format!("stdin cannot be read: {error}"), "give the query as an argument")
    })?;
    Ok(text)
}

fn answer(printer: &Printer, args: &Sql, text: &str) -> Result<(), CliError> {
    if printer.is_json() {
        let mut print = |columns: &[String], values: Vec<Value>| {
            printer.json(&columns.iter().cloned().zip(values).collect::<Map<_, _>>());
        };
        return EmbeddedStore::query(&args.data, text, &mut print).map(drop).map_err(refused);
    }
    let mut rows = Vec::new();
    let mut keep = |_: &[String], values: Vec<Value>| rows.push(values.into_iter().map(cell).collect());
    let columns = EmbeddedStore::query(&args.data, text, &mut keep).map_err(refused)?;
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    printer.text(&table(&columns, &rows));
    Ok(())
}

fn cell(value: Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.replace('\n', "⏎"),
        other => other.to_string(),
    }
}

fn refused(error: QueryError) -> CliError {
    match error {
        QueryError::Store(error) => node::store_error(error).into_cli(),
        QueryError::NoQuery => CliError::usage(error.to_string(), "ask one question at a time"),
        QueryError::Sql(text) => CliError::usage(
            format!("SQLite does not take the query: {text}"),
            "the views are runs, steps, journal, keys, definitions and labels; `SELECT * FROM runs LIMIT 1` shows the columns",
        ),
    }
}
