//! What becomes of an attempt, whatever its function does.

use riverrun_kernel::Lost;
use riverrun_wire::worker::{FromWorker, ToWorker};

use crate::fake::{Fake, Peer, attempt, failure, offer, output};

const FUNCTIONS: &str = r#"
import ctypes, json, logging, os, signal, sys, threading, time
import riverrun

@riverrun.task
def add(a: int, b: int = 2):
    return a + b

@riverrun.task
async def later(a):
    import asyncio
    await asyncio.sleep(0)
    return [a]

class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no")

@riverrun.task
def misbehave(how):
    if how == "object": return {"items": [1, {"x": object()}]}
    if how == "nan": return {"x": float("nan")}
    if how == "surrogate": return ["\ud800"]
    if how == "deep":
        value = []
        for _ in range(100_000): value = [value]
        return value
    if how == "cycle":
        value = []; value.append(value); return value
    if how == "bytes": return b"\xff"
    if how == "raise": raise ValueError("流程 broke")
    if how == "unprintable": raise Unprintable()
    if how == "exit": sys.exit(3)
    if how == "_exit": os._exit(7)
    if how == "segfault": ctypes.string_at(0)
    if how == "recurse": return misbehave("recurse")
    if how == "keyboard": raise KeyboardInterrupt
    if how == "close":
        sys.stdout.close(); sys.stderr.close(); return "closed"
    if how == "large": return "x" * (1 << 21)
    if how == "stdin": return [sys.stdin.read(), os.read(0, 10).decode()]
    if how == "gbk":
        sys.stdout.buffer.write("你好\n".encode("gbk")); return None
    if how == "raw":
        os.write(1, b"raw out\n"); os.write(2, b"raw err\n"); return None
    if how == "flood":
        for _ in range(160_000): print("x" * 63)
        return "done"
    if how == "log":
        logging.getLogger("shop").info("sold %d", 3); print("plain"); return None
    if how == "big integer": return 10 ** 5000
    return how

@riverrun.task
def forever(how):
    if how == "clean":
        try:
            print("begun", flush=True); time.sleep(1000)
        finally: print("cleaned")
    if how == "stubborn":
        while True:
            try:
                print("begun", flush=True)
                while True: time.sleep(1000)
            except riverrun.Cancelled: pass
    print("begun", flush=True)
    if how == "sleep":
        time.sleep(1000)
    if how == "loop":
        while True: pass
    if how == "gil":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        ctypes.PyDLL(None).sleep(1000)
    if how == "subprocess":
        import subprocess; subprocess.run(["sleep", "1000"])

@riverrun.task
async def waits():
    import asyncio
    try:
        print("begun", flush=True)
        await asyncio.sleep(1000)
    finally: print("cleaned")
"#;

const HANDLER: &str = r#"
import json
def handler(event, context):
    assert isinstance(event, bytes)
    context.logger.info("asked")
    return json.dumps({"event": json.loads(event), "name": context.function.name, "service": context.service.name,
        "attempt": context.attempt, "key": context.idempotency_key, "limited": context.remaining() is not None})
"#;

async fn worker() -> (Fake, Peer) {
    let mut fake = Fake::new(&[("tasks.py", FUNCTIONS), ("shop/sell.py", HANDLER)]).await;
    fake.config.max_output_bytes = 4096;
    fake.config.max_result_bytes = 1 << 20;
    let peer = fake.welcomed().await;
    (fake, peer)
}

#[tokio::test]
async fn a_handler_gets_event_and_context_and_its_text_is_parsed() {
    let (_fake, mut peer) = worker().await;
    let report = peer.call(1, "shop/sell", r#"{"delay": 20}"#).await;
    assert_eq!(
        output(&report),
        r#"{"event":{"delay":20},"name":"sell","service":"shop","attempt":1,"key":"5a","limited":false}"#
    );
    assert_eq!(peer.logs, "INFO shop/sell: asked\n");
}

#[tokio::test]
async fn tasks_get_their_parameters_by_name() {
    let (_fake, mut peer) = worker().await;
    assert_eq!(output(&peer.call(1, "add", r#"{"a": 40}"#).await), "42");
    assert_eq!(output(&peer.call(2, "later", r#"{"a": null}"#).await), "[null]");
    let report = peer.call(3, "add", r#"{"c": 1}"#).await;
    let (error, message) = failure(&report);
    assert_eq!(error, "InvalidInput");
    assert!(message.contains("add(a: int, b: int = 2)") && message.contains("'a'"), "{message}");
    let report = peer.call(4, "add", "7").await;
    assert!(failure(&report).1.contains("takes an object"), "{report:?}");
    let report = peer.call(5, "nowhere", "{}").await;
    assert_eq!(failure(&report).0, "UnknownFunction");
}

#[tokio::test]
async fn bad_behaviour_becomes_a_clear_failure_and_the_child_lives_on() {
    let (_fake, mut peer) = worker().await;
    let cases = [
        ("object", "InvalidOutput", "['items'][1]['x'] is of type object"),
        ("nan", "InvalidOutput", "['x'] is nan"),
        ("surrogate", "InvalidOutput", "[0] is a string with a lone surrogate"),
        ("deep", "InvalidOutput", "nested"),
        ("cycle", "InvalidOutput", "contains itself"),
        ("bytes", "InvalidOutput", "of type bytes"),
        ("raise", "ValueError", "流程 broke"),
        ("unprintable", "Unprintable", "unprintable"),
        ("exit", "SystemExit", "sys.exit(3)"),
        ("recurse", "RecursionError", "maximum recursion depth"),
        ("keyboard", "KeyboardInterrupt", ""),
        ("large", "ResultTooLarge", "max_result_bytes of 1048576"),
    ];
    for (number, (how, error, message)) in (1..).zip(cases) {
        let report = peer.call(number, "misbehave", &format!(r#"{{"how": "{how}"}}"#)).await;
        let found = failure(&report);
        assert_eq!(found.0, error, "{how}: {found:?}");
        assert!(found.1.contains(message), "{how}: {found:?}");
        assert_eq!(output(&peer.call(100 + number, "add", r#"{"a": 1}"#).await), "3", "after {how}");
    }
}

#[tokio::test]
async fn output_is_captured_whatever_way_it_takes() {
    let (fake, mut peer) = worker().await;
    let cases = [
        ("gbk", "null", "\u{FFFD}"),
        ("raw", "null", "raw out\n"),
        ("log", "null", "INFO shop: sold 3\n"),
        ("stdin", r#"["",""]"#, ""),
        ("close", r#""closed""#, ""),
        ("a string", r#""a string""#, ""),
    ];
    for (number, (how, result, printed)) in (1..).zip(cases) {
        peer.logs.clear();
        let report = peer.call(number, "misbehave", &format!(r#"{{"how": "{how}"}}"#)).await;
        assert_eq!(output(&report), result, "{how}");
        assert!(peer.logs.contains(printed), "{how}: {:?}", peer.logs);
    }
    let shown = fake.shown.lock().expect("no panic").join("\n");
    assert!(
        shown.contains("misbehave|stdout|raw out") && shown.contains("misbehave|log|INFO shop: sold 3"),
        "{shown}"
    );
    let report = peer.call(50, "misbehave", r#"{"how": "big integer"}"#).await;
    assert_eq!(output(&report).len(), 5001);
}

#[tokio::test]
async fn ten_megabytes_of_output_are_cut_at_the_limit_and_that_is_said() {
    let (_fake, mut peer) = worker().await;
    assert_eq!(output(&peer.call(1, "misbehave", r#"{"how": "flood"}"#).await), r#""done""#);
    assert!(peer.logs.len() < 4096 + 200, "{} bytes", peer.logs.len());
    assert!(
        peer.logs.ends_with("[output cut here: the limit max_output_bytes is 4096 bytes for one attempt]\n")
    );
}

#[tokio::test]
async fn an_attempt_whose_process_dies_is_lost_and_says_how() {
    let (_fake, mut peer) = worker().await;
    for (number, how, reason) in [(1, "_exit", "ended with exit status 7"), (2, "segfault", "SIGSEGV")] {
        peer.logs.clear();
        let report = peer.call(number, "misbehave", &format!(r#"{{"how": "{how}"}}"#)).await;
        assert!(matches!(report, FromWorker::Lost { reason: Lost::Crashed, .. }), "{report:?}");
        assert!(peer.logs.contains(reason), "{:?}", peer.logs);
        assert_eq!(output(&peer.call(100 + number, "add", r#"{"a": 1}"#).await), "3");
    }
}

#[tokio::test]
async fn a_time_limit_ends_whatever_the_function_does_and_hurts_nobody_else() {
    let (_fake, mut peer) = worker().await;
    for (number, how, end) in [
        (1, "sleep", "stopped"),
        (2, "loop", "stopped"),
        (3, "stubborn", "killed"),
        (4, "gil", "killed"),
        (5, "subprocess", "stopped"),
    ] {
        peer.send(&[offer(number, "forever", &format!(r#"{{"how": "{how}"}}"#), Some(150))]).await;
        let other = peer.call(100 + number, "add", r#"{"a": 1}"#).await;
        let mut reports = [other, peer.outcome().await];
        reports.sort_by_key(|report| matches!(report, FromWorker::Done { .. }));
        assert_eq!(output(&reports[1]), "3", "beside {how}");
        let (error, message) = failure(&reports[0]);
        assert_eq!(error, "Timeout", "{how}");
        assert!(message.contains("0.15 s") && message.ends_with(end), "{how}: {message}");
    }
}

#[tokio::test]
async fn a_stop_lets_the_function_clean_up() {
    let (_fake, mut peer) = worker().await;
    for (number, function, input) in [(1, "forever", r#"{"how": "clean"}"#), (2, "waits", "{}")] {
        peer.logs.clear();
        peer.send(&[offer(number, function, input, None)]).await;
        begun(&mut peer).await;
        peer.send(&[ToWorker::Stop { attempt: attempt(number), grace_ms: 60_000 }]).await;
        let report = peer.outcome().await;
        assert!(matches!(report, FromWorker::Stopped { .. }), "{report:?}");
        assert_eq!(peer.logs, "begun\ncleaned\n", "{function}");
    }
}

#[tokio::test]
async fn a_stop_kills_what_does_not_heed_it() {
    let (_fake, mut peer) = worker().await;
    peer.send(&[offer(1, "forever", r#"{"how": "stubborn"}"#, None)]).await;
    begun(&mut peer).await;
    peer.send(&[ToWorker::Stop { attempt: attempt(1), grace_ms: 50 }]).await;
    assert!(matches!(peer.outcome().await, FromWorker::Stopped { .. }));
}

#[tokio::test]
async fn a_stop_of_what_has_not_begun_is_immediate() {
    let (_fake, mut peer) = worker().await;
    let busy = |number| offer(number, "forever", r#"{"how": "sleep"}"#, None);
    peer.send(&[busy(1), busy(2), busy(3), ToWorker::Stop { attempt: attempt(3), grace_ms: 60_000 }]).await;
    match peer.outcome().await {
        FromWorker::Stopped { attempt: stopped, .. } => assert_eq!(stopped, attempt(3)),
        other => panic!("{other:?}"),
    }
}

/// Waits until the attempt has printed its first line.
async fn begun(peer: &mut Peer) {
    while !peer.logs.contains("begun") {
        if let Some(FromWorker::Log { text, .. }) = crate::fake::within(peer.read()).await {
            peer.logs.push_str(&text);
        }
    }
}
