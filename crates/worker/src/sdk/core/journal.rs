//! What the machine does to the core: it brings lines of the journal in, and says what the code may see.

use std::collections::{HashMap, HashSet};
use std::task::Waker;

use riverrun_kernel::driver::Tag;
use riverrun_wire::workflow::{Act, Fact};

use super::{Core, Gone, Kind, Mode, Open, Outcome, Phase, Waits, cancelled, wake};

impl Core {
    /// Tells the outcomes that history holds, before anything is replayed.
    pub fn foresee<'a>(&mut self, facts: impl Iterator<Item = &'a Fact>) {
        for fact in facts {
            if let Fact::Ran { tag, path, outcome } = fact {
                self.past.insert(*tag, (path.clone(), outcome.clone().into()));
            }
        }
    }

    /// Takes in the next line of the journal.
    pub fn learn(&mut self, fact: Fact) {
        match (fact, self.mode) {
            (Fact::Ran { tag, path, outcome }, Mode::Replaying) => {
                if !self.values.remove(&tag) && self.is_known(tag, &path, true) {
                    self.end(tag, outcome.into());
                }
            }
            (Fact::Starting { tag, path }, Mode::Replaying) => {
                if self.is_known(tag, &path, true) {
                    self.reach(tag, Phase::Doubtful);
                }
            }
            (Fact::Begun { tag, path }, Mode::Replaying) => {
                if self.is_known(tag, &path, false) {
                    self.reach(tag, Phase::Begun);
                    if let Some(gone) = self.gone.get_mut(&tag) {
                        gone.begun = true;
                    }
                }
            }
            (Fact::Recorded { tag } | Fact::Ran { tag, .. } | Fact::Starting { tag, .. }, _) => {
                self.recorded(tag);
            }
            (Fact::Begun { .. } | Fact::Reopened { .. }, _) => {}
            (Fact::Ended { tag, outcome }, _) => {
                self.gone.remove(&tag);
                self.end(tag, outcome.into());
            }
            (Fact::Aborted { tag }, _) => {
                self.gone.remove(&tag);
                self.end(tag, Err(cancelled()));
            }
            (Fact::CancelRequested {}, _) => self.cancel(),
        }
    }

    fn recorded(&mut self, tag: Tag) {
        self.unrecorded = self.unrecorded.saturating_sub(1);
        let Some(open) = self.open.get_mut(&tag) else { return };
        match std::mem::replace(&mut open.phase, Phase::Cleared) {
            Phase::Reported(outcome) => {
                open.phase = Phase::Ended(outcome);
                self.ready.push(tag);
            }
            Phase::Announced => wake(open),
            other => open.phase = other,
        }
    }

    fn reach(&mut self, tag: Tag, phase: Phase) {
        if let Some(open) = self.open.get_mut(&tag)
            && !matches!(open.phase, Phase::Ended(_))
        {
            open.phase = phase;
        }
    }

    fn end(&mut self, tag: Tag, outcome: Outcome) {
        if let Some(open) = self.open.get_mut(&tag)
            && !matches!(open.phase, Phase::Ended(_))
        {
            open.phase = Phase::Ended(outcome);
            self.ready.push(tag);
        }
    }

    /// What waits is told; a step that executes goes on, and what comes after it is told.
    fn cancel(&mut self) {
        self.told_to_stop = true;
        let waits = |open: &Open| !open.kind.is_local() && !matches!(open.phase, Phase::Ended(_));
        let mut tags: Vec<Tag> =
            self.open.iter().filter(|(_, open)| waits(open)).map(|(tag, _)| *tag).collect();
        tags.sort_unstable();
        self.cancelled = tags.is_empty();
        for tag in tags {
            if let Some(open) = self.open.get_mut(&tag) {
                let begun = matches!(open.phase, Phase::Begun);
                open.phase = Phase::Ended(Err(cancelled()));
                if self.mode == Mode::Replaying {
                    self.gone.insert(tag, Gone { path: open.path.clone(), kind: open.kind, begun });
                } else if begun {
                    self.acts.push(Act::Abort { tag });
                }
            }
            self.ready.push(tag);
        }
    }

    /// Whether the code has asked for what history says that it asked for.
    fn is_known(&mut self, tag: Tag, path: &str, local: bool) -> bool {
        let asked = match (self.open.get(&tag), self.gone.get(&tag)) {
            (_, Some(gone)) => Some((gone.path.as_str(), gone.kind)),
            (Some(open), None) => Some((open.path.as_str(), open.kind)),
            (None, None) => None,
        };
        if asked.is_some_and(|(asked, kind)| asked == path && kind.is_local() == local) {
            return true;
        }
        let asked = asked.map(|(path, kind)| (path.to_owned(), kind.noun()));
        self.differs(tag, path, asked.as_ref().map(|(path, noun)| (path.as_str(), *noun)));
        false
    }

    pub(super) fn differs(&mut self, tag: Tag, recorded: &str, asked: Option<(&str, &str)>) {
        if self.mismatch.is_some() {
            return;
        }
        let now = match asked {
            Some((asked, noun)) if asked == recorded => {
                format!("the code now asks for {noun} of that name")
            }
            Some((asked, noun)) => format!("the code now asks for {noun}, `{asked}`"),
            None if tag < self.next_tag => "the code does not await it".to_owned(),
            None => "the code does not get there".to_owned(),
        };
        self.mismatch = Some(format!(
            "act {tag} of the journal is `{recorded}`, and {now}. Code that runs have begun with must go on doing what it did: take the change \
             back and resume the run, or give the changed workflow another name"
        ));
    }

    /// History is used up: what it does not tell is carried out from here on.
    pub fn go_live(&mut self) {
        self.mode = Mode::Live;
        (self.past, self.values) = (HashMap::new(), HashSet::new());
        let mut tags: Vec<Tag> = self.open.keys().copied().collect();
        tags.sort_unstable();
        for tag in tags {
            let Some(open) = self.open.get_mut(&tag) else { continue };
            if matches!(open.phase, Phase::Asked)
                && let Some(act) = open.act.take()
            {
                self.acts.push(act);
                open.phase = Phase::Begun;
            } else {
                open.act = None;
            }
            wake(open);
        }
        let mut gone: Vec<Tag> =
            self.gone.drain().filter(|(_, gone)| gone.begun).map(|(tag, _)| tag).collect();
        gone.sort_unstable();
        self.acts.extend(gone.into_iter().map(|tag| Act::Abort { tag }));
    }

    /// The code may see the end of the act at `place` among those that it has not seen, with whom to wake for it.
    ///
    /// `Err` when there are not so many.
    pub fn permit(&mut self, place: usize) -> Result<Option<Waker>, ()> {
        let tag = *self.ready.get(place).ok_or(())?;
        self.permitted = Some(tag);
        Ok(self.open.get_mut(&tag).and_then(|open| open.waker.take()))
    }

    /// Whether there is something that the code may see and has not seen.
    pub fn is_permitting(&self) -> bool {
        self.permitted.is_some()
    }

    /// The code may see nothing.
    pub fn forbid(&mut self) {
        self.permitted = None;
    }

    /// What the code waits for.
    pub fn waits(&self) -> Waits {
        if self.unrecorded > 0 {
            return Waits::Steps;
        }
        let (mut held, mut waits, mut awake) = (false, false, false);
        for open in self.open.values() {
            match (open.kind, &open.phase) {
                (_, Phase::Ended(_)) => {}
                (Kind::Step | Kind::StepOnce, Phase::Asked | Phase::Doubtful)
                    if self.mode == Mode::Parking =>
                {
                    held = true;
                }
                (Kind::Step | Kind::StepOnce, _) => return Waits::Steps,
                (kind, phase) => {
                    waits = true;
                    awake |= kind != Kind::Sleep { long: true };
                    held |= matches!(phase, Phase::Asked);
                }
            }
        }
        match (held, waits, awake) {
            (true, _, _) => Waits::Held,
            (false, false, _) => Waits::Nothing,
            (false, true, false) => Waits::Asleep,
            (false, true, true) => Waits::Others,
        }
    }
}
