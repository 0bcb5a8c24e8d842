//! The far end of a long line. What stands there needs no memory but its place; it is read in pieces before its turn comes, so that a long
//! line is given out as fast as a short one.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::{Line, Lines, Place, QueueKey};
use crate::ids::RunId;

/// So many at the front of a line stay in memory.
const NEAR: usize = 1_024;
/// So many are read at a time.
const PIECE: usize = 256;
/// The next piece is read when no more than so many of those before it are left.
const LOW: usize = 256;

/// How far a line was read ahead of its turn.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Ahead {
    to: Option<Place>,
    /// How many stand up to there.
    left: usize,
}

impl Ahead {
    /// A place is taken or given up.
    pub(super) fn count(&mut self, place: &Place, on: bool) {
        if self.to.is_some_and(|to| *place <= to) {
            self.left = if on { self.left + 1 } else { self.left.saturating_sub(1) };
        }
    }
}

impl Lines {
    /// The name of a line, shared by all who stand in it.
    pub(in super::super) fn name(&self, key: &QueueKey) -> Option<Arc<QueueKey>> {
        Some(self.ready.get(key)?.name.clone())
    }

    /// The first place of a line that is far from its turn, if it has one.
    pub(in super::super) fn edge(&self, key: &QueueKey) -> Option<Place> {
        let free = &self.ready.get(key)?.free;
        if free.len() <= 2 * NEAR { None } else { free.iter().nth(NEAR).copied() }
    }

    /// The next runs of a line that are to be read; `known` are in memory, or being read.
    pub(in super::super) fn read_ahead(
        &mut self,
        key: &QueueKey,
        known: impl Fn(&RunId) -> bool,
    ) -> Vec<RunId> {
        self.ready.get_mut(key).map(|line| line.next_piece(known)).unwrap_or_default()
    }
}

impl Line {
    /// What its calls wait for.
    pub(in super::super) fn name(&self) -> &Arc<QueueKey> {
        &self.name
    }

    /// Whether soon there will be nothing in memory that stands at its front; `known` is what is, or is being read.
    pub(in super::super) fn is_short(&self, known: impl Fn(&RunId) -> bool) -> bool {
        let read = self.ahead.to.is_some() && self.ahead.left <= LOW;
        read || self.free.first().is_some_and(|first| !known(&first.2))
    }

    fn next_piece(&mut self, known: impl Fn(&RunId) -> bool) -> Vec<RunId> {
        if self.free.first().is_some_and(|first| !known(&first.2)) {
            // It was never read, or has left memory again.
            self.ahead = Ahead::default();
        }
        let from = self.ahead.to.map_or(Unbounded, Excluded);
        let piece: Vec<Place> = self.free.range((from, Unbounded)).take(PIECE).copied().collect();
        let unknown: Vec<RunId> = piece.iter().map(|place| place.2).filter(|run| !known(run)).collect();
        self.ahead = match piece.last() {
            // Where all are in memory there is nothing to be ahead of.
            Some(last) if !unknown.is_empty() => {
                Ahead { to: Some(*last), left: self.ahead.left + piece.len() }
            }
            _ => Ahead::default(),
        };
        unknown
    }
}
