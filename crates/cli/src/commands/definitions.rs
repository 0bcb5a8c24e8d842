//! `riverrun definitions`: list and delete definitions.

use riverrun_wire::http::{DefinitionView, DeleteDefinitionQuery};

use crate::args::{Definitions, DefinitionsDelete};
use crate::error::CliError;
use crate::exit::Exit;
use crate::house::{Session, with};
use crate::printer::{Printer, table};

/// Does one of the commands.
pub async fn definitions(printer: &Printer, command: Definitions) -> Result<Exit, CliError> {
    match command {
        Definitions::List(args) => {
            with(printer, &args.target, async |session| list(printer, session).await).await
        }
        Definitions::Delete(args) => {
            with(printer, &args.target, async |session| delete(printer, session, &args).await).await
        }
    }
}

async fn list(printer: &Printer, session: &Session) -> Result<Exit, CliError> {
    let all = session.client.definitions().await?;
    if printer.is_json() {
        printer.json(&all);
    } else if all.items.is_empty() {
        printer.note(
            "no definitions: `riverrun deploy FLOW.yaml` keeps a flow, and workers announce their tasks",
        );
    } else {
        let row = |item: &DefinitionView| {
            vec![item.name.clone(), item.kind.to_string(), item.version.clone(), item.deployed_at.clone()]
        };
        let rows: Vec<_> = all.items.iter().map(row).collect();
        printer.text(&table(&["DEFINITION", "KIND", "VERSION", "DEPLOYED"], &rows));
    }
    Ok(Exit::Ok)
}

async fn delete(printer: &Printer, session: &Session, args: &DefinitionsDelete) -> Result<Exit, CliError> {
    let query = DeleteDefinitionQuery {
        name: args.name.clone(),
        namespace: Some(session.client.namespace().to_owned()),
        kind: args.kind,
        force: args.force,
    };
    session.client.delete_definition(&query).await?;
    printer.note(&format!("`{}` is deleted", args.name));
    Ok(Exit::Ok)
}
