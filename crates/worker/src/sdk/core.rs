//! What a run's code and its machine share: the acts asked for, what is known of each, and what the code may see next.
//!
//! The code is deterministic as long as it sees one thing at a time: within one poll at most one act is answered, the one that
//! is `permitted`. However a combinator orders its branches, it finds the same one ready on every replay.
//! Here is the code's side; [`journal`] has the machine's.

mod journal;

use std::collections::{HashMap, HashSet};
use std::task::Waker;

use riverrun_kernel::driver::Tag;
use riverrun_kernel::{Failure, Json};
use riverrun_wire::workflow::Act;

use super::context::Asked;

/// How an act ended.
pub(crate) type Outcome = Result<Json, Failure>;

/// The longest path that is taken.
const MAX_NAME: usize = 200;

/// Whether acts are answered from history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are, and none is carried out.
    Replaying,
    /// They are carried out.
    Live,
    /// They are, but no step begins any more.
    Parking,
    /// The code is being let go: what its futures do then is of no interest.
    Closed,
}

/// What an act is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A step executed here.
    Step,
    /// One that must not be executed twice.
    StepOnce,
    /// A sleep; whether it is known to be longer than a run is held for.
    Sleep { long: bool },
    /// A wait for a signal, a call or a child.
    Wait(&'static str),
}

impl Kind {
    fn is_local(self) -> bool {
        matches!(self, Kind::Step | Kind::StepOnce)
    }

    fn noun(self) -> &'static str {
        match self {
            Kind::Step | Kind::StepOnce => "a step",
            Kind::Sleep { .. } => "a sleep",
            Kind::Wait(noun) => noun,
        }
    }
}

/// How far an act is.
///
/// ```text
/// step:       Asked ──► Executing ──► Reported ──► Ended
/// at most once: Asked ► Announced ► Cleared ► Executing …      (found announced in history: Doubtful ► Reported)
/// wait:       Asked ──► Begun ──► Ended
/// ```
#[derive(Debug)]
enum Phase {
    /// Nobody but the code knows of it.
    Asked,
    /// `starting` was sent.
    Announced,
    /// `starting` is durable: it may be executed.
    Cleared,
    /// History says that it may have been executed before.
    Doubtful,
    Executing,
    /// Its outcome was sent and is not durable.
    Reported(Outcome),
    /// The server has it, or will.
    Begun,
    /// The code may see this.
    Ended(Outcome),
}

#[derive(Debug)]
struct Open {
    path: String,
    kind: Kind,
    phase: Phase,
    waker: Option<Waker>,
    /// What is to be sent for it when the replay is over.
    act: Option<Act>,
}

/// What a step is to do when it is polled.
#[derive(Debug)]
pub(crate) enum Turn {
    Wait,
    Execute,
    GoOn,
    Done(Outcome),
}

/// An act that left while history was not used up.
#[derive(Debug)]
struct Gone {
    path: String,
    kind: Kind,
    begun: bool,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub mode: Mode,
    next_tag: Tag,
    /// How often a name was used.
    names: HashMap<String, u32>,
    open: HashMap<Tag, Open>,
    /// Acts that have ended and that the code has not seen, in the order of the journal.
    ready: Vec<Tag>,
    permitted: Option<Tag>,
    /// A step is being executed right now: what is asked for is asked by it.
    pub inside: bool,
    /// To be sent.
    pub acts: Vec<Act>,
    /// To be shown.
    pub said: String,
    /// Acts sent whose record has not come back.
    pub unrecorded: u64,
    /// The run is to stop, and nothing that waited could be told.
    cancelled: bool,
    /// The run is to stop.
    pub told_to_stop: bool,
    /// Only while replaying: outcomes to come, for values that the code wants at once.
    past: HashMap<Tag, (String, Outcome)>,
    /// Only while replaying: tags of such values.
    values: HashSet<Tag>,
    gone: HashMap<Tag, Gone>,
    /// The first difference between the code and its history.
    pub mismatch: Option<String>,
}

impl Core {
    pub fn new(mode: Mode) -> Self {
        Core {
            mode,
            next_tag: 0,
            names: HashMap::new(),
            open: HashMap::new(),
            ready: Vec::new(),
            permitted: None,
            inside: false,
            acts: Vec::new(),
            said: String::new(),
            unrecorded: 0,
            cancelled: false,
            told_to_stop: false,
            past: HashMap::new(),
            values: HashSet::new(),
            gone: HashMap::new(),
            mismatch: None,
        }
    }

    /// The next tag, and a path for `name` that no other act of the run has.
    pub fn ask(&mut self, name: &str) -> (Tag, Result<String, Failure>) {
        if self.inside {
            // It is not numbered: when the step is not executed again, nobody asks for it.
            let text = format!(
                "`{name}` is asked for within a step, which is recorded as a whole: ask for it beside the step"
            );
            return (Tag::MAX, Err(Failure::new("NestedStep", text).not_retryable()));
        }
        let tag = self.next_tag;
        self.next_tag += 1;
        if name.is_empty() || name.len() > MAX_NAME || name.contains(['#', '~']) {
            let text = format!("`{name}` is no name for a step: 1 to {MAX_NAME} bytes, without # and ~");
            return (tag, Err(Failure::new("InvalidName", text).not_retryable()));
        }
        (tag, Ok(self.path(name)))
    }

    /// The next tag, for an act whose path was derived from another's.
    pub fn ask_derived(&mut self) -> Tag {
        let tag = self.next_tag;
        self.next_tag += 1;
        tag
    }

    fn path(&mut self, name: &str) -> String {
        if let Some(count) = self.names.get_mut(name) {
            *count += 1;
            return format!("{name}#{count}");
        }
        self.names.insert(name.to_owned(), 1);
        name.to_owned()
    }

    /// How many acts the code has asked for.
    pub fn asked(&self) -> Tag {
        self.next_tag
    }

    /// The code awaits an act for the first time. An error is its outcome, at once.
    pub fn begin(&mut self, tag: Tag, path: String, kind: Kind, act: Option<Act>) -> Result<(), Failure> {
        if self.cancelled {
            self.cancelled = false;
            return Err(cancelled());
        }
        let mut open = Open { path, kind, phase: Phase::Asked, waker: None, act };
        if self.mode == Mode::Live
            && let Some(act) = open.act.take()
        {
            self.acts.push(act);
            open.phase = Phase::Begun;
        }
        self.open.insert(tag, open);
        Ok(())
    }

    /// What a step executed here is to do. `None` for an act that is not open, which cannot be.
    pub fn poll_step(&mut self, tag: Tag, waker: &Waker) -> Turn {
        let (mode, permitted) = (self.mode, self.permitted == Some(tag));
        let Some(open) = self.open.get_mut(&tag) else { return Turn::Wait };
        let turn = match &mut open.phase {
            Phase::Asked if mode == Mode::Live && open.kind == Kind::StepOnce => {
                open.phase = Phase::Announced;
                self.acts.push(Act::Starting { tag, path: open.path.clone() });
                self.unrecorded += 1;
                Turn::Wait
            }
            Phase::Asked if mode == Mode::Live => {
                open.phase = Phase::Executing;
                Turn::Execute
            }
            Phase::Cleared => {
                open.phase = Phase::Executing;
                Turn::Execute
            }
            Phase::Doubtful if mode == Mode::Live => {
                let text =
                    "it may have been executed before its worker was lost, and must not be executed twice";
                let failure = Failure::new(Failure::UNKNOWN_OUTCOME, text).not_retryable();
                self.ran(tag, Err(failure));
                return self.poll_step(tag, waker);
            }
            Phase::Executing => Turn::GoOn,
            Phase::Ended(_) if permitted => return self.take(tag).map_or(Turn::Wait, Turn::Done),
            _ => Turn::Wait,
        };
        keep(&mut open.waker, waker);
        turn
    }

    /// A step was executed: its outcome is sent, and seen by the code when it is durable.
    pub fn ran(&mut self, tag: Tag, outcome: Outcome) {
        let Some(open) = self.open.get_mut(&tag) else { return };
        let path = std::mem::take(&mut open.path);
        open.phase = Phase::Reported(outcome.clone());
        self.acts.push(Act::Ran { tag, path, outcome: outcome.into() });
        self.unrecorded += 1;
    }

    /// The outcome of a wait, when the code may see it.
    pub fn poll_wait(&mut self, tag: Tag, waker: &Waker) -> Option<Outcome> {
        let permitted = self.permitted == Some(tag);
        let open = self.open.get_mut(&tag)?;
        if permitted && matches!(open.phase, Phase::Ended(_)) {
            return self.take(tag);
        }
        keep(&mut open.waker, waker);
        None
    }

    fn take(&mut self, tag: Tag) -> Option<Outcome> {
        let open = self.open.remove(&tag)?;
        self.permitted = None;
        self.ready.retain(|ready| *ready != tag);
        match open.phase {
            Phase::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// The code no longer awaits an act.
    pub fn dropped(&mut self, tag: Tag) {
        let Some(open) = self.open.remove(&tag) else { return };
        self.ready.retain(|ready| *ready != tag);
        match (self.mode, open.phase) {
            (Mode::Closed, _) | (_, Phase::Ended(_)) => {}
            (Mode::Replaying, phase) => {
                let begun = matches!(phase, Phase::Begun);
                self.gone.insert(tag, Gone { path: open.path, kind: open.kind, begun });
            }
            (Mode::Live | Mode::Parking, Phase::Begun) => self.acts.push(Act::Abort { tag }),
            // Whatever a step did, its outcome was not recorded; it is not executed again either, for the code goes on without it.
            (Mode::Live | Mode::Parking, _) => {}
        }
    }

    /// A value that the code wants at once, if it is on record. If not, [`Core::new_value`] is to follow, unless a step wants it: what
    /// a step does is not recorded in parts.
    pub fn recorded_value(&mut self, name: &str) -> Result<Json, Option<Asked>> {
        if self.inside {
            return Err(None);
        }
        let tag = self.next_tag;
        self.next_tag += 1;
        let path = self.path(name);
        if self.mode == Mode::Replaying {
            self.values.insert(tag);
            match self.past.remove(&tag) {
                Some((recorded, Ok(value))) if recorded == path => return Ok(value),
                Some((recorded, _)) => self.differs(tag, &recorded, Some((&path, "a value"))),
                None => {}
            }
        }
        Err(Some(Asked { tag, path }))
    }

    /// A value is recorded with what follows from it.
    pub fn new_value(&mut self, asked: Asked, value: Json) {
        self.acts.push(Act::Ran { tag: asked.tag, path: asked.path, outcome: Ok(value).into() });
        self.unrecorded += 1;
    }

    /// Shows a line, unless it was shown before.
    pub fn say(&mut self, line: &str) {
        if matches!(self.mode, Mode::Live | Mode::Parking) {
            self.said.push_str(line);
            self.said.push('\n');
        }
    }

    /// Publishes the run's status.
    pub fn status(&mut self, status: Json) {
        if matches!(self.mode, Mode::Live | Mode::Parking) {
            self.acts.push(Act::Status { status });
        }
    }
}

/// What code waits for that does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Steps that execute here, or records.
    Steps,
    /// Something that does not begin any more, because the run is parked.
    Held,
    /// Sleeps that are known to be long.
    Asleep,
    /// Something durable that may end soon.
    Others,
    /// Nothing that the journal knows of.
    Nothing,
}

pub(crate) fn cancelled() -> Failure {
    Failure::new(Failure::CANCELLED, "the run was asked to stop").not_retryable()
}

fn keep(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(kept) if kept.will_wake(waker) => {}
        _ => *place = Some(waker.clone()),
    }
}

fn wake(open: &mut Open) {
    if let Some(waker) = open.waker.take() {
        waker.wake();
    }
}
