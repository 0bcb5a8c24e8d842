//! Who plays which part: the drivers of flows and of stubbed child flows, and the answers to calls.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use riverrun_kernel::driver::{Action, DriverFault, RunContext, Sleep, Then, Turn, Wake, Work};
use riverrun_kernel::task::TaskDriver;
use riverrun_kernel::{DefinitionKind, DefinitionRef, Driver, Drivers, Failure, Json, Resolved};
use serde_json::Value;

use super::{Answer, CallMade, Case, ChildStub, Outcome, Program, Stub};
use crate::Flow;

/// Finds drivers for the partition.
pub(super) struct Cast {
    name: String,
    flow: Arc<Flow>,
    children: BTreeMap<String, Arc<Flow>>,
    stubs: BTreeMap<String, Arc<Understudy>>,
}

/// Stands in for a child flow.
struct Understudy {
    name: String,
    prompter: Arc<Mutex<Prompter>>,
}

/// Knows the answers, and writes down the questions.
#[derive(Debug, Default)]
pub(super) struct Prompter {
    functions: BTreeMap<String, Stub>,
    flows: BTreeMap<String, Stub>,
    callbacks: BTreeMap<String, Stub>,
    asked: HashMap<(&'static str, String), usize>,
    pub(super) calls: Vec<CallMade>,
    pub(super) problems: Vec<String>,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Function,
    Flow,
    Callback,
    /// A message, which is done with unless a stub says more.
    Queue,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Part::Function => "function",
            Part::Flow => "flow",
            Part::Callback => "callback",
            Part::Queue => "queue",
        }
    }
}

impl Prompter {
    pub(super) fn of(case: &Case) -> Self {
        let stubbed = case.flows.iter().filter_map(|(name, stub)| match stub {
            ChildStub::Stub(stub) => Some((name.clone(), stub.clone())),
            ChildStub::File(_) => None,
        });
        Prompter {
            functions: case.functions.clone(),
            flows: stubbed.collect(),
            callbacks: case.callbacks.clone(),
            ..Prompter::default()
        }
    }

    /// The answer to a call; `None` where nothing answers.
    pub(super) fn ask(&mut self, part: Part, name: &str, input: &Json, path: &str) -> Option<Answer> {
        if part != Part::Callback {
            let call = CallMade { name: name.to_owned(), input: input.clone(), path: path.to_owned() };
            self.calls.push(call);
        }
        let stubs = match part {
            Part::Function | Part::Queue => &self.functions,
            Part::Flow => &self.flows,
            Part::Callback => &self.callbacks,
        };
        let Some(stub) = stubs.get(name) else {
            if part == Part::Queue {
                return Some(Answer { outcome: Outcome::Result(Json::empty_object()), after_ms: 0 });
            }
            if part != Part::Callback {
                let problem = format!("the {} `{name}` is called by `{path}` and has no stub", part.word());
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
            }
            return None;
        };
        let asked = self.asked.entry((part.word(), name.to_owned())).or_default();
        *asked += 1;
        let answer = pick(stub, *asked, &input.to_value().unwrap_or(Value::Null));
        if answer.is_none() {
            let problem = match stub {
                Stub::Sequence(answers) => format!(
                    "the {} `{name}` was called a further time: its sequence has {} answers",
                    part.word(),
                    answers.len()
                ),
                _ => format!("no stub of the {} `{name}` is for the input {input}", part.word()),
            };
            self.problems.push(problem);
        }
        answer
    }
}

fn pick(stub: &Stub, asked: usize, input: &Value) -> Option<Answer> {
    match stub {
        Stub::Always(answer) => Some(answer.clone()),
        Stub::Sequence(answers) => answers.get(asked - 1).cloned(),
        Stub::ByInput(stubs) => {
            let (_, stub) = stubs.iter().find(|(part, _)| super::compare::has(input, part))?;
            pick(stub, asked, input)
        }
    }
}

impl Outcome {
    /// As the outcome of a step.
    pub(super) fn as_result(&self) -> Result<Json, Failure> {
        match self {
            Outcome::Result(result) => Ok(result.clone()),
            Outcome::Error { error, cause } => Err(Failure::new(error, cause)),
            Outcome::Crash => Err(Failure::new(Failure::WORKER_CRASHED, "the case says so")),
            Outcome::Never => Err(Failure::new(Failure::TIMEOUT, "the case says so")),
        }
    }
}

impl Cast {
    pub(super) fn of(program: &Program, prompter: &Arc<Mutex<Prompter>>) -> Self {
        let known = prompter.lock().map(|prompter| prompter.flows.keys().cloned().collect::<Vec<_>>());
        let understudy = |name: String| {
            let stub = Understudy { name: name.clone(), prompter: Arc::clone(prompter) };
            (name, Arc::new(stub))
        };
        let missing = program.flow.children().into_iter();
        Cast {
            name: program.name.clone(),
            flow: Arc::clone(&program.flow),
            children: program.children.clone(),
            stubs: known.unwrap_or_default().into_iter().chain(missing).map(understudy).collect(),
        }
    }
}

impl Cast {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn timeout_ms(&self) -> Option<u64> {
        self.flow.timeout_ms()
    }
}

impl Drivers for Cast {
    fn driver(&self, definition: &DefinitionRef) -> Option<Arc<dyn Driver>> {
        if definition.kind == DefinitionKind::Task {
            return Some(Arc::new(TaskDriver));
        }
        let name = &*definition.name;
        if let Some(flow) = self.children.get(name) {
            return Some(Arc::clone(flow) as Arc<dyn Driver>);
        }
        if *name == *self.name {
            return Some(Arc::clone(&self.flow) as Arc<dyn Driver>);
        }
        self.stubs.get(name).map(|stub| Arc::clone(stub) as Arc<dyn Driver>)
    }

    fn resolve(&self, definition: &DefinitionRef) -> Option<Resolved> {
        self.driver(definition)?;
        if definition.kind == DefinitionKind::Task {
            return Some(Resolved { definition: definition.clone(), timeout_ms: None, defaults: None });
        }
        let name = &*definition.name;
        let flow = self.children.get(name).or((*name == *self.name).then_some(&self.flow));
        let timeout_ms = flow.and_then(|flow| flow.timeout_ms());
        Some(Resolved {
            definition: DefinitionRef { version: "case".into(), ..definition.clone() },
            timeout_ms,
            defaults: None,
        })
    }
}

impl Driver for Understudy {
    fn advance(&self, run: RunContext<'_>, wake: &Wake, _fuel: u32) -> Result<Turn, DriverFault> {
        // The answer is kept as the run's state, so that it is asked for once.
        const ANSWER: u32 = 1;
        let end = |outcome: Result<Json, Failure>| Turn { then: Then::End(outcome), ..Turn::default() };
        if *wake != Wake::Started {
            let kept = run.cells.get(&ANSWER).ok_or_else(|| DriverFault("no answer was kept".to_owned()))?;
            let outcome = serde_json::from_str(kept).map_err(|error| DriverFault(error.to_string()))?;
            return Ok(end(outcome));
        }
        let answer = self
            .prompter
            .lock()
            .map_err(|_| DriverFault("the case's stubs are lost".to_owned()))?
            .ask(Part::Flow, &self.name, run.input, &self.name);
        let Some(answer) = answer else {
            return Ok(end(Err(Failure::new("NoStub", format!("the flow `{}` has no stub", self.name)))));
        };
        let work = match (&answer.outcome, answer.after_ms) {
            (Outcome::Never, _) => Work::Signal { name: "never".to_owned(), timeout_ms: None },
            (outcome, 0) => return Ok(end(outcome.as_result())),
            (_, after_ms) => Work::Sleep(Sleep::For(after_ms)),
        };
        let kept = serde_json::to_string(&answer.outcome.as_result())
            .map_err(|error| DriverFault(error.to_string()))?;
        Ok(Turn {
            cells: vec![(ANSWER, Some(kept.into()))],
            actions: vec![Action::Begin { tag: 1, path: "stub".to_owned(), work }],
            ..Turn::default()
        })
    }
}
