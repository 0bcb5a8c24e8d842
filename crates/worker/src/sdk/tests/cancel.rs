//! Cancellation.

use super::*;

#[test]
fn what_the_code_waits_for_is_cancelled_once_and_it_may_clean_up() {
    let code = code(|ctx| async move {
        let error = ctx.signal::<()>("never").await.expect_err("cancelled");
        assert!(error.is_cancelled());
        ctx.step("refund", || async { Ok(()) }).await?;
        ctx.sleep(Duration::from_secs(1)).await?;
        Err(error)
    });
    let mut world = World::of(code);
    world.cancel();
    assert_eq!(world.acts, ["0 signal never None", "0 aborted", "1 refund = null", "2 sleep 1000 ms"]);
    world.crash();
    assert_eq!(world.acts, [""; 0]);
    world.succeed("sleep", "null");
    assert_eq!(world.failure().error, "Cancelled");
    assert!(world.shared.core().told_to_stop);
}

#[test]
fn a_step_that_executes_ends_and_what_comes_after_it_is_cancelled() {
    let mut world = World::begin(|ctx| async move {
        let charge: u32 = ctx.step("charge", || async { Ok(7) }).await?;
        match ctx.step("ship", || async { Ok(()) }).await {
            Err(error) if error.is_cancelled() => {
                ctx.step("refund", || async { Ok(charge) }).await.map(Value::from)
            }
            other => other.map(Value::from),
        }
    });
    // Between the execution of `charge` and its record.
    world.undelivered.insert(0, Fact::CancelRequested {});
    let recorded = world.journal.pop().expect("a record");
    world.journal.extend([Fact::CancelRequested {}, recorded]);
    world.settle();
    assert_eq!(world.acts, ["0 charge = 7", "2 refund = 7"]);
    world.crash();
    assert_eq!((world.output().as_str(), world.acts.len()), ("7", 0));
}

#[test]
fn a_cancelled_wait_between_tries_ends_them() {
    let mut world = World::begin(|ctx| async move {
        let step = ctx.step("x", || async { Err::<(), _>(Error::new("Flaky", "")) });
        step.retry(Retry::default()).await.map(Value::from)
    });
    world.settle().cancel();
    assert_eq!(world.failure().error, "Cancelled");
}

#[test]
fn a_wait_that_the_server_gave_up_is_cancelled() {
    let mut world = World::begin(|ctx| async move {
        let error = ctx.call::<()>("task", &()).await.expect_err("cancelled");
        Ok(error.name().to_owned().into())
    });
    world.open.clear();
    world.happen(Fact::Aborted { tag: 0 });
    assert_eq!(world.settle().output(), r#""Cancelled""#);
    world.crash();
    assert_eq!(world.output(), r#""Cancelled""#);
}

#[test]
fn a_wait_that_began_after_the_cancellation_for_the_server_is_replayed() {
    let mut world = World::begin(|ctx| async move {
        let error = ctx.sleep(Duration::from_secs(1)).await.expect_err("cancelled");
        Ok(error.name().to_owned().into())
    });
    // The request to stop was on record before the sleep reached the server.
    world.journal.insert(0, Fact::CancelRequested {});
    world.crash();
    assert_eq!(world.output(), r#""Cancelled""#);
    assert_eq!(world.acts, ["0 aborted"]);
}
