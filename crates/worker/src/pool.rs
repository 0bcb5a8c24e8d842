//! The attempts at hand and the children that execute them: who executes what, until when, and what came of it.
//!
//! ```text
//! child:    starting ──ready──► idle ◄──answer──┐
//!              │                 └────call────► busy ──stop, limit──► ending ──grace──► killed
//!              └── dies: back-off, then another          └── dies: its one attempt is charged
//! ```
//! Time comes in as an argument; children are reached through their handles only.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use riverrun_kernel::{AttemptId, Lost};
use riverrun_wire::child::{FromChild, ToChild};
use riverrun_wire::worker::{FromWorker, Function, Offer};
use riverrun_wire::workflow::Act;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::children::{self, ChildEvent, ChildId};
use crate::config::{Config, OutputLine};
use crate::error::WorkerError;
use crate::executor::{Desk, Executor, Tiding};
use crate::ledger::Outcome;
use crate::member::{Ending, Member, Output, Phase, Waiting};
use crate::pace::{PATIENCE, Pace};
use crate::starts::Starts;

/// Longer inputs do not wait in a child: all that do fit into a socket's buffer together.
const MAX_PIPED_INPUT: usize = 8 << 10;
/// How much of what a child says before it is ready is kept to explain why it never was.
const START_TAIL: usize = 4096;

pub(crate) struct Pool {
    config: Config,
    /// Output of attempts in it is bounded by `max_output_bytes` for each attempt, of which there are `slots`.
    desk: Desk,
    children: HashMap<ChildId, Member>,
    waiting: VecDeque<Waiting>,
    pace: Pace,
    starts: Starts,
    /// Something was written to a descriptor while more than one attempt could have done it.
    writes_raw: bool,
    draining: bool,
    next_child: u64,
    events: mpsc::Sender<(ChildId, ChildEvent)>,
    tasks: JoinSet<()>,
}

impl Pool {
    pub fn new(config: Config, events: mpsc::Sender<(ChildId, ChildEvent)>) -> Self {
        Pool {
            config,
            desk: Desk::default(),
            children: HashMap::new(),
            waiting: VecDeque::new(),
            pace: Pace::default(),
            starts: Starts::default(),
            writes_raw: false,
            draining: false,
            next_child: 0,
            events,
            tasks: JoinSet::new(),
        }
    }
}

impl Executor for Pool {
    type Event = (ChildId, ChildEvent);

    fn desk(&mut self) -> &mut Desk {
        &mut self.desk
    }

    /// Starts the first child, which finds out what functions there are.
    fn open(&mut self, now: Instant) -> Result<(), WorkerError> {
        self.start_child(now)
            .map_err(|error| WorkerError::Python { python: self.config.python.clone(), error })
    }

    /// Takes an offer in.
    fn offer(&mut self, offer: Box<Offer>, now: Instant) {
        if self.desk.ledger.accept(offer.attempt, offer.token) {
            self.waiting.push_back(Waiting { since: now, offer, end: None });
        }
    }

    /// Ends an attempt on request: at once if it waits, gently and after `grace` by force if it executes.
    fn stop(&mut self, attempt: AttemptId, grace: Duration, now: Instant) {
        if self.forget_waiting(attempt) {
            self.desk.ledger.finish(attempt, Outcome::Stopped);
        } else {
            self.end(attempt, Ending::Stop, now + grace);
        }
    }

    /// Ends an attempt whose right was lost. Nothing of it will be reported.
    fn drop_attempt(&mut self, attempt: AttemptId, now: Instant) {
        if !self.forget_waiting(attempt) {
            self.end(attempt, Ending::Dropped, now);
        }
    }

    /// No child executes the code of a workflow: none is announced.
    fn tell(&mut self, _attempt: AttemptId, _tiding: Tiding) {}

    /// What a call does needs nothing from the server.
    fn kept(&mut self, _attempts: &[AttemptId]) {
        self.pace.forget_told();
        self.starts.forget_told();
    }

    /// Gives back what has not begun.
    fn drain(&mut self) {
        self.draining = true;
        self.give_back(self.waiting.len());
        self.children.values_mut().for_each(Member::ask_back);
    }

    /// Kills what is executing; it is reported as a bystander of the shutdown, since it may have had its effect.
    fn cut_off(&mut self, now: Instant) {
        for attempt in self.desk.ledger.executing() {
            self.end(attempt, Ending::Shutdown, now);
        }
    }

    /// Hands waiting attempts to idle children, and starts more children where that helps.
    fn dispatch(&mut self, now: Instant) -> Result<(), WorkerError> {
        if self.desk.functions.is_none() {
            return Ok(());
        }
        for member in self.children.values_mut() {
            if self.waiting.is_empty() {
                break;
            }
            if matches!(member.phase, Phase::Idle)
                && let Some(waiting) = self.waiting.pop_front()
            {
                member.take(waiting, now, self.config.max_output_bytes);
            }
        }
        self.fill_pipes(now);
        self.start_children(now)?;
        if !self.draining {
            self.tell_room(now);
        }
        Ok(())
    }

    /// Takes in what a child did. An error ends the supervisor: its first child did not come up.
    fn on_event(&mut self, (id, event): Self::Event, now: Instant) -> Result<(), WorkerError> {
        match event {
            ChildEvent::Message(message) => self.on_message(id, message, now),
            ChildEvent::Raw { stream, bytes } => {
                self.on_raw(id, stream, &bytes);
                Ok(())
            }
            ChildEvent::Exited { how } => self.on_exit(id, &how, now),
        }
    }

    /// The next moment at which [`Pool::tick`] has something to do.
    fn next_deadline(&self) -> Option<Instant> {
        let of_children = self.children.values().filter_map(|member| member.deadline(&self.config));
        let start = self.starts.due().filter(|_| self.wants_children() > 0);
        let status = self.children.values().filter_map(|member| match &member.phase {
            Phase::Busy(busy) => busy.status.due(),
            _ => None,
        });
        of_children
            .chain(start)
            .chain(self.patience_ends())
            .chain(self.start_patience_ends())
            .chain(status)
            .min()
    }

    /// Enforces what is due.
    fn tick(&mut self, now: Instant) {
        for member in self.children.values_mut() {
            if member.deadline(&self.config).is_some_and(|due| due <= now) {
                member.enforce(now, &self.config);
            }
        }
        self.starts.tick(now);
        self.tell_status(now);
        if self.start_patience_ends().is_some_and(|moment| moment <= now) {
            self.starts.are_slow();
            self.give_back(self.waiting.len());
        }
        if self.patience_ends().is_some_and(|moment| moment <= now) {
            self.pace.slow();
            self.give_back(self.ahead());
            self.children.values_mut().for_each(Member::ask_back);
        }
    }

    /// Ends the children, all of them idle or of no more use.
    async fn close(mut self) {
        for member in self.children.values() {
            match member.phase {
                Phase::Idle => member.handle.send(ToChild::Exit {}),
                _ => member.handle.kill(),
            }
        }
        self.children.clear();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Pool {
    fn start_child(&mut self, now: Instant) -> std::io::Result<()> {
        // The tasks of children that have ended are let go here, so that the set does not grow.
        while self.tasks.try_join_next().is_some() {}
        self.next_child += 1;
        let id = ChildId(self.next_child);
        let handle = children::start(&self.config, id, self.events.clone(), &mut self.tasks)?;
        tracing::debug!(pid = handle.pid, "a child starts");
        let phase = Phase::Starting { since: now, loading: None, said: String::new() };
        let member = Member {
            handle,
            phase,
            next: VecDeque::new(),
            asked_back: false,
            output: None,
            decoders: Default::default(),
        };
        self.children.insert(id, member);
        Ok(())
    }

    /// Starts as many as what waits needs.
    fn start_children(&mut self, now: Instant) -> Result<(), WorkerError> {
        let mut starting = self.starting();
        while self.wants_children() > starting && self.children.len() < self.slots() && self.starts.may(now) {
            if let Err(error) = self.start_child(now) {
                self.start_failed(&format!("{}: {error}", self.config.python.display()), now)?;
            } else {
                starting += 1;
            }
        }
        self.starts.going_on(starting);
        Ok(())
    }

    /// Tells the server how many attempts can be taken, where that has changed.
    fn tell_room(&mut self, now: Instant) {
        let (slots, up) = (self.slots(), self.up());
        self.desk.asides.extend(self.starts.news(slots, up));
        let usable = u32::try_from(self.usable()).unwrap_or(u32::MAX);
        if let Some(attempts) = self.pace.news(usable, now) {
            self.desk.asides.push(FromWorker::Ahead { attempts });
        }
    }

    /// What waits for a child has not begun: if none comes up, it goes back to the server, for other workers.
    fn start_failed(&mut self, why: &str, now: Instant) -> Result<(), WorkerError> {
        if self.starts.failed(why, now) {
            if self.config.ends_without_children && self.up() == 0 {
                return Err(WorkerError::Start(why.to_owned()));
            }
            self.give_back(self.waiting.len());
        }
        Ok(())
    }

    /// Sends calls to children that execute one, where all do: then nothing waits that must begin at once, and a child need not be woken
    /// for each. Little ones only, so that they fit into the socket whatever the child does.
    fn fill_pipes(&mut self, now: Instant) {
        let depth = self.pace.piped();
        if self.waiting.is_empty() || self.draining || self.writes_raw || self.executing() < self.slots() {
            return;
        }
        for member in self.children.values_mut().filter(|member| !member.asked_back) {
            // Refilled when it is half empty: a few calls go by one write.
            if member.next.len() > depth / 2 {
                continue;
            }
            while member.next.len() < depth
                && let Some(waiting) =
                    self.waiting.pop_front_if(|first| first.offer.input.get().len() <= MAX_PIPED_INPUT)
            {
                member.take(waiting, now, self.config.max_output_bytes);
            }
        }
    }

    fn slots(&self) -> usize {
        self.config.slots.max(1) as usize
    }

    fn starting(&self) -> usize {
        self.children.values().filter(|child| child.is_starting()).count()
    }

    /// How many children have started.
    fn up(&self) -> usize {
        self.children.len() - self.starting()
    }

    /// How many attempts can be taken as things are.
    fn usable(&self) -> usize {
        self.starts.usable(self.slots(), self.up())
    }

    /// How many children should be starting.
    fn wants_children(&self) -> usize {
        self.waiting.len().max(usize::from(self.starts.must() && !self.draining))
    }

    fn executing(&self) -> usize {
        self.children.values().filter(|child| matches!(child.phase, Phase::Busy(_))).count()
    }

    /// How many attempts wait here beyond those that a child will soon be there for.
    fn ahead(&self) -> usize {
        (self.executing() + self.waiting.len()).saturating_sub(self.usable()).min(self.waiting.len())
    }

    /// Until when those may wait, and what waits in children.
    fn patience_ends(&self) -> Option<Instant> {
        let here = self.waiting.front().filter(|_| self.ahead() > 0);
        let children = self.children.values().filter(|member| !member.asked_back);
        let piped = children.filter_map(|member| member.next.front());
        here.into_iter().chain(piped).map(|waiting| waiting.since + PATIENCE).min()
    }

    /// Until when what waits for a child to start may do so.
    fn start_patience_ends(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.since + self.config.start_patience)
    }

    /// Gives back the last `count` of what waits: it has not begun.
    fn give_back(&mut self, count: usize) {
        for waiting in self.waiting.split_off(self.waiting.len() - count) {
            self.desk.ledger.finish(waiting.offer.attempt, Outcome::Lost(Lost::Returned));
        }
    }

    /// What a child had and did not begin waits for another one, before what came later.
    fn wait_again(&mut self, waiting: Waiting) {
        let attempt = waiting.offer.attempt;
        match waiting.end {
            Some(_) => self.desk.ledger.finish(attempt, Outcome::Stopped),
            None if self.draining => self.desk.ledger.finish(attempt, Outcome::Lost(Lost::Returned)),
            None => {
                let place = self.waiting.partition_point(|other| other.since < waiting.since);
                self.waiting.insert(place, waiting);
            }
        }
    }

    fn forget_waiting(&mut self, attempt: AttemptId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.offer.attempt != attempt);
        self.waiting.len() < before
    }

    fn end(&mut self, attempt: AttemptId, why: Ending, kill_at: Instant) {
        for member in self.children.values_mut() {
            member.end(attempt, why, kill_at);
        }
    }

    fn on_message(&mut self, id: ChildId, message: FromChild, now: Instant) -> Result<(), WorkerError> {
        let Some(member) = self.children.get_mut(&id) else {
            return Ok(());
        };
        match message {
            FromChild::Loading { file } => {
                if let Phase::Starting { loading, .. } = &mut member.phase {
                    *loading = Some(file);
                }
            }
            FromChild::Ready { version, python, functions, warnings } => {
                if version != env!("CARGO_PKG_VERSION") {
                    return Err(WorkerError::Start(format!(
                        "its riverrun package is version {version}, and this worker is {}",
                        env!("CARGO_PKG_VERSION")
                    )));
                }
                member.phase = Phase::Idle;
                self.starts.succeeded();
                if self.desk.functions.is_none() {
                    announce(&python, &functions, &warnings);
                    self.desk.functions = Some(functions);
                }
            }
            FromChild::Log { attempt, stream, text } => self.log(id, attempt, &stream, text),
            FromChild::Status { attempt, status } => {
                if let Phase::Busy(busy) = &mut member.phase
                    && busy.attempt == attempt
                {
                    busy.status.untold = Some(status);
                    self.tell_status(now);
                }
            }
            FromChild::Done { attempt, output } => self.answered(id, attempt, Outcome::Done(output), now),
            FromChild::Failed { attempt, failure } => {
                self.answered(id, attempt, Outcome::Failed(failure), now);
            }
            FromChild::Stopped { attempt } => match member.take_back(attempt) {
                Some(waiting) => self.wait_again(waiting),
                None => self.answered(id, attempt, Outcome::Stopped, now),
            },
            FromChild::Returned { attempt } => {
                if let Some(waiting) = member.take_back(attempt) {
                    self.wait_again(waiting);
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self, id: ChildId, attempt: AttemptId, outcome: Outcome, now: Instant) {
        let Some(member) = self.children.get_mut(&id) else {
            return;
        };
        match &member.phase {
            Phase::Busy(busy) if busy.attempt == attempt => {
                let outcome = busy.answered(outcome);
                self.pace.took(now.saturating_duration_since(busy.since));
                self.desk.ledger.finish(attempt, outcome);
                member.go_on(now, self.config.max_output_bytes);
            }
            _ => {
                tracing::error!(%attempt, "a child answered a call that it does not have; it is killed");
                member.handle.kill();
            }
        }
    }

    fn on_exit(&mut self, id: ChildId, how: &str, now: Instant) -> Result<(), WorkerError> {
        let Some(mut member) = self.children.remove(&id) else {
            return Ok(());
        };
        for waiting in std::mem::take(&mut member.next) {
            self.wait_again(waiting);
        }
        match member.phase {
            Phase::Idle => tracing::info!(pid = member.handle.pid, "an idle child {how}"),
            Phase::Starting { loading, said, .. } => {
                let why = start_failure(how, loading.as_deref(), &said);
                if self.desk.functions.is_none() {
                    return Err(WorkerError::Start(why));
                }
                self.start_failed(&why, now)?;
            }
            Phase::Busy(busy) => {
                if busy.ending.is_none() {
                    tracing::warn!(attempt = %busy.attempt, pid = member.handle.pid, "a child {how} while it executed an attempt");
                }
                if let Some(output) = &mut member.output {
                    let text = format!("[the process that executed this attempt {how}]\n");
                    emit(&self.config, &mut self.desk.asides, output, "log", text);
                }
                self.desk.ledger.finish(busy.attempt, busy.died());
            }
        }
        Ok(())
    }

    fn on_raw(&mut self, id: ChildId, stream: &'static str, bytes: &[u8]) {
        let Some(member) = self.children.get_mut(&id) else {
            return;
        };
        let text = member.decoders[usize::from(stream == "stderr")].feed(bytes);
        if let Phase::Starting { said, .. } = &mut member.phase {
            said.push_str(&text);
            let cut = said.len().saturating_sub(START_TAIL);
            said.drain(..said.ceil_char_boundary(cut));
        }
        match &mut member.output {
            // It may be the next attempt's, whose run must not be told what another one printed, or the other way round. So nobody is, and
            // from now on each waits here until the one before it has ended.
            Some(_) if !member.next.is_empty() => {
                self.writes_raw = true;
                show(&self.config, "", "", stream, &text);
            }
            // Between two attempts it is the rest of what the last one wrote.
            Some(output) => emit(&self.config, &mut self.desk.asides, output, stream, text),
            None => show(&self.config, "", "", stream, &text),
        }
    }

    /// Tells the server how far attempts have come, each not too often.
    fn tell_status(&mut self, now: Instant) {
        for member in self.children.values_mut() {
            if let Phase::Busy(busy) = &mut member.phase
                && let Some(status) = busy.status.take_due(now)
            {
                self.desk.ledger.progress(busy.attempt, vec![Act::Status { status }]);
            }
        }
    }

    fn log(&mut self, id: ChildId, attempt: AttemptId, stream: &str, text: String) {
        let output = self.children.get_mut(&id).and_then(|member| member.output.as_mut());
        if let Some(output) = output.filter(|output| output.attempt == attempt) {
            emit(&self.config, &mut self.desk.asides, output, stream, text);
        }
    }
}

fn start_failure(how: &str, loading: Option<&str>, said: &str) -> String {
    let said = said.trim();
    let place = loading.map_or_else(String::new, |file| format!(" while it loaded {file}"));
    if said.is_empty() {
        format!("it {how}{place}")
    } else if loading.is_none() {
        said.to_owned()
    } else {
        format!("it {how}{place}: {said}")
    }
}

fn announce(python: &str, functions: &[Function], warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let names: Vec<&str> = functions.iter().filter(|f| f.broken.is_none()).map(|f| f.name.as_str()).collect();
    tracing::info!(python, functions = names.join(" "), "the functions are loaded");
}

fn emit(config: &Config, logs: &mut Vec<FromWorker>, output: &mut Output, stream: &str, text: String) {
    if text.is_empty() {
        return;
    }
    if let Some(text) = output.budget.take(text) {
        show(config, &output.function, &output.attempt.to_string(), stream, &text);
        logs.push(FromWorker::Log { attempt: output.attempt, stream: stream.to_owned(), text });
    }
}

fn show(config: &Config, function: &str, attempt: &str, stream: &str, text: &str) {
    if let Some(sink) = &config.show_output {
        for text in text.lines() {
            sink(OutputLine { function, attempt, stream, text });
        }
    }
}
