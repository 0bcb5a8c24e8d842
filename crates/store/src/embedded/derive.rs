//! What a repair can find out about a damaged row of a store from all the rest: a partition's row from its log, the store's identity
//! from its partitions.

use std::path::Path;

use riverrun_kernel::PartitionId;
use rusqlite::Connection;

use super::log::{self, Base};
use super::notes::Notes;
use super::schema::{self, Identity};
use super::{damaged, sql};
use crate::StoreError;

/// A new identity for a store whose own is damaged: the side file knows the incarnation. The secret is lost, and tokens that were given
/// out are not accepted any more.
pub(super) fn identity(
    connection: &Connection,
    dir: &Path,
    damage: StoreError,
) -> Result<Identity, StoreError> {
    let partitions: i64 =
        connection.query_row("SELECT count(*) FROM partitions", [], |row| row.get(0)).map_err(sql)?;
    match u16::try_from(partitions) {
        Ok(0) | Err(_) => Err(damage),
        Ok(partitions) => {
            let known = Notes::found(dir)?;
            let incarnation = known.map_or_else(schema::random, Ok)?;
            Ok(Identity { incarnation, secret: schema::random()?, partitions })
        }
    }
}

/// The row of a partition as its log and its runs tell it. Only for a store of one partition: between several there are messages,
/// and the row alone says which of them were taken in.
pub(super) fn base(
    connection: &Connection,
    partition: PartitionId,
    partitions: u16,
    damage: StoreError,
) -> Result<Base, StoreError> {
    if partitions > 1 {
        return Err(damage);
    }
    // The newest batch always stays in the log: where there is none, nothing was ever written, or all of it is lost.
    let Some(first) = log::first(connection, partition)? else { return Err(damage) };
    let count = |query: &str| connection.query_row(query, [], |row| row.get::<_, i64>(0)).map_err(sql);
    Ok(Base {
        epoch: count("SELECT coalesce(max(epoch), 0) FROM log")? as u64 + 1,
        node: String::new(),
        trimmed: first.batch - 1,
        next_record: first.first,
        chain: predecessor(|before| first.sum(before, partition), first.chain)
            .ok_or_else(|| damaged("no checksum leads to that of the first batch"))?,
        open_runs: count("SELECT count(*) FROM runs WHERE stub IS NOT NULL")? as u64,
        schedules: count("SELECT count(*) FROM schedules")? as u64,
        now: log::moment(connection, &first)?,
        row: None,
    })
}

/// The number from which `sum` makes `wanted`. A CRC is linear in each of its bits: what a bit adds to the sum does not depend on the
/// others. So this is a system of 32 equations, and it is solved by elimination.
fn predecessor(sum: impl Fn(u32) -> u32, wanted: u32) -> Option<u32> {
    let zero = sum(0);
    // Pairs of an effect on the sum and the bits that have it; each has a highest bit of its own.
    let mut basis: Vec<(u32, u32)> = Vec::with_capacity(32);
    for bit in (0..32).map(|place| 1_u32 << place) {
        let (effect, bits) = reduce(&basis, (sum(bit) ^ zero, bit));
        if effect != 0 {
            basis.push((effect, bits));
            basis.sort_unstable_by(|one, other| other.cmp(one));
        }
    }
    let (rest, bits) = reduce(&basis, (wanted ^ zero, 0));
    (rest == 0).then_some(bits)
}

fn reduce(basis: &[(u32, u32)], mut value: (u32, u32)) -> (u32, u32) {
    for (effect, bits) in basis {
        if value.0 ^ effect < value.0 {
            value = (value.0 ^ effect, value.1 ^ bits);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::predecessor;
    use crate::codec::checksum;

    #[test]
    fn the_checksum_before_is_found_from_the_one_after() {
        for before in [0, 1, 0xdead_beef, u32::MAX] {
            let sum = |before: u32| checksum(&[&before.to_le_bytes(), b"the rest"], b"a value");
            assert_eq!(predecessor(sum, sum(before)), Some(before));
        }
    }
}
