//! The attempts a supervisor has a right to, and the reports that are not acknowledged yet. Pure: no I/O, no clock.
//!
//! A report is kept until the server has acknowledged it, over as many connections as that takes. Reports are numbered
//! anew on each connection, from 1, in the order in which they are sent there.

use std::collections::{HashMap, HashSet, VecDeque};

use riverrun_kernel::{AttemptId, Failure, Json, Lost, Token};
use riverrun_wire::worker::{Claim, FromWorker};
use riverrun_wire::workflow::Act;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Done(Json),
    Failed(Failure),
    Lost(Lost),
    Stopped,
    /// The code of a workflow waits, and was let go after it had seen the event with this number.
    Parked(u64),
    /// The code of a workflow does not do what its journal says, for this reason.
    Unreplayable(String),
}

/// An attempt that has not ended.
#[derive(Debug)]
struct Right {
    token: Token,
    /// How many of its acts that count have been taken in.
    acts: u64,
}

/// A report as it is sent. Its `seq` is that of the connection it went out on last.
#[derive(Debug)]
struct Report {
    attempt: AttemptId,
    token: Token,
    message: FromWorker,
}

/// Rights and reports.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    executing: HashMap<AttemptId, Right>,
    /// Oldest first; the first `sent` of them have gone out on this connection.
    reports: VecDeque<Report>,
    sent: usize,
    /// How many reports were acknowledged on this connection.
    acknowledged: u64,
}

impl Ledger {
    /// Takes an offer in. False if it is known already: the same offer again changes nothing.
    pub fn accept(&mut self, attempt: AttemptId, token: Token) -> bool {
        if self.reports.iter().any(|report| report.attempt == attempt && report.token == token) {
            return false;
        }
        let before = self.executing.insert(attempt, Right { token, acts: 0 });
        before.is_none_or(|before| before.token != token)
    }

    /// The code of a workflow did and asks for these, in order. Those of an attempt that was dropped are ignored.
    pub fn progress(&mut self, attempt: AttemptId, mut acts: Vec<Act>) {
        let Some(right) = self.executing.get_mut(&attempt) else { return };
        let token = right.token;
        let first = right.acts + 1;
        right.acts += acts.iter().filter(|act| act.counts()).count() as u64;
        // While nothing can be sent, one report gathers what would be many.
        if self.has_unsent()
            && let Some(Report { attempt: last, message: FromWorker::Progress { acts: before, .. }, .. }) =
                self.reports.back_mut()
            && *last == attempt
        {
            before.append(&mut acts);
            return;
        }
        let message = FromWorker::Progress { seq: 0, attempt, token, first, acts };
        self.reports.push_back(Report { attempt, token, message });
    }

    /// An attempt has ended. What is not executing is ignored: it was dropped.
    pub fn finish(&mut self, attempt: AttemptId, outcome: Outcome) {
        if let Some(Right { token, acts }) = self.executing.remove(&attempt) {
            let message = message(attempt, token, acts, outcome);
            self.reports.push_back(Report { attempt, token, message });
        }
    }

    /// The server took the right away: nothing will be reported.
    pub fn forget(&mut self, attempt: AttemptId) {
        self.executing.remove(&attempt);
        // Only before anything was sent on a connection are reports dropped, so that the numbers stay without gaps.
        debug_assert_eq!(self.sent, 0, "attempts are dropped by a welcome only");
        self.reports.retain(|report| report.attempt != attempt);
    }

    /// The server refused a report of an attempt that goes on: it has lost its right. What was sent is kept until it is acknowledged.
    pub fn abandon(&mut self, attempt: AttemptId) {
        self.executing.remove(&attempt);
        let mut unsent = self.reports.split_off(self.sent);
        unsent.retain(|report| report.attempt != attempt);
        self.reports.append(&mut unsent);
    }

    /// The token of an attempt that has not ended.
    pub fn token(&self, attempt: AttemptId) -> Option<Token> {
        self.executing.get(&attempt).map(|right| right.token)
    }

    /// A new connection: everything unacknowledged goes out again.
    pub fn reconnect(&mut self) {
        self.sent = 0;
        self.acknowledged = 0;
    }

    /// What to claim in the `hello`: what is executing, and what has ended and could not be reported.
    pub fn claims(&self) -> Vec<Claim> {
        let executing = self.executing.iter().map(|(attempt, right)| (*attempt, right.token));
        let ended = self.reports.iter().map(|report| (report.attempt, report.token));
        let mut claims: Vec<Claim> =
            executing.chain(ended).map(|(attempt, token)| Claim { attempt, token }).collect();
        claims.sort_by_key(|claim| claim.attempt);
        claims.dedup_by_key(|claim| claim.attempt);
        claims
    }

    /// The reports that have not gone out on this connection, numbered. They count as sent.
    pub fn unsent(&mut self) -> impl Iterator<Item = &FromWorker> {
        let first = self.acknowledged + self.sent as u64 + 1;
        let from = std::mem::replace(&mut self.sent, self.reports.len());
        self.reports.iter_mut().skip(from).zip(first..).map(|(report, seq)| {
            number(&mut report.message, seq);
            &report.message
        })
    }

    /// Whether reports wait to be sent on this connection.
    pub fn has_unsent(&self) -> bool {
        self.sent < self.reports.len()
    }

    /// All reports up to `seq` are settled. Numbers that were never sent are ignored.
    pub fn acknowledge(&mut self, seq: u64) {
        while self.acknowledged < seq && self.sent > 0 {
            self.reports.pop_front();
            self.sent -= 1;
            self.acknowledged += 1;
        }
    }

    /// The attempt that a sent report was about.
    pub fn reported(&self, seq: u64) -> Option<AttemptId> {
        let index = usize::try_from(seq.checked_sub(self.acknowledged + 1)?).ok()?;
        self.reports.get(index).map(|report| report.attempt)
    }

    /// Attempts that have not ended.
    pub fn executing(&self) -> HashSet<AttemptId> {
        self.executing.keys().copied().collect()
    }

    /// Whether nothing is executing and everything is acknowledged.
    pub fn is_settled(&self) -> bool {
        self.executing.is_empty() && self.reports.is_empty()
    }
}

/// A report that has no number yet.
fn message(attempt: AttemptId, token: Token, acts: u64, outcome: Outcome) -> FromWorker {
    let seq = 0;
    match outcome {
        Outcome::Done(output) => FromWorker::Done { seq, attempt, token, output, acts },
        Outcome::Failed(failure) => FromWorker::Failed { seq, attempt, token, failure, acts },
        Outcome::Lost(reason) => FromWorker::Lost { seq, attempt, token, reason },
        Outcome::Stopped => FromWorker::Stopped { seq, attempt, token },
        Outcome::Parked(seen) => FromWorker::Parked { seq, attempt, token, seen, acts },
        Outcome::Unreplayable(reason) => FromWorker::Unreplayable { seq, attempt, token, reason },
    }
}

fn number(message: &mut FromWorker, number: u64) {
    if let FromWorker::Done { seq, .. }
    | FromWorker::Failed { seq, .. }
    | FromWorker::Lost { seq, .. }
    | FromWorker::Stopped { seq, .. }
    | FromWorker::Progress { seq, .. }
    | FromWorker::Parked { seq, .. }
    | FromWorker::Unreplayable { seq, .. } = message
    {
        *seq = number;
    }
}

#[cfg(test)]
mod tests {
    use riverrun_kernel::{RunId, Slot, StepId};

    use super::*;

    fn attempt(number: u64) -> AttemptId {
        AttemptId { run: RunId::new(1, Slot(0), number), step: StepId(1), attempt: 1 }
    }

    fn token(number: u64) -> Token {
        Token([number as u8; 16])
    }

    fn ended(numbers: &[u64]) -> Ledger {
        let mut ledger = Ledger::default();
        for &number in numbers {
            assert!(ledger.accept(attempt(number), token(number)));
            ledger.finish(attempt(number), Outcome::Stopped);
        }
        ledger
    }

    fn numbers<'a>(messages: impl Iterator<Item = &'a FromWorker>) -> Vec<(u64, AttemptId)> {
        messages
            .map(|message| match message {
                FromWorker::Stopped { seq, attempt, .. } => (*seq, *attempt),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn reports_are_numbered_without_gaps_and_sent_once() {
        let mut ledger = ended(&[1, 2]);
        assert_eq!(numbers(ledger.unsent()), [(1, attempt(1)), (2, attempt(2))]);
        assert_eq!(numbers(ledger.unsent()), []);
        ledger.acknowledge(1);
        ledger.accept(attempt(3), token(3));
        ledger.finish(attempt(3), Outcome::Stopped);
        assert_eq!(ledger.reported(2), Some(attempt(2)));
        assert_eq!(numbers(ledger.unsent()), [(3, attempt(3))]);
    }

    #[test]
    fn a_new_connection_sends_what_is_not_acknowledged_with_numbers_from_1() {
        let mut ledger = ended(&[1, 2, 3]);
        assert_eq!(ledger.unsent().count(), 3);
        ledger.acknowledge(2);
        ledger.reconnect();
        assert_eq!(ledger.claims(), [Claim { attempt: attempt(3), token: token(3) }]);
        assert_eq!(numbers(ledger.unsent()), [(1, attempt(3))]);
        ledger.acknowledge(1);
        assert!(ledger.is_settled());
    }

    #[test]
    fn acknowledgements_of_what_was_never_sent_are_ignored() {
        let mut ledger = ended(&[1]);
        ledger.acknowledge(u64::MAX);
        assert!(ledger.has_unsent());
        assert_eq!((ledger.reported(0), ledger.reported(7)), (None, None));
    }

    #[test]
    fn an_offer_is_taken_once_and_a_dropped_one_is_not_reported() {
        let mut ledger = ended(&[1]);
        assert!(!ledger.accept(attempt(1), token(1)), "its report is under way");
        assert!(ledger.accept(attempt(2), token(2)));
        assert!(!ledger.accept(attempt(2), token(2)), "it is executing");
        ledger.reconnect();
        ledger.forget(attempt(1));
        ledger.forget(attempt(2));
        ledger.finish(attempt(2), Outcome::Stopped);
        assert!(ledger.is_settled());
    }

    fn ran(tag: u64) -> Act {
        let outcome = riverrun_wire::workflow::Outcome::Output(Json::null());
        Act::Ran { tag, path: "step".to_owned(), outcome }
    }

    /// (seq, first, how many acts) of progress reports; `first` is 0 for others.
    fn progress<'a>(messages: impl Iterator<Item = &'a FromWorker>) -> Vec<(u64, u64, usize)> {
        messages
            .map(|message| match message {
                FromWorker::Progress { seq, first, acts, .. } => (*seq, *first, acts.len()),
                FromWorker::Parked { seq, .. } => (*seq, 0, 0),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn acts_are_counted_through_the_reports_of_an_attempt_and_keep_their_number() {
        let mut ledger = Ledger::default();
        ledger.accept(attempt(1), token(1));
        ledger.progress(attempt(1), vec![ran(0), Act::Abort { tag: 7 }, ran(1)]);
        assert_eq!(progress(ledger.unsent()), [(1, 1, 3)]);
        // Two that wait together are one report.
        ledger.progress(attempt(1), vec![ran(2)]);
        ledger.progress(attempt(1), vec![ran(3)]);
        ledger.finish(attempt(1), Outcome::Parked(9));
        assert_eq!(progress(ledger.unsent()), [(2, 3, 2), (3, 0, 0)]);
        ledger.acknowledge(1);
        ledger.reconnect();
        assert_eq!(ledger.claims(), [Claim { attempt: attempt(1), token: token(1) }]);
        assert_eq!(progress(ledger.unsent()), [(1, 3, 2), (2, 0, 0)]);
        ledger.acknowledge(2);
        assert!(ledger.is_settled());
    }

    #[test]
    fn after_a_refusal_an_attempt_says_no_more_and_numbers_stay_without_gaps() {
        let mut ledger = Ledger::default();
        ledger.accept(attempt(1), token(1));
        ledger.accept(attempt(2), token(2));
        ledger.progress(attempt(1), vec![ran(0)]);
        assert_eq!(progress(ledger.unsent()), [(1, 1, 1)]);
        ledger.progress(attempt(1), vec![ran(1)]);
        ledger.progress(attempt(2), vec![ran(0)]);
        ledger.abandon(attempt(1));
        ledger.progress(attempt(1), vec![ran(2)]);
        ledger.finish(attempt(1), Outcome::Stopped);
        assert_eq!(progress(ledger.unsent()), [(2, 1, 1)]);
        ledger.acknowledge(1);
        assert_eq!(ledger.claims().len(), 1);
    }
}
