//! Warnings about the ways of a flow: what is legal, and surely not meant.

use crate::diagnostic::Report;
use crate::errors;
use crate::graph::{Graph, Kind, ListIndex, Root, Source, StepIndex, Target};
use crate::path::Segment;
use crate::ways::{Goal, Reach, Way, has_default};
use crate::yaml::Span;

/// Warns of steps that cannot be reached, falls into `fail`, loops that do not rest, and callbacks that nobody can make.
pub(super) fn lint(graph: &Graph, report: &mut Report) {
    let reach = graph.reach();
    for step in 0..graph.steps.len() {
        unreachable(graph, &reach, step, report);
        falls_into_fail(graph, &reach, step, report);
        silent_callback(graph, step, report);
        shadowed(graph, step, report);
    }
    for list in 0..graph.lists.len() {
        loops(graph, &reach, list, report);
    }
}

fn unreachable(graph: &Graph, reach: &Reach, step: StepIndex, report: &mut Report) {
    let known = &graph.steps[step];
    let Some(before) = known.place.checked_sub(1).map(|place| graph.lists[known.list].steps[place]) else {
        return;
    };
    // Of several in a row the first is told of.
    if reach.steps[step] || !reach.steps[before] {
        return;
    }
    let before = &graph.steps[before];
    let why = match &before.kind {
        Kind::Succeed | Kind::Fail { .. } => format!("`{}` before it ends the list", before.name),
        _ if before.end => format!("`{}` before it has `end: true`", before.name),
        Kind::Choice(_) => format!("every branch of `{}` goes elsewhere", before.name),
        _ => format!("`{}` before it never goes on", before.name),
    };
    report.warn(
        known.span,
        format!("`{}` is never reached: {why}, and no goto leads here", known.name),
        "lead a goto here, or remove the step".to_owned(),
    );
}

/// A choice without a default, or with a branch that says nothing, before a step that fails.
fn falls_into_fail(graph: &Graph, reach: &Reach, step: StepIndex, report: &mut Report) {
    let known = &graph.steps[step];
    let Kind::Choice(branches) = &known.kind else { return };
    let next = graph.lists[graph.steps[step].list].steps.get(known.place + 1).filter(|_| !known.end);
    let Some(next) =
        next.map(|&next| &graph.steps[next]).filter(|next| matches!(next.kind, Kind::Fail { .. }))
    else {
        return;
    };
    if !has_default(branches) {
        report.warn(
            known.span,
            format!(
                "when no condition of `{}` holds, the flow falls into `{}` and fails",
                known.name, next.name
            ),
            format!("say so with `default: {{goto: {}}}`, or lead the default elsewhere", next.name),
        );
    }
    for branch in branches.iter().filter(|branch| branch.goto.is_none()) {
        // A branch that ends in a `fail` of its own never comes here.
        if branch.steps.is_some_and(|list| !reach.completes[list]) {
            continue;
        }
        report.warn(
            branch.span,
            format!("after this branch of `{}` the flow falls into `{}` and fails", known.name, next.name),
            format!("say so with `goto: {}`, or lead the branch elsewhere", next.name),
        );
    }
}

/// A step that waits for a callback and gives its token to nobody.
fn silent_callback(graph: &Graph, step: StepIndex, report: &mut Report) {
    let known = &graph.steps[step];
    let Kind::Task(task) = &known.kind else { return };
    let gives = |source: &Source| match source {
        Source::Path(Root::Context, path) => match path.as_slice() {
            [] => true,
            [Segment::Key(first), rest @ ..] => first == "task" && rest.len() <= 1,
            _ => false,
        },
        _ => false,
    };
    let told = known.input.iter().flatten().any(|mapping| gives(&mapping.source));
    if task.callback && !told {
        report.warn(
            known.span,
            format!("nobody learns the token of `{}`, so nobody can call back", known.name),
            "add to its inputMappings: `{target: token, source: $context.task.token}`".to_owned(),
        );
    } else if task.callback && matches!(task.target, Target::Flow(_)) && task.timeout_ms.is_none() {
        report.warn(
            known.span,
            format!("`{}` waits for ever when the flow that has its token ends without using it", known.name),
            "say with `timeoutSeconds` how long an answer may take".to_owned(),
        );
    }
}

/// Policies behind one that takes every error.
fn shadowed(graph: &Graph, step: StepIndex, report: &mut Report) {
    let known = &graph.steps[step];
    let Kind::Task(task) = &known.kind else { return };
    let takes_all = |names: &[String]| names.iter().any(|name| name == errors::ALL);
    for (what, lists) in [
        ("retry", task.retry.iter().map(|policy| &policy.errors).collect::<Vec<_>>()),
        ("catch", task.catch.iter().map(|policy| &policy.errors).collect()),
    ] {
        let first = lists.iter().position(|names| takes_all(names));
        if first.is_some_and(|first| first + 1 < lists.len()) {
            report.warn(
                known.span,
                format!(
                    "of `{what}` of `{}` what stands after `{}` is never looked at",
                    known.name,
                    errors::ALL
                ),
                format!("put the entry with `{}` last", errors::ALL),
            );
        }
    }
}

/// Loops in which nothing waits.
fn loops(graph: &Graph, reach: &Reach, list: ListIndex, report: &mut Report) {
    let steps = &graph.lists[list].steps;
    // A loop needs a way that does not go forward.
    let forward_only = |&step: &StepIndex| {
        let place = graph.steps[step].place;
        let later = |goal: &Goal| match goal {
            Goal::Step(next) => graph.steps[*next].place > place,
            Goal::End => true,
        };
        graph.ways(step, reach).iter().all(|(_, goal)| later(goal))
    };
    if steps.iter().all(forward_only) {
        return;
    }
    let rests: Vec<bool> = steps.iter().map(|&step| rests(graph, step)).collect();
    let mut state = vec![Seen::Not; steps.len()];
    for start in 0..steps.len() {
        if state[start] != Seen::Not || rests[start] {
            continue;
        }
        state[start] = Seen::OnTheWay;
        let mut way = vec![(start, 0)];
        while let Some((place, next)) = way.pop() {
            let ways = graph.ways(steps[place], reach);
            let Some(&(taken, goal)) = ways.get(next) else {
                state[place] = Seen::Left;
                continue;
            };
            way.push((place, next + 1));
            let Goal::Step(to) = goal else { continue };
            let to = graph.steps[to].place;
            match state[to] {
                Seen::Not if !rests[to] => {
                    state[to] = Seen::OnTheWay;
                    way.push((to, 0));
                }
                Seen::OnTheWay => {
                    let from = way.iter().position(|(place, _)| *place == to).unwrap_or(0);
                    let round: Vec<StepIndex> = way[from..].iter().map(|(place, _)| steps[*place]).collect();
                    restless(graph, &round, taken, report);
                }
                _ => {}
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Not,
    OnTheWay,
    Left,
}

/// Whether a round through this step takes its time by itself: it waits, or does a whole batch of work.
fn rests(graph: &Graph, step: StepIndex) -> bool {
    let any = |lists: &[ListIndex]| {
        lists.iter().any(|&list| graph.lists[list].steps.iter().any(|&inner| rests(graph, inner)))
    };
    match &graph.steps[step].kind {
        Kind::Wait(_) | Kind::Succeed | Kind::Fail { .. } => true,
        Kind::Task(task) => task.callback || matches!(&task.target, Target::Flow(flow) if flow.waits),
        Kind::Pass => false,
        Kind::Choice(branches) => {
            branches.iter().all(|branch| branch.steps.is_some_and(|list| any(&[list])))
                && !branches.is_empty()
        }
        Kind::Parallel(_) | Kind::Foreach(_) => true,
    }
}

fn restless(graph: &Graph, round: &[StepIndex], back: Way, report: &mut Report) {
    const SHOWN: usize = 6;
    let Some(&last) = round.last() else { return };
    let mut names: Vec<&str> =
        round.iter().take(SHOWN).map(|&step| graph.steps[step].name.as_str()).collect();
    if round.len() > SHOWN {
        names.push("…");
    }
    names.push(&graph.steps[round[0]].name);
    let known = &graph.steps[last];
    let span: Span = match (&known.kind, back) {
        (Kind::Choice(branches), Way::Branch(at)) => branches[at].span,
        _ => known.span,
    };
    let round_trip = names.join(" → ");
    let works = round.iter().any(|&step| matches!(graph.steps[step].kind, Kind::Task(_)));
    if works {
        report.warn(
            span,
            format!("this loop does not wait: {round_trip}; it goes round as fast as its functions answer"),
            "put a `wait` step into it if it asks for the same again; where each round does other work, all is well"
                .to_owned(),
        );
    } else {
        report.warn(
            span,
            format!(
                "this loop neither works nor waits: {round_trip}; it goes round until a limit fails the run, unless a pass step \
                 in it changes what is asked"
            ),
            "put a task or a `wait` step into it, or lead the goto elsewhere".to_owned(),
        );
    }
}
