//! Whatever a program does and wherever it is killed, it ends as it would have, and no recorded step is executed again.

use futures_util::future::{BoxFuture, Either, FutureExt, join_all, select};
use proptest::prelude::*;

use super::*;

/// A piece of a program.
#[derive(Debug, Clone)]
enum Op {
    Step,
    Once,
    Fails,
    Flaky,
    Sleep,
    Signal,
    Call,
    Value,
    All(Vec<Vec<Op>>),
    Race(Vec<Op>, Vec<Op>),
}

fn op() -> impl Strategy<Value = Op> {
    let leaf = prop_oneof![
        Just(Op::Step),
        Just(Op::Step),
        Just(Op::Once),
        Just(Op::Fails),
        Just(Op::Flaky),
        Just(Op::Sleep),
        Just(Op::Signal),
        Just(Op::Call),
        Just(Op::Value),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let branch = || prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            prop::collection::vec(branch(), 1..4).prop_map(Op::All),
            (branch(), branch()).prop_map(|(left, right)| Op::Race(left, right)),
        ]
    })
}

/// Executes a program and tells what it saw, in the order in which it saw it.
fn execute<'a>(
    ctx: &'a Ctx,
    ops: &'a [Op],
    seen: &'a Mutex<Vec<String>>,
    executed: &'a Notes,
) -> BoxFuture<'a, ()> {
    let say = move |text: String| seen.lock().expect("no panic").push(text);
    async move {
        for op in ops {
            match op {
                Op::Step => say(format!("{:?}", ctx.step_with("step", |info| done(info, executed)).await)),
                Op::Once => {
                    let outcome = ctx.step_with("once", |info| done(info, executed)).at_most_once().await;
                    // Whether it was cut off is a matter of where the process was killed.
                    say(format!(
                        "once {}",
                        outcome.is_ok() || outcome.is_err_and(|error| error.is_unknown_outcome())
                    ));
                }
                Op::Fails => {
                    let failed = ctx.step("fails", || async { Err::<(), _>(Error::terminal("No", "no")) });
                    say(format!("{:?}", failed.await));
                }
                Op::Flaky => {
                    let flaky = ctx.step_with("flaky", |info| async move {
                        if info.attempt() < 3 {
                            Err(Error::new("Flaky", "again"))
                        } else {
                            Ok(info.attempt())
                        }
                    });
                    say(format!("{:?}", flaky.retry(Retry::default()).await));
                }
                Op::Sleep => say(format!("{:?}", ctx.sleep(Duration::from_millis(7)).await)),
                Op::Signal => say(format!("{:?}", ctx.signal::<u32>("go").await)),
                Op::Call => say(format!("{:?}", ctx.call::<u32>("task", &1).await)),
                Op::Value => say(format!("{}", ctx.value::<u32>("value", || 3))),
                Op::All(branches) => {
                    join_all(branches.iter().map(|ops| execute(ctx, ops, seen, executed))).await;
                }
                Op::Race(left, right) => {
                    let race =
                        select(execute(ctx, left, seen, executed), execute(ctx, right, seen, executed));
                    say(if matches!(race.await, Either::Left(_)) { "left".into() } else { "right".into() });
                }
            }
        }
    }
    .boxed()
}

#[expect(clippy::unused_async, reason = "it is the body of a step")]
async fn done(info: super::super::StepInfo, executed: &Notes) -> Result<String> {
    note(executed, info.path());
    Ok(info.path().to_owned())
}

fn program(ops: Vec<Op>, executed: &Notes) -> Code {
    let executed = Arc::clone(executed);
    let ops = Arc::new(ops);
    code(move |ctx| {
        let (ops, executed) = (Arc::clone(&ops), Arc::clone(&executed));
        async move {
            let seen = Mutex::new(Vec::new());
            execute(&ctx, &ops, &seen, &executed).await;
            Ok(seen.into_inner().expect("no panic").into())
        }
    })
}

/// Runs a program to its end. `choices` say what happens next among what can, and where the process is killed.
fn play(
    ops: &[Op],
    choices: &[u8],
    kills: bool,
) -> std::result::Result<(String, Vec<String>), TestCaseError> {
    let executed = notes();
    let mut world = World::of(program(ops.to_vec(), &executed));
    let mut choices = choices.iter().copied().chain(std::iter::repeat(0)).enumerate();
    loop {
        match world.machine.standing() {
            Err(End::Returned(outcome)) => {
                let output = outcome.expect("programs succeed").get().to_owned();
                return Ok((output, noted(&executed)));
            }
            Err(End::Unreplayable(reason)) => return Err(TestCaseError::fail(reason)),
            Ok(_) => {}
        }
        let (turn, choice) = choices.next().expect("without end");
        prop_assert!(turn < 5_000, "it does not end: {:?} {:?}", world.open, world.journal);
        if kills && choice % 4 == 3 {
            world.crash();
            continue;
        }
        if world.step() {
            continue;
        }
        let place = usize::from(choice / 4) % world.open.len().max(1);
        let Some(path) = world.open.values().nth(place).cloned() else {
            return Err(TestCaseError::fail(format!("nothing can happen: {:?}", world.acts)));
        };
        world.succeed(&path, "5");
    }
}

/// The records of a run in their order, each step's path.
fn recorded(journal: &[Fact]) -> Vec<&str> {
    journal
        .iter()
        .filter_map(|fact| match fact {
            Fact::Ran { path, .. } => Some(path.as_str()),
            _ => None,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn killed_anywhere_a_program_goes_on_as_if_it_had_not_been(
        ops in prop::collection::vec(op(), 1..6),
        choices in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let executed = notes();
        let mut world = World::of(program(ops, &executed));
        let mut choices = choices.iter().copied().chain(std::iter::repeat(0));
        for _ in 0..5_000 {
            match world.machine.standing() {
                Err(End::Returned(_)) => break,
                Err(End::Unreplayable(reason)) => return Err(TestCaseError::fail(reason)),
                Ok(_) => {}
            }
            // Another process replays the journal as it stands now: it must stand where this one does.
            let twin = twin(&world);
            prop_assert!(twin.is_ok(), "{:?}", twin);
            let choice = choices.next().expect("without end");
            if choice % 4 == 3 {
                world.crash();
            } else if !world.step() {
                let place = usize::from(choice / 4) % world.open.len().max(1);
                let path = world.open.values().nth(place).cloned();
                prop_assert!(path.is_some(), "nothing can happen: {:?}", world.acts);
                world.succeed(&path.unwrap_or_default(), "5");
            }
        }
        let output = world.output();
        // A last replay of everything: the same outcome, and no step is executed.
        let before = noted(&executed).len();
        world.crash();
        prop_assert_eq!(world.output(), output);
        prop_assert_eq!(noted(&executed).len(), before);
        let recorded = recorded(&world.journal);
        let mut once = recorded.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), recorded.len(), "a step was recorded twice: {:?}", recorded);
    }

    #[test]
    fn without_races_kills_change_nothing(
        ops in prop::collection::vec(op().prop_filter("no race", |op| !races(op)), 1..5),
        choices in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let quiet = play(&ops, &[], false)?;
        let killed = play(&ops, &choices, true)?;
        let sorted = |(output, _): &(String, Vec<String>)| {
            let mut seen: Vec<String> = serde_json::from_str(output).expect("a list");
            seen.sort();
            seen
        };
        prop_assert_eq!(sorted(&quiet), sorted(&killed));
    }
}

fn races(op: &Op) -> bool {
    match op {
        Op::Race(..) => true,
        Op::All(branches) => branches.iter().flatten().any(races),
        _ => false,
    }
}

/// Replays what is on record, with steps that must not be executed: they all are on record, or are not known to be executed.
fn twin(world: &World) -> std::result::Result<(), String> {
    let mut twin = World::unbegun(Arc::clone(&world.code), world.journal.clone());
    twin.shared.core().mode = super::super::core::Mode::Replaying;
    let history = twin.history();
    twin.machine.replay(history);
    match twin.machine.standing() {
        Err(End::Unreplayable(reason)) => Err(reason),
        _ => Ok(()),
    }
}
