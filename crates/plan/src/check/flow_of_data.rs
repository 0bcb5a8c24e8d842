//! Warnings about data: paths to what nothing can have set, and that are therefore always null.
//!
//! It knows keys, not values, and takes the side of the author: what a function returns may hold anything, and a step counts
//! as earlier if it stands earlier or a goto leads back past it.

use std::collections::HashMap;

use crate::condition::Expr;
use crate::diagnostic::{Report, did_you_mean};
use crate::graph::{Graph, Kind, ListIndex, Mapping, Owner, Param, Root, Source, StepIndex, Target, Wait};
use crate::path::{self, Segment};
use crate::yaml::Span;

/// Warns of every such path.
pub(super) fn lint(graph: &Graph, report: &mut Report) {
    // A list is numbered before those inside it, whose keys it collects.
    let mut keys: Vec<Keys> = Vec::new();
    keys.resize_with(graph.lists.len(), Keys::default);
    for list in (0..graph.lists.len()).rev() {
        keys[list] = Keys::of(graph, list, &keys);
    }
    let data = Data { graph, keys };
    for step in 0..graph.steps.len() {
        data.step(step, report);
    }
    for mapping in graph.output.iter().flatten() {
        data.of_flow(mapping, report);
    }
}

/// The keys that the steps of a list can set, each with the first place where that is.
#[derive(Debug, Default)]
struct Keys {
    first: HashMap<String, usize>,
    /// From this place on there may be any key.
    anything: Option<usize>,
    /// For each place: the last place whose step may run before it.
    before: Vec<Option<usize>>,
}

/// What a step may put into the local around it.
enum Sets {
    Anything,
    These(Vec<String>),
}

impl Keys {
    fn of(graph: &Graph, list: ListIndex, inner: &[Keys]) -> Keys {
        let steps = &graph.lists[list].steps;
        let mut keys = Keys { before: before(graph, list), ..Keys::default() };
        for (place, &step) in steps.iter().enumerate() {
            match sets(graph, step, inner) {
                Sets::Anything => {
                    keys.anything.get_or_insert(place);
                }
                Sets::These(names) => {
                    for name in names {
                        keys.first.entry(name).or_insert(place);
                    }
                }
            }
        }
        keys
    }

    /// Whether something may have set a key before a place.
    fn has(&self, key: &str, place: usize) -> bool {
        let Some(last) = self.before.get(place).copied().flatten() else { return false };
        let by_then = |first: Option<usize>| first.is_some_and(|first| first <= last);
        by_then(self.anything) || by_then(self.first.get(key).copied())
    }
}

/// For each place of a list: the last place whose step may run before it.
fn before(graph: &Graph, list: ListIndex) -> Vec<Option<usize>> {
    let steps = &graph.lists[list].steps;
    // Where a goto leads back to a place, what stands up to the goto may have run.
    let mut last: Vec<Option<usize>> = vec![None; steps.len()];
    for (place, &step) in steps.iter().enumerate() {
        let mut lead = |to: usize| {
            if let Some(known) = last.get_mut(to).filter(|_| to <= place) {
                *known = (*known).max(Some(place));
            }
        };
        match &graph.steps[step].kind {
            Kind::Choice(branches) => branches.iter().filter_map(|branch| branch.goto).for_each(&mut lead),
            Kind::Task(task) => task.catch.iter().map(|catch| catch.goto).for_each(&mut lead),
            _ => {}
        }
    }
    let mut furthest = None;
    for (place, known) in last.iter_mut().enumerate() {
        furthest = furthest.max(*known).max(place.checked_sub(1));
        *known = furthest;
    }
    last
}

fn sets(graph: &Graph, step: StepIndex, inner: &[Keys]) -> Sets {
    let known = &graph.steps[step];
    let caught = match &known.kind {
        Kind::Task(task) => task.error_mappings.as_deref().unwrap_or_default(),
        _ => &[],
    };
    if let Some(mappings) = &known.output {
        return Sets::These(mappings.iter().chain(caught).map(|mapping| mapping.target.clone()).collect());
    }
    match &known.kind {
        Kind::Task(_) => Sets::Anything,
        Kind::Choice(branches) => {
            let mut names = Vec::new();
            for list in branches.iter().filter_map(|branch| branch.steps) {
                if inner[list].anything.is_some() {
                    return Sets::Anything;
                }
                names.extend(inner[list].first.keys().cloned());
            }
            Sets::These(names)
        }
        _ => Sets::These(Vec::new()),
    }
}

struct Data<'g> {
    graph: &'g Graph,
    keys: Vec<Keys>,
}

impl Data<'_> {
    /// Whether a key may be in the local that a step sees.
    fn local_has(&self, step: StepIndex, key: &str) -> bool {
        let known = &self.graph.steps[step];
        self.keys[known.list].has(key, known.place)
    }

    /// Whether a key may be in the input that a list sees.
    fn list_input_has(&self, list: ListIndex, key: &str) -> bool {
        match self.graph.lists[list].owner {
            Owner::Flow => self.graph.input.as_ref().is_none_or(|mappings| has_target(mappings, key)),
            Owner::Choice { step, .. } | Owner::Parallel { step, .. } => self.input_has(step, key),
            Owner::Foreach { step } => {
                let named = match &self.graph.steps[step].kind {
                    Kind::Foreach(foreach) => foreach.item == key || foreach.index.as_deref() == Some(key),
                    _ => false,
                };
                named || self.input_has(step, key)
            }
        }
    }

    /// Whether a key may be in a step's own input.
    fn input_has(&self, step: StepIndex, key: &str) -> bool {
        let known = &self.graph.steps[step];
        match &known.input {
            Some(mappings) => has_target(mappings, key),
            None => self.list_input_has(known.list, key) || self.local_has(step, key),
        }
    }

    fn step(&self, step: StepIndex, report: &mut Report) {
        let known = &self.graph.steps[step];
        for mapping in known.input.iter().flatten() {
            match first_key(mapping) {
                Some((Root::Local, key)) if !self.local_has(step, key) => {
                    self.tell(step, mapping.span, &written(mapping), key, report);
                }
                Some((Root::Input, key)) if !self.list_input_has(known.list, key) => {
                    let message =
                        format!("`{}` is always null: the input here has no `{key}`", written(mapping));
                    report.warn(
                        mapping.span,
                        message,
                        "map it into the input of what stands around it".to_owned(),
                    );
                }
                _ => {}
            }
        }
        self.output(step, report);
        match &known.kind {
            Kind::Choice(branches) => {
                for branch in branches {
                    let mut paths = Vec::new();
                    branch.condition.iter().for_each(|condition| collect(condition, &mut paths));
                    for path in paths {
                        self.own_path(step, path, branch.span, report);
                    }
                }
            }
            Kind::Foreach(foreach) => self.own_path(step, &foreach.collection, foreach.span, report),
            Kind::Wait(Wait::SecondsAt(path) | Wait::UntilAt(path)) => {
                self.own_path(step, path, known.span, report);
            }
            Kind::Task(task) => {
                let params: Vec<&Param> = match &task.target {
                    Target::Flow(flow) => {
                        std::iter::once(&flow.name).chain(&flow.input).chain(&flow.execution).collect()
                    }
                    Target::Function(function) => function.params.iter().collect(),
                    Target::Message(message) => message.parts.iter().map(|(_, part)| part).collect(),
                };
                for param in params {
                    self.param(step, param, report);
                }
            }
            _ => {}
        }
    }

    /// What a step's outputMappings read of itself.
    fn output(&self, step: StepIndex, report: &mut Report) {
        let known = &self.graph.steps[step];
        let is_empty = matches!(known.kind, Kind::Pass | Kind::Wait(_) | Kind::Succeed);
        for mapping in known.output.iter().flatten() {
            match first_key(mapping) {
                Some((Root::Local, _)) if is_empty => {
                    let kind = known.kind.word();
                    let message = format!(
                        "`{}` is always null: a {kind} step has no local of its own",
                        written(mapping)
                    );
                    let advice = format!("read what came before as `$input.{}`", key_of(mapping));
                    report.warn(mapping.span, message, advice);
                }
                Some((Root::Input, key)) if !self.input_has(step, key) => {
                    self.tell(step, mapping.span, &written(mapping), key, report);
                }
                _ => {}
            }
        }
    }

    fn of_flow(&self, mapping: &Mapping, report: &mut Report) {
        let Some((Root::Local, key)) = first_key(mapping) else { return };
        let keys = &self.keys[0];
        if keys.anything.is_none() && !keys.first.contains_key(key) {
            let names: Vec<&str> = keys.first.keys().map(String::as_str).collect();
            let advice = did_you_mean(key, &sorted(names), "the steps set");
            report.warn(
                mapping.span,
                format!("`{}` is always null: no step sets `{key}`", written(mapping)),
                advice,
            );
        }
    }

    /// A path into a step's own input.
    fn own_path(&self, step: StepIndex, path: &[Segment], span: Span, report: &mut Report) {
        if let Some(Segment::Key(key)) = path.first()
            && !self.input_has(step, key)
        {
            self.tell(step, span, &path::shown(path), key, report);
        }
    }

    fn param(&self, step: StepIndex, param: &Param, report: &mut Report) {
        match param {
            Param::Constant(_) => {}
            Param::Path(path) => self.own_path(step, path, self.graph.steps[step].span, report),
            Param::List(items) => items.iter().for_each(|item| self.param(step, item, report)),
            Param::Object(entries) => entries.iter().for_each(|(_, value)| self.param(step, value, report)),
        }
    }

    fn tell(&self, step: StepIndex, span: Span, path: &str, key: &str, report: &mut Report) {
        let known = &self.graph.steps[step];
        if let Some(mappings) = known.input.as_ref().filter(|_| !path.starts_with("$local")) {
            let names = mappings.iter().map(|mapping| mapping.target.as_str()).collect();
            let message =
                format!("`{path}` is always null: the inputMappings of `{}` have no `{key}`", known.name);
            report.warn(span, message, did_you_mean(key, &sorted(names), "they have"));
            return;
        }
        let keys = &self.keys[known.list];
        let names =
            keys.first.keys().map(String::as_str).filter(|name| keys.has(name, known.place)).collect();
        let advice = did_you_mean(key, &sorted(names), "what is set by then is");
        let advice = advice.or(Some("what the flow was started with is under `$input`".to_owned()));
        report.warn(
            span,
            format!("`{path}` is always null: no step before `{}` sets `{key}`", known.name),
            advice,
        );
    }
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names.dedup();
    names
}

fn has_target(mappings: &[Mapping], key: &str) -> bool {
    mappings.iter().any(|mapping| mapping.target == key)
}

/// Where a mapping's path begins.
fn first_key(mapping: &Mapping) -> Option<(Root, &str)> {
    match &mapping.source {
        Source::Path(root, path) => match path.first()? {
            Segment::Key(key) => Some((*root, key)),
            _ => None,
        },
        Source::Constant(_) => None,
    }
}

fn key_of(mapping: &Mapping) -> &str {
    first_key(mapping).map_or("", |(_, key)| key)
}

/// A mapping's path, as it was written.
fn written(mapping: &Mapping) -> String {
    let Source::Path(root, path) = &mapping.source else { return String::new() };
    let root = match root {
        Root::Input => "input",
        Root::Local => "local",
        Root::Context => "context",
    };
    path::shown(path).replacen('$', &format!("${root}"), 1)
}

/// The paths of a condition.
fn collect<'e>(expr: &'e Expr, paths: &mut Vec<&'e [Segment]>) {
    match expr {
        Expr::Path(path) => paths.push(path),
        Expr::Not(inner) | Expr::Negative(inner) => collect(inner, paths),
        Expr::All(all) | Expr::Any(all) | Expr::List(all) => {
            for inner in all {
                collect(inner, paths);
            }
        }
        Expr::Compare(_, left, right) => {
            collect(left, paths);
            collect(right, paths);
        }
        Expr::Null | Expr::Bool(_) | Expr::Number(_) | Expr::Text(_) => {}
    }
}
