//! `task_info`: a task's fields, all of them texts, in the order and under the names that BaiChuan keeps them.

use riverrun_kernel::{Entry, JournalRow, RunOptions, RunView, Ttl};
use riverrun_wire::baichuan::{Status, TaskInfo, dumps, handle_worker, time};

use super::ask::IP;
use super::reply::text;

/// The object, as JSON text.
pub(super) fn info(view: &RunView, task: &TaskInfo, lines: &[JournalRow], port: u16) -> String {
    let fields: Vec<String> = fields(view, task, lines, port)
        .into_iter()
        .map(|(name, value)| format!("\"{name}\": {}", text(&value)))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

fn fields(view: &RunView, task: &TaskInfo, lines: &[JournalRow], port: u16) -> Vec<(&'static str, String)> {
    let run = &view.summary;
    let options = lines.iter().find_map(|line| match &line.entry {
        Entry::RunCreated(created) => Some(&created.options),
        _ => None,
    });
    let worker = lines.iter().rev().find_map(|line| match &line.entry {
        Entry::AttemptStarted { worker, .. } => Some(handle_worker(worker, port)),
        _ => None,
    });
    let created = time(run.created);
    let mut fields = vec![
        ("origin", run.definition.name.to_string()),
        ("status", task.status.as_str().to_owned()),
        ("timeout", options.map_or_else(|| "-1".to_owned(), timeout)),
        ("ip", run.labels.get(IP).cloned().unwrap_or_default()),
        ("created_at", created.clone()),
        ("enqueued_at", created),
        ("handle_worker", worker.unwrap_or_default()),
        ("data", dumps(view.input.get())),
    ];
    if task.status == Status::Queued {
        return fields;
    }
    fields.push(("cost", task.cost.clone()));
    fields.extend(options.and_then(result_ttl).map(|ttl| ("result_ttl", ttl)));
    fields.extend(task.started_at.clone().map(|at| ("started_at", at)));
    fields.extend(task.ended_at.clone().map(|at| ("ended_at", at)));
    fields.extend(task.answer.as_ref().map(|answer| ("result", answer.body.clone())));
    fields.extend(task.exc_info.clone().map(|why| ("exc_info", why)));
    fields
}

/// Seconds; −1 is no limit.
fn timeout(options: &RunOptions) -> String {
    let ms = options.task.as_ref().and_then(|task| task.timeout_ms);
    ms.map_or_else(|| "-1".to_owned(), |ms| (ms / 1_000).to_string())
}

/// Seconds; −1 is for ever.
fn result_ttl(options: &RunOptions) -> Option<String> {
    match options.result_ttl? {
        Ttl::Ms(ms) => Some((ms / 1_000).to_string()),
        Ttl::Forever => Some("-1".to_owned()),
    }
}
