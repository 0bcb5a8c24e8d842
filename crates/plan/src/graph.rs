//! A flow as the interpreter sees it: steps in lists, and lists owned by what contains them.
//!
//! A list is what runs serially with one local: the flow's steps, a choice's branch, a parallel's branch, a foreach's body.
//! Everything is a number into two tables, so that interpreter state stays small.

use riverrun_kernel::Json;

use crate::condition::Expr;
use crate::path::Segment;
use crate::yaml::Span;

/// A place in [`Graph::steps`], in the order of the text.
pub(crate) type StepIndex = usize;
/// A place in [`Graph::lists`].
pub(crate) type ListIndex = usize;

/// The steps of a flow; list 0 is the flow's own.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) steps: Vec<Step>,
    pub(crate) lists: Vec<List>,
    pub(crate) input: Option<Vec<Mapping>>,
    pub(crate) output: Option<Vec<Mapping>>,
    pub(crate) timeout_ms: Option<u64>,
    /// Where that stands in the source.
    pub(crate) timeout_span: Span,
}

impl Graph {
    /// The step that a list belongs to; `None` for the flow's own.
    pub(crate) fn owner(&self, list: ListIndex) -> Option<StepIndex> {
        match self.lists[list].owner {
            Owner::Flow => None,
            Owner::Choice { step, .. } | Owner::Parallel { step, .. } | Owner::Foreach { step } => Some(step),
        }
    }
}

#[derive(Debug)]
pub(crate) struct List {
    pub(crate) owner: Owner,
    pub(crate) steps: Vec<StepIndex>,
}

/// What contains a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Flow,
    /// Branch `branch` of a choice; its default comes after its last.
    Choice {
        step: StepIndex,
        branch: usize,
    },
    Parallel {
        step: StepIndex,
        branch: usize,
    },
    Foreach {
        step: StepIndex,
    },
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    /// Where its name stands in the source.
    pub(crate) span: Span,
    pub(crate) list: ListIndex,
    /// Its place in that list.
    pub(crate) place: usize,
    pub(crate) end: bool,
    pub(crate) input: Option<Vec<Mapping>>,
    pub(crate) output: Option<Vec<Mapping>>,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Pass,
    Task(Task),
    Wait(Wait),
    /// The default, if there is one, is the last branch and has no condition.
    Choice(Vec<Branch>),
    Parallel(Vec<ListIndex>),
    Foreach(Foreach),
    Succeed,
    Fail {
        error: String,
        cause: String,
    },
}

impl Kind {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Kind::Pass => "pass",
            Kind::Task(_) => "task",
            Kind::Wait(_) => "wait",
            Kind::Choice(_) => "choice",
            Kind::Parallel(_) => "parallel",
            Kind::Foreach(_) => "foreach",
            Kind::Succeed => "succeed",
            Kind::Fail { .. } => "fail",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) target: Target,
    /// Its outcome is reported from outside, with the step's token.
    pub(crate) callback: bool,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) retry: Vec<Retry>,
    pub(crate) catch: Vec<Catch>,
    pub(crate) error_mappings: Option<Vec<Mapping>>,
}

#[derive(Debug)]
pub(crate) enum Target {
    Function(Function),
    /// Another flow.
    Flow(ChildFlow),
    /// A queue.
    Message(Message),
}

/// A function and how it is called.
#[derive(Debug, Default)]
pub(crate) struct Function {
    /// `service/function`, a task's name, an address, or a cloud service's `service:Operation`.
    pub(crate) name: String,
    /// Its input, in place of the step's.
    pub(crate) params: Option<Param>,
    /// It is called by a run of its own, which the step does not wait for.
    pub(crate) is_left_alone: bool,
}

/// Another flow, and how it is started.
#[derive(Debug)]
pub(crate) struct ChildFlow {
    /// Its name; where it is a path, the step's input says which flow.
    pub(crate) name: Param,
    /// Its input, in place of the step's.
    pub(crate) input: Option<Param>,
    /// The name of the execution.
    pub(crate) execution: Option<Param>,
    /// The step ends when the flow does.
    pub(crate) waits: bool,
}

impl ChildFlow {
    /// Its name, where the definition says it.
    pub(crate) fn known_name(&self) -> Option<String> {
        match &self.name {
            Param::Constant(name) => serde_json::from_str(name.get()).ok(),
            Param::Path(_) | Param::Object(_) | Param::List(_) => None,
        }
    }
}

/// A message to whoever takes from a queue.
#[derive(Debug)]
pub(crate) struct Message {
    /// The queue, and the task that it is for.
    pub(crate) queue: String,
    /// What the task's input is made of, by name: `Message`, and where they are given `MessageTag` and `MessageAttributes`. A `Message`
    /// that is not given is the step's input.
    pub(crate) parts: Vec<(String, Param)>,
    pub(crate) delay_ms: Option<u64>,
    /// 0 to 9; higher first.
    pub(crate) priority: u8,
}

/// A service parameter: literal, or with paths into the step's input.
#[derive(Debug)]
pub(crate) enum Param {
    Constant(Json),
    Path(Vec<Segment>),
    Object(Vec<(String, Param)>),
    List(Vec<Param>),
}

/// A retry policy, in the language's own error names.
#[derive(Debug)]
pub(crate) struct Retry {
    pub(crate) errors: Vec<String>,
    pub(crate) interval_ms: u64,
    pub(crate) max_interval_ms: u64,
    pub(crate) max_attempts: u32,
    pub(crate) multiplier: f64,
}

#[derive(Debug)]
pub(crate) struct Catch {
    pub(crate) errors: Vec<String>,
    /// A place in the step's own list.
    pub(crate) goto: usize,
}

#[derive(Debug)]
pub(crate) enum Wait {
    Seconds(u64),
    SecondsAt(Vec<Segment>),
    /// Wall milliseconds.
    Until(i64),
    UntilAt(Vec<Segment>),
}

#[derive(Debug)]
pub(crate) struct Branch {
    /// `None` for the default.
    pub(crate) condition: Option<Expr>,
    /// The condition as it was written, and where.
    pub(crate) written: String,
    pub(crate) span: Span,
    pub(crate) steps: Option<ListIndex>,
    /// A place in the choice's own list.
    pub(crate) goto: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Foreach {
    pub(crate) collection: Vec<Segment>,
    /// Where the collection stands in the source.
    pub(crate) span: Span,
    pub(crate) item: String,
    pub(crate) index: Option<String>,
    pub(crate) steps: ListIndex,
}

#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) target: String,
    pub(crate) source: Source,
    /// Where the source stands in the source text.
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) enum Source {
    Constant(Json),
    Path(Root, Vec<Segment>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    Input,
    Local,
    Context,
}
