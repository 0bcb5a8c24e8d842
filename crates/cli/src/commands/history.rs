//! `riverrun runs history`: a flow run's history, in the flow language's own events.

use riverrun_wire::http::HistoryEvent;

use crate::args::RunsHistory;
use crate::error::CliError;
use crate::exit::Exit;
use crate::house::Session;
use crate::input;
use crate::printer::{Printer, bad, care, clip, dim, good, table};
use crate::time;

/// Longer details are cut in a line; `--json` has them whole.
const DETAIL: usize = 100;
/// Room for the longest event's name.
const NAME: usize = "ExecutionSucceeded".len();

/// Prints it, page by page; all of it in one table, unless it is followed.
pub async fn print(printer: &Printer, session: &Session, args: &RunsHistory) -> Result<Exit, CliError> {
    let run = input::run_id(&args.run, &args.target)?;
    let (mut after, mut begun, mut rows) = (0, None, Vec::new());
    loop {
        let part = session.client.history(run, after, args.follow).await?;
        let is_over = part.complete || (part.items.is_empty() && !args.follow);
        after = part.next_after;
        for event in &part.items {
            let at = time::parse(&event.time).unwrap_or_default().0;
            let offset_ms = at - *begun.get_or_insert(at);
            if printer.is_json() {
                printer.json(event);
            } else if args.follow {
                printer.text(&followed(event, offset_ms));
            } else {
                rows.push(row(event, offset_ms));
            }
        }
        if is_over {
            break;
        }
    }
    if !rows.is_empty() {
        printer.text(&table(&["#", "BY", "AFTER", "EVENT", "STEP", ""], &rows));
    }
    Ok(Exit::Ok)
}

fn row(event: &HistoryEvent, offset_ms: i64) -> Vec<String> {
    vec![
        event.event_id.to_string(),
        dim(&event.schedule_event_id.to_string()),
        offset(offset_ms),
        coloured(&event.kind, &event.kind),
        event.step_name.clone(),
        clip(event.event_detail.get(), DETAIL),
    ]
}

/// One line, whose columns stand where those of other lines do without knowing them.
fn followed(event: &HistoryEvent, offset_ms: i64) -> String {
    let HistoryEvent { event_id, schedule_event_id, kind, step_name, event_detail, .. } = event;
    let by = dim(&format!("{schedule_event_id:>4}"));
    let name = coloured(kind, &format!("{kind:<NAME$}"));
    let detail = clip(event_detail.get(), DETAIL);
    format!("{event_id:>4}  {by}  {:>9}  {name}  {step_name:<16}  {detail}", offset(offset_ms))
}

fn offset(ms: i64) -> String {
    format!("+{}.{:03}s", ms / 1000, ms % 1000)
}

fn coloured(kind: &str, text: &str) -> String {
    match kind {
        _ if kind.ends_with("Failed") || kind.ends_with("TimedOut") => bad(text),
        "ExecutionStopped" => care(text),
        _ if kind.ends_with("Succeeded") => good(text),
        _ if kind.ends_with("Entered") || kind.ends_with("Exited") => dim(text),
        _ => text.to_owned(),
    }
}
