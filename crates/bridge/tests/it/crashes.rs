//! Redis goes away; the bridge goes away, between any two of its steps.

use riverrun_kernel::State;

use crate::redis::{Redis, until};
use crate::support::{FINISHED, PING, QUEUE, TAKEN, WIP, World, answer, echo, metric, next_offer, settled};

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_taken_and_no_more_is_run_at_the_next_start() {
    let world = World::new();
    let mut client = world.client();
    client.write_message(PING, "LEFT", b"{}", &[]);
    client.tell(&["RPUSH", TAKEN, "LEFT"]);
    let _bridge = world.bridge();
    echo(world.worker().await);
    client.wait_for("LEFT", "finished");
    settled(&mut client);
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_started_before_the_bridge_ended_is_joined_by_the_next() {
    let world = World::new();
    let mut client = world.client();
    let bridge = world.bridge();
    let mut worker = world.worker().await;
    client.enqueue(PING, "J", b"{}", &[]);
    let offer = next_offer(&mut worker).await;
    bridge.stop().await;
    assert_eq!(client.list(TAKEN), ["J"]);
    let _bridge = world.bridge();
    client.wait_for("J", "started");
    answer(&worker, &offer, r#"["OK", {}]"#).await;
    client.wait_for("J", "finished");
    settled(&mut client);
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ended_while_there_was_no_bridge_is_only_written_back() {
    let world = World::new();
    let mut client = world.client();
    let bridge = world.bridge();
    let mut worker = world.worker().await;
    client.enqueue(PING, "W", b"{}", &[]);
    let offer = next_offer(&mut worker).await;
    bridge.stop().await;
    answer(&worker, &offer, r#"["OK", {"data": 1}]"#).await;
    drop(worker);
    let _bridge = world.bridge();
    client.wait_for("W", "finished");
    settled(&mut client);
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_was_written_is_only_acknowledged() {
    let world = World::new();
    let mut client = world.client();
    let bridge = world.bridge();
    echo(world.worker().await);
    client.enqueue(PING, "A", b"{}", &[]);
    client.wait_for("A", "finished");
    settled(&mut client);
    bridge.stop().await;
    // As it stands when the process dies after the outcome is written, and before the id is let go.
    client.tell(&["ZREM", FINISHED, "A"]);
    client.tell(&["ZADD", WIP, "5", "A"]);
    client.tell(&["RPUSH", TAKEN, "A"]);
    let _bridge = world.bridge();
    settled(&mut client);
    assert_eq!(client.number(&["ZCARD", FINISHED]), 1);
    assert_eq!(client.field("A", "status"), "finished");
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_and_started_again_loses_nothing_and_repeats_nothing() {
    let mut world = World::new();
    let mut client = world.client();
    let bridge = world.bridge();
    let mut worker = world.worker().await;
    client.enqueue(PING, "BEFORE", b"{}", &[]);
    let offer = next_offer(&mut worker).await;
    client.wait_for("BEFORE", "started");

    world.redis.kill();
    // It ends while there is nobody to write to.
    answer(&worker, &offer, r#"["OK", {}]"#).await;
    until("the outage is seen", || (metric(&bridge, "redis_connected") == 0).then_some(()));
    world.redis.revive();

    let mut client = world.client();
    client.wait_for("BEFORE", "finished");
    client.enqueue(PING, "AFTER", b"{}", &[]);
    let offer = next_offer(&mut worker).await;
    answer(&worker, &offer, r#"["OK", {}]"#).await;
    client.wait_for("AFTER", "finished");
    settled(&mut client);
    assert_eq!(world.runs().await.len(), 2);
    assert!(metric(&bridge, "redis_outages_total") >= 1);
    assert_eq!(metric(&bridge, "redis_connected"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_not_there_yet_is_waited_for() {
    let mut world = World { redis: Redis::absent(), ..World::new() };
    let bridge = world.bridge();
    echo(world.worker().await);
    assert_eq!(metric(&bridge, "redis_connected"), 0);
    world.redis.revive();
    let mut client = world.client();
    client.enqueue(PING, "FIRST", b"{}", &[]);
    client.wait_for("FIRST", "finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_has_forgotten_the_last_steps_is_told_them_again() {
    let world = World::new();
    let mut client = world.client();
    let bridge = world.bridge();
    let mut worker = world.worker().await;
    client.enqueue(PING, "OLD", b"{}", &[]);
    let offer = next_offer(&mut worker).await;
    answer(&worker, &offer, r#"["OK", {}]"#).await;
    client.wait_for("OLD", "finished");
    settled(&mut client);
    bridge.stop().await;
    // What a Redis without appendfsync always comes back with: all of it undone.
    client.tell(&["FLUSHALL"]);
    client.enqueue(PING, "OLD", b"{}", &[]);
    assert_eq!(client.list(QUEUE), ["OLD"]);
    let _bridge = world.bridge();
    client.wait_for("OLD", "finished");
    let runs = world.runs().await;
    assert_eq!(runs.len(), 1);
    let view = world.engine.run(runs[0]).await.expect("the run");
    assert_eq!(view.summary.state, State::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_messages_survives_restarts_of_both() {
    let mut world = World::new();
    echo(world.worker().await);
    let mut bridge = world.bridge();
    let mut client = world.client();
    for n in 0..200 {
        client.enqueue(PING, &format!("C{n}"), format!("{{\"n\": {n}}}").as_bytes(), &[]);
        if n % 50 == 20 {
            world.redis.kill();
            world.redis.revive();
            client = world.client();
        }
        if n % 50 == 40 {
            // Two at once under one name are none of its promises, so it is waited for.
            bridge.stop().await;
            bridge = world.bridge();
        }
    }
    for n in 0..200 {
        client.wait_for(&format!("C{n}"), "finished");
    }
    settled(&mut client);
    assert_eq!(world.runs().await.len(), 200);
    assert_eq!(client.number(&["ZCARD", FINISHED]), 200);
}
