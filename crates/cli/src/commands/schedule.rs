//! `riverrun schedule`: write, list, show and steer schedules, and try a line without a server.

use riverrun_kernel::Wall;
use riverrun_kernel::schedule::When;
use riverrun_wire::http::{
    BackfillSchedule, BackfilledTime, Duration, NextTimes, PutSchedule, Retries, ScheduleView, Start,
    TriggerSchedule, planned_time,
};

use crate::args::{
    OneSchedule, Schedule, ScheduleBackfill, ScheduleCreate, ScheduleList, ScheduleNext, SchedulePause,
};
use crate::error::CliError;
use crate::exit::Exit;
use crate::house::{Session, with};
use crate::input;
use crate::printer::{Printer, dim, table};
use crate::{show, time};

/// Does one of the commands.
pub async fn schedule(printer: &Printer, command: Schedule) -> Result<Exit, CliError> {
    match command {
        Schedule::Create(args) => {
            with(printer, &args.target, async |session| create(printer, session, &args).await).await
        }
        Schedule::List(args) => {
            with(printer, &args.target, async |session| list(printer, session, &args).await).await
        }
        Schedule::Show(args) => {
            with(printer, &args.target, async |session| show_one(printer, session, &args).await).await
        }
        Schedule::Next(args) => next(printer, &args),
        Schedule::Pause(args) => {
            with(printer, &args.one.target, async |session| pause(printer, session, &args).await).await
        }
        Schedule::Resume(args) => {
            with(printer, &args.target, async |session| resume(printer, session, &args).await).await
        }
        Schedule::Trigger(args) => {
            with(printer, &args.target, async |session| trigger(printer, session, &args).await).await
        }
        Schedule::Backfill(args) => {
            with(printer, &args.one.target, async |session| backfill(printer, session, &args).await).await
        }
        Schedule::Delete(args) => {
            with(printer, &args.target, async |session| delete(printer, session, &args).await).await
        }
    }
}

async fn create(printer: &Printer, session: &Session, args: &ScheduleCreate) -> Result<Exit, CliError> {
    // Before the server is asked, because the mistake can be pointed at here.
    read(&args.when, args.zone.as_deref(), time::now())?;
    let client = &session.client;
    let duration =
        |given: Option<std::time::Duration>| given.map(|time| Duration::from_ms(time.as_millis() as u64));
    let start = Start {
        definition: args.run.clone(),
        kind: args.kind,
        version: args.definition_version.clone(),
        namespace: Some(client.namespace().to_owned()),
        input: args.input.as_deref().map(input::read).transpose()?,
        labels: args.labels.iter().cloned().collect(),
        timeout: duration(args.timeout),
        queue: args.queue.clone(),
        priority: args.priority,
        retries: args.retries.map(Retries::Max),
        ..Start::default()
    };
    let put = PutSchedule {
        name: args.name.clone(),
        when: args.when.clone(),
        zone: args.zone.clone(),
        start,
        planned_as: args.planned_as.clone(),
        overlap: args.overlap.map(Into::into),
        missed: args.missed.map(Into::into),
        missed_max: args.missed_max,
        missed_after: duration(args.missed_after),
        jitter: duration(args.jitter),
        from: args.from.clone(),
        until: args.until.clone(),
        description: args.description.clone(),
        paused: args.paused.then_some(true),
    };
    let view = client.put_schedule(&put).await?;
    told(printer, &view);
    Ok(Exit::Ok)
}

fn told(printer: &Printer, view: &ScheduleView) {
    if printer.is_json() {
        printer.json(view);
    } else {
        printer.text(&show::schedule(view));
    }
}

async fn list(printer: &Printer, session: &Session, args: &ScheduleList) -> Result<Exit, CliError> {
    let client = &session.client;
    let mut query = vec![("namespace", client.namespace().to_owned()), ("limit", args.limit.to_string())];
    query.extend(args.prefix.clone().map(|prefix| ("prefix", prefix)));
    query.extend(args.after.clone().map(|cursor| ("cursor", cursor)));
    let page = client.schedules(&query).await?;
    if printer.is_json() {
        printer.json(&page);
    } else if page.items.is_empty() {
        printer.note("no schedules");
    } else {
        printer.text(&show::schedules(&page.items));
    }
    if let Some(cursor) = page.next_cursor.filter(|_| !printer.is_json()) {
        printer.note(&dim(&format!("there are more: --after {cursor}")));
    }
    Ok(Exit::Ok)
}

async fn show_one(printer: &Printer, session: &Session, args: &OneSchedule) -> Result<Exit, CliError> {
    told(printer, &session.client.schedule(&args.name).await?);
    Ok(Exit::Ok)
}

/// Tries a line: nothing but the line and the zones in this binary are needed.
fn next(printer: &Printer, args: &ScheduleNext) -> Result<Exit, CliError> {
    let after = match &args.after {
        None => time::now(),
        Some(text) => time::parse(text).ok_or_else(|| {
            CliError::usage(format!("`{text}` is no date"), "write it as 2027-03-28T00:00:00Z")
        })?,
    };
    let when = read(&args.when, args.zone.as_deref(), after)?;
    let times = when.upcoming(after, args.count);
    if times.is_empty() {
        return Err(CliError::usage(
            format!("`{}` has passed", args.when),
            "name a date to come, or give --after",
        ));
    }
    if printer.is_json() {
        let next = times.iter().map(|at| planned_time(&when, *at)).collect();
        printer.json(&NextTimes { zone: when.zone_name().to_owned(), next });
    } else {
        printer.text(&show::planned(&when, &times, after));
    }
    Ok(Exit::Ok)
}

fn read(text: &str, zone: Option<&str>, from: Wall) -> Result<When, CliError> {
    When::parse(text, zone.unwrap_or_default(), from).map_err(|error| {
        let pointed = if error.span.is_empty() {
            String::new()
        } else {
            format!("\n{}", show::indented(&error.pointed()))
        };
        CliError::usage(format!("`{}`: {}{pointed}", error.text, error.problem), error.advice)
    })
}

async fn pause(printer: &Printer, session: &Session, args: &SchedulePause) -> Result<Exit, CliError> {
    let view = session.client.pause_schedule(&args.one.name, args.reason.clone()).await?;
    if printer.is_json() {
        printer.json(&view);
    } else {
        let resume = session.client.command(&format!("schedule resume {}", args.one.name));
        printer.note(&format!("schedule `{}` is paused; `{resume}` lets it go on", view.name));
    }
    Ok(Exit::Ok)
}

async fn resume(printer: &Printer, session: &Session, args: &OneSchedule) -> Result<Exit, CliError> {
    let view = session.client.resume_schedule(&args.name).await?;
    if printer.is_json() {
        printer.json(&view);
    } else {
        let next =
            view.next.first().map_or_else(String::new, |next| format!("; it fires next at {}", next.local));
        printer.note(&format!("schedule `{}` goes on{next}", view.name));
    }
    Ok(Exit::Ok)
}

async fn trigger(printer: &Printer, session: &Session, args: &OneSchedule) -> Result<Exit, CliError> {
    let client = &session.client;
    let trigger = TriggerSchedule {
        namespace: Some(client.namespace().to_owned()),
        name: args.name.clone(),
        // The command may send it again when the connection breaks.
        request_id: Some(format!("{}-{}", std::process::id(), time::now().0)),
    };
    let run = client.trigger_schedule(&trigger).await?;
    if printer.is_json() {
        printer.json(&run);
    } else {
        printer.text(&format!("{}\n", run.item.run_id));
        let attach = client.command(&format!("runs attach {}", run.item.run_id));
        printer.note(&dim(&format!("`{attach}` follows it")));
    }
    Ok(Exit::Ok)
}

async fn backfill(printer: &Printer, session: &Session, args: &ScheduleBackfill) -> Result<Exit, CliError> {
    let client = &session.client;
    let backfill = BackfillSchedule {
        namespace: Some(client.namespace().to_owned()),
        name: args.one.name.clone(),
        from: args.from.clone(),
        to: args.to.clone(),
        dry_run: args.dry_run,
    };
    let all = client.backfill_schedule(&backfill).await?;
    if printer.is_json() {
        printer.json(&all);
        return Ok(Exit::Ok);
    }
    let how = |item: &BackfilledTime| match (item.created, &item.run_id) {
        (true, None) => "would be started",
        (true, Some(_)) => "started",
        (false, Some(_)) => "was there",
        (false, None) => "has had its run, or waits for another",
    };
    let row = |item: &BackfilledTime| {
        let run = item.run_id.map_or_else(String::new, |run| run.to_string());
        vec![item.planned_at.clone(), run, how(item).to_owned()]
    };
    if !all.items.is_empty() {
        let rows: Vec<_> = all.items.iter().map(row).collect();
        printer.text(&table(&["PLANNED", "RUN", ""], &rows));
    }
    let started = all.items.iter().filter(|item| item.created).count();
    let verb = if args.dry_run { "would be started" } else { "started" };
    printer.note(&format!("{} planned times, {started} {verb}", all.items.len()));
    Ok(Exit::Ok)
}

async fn delete(printer: &Printer, session: &Session, args: &OneSchedule) -> Result<Exit, CliError> {
    session.client.delete_schedule(&args.name).await?;
    printer.note(&format!("schedule `{}` is deleted; its runs go on", args.name));
    Ok(Exit::Ok)
}
