//! Runs, keys and workers as text for people.

use std::fmt::Write;

use riverrun_kernel::schedule::{FiredBy, When};
use riverrun_kernel::{Json, State, WaitKind, Wall};
use riverrun_wire::http::{
    ErrorView, KeyView, QueueItem, Run, RunItem, ScheduleView, WaitingView, WorkerItem,
};

use crate::commands::top::Pace;
use crate::printer::{bad, bold, care, clip, dim, state, table};
use crate::time::{self, relative, short};

/// A list of runs.
pub fn runs(items: &[RunItem]) -> String {
    let now = time::now();
    let row = |run: &RunItem| {
        vec![
            run.run_id.to_string(),
            run.definition.clone(),
            state(run.state),
            ago(Some(&run.created_at), now),
            took(run, now),
            remark(run, now),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    table(&["RUN", "DEFINITION", "STATE", "CREATED", "TOOK", "WAITS FOR / ERROR"], &rows)
}

fn remark(run: &RunItem, now: Wall) -> String {
    match (&run.waiting, &run.error_type) {
        (Some(waiting), _) => self::waiting(waiting, now),
        (None, Some(error)) => bad(&clip(error, 60)),
        (None, None) => String::new(),
    }
}

/// One run with all that is known of it.
pub fn run(run: &Run) -> String {
    let now = time::now();
    let item = &run.item;
    let mut lines =
        vec![(String::new(), format!("{}  {}", bold(&item.run_id.to_string()), state(item.state)))];
    let mut line = |name: &str, value: String| lines.push((name.to_owned(), value));
    let version = if item.version.is_empty() { String::new() } else { format!(" version {}", item.version) };
    line("definition", format!("{} {}", item.definition, dim(&format!("{}{version}", item.kind))));
    if let Some(waiting) = &item.waiting {
        line("waits for", self::waiting(waiting, now));
    }
    if let Some(id) = &item.continue_id {
        line("continue_id", format!("{id} {}", dim(&format!("generation {}", item.generation))));
    }
    if let Some(parent) = &item.parent {
        line("started by", parent.to_string());
    }
    if let Some(schedule) = &item.schedule {
        line("schedule", format!("{} {}", schedule.name, dim(&format!("planned {}", schedule.planned_at))));
    }
    if !item.labels.is_empty() {
        let pairs: Vec<_> = item.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        line("labels", pairs.join(" "));
    }
    line("created", stamp(&item.created_at, now));
    if let Some(started) = &item.started_at {
        line("started", stamp(started, now));
    }
    if let Some(ended) = &item.ended_at {
        line("ended", format!("{}, after {}", stamp(ended, now), took(item, now)));
    }
    line("journal", format!("{} entries", run.entries));
    line("input", run.input.get().to_owned());
    if let Some(output) = &run.output {
        line("output", output.get().to_owned());
    }
    if let Some(status) = &run.status {
        line("status", progress(status).unwrap_or_else(|| status.get().to_owned()));
    }
    if let Some(error) = &run.error {
        line("error", bad(&format!("{}: {}", error.kind, error.message)));
        if let Some(traceback) = traceback(error) {
            line("", dim(&indented(&traceback)));
        }
    }
    for step in &run.steps {
        let doing = match &step.waiting {
            Some(waiting) => self::waiting(waiting, now),
            None => format!("runs {} {}", step.target, dim(&format!("attempt {}", step.attempts))),
        };
        line("open step", format!("{}  {doing}", step.path));
    }
    named(&lines)
}

/// Values behind their names; one without a name begins the line.
fn named(lines: &[(impl AsRef<str>, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.as_ref().len()).max().unwrap_or(0);
    let shown = lines.iter().map(|(name, value)| match name.as_ref() {
        "" => format!("{value}\n"),
        name => format!("{}  {value}\n", dim(&format!("{name:>width$}"))),
    });
    shown.collect()
}

/// A list of keys.
pub fn keys(items: &[KeyView]) -> String {
    let now = time::now();
    let row = |key: &KeyView| {
        vec![
            key.definition.clone(),
            key.continue_id.clone(),
            key_state(key),
            key.generations.to_string(),
            key.hits.to_string(),
            expiry(key, now),
            key.run_id.to_string(),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    table(&["DEFINITION", "CONTINUE_ID", "STATE", "GENERATIONS", "HITS", "FORGOTTEN", "RUN"], &rows)
}

fn key_state(key: &KeyView) -> String {
    let name = match key.state {
        riverrun_kernel::KeyStatus::InFlight => "in_flight".to_owned(),
        riverrun_kernel::KeyStatus::Succeeded => state(State::Succeeded),
        riverrun_kernel::KeyStatus::Failed => state(State::Failed),
        riverrun_kernel::KeyStatus::Cancelled => state(State::Cancelled),
    };
    if key.purged { format!("{name} {}", dim("result deleted")) } else { name }
}

fn expiry(key: &KeyView, now: Wall) -> String {
    match key.expires_at.as_deref().and_then(time::parse) {
        Some(at) => relative(at, now),
        None if key.completed_at.is_some() => "never".to_owned(),
        None => format!("{} after its end", key.ttl),
    }
}

/// A list of schedules.
pub fn schedules(items: &[ScheduleView]) -> String {
    let now = time::now();
    let row = |item: &ScheduleView| {
        vec![
            item.name.clone(),
            item.when.clone(),
            item.zone.clone(),
            item.definition.clone(),
            next_time(item, now),
            item.runs_started.to_string(),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    table(&["SCHEDULE", "WHEN", "ZONE", "STARTS", "NEXT", "RUNS"], &rows)
}

fn next_time(item: &ScheduleView, now: Wall) -> String {
    if item.paused_at.is_some() {
        return care("paused");
    }
    let next = item.next.first().and_then(|next| time::parse(&next.at));
    next.map_or_else(|| dim("ended"), |at| relative(at, now))
}

/// Planned times, one a line: what the zone's clocks show, and how far away it is.
pub fn planned(when: &When, times: &[Wall], now: Wall) -> String {
    let line = |at: &Wall| {
        let local = when.local(*at).unwrap_or_default();
        format!("{local}  {}\n", dim(&relative(*at, now)))
    };
    times.iter().map(line).collect()
}

/// A schedule in full.
pub fn schedule(item: &ScheduleView) -> String {
    let now = time::now();
    let ago = |text: &str| time::parse(text).map_or_else(|| text.to_owned(), |at| relative(at, now));
    let mut lines = vec![
        ("schedule", item.name.clone()),
        ("when", format!("{} ({})", item.when, item.zone)),
        ("starts", format!("{} `{}`", item.kind, item.definition)),
    ];
    let mut add = |name: &'static str, value: String| lines.push((name, value));
    if !item.description.is_empty() {
        add("about", item.description.clone());
    }
    if let Some(since) = &item.paused_at {
        let reason = item.pause_reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        add("paused", format!("{}{reason}", ago(since)));
    }
    for (place, next) in item.next.iter().enumerate() {
        add(if place == 0 { "next" } else { "" }, format!("{}  {}", next.local, dim(&ago(&next.at))));
    }
    if item.next.is_empty() && item.paused_at.is_none() {
        add("next", "never again".to_owned());
    }
    if !item.waiting.is_empty() {
        add("waiting", format!("{} behind a run that is open", item.waiting.len()));
    }
    for (place, run) in item.recent.iter().enumerate() {
        let by = if run.by == FiredBy::Trigger { " by hand" } else { "" };
        let stands = run.state.map_or_else(|| dim("deleted"), state);
        let planned =
            format!("{}  {stands}  {}{by}", run.run_id, dim(&format!("planned {}", run.planned_at)));
        add(if place == 0 { "last runs" } else { "" }, planned);
    }
    let counts = [
        (item.runs_started, "started"),
        (item.runs_skipped, "skipped"),
        (item.runs_missed, "missed"),
        (item.runs_failed, "could not start"),
    ];
    let counts = counts.iter().filter(|(count, word)| *count > 0 || *word == "started");
    add("counts", counts.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", "));
    let left_out = [("skipped", &item.last_skipped), ("missed", &item.last_missed)];
    for (name, late) in left_out.into_iter().filter_map(|(name, late)| Some((name, late.as_ref()?))) {
        let more = if late.more { " and more" } else { "" };
        add(name, format!("{}{more} from {} to {}", late.count, late.first, late.last));
    }
    if let Some(failure) = &item.last_failure {
        add("failed", bad(failure));
    }
    named(&lines)
}

/// A list of workers.
pub fn workers(items: &[WorkerItem]) -> String {
    let row = |worker: &WorkerItem| {
        let status = match &worker.trouble {
            _ if worker.draining => care("draining"),
            Some(_) => bad("in trouble"),
            None => "connected".to_owned(),
        };
        vec![
            worker.name.clone(),
            status,
            format!("{}/{}", worker.attempts.len(), worker.slots),
            if worker.queues.is_empty() { "all".to_owned() } else { worker.queues.join(",") },
            worker.functions.join(" "),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    let mut text = table(&["WORKER", "STATUS", "BUSY", "QUEUES", "FUNCTIONS"], &rows);
    for (name, trouble) in items.iter().filter_map(|worker| Some((&worker.name, worker.trouble.as_ref()?))) {
        let _ = writeln!(text, "{name} takes less than it has slots for: {trouble}");
    }
    text
}

/// A status that tells how far something has come, as a bar.
fn progress(status: &Json) -> Option<String> {
    let value = status.to_value().ok()?;
    let done = value.get("done")?.as_f64()?;
    let note = value.get("note").and_then(|note| note.as_str()).unwrap_or_default();
    let Some(total) = value.get("total").and_then(serde_json::Value::as_f64).filter(|total| *total > 0.0)
    else {
        return Some(format!("{done} done  {}", dim(note)));
    };
    let share = (done / total).clamp(0.0, 1.0);
    let full = (share * 20.0).round() as usize;
    let bar = format!("{}{}", "█".repeat(full), "░".repeat(20 - full));
    Some(format!("{bar} {:.0}%  {done} of {total}  {}", share * 100.0, dim(note)))
}

/// A list of queues.
pub fn queues(items: &[QueueItem]) -> String {
    let now = time::now();
    let row = |queue: &QueueItem| {
        let mut row = queue_row(queue, now);
        row.push(queue.last_minute.to_string());
        row.extend(queue_end(queue));
        row
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    table(
        &["QUEUE", "STATE", "WAITING", "OLDEST", "RUNNING", "DONE/MIN", "FAILED", "WORKERS", "LIMITS"],
        &rows,
    )
}

/// The same with what happens in each second.
pub fn queues_live(items: &[QueueItem], pace: impl Fn(&QueueItem) -> Option<Pace>) -> String {
    let now = time::now();
    let row = |queue: &QueueItem| {
        let mut row = queue_row(queue, now);
        let pace = pace(queue);
        let shown = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
        row.push(shown(pace.map(|pace| pace.started)));
        row.push(shown(pace.map(|pace| pace.ended)));
        row.extend(queue_end(queue));
        row
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    let heading = [
        "QUEUE", "STATE", "WAITING", "OLDEST", "RUNNING", "BEGUN/S", "DONE/S", "FAILED", "WORKERS", "LIMITS",
    ];
    table(&heading, &rows)
}

fn queue_row(queue: &QueueItem, now: Wall) -> Vec<String> {
    let state = match (queue.paused, queue.unserved) {
        (true, _) => care("paused"),
        (_, true) => bad("unserved"),
        _ => "open".to_owned(),
    };
    let oldest = queue.oldest_at.as_deref().and_then(time::parse);
    let age =
        oldest.map(|at| std::time::Duration::from_millis(now.0.saturating_sub(at.0).max(0).unsigned_abs()));
    vec![
        queue.queue.clone(),
        state,
        queue.waiting.to_string(),
        age.map_or_else(|| "-".to_owned(), short),
        queue.running.to_string(),
    ]
}

fn queue_end(queue: &QueueItem) -> [String; 3] {
    let failed = if queue.failed > 0 { bad(&queue.failed.to_string()) } else { "0".to_owned() };
    let max = queue.max_running.map(|max| format!("{max} at once"));
    let limits: Vec<String> = max.into_iter().chain(queue.rate.clone()).collect();
    [failed, queue.workers.to_string(), limits.join(", ")]
}

/// One queue, function by function.
pub fn queue(queue: &QueueItem) -> String {
    let mut text = queues(std::slice::from_ref(queue));
    if !queue.functions.is_empty() {
        let rows = queue.functions.iter().map(|function| {
            let workers = match function.workers {
                0 => bad("no worker"),
                1 => "1 worker".to_owned(),
                many => format!("{many} workers"),
            };
            vec![function.function.clone(), function.waiting.to_string(), workers]
        });
        let rows: Vec<_> = rows.collect();
        text.push('\n');
        text.push_str(&table(&["FUNCTION", "WAITING", "SERVED BY"], &rows));
    }
    text
}

/// A list of dead letters.
pub fn dead(items: &[RunItem]) -> String {
    let now = time::now();
    let row = |run: &RunItem| {
        vec![
            run.run_id.to_string(),
            run.definition.clone(),
            run.queue.clone().unwrap_or_default(),
            bad(run.error_type.as_deref().unwrap_or("failed")),
            ago(run.ended_at.as_deref(), now),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    table(&["RUN", "TASK", "QUEUE", "ERROR", "ENDED"], &rows)
}

/// What a run or step waits for, in a few words.
pub fn waiting(waiting: &WaitingView, now: Wall) -> String {
    let (what, end) = awaited(waiting);
    let until = waiting.until.as_deref().and_then(time::parse);
    if let Some(until) = until {
        format!("{what}{}", dim(&format!(", {end} {}", relative(until, now))))
    } else {
        let since = time::parse(&waiting.since).map(|since| relative(since, now)).unwrap_or_default();
        format!("{what}{}", dim(&format!(", since {since}")))
    }
}

/// The same without a word that changes with the clock: what, and until when, to the second.
pub fn waiting_until(waiting: &WaitingView) -> (String, String) {
    let (what, end) = awaited(waiting);
    let second =
        |until: &String| until.split_once('.').map_or(until.clone(), |(second, _)| format!("{second}Z"));
    let until = waiting.until.as_ref().map(|until| format!(", {end} {}", second(until)));
    (what, until.unwrap_or_default())
}

/// What is waited for, and what its `until` means.
fn awaited(waiting: &WaitingView) -> (String, &'static str) {
    let name = &waiting.name;
    match waiting.kind {
        WaitKind::Timer => (format!("timer {name}"), "due"),
        WaitKind::Signal => (format!("signal `{name}`"), "at the latest"),
        WaitKind::Callback => (format!("callback of {name}"), "at the latest"),
        WaitKind::Child => (format!("run {name}"), "at the latest"),
        WaitKind::Retry => (format!("retry of {name}"), "next try"),
        WaitKind::Limit => (format!("a limit: {name}"), "at the latest"),
        WaitKind::Worker => (care(&format!("a worker with {name}")), "at the latest"),
        WaitKind::Predecessor => (format!("the end of {name}"), "at the latest"),
        WaitKind::Pause => (care("resume: it is paused"), "at the latest"),
        WaitKind::Repair => (bad(&format!("repair: {name}")), "at the latest"),
    }
}

/// Several lines, set off from what stands before them.
pub fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["    ", line, "\n"]).collect::<String>().trim_end().to_owned()
}

/// Where a function failed, line by line.
fn traceback(error: &ErrorView) -> Option<String> {
    let details: serde_json::Value = serde_json::from_str(error.details.as_ref()?.get()).ok()?;
    Some(details.get("traceback")?.as_str()?.to_owned())
}

fn stamp(at: &str, now: Wall) -> String {
    format!("{at} {}", dim(&ago(Some(at), now)))
}

fn ago(at: Option<&str>, now: Wall) -> String {
    at.and_then(time::parse).map(|at| relative(at, now)).unwrap_or_default()
}

/// From its start to its end, or until now.
fn took(run: &RunItem, now: Wall) -> String {
    let Some(started) = run.started_at.as_deref().and_then(time::parse) else {
        return String::new();
    };
    let end = run.ended_at.as_deref().and_then(time::parse).unwrap_or(now);
    short(std::time::Duration::from_millis(end.0.saturating_sub(started.0).max(0).unsigned_abs()))
}
