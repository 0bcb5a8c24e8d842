//! `riverrun runs`: list, show and steer runs.

use riverrun_kernel::RunId;

use crate::args::{OneRun, Runs, RunsCancel, RunsJournal, RunsList, RunsSignal};
use crate::commands::{attach, graph, history};
use crate::entries::Entry;
use crate::error::CliError;
use crate::exit::Exit;
use crate::house::{Session, with};
use crate::input;
use crate::printer::{Printer, clip, dim, table};
use crate::show::{self, indented};
use crate::story::Story;

/// Entries that only `--all` shows: the interpreter's own bookkeeping.
const INTERNAL: &[&str] = &["Advanced", "Noted"];

/// Does one of the commands.
pub async fn runs(printer: &Printer, command: Runs) -> Result<Exit, CliError> {
    match command {
        Runs::List(args) => {
            with(printer, &args.target, async |session| list(printer, session, &args).await).await
        }
        Runs::Show(args) => {
            with_run(printer, args, async |session, run| show_one(printer, session, run).await).await
        }
        Runs::Journal(args) => {
            with(printer, &args.target, async |session| journal(printer, session, &args).await).await
        }
        Runs::History(args) => {
            with(printer, &args.target, async |session| history::print(printer, session, &args).await).await
        }
        Runs::Graph(args) => {
            with(printer, &args.target, async |session| graph::of_run(printer, session, &args).await).await
        }
        Runs::Logs(args) => {
            with_run(printer, args, async |session, run| logs(printer, session, run).await).await
        }
        Runs::Attach(args) => attach::attach(printer, *args).await,
        Runs::Cancel(args) => {
            with(printer, &args.target, async |session| cancel(printer, session, &args).await).await
        }
        Runs::Pause(args) => {
            with_run(printer, args, async |session, run| steer(printer, session, run, "pause").await).await
        }
        Runs::Resume(args) => {
            with_run(printer, args, async |session, run| steer(printer, session, run, "resume").await).await
        }
        Runs::Signal(args) => {
            with(printer, &args.target, async |session| signal(printer, session, &args).await).await
        }
        Runs::Delete(args) => {
            with_run(printer, args, async |session, run| delete(printer, session, run).await).await
        }
    }
}

async fn with_run(
    printer: &Printer,
    args: OneRun,
    work: impl AsyncFnOnce(&Session, RunId) -> Result<Exit, CliError>,
) -> Result<Exit, CliError> {
    let run = input::run_id(&args.run, &args.target)?;
    with(printer, &args.target, async |session| work(session, run).await).await
}

async fn list(printer: &Printer, session: &Session, args: &RunsList) -> Result<Exit, CliError> {
    let client = &session.client;
    let mut query = vec![("namespace", client.namespace().to_owned()), ("limit", args.limit.to_string())];
    let mut add = |name: &'static str, value: Option<String>| query.extend(value.map(|value| (name, value)));
    add("definition", args.definition.clone());
    add("state", Some(args.states.join(",")).filter(|states| !states.is_empty()));
    add("waiting", args.waiting.clone());
    add("needs_attention", args.needs_attention.then(|| "true".to_owned()));
    add("continue_id", args.continue_id.clone());
    add("cursor", args.after.clone());
    for (name, value) in &args.labels {
        add("label", Some(format!("{name}={value}")));
    }
    let page = client.runs(&query).await?;
    if printer.is_json() {
        printer.json(&page);
    } else if page.items.is_empty() {
        printer.note("no runs");
    } else {
        printer.text(&show::runs(&page.items));
    }
    if let Some(cursor) = page.next_cursor.filter(|_| !printer.is_json()) {
        printer.note(&dim(&format!("there are more: --after {cursor}")));
    }
    Ok(Exit::Ok)
}

async fn show_one(printer: &Printer, session: &Session, run: RunId) -> Result<Exit, CliError> {
    let run = session.client.run(run).await?;
    if printer.is_json() {
        printer.json(&run);
    } else {
        printer.text(&show::run(&run));
    }
    Ok(Exit::Ok)
}

async fn journal(printer: &Printer, session: &Session, args: &RunsJournal) -> Result<Exit, CliError> {
    let run = input::run_id(&args.run, &args.target)?;
    let (mut after, mut story, mut rows) = (0, Story::default(), Vec::new());
    loop {
        let part = session.client.journal(run, after, args.all).await?;
        let grew = part.next_after > after;
        after = part.next_after;
        for entry in part.items.iter().filter(|entry| args.all || !INTERNAL.contains(&entry.kind.as_str())) {
            if printer.is_json() {
                printer.json(entry);
            } else {
                rows.push(journal_row(&mut story, entry, args.all));
            }
        }
        if args.follow && !rows.is_empty() {
            printer.text(&rows.drain(..).map(|row| row.join("  ") + "\n").collect::<String>());
        }
        match (grew, args.follow && !part.complete) {
            (true, _) => {}
            (false, true) => session.changed(run, after).await?,
            (false, false) => break,
        }
    }
    if !rows.is_empty() {
        printer.text(&table(&["#", "AFTER", "ENTRY", "STEP", ""], &rows));
    }
    Ok(Exit::Ok)
}

fn journal_row(story: &mut Story, entry: &Entry, all: bool) -> Vec<String> {
    let line = story.tell(entry);
    let mut row = vec![entry.seq.to_string(), line.offset(), line.kind, line.step, line.detail];
    if let (Some(traceback), Some(detail)) = (line.traceback.filter(|_| all), row.last_mut()) {
        *detail = format!("{detail}\n{}", dim(&indented(&traceback)));
    }
    row
}

async fn logs(printer: &Printer, session: &Session, run: RunId) -> Result<Exit, CliError> {
    let logs = session.client.logs(run).await?;
    if printer.is_json() {
        printer.json(&logs);
        return Ok(Exit::Ok);
    }
    if logs.items.is_empty() {
        printer.note("nothing was printed since the server started; output is kept in its memory only");
    }
    for line in &logs.items {
        let step = line.attempt.split_once('.').map_or("", |(_, step)| step);
        printer.text(&format!("{} {}", dim(&format!("{step:<6} {:<6}", line.stream)), line.text.trim_end()));
    }
    Ok(Exit::Ok)
}

async fn cancel(printer: &Printer, session: &Session, args: &RunsCancel) -> Result<Exit, CliError> {
    let answer = session.client.cancel(input::run_id(&args.run, &args.target)?, &args.reason).await?;
    tell_state(printer, &answer);
    Ok(Exit::Ok)
}

async fn steer(printer: &Printer, session: &Session, run: RunId, what: &str) -> Result<Exit, CliError> {
    let answer = session.client.steer(run, what).await?;
    tell_state(printer, &answer);
    if what == "resume" && !answer.state.is_closed() && session.is_own() {
        let attach = session.client.command(&format!("runs attach {run}"));
        printer.note(&format!(
            "nobody executes it now: it goes on when a server and a worker are there, or with {attach}"
        ));
    }
    Ok(Exit::Ok)
}

fn tell_state(printer: &Printer, answer: &riverrun_wire::http::StateAnswer) {
    if printer.is_json() {
        printer.json(answer);
    } else {
        printer.text(&format!("{} is {}", answer.run_id, crate::printer::state(answer.state)));
    }
}

async fn signal(printer: &Printer, session: &Session, args: &RunsSignal) -> Result<Exit, CliError> {
    let payload = input::read(&args.payload)?;
    let run = input::run_id(&args.run, &args.target)?;
    session.client.signal(run, &args.name, payload, args.id.clone()).await?;
    printer.note(&format!("{run} has the signal `{}`", clip(&args.name, 60)));
    Ok(Exit::Ok)
}

async fn delete(printer: &Printer, session: &Session, run: RunId) -> Result<Exit, CliError> {
    session.client.delete(run).await?;
    printer.note(&format!("{run} and its journal are gone"));
    Ok(Exit::Ok)
}
