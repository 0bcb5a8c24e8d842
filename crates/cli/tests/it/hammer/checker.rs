//! Goes over a history and says what cannot be.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Value, json};

use super::clients::{AllSeen, Seen, is_code};
use super::history::Line;

/// How far a journal's time may be from a function's, in nanoseconds: a turn of the engine reads the clock once, and on a busy machine
/// long before it reads the last of what it decides about.
const UNSHARP: i128 = 500_000_000;

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    pub violations: Vec<String>,
    pub runs: usize,
    pub steps: usize,
    /// Runs one of whose steps lost its worker as often as it may.
    pub given_up: usize,
    /// Attempts beyond one for each step.
    pub repeated: usize,
    /// Attempts that their worker gave back before they began, because another one had time.
    pub returned: usize,
    /// Attempts that began to execute when the server had given them up: their worker did not know yet.
    pub late: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { runs, steps, given_up, repeated, returned, late, .. } = self;
        write!(
            f,
            "{runs} runs, {given_up} of them given up, {steps} steps, {repeated} repeated attempts, {returned} given back, \
             {late} late ones"
        )
    }
}

/// When an attempt was executed, according to the function.
#[derive(Debug, Default)]
struct Execution {
    begun: Vec<i128>,
    ended: Vec<i128>,
}

/// What the functions did, and when somebody was killed.
struct Deeds<'a> {
    executions: HashMap<&'a str, Execution>,
    /// From just before a kill to just after it.
    kills: Vec<(i128, i128)>,
}

impl<'a> Deeds<'a> {
    fn of(history: &'a [Line]) -> Self {
        let mut deeds = Deeds { executions: HashMap::new(), kills: Vec::new() };
        let mut killing = 0;
        for line in history {
            let at = line.at as i128;
            match line.what.as_str() {
                "begin" => deeds.executions.entry(&line.whom).or_default().begun.push(at),
                "end" => deeds.executions.entry(&line.whom).or_default().ended.push(at),
                "kill" => killing = at,
                "killed" => deeds.kills.push((killing, at)),
                other => panic!("no line begins with {other}"),
            }
        }
        deeds
    }

    fn was_killed_within(&self, from: i128, to: i128) -> bool {
        self.kills.iter().any(|(begun, ended)| *ended >= from && *begun <= to)
    }
}

/// Checks everything that clients, functions and journals say against each other.
pub fn check(seen: &AllSeen, history: &[Line]) -> Report {
    let mut deeds = Deeds::of(history);
    let mut report = Report::default();
    for (key, seen) in seen {
        if seen.given_up {
            let of_run = |name: &str| seen.answers.iter().any(|(run, _)| name.starts_with(run.as_str()));
            deeds.executions.retain(|name, _| !of_run(name));
            report.given_up += 1;
            continue;
        }
        let mut found = seen.wrong.clone();
        match one_answer(*key, seen) {
            Ok(run) => match one_journal(seen) {
                Ok(journal) if is_code(*key) => {
                    check_code(&run, &journal, &mut deeds, &mut report, &mut found);
                }
                Ok(journal) => check_flow(&run, &journal, &mut deeds, &mut report, &mut found),
                Err(error) => found.push(error),
            },
            Err(error) => found.push(error),
        }
        report.violations.extend(found.into_iter().map(|text| format!("key {key}: {text}")));
    }
    let unknown = deeds.executions.keys();
    let unknown = unknown.map(|attempt| format!("{attempt} was executed, and no journal knows of it"));
    report.violations.extend(unknown);
    report.runs = seen.len();
    report
}

/// A key stands for one run, whose output never changes and is the right one.
fn one_answer(key: u64, seen: &Seen) -> Result<String, String> {
    let (run, _) = seen.answers.first().ok_or("nobody was answered")?;
    if let Some((other, _)) = seen.answers.iter().find(|(other, _)| other != run) {
        return Err(format!("it stands for {run} and for {other}"));
    }
    let value = |fields: u64| key * 10 + fields;
    let right = json!({"after1": value(1), "after2": value(2), "after3": value(3)});
    let outputs: Vec<&Value> = seen.answers.iter().filter_map(|(_, output)| output.as_ref()).collect();
    if outputs.len() < 2 {
        return Err(format!("{run} was read {} times", outputs.len()));
    }
    match outputs.iter().find(|output| ***output != right) {
        Some(wrong) => Err(format!("{run} gave {wrong}, and not {right}")),
        None => Ok(run.clone()),
    }
}

/// What was read of a closed run's journal is read again.
fn one_journal(seen: &Seen) -> Result<Vec<Entry>, String> {
    let first = seen.journals.first().ok_or("its journal was not read")?;
    if let Some(other) = seen.journals.iter().find(|other| *other != first) {
        return Err(format!("its journal was {first:?}, and then {other:?}"));
    }
    first.iter().map(Entry::of).collect()
}

/// A line of a journal, as far as this checker understands it.
struct Entry {
    seq: u64,
    at: i128,
    kind: String,
    step: u64,
    attempt: u64,
    path: String,
    reason: String,
}

impl Entry {
    fn of(value: &Value) -> Result<Entry, String> {
        let at = value["at"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let number = |name: &str| value[name].as_u64();
        Ok(Entry {
            seq: number("seq").ok_or_else(|| format!("no seq: {value}"))?,
            at: at.ok_or_else(|| format!("no time: {value}"))?.as_nanosecond(),
            kind: value["type"].as_str().ok_or_else(|| format!("no type: {value}"))?.to_owned(),
            step: number("step").unwrap_or_default(),
            attempt: number("attempt").unwrap_or_default(),
            path: value["path"].as_str().unwrap_or_default().to_owned(),
            reason: value["reason"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

/// What holds for the journal of every run.
fn check_journal(run: &str, journal: &[Entry], found: &mut Vec<String>) {
    if journal.iter().zip(1..).any(|(entry, seq)| entry.seq != seq) {
        found.push(format!("the journal of {run} has a gap"));
    }
    if !journal.is_sorted_by_key(|entry| entry.at) {
        found.push(format!("the journal of {run} goes back in time"));
    }
    let ends = journal.iter().filter(|entry| entry.kind == "RunSucceeded").count();
    if ends != 1 || journal.last().is_none_or(|entry| entry.kind != "RunSucceeded") {
        found.push(format!("the journal of {run} does not end with its success"));
    }
}

fn check_flow(
    run: &str,
    journal: &[Entry],
    deeds: &mut Deeds<'_>,
    report: &mut Report,
    found: &mut Vec<String>,
) {
    check_journal(run, journal, found);
    let succeeded: Vec<&Entry> = journal.iter().filter(|entry| entry.kind == "StepSucceeded").collect();
    let mut steps: Vec<u64> = succeeded.iter().map(|entry| entry.step).collect();
    steps.dedup();
    if steps.len() != 3 || succeeded.len() != 3 {
        found.push(format!("{run} recorded {} outcomes of its 3 steps", succeeded.len()));
    }
    for outcome in succeeded {
        report.steps += 1;
        check_step(run, journal, outcome, deeds, report, found);
    }
}

/// A step's attempts: each was recorded before it was executed, and is executed once; one follows another only where
/// somebody was killed, or the worker gave it back or came back without it, and then it never began; none follows the outcome.
fn check_step(
    run: &str,
    journal: &[Entry],
    outcome: &Entry,
    deeds: &mut Deeds<'_>,
    report: &mut Report,
    found: &mut Vec<String>,
) {
    let of_step = |kind| journal.iter().filter(move |entry| entry.kind == kind && entry.step == outcome.step);
    let mut started: Option<&Entry> = None;
    for attempt in of_step("AttemptStarted") {
        let name = format!("{run}.{}.{}", outcome.step, attempt.attempt);
        if attempt.seq > outcome.seq {
            found.push(format!("{name} was started after the step's outcome was recorded"));
        }
        let lost = |attempt: &Entry| of_step("AttemptLost").find(|lost| lost.attempt == attempt.attempt);
        let returned = |attempt| {
            lost(attempt).is_some_and(|lost| ["returned", "unclaimed"].contains(&lost.reason.as_str()))
        };
        if let Some(before) = started.replace(attempt).filter(|before| !returned(before)) {
            report.repeated += 1;
            if !deeds.was_killed_within(before.at - UNSHARP, attempt.at + UNSHARP) {
                found.push(format!("{name} follows another attempt, and nobody was killed in between"));
            }
        }
        let execution = deeds.executions.remove(name.as_str()).unwrap_or_default();
        if returned(attempt) {
            report.returned += 1;
            if !execution.begun.is_empty() {
                found.push(format!("{name} was given back, and had begun"));
            }
        }
        if execution.begun.len() > 1 {
            found.push(format!("{name} was executed {} times", execution.begun.len()));
        }
        let is_outcome = attempt.attempt == outcome.attempt;
        if is_outcome && execution.ended.len() != 1 {
            found.push(format!("{name} has an outcome, and came to its end {} times", execution.ended.len()));
        }
        for begun in execution.begun {
            if begun < attempt.at - UNSHARP {
                found.push(format!("{name} was executed before it was recorded"));
            }
            report.late += usize::from(lost(attempt).is_some_and(|lost| begun > lost.at + UNSHARP));
        }
    }
    if started.is_none_or(|last| last.attempt != outcome.attempt) {
        found.push(format!(
            "step {} of {run} has the outcome of an attempt that was not the last",
            outcome.step
        ));
    }
}

/// A workflow's steps are executed within attempts at its code: each outcome is recorded once, a step is executed again only
/// where somebody was killed, and none after its outcome.
fn check_code(
    run: &str,
    journal: &[Entry],
    deeds: &mut Deeds<'_>,
    report: &mut Report,
    found: &mut Vec<String>,
) {
    check_journal(run, journal, found);
    let outcomes: Vec<&Entry> = journal.iter().filter(|entry| entry.kind == "StepRan").collect();
    let paths: Vec<&str> = outcomes.iter().map(|entry| entry.path.as_str()).collect();
    if paths != ["after1", "after2", "after3"] {
        found.push(format!("{run} recorded the outcomes of {paths:?}"));
    }
    for outcome in outcomes {
        report.steps += 1;
        let name = format!("{run}/{}", outcome.path);
        let execution = deeds.executions.remove(name.as_str()).unwrap_or_default();
        if execution.ended.is_empty() {
            found.push(format!("{name} has an outcome, and never came to its end"));
        }
        for pair in execution.begun.windows(2) {
            report.repeated += 1;
            if !deeds.was_killed_within(pair[0] - UNSHARP, pair[1] + UNSHARP) {
                found.push(format!("{name} was executed again, and nobody was killed in between"));
            }
        }
        for begun in execution.begun {
            if begun > outcome.at + UNSHARP {
                // A worker that was cut off does not know yet that another one has its run.
                let cut_off = deeds.was_killed_within(outcome.at - 10 * UNSHARP, begun);
                report.late += usize::from(cut_off);
                if !cut_off {
                    found.push(format!("{name} was executed after its outcome was recorded"));
                }
            }
        }
    }
}
