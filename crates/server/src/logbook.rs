//! What attempts printed and logged: a bounded ring in memory for each run. It is a convenience, no record: a restart forgets it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use riverrun_kernel::{AttemptId, RunId, Wall};
use riverrun_wire::http::{LogLine, Logs, time};

/// What a piece costs beside its text.
const OVERHEAD: usize = 96;

/// The output of all runs.
pub(crate) struct LogBook {
    max_run: usize,
    max_total: usize,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    runs: HashMap<RunId, Pages>,
    /// Runs in the order in which they first wrote: the oldest is forgotten first.
    order: VecDeque<RunId>,
    bytes: usize,
}

#[derive(Default)]
struct Pages {
    pieces: VecDeque<Piece>,
    bytes: usize,
    dropped: u64,
}

struct Piece {
    at: Wall,
    attempt: AttemptId,
    stream: String,
    text: String,
}

impl Piece {
    fn cost(&self) -> usize {
        self.text.len() + self.stream.len() + OVERHEAD
    }
}

impl LogBook {
    /// An empty book with these limits, in bytes.
    pub fn new(max_run: usize, max_total: usize) -> Self {
        LogBook { max_run, max_total, book: Mutex::default() }
    }

    /// Adds a piece; what is too much goes from the front.
    pub fn write(&self, at: Wall, attempt: AttemptId, stream: String, text: String) {
        let mut guard = self.lock();
        let book = &mut *guard;
        let piece = Piece { at, attempt, stream, text };
        if !book.runs.contains_key(&attempt.run) {
            book.order.push_back(attempt.run);
        }
        let pages = book.runs.entry(attempt.run).or_default();
        let mut change = piece.cost() as isize;
        pages.bytes += piece.cost();
        pages.pieces.push_back(piece);
        while pages.bytes > self.max_run {
            let Some(oldest) = pages.pieces.pop_front() else {
                break;
            };
            pages.bytes -= oldest.cost();
            pages.dropped += oldest.text.len() as u64;
            change -= oldest.cost() as isize;
        }
        book.bytes = book.bytes.saturating_add_signed(change);
        while book.bytes > self.max_total {
            let Some(forgotten) = book.order.pop_front().and_then(|run| book.runs.remove(&run)) else {
                break;
            };
            book.bytes -= forgotten.bytes;
        }
    }

    /// A run's output, or one attempt's.
    pub fn read(&self, run: RunId, attempt: Option<AttemptId>) -> Logs {
        let book = self.lock();
        let pages = book.runs.get(&run);
        Logs {
            items: pages
                .into_iter()
                .flat_map(|pages| &pages.pieces)
                .filter(|piece| attempt.is_none_or(|wanted| wanted == piece.attempt))
                .map(|piece| LogLine {
                    at: time(piece.at),
                    attempt: piece.attempt.to_string(),
                    stream: piece.stream.clone(),
                    text: piece.text.clone(),
                })
                .collect(),
            dropped_bytes: pages.map_or(0, |pages| pages.dropped),
            durable: false,
        }
    }

    /// Forgets a run.
    pub fn forget(&self, run: RunId) {
        let mut book = self.lock();
        if let Some(pages) = book.runs.remove(&run) {
            book.bytes -= pages.bytes;
            book.order.retain(|other| *other != run);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // Output is only shown: after a panic elsewhere it is still as good as it was.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
