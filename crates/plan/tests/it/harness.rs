//! Plays the kernel: feeds wakes, keeps cells, answers calls from stubs, and writes down what the flow asks for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use riverrun_kernel::driver::{Action, Cells, Driver, RunContext, Sleep, Tag, Then, Wake, Work};
use riverrun_kernel::{
    DefinitionKind, DefinitionRef, Due, Failure, Json, Now, RunId, RunOptions, Slot, Ticks, Wall,
};
use riverrun_plan::{Flow, Limits};
use serde_json::Value;

/// What a stub is asked: the function or flow, its input, and how often it was asked before.
pub type Stub = dyn Fn(&str, &Value, u32) -> Result<Value, Failure>;

/// A flow that must have no mistakes.
pub fn parse(source: &str) -> Flow {
    match Flow::parse(source) {
        Ok((flow, _)) => flow,
        Err(mistakes) => panic!("{}", shown(&mistakes)),
    }
}

/// Diagnostics as lines: `3:7-12 error: … (advice)`.
pub fn shown(diagnostics: &[riverrun_plan::Diagnostic]) -> String {
    let line = |d: &riverrun_plan::Diagnostic| {
        let word = if d.is_error { "error" } else { "warning" };
        let advice = d.advice.as_ref().map_or(String::new(), |advice| format!("\n      {advice}"));
        format!("{}:{} {word}: {}{advice}", d.line, d.column, d.message)
    };
    diagnostics.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The mistakes of a source that must have some.
pub fn mistakes(source: &str) -> String {
    match Flow::parse(source) {
        Ok(_) => panic!("no mistakes found in:\n{source}"),
        Err(found) => shown(&found),
    }
}

/// The warnings of a source that must have no mistakes.
pub fn warnings(source: &str) -> String {
    match Flow::parse(source) {
        Ok((_, warnings)) => shown(&warnings),
        Err(found) => panic!("{}", shown(&found)),
    }
}

/// One run of a flow.
pub struct Run {
    source: String,
    flow: Flow,
    /// Of the process that decides the next turn.
    pub limits: Limits,
    pub now: Wall,
    definition: DefinitionRef,
    input: Json,
    options: RunOptions,
    pub cells: Cells,
    pub wakes: VecDeque<Wake>,
    pub open: BTreeMap<Tag, (String, Work)>,
    paths: BTreeSet<String>,
    /// What it asked for, a line each.
    pub log: Vec<String>,
    pub notes: Vec<String>,
    pub outcome: Option<Result<Value, Failure>>,
    asked: BTreeMap<String, u32>,
    pub fuel: u32,
    pub transitions: u32,
    /// Bytes of cells recorded.
    pub written: usize,
    /// Parse the source anew and copy the cells as text before every turn.
    pub crash_always: bool,
    /// Steps that have ended already may be given up.
    pub lenient: bool,
    keep_text: bool,
    pub last_output: Option<String>,
}

impl Run {
    pub fn new(source: &str, input: &Value) -> Self {
        Run {
            source: source.to_owned(),
            flow: parse(source),
            limits: Limits::default(),
            now: Wall(0),
            definition: DefinitionRef {
                namespace: "default".into(),
                kind: DefinitionKind::Flow,
                name: "test".into(),
                version: "0".into(),
            },
            input: Json::from(input),
            options: RunOptions::default(),
            cells: Cells::new(),
            wakes: VecDeque::from([Wake::Started]),
            open: BTreeMap::new(),
            paths: BTreeSet::new(),
            log: Vec::new(),
            notes: Vec::new(),
            outcome: None,
            asked: BTreeMap::new(),
            fuel: 200,
            transitions: 0,
            written: 0,
            crash_always: false,
            lenient: false,
            keep_text: false,
            last_output: None,
        }
    }

    /// A run that begins under these limits, of a flow that was accepted without any.
    pub fn within(source: &str, input: &Value, limits: Limits) -> Self {
        Run { flow: parse(source).within(limits), limits, ..Run::new(source, input) }
    }

    /// Another input, as it is written.
    pub fn set_input(&mut self, text: &str) {
        self.input = Json::parse(text).expect("it is JSON");
    }

    /// Consumes one wake, of a run that ends with it, and keeps the output as it is written.
    pub fn turn_text(&mut self) {
        self.keep_text = true;
        self.turn();
    }

    /// Consumes one wake.
    pub fn turn(&mut self) {
        let Some(wake) = self.wakes.pop_front() else { return };
        if self.crash_always {
            self.flow = parse(&self.source).within(self.limits);
            self.cells = self.cells.iter().map(|(cell, text)| (*cell, Arc::from(text.as_ref()))).collect();
        }
        let context = RunContext {
            run: RunId::new(0, Slot(0), 7),
            continue_id: None,
            definition: &self.definition,
            input: &self.input,
            options: &self.options,
            cells: &self.cells,
            now: Now { wall: self.now, ticks: Ticks(0) },
        };
        let turn = self.flow.advance(context, &wake, self.fuel).expect("the state is sound");
        self.transitions += turn.transitions;
        for (cell, text) in turn.cells {
            self.written += text.as_ref().map_or(0, |text| text.len());
            match text {
                Some(text) => self.cells.insert(cell, text),
                None => self.cells.remove(&cell),
            };
        }
        for note in turn.notes {
            let detail = note.detail.map_or(String::new(), |detail| format!(" {detail}"));
            self.notes.push(format!("{} {}{detail}", note.event, note.step));
        }
        for action in turn.actions {
            self.act(action);
        }
        match turn.then {
            Then::Wait => {
                assert!(!self.open.is_empty() || !self.wakes.is_empty(), "the run waits for nothing");
            }
            Then::Continue => self.wakes.push_front(Wake::Continued),
            // What the test wants to see as text may be no value that this process can hold.
            Then::End(Ok(output)) if self.keep_text => self.last_output = Some(output.get().to_owned()),
            Then::End(outcome) => {
                self.outcome = Some(outcome.map(|output| output.to_value().expect("decodes")));
                self.open.clear();
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Begin { tag, path, work } => {
                let line = match &work {
                    Work::Call(call) => format!("call {path} {} {}", call.function, call.input),
                    Work::Sleep(Sleep::For(ms)) => format!("sleep {path} {ms}"),
                    Work::Sleep(Sleep::Until(Due::Wall(wall))) => format!("sleep {path} until {}", wall.0),
                    Work::Child(child) => format!("child {path} {} {}", child.definition.name, child.input),
                    other => panic!("not expected: {other:?}"),
                };
                self.log.push(line);
                assert!(self.paths.insert(path.clone()), "the path `{path}` was used before");
                assert!(self.open.insert(tag, (path, work)).is_none(), "the tag {tag} is taken");
            }
            Action::Abort { tag } => {
                let Some((path, _)) = self.open.remove(&tag) else {
                    assert!(self.lenient, "only open steps are given up");
                    return;
                };
                self.log.push(format!("abort {path}"));
            }
        }
    }

    /// Runs the turns that are due.
    pub fn settle(&mut self) {
        while self.outcome.is_none() && !self.wakes.is_empty() {
            self.turn();
        }
    }

    /// Ends an open step.
    pub fn end(&mut self, path: &str, outcome: Result<Value, Failure>) {
        let tag = *self.open.iter().find(|(_, (open, _))| open == path).expect("the step is open").0;
        self.open.remove(&tag);
        self.wakes.push_back(Wake::StepEnded {
            tag,
            outcome: outcome.map(Json::from),
            from_outside: false,
            attempts: 1,
        });
        self.settle();
    }

    /// Resumes the failed run.
    pub fn resume(&mut self) {
        assert!(matches!(self.outcome, Some(Err(_))), "only a failed run is resumed");
        self.outcome = None;
        self.paths.clear();
        self.wakes.clear();
        self.wakes.push_back(Wake::Reopened);
        self.settle();
    }

    /// Runs to the end; sleeps end at once, calls and children as the stub says, oldest first.
    pub fn finish(&mut self, stub: &Stub) -> Result<Value, Failure> {
        self.settle();
        while self.outcome.is_none() {
            let next = self.open.iter().find(|(tag, _)| (**tag >> 32) & 1 == 0).expect("something is open");
            let (path, work) = next.1.clone();
            let outcome = match &work {
                Work::Call(call) => self.ask(stub, &call.function, &call.input),
                Work::Child(child) => self.ask(stub, &child.definition.name, &child.input),
                _ => Ok(Value::Null),
            };
            self.end(&path, outcome);
        }
        self.outcome.clone().expect("it has ended")
    }

    fn ask(&mut self, stub: &Stub, name: &str, input: &Json) -> Result<Value, Failure> {
        let asked = self.asked.entry(name.to_owned()).or_default();
        *asked += 1;
        stub(name, &input.to_value().expect("decodes"), *asked - 1)
    }

    pub fn log(&self) -> String {
        self.log.join("\n")
    }
}

/// Runs a flow of steps that need no stub.
pub fn output(source: &str, input: &Value) -> Value {
    run(source, input, &|name, _, _| panic!("`{name}` has no stub")).0.expect("the flow succeeds")
}

/// Runs a flow to its end; gives its outcome and what it asked for.
pub fn run(source: &str, input: &Value, stub: &Stub) -> (Result<Value, Failure>, String) {
    let mut run = Run::new(source, input);
    let outcome = run.finish(stub);
    (outcome, run.log())
}

/// A flow with these steps, each line indented by nothing.
pub fn flow(steps: &str) -> String {
    format!("version: v1\ntype: flow\nsteps:\n{steps}")
}
