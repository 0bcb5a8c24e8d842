//! What is sent and not waited for: messages to queues, and functions that are left alone.
//!
//! Both are runs of a task, started by the step. A message that asks for a callback is a call in the queue instead: its token is for
//! whoever takes the message, and a run's input would show it to everybody.

use md5::{Digest, Md5};
use riverrun_kernel::driver::{Call, Child, OnParentEnd};
use riverrun_kernel::{DefinitionKind, DefinitionRef, Json, RunOptions, TaskOptions};

use super::Machine;
use super::data::{StepInput, param_value};
use crate::graph::{Function, Message, Param, StepIndex, Target, Task};
use crate::json::{self, Object};
use crate::path::Segment;

impl Machine<'_> {
    /// A call whose outcome the step waits for.
    pub(super) fn function_call(&self, cell: u32, step: StepIndex, task: &Task, function: &Function) -> Call {
        let Some(params) = &function.params else {
            return self.call(step, task, &function.name, self.step_input(cell, step).to_json());
        };
        let input = param_value(params, &StepInput::of(self, cell, step)).unwrap_or_else(Json::null);
        let call = self.call(step, task, &function.name, input);
        let callback_paths = tokens_in(&call.callback_paths, params, "");
        Call { callback_paths, ..call }
    }

    /// A call that nobody waits for.
    pub(super) fn left_alone(&self, function: &str, input: Json) -> Child {
        let definition = DefinitionRef {
            namespace: self.run.definition.namespace.clone(),
            kind: DefinitionKind::Task,
            name: function.into(),
            version: "".into(),
        };
        let options = Box::default();
        let on_parent_end = OnParentEnd::Abandon;
        Child {
            definition,
            input,
            continue_id: None,
            is_name: false,
            wait: false,
            callback: None,
            on_parent_end,
            options,
        }
    }

    /// A message that nobody waits for: a run of the task that has the queue's name, in that queue.
    pub(super) fn message_child(&self, cell: u32, step: StepIndex, message: &Message) -> Child {
        let input = self.message_input(cell, step, message).to_json();
        let queue = message.queue.clone();
        // The lowest is also that of a message which says nothing.
        let priority = (message.priority > 0).then_some(message.priority);
        let task = TaskOptions { queue, priority, ..TaskOptions::default() };
        let options = RunOptions { delay_ms: message.delay_ms, task: Some(task), ..RunOptions::default() };
        Child { options: Box::new(options), ..self.left_alone(&message.queue, input) }
    }

    /// A message that somebody answers by the token in it.
    pub(super) fn message_call(&self, cell: u32, step: StepIndex, task: &Task, message: &Message) -> Call {
        let input = self.message_input(cell, step, message).to_json();
        let call = self.call(step, task, &message.queue, input);
        let places = message.parts.iter();
        let callback_paths = places
            .flat_map(|(name, part)| tokens_in(&call.callback_paths, part, &format!("/{name}")))
            .collect();
        Call { queue: message.queue.clone(), priority: message.priority, callback_paths, ..call }
    }

    fn message_input(&self, cell: u32, step: StepIndex, message: &Message) -> Object {
        let own = StepInput::of(self, cell, step);
        let mut input = Object::default();
        for (name, part) in &message.parts {
            input.0.insert(name.clone(), param_value(part, &own).unwrap_or_else(Json::null));
        }
        input
    }

    /// What the step has of something that was sent; `None` where something else was done.
    pub(super) fn sent(&self, cell: u32, step: StepIndex, task: &Task, result: &Json) -> Option<Json> {
        let run = || json::member(result.get(), "run_id").map(str::to_owned);
        match &task.target {
            Target::Function(function) if function.is_left_alone => {
                Some(Json::trusted(format!(r#"{{"RequestId":{}}}"#, run()?)))
            }
            Target::Message(message) if !task.callback => {
                let run = run()?;
                let input = self.message_input(cell, step, message);
                let body = input.get("Message").map_or("", Json::get);
                let digest = digest(&serde_json::from_str(body).unwrap_or_else(|_| body.to_owned()));
                let sent = format!(r#"{{"MessageId":{run},"RequestId":{run},"MessageBodyMD5":"{digest}"}}"#);
                Some(Json::trusted(sent))
            }
            Target::Function(_) | Target::Flow(_) | Target::Message(_) => None,
        }
    }
}

/// Pointers to where an input has the callback token, when `param` makes the part of it at `at` from a step's input that has it at
/// `tokens`.
pub(super) fn tokens_in(tokens: &[String], param: &Param, at: &str) -> Vec<String> {
    match param {
        Param::Constant(_) => Vec::new(),
        Param::Path(path) => {
            let Some(taken) = pointer(path) else { return Vec::new() };
            let is_inside = |rest: &&str| rest.is_empty() || rest.starts_with('/');
            let inside =
                tokens.iter().filter_map(|token| token.strip_prefix(taken.as_str()).filter(is_inside));
            inside.map(|rest| format!("{at}{rest}")).collect()
        }
        Param::Object(entries) => {
            let below =
                |(key, value): &(String, Param)| tokens_in(tokens, value, &format!("{at}/{}", escaped(key)));
            entries.iter().flat_map(below).collect()
        }
        Param::List(items) => {
            let below = |(number, item)| tokens_in(tokens, item, &format!("{at}/{number}"));
            items.iter().enumerate().flat_map(below).collect()
        }
    }
}

/// A path as a pointer; none for one that collects.
fn pointer(path: &[Segment]) -> Option<String> {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Key(key) => pointer.extend(["/", &escaped(key)]),
            Segment::Index(index) => pointer.extend(["/", &index.to_string()]),
            Segment::All => return None,
        }
    }
    Some(pointer)
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// What the vendor's queues give for a body, so that a sender can compare it with its own.
fn digest(body: &str) -> String {
    Md5::digest(body.as_bytes()).iter().fold(String::new(), |text, byte| text + &format!("{byte:02X}"))
}
