//! Hashes that no producer should have written, and addresses that lead nowhere.

use std::collections::BTreeMap;

use riverrun_bridge::{Bridge, InvalidSettings, Settings};
use riverrun_engine::TaskContract;
use riverrun_kernel::Json;

use crate::redis::Client;
use crate::support::{FAILED, PING, QUEUE, REFUSED, World, echo, exc_info, metric, settled};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_fails_with_its_reason_and_what_comes_after_it_runs() {
    let world = World::new();
    let mut client = world.client();
    client.ask(&[b"HSET", b"mq:msg:HALF", b"status", b"started", b"handle_worker", b"h:1:2"]);
    client.tell(&["RPUSH", QUEUE, "HALF"]);
    client.enqueue(PING, "GBK", b"{\"a\": \"\xb0\xd9\"}", &[]);
    client.enqueue(PING, "TEXT", b"not json", &[]);
    client.enqueue(PING, "LIST", b"[1, 2]", &[]);
    client.enqueue(PING, "ZERO", b"{}", &[("timeout", b"0")]);
    client.enqueue(
        PING,
        "EVIL",
        b"{}",
        &[("meta", b"\x80\x02cposix\nsystem\nq\x01U\x02idq\x02\x85q\x03Rq\x04.")],
    );
    client.enqueue(PING, "RESULT", b"{}", &[("result", b"\x80\x02c__builtin__\neval\n.")]);
    client.enqueue(PING, "GOOD", b"{}", &[("meta", b"\x80\x02}q\x01U\x01aK\x01s.")]);
    let bridge = world.bridge();
    echo(world.worker().await);
    client.wait_for("GOOD", "finished");
    settled(&mut client);
    let mut reason = |id: &str, part: &str| {
        assert_eq!(client.field(id, "status"), "failed", "{id}");
        let text = exc_info(&mut client, id);
        assert!(text.contains(part), "{id}: {text}");
        assert!(client.number(&["TTL", &format!("mq:msg:{id}")]) > 0);
        assert!(client.bytes(&["ZSCORE", FAILED, id]).is_some());
    };
    reason("HALF", "the hash has no `data`");
    reason("GBK", "data is not UTF-8 at byte 7 (it may be GBK)");
    reason("TEXT", "data is not JSON");
    reason("LIST", "must be a JSON object");
    reason("ZERO", "timeout is `0`");
    reason("EVIL", "GLOBAL at byte 2: `posix.system`");
    reason("RESULT", "GLOBAL at byte 2: `__builtin__.eval`");
    // Nothing of it ever became a run.
    assert_eq!(world.runs().await.len(), 1);
    assert_eq!(metric(&bridge, "messages_failed_total"), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_the_task_does_not_take_fail_before_they_run() {
    let world = World::new();
    let mut client = world.client();
    let schema = r#"{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false}"#;
    let takes = BTreeMap::from([(
        PING.to_owned(),
        TaskContract { parameters: Some(Json::trusted(schema)), options: None },
    )]);
    let _worker = world.worker_taking(&takes).await;
    let _bridge = world.bridge();
    client.enqueue(PING, "SLIP", b"{\"m\": 1}", &[]);
    client.wait_for("SLIP", "failed");
    let text = exc_info(&mut client, "SLIP");
    assert!(text.contains("does not take these parameters") && text.contains('m'), "{text}");
    assert_eq!(world.runs().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_whose_key_is_no_hash_is_set_aside() {
    let world = World::new();
    let mut client = world.client();
    client.tell(&["SET", "mq:msg:FOREIGN", "theirs"]);
    client.tell(&["RPUSH", QUEUE, "FOREIGN"]);
    let bridge = world.bridge();
    let _worker = world.worker().await;
    settled(&mut client);
    assert_eq!(client.list(REFUSED), ["FOREIGN"]);
    assert_eq!(client.text(&["GET", "mq:msg:FOREIGN"]), "theirs");
    assert_eq!(metric(&bridge, "messages_refused_total"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_somebody_elses_holds_up_no_queue() {
    let world = World::new();
    let mut client = world.client();
    client.tell(&["SET", "mq:finished:{/demo_api/ping}", "theirs"]);
    let settings = Settings { max_taken: 2, ..world.settings() };
    let _bridge = Bridge::start(world.engine.clone(), settings).expect("good settings");
    echo(world.worker().await);
    for id in ["ONE", "TWO", "THREE", "FOUR"] {
        client.enqueue(PING, id, b"{}", &[]);
    }
    for id in ["ONE", "TWO", "THREE", "FOUR"] {
        client.wait_for(id, "finished");
    }
    settled(&mut client);
    assert_eq!(client.text(&["GET", "mq:finished:{/demo_api/ping}"]), "theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_of_megabytes_is_not_even_read() {
    let world = World::new();
    let mut client = world.client();
    let _bridge = world.bridge();
    echo(world.worker().await);
    client.enqueue(PING, "HUGE", b"{}", &[("enqueued_at", &vec![b'9'; 1 << 20])]);
    client.wait_for("HUGE", "failed");
    let text = exc_info(&mut client, "HUGE");
    assert!(text.contains("enqueued_at has 1048576 bytes, and may have 4096"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_may_be_any_bytes() {
    let world = World::new();
    let mut client = world.client();
    let odd: [&[u8]; 3] = [b"\xb0\xd9\x00\r\n", b"", &[b'x'; 400]];
    for id in odd {
        let key = [b"mq:msg:", id].concat();
        client.ask(&[b"HSET", &key, b"data", b"{}", b"status", b"queued"]);
        client.ask(&[b"RPUSH", QUEUE.as_bytes(), id]);
    }
    let _bridge = world.bridge();
    echo(world.worker().await);
    let status =
        |client: &mut Client, id: &[u8]| client.ask(&[b"HGET", &[b"mq:msg:", id].concat(), b"status"]);
    let finished = crate::redis::Reply::Bytes(b"finished".to_vec());
    crate::redis::until("all are finished", || {
        odd.iter().all(|id| status(&mut client, id) == finished).then_some(())
    });
    settled(&mut client);
    assert_eq!(world.runs().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_beyond_the_limit_is_not_even_read() {
    let world = World::new();
    let mut client = world.client();
    let data = format!("{{\"a\": \"{}\"}}", "x".repeat(1000));
    client.enqueue(PING, "LARGE", data.as_bytes(), &[]);
    let settings = Settings { max_data: 1000, ..world.settings() };
    let _bridge = Bridge::start(world.engine.clone(), settings).expect("good settings");
    let _worker = world.worker().await;
    client.wait_for("LARGE", "failed");
    assert_eq!(
        exc_info(&mut client, "LARGE"),
        "data has 1009 bytes, and may have 1000 (max_data in [bridge.redis] is the limit of data, meta and result)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_no_list_is_tried_until_it_is_one() {
    let world = World::new();
    let mut client = world.client();
    client.tell(&["SET", QUEUE, "no list"]);
    let _bridge = world.bridge();
    echo(world.worker().await);
    client.tell(&["DEL", QUEUE]);
    client.enqueue(PING, "THEN", b"{}", &[]);
    client.wait_for("THEN", "finished");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_without_the_password() {
    let world = World::new();
    let refused = |settings: Settings| {
        Bridge::start(world.engine.clone(), settings).map(drop).expect_err("they are refused")
    };
    let queues = || vec![PING.to_owned()];
    let text = refused(Settings::new("http://:secret@localhost/", queues())).to_string();
    assert!(text.contains("redis://") && !text.contains("secret"), "{text}");
    assert_eq!(refused(Settings::new("redis://localhost", Vec::new())), InvalidSettings::NoQueues);
    let twice = vec![PING.to_owned(), PING.to_owned()];
    assert_eq!(refused(Settings::new("redis://localhost", twice)), InvalidSettings::Twice(PING.to_owned()));
    let none = Settings { max_taken: 0, ..Settings::new("redis://localhost", queues()) };
    assert_eq!(refused(none), InvalidSettings::NoneTaken);
}
