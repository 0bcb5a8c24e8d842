//! The binary between a real Redis and real Python handlers, with kills of all three.

use crate::redis::Redis;
use crate::support::{House, Server, request, until};

const PING: &str = "/demo_api/ping";

/// A house with a handler that waits for a gate if it is given one, and a configuration where the server looks for it.
fn house(redis: &Redis) -> House {
    let house = House::new();
    let calls = house.path("calls").to_str().expect("text").to_owned();
    house.write(
        "handlers/demo_api.py",
        &format!(
            "import os, time\n\n\ndef ping(req, n: int = 0, gate: str = ''):\n    with open({calls:?}, 'a') as calls:\n        \
             calls.write(f'{{n}}\\n')\n    while gate and not os.path.exists(gate):\n        time.sleep(0.02)\n    \
             if n < 0:\n        raise ValueError('百')\n    return 'OK', {{'data': n}}\n"
        ),
    );
    house.write(
        "riverrun.toml",
        &format!("[bridge.redis]\nurl = \"{}\"\nqueues = [\"{PING}\"]\n", redis.url()),
    );
    house
}

fn metric(server: &Server, name: &str) -> Option<u64> {
    let text = request(&server.url, "GET /metrics", &[], "");
    let line = text.lines().find(|line| line.starts_with(&format!("riverrun_bridge_{name} ")))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_task_from_redis_survives_kills_of_server_and_redis_and_runs_once() {
    let mut redis = Redis::start();
    let mut client = redis.client();
    let house = house(&redis);
    let server = house.server(&[]);
    let _worker = house.spawn(&["worker", "handlers", "--server", &server.url]);
    let gate = house.path("gate").to_str().expect("text").to_owned();
    let data = format!("{{\"n\": 7, \"gate\": {gate:?}}}");
    client.enqueue(PING, "AC3C301A7CA516EA", data.as_bytes(), &[]);
    until("the handler is called", || (house.calls("7") == 1).then_some(()));
    client.wait_for("AC3C301A7CA516EA", "started");
    let port = server.url.rsplit(':').next().expect("a port").to_owned();
    let worker = client.field("AC3C301A7CA516EA", "handle_worker");
    let parts: Vec<&str> = worker.rsplitn(3, ':').collect();
    assert!(parts.len() == 3 && parts[1] == port && parts[0].parse::<u32>().is_ok(), "{worker}");

    assert_eq!(client.list("riverrun:taken:{/demo_api/ping}"), ["AC3C301A7CA516EA"]);

    redis.kill();
    server.process.kill();
    std::fs::write(&gate, "").expect("a file");
    redis.revive();
    let server = house.server_at(&server.url, &[]);

    let mut client = redis.client();
    client.wait_for("AC3C301A7CA516EA", "finished");
    let result = client.bytes(&["HGET", "mq:msg:AC3C301A7CA516EA", "result"]).expect("a result");
    assert_eq!(result, b"\x80\x02U\x19{\"stat\": \"OK\", \"data\": 7}q\x01.");
    until("the id is let go", || {
        (client.number(&["EXISTS", "riverrun:taken:{/demo_api/ping}", "mq:wip:{/demo_api/ping}"]) == 0)
            .then_some(())
    });
    assert_eq!(house.calls("7"), 1);
    assert_eq!(metric(&server, "messages_finished_total"), Some(1));
    assert_eq!(metric(&server, "redis_connected"), Some(1));
    let mut process = server.process;
    process.signal("TERM");
    process.wait().expect(0);
}

#[test]
fn a_crowd_of_tasks_is_done_through_kills_and_each_ends_once_in_the_record() {
    let redis = Redis::start();
    let mut client = redis.client();
    let house = house(&redis);
    let mut server = house.server(&[]);
    let _worker = house.spawn(&["worker", "handlers", "--server", &server.url]);
    for n in 0..300 {
        client.enqueue(PING, &format!("N{n}"), format!("{{\"n\": {}}}", n + 1).as_bytes(), &[]);
        if n % 100 == 60 {
            let url = server.url.clone();
            server.process.kill();
            server = house.server_at(&url, &[]);
        }
    }
    for n in 0..300 {
        client.wait_for(&format!("N{n}"), "finished");
    }
    let count = "SELECT count(*) AS all_runs, count(DISTINCT labels ->> 'baichuan.id') AS ids FROM runs WHERE state = 'succeeded'";
    let rows = house.run(&["sql", count, "--json"]).expect(0).stdout;
    assert!(rows.contains("\"all_runs\":300") && rows.contains("\"ids\":300"), "{rows}");
    assert_eq!(client.number(&["ZCARD", "mq:finished:{/demo_api/ping}"]), 300);
}

#[test]
fn a_server_starts_without_its_redis_and_says_so() {
    let mut redis = Redis::absent();
    let house = house(&redis);
    let server = house.server(&[]);
    assert_eq!(metric(&server, "redis_connected"), Some(0));
    redis.revive();
    until("Redis is found", || (metric(&server, "redis_connected") == Some(1)).then_some(()));
    let mut process = server.process;
    process.signal("TERM");
    let said = process.wait().expect(0).stderr;
    assert!(said.contains("Redis cannot be reached") && said.contains("nothing is lost"), "{said}");
    assert!(said.contains("Redis answers again"), "{said}");
}

#[test]
fn a_configuration_that_cannot_work_is_refused_before_anything_is_served() {
    let house = House::new();
    let refused = |text: &str| {
        house.write("riverrun.toml", text);
        house.run(&["server", "--listen", "127.0.0.1:0"]).expect(2).stderr
    };
    assert!(refused("[bridge.redis]\nurl = \"localhost\"\nqueues = [\"/a\"]\n").contains("[bridge.redis]"));
    assert!(refused("[bridge.redis]\nurl = \"redis://h\"\nqueues = []\n").contains("names no queue"));
    assert!(refused("[bridge.redis]\nqueues = [\"/a\"]\n").contains("one of url, url_file and url_env"));
    assert!(refused("[bridge.rabbit]\n").contains("rabbit"));
}
