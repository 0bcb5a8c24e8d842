//! Steps that the kernel carries out: tasks and waits, their ends, retries and catches.
//!
//! The kernel retries calls by the policies that it was handed. What it cannot retry is retried here: a child flow that
//! failed, a result that is no object.

use riverrun_kernel::driver::{
    Action, Call, Child, DriverFault, Handed, OnParentEnd, RetryPolicy, Sleep, Tag, Work,
    default_max_crashes, default_queue,
};
use riverrun_kernel::{DefinitionKind, DefinitionRef, Due, Failure, Json, Wall};

use super::data::{StepInput, param_value};
use super::frame::{Open, Try};
use super::message::tokens_in;
use super::{Machine, Moved, StepTag, walk};
use crate::check::beyond::too_long_a_wait;
use crate::check::moment;
use crate::condition::find;
use crate::errors;
use crate::graph::{ChildFlow, Kind, Retry, StepIndex, Target, Task, Wait};
use crate::json::{self, Object};
use crate::limits::is_over;

impl Machine<'_> {
    pub(super) fn begin_wait(&mut self, cell: u32, step: StepIndex, wait: &Wait) {
        match self.wait_time(cell, step, wait) {
            Ok(sleep) => {
                self.visit(cell, step);
                self.frame_mut(cell).control.open = Open::Step(Try::default());
                self.begin(cell, false, self.path(cell, step), Work::Sleep(sleep));
            }
            Err(message) => {
                self.fail(cell, step, Failure::new(errors::INVALID_INPUT, message).not_retryable());
            }
        }
    }

    fn wait_time(&self, cell: u32, step: StepIndex, wait: &Wait) -> Result<Sleep, String> {
        const LONGEST_SECONDS: u64 = 4_000_000_000;
        let name = &self.graph.steps[step].name;
        let (path, wanted) = match wait {
            Wait::Seconds(seconds) => return Ok(Sleep::For(seconds * 1000)),
            Wait::Until(moment) => return self.allowed(name, Sleep::Until(Due::Wall(Wall(*moment)))),
            Wait::SecondsAt(path) => (path, "a whole number of seconds"),
            Wait::UntilAt(path) => (path, "a date such as \"2030-01-01T09:00:00Z\""),
        };
        let found = find(&StepInput::of(self, cell, step), path);
        let found = found.as_ref().map_or("null", Json::get);
        let sleep = match wait {
            Wait::UntilAt(_) => serde_json::from_str::<String>(found)
                .ok()
                .and_then(|text| moment(&text))
                .map(|moment| Sleep::Until(Due::Wall(Wall(moment)))),
            _ => found
                .parse()
                .ok()
                .filter(|&seconds: &u64| seconds <= LONGEST_SECONDS)
                .map(|seconds| Sleep::For(seconds * 1000)),
        };
        let shown: String = found.chars().take(80).collect();
        let sleep =
            sleep.ok_or_else(|| format!("`{name}` needs {wanted} in its input, but found {shown}"))?;
        self.allowed(name, sleep)
    }

    /// A wait that is not too long.
    fn allowed(&self, step: &str, sleep: Sleep) -> Result<Sleep, String> {
        let ms = match sleep {
            Sleep::For(ms) => ms,
            Sleep::Until(Due::Wall(moment)) => {
                u64::try_from(moment.0.saturating_sub(self.run.now.wall.0)).unwrap_or_default()
            }
            Sleep::Until(Due::Ticks(_)) => 0,
        };
        let seconds = ms.div_ceil(1000);
        if is_over(seconds, self.limits.wait_seconds) {
            return Err(too_long_a_wait(step, seconds, &self.limits));
        }
        Ok(sleep)
    }

    pub(super) fn begin_task(&mut self, cell: u32, step: StepIndex) {
        self.visit(cell, step);
        self.frame_mut(cell).control.open = Open::Step(Try::default());
        self.begin_try(cell, step);
    }

    /// Begins the step that a frame is at once more, after the run was resumed.
    pub(super) fn begin_again(&mut self, cell: u32) {
        let control = &mut self.frame_mut(cell).control;
        let (list, at) = (control.list, control.at);
        if let Open::Step(tried) = &mut control.open {
            tried.used.clear();
            tried.backing_off = false;
        }
        let step = self.graph.lists[list].steps[at];
        match &self.graph.steps[step].kind {
            Kind::Wait(wait) => match self.wait_time(cell, step, wait) {
                Ok(sleep) => self.begin(cell, false, self.path(cell, step), Work::Sleep(sleep)),
                Err(message) => self.fail(cell, step, Failure::new(errors::INVALID_INPUT, message)),
            },
            _ => self.begin_try(cell, step),
        }
    }

    /// Asks the kernel for the step that a frame is at, or for its time limit.
    fn begin(&mut self, cell: u32, is_limit: bool, path: String, work: Work) {
        let tag = self.tag(cell, is_limit);
        if !matches!(work, Work::Sleep(_)) {
            self.count_events(1);
        }
        self.walk_begun(cell, tag);
        self.actions.push(Action::Begin { tag, path, work });
    }

    pub(super) fn tried(&self, cell: u32) -> Try {
        match &self.frame(cell).control.open {
            Open::Step(tried) => tried.clone(),
            _ => Try::default(),
        }
    }

    fn begin_try(&mut self, cell: u32, step: StepIndex) {
        let Kind::Task(task) = &self.graph.steps[step].kind else {
            return;
        };
        let before = self.tried(cell).before;
        let mut path = self.path(cell, step);
        if before > 0 {
            path = format!("{path}~{}", before + 1);
        }
        match &task.target {
            Target::Function(function) if function.is_left_alone => {
                let child = self.left_alone(&function.name, self.step_input(cell, step).to_json());
                self.begin(cell, false, path, Work::Child(child));
            }
            Target::Function(function) => {
                let call = self.function_call(cell, step, task, function);
                self.begin(cell, false, path, Work::Call(call));
            }
            Target::Message(message) if task.callback => {
                let call = self.message_call(cell, step, task, message);
                self.begin(cell, false, path, Work::Call(call));
            }
            Target::Message(message) => {
                let child = self.message_child(cell, step, message);
                self.begin(cell, false, path, Work::Child(child));
            }
            Target::Flow(flow) => match self.child(cell, step, task, flow) {
                Ok(child) => {
                    if let Some(limit) = task.timeout_ms.filter(|_| flow.waits) {
                        let limit_path = format!("{path}~limit");
                        self.begin(cell, true, limit_path, Work::Sleep(Sleep::For(limit)));
                    }
                    self.begin(cell, false, path, Work::Child(child));
                }
                Err(message) => {
                    let failure = Failure::new(errors::INVALID_INPUT, message).not_retryable();
                    self.task_failed(cell, step, task, &failure, By::Step);
                }
            },
        }
    }

    pub(super) fn call(&self, step: StepIndex, task: &Task, function: &str, input: Json) -> Call {
        let retry = |policy: &Retry| RetryPolicy {
            errors: errors::for_kernel(&policy.errors),
            max_retries: policy.max_attempts,
            interval_ms: policy.interval_ms,
            multiplier: policy.multiplier,
            max_interval_ms: policy.max_interval_ms,
            ..RetryPolicy::default()
        };
        // A policy that is for no error must not become one for every error.
        let policies = task.retry.iter().filter(|policy| !policy.errors.is_empty());
        Call {
            function: function.to_owned(),
            input,
            queue: default_queue(),
            priority: 0,
            timeout_ms: task.timeout_ms,
            retry: policies.map(retry).collect(),
            at_most_once: false,
            max_crashes: default_max_crashes(),
            callback: task.callback,
            callback_paths: if task.callback { self.token_paths(step) } else { Vec::new() },
            limit: None,
        }
    }

    fn child(&self, cell: u32, step: StepIndex, task: &Task, flow: &ChildFlow) -> Result<Child, String> {
        let own = StepInput::of(self, cell, step);
        let step_name = &self.graph.steps[step].name;
        let name = self.child_name(&own, flow)?;
        let input = match &flow.input {
            Some(param) => {
                let value = param_value(param, &own).unwrap_or_else(Json::null);
                let object = Object::parse(value.get()).or_else(|| object_in_text(value.get()));
                object.ok_or_else(|| {
                    format!("`Input` of `{step_name}` must be an object for the flow `{name}`")
                })?
            }
            None => self.step_input(cell, step),
        };
        let execution = flow.execution.as_ref().map(|param| {
            let value = param_value(param, &own).unwrap_or_else(Json::null);
            serde_json::from_str::<String>(value.get())
                .map_err(|_| format!("`ExecutionName` of `{step_name}` must be text, but is {value}"))
        });
        let callback = task.callback.then(|| {
            let paths = self.token_paths(step);
            let paths =
                flow.input.as_ref().map_or_else(|| paths.clone(), |param| tokens_in(&paths, param, ""));
            Handed { paths, timeout_ms: task.timeout_ms }
        });
        let parent = self.run.definition;
        Ok(Child {
            definition: DefinitionRef {
                namespace: parent.namespace.clone(),
                kind: DefinitionKind::Flow,
                name: name.into(),
                version: "".into(),
            },
            input: input.to_json(),
            continue_id: execution.transpose()?,
            is_name: true,
            wait: flow.waits,
            callback,
            on_parent_end: if flow.waits { OnParentEnd::Cancel } else { OnParentEnd::Abandon },
            options: Box::default(),
        })
    }

    /// Which flow: said in the definition, or found in the step's input.
    fn child_name(&self, own: &StepInput<'_, '_>, flow: &ChildFlow) -> Result<String, String> {
        let value = param_value(&flow.name, own).unwrap_or_else(Json::null);
        serde_json::from_str::<String>(value.get()).map_err(|_| {
            let step = &self.graph.steps[own.step].name;
            format!("`FlowName` of `{step}` must be the name of a flow, but is {value}")
        })
    }

    /// A step that the kernel had has ended.
    pub(super) fn step_ended(
        &mut self,
        tag: Tag,
        outcome: &Result<Json, Failure>,
        from_outside: bool,
        attempts: u32,
    ) -> Result<(), DriverFault> {
        let StepTag { cell, epoch, is_limit } = StepTag::from_tag(tag);
        if !self.exists(cell) {
            return Ok(());
        }
        self.load(cell)?;
        let control = &self.frame(cell).control;
        if control.epoch != epoch || !matches!(control.open, Open::Step(_)) {
            return Ok(());
        }
        let step = self.graph.lists[control.list].steps[control.at];
        if !is_limit {
            self.count_task_end(cell, step, attempts);
        }
        match &self.graph.steps[step].kind {
            Kind::Wait(_) => {
                self.leave(cell, step, &Json::empty_object(), None, None);
            }
            Kind::Task(task) if is_limit => {
                self.give_up(cell, false);
                let limit = task.timeout_ms.unwrap_or_default() / 1000;
                let message = format!("the flow did not end within timeoutSeconds: {limit}");
                let failure = Failure::new(Failure::TIMEOUT, message);
                self.walked(cell, step, Moved::TimedOut, |_| {
                    walk::failure(&errors::translate(&failure, false).0)
                });
                self.task_failed(cell, step, task, &failure, By::Step);
            }
            Kind::Task(task) => self.task_ended(cell, step, task, outcome, from_outside),
            _ => return Ok(()),
        }
        if self.is_ready(cell) && self.ended.is_none() {
            self.ready.push_back(cell);
        }
        Ok(())
    }

    fn task_ended(
        &mut self,
        cell: u32,
        step: StepIndex,
        task: &Task,
        outcome: &Result<Json, Failure>,
        from_outside: bool,
    ) {
        if self.tried(cell).backing_off {
            if let Open::Step(tried) = &mut self.frame_mut(cell).control.open {
                tried.backing_off = false;
            }
            self.begin_try(cell, step);
            return;
        }
        let child = match &task.target {
            Target::Flow(flow) => Some(flow),
            Target::Function(_) | Target::Message(_) => None,
        };
        // What a callback reports is the step's own outcome, and not that of a run.
        let by = match child {
            Some(_) if !task.callback => By::Child,
            None if is_call(task) && !from_outside => By::Attempts,
            _ => By::Step,
        };
        if child.is_some_and(|flow| flow.waits) && task.timeout_ms.is_some() {
            self.give_up(cell, true);
        }
        match outcome {
            Ok(result) => {
                if let Some(local) = self.sent(cell, step, task, result) {
                    self.leave(cell, step, &local, None, None);
                    return;
                }
                if let Some(local) = Object::parse(result.get()).or_else(|| object_in_text(result.get())) {
                    self.leave(cell, step, &local.to_json(), None, None);
                    return;
                }
                let shown: String = result.get().chars().take(80).collect();
                let name = &self.graph.steps[step].name;
                let message = format!("the result of `{name}` must be a JSON object, but is {shown}");
                self.task_failed(cell, step, task, &Failure::new(errors::INVALID_LOCAL, message), By::Step);
            }
            Err(failure) => self.task_failed(cell, step, task, failure, by),
        }
    }

    /// A step has failed by what it was given or has made. A task's catch may stop that.
    pub(super) fn step_failed(&mut self, cell: u32, step: StepIndex, failure: Failure) {
        match &self.graph.steps[step].kind {
            Kind::Task(task) => self.task_failed(cell, step, task, &failure, By::Step),
            _ => self.fail(cell, step, failure),
        }
    }

    /// A task has failed, as far as the kernel is concerned: for good.
    fn task_failed(&mut self, cell: u32, step: StepIndex, task: &Task, failure: &Failure, by: By) {
        let (failure, names) = errors::translate(failure, by == By::Child);
        // A function may itself have said that its result is of no use: it is tried again as if it had returned one.
        let kernel_retried = by == By::Attempts && failure.error != errors::INVALID_LOCAL;
        if !kernel_retried && failure.retryable && self.back_off(cell, step, task, &names) {
            return;
        }
        let known = &self.graph.steps[step];
        let Some(catch) = task.catch.iter().find(|catch| errors::matches(&catch.errors, &names)) else {
            self.fail(cell, step, failure);
            return;
        };
        let output = task.error_mappings.as_ref().map_or_else(Object::default, |mappings| {
            self.error_output(known, mappings, &described(&failure))
        });
        let target = &self.graph.steps[self.graph.lists[known.list].steps[catch.goto]].name;
        let detail = format!(r#"{{"error":{},"goto":{}}}"#, json::quote(&failure.error), json::quote(target));
        self.walked(cell, step, Moved::Failed, |_| walk::failure(&failure));
        self.go_behind(cell, step, &output, Some(catch.goto), Some(Json::trusted(detail)));
    }

    /// Waits before another try, if a policy grants one.
    fn back_off(&mut self, cell: u32, step: StepIndex, task: &Task, names: &[String]) -> bool {
        let Some(place) = task.retry.iter().position(|policy| errors::matches(&policy.errors, names)) else {
            return false;
        };
        let policy = &task.retry[place];
        let path = self.path(cell, step);
        let Open::Step(tried) = &mut self.frame_mut(cell).control.open else {
            return false;
        };
        tried.used.resize(tried.used.len().max(place + 1), 0);
        if tried.used[place] >= policy.max_attempts {
            return false;
        }
        let grown = policy.interval_ms as f64 * policy.multiplier.powf(f64::from(tried.used[place]));
        let delay = grown.min(policy.max_interval_ms as f64) as u64;
        tried.used[place] += 1;
        tried.before += 1;
        tried.backing_off = true;
        let path = format!("{path}~{}~wait", tried.before);
        self.begin(cell, false, path, Work::Sleep(Sleep::For(delay)));
        true
    }
}

/// What a failure is one of, and with that who retries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Of the last of a call's attempts: the kernel has retried them.
    Attempts,
    /// Of a child flow.
    Child,
    /// Of the step itself: of what became of its token, of its time limit, or of what it was given.
    Step,
}

/// Whether a worker calls a function for the step.
fn is_call(task: &Task) -> bool {
    match &task.target {
        Target::Function(function) => !function.is_left_alone,
        Target::Message(_) => task.callback,
        Target::Flow(_) => false,
    }
}

/// The object that a JSON string holds as text: functions of some languages return it so.
fn object_in_text(text: &str) -> Option<Object> {
    let inner: String = serde_json::from_str(text).ok()?;
    Object::parse(&inner)
}

/// A failure as errorMappings see it.
fn described(failure: &Failure) -> Json {
    let traceback = failure.details.as_ref().and_then(|details| json::member(details.get(), "traceback"));
    let traceback = traceback.and_then(|text| serde_json::from_str::<String>(text).ok());
    let cause = match traceback {
        Some(traceback) => format!("{}\n{traceback}", failure.message),
        None => failure.message.clone(),
    };
    let (error, cause) = (json::quote(&failure.error), json::quote(&cause));
    Json::trusted(format!(r#"{{"error":{error},"code":{error},"cause":{cause}}}"#))
}
