//! A hundred thousand timers in memory, fired in order of time.

use riverrun_engine::{Definitions, Settings};
use riverrun_kernel::{
    Command, DefinitionKind, DefinitionRef, Json, Now, Partition, PartitionId, RunId, RunOptions, Slot,
    StartRun, Ticks, Wall,
};

const TIMERS: u64 = 100_000;

#[test]
fn a_hundred_thousand_delayed_runs_are_due_one_by_one() {
    let config = Settings::default().config(PartitionId(0), 1, [0; 32]);
    let mut partition = Partition::new(config);
    let definitions = Definitions::new();
    let definition = DefinitionRef {
        namespace: "default".into(),
        kind: DefinitionKind::Task,
        name: "work".into(),
        version: "".into(),
    };
    let now = |ticks| Now { wall: Wall(1_000_000), ticks: Ticks(ticks) };
    for number in 0..TIMERS {
        let start = StartRun {
            run: RunId::new(1_000_000, Slot(0), number),
            client_id: true,
            definition: definition.clone(),
            input: Json::null(),
            key: None,
            parent: None,
            // In a scattered order.
            options: RunOptions { delay_ms: Some(1 + number * 7_919 % TIMERS), ..RunOptions::default() },
        };
        partition.apply(now(0), Command::Start(Box::new(start)), &definitions).expect("a start");
        // What is decided is a batch of the engine's; here nobody writes it.
        let _ = partition.take_decided();
    }
    let mut last = 0;
    while let Some(riverrun_kernel::Due::Ticks(due)) = partition.next_due().0 {
        assert!(due.0 >= last, "timers come in order");
        last = due.0;
        partition.apply(now(due.0 + 63), Command::Tick { limit: 64 }, &definitions).expect("a tick");
        let _ = partition.take_decided();
    }
    let waiting: usize = partition.queue_depths().iter().map(|depth| depth.waiting).sum();
    assert_eq!(waiting as u64, TIMERS);
}
