//! `riverrun workers`: who is connected.

use crate::args::Workers;
use crate::error::CliError;
use crate::exit::Exit;
use crate::house::with;
use crate::printer::Printer;
use crate::show;

/// Lists the workers.
pub async fn workers(printer: &Printer, args: Workers) -> Result<Exit, CliError> {
    with(printer, &args.target, async |session| {
        let workers = session.client.workers().await?;
        if printer.is_json() {
            printer.json(&workers);
        } else if workers.items.is_empty() {
            printer.note("no workers are connected; `riverrun worker FOLDER` starts one");
        } else {
            printer.text(&show::workers(&workers.items));
        }
        Ok(Exit::Ok)
    })
    .await
}
