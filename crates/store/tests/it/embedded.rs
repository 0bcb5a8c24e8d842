//! What only the store in a directory promises: that it notices whatever happens to its files.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use riverrun_kernel::{Entry, Record, Rows};
use riverrun_store::{
    AppendError, Batch, Checkpoint, EmbeddedStore, Epoch, Recovered, RunFilter, Store, StoreError, Verified,
};
use tempfile::TempDir;

use crate::conformance::filters;
use crate::samples::{self, P0, batch, batches, look, now, recovered, run_id};

fn dir() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(dir).expect("the store opens")
}

fn corrupt<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Corrupt(text)) => text,
        other => panic!("should be refused as corrupt: {other:?}"),
    }
}

/// Appends batches `from..to` of two records each.
fn fill(store: &EmbeddedStore, epoch: Epoch, numbers: std::ops::Range<u64>) {
    for id in numbers {
        store.append(&[numbered(epoch, id)]).expect("appended");
    }
}

fn numbered(epoch: Epoch, id: u64) -> Batch {
    let records = (0..2).map(|n| Record::Run(run_id(id % 7 * 2), samples::entry(id + n)));
    batch(P0, epoch, id, 2 * id - 1, records.collect())
}

fn rows(numbers: std::ops::Range<u64>) -> Checkpoint {
    Checkpoint {
        rows: Rows {
            runs: numbers.clone().map(|n| samples::row(2 * n, n, look(n))).collect(),
            journal: numbers.clone().flat_map(|n| (1..6).map(move |seq| samples::line(2 * n, seq))).collect(),
            keys: numbers.map(|n| samples::key(0, n, n)).collect(),
            definitions: vec![samples::definition(1)],
            partition: Some(samples::partition_row(3)),
            ..Rows::default()
        },
        now: now(3),
        trim_below: 5,
    }
}

fn copy(from: &Path) -> TempDir {
    let to = dir();
    for file in fs::read_dir(from).expect("a directory") {
        let file = file.expect("a file");
        fs::copy(file.path(), to.path().join(file.file_name())).expect("copied");
    }
    to
}

/// A closed store with something of everything in it.
fn filled() -> TempDir {
    let dir = dir();
    let store = open(dir.path());
    let epoch = store.acquire(P0, "a").expect("acquired");
    fill(&store, epoch, 1..12);
    store.checkpoint(P0, epoch, &rows(0..30)).expect("checkpointed");
    dir
}

/// Changes a database behind the store's back.
fn damage(dir: &Path, statement: &str) {
    let database = rusqlite::Connection::open(dir.join("riverrun.db")).expect("opens");
    database.execute(statement, []).expect("damaged");
}

/// Everything that can be read.
fn read_all(dir: &Path) -> Result<(Verified, Vec<Recovered>), StoreError> {
    let store = EmbeddedStore::open(dir)?;
    let mut pieces = Vec::new();
    store.recover(P0, &mut |piece| {
        pieces.push(piece);
        Ok(())
    })?;
    Ok((store.verify()?, pieces))
}

#[test]
fn only_its_owner_can_read_the_directory() {
    use std::os::unix::fs::PermissionsExt;
    let parent = dir();
    let path = parent.path().join("deep/data");
    let store = open(&path);
    let mode = |path: &Path| fs::metadata(path).expect("exists").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("riverrun.db")), 0o600);
    drop(store);
}

#[test]
fn a_directory_that_was_there_is_closed_to_others_unless_it_holds_something_else() {
    use std::os::unix::fs::PermissionsExt;
    let parent = dir();
    let mode = |path: &Path| fs::metadata(path).expect("exists").permissions().mode() & 0o777;
    let open_to_all = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    };
    let (ours, shared) = (parent.path().join("ours"), parent.path().join("shared"));
    for path in [&ours, &shared] {
        fs::create_dir(path).expect("a directory");
        open_to_all(path);
    }
    fs::write(shared.join("notes.txt"), "mine").expect("a file");
    drop(open(&ours));
    drop(open(&shared));
    assert_eq!((mode(&ours), mode(&shared)), (0o700, 0o755));
    open_to_all(&ours);
    drop(open(&ours));
    assert_eq!(mode(&ours), 0o700);
}

#[test]
fn a_second_open_is_locked_and_says_by_whom() {
    let dir = dir();
    let _first = open(dir.path());
    let Err(StoreError::Locked(text)) = EmbeddedStore::open(dir.path()) else {
        panic!("it is open already");
    };
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    assert!(text.contains("--data"), "{text}");
}

#[test]
fn a_newer_version_is_refused() {
    let dir = filled();
    let database = rusqlite::Connection::open(dir.path().join("riverrun.db")).expect("opens");
    database.execute("UPDATE meta SET value = 99 WHERE name = 'format'", []).expect("changed");
    drop(database);
    let Err(StoreError::NewerVersion(text)) = EmbeddedStore::open(dir.path()) else {
        panic!("format 99 is not known");
    };
    assert!(text.contains("99"), "{text}");
}

#[test]
fn another_database_is_not_taken_for_a_store() {
    let dir = dir();
    let database = rusqlite::Connection::open(dir.path().join("riverrun.db")).expect("opens");
    database.execute_batch("CREATE TABLE t (a)").expect("created");
    drop(database);
    assert!(EmbeddedStore::open(dir.path()).is_err());
}

#[test]
fn the_number_of_partitions_is_fixed_at_creation() {
    let dir = dir();
    let store = EmbeddedStore::open_with(dir.path(), 3).expect("opens");
    assert_eq!(store.partitions(), 3);
    let secret = store.secret();
    drop(store);
    let store = EmbeddedStore::open_with(dir.path(), 9).expect("opens");
    assert_eq!((store.partitions(), store.secret()), (3, secret));
}

/// Damages one byte here and there; what is read is refused, or is what was written.
#[test]
fn damaged_bytes_are_never_silent() {
    let dir = filled();
    let whole = read_all(dir.path()).expect("in order");
    let size = fs::metadata(dir.path().join("riverrun.db")).expect("exists").len();
    let mut refused = 0;
    for n in 0..120_u64 {
        let damaged = copy(dir.path());
        let path = damaged.path().join("riverrun.db");
        let mut bytes = fs::read(&path).expect("read");
        let place = (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11) % size;
        bytes[place as usize] ^= 1 << (n % 8);
        fs::write(&path, bytes).expect("written");
        match read_all(damaged.path()) {
            Ok(found) => assert!(found == whole, "byte {place} changed what is read"),
            Err(StoreError::Corrupt(_) | StoreError::NewerVersion(_)) => refused += 1,
            Err(other) => panic!("byte {place}: {other:?}"),
        }
    }
    assert!(refused > 30, "{refused} of 120 damages were in bytes that matter");
}

#[test]
fn a_truncated_database_is_refused() {
    let dir = filled();
    let size = fs::metadata(dir.path().join("riverrun.db")).expect("exists").len();
    for part in 1..8 {
        let damaged = copy(dir.path());
        let file =
            fs::OpenOptions::new().write(true).open(damaged.path().join("riverrun.db")).expect("opens");
        file.set_len(size * part / 8).expect("truncated");
        corrupt(read_all(damaged.path()));
    }
    let emptied = copy(dir.path());
    fs::write(emptied.path().join("riverrun.db"), b"").expect("emptied");
    corrupt(read_all(emptied.path()));
}

/// A crash leaves a write-ahead log; losing its end means losing what was acknowledged.
#[test]
fn a_truncated_tail_is_refused() {
    let dir = dir();
    let store = open(dir.path());
    let epoch = store.acquire(P0, "a").expect("acquired");
    fill(&store, epoch, 1..20);
    let crashed = copy(dir.path());
    let wal = crashed.path().join("riverrun.db-wal");
    // Behind what was written the file has zeros, which nobody would miss.
    let written = fs::read(&wal).expect("a write-ahead log");
    let size = written.iter().rposition(|byte| *byte != 0).expect("something was written") as u64 + 1;
    drop(store);
    for cut in [1, 100, 5_000, 40_000, size / 2, size] {
        let damaged = copy(crashed.path());
        let file =
            fs::OpenOptions::new().write(true).open(damaged.path().join("riverrun.db-wal")).expect("opens");
        file.set_len(size - cut).expect("truncated");
        corrupt(read_all(damaged.path()));
    }
    let mut bytes = written;
    bytes[size as usize / 2] ^= 1;
    let damaged = copy(crashed.path());
    fs::write(damaged.path().join("riverrun.db-wal"), bytes).expect("written");
    corrupt(read_all(damaged.path()));
    let (_, pieces) = read_all(crashed.path()).expect("undamaged");
    assert_eq!(pieces.iter().filter(|piece| matches!(piece, Recovered::Batch(_))).count(), 19);
}

#[test]
fn an_older_copy_of_the_database_is_refused_and_repaired_deliberately() {
    let dir = dir();
    let store = open(dir.path());
    let epoch = store.acquire(P0, "a").expect("acquired");
    fill(&store, epoch, 1..5);
    drop(store);
    let old = fs::read(dir.path().join("riverrun.db")).expect("read");
    let store = open(dir.path());
    let epoch = store.acquire(P0, "a").expect("acquired");
    fill(&store, epoch, 5..9);
    drop(store);
    fs::write(dir.path().join("riverrun.db"), old).expect("exchanged");

    let text = corrupt(EmbeddedStore::open(dir.path()));
    assert!(text.contains("store repair") && text.contains("--accept-loss"), "{text}");
    let found = EmbeddedStore::repair(dir.path(), false).expect("examined");
    assert_eq!((found[0].good, found[0].acknowledged, found[0].accepted), (4, 8, false));
    corrupt(EmbeddedStore::open(dir.path()));
    let found = EmbeddedStore::repair(dir.path(), true).expect("repaired");
    assert!(found[0].accepted);
    let store = open(dir.path());
    let epoch = store.acquire(P0, "a").expect("acquired");
    assert_eq!(batches(&store, P0).len(), 4);
    fill(&store, epoch, 5..7);
    store.verify().expect("in order");
}

#[test]
fn a_gap_is_refused_and_repair_names_the_runs_behind_it() {
    let dir = dir();
    let store = open(dir.path());
    let epoch = store.acquire(P0, "a").expect("acquired");
    fill(&store, epoch, 1..9);
    drop(store);
    let database = rusqlite::Connection::open(dir.path().join("riverrun.db")).expect("opens");
    database.execute("DELETE FROM log WHERE place = 6", []).expect("deleted");
    drop(database);
    let text = corrupt(read_all(dir.path()));
    assert!(text.contains("batch 7"), "{text}");
    let found = EmbeddedStore::repair(dir.path(), true).expect("repaired");
    assert_eq!((found[0].good, found[0].cut_off), (5, 2));
    assert_eq!(found[0].touched, [run_id(0), run_id(2)]);
    assert_eq!(batches(&open(dir.path()), P0).len(), 5);
    assert!(EmbeddedStore::repair(dir.path(), true).expect("examined")[0].is_whole());
}

#[test]
fn a_repair_suspends_the_open_runs_that_may_have_gone_on_in_what_is_lost() {
    let dir = filled();
    damage(dir.path(), "DELETE FROM log WHERE place = 6");
    // One of the batches behind the gap can be read no more.
    damage(dir.path(), "UPDATE log SET value = X'00' WHERE place = 9");
    let seen = EmbeddedStore::repair(dir.path(), false).expect("examined").remove(0);
    assert!(seen.unknown && !seen.accepted);
    let all: Vec<_> = (0..30).map(|n| run_id(2 * n)).collect();
    assert_eq!(seen.suspended, all, "any of them may have gone on in what cannot be read");
    let done = EmbeddedStore::repair(dir.path(), true).expect("repaired").remove(0);
    assert_eq!(done.suspended, all);

    let store = open(dir.path());
    let last = batches(&store, P0).pop().expect("a batch");
    let suspended: Vec<_> = last
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Run(run, Entry::RunSuspended { reason }) if reason.contains("repaired") => Some(*run),
            _ => None,
        })
        .collect();
    assert_eq!((last.id.0, suspended), (6, all));
    let rows = store.load(P0, &samples::needs(&[run_id(58)], &[])).expect("loaded").runs;
    let known = rows[0].1.as_ref().expect("a row").last;
    assert!(last.first > known, "record {} must not be taken for one that a row knows", last.first);
    let epoch = store.acquire(P0, "a").expect("acquired");
    let next = last.first + last.records.len() as u64;
    store.append(&[batch(P0, epoch, 7, next, vec![samples::record(1)])]).expect("it goes on from there");
    store.verify().expect("in order");
}

#[test]
fn a_damaged_row_of_a_partition_is_found_out_from_its_log() {
    let dir = filled();
    let (_, before) = read_all(dir.path()).expect("in order");
    damage(dir.path(), "UPDATE partitions SET value = zeroblob(40)");
    corrupt(EmbeddedStore::open(dir.path()));
    let seen = EmbeddedStore::repair(dir.path(), false).expect("examined").remove(0);
    assert!(
        seen.row_damaged && !seen.is_whole() && seen.cut_off == 0 && seen.suspended.is_empty(),
        "{seen:?}"
    );
    EmbeddedStore::repair(dir.path(), true).expect("repaired");
    let (_, after) = read_all(dir.path()).expect("in order");
    let rest = |pieces: &[Recovered]| {
        pieces.iter().filter(|piece| !matches!(piece, Recovered::Partition(..))).cloned().collect::<Vec<_>>()
    };
    assert_eq!(rest(&after)[..rest(&before).len()], rest(&before)[..]);
    let store = open(dir.path());
    let epoch = store.acquire(P0, "a").expect("acquired");
    assert!(epoch.0 > 1, "higher than the one that was given out before");
}

#[test]
fn a_damaged_identity_is_replaced_and_everything_else_kept() {
    let dir = filled();
    let before = read_all(dir.path()).expect("in order");
    let secret = open(dir.path()).secret();
    damage(dir.path(), "UPDATE meta SET value = zeroblob(40) WHERE name = 'identity'");
    corrupt(EmbeddedStore::open(dir.path()));
    let done = EmbeddedStore::repair(dir.path(), true).expect("repaired").remove(0);
    assert!(done.identity_damaged && done.accepted && done.suspended.is_empty(), "{done:?}");
    let after = read_all(dir.path()).expect("in order");
    assert_eq!((after.0.runs, after.0.keys), (before.0.runs, before.0.keys));
    assert_ne!(open(dir.path()).secret(), secret);
}

#[test]
fn another_stores_database_is_refused() {
    let (a, b) = (filled(), filled());
    fs::copy(a.path().join("riverrun.db"), b.path().join("riverrun.db")).expect("exchanged");
    corrupt(EmbeddedStore::open(b.path()));
}

#[test]
fn a_lost_side_file_is_made_again() {
    let dir = filled();
    let before = read_all(dir.path()).expect("in order");
    fs::remove_file(dir.path().join("acknowledged")).expect("removed");
    assert_eq!(read_all(dir.path()).expect("in order"), before);
}

/// The other half of the next test: appends and checkpoints until it is killed, and says what is durable.
#[test]
#[ignore = "started by the test that kills it"]
fn a_process_that_appends() {
    let Some(dir) = std::env::var_os("RIVERRUN_TEST_DIR") else { return };
    let store = open(Path::new(&dir));
    let epoch = store.acquire(P0, "child").expect("acquired");
    let mut out = std::io::stdout().lock();
    let next = batches(&store, P0).last().map_or(1, |batch| batch.id.0 + 1);
    for id in next.. {
        store.append(&[numbered(epoch, id)]).expect("appended");
        writeln!(out, "acknowledged {id}").and_then(|()| out.flush()).expect("the parent listens");
        if id % 16 == 0 {
            let one = Checkpoint { trim_below: 2 * id - 9, ..rows(id..id + 4) };
            store.checkpoint(P0, epoch, &one).expect("checkpointed");
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = dir();
    for round in 1..=4_u64 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "embedded::a_process_that_appends", "--ignored", "--nocapture"])
            .env("RIVERRUN_TEST_DIR", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut acknowledged = 0;
        let mut count = 0;
        for line in lines {
            let line = line.expect("text");
            let Some(id) = line.split("acknowledged ").nth(1) else { continue };
            acknowledged = id.parse().expect("a number");
            count += 1;
            // Killed once; what it still managed to say before it died counts too.
            if count == 30 * round {
                child.kill().expect("killed");
            }
        }
        child.wait().expect("dead");
        let store = open(dir.path());
        let found = batches(&store, P0);
        let last = found.last().map_or(0, |batch| batch.id.0);
        assert!(last == acknowledged || last == acknowledged + 1, "{last} after {acknowledged}");
        for batch in &found {
            assert_eq!(batch.records, numbered(batch.epoch, batch.id.0).records);
        }
        store.verify().expect("in order");
    }
}

#[test]
fn a_full_disk_refuses_and_lets_go_on() {
    let dir = dir();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(dir.path())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        writeln!(std::io::stderr(), "skipped: mounting a small disk needs root").expect("a message");
        return;
    }
    let outcome = std::panic::catch_unwind(|| fill_disk(dir.path()));
    let unmounted = Command::new("umount").arg(dir.path()).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn fill_disk(dir: &Path) {
    let store = open(dir);
    let epoch = store.acquire(P0, "a").expect("acquired");
    let ballast = dir.join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).expect("written");
    let mut id = 1;
    let refused = loop {
        match store.append(&[numbered(epoch, id)]) {
            Ok(()) => id += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, AppendError::Refused(text) if text.contains("disk")), "{refused:?}");
    assert_eq!(batches(&store, P0).len() as u64, id - 1, "reads are served");
    assert_eq!(store.has_batch(P0, epoch, riverrun_store::BatchId(id)), Ok(false));
    fs::remove_file(&ballast).expect("removed");
    fill(&store, epoch, id..id + 3);
    assert_eq!(batches(&store, P0).len() as u64, id + 2);
    store.verify().expect("in order");
}

/// With 100,000 runs no filter reads them all: an index in the order of the list answers it.
#[test]
fn lists_over_many_runs_use_an_index() {
    let dir = dir();
    let store = open(dir.path());
    let epoch = store.acquire(P0, "a").expect("acquired");
    let state = samples::state(run_id(0), samples::small(1));
    for part in 0..10_u64 {
        let numbers = part * 10_000..(part + 1) * 10_000;
        let rows = Rows {
            runs: numbers
                .map(|n| samples::row_with(samples::summary(n, look(n)), n, state.clone()))
                .collect(),
            ..Rows::default()
        };
        let one = Checkpoint { rows, ..Checkpoint::default() };
        store.checkpoint(P0, epoch, &one).expect("checkpointed");
    }
    let nothing = std::collections::HashSet::new();
    for filter in filters() {
        let plan = store.explain(&filter).expect("a plan").join("\n");
        assert!(
            plan.contains("SEARCH") && !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"),
            "{filter:?}: {plan}"
        );
        let page = store.list(&filter, None, 50, &nothing).expect("a page");
        assert!(page.items.iter().all(|run| filter.matches(run)));
        let count = store.count(&filter, 10_000).expect("a count");
        assert_eq!(page.next.is_some(), count.count > 50, "{filter:?}");
    }
    let newest =
        store.list(&RunFilter { namespace: "default".into(), ..RunFilter::default() }, None, 1, &nothing);
    assert_eq!(newest.expect("a page").items.len(), 1);
    assert_eq!(
        recovered(&store, P0).iter().filter(|piece| matches!(piece, Recovered::Stub(_))).count(),
        open_runs()
    );
}

fn open_runs() -> usize {
    (0..100_000).filter(|n| !samples::summary(*n, look(*n)).state.is_closed()).count()
}
