//! What goes into a store and comes out of it.

use riverrun_kernel::schedule::ScheduleStub;
use riverrun_kernel::{
    Definition, DefinitionKind, Now, PartitionId, PartitionRow, Record, Rows, RunId, State, Stub, WaitKind,
    Wall,
};
use serde::{Deserialize, Serialize};

/// The fencing number of an ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// A batch's place in a partition's log, from 1, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub u64);

/// What one turn of the engine decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Whose log.
    pub partition: PartitionId,
    /// Under which ownership.
    pub epoch: Epoch,
    /// Its place.
    pub id: BatchId,
    /// When it was decided.
    pub now: Now,
    /// The number of its first record, from 1, without gaps.
    pub first: u64,
    /// The records.
    pub records: Vec<Record>,
}

/// Rows to write, and how much of the log they make superfluous.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checkpoint {
    /// The rows.
    pub rows: Rows,
    /// The moment: kept, so that partition time goes on from here after a recovery without a log.
    pub now: Now,
    /// Batches whose records all have smaller numbers may go.
    pub trim_below: u64,
}

/// One piece of a recovery, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Recovered {
    /// A definition.
    Definition(Definition),
    /// The partition's own row, and the moment of its newest checkpoint.
    Partition(Option<PartitionRow>, Now),
    /// An open run.
    Stub(Stub),
    /// A schedule.
    Schedule(ScheduleStub),
    /// A batch of the log.
    Batch(Batch),
}

/// A place in a list of runs: the last one that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// When it was created.
    pub created: Wall,
    /// Its id.
    pub id: RunId,
}

/// Which runs. Everything given must match.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunFilter {
    /// Namespace.
    pub namespace: String,
    /// Definition name.
    pub definition: Option<String>,
    /// Definition kind.
    pub kind: Option<DefinitionKind>,
    /// One of these states; empty means any.
    pub states: Vec<State>,
    /// Waits for this.
    pub waiting: Option<WaitKind>,
    /// Has all these labels.
    pub labels: Vec<(String, String)>,
    /// Started under this key.
    pub continue_id: Option<String>,
    /// A child of this run.
    pub parent: Option<RunId>,
    /// Created at or after.
    pub created_from: Option<Wall>,
    /// Created before.
    pub created_before: Option<Wall>,
    /// Ended before: what a retention sweep asks for.
    pub ended_before: Option<Wall>,
    /// To be removed before, by what its own options say.
    pub expires_before: Option<Wall>,
    /// May need a person: dead letters, and what waits for repair, for a worker or for another try. Which of the latter really do, rows
    /// cannot tell.
    #[serde(default)]
    pub attention: bool,
}

/// Which keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyFilter {
    /// Namespace.
    pub namespace: String,
    /// Definition name.
    pub definition: Option<String>,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Cursor>,
}

/// A count that gives up at a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many, at most the cap.
    pub count: u64,
    /// There are more.
    pub capped: bool,
}

/// What a full read found to be in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verified {
    /// Batches in logs.
    pub batches: u64,
    /// Runs.
    pub runs: u64,
    /// Journal lines.
    pub journal: u64,
    /// Keys.
    pub keys: u64,
    /// Schedules.
    pub schedules: u64,
    /// Blobs.
    pub blobs: u64,
}

impl RunFilter {
    /// Whether a run belongs to the list: the one meaning of the filter, that every backend's query must agree with.
    pub fn matches(&self, run: &riverrun_kernel::RunSummary) -> bool {
        let wanted =
            |asked: &Option<String>, found: &str| asked.as_deref().is_none_or(|asked| asked == found);
        *run.definition.namespace == *self.namespace
            && wanted(&self.definition, &run.definition.name)
            && self.kind.is_none_or(|kind| kind == run.definition.kind)
            && (self.states.is_empty() || self.states.contains(&run.state))
            && self
                .waiting
                .is_none_or(|kind| run.waiting.as_ref().is_some_and(|waiting| waiting.kind == kind))
            && self.labels.iter().all(|(name, value)| run.labels.get(name) == Some(value))
            && self
                .continue_id
                .as_deref()
                .is_none_or(|id| run.key.as_ref().is_some_and(|key| *key.id.continue_id == *id))
            && self.parent.is_none_or(|parent| run.parent.is_some_and(|found| found.run == parent))
            && self.created_from.is_none_or(|from| run.created >= from)
            && self.created_before.is_none_or(|before| run.created < before)
            && self.ended_before.is_none_or(|before| run.ended.is_some_and(|ended| ended < before))
            && self.expires_before.is_none_or(|before| run.expires.is_some_and(|expires| expires < before))
            && (!self.attention || may_need_attention(run))
    }
}

fn may_need_attention(run: &riverrun_kernel::RunSummary) -> bool {
    let is_dead = run.definition.kind == DefinitionKind::Task && DEAD.contains(&run.state);
    is_dead || run.waiting.as_ref().is_some_and(|waiting| ATTENTION.contains(&waiting.kind))
}

/// How a task ends that is a dead letter.
pub(crate) const DEAD: [State; 2] = [State::Failed, State::TimedOut];
/// What runs wait for that may need a person.
pub(crate) const ATTENTION: [WaitKind; 3] = [WaitKind::Repair, WaitKind::Worker, WaitKind::Retry];

impl KeyFilter {
    /// Whether a key belongs to the list.
    pub fn matches(&self, key: &riverrun_kernel::Key) -> bool {
        *key.id.namespace == *self.namespace
            && self.definition.as_deref().is_none_or(|asked| *key.id.definition == *asked)
    }
}
