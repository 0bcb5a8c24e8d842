//! Waits: sleeps, signals, calls, other runs.

use futures_util::future::{Either, join_all, select};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::super::wait::Target;
use super::*;

#[test]
fn a_sleep_begins_once_and_is_gone_when_it_has_ended() {
    let mut world = World::begin(|ctx| async move {
        ctx.sleep(Duration::from_mins(1)).await?;
        ctx.sleep(Duration::from_millis(5)).await?;
        Ok("awake".into())
    });
    assert_eq!((world.acts.clone(), world.waits()), (vec!["0 sleep 60000 ms".to_owned()], Waits::Asleep));
    world.crash();
    assert_eq!((world.acts.clone(), world.waits()), (vec![], Waits::Asleep));
    world.succeed("sleep", "null");
    assert_eq!((world.acts.clone(), world.waits()), (vec!["1 sleep#2 5 ms".to_owned()], Waits::Others));
    world.succeed("sleep#2", "null");
    assert_eq!(world.output(), r#""awake""#);
}

#[test]
fn a_date_is_slept_until_in_unix_milliseconds() {
    let world = World::begin(|ctx| async move {
        ctx.sleep_until(std::time::UNIX_EPOCH + Duration::from_secs(5)).await?;
        Ok(Value::Null)
    });
    assert_eq!(world.acts, ["0 sleep until 5000"]);
}

#[test]
fn a_signal_gives_its_payload_or_times_out() {
    let code = code(|ctx| async move {
        let answer = ctx.signal::<u32>("answer").timeout(Duration::from_secs(1)).await;
        Ok(answer.map_or_else(|error| error.is_timeout().into(), Value::from))
    });
    let mut world = World::of(Arc::clone(&code));
    assert_eq!(
        (world.acts.clone(), world.waits()),
        (vec!["0 signal answer Some(1000)".to_owned()], Waits::Others)
    );
    assert_eq!(world.succeed("signal answer", "42").output(), "42");
    assert_eq!(World::of(code).fail("signal answer", "Timeout").output(), "true");
}

#[test]
fn a_payload_of_another_type_is_a_terminal_failure() {
    let mut world = World::begin(|ctx| async move { ctx.signal::<u32>("x").await.map(Value::from) });
    let failure = world.succeed("signal x", r#""text""#).failure();
    assert_eq!((failure.error.as_str(), failure.retryable), ("InvalidValue", false));
}

#[test]
fn a_call_and_a_run_give_their_outcomes_and_a_start_its_id() {
    let mut world = World::begin(|ctx| async move {
        let sum: u32 = ctx.call("add", &(1, 2)).queue("sums").priority(9).await?;
        let child = ctx.start("notify", &sum).await?;
        let text: String = ctx.run(Target::flow("text"), &child.to_string()).await?;
        Ok(text.into())
    });
    world.succeed("add", "3");
    let run = RunId::new(5, Slot(0), 9);
    world.succeed("notify", &format!(r#"{{"run_id": "{run}"}}"#));
    world.crash();
    assert_eq!(world.succeed("text", r#""done""#).output(), r#""done""#);
    assert!(world.journal.contains(&Fact::Begun { tag: 2, path: "text".to_owned() }));
}

#[test]
fn what_loses_a_race_is_given_up() {
    let code = code(|ctx| async move {
        let signal = ctx.signal::<u32>("go");
        let limit = ctx.sleep(Duration::from_secs(9));
        let winner = match select(signal, limit).await {
            Either::Left((signal, _)) => signal?,
            Either::Right((limit, _)) => limit.map(|()| 0)?,
        };
        ctx.step("tell", || async { Ok(winner) }).await.map(Value::from)
    });
    let mut world = World::of(Arc::clone(&code));
    world.succeed("signal go", "5");
    assert_eq!(world.acts, ["0 signal go None", "1 sleep 9000 ms", "1 aborted", "2 tell = 5"]);
    assert_eq!(world.output(), "5");
    world.crash();
    assert_eq!((world.output().as_str(), world.acts.len()), ("5", 0));
    assert_eq!(World::of(code).succeed("sleep", "null").output(), "0");
}

#[test]
fn what_was_to_be_given_up_when_the_process_died_is_given_up_by_the_next() {
    let mut world = World::begin(|ctx| async move {
        let (signal, limit) = (ctx.signal::<u32>("go"), ctx.sleep(Duration::from_secs(9)));
        let Either::Left((signal, _)) = select(signal, limit).await else { panic!("no time passes") };
        ctx.step("tell", || async { signal.clone() }).await.map(Value::from)
    });
    // The signal is on record, and the process dies before it says what follows.
    let tag = 0;
    world.open.remove(&tag);
    world.journal.push(Fact::Ended { tag, outcome: Ok(json("1")).into() });
    world.crash();
    assert_eq!(world.acts, ["1 aborted", "2 tell = 1"]);
    assert!(world.open.is_empty());
}

#[test]
fn what_is_awaited_together_begins_together() {
    let mut world = World::begin(|ctx| async move {
        let calls = (1..=3).map(|n| ctx.call::<u32>("double", &n));
        let doubles = join_all(calls).await.into_iter().collect::<Result<Vec<u32>>>()?;
        Ok(doubles.into())
    });
    assert_eq!(world.acts, ["0 double(1)", "1 double#2(2)", "2 double#3(3)"]);
    world.succeed("double#2", "4").succeed("double#3", "6");
    world.crash();
    assert_eq!(world.succeed("double", "2").output(), "[2,4,6]");
}

#[test]
fn a_thousand_waits_end_in_any_order_and_are_seen_in_that_order() {
    let mut world = World::begin(|ctx| async move {
        let mut calls: FuturesUnordered<_> = (0..1_000).map(|n| ctx.call::<u32>("task", &n)).collect();
        let mut seen = Vec::new();
        while let Some(output) = calls.next().await {
            seen.push(output?);
        }
        Ok(seen.into())
    });
    let mut expected = Vec::new();
    for turn in 0..1_000_u32 {
        let n = turn * 377 % 1_000;
        let path = if n == 0 { "task".to_owned() } else { format!("task#{}", n + 1) };
        world.succeed(&path, &n.to_string());
        expected.push(n.to_string());
        if turn == 500 {
            world.crash();
        }
    }
    assert_eq!(world.output(), format!("[{}]", expected.join(",")));
}

#[test]
fn a_parking_run_begins_nothing_new() {
    let mut world = World::begin(|ctx| async move {
        ctx.step("a", || async { Ok(()) }).await?;
        ctx.step("b", || async { Ok(()) }).await?;
        Ok(Value::Null)
    });
    world.machine.park();
    assert_eq!(world.waits(), Waits::Steps);
    world.settle();
    assert_eq!((world.acts.clone(), world.waits()), (vec!["0 a = null".to_owned()], Waits::Held));
    world.crash();
    world.settle();
    assert_eq!(world.output(), "null");
}

#[test]
fn a_parking_run_that_wants_to_wait_is_given_back() {
    let mut world = World::begin(|ctx| async move {
        ctx.step("a", || async { Ok(()) }).await?;
        ctx.sleep(Duration::from_secs(1)).await?;
        Ok(Value::Null)
    });
    world.machine.park();
    world.settle();
    assert_eq!((world.acts.clone(), world.waits()), (vec!["0 a = null".to_owned()], Waits::Held));
}

#[test]
fn what_the_server_would_not_take_is_refused_here() {
    let world =
        World::begin(|ctx| async move { ctx.call::<()>("task", &1).priority(10).await.map(Value::from) });
    assert_eq!((world.failure().error.as_str(), world.acts.len()), ("InvalidPriority", 0));
    let mut world = World::begin(|ctx| async move {
        let mut deep = Value::Null;
        (0..150).for_each(|_| deep = Value::Array(vec![deep.take()]));
        let failed = ctx.step("deep", || async { Ok(deep.clone()) }).await.expect_err("too deep");
        Ok(failed.name().to_owned().into())
    });
    world.settle();
    assert_eq!(world.output(), r#""InvalidOutput""#);
}
