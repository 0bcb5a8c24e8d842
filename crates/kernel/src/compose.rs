//! Runs made of runs: a *group* starts many side by side, a *chain* one after another. No process waits for them: their state is a few
//! cells, and each end of a child is a turn.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::Next;
use crate::driver::{
    Action, Child, Driver, DriverFault, OnParentEnd, RunContext, Tag, Then, Turn, Wake, Work,
};
use crate::json::Json;
use crate::run::Failure;

/// The name that groups go by.
pub const GROUP: &str = "group";
/// The name that chains go by.
pub const CHAIN: &str = "chain";

/// The error of a group of which something has failed for good.
const GROUP_FAILED: &str = "GroupFailed";
/// Failures that a group names; it says how many there are.
const FAILURES_NAMED: usize = 100;
/// The step that follows a group.
const FOLLOWING: Tag = Tag::MAX;
/// The cell of counts; cell `n + 1` holds how part `n` of a group has ended, cell 1 what the last part of a chain gave.
const COUNTS: u32 = 0;

/// The input of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupInput {
    /// What runs side by side.
    pub parts: Vec<Next>,
    /// What gets the list of their results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Next>,
    /// Failures are results, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_failures: bool,
}

/// The input of a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChainInput {
    /// What runs one after another.
    pub parts: Vec<Next>,
}

/// The driver of a definition that is part of Riverrun.
pub fn driver(name: &str) -> Option<Arc<dyn Driver>> {
    match name {
        GROUP => Some(Arc::new(GroupDriver)),
        CHAIN => Some(Arc::new(ChainDriver)),
        _ => None,
    }
}

/// Drives groups.
#[derive(Debug, Clone, Copy)]
pub struct GroupDriver;

/// Drives chains.
#[derive(Debug, Clone, Copy)]
pub struct ChainDriver;

/// How far a group has come.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counts {
    begun: usize,
    ended: usize,
    failed: usize,
}

/// How one part has ended.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    Output(Json),
    Error(Failure),
}

impl Driver for GroupDriver {
    fn advance(&self, run: RunContext<'_>, wake: &Wake, fuel: u32) -> Result<Turn, DriverFault> {
        let mut counts: Counts =
            read(run.cells.get(&COUNTS).map_or("{\"begun\":0,\"ended\":0,\"failed\":0}", |c| c))?;
        match wake {
            Wake::Started | Wake::Continued => begin_parts(&run, counts, fuel),
            Wake::StepEnded { tag: FOLLOWING, outcome, .. } => {
                Ok(Turn { then: Then::End(outcome.clone()), transitions: 1, ..Turn::default() })
            }
            Wake::StepEnded { tag, outcome, .. } => {
                counts.ended += 1;
                counts.failed += usize::from(outcome.is_err());
                let cell = u32::try_from(tag + 1).map_err(|_| fault("a part that no group has"))?;
                let told: Arc<str> = tell(outcome)?.into();
                let last = counts.ended == counts.begun && parts(&run)?.parts.len() == counts.begun;
                let mut turn = if last {
                    let told = told.clone();
                    end_group(&run, &counts, |at| {
                        if at + 1 == cell as usize { Some(told.clone()) } else { cell_of(&run, at) }
                    })?
                } else {
                    Turn::default()
                };
                turn.cells.push((cell, Some(told)));
                turn.cells.push((COUNTS, Some(write(&counts)?)));
                turn.transitions = 1;
                Ok(turn)
            }
            Wake::Reopened => begin_failed(&run, counts),
        }
    }
}

/// Starts as many parts as one turn may.
fn begin_parts(run: &RunContext<'_>, mut counts: Counts, fuel: u32) -> Result<Turn, DriverFault> {
    let input = parts(run)?;
    if input.parts.is_empty() {
        return end_group(run, &counts, |_| None);
    }
    let from = counts.begun;
    counts.begun = (from + fuel.max(1) as usize).min(input.parts.len());
    let begin = |at: usize| begin(at as Tag, at.to_string(), &input.parts[at], None);
    Ok(Turn {
        actions: (from..counts.begun).map(begin).collect(),
        transitions: 1,
        then: if counts.begun < input.parts.len() { Then::Continue } else { Then::Wait },
        cells: vec![(COUNTS, Some(write(&counts)?))],
        ..Turn::default()
    })
}

/// Goes on with what has failed or was given up; where nothing was, with what follows the group. The kernel reopens the same runs.
fn begin_failed(run: &RunContext<'_>, mut counts: Counts) -> Result<Turn, DriverFault> {
    let input = parts(run)?;
    let is_to_do = |at: &usize| match cell_of(run, *at) {
        Some(cell) => !input.allow_failures && cell.starts_with("{\"error\""),
        None => true,
    };
    let again: Vec<usize> = (0..counts.begun).filter(is_to_do).collect();
    if again.is_empty() && counts.begun == input.parts.len() {
        return end_group(run, &counts, |at| cell_of(run, at));
    }
    counts.ended = counts.begun - again.len();
    if !input.allow_failures {
        counts.failed = 0;
    }
    Ok(Turn {
        actions: again
            .into_iter()
            .map(|at| begin(at as Tag, at.to_string(), &input.parts[at], None))
            .collect(),
        transitions: 1,
        then: if counts.begun < input.parts.len() { Then::Continue } else { Then::Wait },
        cells: vec![(COUNTS, Some(write(&counts)?))],
        ..Turn::default()
    })
}

/// All parts have ended.
fn end_group(
    run: &RunContext<'_>,
    counts: &Counts,
    cell: impl Fn(usize) -> Option<Arc<str>>,
) -> Result<Turn, DriverFault> {
    let input = parts(run)?;
    let mut results = Vec::with_capacity(input.parts.len());
    for at in 0..input.parts.len() {
        results.push(cell(at).ok_or_else(|| fault("a part that has ended left nothing"))?);
    }
    let turn = |then| Turn { then, transitions: 1, ..Turn::default() };
    if counts.failed > 0 && !input.allow_failures {
        return Ok(turn(Then::End(Err(group_failure(&results, counts)?))));
    }
    let texts: Vec<String> = results
        .iter()
        .map(|text| match read::<Ended>(text)? {
            Ended::Output(output) if !input.allow_failures => Ok(output.get().to_owned()),
            _ => Ok(text.to_string()),
        })
        .collect::<Result<_, DriverFault>>()?;
    let output = Json::trusted(format!("[{}]", texts.join(",")));
    match &input.then {
        None => Ok(turn(Then::End(Ok(output)))),
        Some(next) => Ok(Turn {
            actions: vec![begin(FOLLOWING, "then".to_owned(), next, Some(&output))],
            ..turn(Then::Wait)
        }),
    }
}

fn group_failure(results: &[Arc<str>], counts: &Counts) -> Result<Failure, DriverFault> {
    let mut named = Vec::new();
    for (at, text) in results.iter().enumerate() {
        if let Ended::Error(failure) = read(text)? {
            named.push(serde_json::json!({ "part": at, "error": failure.error, "message": failure.message }));
            if named.len() == FAILURES_NAMED {
                break;
            }
        }
    }
    let first = named.first().map_or_else(String::new, |first| {
        let text = |name: &str| first[name].as_str().unwrap_or_default().to_owned();
        format!("; the first, part {}: {}: {}", first["part"], text("error"), text("message"))
    });
    let message = format!("{} of {} parts failed{first}", counts.failed, results.len());
    let details = Some(Json::from(serde_json::json!({ "failed": named })));
    Ok(Failure { details, ..Failure::new(GROUP_FAILED, message) })
}

impl Driver for ChainDriver {
    fn advance(&self, run: RunContext<'_>, wake: &Wake, _fuel: u32) -> Result<Turn, DriverFault> {
        let input: ChainInput = read(run.input.get())?;
        let at: usize = read(run.cells.get(&COUNTS).map_or("0", |cell| cell))?;
        let before = run.cells.get(&1).map(|text| Json::trusted(text.clone()));
        let end = |outcome| Ok(Turn { then: Then::End(outcome), transitions: 1, ..Turn::default() });
        match wake {
            Wake::Started | Wake::Continued | Wake::Reopened => match input.parts.get(at) {
                Some(part) => Ok(Turn {
                    actions: vec![begin(at as Tag, at.to_string(), part, before.as_ref())],
                    transitions: 1,
                    ..Turn::default()
                }),
                None => end(Ok(Json::null())),
            },
            Wake::StepEnded { outcome: Err(failure), .. } => end(Err(failure.clone())),
            Wake::StepEnded { outcome: Ok(output), .. } => match input.parts.get(at + 1) {
                Some(part) => Ok(Turn {
                    actions: vec![begin(at as Tag + 1, (at + 1).to_string(), part, Some(output))],
                    transitions: 1,
                    cells: vec![(COUNTS, Some((at + 1).to_string().into())), (1, Some(output.get().into()))],
                    ..Turn::default()
                }),
                None => end(Ok(output.clone())),
            },
        }
    }
}

fn begin(tag: Tag, path: String, part: &Next, before: Option<&Json>) -> Action {
    let input = match before {
        Some(output) => part.input_with(output),
        None => part.input.clone().unwrap_or_else(Json::empty_object),
    };
    let child = Child {
        definition: part.definition.clone(),
        input,
        continue_id: None,
        is_name: false,
        wait: true,
        callback: None,
        on_parent_end: OnParentEnd::Cancel,
        options: Box::new(part.options.clone()),
    };
    Action::Begin { tag, path, work: Work::Child(child) }
}

fn parts(run: &RunContext<'_>) -> Result<GroupInput, DriverFault> {
    read(run.input.get())
}

fn cell_of(run: &RunContext<'_>, at: usize) -> Option<Arc<str>> {
    run.cells.get(&u32::try_from(at + 1).ok()?).cloned()
}

fn tell(outcome: &Result<Json, Failure>) -> Result<String, DriverFault> {
    match outcome {
        Ok(output) => Ok(format!("{{\"output\":{output}}}")),
        Err(failure) => {
            let text = serde_json::to_string(failure).map_err(|error| fault(&error.to_string()))?;
            Ok(format!("{{\"error\":{text}}}"))
        }
    }
}

fn write(counts: &Counts) -> Result<Arc<str>, DriverFault> {
    serde_json::to_string(counts).map(Into::into).map_err(|error| fault(&error.to_string()))
}

fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, DriverFault> {
    serde_json::from_str(text).map_err(|error| fault(&error.to_string()))
}

fn fault(what: &str) -> DriverFault {
    DriverFault(format!("the state of this run cannot be read: {what}"))
}
