//! Code that is not what it was, or never was deterministic.

use super::*;

fn steps(names: &'static [&'static str]) -> Code {
    code(move |ctx| async move {
        for name in names {
            ctx.step(name, || async { Ok(()) }).await?;
        }
        ctx.sleep(Duration::from_secs(1)).await?;
        Ok(Value::Null)
    })
}

/// What is said of a run that began with the one code and goes on with the other.
fn changed(before: Code, after: Code) -> String {
    let mut world = World::of(before);
    world.settle();
    world.crash_into(after);
    assert_eq!(world.acts, [""; 0], "nothing is done that may be wrong");
    world.unreplayable()
}

#[test]
fn another_name_in_a_steps_place_is_told() {
    let reason = changed(steps(&["reserve", "charge"]), steps(&["reserve", "pay"]));
    assert!(
        reason.starts_with("act 1 of the journal is `charge`, and the code now asks for a step, `pay`."),
        "{reason}"
    );
}

#[test]
fn a_step_that_is_missing_or_new_is_told() {
    let reason = changed(steps(&["a", "b"]), steps(&["a"]));
    assert!(reason.contains("is `b`, and the code now asks for a sleep, `sleep`"), "{reason}");
    let reason = changed(steps(&["a"]), steps(&["a", "b"]));
    assert!(reason.contains("is `sleep`, and the code now asks for a step, `b`"), "{reason}");
}

#[test]
fn another_kind_under_the_same_name_is_told() {
    let call = code(|ctx| async move { ctx.call::<()>("a", &()).await.map(Value::from) });
    let reason = changed(steps(&["a"]), call);
    assert!(reason.contains("the code now asks for a call of that name"), "{reason}");
    let value = code(|ctx| async move {
        let _: u32 = ctx.value("b", || 1);
        ctx.sleep(Duration::from_secs(1)).await.map(Value::from)
    });
    let reason = changed(steps(&["a"]), value);
    assert!(reason.contains("the code now asks for a value, `b`"), "{reason}");
}

#[test]
fn code_that_ends_before_its_history_is_told() {
    let reason = changed(steps(&["a"]), code(|_| async { Ok(Value::Null) }));
    assert!(reason.contains("act 0 of the journal is `a`, and the code does not get there"), "{reason}");
}

#[test]
fn code_that_no_longer_awaits_what_it_asks_for_is_told() {
    let after = code(|ctx| async move {
        let forgotten = ctx.step("a", || async { Ok(()) });
        ctx.sleep(Duration::from_secs(1)).await?;
        drop(forgotten);
        Ok(Value::Null)
    });
    let reason = changed(steps(&["a"]), after);
    assert!(reason.contains("the code does not await it"), "{reason}");
}

#[test]
fn code_that_goes_on_behind_its_history_may_change() {
    let mut world = World::of(steps(&["a"]));
    world.settle();
    world.crash_into(code(|ctx| async move {
        ctx.step("a", || async { Ok(()) }).await?;
        ctx.sleep(Duration::from_secs(1)).await?;
        ctx.step("new", || async { Ok("new".to_owned()) }).await.map(Value::from)
    }));
    assert_eq!(world.succeed("sleep", "null").output(), r#""new""#);
}

#[test]
fn awaiting_nothing_of_the_context_is_told() {
    let world = World::begin(|_| async {
        std::future::pending::<()>().await;
        Ok(Value::Null)
    });
    assert!(world.unreplayable().contains("something that its context did not give"));
}

#[test]
fn getting_on_by_something_else_than_the_journal_is_told() {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let mut world = World::begin(move |ctx| {
        let receiver = receiver.lock().expect("no panic").take().expect("begun once");
        async move {
            let wait = std::pin::pin!(ctx.signal::<()>("go"));
            futures_util::future::select(wait, receiver).await;
            ctx.step("x", || async { Ok(()) }).await.map(Value::from)
        }
    });
    assert_eq!(world.waits(), Waits::Others);
    sender.send(()).expect("it waits");
    world.machine.poll_woken();
    assert!(world.unreplayable().contains("something that its context did not give"));
    world.flush();
}

#[test]
fn a_failure_is_void_when_the_run_is_resumed() {
    let ok = Arc::new(Mutex::new(false));
    let works = Arc::clone(&ok);
    let mut world = World::begin(move |ctx| {
        let works = *works.lock().expect("no panic");
        async move {
            ctx.step("a", || async { Ok(()) }).await?;
            let x = ctx.step("x", || async { if works { Ok(5) } else { Err(Error::new("Broken", "")) } });
            let wait = ctx.sleep(Duration::from_secs(3));
            let (x, wait) = futures_util::future::join(x, wait).await;
            wait?;
            x.map(Value::from)
        }
    });
    world.settle();
    world.open.clear();
    world.journal.extend([Fact::Aborted { tag: 2 }, Fact::Reopened { again: vec![1, 2] }]);
    *ok.lock().expect("no panic") = true;
    world.crash();
    assert_eq!(world.acts, ["2 sleep 3000 ms", "1 x = 5"]);
    world.settle().succeed("sleep", "null");
    assert_eq!(world.output(), "5");
}

#[test]
fn a_step_within_a_step_is_refused_and_counts_for_nothing() {
    let mut world = World::begin(|ctx| async move {
        let outer = ctx.step("outer", || async { ctx.step("inner", || async { Ok(1) }).await });
        let error = outer.await.expect_err("refused");
        let after = ctx.step("after", || async { Ok(ctx.random() & 1) }).await?;
        Ok(format!("{} {}", error.name(), after < 2).into())
    });
    world.settle();
    assert_eq!(world.output(), r#""NestedStep true""#);
    world.crash();
    assert_eq!(world.output(), r#""NestedStep true""#);
}
