//! What becomes of messages, byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use riverrun_bridge::{Bridge, Settings};
use riverrun_engine::TaskContract;
use riverrun_kernel::{Failure, Json, RunOptions, TaskOptions};

use crate::redis::{Reply, until};
use crate::support::{
    FAILED, FINISHED, PING, QUEUE, TAKEN, WIP, World, answer, echo, exc_info, metric, next_offer, raise,
    settled,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_runs_and_its_outcome_is_written_as_the_original_writes_it() {
    let world = World::new();
    let mut client = world.client();
    let bridge = world.bridge();
    let mut worker = world.worker().await;
    client.enqueue(PING, "AC3C301A7CA516EA", br#"{"a": "\u767e", "b": 9007199254740993}"#, &[]);

    let offer = next_offer(&mut worker).await;
    assert_eq!(offer.call.function, PING);
    assert_eq!(offer.call.input.get(), r#"{"a": "\u767e", "b": 9007199254740993}"#);
    assert_eq!(offer.call.timeout_ms, Some(180_000));
    client.wait_for("AC3C301A7CA516EA", "started");
    assert_eq!(client.field("AC3C301A7CA516EA", "handle_worker"), "host:7733:17");
    let started = client.field("AC3C301A7CA516EA", "started_at");
    assert!(is_stamp(&started), "{started}");
    assert_eq!(client.number(&["TTL", "mq:msg:AC3C301A7CA516EA"]), -1);
    assert!(client.number(&["ZCARD", WIP]) == 1 && client.list(TAKEN) == ["AC3C301A7CA516EA"]);

    answer(&worker, &offer, r#"["OK", {"data": {}}]"#).await;
    client.wait_for("AC3C301A7CA516EA", "finished");
    settled(&mut client);
    let result = client.bytes(&["HGET", "mq:msg:AC3C301A7CA516EA", "result"]).expect("a result");
    assert_eq!(result, b"\x80\x02U\x1a{\"stat\": \"OK\", \"data\": {}}q\x01.");
    assert_eq!(client.field("AC3C301A7CA516EA", "started_at"), started);
    assert!(is_stamp(&client.field("AC3C301A7CA516EA", "ended_at")));
    let cost = client.field("AC3C301A7CA516EA", "cost");
    assert!(
        cost.parse::<f64>().is_ok() && cost.split_once('.').is_some_and(|(_, digits)| digits.len() == 6),
        "{cost}"
    );
    // A year, as the original has it.
    assert!((31_535_900..=31_536_000).contains(&client.number(&["TTL", "mq:msg:AC3C301A7CA516EA"])));
    assert!(
        client
            .text(&["ZSCORE", FINISHED, "AC3C301A7CA516EA"])
            .parse::<i64>()
            .is_ok_and(|at| at > 1_800_000_000)
    );
    assert_eq!(client.field("AC3C301A7CA516EA", "data"), r#"{"a": "\u767e", "b": 9007199254740993}"#);
    assert_eq!(client.number(&["HLEN", "mq:msg:AC3C301A7CA516EA"]), 12);
    assert_eq!(metric(&bridge, "messages_finished_total"), 1);
    assert_eq!(metric(&bridge, "redis_connected"), 1);
}

fn is_stamp(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:dd.ddddddZ";
    text.len() == form.len()
        && text.chars().zip(form.chars()).all(|(c, f)| if f == 'd' { c.is_ascii_digit() } else { c == f })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_and_one_beyond_ascii_keep_the_originals_form() {
    let world = World::new();
    let mut client = world.client();
    let _bridge = world.bridge();
    let mut worker = world.worker().await;
    client.enqueue(PING, "LONG", b"{}", &[]);
    let offer = next_offer(&mut worker).await;
    answer(&worker, &offer, &format!(r#"["OK", {{"data": "百{}"}}]"#, "x".repeat(300))).await;
    client.wait_for("LONG", "finished");
    let body = format!(r#"{{"stat": "OK", "data": "\u767e{}"}}"#, "x".repeat(300));
    let expected = [&b"\x80\x02T\x4c\x01\x00\x00"[..], body.as_bytes(), b"q\x01."].concat();
    assert_eq!(body.len(), 0x14C);
    assert_eq!(client.bytes(&["HGET", "mq:msg:LONG", "result"]), Some(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handlers_own_stat_is_an_outcome_and_bad_parameters_are_a_failure() {
    let world = World::new();
    let mut client = world.client();
    let _bridge = world.bridge();
    let mut worker = world.worker().await;
    client.enqueue(PING, "OWN", b"{}", &[]);
    let offer = next_offer(&mut worker).await;
    answer(&worker, &offer, r#"["ERR_NO_ROOM", {}]"#).await;
    client.wait_for("OWN", "finished");
    client.enqueue(PING, "BAD", b"{}", &[]);
    let offer = next_offer(&mut worker).await;
    answer(&worker, &offer, r#"["ERR_BAD_PARAMS", {}]"#).await;
    client.wait_for("BAD", "failed");
    assert_eq!(exc_info(&mut client, "BAD"), "the handler answered ERR_BAD_PARAMS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_written_with_its_traceback() {
    let world = World::new();
    let mut client = world.client();
    let bridge = world.bridge();
    let mut worker = world.worker().await;
    client.enqueue(PING, "F", b"{\"a\": 2}", &[("failure_ttl", b"60")]);
    let offer = next_offer(&mut worker).await;
    let mut failure = Failure::new("ValueError", "百");
    failure.details = Some(Json::trusted(r#"{"traceback": "Traceback:\n  ValueError: 百\n"}"#));
    raise(&worker, &offer, failure).await;
    client.wait_for("F", "failed");
    settled(&mut client);
    assert_eq!(exc_info(&mut client, "F"), "Traceback:\n  ValueError: 百\n");
    assert_eq!(client.bytes(&["HGET", "mq:msg:F", "result"]), None);
    assert!((1..=60).contains(&client.number(&["TTL", "mq:msg:F"])));
    assert!(client.bytes(&["ZSCORE", FAILED, "F"]).is_some());
    assert_eq!(metric(&bridge, "messages_failed_total"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_an_outcome_is_kept_is_the_messages_to_say() {
    let world = World::new();
    let mut client = world.client();
    let _bridge = world.bridge();
    echo(world.worker().await);
    client.enqueue(PING, "SHORT", b"{}", &[("result_ttl", b"900"), ("timeout", b"-1")]);
    client.enqueue(PING, "EVER", b"{}", &[("result_ttl", b"-1")]);
    client.enqueue(PING, "NEVER", b"{}", &[("result_ttl", b"0")]);
    client.wait_for("SHORT", "finished");
    client.wait_for("EVER", "finished");
    until("NEVER is gone", || (client.number(&["EXISTS", "mq:msg:NEVER"]) == 0).then_some(()));
    settled(&mut client);
    assert!((1..=900).contains(&client.number(&["TTL", "mq:msg:SHORT"])));
    assert_eq!(client.number(&["TTL", "mq:msg:EVER"]), -1);
    assert_eq!(client.text(&["ZSCORE", FINISHED, "EVER"]), "inf");
    assert_eq!(client.bytes(&["ZSCORE", FINISHED, "NEVER"]), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_taken_twice_runs_once() {
    let world = World::new();
    let mut client = world.client();
    client.write_message(PING, "TWICE", b"{}", &[]);
    for _ in 0..3 {
        client.tell(&["RPUSH", QUEUE, "TWICE"]);
    }
    let _bridge = world.bridge();
    echo(world.worker().await);
    client.wait_for("TWICE", "finished");
    settled(&mut client);
    // And once more, when all is over.
    client.tell(&["RPUSH", QUEUE, "TWICE"]);
    settled(&mut client);
    assert_eq!(world.runs().await.len(), 1);
    assert_eq!(client.field("TWICE", "status"), "finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_failed_and_is_enqueued_again_runs_again() {
    let world = World::new();
    let mut client = world.client();
    let _bridge = world.bridge();
    let mut worker = world.worker().await;
    client.enqueue(PING, "AGAIN", b"{}", &[]);
    let offer = next_offer(&mut worker).await;
    raise(&worker, &offer, Failure::new("ValueError", "no")).await;
    client.wait_for("AGAIN", "failed");
    settled(&mut client);
    // What the original's requeue does.
    assert_eq!(client.number(&["ZREM", FAILED, "AGAIN"]), 1);
    client.enqueue(PING, "AGAIN", b"{}", &[("enqueued_at", b"2026-11-21T13:00:00.000001Z")]);
    let offer = next_offer(&mut worker).await;
    answer(&worker, &offer, r#"["OK", {}]"#).await;
    client.wait_for("AGAIN", "finished");
    assert_eq!(world.runs().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_message_stays_deleted() {
    let world = World::new();
    let mut client = world.client();
    let bridge = world.bridge();
    let mut worker = world.worker().await;
    // Before it ran.
    client.tell(&["RPUSH", QUEUE, "GHOST"]);
    settled(&mut client);
    // While it runs.
    client.enqueue(PING, "GONE", b"{}", &[]);
    let offer = next_offer(&mut worker).await;
    client.wait_for("GONE", "started");
    client.tell(&["DEL", "mq:msg:GONE"]);
    answer(&worker, &offer, r#"["OK", {}]"#).await;
    settled(&mut client);
    assert_eq!(client.number(&["EXISTS", "mq:msg:GONE", "mq:msg:GHOST", FINISHED, FAILED]), 0);
    assert_eq!(metric(&bridge, "messages_gone_total"), 2);
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_no_room_for_stays_where_others_can_take_it() {
    let world = World::new();
    let mut client = world.client();
    for n in 0..5 {
        client.enqueue(PING, &format!("M{n}"), b"{}", &[]);
    }
    let settings = Settings { max_taken: 2, ..world.settings() };
    let _bridge = Bridge::start(world.engine.clone(), settings).expect("good settings");
    let mut worker = world.worker().await;
    let first = next_offer(&mut worker).await;
    next_offer(&mut worker).await;
    // In the order in which they came.
    assert_eq!(client.list(TAKEN), ["M0", "M1"]);
    assert_eq!(client.list(QUEUE), ["M2", "M3", "M4"]);
    answer(&worker, &first, r#""OK""#).await;
    next_offer(&mut worker).await;
    assert_eq!(client.list(QUEUE), ["M3", "M4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_run_as_its_task_says() {
    let world = World::new();
    let mut client = world.client();
    let _bridge = world.bridge();
    let task = TaskOptions { queue: "mail".into(), at_most_once: Some(true), ..TaskOptions::default() };
    let options = RunOptions { task: Some(task), ..RunOptions::default() };
    let contract = TaskContract { parameters: None, options: Some(Arc::new(options)) };
    let mut worker = world.worker_taking(&BTreeMap::from([(PING.to_owned(), contract)])).await;
    client.enqueue(PING, "ONCE", b"{}", &[]);
    let call = next_offer(&mut worker).await.call;
    assert_eq!((call.queue.as_str(), call.at_most_once, call.timeout_ms), ("mail", true, Some(180_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_stay_in_redis_until_a_worker_has_announced_their_task() {
    let world = World::new();
    let mut client = world.client();
    let bridge = world.bridge();
    client.enqueue(PING, "EARLY", b"{}", &[]);
    until("Redis is found", || (metric(&bridge, "redis_connected") == 1).then_some(()));
    assert_eq!(client.list(QUEUE), ["EARLY"]);
    echo(world.worker().await);
    client.wait_for("EARLY", "finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_worked_on_is_kept_from_the_originals_cleaners() {
    let world = World::new();
    let mut client = world.client();
    let settings = Settings { refresh: Duration::from_millis(20), ..world.settings() };
    let _bridge = Bridge::start(world.engine.clone(), settings).expect("good settings");
    let mut worker = world.worker().await;
    client.enqueue(PING, "SLOW", b"{}", &[]);
    let offer = next_offer(&mut worker).await;
    client.wait_for("SLOW", "started");
    client.tell(&["ZADD", WIP, "5", "SLOW"]);
    until("its entry is new", || (client.text(&["ZSCORE", WIP, "SLOW"]) != "5").then_some(()));
    answer(&worker, &offer, r#""OK""#).await;
    settled(&mut client);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_is_written_though_a_cleaner_has_declared_the_message_failed() {
    let world = World::new();
    let mut client = world.client();
    let bridge = world.bridge();
    let mut worker = world.worker().await;
    client.enqueue(PING, "LATE", b"{}", &[]);
    let offer = next_offer(&mut worker).await;
    client.wait_for("LATE", "started");
    bridge.stop().await;
    client.tell(&["HSET", "mq:msg:LATE", "status", "failed"]);
    answer(&worker, &offer, r#""OK""#).await;
    let _bridge = world.bridge();
    client.wait_for("LATE", "finished");
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_original_worker_has_finished_is_left_as_it_is() {
    let world = World::new();
    let mut client = world.client();
    client.enqueue(PING, "THEIRS", b"{}", &[("status", b"finished"), ("result", b"\x80\x02U\x02{}.")]);
    let _bridge = world.bridge();
    let _worker = world.worker().await;
    settled(&mut client);
    assert_eq!(client.bytes(&["HGET", "mq:msg:THEIRS", "result"]), Some(b"\x80\x02U\x02{}.".to_vec()));
    assert_eq!(world.runs().await.len(), 0);
    assert_eq!(client.tell(&["EXISTS", "mq:msg:THEIRS"]), Reply::Number(1));
}
