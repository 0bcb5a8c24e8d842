//! `riverrun check`: every mistake in some flows, with no server.

use riverrun_plan::Flow;

use crate::args::Check;
use crate::error::CliError;
use crate::excerpt::excerpts;
use crate::exit::Exit;
use crate::flow_file::{as_json, counted, read};
use crate::printer::{Printer, dim, good};

/// Checks all files, also after one of them was found wrong.
pub fn check(printer: &Printer, args: &Check) -> Result<Exit, CliError> {
    let mut mistakes = 0;
    let mut found = Vec::new();
    for file in &args.files {
        let source = read(file)?;
        let (flow, diagnostics) = match Flow::parse_within(&source, args.limits.into()) {
            Ok((flow, warnings)) => (Some(flow), warnings),
            Err(diagnostics) => (None, diagnostics),
        };
        mistakes += diagnostics.iter().filter(|diagnostic| diagnostic.is_error).count();
        found.extend(as_json(file, &diagnostics));
        printer.complain(&excerpts(file, &source, &diagnostics));
        if let Some(flow) = flow {
            let calls = flow.functions().join(", ");
            let calls = if calls.is_empty() { "no functions".to_owned() } else { calls };
            printer.note(&format!("{} {} {}", good("ok"), file.display(), dim(&format!("calls {calls}"))));
        }
    }
    if printer.is_json() {
        printer.json(&found);
    }
    if mistakes > 0 {
        printer.note(&format!("{} in {}", counted(mistakes, "mistake"), counted(args.files.len(), "file")));
        return Ok(Exit::Usage);
    }
    Ok(Exit::Ok)
}
