//! Simulated workers: they execute, fail, crash, fall silent, lose their connection, and report twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use riverrun_engine::EngineError;
use riverrun_engine::sequencer::{Answer, Ask};
use riverrun_kernel::callback;
use riverrun_kernel::{
    AttemptId, Command, Failure, Incarnation, Json, Lost, Offer, PartitionId, Reply, Report, RunId, StepId,
    Token, WorkerId, WorkerSpec,
};

use super::world::{Dice, Event, PARTITIONS, To, World};

/// What a worker is told on its connection.
#[derive(Debug, Clone)]
pub enum Letter {
    Offer(Box<Offer>),
    Stop { attempt: AttemptId, grace_ms: u64 },
}

/// An attempt in a worker's hands.
#[derive(Debug)]
struct Doing {
    token: Token,
    /// When its outcome is there.
    done_at: u64,
    report: Report,
    /// When it was last reported.
    reported: Option<u64>,
}

#[derive(Debug, Default)]
struct Worker {
    /// How often its supervisor was killed: each time another process comes back.
    deaths: u64,
    link: Option<u64>,
    /// Partitions that have answered the connection.
    welcomed: u16,
    doing: BTreeMap<AttemptId, Doing>,
    /// It does nothing until then.
    silent_until: u64,
    beaten: u64,
}

#[derive(Debug)]
pub struct Workers {
    all: Vec<Worker>,
    /// Who is at the other end of each connection, and when the last letter on it arrives.
    links: BTreeMap<u64, (usize, u64)>,
    last_link: u64,
    /// The steps that must not begin twice and have begun.
    once: BTreeSet<(RunId, StepId)>,
}

impl Workers {
    pub fn new(dice: &mut Dice) -> Self {
        let count = 1 + dice.below(3);
        Workers {
            all: (0..count).map(|_| Worker::default()).collect(),
            links: BTreeMap::new(),
            last_link: 0,
            once: BTreeSet::new(),
        }
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    pub fn is_linked(&self, link: u64) -> bool {
        self.links.contains_key(&link)
    }

    /// Letters on one connection keep their order.
    pub fn next_delivery(&mut self, link: u64, earliest: u64) -> u64 {
        let Some((_, last)) = self.links.get_mut(&link) else { return earliest };
        *last = (*last).max(earliest);
        *last
    }
}

fn spec(incarnation: Incarnation) -> WorkerSpec {
    WorkerSpec {
        name: "sim".into(),
        namespace: "default".into(),
        queues: BTreeSet::new(),
        functions: BTreeSet::from(["svc/work", "work", callback::CALLBACK].map(str::to_owned)),
        slots: 3,
        in_process: false,
        incarnation: Some(incarnation),
    }
}

impl World {
    pub fn worker_acts(&mut self, index: usize) {
        let pause = 100 + self.dice.below(400);
        self.after(pause, Event::Worker(index));
        if self.workers.all[index].silent_until > self.now {
            return;
        }
        if self.fault(4) {
            // The supervisor is killed: what it executed is gone with it.
            self.workers.all[index].doing.clear();
            self.workers.all[index].deaths += 1;
            return self.drop_link_of(index);
        }
        if self.fault(8) {
            let silence = self.dice.below(8_000);
            self.workers.all[index].silent_until = self.now + silence;
            return;
        }
        let Some(link) = self.workers.all[index].link else { return self.connect(index) };
        if self.workers.all[index].welcomed < PARTITIONS {
            return;
        }
        if self.now >= self.workers.all[index].beaten + 900 {
            self.workers.all[index].beaten = self.now;
            self.tell_all(&|| Command::Heartbeat { worker: WorkerId(link) });
        }
        self.report_what_is_done(index);
    }

    fn connect(&mut self, index: usize) {
        if !self.is_up() {
            return;
        }
        self.workers.last_link += 1;
        let link = self.workers.last_link;
        self.workers.links.insert(link, (index, self.now));
        let worker = &mut self.workers.all[index];
        worker.link = Some(link);
        worker.welcomed = 0;
        worker.beaten = self.now;
        let claims: Vec<(AttemptId, Token)> =
            worker.doing.iter().map(|(attempt, doing)| (*attempt, doing.token)).collect();
        let process = format!("{index}.{}", worker.deaths).into();
        let spec = Arc::new(spec(Incarnation { process, connection: link }));
        let delay = self.delay();
        for partition in 0..PARTITIONS {
            let own = |attempt: &AttemptId| PartitionId::of(attempt.run.slot(), PARTITIONS).0 == partition;
            let command = Command::ConnectWorker {
                worker: WorkerId(link),
                spec: spec.clone(),
                claims: claims.iter().filter(|(attempt, _)| own(attempt)).copied().collect(),
            };
            let to = To::Connected { worker: index, link };
            self.after(delay, Event::Mail { partition, to: Some(to), ask: Ask::Command(command) });
        }
    }

    pub fn worker_connected(&mut self, index: usize, link: u64, answer: Result<Answer, EngineError>) {
        if self.workers.all[index].link != Some(link) {
            return;
        }
        let Ok(Answer::Reply(Reply::Claims(claims))) = answer else {
            return self.break_link(link);
        };
        let worker = &mut self.workers.all[index];
        worker.welcomed += 1;
        for attempt in claims.drop {
            worker.doing.remove(&attempt);
        }
        for attempt in claims.keep {
            if let Some(doing) = worker.doing.get_mut(&attempt) {
                doing.reported = None;
            }
        }
    }

    pub fn worker_receives(&mut self, link: u64, letter: Letter) {
        let Some((index, _)) = self.workers.links.get(&link).copied() else { return };
        if self.workers.all[index].link != Some(link) {
            return;
        }
        match letter {
            Letter::Offer(offer) => self.execute(index, &offer),
            Letter::Stop { attempt, grace_ms } => {
                let delay = self.dice.below(grace_ms.min(3_000) + 1);
                let at = self.now + delay;
                if let Some(doing) = self.workers.all[index].doing.get_mut(&attempt)
                    && doing.reported.is_none()
                    && doing.done_at > at
                {
                    doing.done_at = at;
                    doing.report = Report::Stopped;
                }
            }
        }
    }

    fn execute(&mut self, index: usize, offer: &Offer) {
        self.note_callback(offer);
        let long = self.fault(60);
        let takes = if long { self.dice.below(12_000) } else { self.dice.below(800) };
        let report = match if self.calm() { 99 } else { self.dice.below(100) } {
            0..=9 => Report::Failed(Failure::new("Flaky", "simulated")),
            10..=11 => Report::Failed(Failure::new("Fatal", "simulated").not_retryable()),
            12..=13 => Report::Lost(Lost::Crashed),
            14 => Report::Lost(Lost::Bystander),
            15 => Report::Lost(Lost::Returned),
            _ => Report::Succeeded(Json::trusted(format!("{{\"key\":\"{}\"}}", offer.idempotency_key))),
        };
        if offer.call.at_most_once && report != Report::Lost(Lost::Returned) {
            let step = (offer.attempt.run, offer.attempt.step);
            assert!(self.workers.once.insert(step), "{} is at_most_once and began twice", offer.attempt);
        }
        let doing = Doing { token: offer.token, done_at: self.now + takes, report, reported: None };
        let earlier = self.workers.all[index].doing.insert(offer.attempt, doing);
        assert!(earlier.is_none(), "{} was offered twice to one worker", offer.attempt);
    }

    fn report_what_is_done(&mut self, index: usize) {
        let now = self.now;
        let done: Vec<(AttemptId, Token, Report)> = self.workers.all[index]
            .doing
            .iter_mut()
            .filter(|(_, doing)| doing.done_at <= now && doing.reported.is_none_or(|at| at + 4_000 < now))
            .map(|(attempt, doing)| {
                doing.reported = Some(now);
                (*attempt, doing.token, doing.report.clone())
            })
            .collect();
        for (attempt, token, report) in done {
            let times = 1 + usize::from(self.fault(50));
            for _ in 0..times {
                let partition = PartitionId::of(attempt.run.slot(), PARTITIONS).0;
                let ask = Ask::Command(Command::Report { attempt, token, report: report.clone(), acts: 0 });
                self.post(partition, Some(To::Report { worker: index, attempt }), ask);
            }
        }
    }

    pub fn report_answered(
        &mut self,
        index: usize,
        attempt: AttemptId,
        answer: &Result<Answer, EngineError>,
    ) {
        if let Ok(_) | Err(EngineError::Refused(_)) = answer {
            self.workers.all[index].doing.remove(&attempt);
        }
    }

    fn tell_all(&mut self, command: &dyn Fn() -> Command) {
        for partition in 0..PARTITIONS {
            self.post(partition, None, Ask::Command(command()));
        }
    }

    // ---- connections

    fn drop_link_of(&mut self, index: usize) {
        if let Some(link) = self.workers.all[index].link {
            self.break_link(link);
        }
    }

    /// Both ends learn of it, each in its own time.
    pub fn break_link(&mut self, link: u64) {
        let Some((index, _)) = self.workers.links.remove(&link) else { return };
        if self.workers.all[index].link == Some(link) {
            self.workers.all[index].link = None;
        }
        self.tell_all(&|| Command::DisconnectWorker { worker: WorkerId(link), goodbye: false });
    }

    pub fn break_a_link(&mut self) {
        let links: Vec<u64> = self.workers.links.keys().copied().collect();
        if !links.is_empty() {
            let chosen = links[self.dice.below(links.len() as u64) as usize];
            self.break_link(chosen);
        }
    }

    pub fn break_all_links(&mut self) {
        let links: Vec<u64> = self.workers.links.keys().copied().collect();
        for link in links {
            self.break_link(link);
        }
    }
}
