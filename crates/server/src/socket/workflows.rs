//! The code of workflows over the wire: acts in, events out.

use std::sync::Arc;

use riverrun_engine::EngineError;
use riverrun_kernel::driver::{Call, Child, Sleep, Work, default_max_crashes, default_queue};
use riverrun_kernel::workflow::{self, History};
use riverrun_kernel::{AttemptId, DefinitionRef, Due, Failure, Json, Wall};
use riverrun_wire::http::check;
use riverrun_wire::worker::ToWorker;
use riverrun_wire::workflow as wire;

use crate::app::Shared;

/// Lines of a journal that are read at a time.
const PAGE: usize = 1_000;
/// About how many bytes of outcomes go into one part of a history.
const PART: usize = 1 << 20;

/// Acts in the kernel's form. The text says what a worker must not send.
pub(super) fn acts(namespace: &Arc<str>, acts: Vec<wire::Act>) -> Result<Vec<workflow::Act>, String> {
    acts.into_iter().map(|said| act(namespace, said)).collect()
}

fn act(namespace: &Arc<str>, act: wire::Act) -> Result<workflow::Act, String> {
    let begin = |tag, path, work| workflow::Act::Begin { tag, path, work };
    Ok(match act {
        wire::Act::Ran { tag, path, outcome } => {
            workflow::Act::Ran { tag, path, outcome: checked(outcome.into()) }
        }
        wire::Act::Starting { tag, path } => workflow::Act::Starting { tag, path },
        wire::Act::Sleep { tag, path, ms } => begin(tag, path, Work::Sleep(Sleep::For(ms))),
        wire::Act::SleepUntil { tag, path, at_ms } => {
            begin(tag, path, Work::Sleep(Sleep::Until(Due::Wall(Wall(at_ms)))))
        }
        wire::Act::Signal { tag, path, name, timeout_ms } => {
            begin(tag, path, Work::Signal { name, timeout_ms })
        }
        wire::Act::Call { tag, path, call } => {
            let work = Work::Call(read_call(*call)?);
            begin(tag, path, work)
        }
        wire::Act::Start { tag, path, child } => {
            let work = Work::Child(read_child(namespace, *child)?);
            begin(tag, path, work)
        }
        wire::Act::Abort { tag } => workflow::Act::Abort { tag },
        wire::Act::Status { status } => {
            plain("status", &status)?;
            workflow::Act::Status(status)
        }
    })
}

/// Only scanned when it came in; what is kept must be readable by everybody.
pub(super) fn checked(outcome: Result<Json, Failure>) -> Result<Json, Failure> {
    match outcome {
        Ok(output) => match check(output.get().as_bytes()) {
            Ok(()) => Ok(output),
            Err(error) => {
                let text = format!("the return value is not plain JSON: {error}");
                Err(Failure::new("InvalidOutput", text).not_retryable())
            }
        },
        Err(mut failure) => {
            failure.details = failure.details.filter(|details| check(details.get().as_bytes()).is_ok());
            Err(failure)
        }
    }
}

fn plain(what: &str, json: &Json) -> Result<(), String> {
    check(json.get().as_bytes()).map_err(|error| format!("the {what} of an act is not plain JSON: {error}"))
}

fn read_call(call: wire::Call) -> Result<Call, String> {
    plain("input", &call.input)?;
    if call.priority > 9 {
        return Err(format!("the priority of an act is {}: it goes from 0 to 9", call.priority));
    }
    Ok(Call {
        function: call.function,
        input: call.input,
        queue: if call.queue.is_empty() { default_queue() } else { call.queue },
        priority: call.priority,
        timeout_ms: call.timeout_ms,
        retry: call.retry,
        at_most_once: call.at_most_once,
        max_crashes: default_max_crashes(),
        callback: false,
        callback_paths: Vec::new(),
        limit: None,
    })
}

fn read_child(namespace: &Arc<str>, child: wire::Child) -> Result<Child, String> {
    plain("input", &child.input)?;
    Ok(Child {
        definition: DefinitionRef {
            namespace: namespace.clone(),
            kind: child.kind,
            name: child.name.into(),
            version: child.version.into(),
        },
        input: child.input,
        continue_id: child.continue_id,
        is_name: false,
        wait: child.wait,
        callback: None,
        on_parent_end: child.on_parent_end,
        options: Box::default(),
    })
}

/// An event as it goes over the wire.
pub(super) fn event(event: workflow::Event) -> wire::Event {
    use workflow::Fact;
    let fact = match event.fact {
        Fact::Recorded(tag) => wire::Fact::Recorded { tag },
        Fact::Ran(tag, path, outcome) => wire::Fact::Ran { tag, path, outcome: outcome.into() },
        Fact::Starting(tag, path) => wire::Fact::Starting { tag, path },
        Fact::Begun(tag, path) => wire::Fact::Begun { tag, path },
        Fact::Ended(tag, outcome) => wire::Fact::Ended { tag, outcome: outcome.into() },
        Fact::Aborted(tag) => wire::Fact::Aborted { tag },
        Fact::CancelRequested => wire::Fact::CancelRequested {},
        Fact::Reopened(again) => wire::Fact::Reopened { again },
    };
    wire::Event { at: event.at, fact }
}

/// Reads what the code of a run must know, in parts for the worker that executes `attempt`.
pub(super) async fn history(app: Shared, attempt: AttemptId) -> Result<Vec<ToWorker>, EngineError> {
    let mut history = History::default();
    let (mut parts, mut events, mut size, mut upto) = (Vec::new(), Vec::new(), 0, 0);
    loop {
        let lines = app.engine.journal(attempt.run, upto, PAGE).await?.rows;
        let full = lines.len() == PAGE;
        for line in lines {
            upto = line.seq;
            let Some(read) = history.read(&line) else { continue };
            size += weight(&read.fact);
            events.push(event(read));
            if size > PART {
                let events = std::mem::take(&mut events);
                parts.push(ToWorker::History { attempt, events, upto, last: false });
                size = 0;
            }
        }
        if !full {
            parts.push(ToWorker::History { attempt, events, upto, last: true });
            return Ok(parts);
        }
    }
}

fn weight(fact: &workflow::Fact) -> usize {
    use workflow::Fact::{Ended, Ran};
    match fact {
        Ran(_, _, Ok(output)) | Ended(_, Ok(output)) => 64 + output.get().len(),
        Ran(_, _, Err(failure)) | Ended(_, Err(failure)) => {
            64 + failure.message.len() + failure.details.as_ref().map_or(0, |details| details.get().len())
        }
        _ => 64,
    }
}
