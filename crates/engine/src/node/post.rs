//! What is left for a partition: letters for whoever decides next, and calls of the store for its thread.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use riverrun_store::{Batch, BatchId};
use tokio::sync::oneshot;

use super::{Handle, SystemClock};
use crate::hub::lock;
use crate::sequencer::{Ask, Done};

/// A letter to a partition.
#[derive(Debug)]
pub(super) enum Mail {
    /// A request.
    Ask(Option<Handle>, Ask),
    /// How a call of the store went.
    Done(u64, Done),
    /// A call of the store ended by a panic: what it did is not known.
    Panicked(String),
    /// Write a checkpoint, and say when it is written.
    Checkpoint(oneshot::Sender<()>),
    /// The end; with a checkpoint before it, or at once.
    Stop {
        /// Whether to write a checkpoint.
        checkpoint: bool,
    },
}

/// What only the partition's own thread does, because it takes long.
#[derive(Debug)]
pub(super) enum Work {
    /// Write to the log, for this life of the partition's memory.
    Append(u64, Arc<[Batch]>),
    /// Look a batch up.
    LookUp(u64, BatchId),
    /// Read the partition again.
    Recover,
}

/// A partition's mailbox, and the bell of its thread.
#[derive(Debug, Default)]
pub(super) struct Post {
    letters: Mutex<Letters>,
    bell: Mutex<Bell>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Letters {
    waiting: VecDeque<Mail>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Bell {
    work: VecDeque<Work>,
    rung: bool,
    /// When the thread is to look again, on the monotonic clock.
    until: Option<u64>,
    asleep: bool,
}

impl Post {
    /// Leaves a letter. Once the partition has ended it is dropped, which is the answer.
    pub(super) fn leave(&self, mail: Mail) {
        let mut letters = lock(&self.letters);
        if !letters.closed {
            letters.waiting.push_back(mail);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.letters).waiting.len()
    }

    /// Takes at most so many letters, in order.
    pub(super) fn take(&self, limit: usize) -> VecDeque<Mail> {
        let waiting = &mut lock(&self.letters).waiting;
        if waiting.len() <= limit { std::mem::take(waiting) } else { waiting.drain(..limit).collect() }
    }

    /// Nobody reads letters any more.
    pub(super) fn close(&self) {
        let mut letters = lock(&self.letters);
        letters.closed = true;
        let dropped = std::mem::take(&mut letters.waiting);
        drop(letters);
        drop(dropped);
    }

    /// Gives the thread something to do.
    pub(super) fn give(&self, work: Work) {
        let mut bell = lock(&self.bell);
        bell.work.push_back(work);
        self.wake(&bell);
    }

    /// Has the thread look.
    pub(super) fn ring(&self) {
        let mut bell = lock(&self.bell);
        bell.rung = true;
        self.wake(&bell);
    }

    /// Says when the thread is to look again, should nothing happen before.
    pub(super) fn look_again(&self, until: Option<u64>) {
        let mut bell = lock(&self.bell);
        let earlier = until.is_some_and(|until| bell.until.is_none_or(|known| until < known));
        bell.until = until;
        if earlier {
            self.wake(&bell);
        }
    }

    /// A thread that does not sleep sees by itself what there is, and waking costs a system call.
    fn wake(&self, bell: &Bell) {
        if bell.asleep {
            self.rung.notify_one();
        }
    }

    /// Waits for work, the bell, or the time to look again; where there is such a time, at most so long.
    pub(super) fn wait(&self, clock: SystemClock, longest: Duration) -> Option<Work> {
        let mut bell = lock(&self.bell);
        loop {
            if let Some(work) = bell.work.pop_front() {
                return Some(work);
            }
            if std::mem::take(&mut bell.rung) {
                return None;
            }
            let limit = bell.until.map(|at| clock.until(at).min(longest));
            if limit == Some(Duration::ZERO) {
                return None;
            }
            bell.asleep = true;
            let timed_out;
            (bell, timed_out) = match limit {
                None => (self.rung.wait(bell).unwrap_or_else(PoisonError::into_inner), false),
                Some(limit) => {
                    let (bell, waited) =
                        self.rung.wait_timeout(bell, limit).unwrap_or_else(PoisonError::into_inner);
                    (bell, waited.timed_out())
                }
            };
            bell.asleep = false;
            if timed_out && bell.work.is_empty() {
                return None;
            }
        }
    }
}
