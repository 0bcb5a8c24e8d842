//! What every store promises. Each check runs under its own name for each store; see `main.rs`.

use std::collections::HashSet;

use riverrun_kernel::{Record, Rows, RunId, State, Wall};
use riverrun_store::{
    AppendError, Batch, BatchId, Checkpoint, Cursor, Epoch, KeyFilter, Recovered, RunFilter, Store,
    StoreError,
};

use crate::Home;
use crate::samples::{self, P0, P1, batch, batches, look, now, recovered, run_id};

/// One module of tests for a store, one test for each check.
macro_rules! suite {
    ($name:ident, $home:expr) => {
        crate::conformance::suite! { @each $name, $home,
            an_append_is_all_or_nothing
            batches_come_back_in_order
            a_batch_out_of_order_is_refused
            an_earlier_owner_is_fenced
            a_released_partition_cannot_be_written
            a_batch_is_found_under_its_own_epoch_only
            partitions_do_not_see_each_other
            an_unknown_partition_is_named
            everything_comes_back_after_opening_again
            a_checkpoint_may_happen_at_any_point
            a_fenced_checkpoint_changes_nothing
            rows_are_replaced_and_removed
            what_has_no_row_is_none
            a_journal_is_read_in_pieces
            a_journal_line_written_twice_is_there_once
            lists_are_newest_first_and_filtered
            a_cursor_survives_new_runs
            counts_stop_at_their_cap
            keys_are_listed_in_order
            schedules_are_replaced_and_removed
            every_namespace_of_runs_and_keys_is_named
            large_values_come_back_whole
            large_values_go_with_their_run
            the_log_keeps_large_values_of_deleted_runs
            verification_counts_everything
        }
    };
    (@each $name:ident, $home:expr, $($check:ident)*) => {
        mod $name {
            $(#[test]
            fn $check() {
                crate::conformance::$check(&$home);
            })*
        }
    };
}
pub(crate) use suite;

/// Records `from..to`.
fn records(numbers: std::ops::Range<u64>) -> Vec<Record> {
    numbers.map(samples::record).collect()
}

fn checkpoint(rows: Rows, trim_below: u64) -> Checkpoint {
    Checkpoint { rows, now: now(77), trim_below }
}

fn all(store: &dyn Store, filter: &RunFilter) -> Vec<RunId> {
    let page = store.list(filter, None, usize::MAX, &HashSet::new()).expect("a list");
    page.items.iter().map(|run| run.id).collect()
}

fn in_default() -> RunFilter {
    RunFilter { namespace: "default".into(), ..RunFilter::default() }
}

pub fn an_append_is_all_or_nothing(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let good = batch(P0, epoch, 1, 1, records(0..3));
    let bad = batch(P0, epoch, 3, 4, records(3..4));
    assert!(matches!(store.append(&[good.clone(), bad]), Err(AppendError::Refused(_))));
    assert_eq!(batches(&*store, P0), []);
    let fenced = batch(P1, epoch, 1, 1, records(3..4));
    assert_eq!(store.append(&[good.clone(), fenced]), Err(AppendError::Fenced));
    assert_eq!(batches(&*store, P0), []);
    store.append(std::slice::from_ref(&good)).expect("appended");
    assert_eq!(batches(&*store, P0), [good]);
}

pub fn batches_come_back_in_order(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let mut written: Vec<Batch> = Vec::new();
    let mut first = 1;
    for id in 1..40 {
        written.push(batch(P0, epoch, id, first, records(first..first + id % 4)));
        first += id % 4;
    }
    store.append(&written[..10]).expect("appended");
    for one in &written[10..] {
        store.append(std::slice::from_ref(one)).expect("appended");
    }
    assert_eq!(batches(&*store, P0), written);
}

pub fn a_batch_out_of_order_is_refused(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let first = batch(P0, epoch, 1, 1, records(0..2));
    store.append(std::slice::from_ref(&first)).expect("appended");
    for wrong in [
        first.clone(),
        batch(P0, epoch, 3, 3, records(2..3)),
        batch(P0, epoch, 2, 4, records(2..3)),
        batch(P0, epoch, 2, 2, records(2..3)),
    ] {
        assert!(matches!(store.append(&[wrong]), Err(AppendError::Refused(_))));
    }
    assert_eq!(batches(&*store, P0), [first]);
}

pub fn an_earlier_owner_is_fenced(home: &dyn Home) {
    let store = home.open();
    let old = store.acquire(P0, "a").expect("acquired");
    let new = store.acquire(P0, "b").expect("acquired");
    assert!(new > old);
    let write = |epoch, id| store.append(&[batch(P0, epoch, id, id, records(1..2))]);
    assert_eq!(write(old, 1), Err(AppendError::Fenced));
    assert_eq!(store.renew(P0, old), Err(StoreError::Fenced));
    assert_eq!(store.release(P0, old), Err(StoreError::Fenced));
    assert_eq!(store.renew(P0, new), Ok(()));
    assert_eq!(write(new, 1), Ok(()));
    assert_eq!(write(Epoch(new.0 + 1), 2), Err(AppendError::Fenced));
    drop(store);
    let store = home.open();
    assert!(store.acquire(P0, "c").expect("acquired") > new);
}

pub fn a_released_partition_cannot_be_written(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    store.release(P0, epoch).expect("released");
    assert_eq!(store.append(&[batch(P0, epoch, 1, 1, records(0..1))]), Err(AppendError::Fenced));
    assert_eq!(store.renew(P0, epoch), Err(StoreError::Fenced));
    assert!(store.acquire(P0, "a").expect("acquired") > epoch);
}

pub fn a_batch_is_found_under_its_own_epoch_only(home: &dyn Home) {
    let store = home.open();
    let old = store.acquire(P0, "a").expect("acquired");
    store.append(&[batch(P0, old, 1, 1, records(0..2))]).expect("appended");
    let has = |epoch, id| store.has_batch(P0, epoch, BatchId(id)).expect("an answer");
    assert!(has(old, 1));
    assert!(!has(old, 2));
    assert!(!has(old, 0));
    let new = store.acquire(P0, "b").expect("acquired");
    assert!(!has(new, 1));
    store.checkpoint(P0, new, &checkpoint(Rows::default(), 3)).expect("checkpointed");
    assert!(has(new, 1), "what was trimmed was written");
    assert!(!has(new, 2));
}

pub fn partitions_do_not_see_each_other(home: &dyn Home) {
    let store = home.open();
    let (a, b) = (store.acquire(P0, "a").expect("0"), store.acquire(P1, "a").expect("1"));
    let (first, second) = (batch(P0, a, 1, 1, records(0..2)), batch(P1, b, 1, 1, records(2..9)));
    store.append(&[first.clone(), second.clone()]).expect("appended");
    let rows = Rows {
        runs: vec![samples::row(1, 1, look(0)), samples::row(3, 1, look(0))],
        partition: Some(samples::partition_row(4)),
        ..Rows::default()
    };
    store.checkpoint(P1, b, &checkpoint(rows, 3)).expect("checkpointed");
    assert_eq!(
        recovered(&*store, P0),
        [Recovered::Partition(None, riverrun_kernel::Now::default()), Recovered::Batch(first)]
    );
    assert_eq!(batches(&*store, P1), [second]);
}

pub fn an_unknown_partition_is_named(home: &dyn Home) {
    let store = home.open();
    let none = riverrun_kernel::PartitionId(2);
    let Err(StoreError::Unavailable(text)) = store.acquire(none, "a") else {
        panic!("there are two partitions");
    };
    assert!(text.contains("partition 2"), "{text}");
    assert_eq!(store.append(&[batch(none, Epoch(1), 1, 1, records(0..1))]), Err(AppendError::Fenced));
    assert_eq!(store.partitions(), 2);
}

pub fn everything_comes_back_after_opening_again(home: &dyn Home) {
    let store = home.open();
    let secret = store.secret();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let written = batch(P0, epoch, 1, 1, records(0..40));
    store.append(std::slice::from_ref(&written)).expect("appended");
    let rows = Rows {
        runs: (0..10).map(|n| samples::row(2 * n, n, look(n))).collect(),
        journal: (1..20).map(|seq| samples::line(0, seq)).collect(),
        keys: vec![samples::key(0, 1, 5)],
        schedules: vec![samples::schedule(0, 6), samples::schedule(2, 7)],
        definitions: vec![samples::definition(1), samples::definition(0)],
        partition: Some(samples::partition_row(9)),
        ..Rows::default()
    };
    store.checkpoint(P0, epoch, &checkpoint(rows.clone(), 1)).expect("checkpointed");
    let before = recovered(&*store, P0);
    drop(store);
    let store = home.open();
    assert_eq!(store.secret(), secret);
    assert_eq!(recovered(&*store, P0), before);
    let mut expected = vec![
        Recovered::Definition(samples::definition(0)),
        Recovered::Definition(samples::definition(1)),
        Recovered::Partition(Some(samples::partition_row(9)), now(77)),
    ];
    expected.extend(rows.runs.iter().filter_map(|row| row.stub.clone().map(Recovered::Stub)));
    expected.extend(rows.schedules.iter().map(|row| Recovered::Schedule(row.stub.clone())));
    expected.push(Recovered::Batch(written));
    assert_eq!(before, expected);
    let ids: Vec<RunId> = rows.runs.iter().map(|row| row.summary.id).collect();
    let loaded = store.load(P0, &samples::needs(&ids, &[samples::key_id(0, 1)])).expect("loaded");
    let found: Vec<_> = loaded.runs.into_iter().filter_map(|(_, row)| row).collect();
    assert_eq!(found, rows.runs);
    assert_eq!(loaded.keys[0].1, Some(samples::key(0, 1, 5)));
    assert_eq!(store.journal(run_id(0), 0, 100).expect("a journal"), rows.journal);
}

pub fn a_checkpoint_may_happen_at_any_point(home: &dyn Home) {
    let store = home.open();
    let mut epoch = store.acquire(P0, "a").expect("acquired");
    let mut kept: Vec<Batch> = Vec::new();
    let mut first = 1;
    for id in 1..30 {
        let one = batch(P0, epoch, id, first, records(first..first + id % 3));
        first += id % 3;
        store.append(std::slice::from_ref(&one)).expect("appended");
        kept.push(one);
        let trim = first.saturating_sub(id % 7);
        if id % 2 == 0 {
            store.checkpoint(P0, epoch, &checkpoint(Rows::default(), trim)).expect("checkpointed");
            kept.retain(|batch| batch.first + batch.records.len() as u64 > trim);
        }
        assert_eq!(batches(&*store, P0), kept);
        if id % 10 == 0 {
            epoch = store.acquire(P0, "b").expect("acquired");
        }
    }
}

pub fn a_fenced_checkpoint_changes_nothing(home: &dyn Home) {
    let store = home.open();
    let old = store.acquire(P0, "a").expect("acquired");
    store.append(&[batch(P0, old, 1, 1, records(0..2))]).expect("appended");
    store.acquire(P0, "b").expect("acquired");
    let rows = Rows { runs: vec![samples::row(0, 1, look(0))], ..Rows::default() };
    assert_eq!(store.checkpoint(P0, old, &checkpoint(rows, 3)), Err(StoreError::Fenced));
    assert_eq!(batches(&*store, P0).len(), 1);
    assert_eq!(store.load(P0, &samples::needs(&[run_id(0)], &[])).expect("loaded").runs, [(run_id(0), None)]);
}

pub fn rows_are_replaced_and_removed(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let write = |rows| store.checkpoint(P0, epoch, &checkpoint(rows, 0)).expect("checkpointed");
    let open = samples::Look { labels: 3, state: 1, ..samples::Look::default() };
    let closed = samples::Look { labels: 1, state: 4, ..open };
    write(Rows {
        runs: vec![samples::row(0, 1, open), samples::row(2, 1, open)],
        keys: vec![samples::key(0, 1, 1), samples::key(0, 2, 1)],
        ..Rows::default()
    });
    write(Rows {
        runs: vec![samples::row(0, 2, closed)],
        deleted_runs: vec![run_id(2)],
        keys: vec![samples::key(0, 1, 2)],
        deleted_keys: vec![samples::key_id(0, 2)],
        ..Rows::default()
    });
    let found = store
        .load(P0, &samples::needs(&[run_id(0), run_id(2)], &[samples::key_id(0, 1), samples::key_id(0, 2)]))
        .expect("loaded");
    assert_eq!(found.runs, [(run_id(0), Some(samples::row(0, 2, closed))), (run_id(2), None)]);
    assert_eq!(
        found.keys,
        [(samples::key_id(0, 1), Some(samples::key(0, 1, 2))), (samples::key_id(0, 2), None)]
    );
    let labelled = |name: &str, value: &str| {
        let labels = vec![(name.to_owned(), value.to_owned())];
        all(&*store, &RunFilter { labels, ..in_default() })
    };
    assert_eq!(labelled("host", "h0"), []);
    assert_eq!(labelled("team", "red"), [run_id(0)]);
    assert!(!recovered(&*store, P0).iter().any(|piece| matches!(piece, Recovered::Stub(_))));
    store.verify().expect("in order");
}

pub fn schedules_are_replaced_and_removed(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let other = store.acquire(P1, "a").expect("acquired");
    let write = |rows| store.checkpoint(P0, epoch, &checkpoint(rows, 0)).expect("checkpointed");
    write(Rows { schedules: (0..4).map(|n| samples::schedule(n, 1)).collect(), ..Rows::default() });
    let rows = Rows { schedules: vec![samples::schedule(7, 1)], ..Rows::default() };
    store.checkpoint(P1, other, &checkpoint(rows, 0)).expect("checkpointed");
    write(Rows {
        schedules: vec![samples::schedule(1, 2), samples::schedule(3, 2)],
        // One that is removed and written in the same checkpoint was created again.
        deleted_schedules: vec![samples::schedule_id(0), samples::schedule_id(3), samples::schedule_id(9)],
        ..Rows::default()
    });
    let ids: Vec<_> = [0, 1, 2, 3, 7].map(samples::schedule_id).into();
    let needs = riverrun_kernel::Needs { schedules: ids, ..Default::default() };
    let found: Vec<_> =
        store.load(P0, &needs).expect("loaded").schedules.into_iter().map(|(_, row)| row).collect();
    let [one, two, three] = [(1, 2), (2, 1), (3, 2)].map(|(n, last)| samples::schedule(n, last));
    let seven = samples::schedule(7, 1);
    assert_eq!(found, [None, Some(one.clone()), Some(two.clone()), Some(three.clone()), Some(seven.clone())]);
    let stubs = |partition| -> Vec<_> {
        let pieces = recovered(&*store, partition).into_iter();
        pieces.filter(|piece| matches!(piece, Recovered::Schedule(_))).collect()
    };
    assert_eq!(stubs(P0), [two, one, three].map(|row| Recovered::Schedule(row.stub)));
    assert_eq!(stubs(P1), [Recovered::Schedule(seven.stub)]);
    assert_eq!(store.verify().expect("in order").schedules, 4);
}

pub fn what_has_no_row_is_none(home: &dyn Home) {
    let store = home.open();
    let found =
        store.load(P0, &samples::needs(&[run_id(0), run_id(0)], &[samples::key_id(0, 1)])).expect("loaded");
    assert_eq!(found.runs, [(run_id(0), None), (run_id(0), None)]);
    assert_eq!(found.keys, [(samples::key_id(0, 1), None)]);
    assert_eq!(store.journal(run_id(0), 0, 10).expect("a journal"), []);
    assert_eq!(store.blob(run_id(0), [0; 32]).expect("an answer"), None);
    assert_eq!(all(&*store, &in_default()), []);
    assert_eq!(recovered(&*store, P0), [Recovered::Partition(None, riverrun_kernel::Now::default())]);
}

pub fn a_journal_is_read_in_pieces(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let lines: Vec<_> = (1..=700).map(|seq| samples::line(6, seq * 7 + 1)).collect();
    for part in lines.chunks(300) {
        let rows = Rows { journal: part.to_vec(), ..Rows::default() };
        store.checkpoint(P0, epoch, &checkpoint(rows, 0)).expect("checkpointed");
    }
    let mut after = 0;
    let mut read = Vec::new();
    loop {
        let page = store.journal(run_id(6), after, 110).expect("a journal");
        let Some(last) = page.last() else { break };
        after = last.seq;
        read.extend(page);
    }
    assert_eq!(read, lines);
    assert_eq!(store.journal(run_id(6), 0, 0).expect("a journal"), []);
    assert_eq!(store.journal(run_id(6), u64::MAX, 5).expect("a journal"), []);
    assert_eq!(store.journal(run_id(8), 0, 5).expect("a journal"), []);
}

pub fn a_journal_line_written_twice_is_there_once(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    for range in [1..10, 5..13, 12..14] {
        let rows = Rows { journal: range.map(|seq| samples::line(0, seq)).collect(), ..Rows::default() };
        store.checkpoint(P0, epoch, &checkpoint(rows, 0)).expect("checkpointed");
    }
    let expected: Vec<_> = (1..14).map(|seq| samples::line(0, seq)).collect();
    assert_eq!(store.journal(run_id(0), 0, 100).expect("a journal"), expected);
}

/// Filters that between them use every field, alone and together.
pub fn filters() -> Vec<RunFilter> {
    use riverrun_kernel::{DefinitionKind, WaitKind};
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let some = in_default;
    vec![
        some(),
        RunFilter { namespace: "other".into(), ..some() },
        RunFilter { namespace: "nobody".into(), ..some() },
        RunFilter { definition: Some("flow1".into()), ..some() },
        RunFilter { kind: Some(DefinitionKind::Task), ..some() },
        RunFilter { states: vec![State::Failed, State::Running], ..some() },
        RunFilter { states: vec![State::Succeeded], ..some() },
        RunFilter { states: State::ALL.to_vec(), definition: Some("flow2".into()), ..some() },
        RunFilter { states: vec![State::Failed], definition: Some("flow0".into()), ..some() },
        RunFilter { waiting: Some(WaitKind::Predecessor), ..some() },
        RunFilter { waiting: Some(WaitKind::Timer), states: vec![State::Suspended], ..some() },
        RunFilter { labels: vec![label("team", "red")], ..some() },
        RunFilter { labels: vec![label("team", "red"), label("host", "h1")], ..some() },
        RunFilter {
            labels: vec![label("team", "red")],
            states: vec![State::Failed],
            created_from: Some(Wall(5)),
            ..some()
        },
        RunFilter { continue_id: Some("key1".into()), ..some() },
        RunFilter { continue_id: Some("key1".into()), labels: vec![label("team", "red")], ..some() },
        RunFilter { parent: Some(run_id(1)), ..some() },
        RunFilter { parent: Some(run_id(1)), created_before: Some(Wall(9)), ..some() },
        RunFilter { created_from: Some(Wall(4)), created_before: Some(Wall(12)), ..some() },
        RunFilter { ended_before: Some(Wall(10)), ..some() },
        RunFilter { expires_before: Some(Wall(12)), ..some() },
        RunFilter { attention: true, ..some() },
        RunFilter { attention: true, waiting: Some(WaitKind::Timer), ..some() },
        RunFilter { expires_before: Some(Wall(12)), states: vec![State::Failed, State::Succeeded], ..some() },
        RunFilter {
            ended_before: Some(Wall(10)),
            definition: Some("flow1".into()),
            kind: Some(DefinitionKind::Flow),
            ..some()
        },
    ]
}

pub fn lists_are_newest_first_and_filtered(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let looks: Vec<_> = (0..300).map(|n| samples::Look { large: false, ..look(n) }).collect();
    let rows =
        Rows { runs: (0..300).map(|n| samples::row(n, n, looks[n as usize])).collect(), ..Rows::default() };
    store.checkpoint(P0, epoch, &checkpoint(rows, 0)).expect("checkpointed");
    let mut used = HashSet::new();
    for filter in filters() {
        let mut expected: Vec<_> = (0..300)
            .map(|n| samples::summary(n, looks[n as usize]))
            .filter(|run| filter.matches(run))
            .collect();
        expected.sort_by_key(|run| std::cmp::Reverse((run.created, run.id)));
        used.extend(expected.iter().map(|run| run.id));
        let page = store.list(&filter, None, 1_000, &HashSet::new()).expect("a list");
        assert_eq!(page.items, expected, "{filter:?}");
        assert_eq!(page.next, None);
        let count = store.count(&filter, 1_000).expect("a count");
        assert_eq!(count.count, expected.len() as u64, "{filter:?}");
        let without: HashSet<RunId> = expected.iter().step_by(2).map(|run| run.id).collect();
        expected.retain(|run| !without.contains(&run.id));
        let page = store.list(&filter, None, 1_000, &without).expect("a list");
        assert_eq!(page.items, expected, "{filter:?}");
    }
    assert_eq!(used.len(), 300, "the filters look at every run");
}

pub fn a_cursor_survives_new_runs(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let write = |numbers: std::ops::Range<u64>, created: u64| {
        let look = |n| samples::Look { created: created + n % 3, ..samples::Look::default() };
        let rows = Rows { runs: numbers.map(|n| samples::row(n, n, look(n))).collect(), ..Rows::default() };
        store.checkpoint(P0, epoch, &checkpoint(rows, 0)).expect("checkpointed");
    };
    write(0..40, 100);
    let expected = all(&*store, &in_default());
    assert_eq!(expected.len(), 40);
    let mut after: Option<Cursor> = None;
    let mut seen = Vec::new();
    for page in 0.. {
        let found = store.list(&in_default(), after, 7, &HashSet::new()).expect("a page");
        seen.extend(found.items.iter().map(|run| run.id));
        write(1_000 + page * 10..1_005 + page * 10, 500 + page);
        after = found.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
}

pub fn counts_stop_at_their_cap(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let rows = Rows {
        runs: (0..10).map(|n| samples::row(n, n, samples::Look::default())).collect(),
        ..Rows::default()
    };
    store.checkpoint(P0, epoch, &checkpoint(rows, 0)).expect("checkpointed");
    for (cap, count, capped) in [(0, 0, true), (9, 9, true), (10, 10, false), (u64::MAX, 10, false)] {
        let found = store.count(&in_default(), cap).expect("a count");
        assert_eq!((found.count, found.capped), (count, capped));
    }
}

pub fn keys_are_listed_in_order(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let rows = Rows { keys: (0..20).rev().map(|n| samples::key(n % 2, n, n)).collect(), ..Rows::default() };
    store.checkpoint(P0, epoch, &checkpoint(rows, 0)).expect("checkpointed");
    for definition in [None, Some("flow0".to_owned()), Some("flow1".to_owned())] {
        let filter = KeyFilter { namespace: "default".into(), definition };
        let whole = store.keys(&filter, None, 100).expect("keys");
        assert!(whole.is_sorted_by_key(|key| key.id.clone()));
        assert_eq!(whole.len(), if filter.definition.as_deref() == Some("flow1") { 0 } else { 10 });
        let mut paged: Vec<riverrun_kernel::Key> = Vec::new();
        loop {
            let page = store.keys(&filter, paged.last().map(|key| &key.id), 3).expect("keys");
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, whole);
    }
}

pub fn every_namespace_of_runs_and_keys_is_named(home: &dyn Home) {
    let store = home.open();
    assert_eq!(store.namespaces(), Ok(Vec::new()));
    let epoch = store.acquire(P0, "a").expect("acquired");
    let mut rows = Rows {
        runs: (0..12).map(|n| samples::row(n, n, samples::Look::default())).collect(),
        keys: (0..4).map(|n| samples::key(0, n, n)).collect(),
        ..Rows::default()
    };
    for (n, run) in (0..).zip(&mut rows.runs) {
        run.summary.definition.namespace = ["b", "default", "a b"][n % 3].into();
    }
    rows.keys[1].key.id.namespace = "keys only".into();
    store.checkpoint(P0, epoch, &checkpoint(rows, 0)).expect("checkpointed");
    assert_eq!(store.namespaces().expect("names"), ["a b", "b", "default", "keys only"]);
}

/// The SHA-256 names that `large` values have.
fn blob_of(store: &dyn Store, run: RunId, n: u64) -> Option<riverrun_kernel::Json> {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(samples::large(n).get()).into();
    store.blob(run, hash).expect("an answer")
}

pub fn large_values_come_back_whole(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let written = batch(
        P0,
        epoch,
        1,
        1,
        vec![Record::Run(run_id(0), samples::entry(7)), Record::Run(run_id(2), samples::entry(2))],
    );
    store.append(std::slice::from_ref(&written)).expect("appended");
    assert_eq!(batches(&*store, P0), [written]);
    assert_eq!(blob_of(&*store, run_id(0), 1), Some(samples::large(1)));
    assert_eq!(blob_of(&*store, run_id(2), 1), None, "a blob belongs to its run");
    let large = samples::Look { large: true, ..samples::Look::default() };
    let rows = Rows {
        runs: vec![samples::row(4, 1, large)],
        journal: vec![samples::line(0, 7), samples::line(0, 9)],
        ..Rows::default()
    };
    store.checkpoint(P0, epoch, &checkpoint(rows.clone(), 3)).expect("checkpointed");
    assert_eq!(
        store.load(P0, &samples::needs(&[run_id(4)], &[])).expect("loaded").runs,
        [(run_id(4), Some(rows.runs[0].clone()))]
    );
    assert_eq!(store.journal(run_id(0), 0, 10).expect("a journal"), rows.journal);
    assert_eq!(blob_of(&*store, run_id(4), 4), Some(samples::large(4)));
    assert_eq!(store.verify().expect("in order").blobs, 2);
}

pub fn large_values_go_with_their_run(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let large = samples::Look { large: true, ..samples::Look::default() };
    let rows = Rows {
        runs: vec![samples::row(0, 1, large), samples::row(2, 1, large)],
        journal: vec![samples::line(0, 7)],
        ..Rows::default()
    };
    store.checkpoint(P0, epoch, &checkpoint(rows, 1)).expect("checkpointed");
    let rows = Rows { deleted_runs: vec![run_id(0)], ..Rows::default() };
    store.checkpoint(P0, epoch, &checkpoint(rows, 1)).expect("checkpointed");
    assert_eq!(blob_of(&*store, run_id(0), 0), None);
    assert_eq!(blob_of(&*store, run_id(2), 2), Some(samples::large(2)));
    assert_eq!(store.journal(run_id(0), 0, 10).expect("a journal"), []);
    assert_eq!(store.verify().expect("in order").blobs, 1);
}

pub fn the_log_keeps_large_values_of_deleted_runs(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    let written = batch(
        P0,
        epoch,
        1,
        1,
        vec![Record::Run(run_id(0), samples::entry(7)), Record::RunDeleted(run_id(0))],
    );
    store.append(std::slice::from_ref(&written)).expect("appended");
    let rows = Rows { deleted_runs: vec![run_id(0)], ..Rows::default() };
    store.checkpoint(P0, epoch, &checkpoint(rows, 1)).expect("checkpointed");
    assert_eq!(blob_of(&*store, run_id(0), 1), None);
    assert_eq!(batches(&*store, P0), [written]);
    store.checkpoint(P0, epoch, &checkpoint(Rows::default(), 3)).expect("checkpointed");
    assert_eq!(batches(&*store, P0), []);
    store.verify().expect("in order");
}

pub fn verification_counts_everything(home: &dyn Home) {
    let store = home.open();
    let epoch = store.acquire(P0, "a").expect("acquired");
    store
        .append(&[batch(P0, epoch, 1, 1, records(1..3)), batch(P0, epoch, 2, 3, records(3..5))])
        .expect("appended");
    let rows = Rows {
        runs: (0..3).map(|n| samples::row(2 * n, 1, samples::Look::default())).collect(),
        journal: vec![samples::line(0, 1), samples::line(0, 3), samples::line(2, 1)],
        keys: vec![samples::key(0, 1, 1)],
        schedules: vec![samples::schedule(0, 1)],
        ..Rows::default()
    };
    store.checkpoint(P0, epoch, &checkpoint(rows, 3)).expect("checkpointed");
    let found = store.verify().expect("in order");
    assert_eq!((found.batches, found.runs, found.journal, found.keys, found.blobs), (1, 3, 3, 1, 0));
    assert_eq!(found.schedules, 1);
}
