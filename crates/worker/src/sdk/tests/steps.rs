//! Steps that the worker executes itself.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// Two steps, each of which notes that it was executed.
fn two(notes: &Notes) -> Code {
    let notes = Arc::clone(notes);
    code(move |ctx| {
        let notes = Arc::clone(&notes);
        async move {
            let a: u32 = ctx
                .step("a", || async {
                    note(&notes, "a");
                    Ok(1)
                })
                .await?;
            let b: u32 = ctx
                .step("b", || async {
                    note(&notes, "b");
                    Ok(a + 1)
                })
                .await?;
            Ok(b.into())
        }
    })
}

#[test]
fn code_goes_on_when_the_outcome_of_a_step_is_durable_and_not_before() {
    let notes = notes();
    let mut world = World::of(two(&notes));
    assert_eq!(world.acts, ["0 a = 1"]);
    assert_eq!((noted(&notes).len(), world.waits()), (1, Waits::Steps));
    world.settle();
    assert_eq!(world.acts, ["0 a = 1", "1 b = 2"]);
    assert_eq!(world.output(), "2");
}

#[test]
fn a_recorded_step_is_not_executed_again() {
    for delivered in 0..3 {
        let notes = notes();
        let mut world = World::of(two(&notes));
        (0..delivered).for_each(|_| assert!(world.step()));
        world.crash();
        world.settle();
        assert_eq!(world.output(), "2");
        assert_eq!(noted(&notes), ["a", "b"], "crashed after {delivered} records");
    }
}

#[test]
fn a_step_whose_record_was_lost_is_executed_again() {
    let notes = notes();
    let mut world = World::of(two(&notes));
    world.journal.clear();
    world.crash();
    world.settle();
    assert_eq!((world.output().as_str(), noted(&notes)), ("2", vec!["a".into(), "a".into(), "b".into()]));
}

#[test]
fn a_failed_step_is_recorded_and_told_to_the_code_on_every_replay() {
    let notes = notes();
    let seen = Arc::clone(&notes);
    let mut world = World::begin(move |ctx| {
        let notes = Arc::clone(&seen);
        async move {
            let failed = ctx.step("x", || async {
                note(&notes, "x");
                Err::<(), _>(Error::terminal("Declined", "no money"))
            });
            let error = failed.await.expect_err("it fails");
            ctx.step("tell", || async { Ok(error.name().to_owned()) }).await.map(Value::from)
        }
    });
    world.settle().crash();
    world.settle();
    assert_eq!(world.output(), r#""Declined""#);
    assert_eq!(noted(&notes), ["x"]);
}

#[test]
fn a_name_that_is_used_again_gets_a_number() {
    let mut world = World::begin(|ctx| async move {
        for _ in 0..3 {
            ctx.step("turn", || async { Ok(()) }).await?;
        }
        Ok(Value::Null)
    });
    world.settle();
    assert_eq!(world.acts, ["0 turn = null", "1 turn#2 = null", "2 turn#3 = null"]);
}

#[test]
fn names_that_could_be_taken_for_another_steps_path_are_refused() {
    for name in ["", "a#2", "a~2", &"x".repeat(201)] {
        let name = name.to_owned();
        let world = World::begin(move |ctx| {
            let name = name.clone();
            async move { ctx.step(&name, || async { Ok(()) }).await.map(Value::from) }
        });
        assert_eq!(world.failure().error, "InvalidName");
    }
}

#[test]
fn a_panic_in_a_step_is_its_failure_and_the_code_goes_on() {
    let mut world = World::begin(|ctx| async move {
        let step = ctx.step("x", || async { if true { panic!("out of luck") } else { Ok(()) } });
        let error = step.await.expect_err("a panic");
        Ok(format!("{} {}", error.name(), error.message()).into())
    });
    world.settle();
    assert_eq!(world.output(), r#""Panic the step panicked: out of luck""#);
}

#[test]
fn a_panic_in_the_code_is_the_runs_failure() {
    let world = World::begin(|ctx| async move {
        let _ = ctx.run_id();
        if true { panic!("out of luck") } else { Ok(Value::Null) }
    });
    assert_eq!(world.failure().message, "the workflow panicked: out of luck");
}

#[test]
fn a_step_may_borrow_from_the_code_and_knows_its_key() {
    let mut world = World::begin(|ctx| async move {
        let order = String::from("order");
        let body = |info: super::super::StepInfo| {
            let order = &order;
            async move { Ok(format!("{order} {} {}", info.path(), info.idempotency_key().len())) }
        };
        let first = ctx.step_with("ship", body).await?;
        let second = ctx.step_with("ship", body).await?;
        Ok(vec![first, second].into())
    });
    world.settle();
    assert_eq!(world.output(), r#"["order ship 32","order ship#2 32"]"#);
}

#[test]
fn a_step_that_must_not_be_repeated_begins_when_that_is_durable() {
    let notes = notes();
    let seen = Arc::clone(&notes);
    let mut world = World::begin(move |ctx| {
        let notes = Arc::clone(&seen);
        async move {
            let once = ctx
                .step("once", || async {
                    note(&notes, "once");
                    Ok(1)
                })
                .at_most_once();
            Ok(once.await.map_or_else(|error| error.name().to_owned(), |one: u32| one.to_string()).into())
        }
    });
    assert_eq!((world.acts.clone(), noted(&notes).len()), (vec!["0 once starting".to_owned()], 0));
    // It may have been executed, for all that the next process knows.
    world.crash();
    world.settle();
    assert_eq!((world.output().as_str(), noted(&notes).len()), (r#""UnknownOutcome""#, 0));
    assert_eq!(world.acts, ["0 once = UnknownOutcome"]);
    world.crash();
    assert_eq!(world.output(), r#""UnknownOutcome""#);
}

#[test]
fn a_step_that_must_not_be_repeated_is_executed_once() {
    let notes = notes();
    let seen = Arc::clone(&notes);
    let mut world = World::begin(move |ctx| {
        let notes = Arc::clone(&seen);
        async move {
            ctx.step("once", || async {
                note(&notes, "once");
                Ok(1)
            })
            .at_most_once()
            .await
            .map(Value::from)
        }
    });
    world.step();
    assert_eq!(world.acts, ["0 once starting", "0 once = 1"]);
    world.crash();
    assert_eq!((world.output().as_str(), noted(&notes).len()), ("1", 1));
}

/// Fails so many times, then succeeds.
fn flaky(failures: u32, retry: Retry) -> (Code, Arc<AtomicU32>) {
    let tries = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&tries);
    let code = code(move |ctx| {
        let tries = Arc::clone(&seen);
        async move {
            let body = |info: super::super::StepInfo| {
                let tries = &tries;
                async move {
                    if tries.fetch_add(1, Ordering::Relaxed) < failures {
                        return Err(Error::new("Flaky", info.idempotency_key()));
                    }
                    Ok(info.attempt())
                }
            };
            ctx.step_with("x", body).retry(retry).await.map(Value::from)
        }
    });
    (code, tries)
}

#[test]
fn tries_are_steps_of_their_own_with_durable_waits_between() {
    let (code, tries) = flaky(2, Retry::default());
    let mut world = World::of(code);
    world.settle();
    assert_eq!(world.acts, ["0 x = Flaky", "1 x~2/wait 1000 ms"]);
    assert_eq!(world.waits(), Waits::Asleep);
    world.crash();
    world.succeed("x~2/wait", "null");
    assert_eq!(world.acts, ["2 x~2 = Flaky", "3 x~3/wait 2000 ms"]);
    world.crash();
    world.succeed("x~3/wait", "null");
    world.crash();
    assert_eq!((world.output().as_str(), tries.load(Ordering::Relaxed)), ("3", 3));
}

#[test]
fn tries_end_with_the_last_one_and_with_terminal_errors() {
    let (code, _) = flaky(9, Retry::times(1));
    let mut world = World::of(code);
    world.settle().succeed("x~2/wait", "null");
    assert_eq!(world.failure().error, "Flaky");

    let mut world = World::begin(|ctx| async move {
        let step = ctx.step("x", || async { Err::<(), _>(Error::terminal("Declined", "")) });
        step.retry(Retry::default()).await.map(Value::from)
    });
    world.settle();
    assert_eq!(world.failure().error, "Declined");
}

#[test]
fn all_tries_have_one_idempotency_key() {
    let (code, _) = flaky(9, Retry::times(1));
    let mut world = World::of(code);
    world.settle().succeed("x~2/wait", "null");
    let keys: Vec<String> = world
        .journal
        .iter()
        .filter_map(|fact| match fact {
            Fact::Ran { outcome, .. } => Outcome::from(outcome.clone()).err().map(|failure| failure.message),
            _ => None,
        })
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn values_are_recorded_with_what_follows_and_are_the_same_in_a_replay() {
    let mut world = World::begin(|ctx| async move {
        let (time, number) = (ctx.now(), ctx.random());
        let die: u8 = ctx.value("die", || 4);
        ctx.sleep(Duration::from_secs(1)).await?;
        Ok(serde_json::json!([
            time.duration_since(std::time::UNIX_EPOCH).expect("later").as_nanos() as u64,
            number,
            die
        ]))
    });
    world.settle();
    assert_eq!(world.waits(), Waits::Asleep);
    let before: Vec<String> = world.acts.clone();
    assert_eq!(before.len(), 4);
    world.crash();
    assert_eq!(world.acts, [""; 0]);
    world.succeed("sleep", "null");
    let first = world.output();
    world.crash();
    assert_eq!(world.output(), first);
    assert!(before[1].ends_with(first.split(',').nth(1).expect("a number")), "{before:?} {first}");
}

#[test]
fn a_status_and_a_log_are_told_by_the_first_execution_only() {
    let mut world = World::begin(|ctx| async move {
        ctx.set_status(&"begun");
        ctx.log("begun");
        ctx.sleep(Duration::from_secs(1)).await?;
        ctx.set_status(&"awake");
        ctx.log("awake");
        Ok(ctx.is_replaying().into())
    });
    assert_eq!((world.statuses.len(), world.machine.take_said().as_str()), (1, "begun\n"));
    world.crash();
    assert_eq!(world.statuses, [""; 0]);
    world.succeed("sleep", "null");
    assert_eq!((world.statuses.clone(), world.output().as_str()), (vec![r#""awake""#.to_owned()], "false"));
    assert_eq!(world.machine.take_said(), "awake\n");
}
