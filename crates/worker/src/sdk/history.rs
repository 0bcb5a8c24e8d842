//! A run's history: in order, each line once, without what a resumption made void.

use riverrun_kernel::driver::Tag;
use riverrun_wire::workflow::{Event, Fact};

/// What the code is to see of its history: not what a resumption made void.
pub(crate) fn effective(events: Vec<Event>) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::with_capacity(events.len());
    for event in events {
        match event.fact {
            Fact::Reopened { again } => {
                facts.retain(|fact| tag(fact).is_none_or(|tag| !again.contains(&tag)));
            }
            fact => facts.push(fact),
        }
    }
    facts
}

fn tag(fact: &Fact) -> Option<Tag> {
    match fact {
        Fact::Recorded { tag }
        | Fact::Ran { tag, .. }
        | Fact::Starting { tag, .. }
        | Fact::Begun { tag, .. }
        | Fact::Ended { tag, .. }
        | Fact::Aborted { tag } => Some(*tag),
        Fact::CancelRequested {} | Fact::Reopened { .. } => None,
    }
}

/// Puts in order what comes over a connection: events as they happen, and histories in parts.
#[derive(Debug)]
pub(crate) struct Feed {
    /// The last line that was passed on, or that is known to say nothing.
    seen: u64,
    /// A history is on its way; until it is there, events wait behind it.
    history: Option<Vec<Event>>,
    behind: Vec<Event>,
}

impl Feed {
    /// For an attempt that was offered in this line.
    pub fn new(at: u64) -> Self {
        Feed { seen: at, history: None, behind: Vec::new() }
    }

    /// A history was asked for, and none that was asked for before will come.
    pub fn ask(&mut self) {
        self.history = Some(Vec::new());
    }

    /// The last line that the code has seen.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether events wait for a history.
    pub fn is_behind(&self) -> bool {
        self.history.is_some()
    }

    /// Events that have happened. Returns those that are next.
    pub fn events(&mut self, events: Vec<Event>) -> Vec<Event> {
        if self.history.is_some() {
            self.behind.extend(events);
            return Vec::new();
        }
        self.pass(events)
    }

    /// A part of a history. Returns the whole with the last one, as it is from the beginning.
    pub fn history(&mut self, part: Vec<Event>, last: bool) -> Option<Vec<Event>> {
        self.history.as_mut()?.extend(part);
        if last { self.history.take() } else { None }
    }

    /// The history told everything up to this line. Returns the events behind it.
    pub fn caught_up(&mut self, upto: u64) -> Vec<Event> {
        self.seen = self.seen.max(upto);
        let behind = std::mem::take(&mut self.behind);
        self.pass(behind)
    }

    /// Those of these events that are later than what was seen.
    pub fn pass(&mut self, mut events: Vec<Event>) -> Vec<Event> {
        events.retain(|event| {
            let is_next = event.at > self.seen;
            self.seen = self.seen.max(event.at);
            is_next
        });
        events
    }
}
