//! Workflows of the worker's own process: parking, losing the server, stopping, going.

use std::sync::Arc;
use std::time::Duration;

use riverrun_kernel::{AttemptId, Json, Lost, RunId, Slot, StepId, Token};
use riverrun_wire::worker::{FromWorker, Offer, ToWorker};
use riverrun_wire::workflow::{Act, Activation, Event, Fact, Outcome};
use riverrun_worker::sdk::{Builder, Ctx, Result};
use tokio::sync::Notify;

use crate::fake::{Fake, Peer, attempt, output, seq, within};

/// Offers an attempt at the workflow `code`, as its run's journal stands at `at`.
fn offer(number: u32, fresh: bool, at: u64) -> ToWorker {
    ToWorker::Offer(Box::new(Offer {
        attempt: attempt(number),
        token: Token([number as u8; 16]),
        function: "code".to_owned(),
        input: Json::null(),
        definition: "code".to_owned(),
        path: "code".to_owned(),
        timeout_ms: None,
        idempotency_key: "5a".to_owned(),
        callback: None,
        workflow: Some(Activation { fresh, at }),
    }))
}

fn events(number: u32, facts: &[(u64, Fact)]) -> ToWorker {
    ToWorker::Events { attempt: attempt(number), events: lines(facts) }
}

fn history(number: u32, facts: &[(u64, Fact)], upto: u64) -> ToWorker {
    ToWorker::History { attempt: attempt(number), events: lines(facts), upto, last: true }
}

fn lines(facts: &[(u64, Fact)]) -> Vec<Event> {
    facts.iter().map(|(at, fact)| Event { at: *at, fact: fact.clone() }).collect()
}

fn ran(tag: u64, path: &str, output: &str) -> Fact {
    Fact::Ran { tag, path: path.to_owned(), outcome: value(output) }
}

fn value(output: &str) -> Outcome {
    Outcome::Output(Json::parse(output).expect("JSON"))
}

/// The next report, acknowledged: the first act's number and what its acts are about.
async fn progress(peer: &mut Peer) -> (u64, Vec<String>) {
    match peer.outcome().await {
        FromWorker::Progress { first, acts, .. } => (first, acts.iter().map(shown).collect()),
        other => panic!("{other:?} is no progress"),
    }
}

fn shown(act: &Act) -> String {
    match act {
        Act::Ran { path, .. } => format!("ran {path}"),
        Act::Sleep { path, .. } | Act::Signal { path, .. } => path.clone(),
        other => format!("{other:?}"),
    }
}

async fn two_steps(ctx: Ctx, (): ()) -> Result<u32> {
    let a: u32 = ctx.step("a", || async { Ok(1) }).await?;
    let b: u32 = ctx.step("b", || async { Ok(2) }).await?;
    Ok(a + b)
}

async fn waits(ctx: Ctx, (): ()) -> Result<u32> {
    let signal = ctx.signal::<u32>("go").await;
    match signal {
        Err(error) if error.is_cancelled() => {
            ctx.step("clean up", || async { Ok(()) }).await?;
            Err(error)
        }
        other => other,
    }
}

/// A workflow whose step ends when it is let.
fn gated(gate: &Arc<Notify>) -> impl FnOnce(Builder) -> Builder + use<> {
    let gate = Arc::clone(gate);
    move |worker| {
        worker.workflow("code", move |ctx: Ctx, (): ()| {
            let gate = Arc::clone(&gate);
            async move {
                ctx.step("a", || async {
                    gate.notified().await;
                    Ok(())
                })
                .await?;
                ctx.step("b", || async { Ok(()) }).await
            }
        })
    }
}

#[tokio::test]
async fn a_workflow_reports_its_steps_and_says_how_many_with_its_outcome() {
    let mut fake = Fake::new(&[]).await;
    let mut peer = fake.welcomed_functions(|worker| worker.workflow("code", two_steps)).await;
    peer.send(&[offer(1, true, 3)]).await;
    assert_eq!(progress(&mut peer).await, (1, vec!["ran a".to_owned()]));
    peer.send(&[events(1, &[(4, Fact::Recorded { tag: 0 })])]).await;
    assert_eq!(progress(&mut peer).await, (2, vec!["ran b".to_owned()]));
    peer.send(&[events(1, &[(5, Fact::Recorded { tag: 1 })])]).await;
    let report = peer.outcome().await;
    assert!(matches!(report, FromWorker::Done { acts: 2, .. }), "{report:?}");
    assert_eq!(output(&report), "3");
}

#[tokio::test]
async fn what_was_missed_while_the_connection_was_lost_is_learnt_from_the_history() {
    let mut fake = Fake::new(&[]).await;
    let mut peer = fake.welcomed_functions(|worker| worker.workflow("code", two_steps)).await;
    peer.send(&[offer(1, true, 3)]).await;
    // It is recorded, and neither the acknowledgement nor the event arrives.
    assert_eq!(seq(&peer.next().await), 1);
    drop(peer);
    let mut peer = fake.accept().await;
    let FromWorker::Hello { attempts, .. } = peer.hello().await else { unreachable!() };
    assert_eq!(attempts.len(), 1, "an attempt is claimed once, whatever it has reported");
    peer.welcome(&[attempt(1)], &[]).await;
    let asked = FromWorker::WantHistory { attempt: attempt(1), token: Token([1; 16]) };
    assert_eq!(peer.next().await, asked);
    assert_eq!(progress(&mut peer).await, (1, vec!["ran a".to_owned()]));
    // An event overtakes the history, as far as the worker can tell.
    peer.send(&[history(1, &[(4, ran(0, "a", "1"))], 4)]).await;
    assert_eq!(progress(&mut peer).await, (2, vec!["ran b".to_owned()]));
    peer.send(&[events(1, &[(4, Fact::Recorded { tag: 0 }), (5, Fact::Recorded { tag: 1 })])]).await;
    assert_eq!(output(&peer.outcome().await), "3");
}

#[tokio::test]
async fn a_report_that_was_refused_ends_the_execution() {
    let mut fake = Fake::new(&[]).await;
    let mut peer = fake.welcomed_functions(|worker| worker.workflow("code", two_steps)).await;
    peer.send(&[offer(1, true, 3)]).await;
    assert_eq!(seq(&peer.next().await), 1);
    let refused = ToWorker::Refused { seq: 1, code: "LeaseLost".to_owned(), message: "lost".to_owned() };
    peer.send(&[refused, ToWorker::Ack { seq: 1 }, events(1, &[(4, Fact::Recorded { tag: 0 })])]).await;
    // The next one is the first to be heard of again.
    peer.send(&[offer(2, true, 3)]).await;
    let report = peer.outcome().await;
    assert!(
        matches!(&report, FromWorker::Progress { attempt: of, seq: 2, .. } if *of == attempt(2)),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_workflow_that_waits_is_let_go_and_found_again() {
    let mut fake = Fake::new(&[]).await;
    let mut peer = fake
        .welcomed_functions(|worker| worker.workflow("code", waits).park_after(Duration::from_millis(10)))
        .await;
    peer.send(&[offer(1, true, 3)]).await;
    assert_eq!(progress(&mut peer).await.1, ["signal go"]);
    let report = peer.outcome().await;
    assert!(matches!(report, FromWorker::Parked { seen: 3, acts: 1, .. }), "{report:?}");

    let mut again = attempt(1);
    again.attempt = 2;
    let ToWorker::Offer(mut second) = offer(1, false, 9) else { unreachable!() };
    second.attempt = again;
    peer.send(&[ToWorker::Offer(second)]).await;
    assert!(matches!(peer.next().await, FromWorker::WantHistory { attempt, .. } if attempt == again));
    // What has just happened overtakes the history.
    let ended = Event { at: 12, fact: Fact::Ended { tag: 0, outcome: value("5") } };
    let begun = Event { at: 4, fact: Fact::Begun { tag: 0, path: "signal go".to_owned() } };
    peer.send(&[
        ToWorker::Events { attempt: again, events: vec![ended] },
        ToWorker::History { attempt: again, events: vec![begun], upto: 9, last: true },
    ])
    .await;
    assert_eq!(output(&peer.outcome().await), "5");
}

#[tokio::test]
async fn a_cancelled_workflow_cleans_up_and_stops() {
    let mut fake = Fake::new(&[]).await;
    let mut peer = fake.welcomed_functions(|worker| worker.workflow("code", waits)).await;
    peer.send(&[offer(1, true, 3)]).await;
    assert_eq!(progress(&mut peer).await.1, ["signal go"]);
    let stop = ToWorker::Stop { attempt: attempt(1), grace_ms: 60_000 };
    peer.send(&[stop, events(1, &[(5, Fact::CancelRequested {}), (6, Fact::Aborted { tag: 0 })])]).await;
    let (first, acts) = progress(&mut peer).await;
    assert_eq!((first, acts.last().map(String::as_str)), (2, Some("ran clean up")));
    peer.send(&[events(1, &[(7, Fact::Recorded { tag: 1 })])]).await;
    let report = peer.outcome().await;
    assert!(matches!(report, FromWorker::Stopped { .. }), "{report:?}");
}

#[tokio::test]
async fn a_workflow_that_does_not_heed_a_cancellation_is_dropped_after_the_grace() {
    let mut fake = Fake::new(&[]).await;
    let gate = Arc::new(Notify::new());
    let mut peer = fake.welcomed_functions(gated(&gate)).await;
    peer.send(&[offer(1, true, 3), ToWorker::Stop { attempt: attempt(1), grace_ms: 10 }]).await;
    peer.send(&[events(1, &[(4, Fact::CancelRequested {})])]).await;
    let report = peer.outcome().await;
    assert!(matches!(report, FromWorker::Stopped { .. }), "{report:?}");
}

#[tokio::test]
async fn a_shutdown_lets_a_step_end_and_gives_the_run_back() {
    let mut fake = Fake::new(&[]).await;
    let gate = Arc::new(Notify::new());
    let mut peer = fake.welcomed_functions(gated(&gate)).await;
    peer.send(&[offer(1, true, 3)]).await;
    // A second one is given back at once, for it had nothing to do here yet.
    peer.send(&[offer(2, false, 3)]).await;
    assert!(matches!(peer.next().await, FromWorker::WantHistory { .. }));
    fake.shut_down();
    assert_eq!(peer.next().await, FromWorker::Draining {});
    assert_eq!(returned(&peer.outcome().await), attempt(2));
    gate.notify_one();
    assert_eq!(progress(&mut peer).await.1, ["ran a"]);
    peer.send(&[events(1, &[(4, Fact::Recorded { tag: 0 })])]).await;
    assert_eq!(returned(&peer.outcome().await), attempt(1));
    assert_eq!(peer.next().await, FromWorker::Bye {});
    fake.ended().await.expect("a good end");
}

fn returned(report: &FromWorker) -> AttemptId {
    match report {
        FromWorker::Lost { attempt, reason: Lost::Returned, .. } => *attempt,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_run_that_this_worker_has_no_code_for_is_held_for_repair() {
    let mut fake = Fake::new(&[]).await;
    let mut peer = fake.welcomed_functions(|worker| worker.workflow("other", waits)).await;
    peer.send(&[offer(1, true, 3)]).await;
    let report = peer.outcome().await;
    assert!(
        matches!(&report, FromWorker::Unreplayable { reason, .. } if reason.contains("no workflow `code`")),
        "{report:?}"
    );
}

#[tokio::test]
async fn sixty_four_runs_execute_side_by_side() {
    const RUNS: u32 = 64;
    let mut fake = Fake::new(&[]).await;
    let mut peer = fake.welcomed_functions(|worker| worker.workflow("code", two_steps).slots(RUNS)).await;
    let offers: Vec<ToWorker> = (1..=RUNS).map(|number| offer(number, true, 3)).collect();
    peer.send(&offers).await;
    let mut done = 0;
    while done < RUNS {
        let report = within(peer.read()).await.expect("a message");
        match &report {
            FromWorker::Progress { attempt, acts, .. } => {
                let Some(Act::Ran { tag, .. }) = acts.last() else { panic!("{acts:?}") };
                let event = Event { at: 4 + tag, fact: Fact::Recorded { tag: *tag } };
                peer.send(&[
                    ToWorker::Ack { seq: seq(&report) },
                    ToWorker::Events { attempt: *attempt, events: vec![event] },
                ])
                .await;
            }
            FromWorker::Done { .. } => done += 1,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn ids_of_steps_are_those_that_the_server_makes() {
    let mut fake = Fake::new(&[]).await;
    let mut peer = fake
        .welcomed_functions(|worker| {
            worker.workflow("code", |ctx: Ctx, (): ()| async move {
                ctx.step_with("pay", |step| async move { Ok(step.idempotency_key()) }).await
            })
        })
        .await;
    peer.send(&[offer(1, true, 3)]).await;
    let FromWorker::Progress { acts, .. } = peer.outcome().await else { panic!("no progress") };
    let run = RunId::new(1, Slot(0), 1);
    assert_eq!(attempt(1), AttemptId { run, step: StepId(1), attempt: 1 });
    let expected = format!("\"{}\"", riverrun_kernel::idempotency_key(run, "pay"));
    assert!(
        matches!(&acts[0], Act::Ran { outcome: Outcome::Output(key), .. } if key.get() == expected),
        "{acts:?}"
    );
}
