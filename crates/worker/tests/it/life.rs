//! The life of a worker: starting, losing the server, coming back, going.

use std::time::Duration;

use riverrun_kernel::Lost;
use riverrun_wire::worker::{FromWorker, Function, ToWorker};

use crate::fake::{Fake, Peer, attempt, failure, offer, output, seq, within};

const TASKS: &str = r"
import riverrun, time, pathlib
@riverrun.task
def add(a, b=2): return a + b
@riverrun.task
def until(file, value=None):
    while not pathlib.Path(file).exists(): time.sleep(0.01)
    return value
";

#[tokio::test]
async fn a_broken_file_is_announced_and_the_others_work() {
    let mut fake = Fake::new(&[
        ("shop/good.py", "def handler(event, context):\n    return 1\n"),
        ("shop/syntax.py", "def handler(event, context)\n    return 1\n"),
        ("shop/missing.py", "import no_such_module\ndef handler(event, context): pass\n"),
        ("quits.py", "import sys, riverrun\nsys.exit(1)\n@riverrun.task\ndef quits(): pass\n"),
    ])
    .await;
    fake.start();
    let mut peer = fake.accept().await;
    let FromWorker::Hello { functions, slots, protocol, .. } = peer.hello().await else { unreachable!() };
    assert_eq!((slots, protocol), (2, 1));
    let broken =
        |name: &str| functions.iter().find(|f: &&Function| f.name == name).and_then(|f| f.broken.clone());
    assert_eq!(broken("shop/good"), None);
    assert!(broken("shop/syntax").expect("broken").contains("syntax.py:1"), "{functions:?}");
    assert!(broken("shop/missing").expect("broken").starts_with("ModuleNotFoundError"), "{functions:?}");
    assert!(broken("quits").expect("broken").starts_with("SystemExit"), "{functions:?}");
    peer.welcome(&[], &[]).await;
    assert_eq!(output(&peer.call(1, "shop/good", "{}").await), "1");
    let report = peer.call(2, "shop/syntax", "{}").await;
    assert_eq!(failure(&report).0, "SyntaxError");
    assert!(failure(&report).1.contains("syntax.py:1: expected ':'"), "{report:?}");
}

#[tokio::test]
async fn after_a_lost_connection_attempts_go_on_and_reports_come_again() {
    let mut fake = Fake::new(&[("tasks.py", TASKS)]).await;
    let mut peer = fake.welcomed().await;
    let gate = fake.folder().join("gate");
    let input = format!(r#"{{"file": {:?}, "value": 5}}"#, gate.display().to_string());
    peer.send(&[offer(1, "until", &input, None), offer(2, "add", r#"{"a": 1}"#, None)]).await;
    let report = peer.next().await;
    assert_eq!(output(&report), "3");
    // It was received and not acknowledged: the server dies.
    drop(peer);

    let mut peer = fake.accept().await;
    let FromWorker::Hello { attempts, .. } = peer.hello().await else { unreachable!() };
    let claimed: Vec<_> = attempts.iter().map(|claim| claim.attempt).collect();
    assert_eq!(claimed, [attempt(1), attempt(2)]);
    peer.welcome(&[attempt(1), attempt(2)], &[]).await;
    let again = peer.outcome().await;
    assert_eq!((output(&again), seq(&again)), ("3", 1));
    std::fs::write(&gate, "").expect("a file");
    let report = peer.outcome().await;
    assert_eq!((output(&report), seq(&report)), ("5", 2));
}

#[tokio::test]
async fn what_the_server_drops_is_killed_and_not_reported() {
    let mut fake = Fake::new(&[("tasks.py", TASKS)]).await;
    fake.config.slots = 1;
    let mut peer = fake.welcomed().await;
    let never = r#"{"file": "/nonexistent/file"}"#;
    peer.send(&[offer(1, "until", never, None), offer(2, "until", never, None)]).await;
    drop(peer);
    let mut peer = fake.accept().await;
    let FromWorker::Hello { attempts, .. } = peer.hello().await else { unreachable!() };
    assert!(attempts.len() <= 2);
    peer.welcome(&[], &[attempt(1), attempt(2)]).await;
    // The one slot is free again.
    let report = peer.call(3, "add", r#"{"a": 1}"#).await;
    assert_eq!((output(&report), seq(&report)), ("3", 1));
}

#[tokio::test]
async fn a_shutdown_lets_attempts_finish_and_returns_what_has_not_begun() {
    let mut fake = Fake::new(&[("tasks.py", TASKS)]).await;
    fake.config.slots = 1;
    let mut peer = fake.welcomed().await;
    let gate = fake.folder().join("gate");
    let input = format!(r#"{{"file": {:?}, "value": 5}}"#, gate.display().to_string());
    assert_eq!(output(&peer.call(9, "add", r#"{"a": 1}"#).await), "3");
    peer.send(&[offer(1, "until", &input, None), offer(2, "until", &input, None)]).await;
    // A stop that names nobody: once something else is answered, both offers have been taken in.
    peer.send(&[offer(3, "add", r#"{"a": 1}"#, None), ToWorker::Stop { attempt: attempt(3), grace_ms: 1 }])
        .await;
    assert!(matches!(peer.outcome().await, FromWorker::Stopped { .. }));
    fake.shut_down();
    assert_eq!(peer.next().await, FromWorker::Draining {});
    let returned = peer.outcome().await;
    assert!(
        matches!(returned, FromWorker::Lost { reason: Lost::Returned, attempt: which, .. } if which == attempt(2))
    );
    std::fs::write(&gate, "").expect("a file");
    assert_eq!(output(&peer.outcome().await), "5");
    assert_eq!(peer.next().await, FromWorker::Bye {});
    fake.ended().await.expect("a good end");
}

/// Shuts down while a call never ends, and returns the connection before the report on that call.
async fn cut_off_after(fake: &mut Fake, drain_timeout: Duration) -> Peer {
    fake.config.drain_timeout = drain_timeout;
    let mut peer = fake.welcomed().await;
    peer.send(&[offer(1, "until", r#"{"file": "/nonexistent/file"}"#, None)]).await;
    assert_eq!(output(&peer.call(2, "add", r#"{"a": 1}"#).await), "3");
    fake.shut_down();
    assert_eq!(peer.next().await, FromWorker::Draining {});
    peer
}

/// What had begun may have had its effect: only what never began is `returned`.
async fn is_a_bystander_of_a_shutdown_after(drain_timeout: Duration) {
    let mut fake = Fake::new(&[("tasks.py", TASKS)]).await;
    let mut peer = cut_off_after(&mut fake, drain_timeout).await;
    let report = peer.outcome().await;
    assert!(matches!(report, FromWorker::Lost { reason: Lost::Bystander, .. }), "{report:?}");
    assert_eq!(peer.next().await, FromWorker::Bye {});
    fake.ended().await.expect("a good end");
}

#[tokio::test]
async fn what_does_not_finish_before_a_shutdown_is_cut_off_and_not_called_unbegun() {
    is_a_bystander_of_a_shutdown_after(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn without_time_to_drain_everything_is_cut_off_at_once() {
    is_a_bystander_of_a_shutdown_after(Duration::ZERO).await;
}

#[tokio::test]
async fn a_worker_with_unacknowledged_reports_leaves_without_a_goodbye() {
    let mut fake = Fake::new(&[("tasks.py", TASKS)]).await;
    fake.config.settle_timeout = Duration::from_millis(200);
    let mut peer = cut_off_after(&mut fake, Duration::ZERO).await;
    // The server reads on, but its store takes nothing.
    while let Some(message) = within(peer.read()).await {
        assert_ne!(message, FromWorker::Bye {});
    }
    fake.ended().await.expect("a good end");
}

#[tokio::test]
async fn a_server_that_starts_or_stops_is_tried_again() {
    let mut fake = Fake::new(&[("tasks.py", TASKS)]).await;
    fake.start();
    fake.refuse("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    fake.refuse("what?").await;
    let mut peer = fake.accept().await;
    peer.hello().await;
    peer.send(&[ToWorker::Going {}]).await;
    drop(peer);
    let mut peer = fake.accept().await;
    peer.hello().await;
    peer.welcome(&[], &[]).await;
    assert_eq!(output(&peer.call(1, "add", r#"{"a": 1}"#).await), "3");
}

#[tokio::test]
async fn a_refusal_that_will_not_pass_ends_the_worker_and_says_why() {
    let mut fake = Fake::new(&[("tasks.py", TASKS)]).await;
    fake.start();
    let problem = r#"{"code": "Unauthorized", "detail": "the access token is wrong"}"#;
    fake.refuse(&format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n{problem}", problem.len()))
        .await;
    let error = fake.ended().await.expect_err("refused").to_string();
    assert!(error.contains("the access token is wrong (Unauthorized)"), "{error}");

    fake.start();
    let mut peer = fake.accept().await;
    peer.hello().await;
    peer.send(&[ToWorker::Error { code: "protocol".to_owned(), message: "update the worker".to_owned() }])
        .await;
    let error = fake.ended().await.expect_err("refused").to_string();
    assert!(error.contains("update the worker"), "{error}");
}

#[tokio::test]
async fn a_refusal_after_the_first_welcome_is_outlived_and_kills_nothing() {
    let mut fake = Fake::new(&[("tasks.py", TASKS)]).await;
    let mut peer = fake.welcomed().await;
    let gate = fake.folder().join("gate");
    let input = format!(r#"{{"file": {:?}, "value": 5}}"#, gate.display().to_string());
    peer.send(&[offer(1, "until", &input, None)]).await;
    assert_eq!(output(&peer.call(2, "add", r#"{"a": 1}"#).await), "3");
    drop(peer);
    for status in ["401 Unauthorized", "403 Forbidden", "404 Not Found"] {
        fake.refuse(&format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await;
    }
    let mut peer = fake.accept().await;
    let FromWorker::Hello { attempts, .. } = peer.hello().await else { unreachable!() };
    assert_eq!(attempts.iter().map(|claim| claim.attempt).collect::<Vec<_>>(), [attempt(1)]);
    peer.welcome(&[attempt(1)], &[]).await;
    std::fs::write(&gate, "").expect("a file");
    assert_eq!(output(&peer.outcome().await), "5");
}

#[tokio::test]
async fn a_worker_that_cannot_start_says_why() {
    let mut fake = Fake::new(&[("dies.py", "import os\nos.write(2, b'out of luck')\nos._exit(9)\n")]).await;
    fake.start();
    let error = fake.ended().await.expect_err("no start").to_string();
    assert!(
        error.contains("dies.py") && error.contains("out of luck") && error.contains("status 9"),
        "{error}"
    );

    fake.config.python = "/nonexistent/python".into();
    fake.start();
    let error = fake.ended().await.expect_err("no python").to_string();
    assert!(error.contains("/nonexistent/python") && error.contains("RIVERRUN_PYTHON"), "{error}");
}

#[tokio::test]
async fn another_version_of_the_package_is_refused() {
    let mut fake =
        Fake::new(&[("tasks.py", TASKS), ("other/riverrun/__init__.py", "__version__ = '9.9.9'\n")]).await;
    fake.config.python_path = Some(fake.folder().join("other"));
    fake.start();
    let error = fake.ended().await.expect_err("refused").to_string();
    assert!(error.contains("version 9.9.9") && error.contains("install riverrun==0.1.0"), "{error}");
}

#[tokio::test]
async fn signs_of_life_go_on_while_a_function_holds_the_interpreter() {
    let mut fake = Fake::new(&[(
        "tasks.py",
        "import ctypes, riverrun\n@riverrun.task\ndef hold():\n    ctypes.PyDLL(None).sleep(1000)\n",
    )])
    .await;
    fake.start();
    let mut peer = fake.accept().await;
    peer.hello().await;
    peer.send(&[
        ToWorker::Welcome { protocol: 1, server: "0.1.0".into(), lease_ms: 30, keep: vec![], drop: vec![] },
        offer(1, "hold", "{}", None),
    ])
    .await;
    for _ in 0..5 {
        assert_eq!(within(peer.read()).await, Some(FromWorker::Beat {}));
    }
}

const STARTS_ONCE: &str = r#"
import os, pathlib, riverrun, time
mark = pathlib.Path(__file__).with_name("started")
if mark.exists(): os._exit(3)
mark.touch()
@riverrun.task
def until(file):
    while not pathlib.Path(file).exists(): time.sleep(0.01)
"#;

#[tokio::test]
async fn when_no_further_child_starts_what_waits_for_one_is_given_back_until_one_does() {
    let mut fake = Fake::new(&[("tasks.py", STARTS_ONCE)]).await;
    let mut peer = fake.welcomed().await;
    let gate = fake.folder().join("gate");
    let input = format!(r#"{{"file": {:?}}}"#, gate.display().to_string());
    peer.send(&[offer(1, "until", &input, None), offer(2, "until", &input, None)]).await;
    is_given_back(&peer.outcome().await, 2);
    let (slots, why) = peer.slots.take().expect("told before it gave back");
    let why = why.expect("a reason");
    assert_eq!(slots, 1, "the child that is up");
    assert!(why.contains("tasks.py") && why.contains("exit status 3"), "{why}");
    std::fs::write(&gate, "").expect("a file");
    assert_eq!(output(&peer.outcome().await), "null");
    // It goes on trying, with nothing at hand that needs a child.
    std::fs::remove_file(fake.folder().join("started")).expect("removed");
    while peer.told_slots().await != 2 {}
}

#[tokio::test]
async fn a_worker_whose_caller_waits_for_it_ends_when_no_child_starts_any_more() {
    let dies = format!("{STARTS_ONCE}\n@riverrun.task\ndef die(): os._exit(1)\n");
    let mut fake = Fake::new(&[("tasks.py", &dies)]).await;
    fake.config.ends_without_children = true;
    let mut peer = fake.welcomed().await;
    let report = peer.call(1, "die", "{}").await;
    assert!(matches!(report, FromWorker::Lost { reason: Lost::Crashed, .. }), "{report:?}");
    peer.send(&[offer(2, "die", "{}", None)]).await;
    let error = fake.ended().await.expect_err("no child").to_string();
    assert!(error.contains("tasks.py") && error.contains("exit status 3"), "{error}");
}

fn is_given_back(report: &FromWorker, number: u32) {
    let FromWorker::Lost { attempt: which, reason: Lost::Returned, .. } = report else {
        panic!("{report:?}")
    };
    assert_eq!(*which, attempt(number));
}

#[tokio::test]
async fn what_waits_for_a_child_that_starts_slowly_is_given_back_and_its_slot_is_not_filled_until_it_is_up() {
    let slow = r#"
import pathlib, riverrun, time
here = pathlib.Path(__file__).parent
if (here / "started").exists():
    while not (here / "go").exists(): time.sleep(0.01)
(here / "started").touch()
@riverrun.task
def until(file):
    while not pathlib.Path(file).exists(): time.sleep(0.01)
"#;
    let mut fake = Fake::new(&[("tasks.py", slow)]).await;
    fake.config.start_patience = Duration::from_millis(20);
    let mut peer = fake.welcomed().await;
    let gate = fake.folder().join("gate");
    let input = format!(r#"{{"file": {:?}}}"#, gate.display().to_string());
    peer.send(&[offer(1, "until", &input, None), offer(2, "until", &input, Some(1_000))]).await;
    is_given_back(&peer.outcome().await, 2);
    assert_eq!(peer.slots.take().expect("told before it gave back").0, 1);
    // On a new connection the server must be told again.
    drop(peer);
    let mut peer = fake.accept().await;
    peer.hello().await;
    peer.welcome(&[attempt(1)], &[]).await;
    assert_eq!(peer.told_slots().await, 1);
    std::fs::write(fake.folder().join("go"), "").expect("a file");
    assert_eq!(peer.told_slots().await, 2);
    peer.send(&[offer(3, "until", &input, Some(60_000))]).await;
    std::fs::write(&gate, "").expect("a file");
    for _ in 0..2 {
        assert_eq!(output(&peer.outcome().await), "null");
    }
}

#[tokio::test]
async fn short_attempts_are_asked_for_ahead_and_given_back_where_others_take_long() {
    let mut fake = Fake::new(&[("tasks.py", TASKS)]).await;
    let mut peer = fake.welcomed().await;
    let mut number = 0;
    while peer.ahead == 0 {
        number += 1;
        assert!(number < 1_000, "nothing is asked for ahead");
        assert_eq!(output(&peer.call(number, "add", r#"{"a": 1}"#).await), "3");
    }
    let gate = fake.folder().join("gate");
    let input = format!(r#"{{"file": {:?}}}"#, gate.display().to_string());
    let long = [number + 1, number + 2].map(|number| offer(number, "until", &input, None));
    let ahead = [number + 3, number + 4].map(|number| offer(number, "add", r#"{"a": 1}"#, None));
    peer.send(&long).await;
    peer.send(&ahead).await;
    for number in [number + 3, number + 4] {
        let report = peer.next().await;
        let FromWorker::Lost { attempt: given_back, reason, .. } = report else { panic!("{report:?}") };
        assert_eq!((given_back, reason), (attempt(number), Lost::Returned));
    }
    std::fs::write(gate, "").expect("a file");
    for _ in 0..2 {
        assert_eq!(output(&peer.next().await), "null");
    }
    assert_eq!(peer.ahead, 0, "until attempts are short again");
}

/// Quick calls, until the worker sends them to its children ahead.
async fn hurry(peer: &mut Peer) -> u32 {
    let mut number = 0;
    while peer.ahead < 2 * 8 {
        number += 1;
        assert!(number < 5_000, "attempts are never short");
        assert_eq!(output(&peer.call(number, "add", r#"{"a": 1}"#).await), "3");
    }
    number
}

#[tokio::test]
async fn what_waits_in_a_child_is_executed_by_another_when_it_dies_or_takes_long() {
    let mut fake = Fake::new(&[(
        "tasks.py",
        &format!("{TASKS}\nimport os\n@riverrun.task\ndef die():\n    time.sleep(0.05)\n    os._exit(3)\n"),
    )])
    .await;
    let mut peer = fake.welcomed().await;
    let number = hurry(&mut peer).await;
    let gate = fake.folder().join("gate");
    let input = format!(r#"{{"file": {:?}}}"#, gate.display().to_string());
    let first = [offer(number + 1, "until", &input, None), offer(number + 2, "die", "{}", None)];
    peer.send(&first).await;
    let behind: Vec<_> = (3..=10).map(|next| offer(number + next, "add", r#"{"a": 1}"#, None)).collect();
    peer.send(&behind).await;
    let (mut done, mut given_back) = (0, 0);
    for _ in 0..9 {
        match peer.next().await {
            FromWorker::Done { output, .. } if output.get() == "3" => done += 1,
            FromWorker::Lost { attempt: of, reason: Lost::Crashed, .. } => {
                assert_eq!(of, attempt(number + 2));
            }
            FromWorker::Lost { attempt: of, reason: Lost::Returned, .. } => {
                assert!(of != attempt(number + 1), "it executes");
                given_back += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(done + given_back, 8, "each is executed or given back, once");
    std::fs::write(gate, "").expect("a file");
    assert_eq!(output(&peer.next().await), "null");
}

#[tokio::test]
async fn an_attempt_that_waits_in_a_child_can_be_stopped_and_a_shutdown_gives_it_back() {
    let mut fake = Fake::new(&[("tasks.py", TASKS)]).await;
    let mut peer = fake.welcomed().await;
    let number = hurry(&mut peer).await;
    let gate = fake.folder().join("gate");
    let input = format!(r#"{{"file": {:?}}}"#, gate.display().to_string());
    let mut offers: Vec<_> = [1, 2].map(|next| offer(number + next, "until", &input, None)).into();
    offers.extend((3..=6).map(|next| offer(number + next, "add", r#"{"a": 1}"#, None)));
    peer.send(&offers).await;
    peer.send(&[ToWorker::Stop { attempt: attempt(number + 4), grace_ms: 60_000 }]).await;
    let mut stopped = Vec::new();
    let mut given_back = Vec::new();
    while stopped.len() + given_back.len() < 4 {
        match peer.next().await {
            FromWorker::Stopped { attempt, .. } => stopped.push(attempt),
            FromWorker::Lost { attempt, reason: Lost::Returned, .. } => given_back.push(attempt),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stopped, [attempt(number + 4)]);
    fake.shut_down();
    std::fs::write(gate, "").expect("a file");
    let mut ended = 0;
    while ended < 2 {
        match peer.next().await {
            FromWorker::Done { .. } => ended += 1,
            // It may still have waited for a child to start.
            FromWorker::Lost { attempt: of, reason: Lost::Returned, .. } if of == attempt(number + 2) => {
                ended += 1;
            }
            FromWorker::Draining {} => {}
            other => panic!("{other:?}"),
        }
    }
}
