//! `riverrun deploy`: check a flow and keep it under a name.

use crate::args::Deploy;
use crate::error::CliError;
use crate::exit::Exit;
use crate::flow_file;
use crate::house::with;
use crate::printer::{Printer, dim, good};

/// Deploys one flow.
pub async fn deploy(printer: &Printer, args: Deploy) -> Result<Exit, CliError> {
    let file = flow_file::load(printer, &args.file)?;
    let name = args.name.unwrap_or_else(|| flow_file::default_name(&args.file));
    with(printer, &args.target, async |session| {
        let deployed = session.client.deploy(&name, &file.source).await?;
        if printer.is_json() {
            printer.json(&deployed);
        } else {
            let version = dim(&format!("version {}", deployed.definition.version));
            if deployed.created {
                printer.note(&format!("{} {name} {version}", good("deployed")));
            } else {
                printer.note(&format!("{name} was deployed before and is unchanged {version}"));
            }
        }
        Ok(Exit::Ok)
    })
    .await
}
