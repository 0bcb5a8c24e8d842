//! A run's journal, folded into what the picture of the flow shows of it.
//!
//! Entries come in their order, a part at a time; a journal of any length costs what its flow's steps cost.

use std::collections::{BTreeMap, HashMap, VecDeque};

use riverrun_kernel::driver::{Note, Work};
use riverrun_kernel::{Entry, JournalRow, StepId, Wall};

use crate::draw::{Mark, Overlay, StepState, Taken};
use crate::errors;
use crate::graph::{Graph, Kind, StepIndex};
use crate::json;
use crate::ways::{Way, has_default};

/// What has been read of a journal so far.
#[derive(Debug)]
pub struct Trace<'f> {
    graph: &'f Graph,
    names: HashMap<&'f str, StepIndex>,
    steps: BTreeMap<StepIndex, Tally>,
    /// Steps that the kernel has: whose they are, and whether they are being executed.
    open: HashMap<StepId, (StepIndex, bool)>,
    taken: Taken,
    started: Option<Wall>,
    last: Option<Wall>,
    closed: Option<&'static str>,
    failed_at: Option<StepIndex>,
}

/// What one step has come to.
#[derive(Debug, Default)]
struct Tally {
    visits: u64,
    /// When the visits that are open began.
    open: VecDeque<Wall>,
    duration_ms: u64,
    retries: u64,
    was_caught: bool,
    has_failed: bool,
    error: Option<String>,
}

impl<'f> Trace<'f> {
    pub(crate) fn new(graph: &'f Graph) -> Self {
        Trace {
            graph,
            names: graph.steps.iter().enumerate().map(|(at, step)| (step.name.as_str(), at)).collect(),
            steps: BTreeMap::new(),
            open: HashMap::new(),
            taken: Taken::new(),
            started: None,
            last: None,
            closed: None,
            failed_at: None,
        }
    }

    /// Takes in the next entry.
    pub fn take(&mut self, row: &JournalRow) {
        self.started.get_or_insert(row.at);
        self.last = Some(row.at);
        match &row.entry {
            Entry::Noted(note) => self.noted(note, row.at),
            Entry::StepBegun { step, path, work, .. } => self.begun(*step, path, work),
            Entry::AttemptStarted { step, attempt, .. } => {
                if let Some((of, running)) = self.open.get_mut(step) {
                    *running = true;
                    let of = *of;
                    self.tally(of).retries += u64::from(*attempt > 1);
                }
            }
            Entry::AttemptFailed { step, failure, .. } => {
                if let Some((of, running)) = self.open.get_mut(step) {
                    *running = false;
                    let of = *of;
                    self.tally(of).error = Some(failure.error.clone());
                }
            }
            Entry::AttemptLost { step, .. }
            | Entry::AttemptStopped { step, .. }
            | Entry::CallReturned { step, .. } => {
                if let Some((_, running)) = self.open.get_mut(step) {
                    *running = false;
                }
            }
            Entry::StepSucceeded { step, .. } => {
                if let Some((of, _)) = self.open.remove(step) {
                    self.tally(of).error = None;
                }
            }
            Entry::StepFailed { step, failure, .. } => {
                if let Some((of, _)) = self.open.remove(step) {
                    self.tally(of).error = Some(failure.error.clone());
                }
            }
            Entry::StepCancelled { step } => {
                self.open.remove(step);
            }
            Entry::RunReopened => self.reopened(row.at),
            Entry::RunSucceeded { .. } => self.closed = Some("succeeded"),
            Entry::RunFailed { .. } => self.closed = Some("failed"),
            Entry::RunTimedOut => self.closed = Some("timed out"),
            Entry::RunCancelled => self.closed = Some("cancelled"),
            Entry::RunExpired => self.closed = Some("expired"),
            _ => {}
        }
    }

    fn tally(&mut self, step: StepIndex) -> &mut Tally {
        self.steps.entry(step).or_default()
    }

    fn noted(&mut self, note: &Note, at: Wall) {
        let Some(&step) = self.names.get(note.step.as_str()) else { return };
        let detail = note.detail.as_ref().map_or("", |detail| detail.get());
        match note.event.as_str() {
            "StepEntered" => {
                let tally = self.tally(step);
                tally.visits += 1;
                tally.open.push_back(at);
            }
            "StepExited" => {
                let way = self.way(step, detail);
                self.taken.insert((step, way));
                let tally = self.tally(step);
                let entered = tally.open.pop_front().unwrap_or(at);
                tally.duration_ms += passed(entered, at);
                tally.was_caught = matches!(way, Way::Catch(_));
                tally.error =
                    if tally.was_caught { text(detail, "error").or(tally.error.take()) } else { None };
            }
            "StepFailed" => {
                self.failed_at = Some(step);
                let error = text(detail, "error");
                let tally = self.tally(step);
                let entered = tally.open.pop_front().unwrap_or(at);
                tally.duration_ms += passed(entered, at);
                tally.has_failed = true;
                tally.error = error.or(tally.error.take());
            }
            _ => {}
        }
    }

    /// The way that an exit took.
    fn way(&self, step: StepIndex, detail: &str) -> Way {
        match &self.graph.steps[step].kind {
            Kind::Choice(branches) => match json::member(detail, "branch").and_then(|text| text.parse().ok())
            {
                Some(branch) if branch < branches.len() => Way::Branch(branch),
                _ if has_default(branches) => Way::Branch(branches.len() - 1),
                _ => Way::Otherwise,
            },
            Kind::Task(task) => {
                let (Some(goto), Some(error)) = (text(detail, "goto"), text(detail, "error")) else {
                    return Way::Next;
                };
                let siblings = &self.graph.lists[self.graph.steps[step].list].steps;
                let leads = |at: usize| self.graph.steps[siblings[task.catch[at].goto]].name == goto;
                let there: Vec<usize> = (0..task.catch.len()).filter(|&at| leads(at)).collect();
                let named =
                    |at: &usize| errors::matches(&task.catch[*at].errors, std::slice::from_ref(&error));
                there.iter().copied().find(named).or(there.first().copied()).map_or(Way::Next, Way::Catch)
            }
            _ => Way::Next,
        }
    }

    fn begun(&mut self, step: StepId, path: &str, work: &Work) {
        let last = path.rsplit('/').next().unwrap_or(path);
        let Some(&of) = self.names.get(step_name(path)) else { return };
        // A time limit is not what the step does.
        if last.ends_with("~limit") {
            return;
        }
        if last.contains('~') && !last.ends_with("~wait") {
            self.tally(of).retries += 1;
        }
        let runs = matches!(work, Work::Child(_));
        self.open.insert(step, (of, runs));
    }

    /// The failed step is tried again.
    fn reopened(&mut self, at: Wall) {
        self.closed = None;
        if let Some(step) = self.failed_at.take() {
            let tally = self.tally(step);
            tally.has_failed = false;
            tally.open.push_back(at);
        }
    }

    /// What the picture shows. `now` is when an open run is looked at: its steps are open until then.
    pub fn overlay(&self, name: &str, now: Option<Wall>) -> Overlay {
        let until = if self.closed.is_some() { self.last } else { now.or(self.last) };
        let until = until.unwrap_or(Wall(0));
        let inside = self.failed_inside();
        let steps = self.steps.iter().map(|(&step, tally)| {
            let state = self.state(step, tally, inside.contains(&step));
            let open: u64 = tally.open.iter().map(|&entered| passed(entered, until)).sum();
            let duration = tally.duration_ms + open;
            let mark = Mark {
                state,
                visits: tally.visits,
                duration_ms: (duration > 0).then_some(duration),
                retries: tally.retries,
                error: tally.error.clone(),
            };
            (self.graph.steps[step].name.clone(), mark)
        });
        let mut caption: Vec<String> = Vec::new();
        caption.extend((!name.is_empty()).then(|| name.to_owned()));
        caption.push(self.closed.unwrap_or("open").to_owned());
        caption.extend(self.started.map(|started| crate::draw::spoken_duration(passed(started, until))));
        Overlay { caption: caption.join(" · "), steps: steps.collect(), taken: self.taken.clone() }
    }

    /// The containers around the step that failed the run.
    fn failed_inside(&self) -> Vec<StepIndex> {
        let mut around = Vec::new();
        let mut step = self.failed_at;
        while let Some(at) = step {
            step = self.graph.owner(self.graph.steps[at].list);
            around.extend(step);
        }
        around
    }

    fn state(&self, step: StepIndex, tally: &Tally, holds_failure: bool) -> StepState {
        if tally.has_failed || (holds_failure && self.closed.is_some()) {
            return StepState::Failed;
        }
        if !tally.open.is_empty() {
            if self.closed.is_some() {
                return StepState::Cancelled;
            }
            let mine = self.open.values().filter(|(of, _)| *of == step);
            let has_inner = crate::draw::is_container(&self.graph.steps[step].kind);
            return if has_inner || mine.clone().any(|(_, running)| *running) || mine.count() == 0 {
                StepState::Running
            } else {
                StepState::Waiting
            };
        }
        if tally.was_caught { StepState::Caught } else { StepState::Succeeded }
    }
}

fn passed(from: Wall, to: Wall) -> u64 {
    u64::try_from(to.0 - from.0).unwrap_or(0)
}

fn text(detail: &str, key: &str) -> Option<String> {
    serde_json::from_str(json::member(detail, key)?).ok()
}

/// The last name in a path such as `Each[3]/Work#2~2~wait`; no name has one of these signs.
pub(crate) fn step_name(path: &str) -> &str {
    let last = path.rsplit('/').next().unwrap_or(path);
    last.split(['#', '~', '[']).next().unwrap_or(last)
}
