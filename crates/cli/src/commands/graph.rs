//! `riverrun graph` and `riverrun runs graph`: pictures of flows and of their runs.

use std::path::Path;

use riverrun_plan::Format;
use riverrun_wire::http::{GraphFormat, GraphQuery};

use crate::args::{Graph, Picture, PictureFormat, RunsGraph};
use crate::error::CliError;
use crate::exit::Exit;
use crate::flow_file::{default_name, load};
use crate::house::Session;
use crate::input;
use crate::printer::Printer;

/// Draws a flow, without a server.
pub fn graph(printer: &Printer, args: &Graph) -> Result<Exit, CliError> {
    let flow = load(printer, &args.file)?.flow;
    let format = match format(&args.picture) {
        PictureFormat::Svg => Format::Svg,
        PictureFormat::Dot => Format::Dot,
        PictureFormat::Mermaid => Format::Mermaid,
    };
    put(printer, &args.picture, &flow.draw(format, &default_name(&args.file), None))
}

/// Draws a run, as the server sees it.
pub async fn of_run(printer: &Printer, session: &Session, args: &RunsGraph) -> Result<Exit, CliError> {
    let run = input::run_id(&args.run, &args.target)?;
    let format = match format(&args.picture) {
        PictureFormat::Svg => GraphFormat::Svg,
        PictureFormat::Dot => GraphFormat::Dot,
        PictureFormat::Mermaid => GraphFormat::Mermaid,
    };
    let text = session.client.graph(run, &GraphQuery { format: Some(format) }).await?;
    put(printer, &args.picture, &text)
}

/// The format that was asked for, or that the file's ending asks for.
fn format(picture: &Picture) -> PictureFormat {
    let ending = picture.output.as_deref().and_then(Path::extension).and_then(|end| end.to_str());
    picture.format.unwrap_or(match ending {
        Some("dot" | "gv") => PictureFormat::Dot,
        Some("mmd" | "mermaid") => PictureFormat::Mermaid,
        _ => PictureFormat::Svg,
    })
}

fn put(printer: &Printer, picture: &Picture, text: &str) -> Result<Exit, CliError> {
    match &picture.output {
        None => printer.text(text),
        Some(file) => {
            std::fs::write(file, text).map_err(|error| CliError::io("write", file, &error))?;
            printer.note(&format!("wrote {}", file.display()));
        }
    }
    Ok(Exit::Ok)
}
