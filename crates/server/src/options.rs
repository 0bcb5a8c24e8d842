//! The options of a start: checked, and brought into the kernel's form.

use std::sync::Arc;

use riverrun_engine::StartNext;
use riverrun_kernel::{CallLimit, DefinitionKind, InvalidRate, Next, Rate, RunOptions, TaskOptions};
use riverrun_wire::http as wire;

use crate::app::App;
use crate::calls::callback;
use crate::problem::Refused;
use crate::start::read_date;

/// The longest concurrency key, in bytes.
const MAX_KEY: usize = 255;

/// Brings the options of a start into the kernel's form.
pub(crate) fn read_options(
    app: &App,
    namespace: &str,
    body: &wire::Start,
    kind: DefinitionKind,
) -> Result<RunOptions, Refused> {
    if body.delay.is_some() && body.run_at.is_some() {
        return Err(Refused::invalid("delay and run_at exclude each other: both say when the run begins"));
    }
    let ms = |duration: Option<wire::Duration>| duration.map(|duration| duration.ms);
    let mut options = RunOptions {
        labels: body.labels.clone(),
        timeout_ms: None,
        report_to: None,
        origin: None,
        tokens: Vec::new(),
        run_at: body.run_at.as_deref().map(|text| read_date("run_at", text)).transpose()?,
        delay_ms: ms(body.delay),
        queue_ttl_ms: ms(body.queue_ttl),
        result_ttl: body.result_ttl.map(wire::KeyTtl::to_kernel),
        failure_ttl: body.failure_ttl.map(wire::KeyTtl::to_kernel),
        then: body.then.as_deref().map(|then| read_next(app, namespace, then)).transpose()?.map(Box::new),
        callback_url: body.callback_url.as_deref().map(|url| read_callback(app, url)).transpose()?,
        task: None,
    };
    if kind == DefinitionKind::Task {
        options.task = Some(read_task(body)?);
        return Ok(options);
    }
    // The time limit of a task is that of each attempt, of anything else that of the whole run.
    options.timeout_ms = ms(body.timeout);
    let inner = [("retries", body.retries.is_some()), ("at_most_once", body.at_most_once == Some(true))];
    let outer = [
        ("queue", body.queue.is_some()),
        ("priority", body.priority.is_some()),
        ("max_crashes", body.max_crashes.is_some()),
        ("concurrency_key", body.concurrency_key.is_some()),
        ("max_running", body.max_running.is_some()),
        ("rate", body.rate.is_some()),
    ];
    // The code of a workflow stands in a queue as a task does; the steps of a flow say where they stand.
    let outside = if kind == DefinitionKind::Flow { &outer[..] } else { &[] };
    if let Some((name, _)) = inner.iter().chain(outside).find(|(_, given)| *given) {
        return Err(Refused::invalid(format!(
            "{name} is an option of tasks, and `{}` is a {kind}: its steps say such things themselves",
            body.definition
        )));
    }
    if kind == DefinitionKind::Workflow {
        options.task = Some(read_task(body)?);
    }
    Ok(options)
}

/// The address that is told how the run has ended.
fn read_callback(app: &App, url: &str) -> Result<Arc<str>, Refused> {
    if app.config.callbacks.secrets.is_empty() {
        return Err(Refused::invalid(
            "callback_url: what is sent is signed, and this server has no secret for that: name one in its configuration, as in \
             `[callbacks]` and below it `secrets = [{ env = \"RIVERRUN_CALLBACK_SECRET\" }]`",
        ));
    }
    callback::check(url, &app.config.calls)
        .map_err(|problem| Refused::invalid(format!("callback_url: {problem}")))?;
    Ok(url.into())
}

pub(crate) fn read_task(body: &wire::Start) -> Result<TaskOptions, Refused> {
    let priority = body.priority;
    if let Some(priority @ 10..) = priority {
        return Err(Refused::invalid(format!("priority is {priority}: it goes from 0 to 9, higher first")));
    }
    Ok(TaskOptions {
        queue: body.queue.clone().unwrap_or_default(),
        priority,
        timeout_ms: body.timeout.map(|timeout| timeout.ms),
        retry: body.retries.iter().map(wire::Retries::to_policy).collect(),
        at_most_once: body.at_most_once,
        max_crashes: body.max_crashes,
        limit: read_limit(body)?.map(Arc::new),
    })
}

fn read_limit(body: &wire::Start) -> Result<Option<CallLimit>, Refused> {
    let rate = body.rate.as_deref().map(read_rate).transpose()?;
    if body.max_running == Some(0) {
        return Err(no_start_at_all());
    }
    let given = body.concurrency_key.as_deref().filter(|key| !key.is_empty());
    if given.is_none() && body.max_running.is_none() && rate.is_none() {
        return Ok(None);
    }
    let key = given.unwrap_or(&body.definition);
    if key.len() > MAX_KEY || key.chars().any(char::is_control) {
        return Err(Refused::invalid(format!(
            "concurrency_key has {} bytes: it may have 1 to {MAX_KEY}, and no control characters",
            key.len()
        )));
    }
    Ok(Some(CallLimit { key: key.into(), max_running: body.max_running, rate }))
}

/// Reads a rate.
pub(crate) fn read_rate(text: &str) -> Result<Rate, Refused> {
    text.parse().map_err(|error: InvalidRate| Refused::invalid(format!("rate: {error}")))
}

/// The refusal of a limit that lets nothing start.
pub(crate) fn no_start_at_all() -> Refused {
    Refused::invalid("max_running is 0, and nothing would ever start: pause the queue instead")
}

/// Reads what is to start when a run has succeeded.
pub(crate) fn read_next(app: &App, namespace: &str, body: &wire::Start) -> Result<Next, Refused> {
    let absent = [
        ("run_id", body.run_id.is_some()),
        ("continue_id", body.continue_id.is_some()),
        ("unique", body.unique || body.unique_key.is_some()),
        ("namespace", body.namespace.as_deref().is_some_and(|other| other != namespace)),
        ("wait", body.wait.is_some()),
    ];
    if let Some((name, _)) = absent.iter().find(|(_, given)| *given) {
        return Err(Refused::invalid(format!(
            "{name} has no meaning in `then` and in a chain: such a run is started by the one before it"
        )));
    }
    if body.definition.is_empty() {
        return Err(Refused::invalid("definition is missing in `then`: name what to run"));
    }
    let kind = kind_of(app, namespace, body);
    let next = StartNext {
        definition: body.definition.clone(),
        kind: body.kind,
        version: body.version.clone(),
        input: body.input.clone(),
        into: body.into.clone(),
        options: read_options(app, namespace, body, kind)?,
    };
    Ok(app.engine.next(namespace, next)?)
}

/// The kind of what a start names: that of a definition that is known, else a task's.
pub(crate) fn kind_of(app: &App, namespace: &str, body: &wire::Start) -> DefinitionKind {
    body.kind.unwrap_or_else(|| {
        let found = app.engine.definition(namespace, &body.definition, body.version.as_deref());
        found.map_or(DefinitionKind::Task, |definition| definition.reference.kind)
    })
}
