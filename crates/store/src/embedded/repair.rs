//! The deliberate way on after a loss: each log ends before its first damage, and what that may have made untrue waits for a person.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use riverrun_kernel::life::{self, Phase};
use riverrun_kernel::{Entry, KeyRow, Now, PartitionId, Record, RunId};
use rusqlite::Connection;
use serde::Deserialize;

use super::log::{self, Base, Head};
use super::notes::{Note, Notes};
use super::{derive, lock::DirectoryLock, maintenance, read, rows, schema, sql};
use crate::{StoreError, codec};

/// What a repair of a partition found, and what it did if loss was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// Which partition.
    pub partition: PartitionId,
    /// The last batch that can be read with everything before it.
    pub good: u64,
    /// The last batch that was acknowledged, as far as that is known.
    pub acknowledged: u64,
    /// Batches after the first damage: they are there, and cannot be used without what is missing before them.
    pub cut_off: u64,
    /// Runs that these batches speak of, as far as they can be read. Their rows are older than what was acknowledged.
    pub touched: Vec<RunId>,
    /// Whether batches are lost of which nothing can be read: any open run may have gone on in them.
    pub unknown: bool,
    /// Open runs that wait for a person now: those that were touched, or all of them where that is unknown.
    pub suspended: Vec<RunId>,
    /// Whether the partition's own row was damaged. What it said is found out from the log.
    pub row_damaged: bool,
    /// Whether the store's identity was damaged. It gets a new one, and with it another secret: callback tokens and the tokens of
    /// attempts that are out are not accepted any more.
    pub identity_damaged: bool,
    /// Whether the loss was accepted: the log ends with `good` now.
    pub accepted: bool,
}

impl Repaired {
    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.good >= self.acknowledged && self.cut_off == 0 && !self.row_damaged && !self.identity_damaged
    }
}

/// A partition as far as it can be read.
struct Examined {
    found: Repaired,
    base: Base,
    head: Head,
    /// When the last good batch was decided.
    now: Now,
    /// The highest number of a record that any row contains. It may be beyond the end of the log.
    highest: u64,
}

/// Says what is missing from the store in `dir`, and with `accept_loss` ends its logs before the first damage.
pub(super) fn repair(dir: &Path, accept_loss: bool) -> Result<Vec<Repaired>, StoreError> {
    if !schema::database(dir).exists() {
        return Err(StoreError::Unavailable(format!("there is no store in {}", dir.display())));
    }
    let _lock = DirectoryLock::take(dir)?;
    maintenance::rewrite(dir)?;
    let mut connection = schema::connect(dir)?;
    let (mut identity, identity_damaged) = match schema::identify(&mut connection, 1) {
        Ok(identity) => (identity, false),
        Err(damage @ StoreError::Corrupt(_)) => (derive::identity(&connection, dir, damage)?, true),
        Err(other) => return Err(other),
    };
    // Notes about another database cannot be compared with this one: that is a loss of unknown size.
    let notes = match Notes::open(dir, identity.incarnation) {
        Ok(notes) => Some(notes),
        Err(StoreError::Corrupt(_)) => None,
        Err(other) => return Err(other),
    };
    let mut all = Vec::new();
    for id in (0..identity.partitions).map(PartitionId) {
        let mut examined = examine(&connection, id, identity.partitions, notes.as_ref())?;
        examined.found.identity_damaged = identity_damaged;
        all.push(examined);
    }
    let is_trusted = |notes: &Notes| {
        let mut partitions = (0..identity.partitions).map(PartitionId);
        partitions.all(|id| super::Partition::read(&connection, id, notes).is_ok())
    };
    let in_order = all.iter().all(|one| one.found.is_whole()) && notes.as_ref().is_some_and(is_trusted);
    if accept_loss && !in_order {
        identity.incarnation = schema::random()?;
        let transaction = connection.transaction().map_err(sql)?;
        for examined in &mut all {
            mend(&transaction, examined).map_err(sql)?;
        }
        schema::write_identity(&transaction, &identity)?;
        transaction.commit().map_err(sql)?;
        maintenance::truncate(&connection)?;
        Notes::renew(dir, identity.incarnation)?;
    }
    Ok(all.into_iter().map(|examined| examined.found).collect())
}

/// How far a partition's log can be read, what stands behind that, and whom it concerns.
fn examine(
    connection: &Connection,
    partition: PartitionId,
    partitions: u16,
    notes: Option<&Notes>,
) -> Result<Examined, StoreError> {
    let (base, row_damaged) = match Base::read(connection, partition) {
        Ok(base) => (base, false),
        Err(damage @ StoreError::Corrupt(_)) => {
            (derive::base(connection, partition, partitions, damage)?, true)
        }
        Err(other) => return Err(other),
    };
    let (mut runs, highest) = known(connection, partition, partitions, &base)?;
    let (mut head, mut now) = (base.head(), base.now);
    match log::read(connection, partition, &base, &mut |batch, end| {
        for (number, record) in (batch.first..).zip(&batch.records) {
            follow(&mut runs, number, record);
        }
        (head, now) = (end, batch.now);
        Ok(())
    }) {
        Ok(_) | Err(StoreError::Corrupt(_)) => {}
        Err(other) => return Err(other),
    }
    let note = notes.map(|notes| notes.read(partition)).transpose()?.flatten();
    let acknowledged = note.map_or(head.batch, |Note { batch, .. }| batch);
    let behind = log::readable(connection, partition, head.batch + 1)?;
    let end = behind.last().map_or(acknowledged, |(batch, _)| acknowledged.max(*batch));
    let told = behind.iter().filter(|(_, records)| records.is_some()).count() as u64;
    let touched: BTreeSet<RunId> = behind
        .iter()
        .flat_map(|(_, records)| records.iter().flatten())
        .filter_map(|record| match record {
            Record::Run(run, _) => Some(*run),
            _ => None,
        })
        .collect();
    let unknown = notes.is_none() || end.saturating_sub(head.batch) > told;
    let may_have_gone_on = |run: &RunId, phase: Phase| {
        matches!(phase, Phase::Queued | Phase::Open) && (unknown || touched.contains(run))
    };
    let suspended: BTreeSet<RunId> = runs
        .into_iter()
        .filter(|(run, (phase, _))| may_have_gone_on(run, *phase))
        .map(|(run, _)| run)
        .collect();
    let found = Repaired {
        partition,
        good: head.batch,
        acknowledged,
        cut_off: behind.len() as u64,
        touched: touched.into_iter().collect(),
        unknown,
        suspended: suspended.into_iter().collect(),
        row_damaged,
        identity_damaged: false,
        accepted: false,
    };
    Ok(Examined { found, base, head, now, highest })
}

/// Where runs stand, each with the number of the last record that its row contains.
type Stand = HashMap<RunId, (Phase, u64)>;

/// The part of a run's state that says where it stands.
#[derive(Deserialize)]
struct Stands {
    phase: Phase,
}

/// Where the rows say that runs stand, with the last record that each contains; and the highest of those numbers, keys and the
/// partition included. A row that is damaged says nothing.
fn known(
    connection: &Connection,
    partition: PartitionId,
    partitions: u16,
    base: &Base,
) -> Result<(Stand, u64), StoreError> {
    // What a run's state refers to is of no interest here.
    let nothing = |_, _| Ok("null".to_owned());
    let mut highest = base.row.as_ref().map_or(0, |row| row.last);
    let query = "SELECT run, rest FROM runs WHERE home = ?";
    let found = read::all(connection, query, &[&partition.0], |row| {
        Ok((RunId::from_bytes(row.get(0)?), row.get::<_, Vec<u8>>(1)?))
    })?;
    let mut runs = HashMap::with_capacity(found.len());
    for (run, sealed) in found {
        let value = codec::unseal(&rows::run_owner(&run.to_bytes(), b"rest"), &sealed);
        let Some(Ok((last, stands))) = value.map(|value| codec::decode::<(u64, Stands)>(value, &nothing))
        else {
            continue;
        };
        highest = highest.max(last);
        runs.insert(run, (stands.phase, last));
    }
    let query = "SELECT namespace, definition, version, continue_id, value FROM keys";
    let keys = read::all(connection, query, &[], |row| Ok((read::key_id(row)?, row.get::<_, Vec<u8>>(4)?)))?;
    for (id, sealed) in keys {
        if PartitionId::of(id.slot(), partitions) == partition
            && let Ok(KeyRow { last, .. }) = read::key_row(&id, &sealed)
        {
            highest = highest.max(last);
        }
    }
    Ok((runs, highest.max(super::schedules::highest(connection, partition)?)))
}

/// What a record of the log makes of that.
fn follow(runs: &mut Stand, number: u64, record: &Record) {
    match record {
        Record::Run(run, Entry::RunCreated(_)) => {
            runs.entry(*run).or_insert((Phase::Queued, number));
        }
        Record::Run(run, entry) => {
            if let Some((phase, last)) = runs.get_mut(run)
                && *last < number
            {
                *phase = life::next(*phase, entry).unwrap_or(*phase);
            }
        }
        Record::RunDeleted(run) if runs.get(run).is_some_and(|(_, last)| *last < number) => {
            runs.remove(run);
        }
        _ => {}
    }
}

/// Cuts a log off, and begins it anew with what follows from that. Its numbers go on beyond all that rows contain: recovery takes a
/// record with a lower one for something that the row knows.
fn mend(connection: &Connection, examined: &mut Examined) -> rusqlite::Result<()> {
    let Examined { found, base, head, now, highest } = examined;
    log::cut(connection, found.partition, found.good + 1)?;
    found.accepted = true;
    if found.row_damaged {
        base.write(connection, found.partition)?;
    }
    let reason = format!(
        "the store was repaired: what was recorded of this run after batch {} may be lost. Look at what it has done since, then resume or \
         cancel it",
        found.good
    );
    let suspend = |run: &RunId| Record::Run(*run, Entry::RunSuspended { reason: reason.clone() });
    let mut records: Vec<Record> = found.suspended.iter().map(suspend).collect();
    if records.is_empty() && *highest >= head.next_record {
        // It changes nothing, and has a number.
        records.push(Record::MessagesAcknowledged { to: found.partition, seq: 0 });
    }
    if records.is_empty() {
        return Ok(());
    }
    let first = head.next_record.max(*highest + 1);
    log::add(connection, found.partition, base.epoch, *head, (*now, first, &records)).map(|_| ())
}
