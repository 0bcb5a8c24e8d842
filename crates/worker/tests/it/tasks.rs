//! Tasks that are functions of the worker's own process.

use std::time::Duration;

use riverrun_kernel::Lost;
use riverrun_wire::worker::{FromWorker, ToWorker};
use riverrun_worker::WorkerError;
use riverrun_worker::sdk::{Error, Result, TaskCtx, Worker};

use crate::fake::{Fake, Peer, attempt, failure, offer, output, seq};

async fn add(_: TaskCtx, (a, b): (u32, u32)) -> Result<u32> {
    Ok(a + b)
}

async fn nothing(_: TaskCtx, (): ()) -> Result<()> {
    Ok(())
}

async fn told(ctx: TaskCtx, (): ()) -> Result<String> {
    ctx.log(format!("{} {}", ctx.path(), ctx.definition())).await;
    Ok(format!("{} {}", ctx.attempt(), ctx.idempotency_key()))
}

async fn breaks(_: TaskCtx, how: String) -> Result<()> {
    match how.as_str() {
        "panic" => panic!("out of luck"),
        "io" => Err(std::io::Error::other("no disk"))?,
        how => return Err(Error::terminal("Broken", how)),
    }
    Ok(())
}

async fn heeds(ctx: TaskCtx, (): ()) -> Result<()> {
    ctx.log("begun").await;
    ctx.cancelled().await;
    Err(Error::terminal("Cancelled", "it was told to"))
}

async fn heedless(ctx: TaskCtx, (): ()) -> Result<()> {
    ctx.log("begun").await;
    std::future::pending().await
}

async fn start(fake: &mut Fake) -> Peer {
    fake.welcomed_functions(|worker| {
        worker
            .task("add", add)
            .task("nothing", nothing)
            .task("told", told)
            .task("breaks", breaks)
            .task("heeds", heeds)
            .task("heedless", heedless)
            .timeout_grace(Duration::from_millis(20))
            .drain_timeout(Duration::from_millis(100))
    })
    .await
}

/// Waits until an attempt has printed something.
async fn begun(peer: &mut Peer) {
    while !peer.logs.contains("begun") {
        if let Some(FromWorker::Log { text, .. }) = peer.read().await {
            peer.logs.push_str(&text);
        }
    }
}

#[tokio::test]
async fn a_task_gets_its_input_and_returns_its_output() {
    let mut fake = Fake::new(&[]).await;
    let mut peer = start(&mut fake).await;
    assert_eq!(output(&peer.call(1, "add", "[1, 2]").await), "3");
    assert_eq!(output(&peer.call(2, "nothing", "{}").await), "null");
    let report = peer.call(3, "told", "null").await;
    assert_eq!(output(&report), format!(r#""{} 5a""#, attempt(3)));
    assert_eq!(peer.logs, "step polling\n");
}

#[tokio::test]
async fn a_task_fails_with_what_went_wrong() {
    let mut fake = Fake::new(&[]).await;
    let mut peer = start(&mut fake).await;
    let report = peer.call(1, "breaks", r#""panic""#).await;
    assert_eq!(failure(&report), ("Panic", "the task panicked: out of luck"));
    let report = peer.call(2, "breaks", r#""io""#).await;
    assert_eq!(failure(&report), ("io::Error", "no disk"));
    let report = peer.call(3, "breaks", r#""wood""#).await;
    assert!(matches!(&report, FromWorker::Failed { failure, .. } if !failure.retryable), "{report:?}");
    let report = peer.call(4, "breaks", "5").await;
    assert_eq!(failure(&report).0, "InvalidInput");
    let report = peer.call(5, "unheard/of", "5").await;
    assert_eq!(failure(&report), ("UnknownFunction", "this worker has no task `unheard/of`"));
}

#[tokio::test]
async fn a_task_is_dropped_some_time_after_its_time_limit() {
    let mut fake = Fake::new(&[]).await;
    let mut peer = start(&mut fake).await;
    peer.send(&[offer(1, "heedless", "null", Some(10)), offer(2, "heeds", "null", Some(10))]).await;
    let mut ends: Vec<(&str, bool)> = Vec::new();
    let reports = [peer.outcome().await, peer.outcome().await];
    for report in &reports {
        let (error, message) = failure(report);
        ends.push((error, message.ends_with("its future was dropped")));
    }
    ends.sort_unstable();
    assert_eq!(ends, [("Timeout", false), ("Timeout", true)]);
}

#[tokio::test]
async fn a_task_that_is_told_to_stop_may_clean_up() {
    let mut fake = Fake::new(&[]).await;
    let mut peer = start(&mut fake).await;
    for (number, function, grace_ms) in [(1, "heeds", 60_000), (2, "heedless", 10)] {
        peer.logs.clear();
        peer.send(&[offer(number, function, "null", None)]).await;
        begun(&mut peer).await;
        peer.send(&[ToWorker::Stop { attempt: attempt(number), grace_ms }]).await;
        let report = peer.outcome().await;
        assert!(matches!(report, FromWorker::Stopped { .. }), "{report:?}");
    }
}

#[tokio::test]
async fn a_task_goes_on_over_a_lost_connection_and_is_cut_off_by_a_shutdown() {
    let mut fake = Fake::new(&[]).await;
    let mut peer = start(&mut fake).await;
    peer.send(&[offer(1, "heedless", "null", None)]).await;
    begun(&mut peer).await;
    drop(peer);
    let mut peer = fake.accept().await;
    let FromWorker::Hello { attempts, .. } = peer.hello().await else { unreachable!() };
    assert_eq!(attempts[0].attempt, attempt(1));
    peer.welcome(&[attempt(1)], &[]).await;
    assert_eq!(output(&peer.call(2, "add", "[1, 2]").await), "3");
    fake.shut_down();
    assert_eq!(peer.next().await, FromWorker::Draining {});
    let report = peer.outcome().await;
    assert!(matches!(report, FromWorker::Lost { reason: Lost::Bystander, .. }), "{report:?}");
    assert_eq!(seq(&report), 2);
    assert_eq!(peer.next().await, FromWorker::Bye {});
    fake.ended().await.expect("a good end");
}

#[tokio::test]
async fn a_worker_that_makes_no_sense_is_not_built() {
    let error = Worker::builder("http://127.0.0.1:1").build().expect_err("nothing to do");
    assert!(matches!(error, WorkerError::NoWork));
    let twice = Worker::builder("http://127.0.0.1:1").task("add", add).task("add", add);
    assert!(twice.build().expect_err("twice").to_string().contains("two functions are called `add`"));
    let address = Worker::builder("127.0.0.1").task("add", add).build().expect_err("no address");
    assert!(address.to_string().contains("http://HOST:PORT"));
}
