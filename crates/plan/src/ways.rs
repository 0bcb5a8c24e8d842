//! Where a run can go: the ways out of each step, and what can be reached at all.
//!
//! The picture draws these ways, and the checks warn of steps to which none leads. Values are not looked at: a condition
//! may be true, a task may fail.

use crate::graph::{Graph, Kind, ListIndex, StepIndex};

/// A way out of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Way {
    /// It is done.
    Next,
    /// A branch of a choice was taken; its default comes last.
    Branch(usize),
    /// No branch of a choice was taken, and it has no default.
    Otherwise,
    /// One of a task's catches took its error.
    Catch(usize),
}

/// Where a way leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    Step(StepIndex),
    /// The end of the list.
    End,
}

/// What can be reached.
#[derive(Debug)]
pub(crate) struct Reach {
    /// Of each list: whether its end can be reached from its beginning.
    pub(crate) completes: Vec<bool>,
    /// Of each step: whether it can be reached from the beginning of its own list.
    pub(crate) steps: Vec<bool>,
}

impl Graph {
    /// Looks at every list, inner ones before those around them.
    pub(crate) fn reach(&self) -> Reach {
        let mut reach =
            Reach { completes: vec![false; self.lists.len()], steps: vec![false; self.steps.len()] };
        // A list is numbered before the lists inside it.
        for list in (0..self.lists.len()).rev() {
            let mut open: Vec<StepIndex> = self.lists[list].steps.first().copied().into_iter().collect();
            reach.completes[list] = open.is_empty();
            while let Some(step) = open.pop() {
                if std::mem::replace(&mut reach.steps[step], true) {
                    continue;
                }
                for (_, goal) in self.ways(step, &reach) {
                    match goal {
                        Goal::Step(next) => open.push(next),
                        Goal::End => reach.completes[list] = true,
                    }
                }
            }
        }
        reach
    }

    /// The ways out of a step, in the order of the text. What `reach` says of inner lists must be known.
    pub(crate) fn ways(&self, step: StepIndex, reach: &Reach) -> Vec<(Way, Goal)> {
        let known = &self.steps[step];
        let after = if known.end { Goal::End } else { self.after(known.list, known.place) };
        match &known.kind {
            Kind::Pass | Kind::Wait(_) | Kind::Foreach(_) => vec![(Way::Next, after)],
            Kind::Succeed => vec![(Way::Next, Goal::End)],
            Kind::Fail { .. } => Vec::new(),
            Kind::Parallel(lists) if lists.iter().all(|&list| reach.completes[list]) => {
                vec![(Way::Next, after)]
            }
            Kind::Parallel(_) => Vec::new(),
            Kind::Task(task) => {
                let catches = task.catch.iter().enumerate();
                let catches = catches.map(|(at, catch)| (Way::Catch(at), self.at(known.list, catch.goto)));
                std::iter::once((Way::Next, after)).chain(catches).collect()
            }
            Kind::Choice(branches) => {
                let completes = |list: Option<ListIndex>| list.is_none_or(|list| reach.completes[list]);
                let taken = branches.iter().enumerate().filter(|(_, branch)| completes(branch.steps));
                let mut ways: Vec<(Way, Goal)> = taken
                    .map(|(at, branch)| {
                        let goal = branch.goto.map_or(after, |place| self.at(known.list, place));
                        (Way::Branch(at), goal)
                    })
                    .collect();
                if !has_default(branches) {
                    ways.push((Way::Otherwise, after));
                }
                ways
            }
        }
    }

    fn at(&self, list: ListIndex, place: usize) -> Goal {
        self.lists[list].steps.get(place).map_or(Goal::End, |&step| Goal::Step(step))
    }

    fn after(&self, list: ListIndex, place: usize) -> Goal {
        self.at(list, place + 1)
    }
}

/// Whether a choice says what happens where no condition holds.
pub(crate) fn has_default(branches: &[crate::graph::Branch]) -> bool {
    branches.last().is_some_and(|branch| branch.condition.is_none())
}
