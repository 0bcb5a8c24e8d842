//! The order in which code sees what has happened.

use futures_util::future::{Either, join, select};

use super::*;

/// A step that waits for the test to let it go on.
fn gated(ctx: &Ctx, name: &str, gate: &Gate) -> impl Future<Output = Result<u32>> + use<> {
    let gate = gate.clone();
    ctx.step(name, move || {
        let gate = gate.clone();
        async move {
            gate.await;
            Ok(1)
        }
    })
}

type Gate = futures_util::future::Shared<futures_util::future::BoxFuture<'static, ()>>;

fn gate() -> (tokio::sync::oneshot::Sender<()>, Gate) {
    use futures_util::FutureExt;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let gate = async move { drop(receiver.await) };
    (sender, gate.boxed().shared())
}

#[test]
fn steps_that_are_awaited_together_execute_together() {
    let ((open_a, gate_a), (open_b, gate_b)) = (gate(), gate());
    let mut world = World::begin(move |ctx| {
        let (gate_a, gate_b) = (gate_a.clone(), gate_b.clone());
        async move {
            let (a, b) = join(gated(&ctx, "a", &gate_a), gated(&ctx, "b", &gate_b)).await;
            Ok((a? + b?).into())
        }
    });
    assert_eq!((world.acts.len(), world.waits()), (0, Waits::Steps));
    open_b.send(()).expect("it waits");
    world.machine.poll_woken();
    world.flush();
    assert_eq!(world.acts, ["1 b = 1"]);
    open_a.send(()).expect("it waits");
    world.machine.poll_woken();
    world.flush();
    world.settle();
    assert_eq!(world.output(), "2");
}

#[test]
fn the_first_on_record_wins_a_race_whatever_is_ready_first() {
    let mut world = World::begin(|ctx| async move {
        let (a, b) = (ctx.signal::<u32>("a"), ctx.signal::<u32>("b"));
        // Both are begun, and the code looks elsewhere while both end.
        let mut race = select(a, b);
        let pause = ctx.sleep(Duration::from_secs(1));
        let pause = match select(&mut race, pause).await {
            Either::Left(_) => panic!("the pause ends first"),
            Either::Right((pause, _)) => pause,
        };
        pause?;
        ctx.step("look", || async { Ok(()) }).await?;
        Ok(match race.await {
            Either::Left((a, _)) => a?,
            Either::Right((b, _)) => b? * 10,
        }
        .into())
    });
    world.succeed("sleep", "null");
    assert_eq!(world.succeed("signal b", "2").output(), "20");
}

#[test]
fn of_two_that_ended_meanwhile_the_one_that_ended_first_is_seen() {
    let code = code(|ctx| async move {
        let mut a = ctx.signal::<u32>("a");
        let mut b = ctx.signal::<u32>("b");
        let pause = ctx.sleep(Duration::from_secs(1));
        let begun = select(select(&mut a, &mut b), pause).await;
        let Either::Right((Ok(()), _)) = begun else { panic!("the pause ends first") };
        // Nobody looks at them while they end.
        ctx.sleep(Duration::from_secs(1)).await?;
        Ok(match select(a, b).await {
            Either::Left((a, _)) => a?,
            Either::Right((b, _)) => b? * 10,
        }
        .into())
    });
    let mut world = World::of(code);
    world
        .succeed("sleep", "null")
        .succeed("signal b", "2")
        .succeed("signal a", "1")
        .succeed("sleep#2", "null");
    assert_eq!(world.output(), "20");
    world.crash();
    assert_eq!(world.output(), "20");
}

#[test]
fn a_step_that_loses_a_race_has_no_outcome_and_is_not_executed_again() {
    let notes = notes();
    let seen = Arc::clone(&notes);
    let (_open, never) = gate();
    let mut world = World::begin(move |ctx| {
        let (notes, never) = (Arc::clone(&seen), never.clone());
        async move {
            let slow = Box::pin(ctx.step("slow", || async {
                note(&notes, "slow");
                never.clone().await;
                Ok(())
            }));
            let limit = ctx.sleep(Duration::from_secs(1));
            match select(slow, limit).await {
                Either::Left(_) => Ok("slow".into()),
                Either::Right((limit, _)) => limit.map(|()| "late".into()),
            }
        }
    });
    world.succeed("sleep", "null");
    assert_eq!(world.output(), r#""late""#);
    world.crash();
    assert_eq!((world.output().as_str(), noted(&notes).len()), (r#""late""#, 1));
}
