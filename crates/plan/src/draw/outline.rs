//! The graph of a flow without coordinates: points and edges, for programs that lay out themselves.

use super::overlay::Overlay;
use super::{describe, scene};
use crate::graph::{Graph, Kind, ListIndex, Owner, StepIndex};
use crate::ways::{Goal, Reach, Way};

/// What an edge joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    Start,
    End,
    Step(StepIndex),
    /// Where the branches of a container come together.
    Join(StepIndex),
}

#[derive(Debug)]
pub(super) struct Edge {
    pub(super) from: Point,
    pub(super) to: Point,
    pub(super) label: Option<String>,
    pub(super) is_error: bool,
    /// A run took it.
    pub(super) is_taken: bool,
}

/// What tells whether a run took an edge.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Lit {
    /// One of these ways out of a step was taken.
    Ways(StepIndex, Vec<Way>),
    /// The step was entered.
    Entered(StepIndex),
}

impl Lit {
    pub(super) fn is_taken(&self, graph: &Graph, overlay: Option<&Overlay>) -> bool {
        let Some(overlay) = overlay else { return false };
        match self {
            Lit::Ways(step, ways) => ways.iter().any(|way| overlay.taken.contains(&(*step, *way))),
            Lit::Entered(step) => overlay.steps.contains_key(&graph.steps[*step].name),
        }
    }
}

/// Every edge of a flow, in the order of the text.
pub(super) fn edges(graph: &Graph, overlay: Option<&Overlay>) -> Vec<Edge> {
    let mut outline = Outline { graph, reach: graph.reach(), overlay, edges: Vec::new() };
    match graph.lists.first().and_then(|list| list.steps.first()) {
        Some(&first) => outline.add(Point::Start, Point::Step(first), None, false, Lit::Entered(first)),
        None => return Vec::new(),
    }
    for step in 0..graph.steps.len() {
        outline.step(step);
    }
    outline.edges
}

struct Outline<'g> {
    graph: &'g Graph,
    reach: Reach,
    overlay: Option<&'g Overlay>,
    edges: Vec<Edge>,
}

impl Outline<'_> {
    fn add(&mut self, from: Point, to: Point, label: Option<String>, is_error: bool, lit: Lit) {
        let is_taken = lit.is_taken(self.graph, self.overlay);
        self.edges.push(Edge { from, to, label, is_error, is_taken });
    }

    fn step(&mut self, step: StepIndex) {
        let known = &self.graph.steps[step];
        let ways = self.graph.ways(step, &self.reach);
        match &known.kind {
            Kind::Parallel(lists) => self.fork(step, lists),
            Kind::Foreach(foreach) => self.fork(step, &[foreach.steps]),
            Kind::Choice(branches) if scene::is_group(&known.kind) => {
                for (at, branch) in branches.iter().enumerate() {
                    let label = describe::label(known, Way::Branch(at));
                    match branch.steps.and_then(|list| self.graph.lists[list].steps.first()) {
                        Some(&first) => {
                            self.add(
                                Point::Step(step),
                                Point::Step(first),
                                label,
                                false,
                                Lit::Entered(first),
                            );
                        }
                        None => self.way(step, Point::Step(step), Way::Branch(at), &ways, label),
                    }
                }
                let label = describe::label(known, Way::Otherwise);
                self.way(step, Point::Step(step), Way::Otherwise, &ways, label);
                let through: Vec<Way> =
                    ways.iter().map(|(way, _)| *way).filter(|way| !self.jumps(step, *way)).collect();
                if let Some(first) = through.first() {
                    let goal = self.goal(step, *first, &ways);
                    self.add(Point::Join(step), goal, None, false, Lit::Ways(step, through));
                }
                return;
            }
            _ => {}
        }
        let from = if scene::is_group(&known.kind) { Point::Join(step) } else { Point::Step(step) };
        for &(way, _) in &ways {
            let label = describe::label(known, way);
            let to = self.goal(step, way, &ways);
            let is_error = matches!(way, Way::Catch(_));
            self.add(from, to, label, is_error, Lit::Ways(step, vec![way]));
        }
    }

    /// A way out of a choice that has steps inside: to where it jumps, or to where the branches come together.
    fn way(&mut self, step: StepIndex, from: Point, way: Way, ways: &[(Way, Goal)], label: Option<String>) {
        if !ways.iter().any(|(known, _)| *known == way) {
            return;
        }
        let to = if self.jumps(step, way) { self.goal(step, way, ways) } else { Point::Join(step) };
        self.add(from, to, label, false, Lit::Ways(step, vec![way]));
    }

    fn jumps(&self, step: StepIndex, way: Way) -> bool {
        match (&self.graph.steps[step].kind, way) {
            (Kind::Choice(branches), Way::Branch(at)) => branches[at].goto.is_some(),
            _ => false,
        }
    }

    fn fork(&mut self, step: StepIndex, lists: &[ListIndex]) {
        for &list in lists {
            let to =
                self.graph.lists[list].steps.first().map_or(Point::Join(step), |&first| Point::Step(first));
            self.add(Point::Step(step), to, None, false, Lit::Entered(step));
        }
    }

    fn goal(&self, step: StepIndex, way: Way, ways: &[(Way, Goal)]) -> Point {
        match ways.iter().find(|(known, _)| *known == way) {
            Some((_, Goal::Step(next))) => Point::Step(*next),
            _ => self.end_of(self.graph.steps[step].list),
        }
    }

    /// Where a list's end leads.
    fn end_of(&self, list: ListIndex) -> Point {
        match self.graph.lists[list].owner {
            Owner::Flow => Point::End,
            Owner::Parallel { step, .. } | Owner::Foreach { step } => Point::Join(step),
            Owner::Choice { step, branch } if self.jumps(step, Way::Branch(branch)) => {
                let ways = self.graph.ways(step, &self.reach);
                self.goal(step, Way::Branch(branch), &ways)
            }
            Owner::Choice { step, .. } => Point::Join(step),
        }
    }
}

/// Whether some step's way leads to where the branches of `step` come together.
pub(super) fn has_join(edges: &[Edge], step: StepIndex) -> bool {
    edges.iter().any(|edge| edge.to == Point::Join(step) || edge.from == Point::Join(step))
}
