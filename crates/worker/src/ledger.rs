//! The attempts a supervisor has a right to, and the reports that are not acknowledged yet. Pure: no I/O, no clock.
//!
//! A report is kept until the server has acknowledged it, over as many connections as that takes. Reports are numbered
//! anew on each connection, from 1, in the order in which they are sent there.

use std::collections::{HashMap, HashSet, VecDeque};

use riverrun_kernel::{AttemptId, Failure, Json, Lost, Token};
use riverrun_wire::worker::{Claim, FromWorker};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Done(Json),
    Failed(Failure),
    Lost(Lost),
    Stopped,
}

#[derive(Debug)]
struct Report {
    attempt: AttemptId,
    token: Token,
    outcome: Outcome,
}

/// Rights and reports.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    executing: HashMap<AttemptId, Token>,
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
        self.executing.insert(attempt, token) != Some(token)
    }

    /// An attempt has ended. What is not executing is ignored: it was dropped.
    pub fn finish(&mut self, attempt: AttemptId, outcome: Outcome) {
        if let Some(token) = self.executing.remove(&attempt) {
            self.reports.push_back(Report { attempt, token, outcome });
        }
    }

    /// The server took the right away: nothing will be reported.
    pub fn forget(&mut self, attempt: AttemptId) {
        self.executing.remove(&attempt);
        // Only before anything was sent on a connection are reports dropped, so that the numbers stay without gaps.
        debug_assert_eq!(self.sent, 0, "attempts are dropped by a welcome only");
        self.reports.retain(|report| report.attempt != attempt);
    }

    /// A new connection: everything unacknowledged goes out again.
    pub fn reconnect(&mut self) {
        self.sent = 0;
        self.acknowledged = 0;
    }

    /// What to claim in the `hello`: what is executing, and what has ended and could not be reported.
    pub fn claims(&self) -> Vec<Claim> {
        let executing = self.executing.iter().map(|(attempt, token)| (*attempt, *token));
        let ended = self.reports.iter().map(|report| (report.attempt, report.token));
        let mut claims: Vec<Claim> =
            executing.chain(ended).map(|(attempt, token)| Claim { attempt, token }).collect();
        claims.sort_by_key(|claim| claim.attempt);
        claims
    }

    /// The reports that have not gone out on this connection, numbered. They count as sent.
    pub fn unsent(&mut self) -> Vec<FromWorker> {
        let first = self.acknowledged + self.sent as u64 + 1;
        let messages = self
            .reports
            .iter()
            .skip(self.sent)
            .zip(first..)
            .map(|(report, seq)| message(report, seq))
            .collect();
        self.sent = self.reports.len();
        messages
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

fn message(report: &Report, seq: u64) -> FromWorker {
    let (attempt, token) = (report.attempt, report.token);
    match report.outcome.clone() {
        Outcome::Done(output) => FromWorker::Done { seq, attempt, token, output },
        Outcome::Failed(failure) => FromWorker::Failed { seq, attempt, token, failure },
        Outcome::Lost(reason) => FromWorker::Lost { seq, attempt, token, reason },
        Outcome::Stopped => FromWorker::Stopped { seq, attempt, token },
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

    fn numbers(messages: &[FromWorker]) -> Vec<(u64, AttemptId)> {
        messages
            .iter()
            .map(|message| match message {
                FromWorker::Stopped { seq, attempt, .. } => (*seq, *attempt),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn reports_are_numbered_without_gaps_and_sent_once() {
        let mut ledger = ended(&[1, 2]);
        assert_eq!(numbers(&ledger.unsent()), [(1, attempt(1)), (2, attempt(2))]);
        assert_eq!(ledger.unsent(), []);
        ledger.acknowledge(1);
        ledger.accept(attempt(3), token(3));
        ledger.finish(attempt(3), Outcome::Stopped);
        assert_eq!(ledger.reported(2), Some(attempt(2)));
        assert_eq!(numbers(&ledger.unsent()), [(3, attempt(3))]);
    }

    #[test]
    fn a_new_connection_sends_what_is_not_acknowledged_with_numbers_from_1() {
        let mut ledger = ended(&[1, 2, 3]);
        ledger.unsent();
        ledger.acknowledge(2);
        ledger.reconnect();
        assert_eq!(ledger.claims(), [Claim { attempt: attempt(3), token: token(3) }]);
        assert_eq!(numbers(&ledger.unsent()), [(1, attempt(3))]);
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
}
