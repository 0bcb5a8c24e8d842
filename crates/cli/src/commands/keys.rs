//! `riverrun keys`: list, show and forget continue_ids.

use crate::args::{Keys, KeysDelete, KeysList, OneKey};
use crate::error::CliError;
use crate::exit::Exit;
use crate::house::{Session, with};
use crate::printer::{Printer, dim};
use crate::show;

/// Does one of the commands.
pub async fn keys(printer: &Printer, command: Keys) -> Result<Exit, CliError> {
    match command {
        Keys::List(args) => {
            with(printer, &args.target, async |session| list(printer, session, &args).await).await
        }
        Keys::Show(args) => {
            with(printer, &args.target, async |session| show_one(printer, session, &args).await).await
        }
        Keys::Delete(args) => {
            with(printer, &args.key.target, async |session| delete(printer, session, &args).await).await
        }
    }
}

async fn list(printer: &Printer, session: &Session, args: &KeysList) -> Result<Exit, CliError> {
    let client = &session.client;
    let mut query = vec![("namespace", client.namespace().to_owned()), ("limit", args.limit.to_string())];
    query.extend(args.definition.clone().map(|name| ("definition", name)));
    query.extend(args.after.clone().map(|cursor| ("cursor", cursor)));
    let page = client.keys(&query).await?;
    if printer.is_json() {
        printer.json(&page);
    } else if page.items.is_empty() {
        printer.note("no keys");
    } else {
        printer.text(&show::keys(&page.items));
    }
    if let Some(cursor) = page.next_cursor.filter(|_| !printer.is_json()) {
        printer.note(&dim(&format!("there are more: --after {cursor}")));
    }
    Ok(Exit::Ok)
}

async fn show_one(printer: &Printer, session: &Session, args: &OneKey) -> Result<Exit, CliError> {
    let key = session.client.key(&args.definition, &args.continue_id).await?;
    if printer.is_json() {
        printer.json(&key);
    } else {
        printer.text(&show::keys(&[key]));
    }
    Ok(Exit::Ok)
}

async fn delete(printer: &Printer, session: &Session, args: &KeysDelete) -> Result<Exit, CliError> {
    let OneKey { definition, continue_id, .. } = &args.key;
    session.client.delete_key(definition, continue_id, args.cancel).await?;
    printer.note(&format!("the continue_id `{continue_id}` of {definition} is forgotten"));
    Ok(Exit::Ok)
}
