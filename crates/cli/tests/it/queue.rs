//! The task queue as whole processes: kills, limits, dead letters, and what the command line shows.

use serde_json::{Value, json};

use crate::support::{House, Server, post, until};

fn house() -> House {
    let house = House::new();
    house.function("mail/send", "return event['n']");
    house
}

fn batch(server: &Server, count: u64, options: &Value) -> Vec<String> {
    let run = |n: u64| {
        let mut run = json!({"definition": "mail/send", "kind": "task", "input": {"n": n}});
        for (name, value) in options.as_object().expect("options") {
            run[name] = value.clone();
        }
        run
    };
    let runs: Vec<Value> = (0..count).map(run).collect();
    let answer = post(&server.url, "/v1/runs/batch", &json!({"runs": runs}).to_string());
    let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
    items.iter().map(|item| item["run_id"].as_str().expect("a run id").to_owned()).collect()
}

fn queue(house: &House, server: &Server, name: &str) -> Value {
    house.run(&["queue", "show", name, "--json", "--server", &server.url]).expect(0).json()
}

fn all_succeeded(house: &House, server: &Server, runs: &[String]) {
    for run in runs {
        house.run(&["runs", "attach", run, "--server", &server.url]).expect(0);
    }
}

#[test]
fn what_is_queued_paused_and_limited_survives_kill_9_and_runs_once() {
    let house = house();
    let server = house.server(&["--lease", "10s"]);
    let at = |server: &Server, args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["--server", &server.url]);
        house.run(&all).expect(0);
    };
    at(&server, &["queue", "pause", "mail"]);
    at(&server, &["queue", "limit", "mail", "--max-running", "2", "--rate", "200/s"]);
    let runs = batch(&server, 40, &json!({"queue": "mail", "retries": 2}));
    server.process.kill();

    let server = house.server_at(&server.url, &[]);
    let shown = queue(&house, &server, "mail");
    assert_eq!(
        (&shown["paused"], &shown["waiting"], &shown["unserved"]),
        (&json!(true), &json!(40), &json!(true))
    );
    assert_eq!((&shown["max_running"], &shown["rate"]), (&json!(2), &json!("200/s")));
    let _worker = house.spawn(&["worker", "functions", "--server", &server.url]);
    at(&server, &["queue", "resume", "mail"]);
    until("some are done", || (house.calls("mail/send") >= 5).then_some(()));
    server.process.kill();

    let server = house.server_at(&server.url, &[]);
    all_succeeded(&house, &server, &runs);
    assert_eq!(house.calls("mail/send"), 40);
    assert_eq!(queue(&house, &server, "mail")["waiting"], 0);
}

#[test]
fn a_group_goes_on_after_its_server_is_killed() {
    let house = house();
    house.function("mail/sum", "return sum(event['numbers'])");
    let server = house.server(&[]);
    let part =
        |n: u64| json!({"definition": "mail/send", "kind": "task", "input": {"n": n}, "max_running": 1});
    let parts: Vec<Value> = (1..=10).map(part).collect();
    let then = json!({"definition": "mail/sum", "kind": "task", "into": "numbers"});
    let body = json!({"runs": parts, "then": then}).to_string();
    let run = post(&server.url, "/v1/groups", &body)["run_id"].as_str().expect("a run").to_owned();
    let _worker = house.spawn(&["worker", "functions", "--server", &server.url]);
    until("some are done", || (house.calls("mail/send") >= 3).then_some(()));
    server.process.kill();

    let server = house.server_at(&server.url, &[]);
    let output = house.run(&["runs", "attach", &run, "--server", &server.url]).expect(0).json();
    assert_eq!(output, 55);
    assert_eq!((house.calls("mail/send"), house.calls("mail/sum")), (10, 1));
}

#[test]
fn a_poison_task_ends_among_the_dead_letters_and_charges_nobody_else() {
    let house = house();
    house.function("mail/poison", "import signal\nif not os.path.exists(event['cure']):\n    os.kill(os.getpid(), signal.SIGKILL)\nreturn 'cured'");
    let server = house.server(&[]);
    let _worker = house.spawn(&["worker", "functions", "--server", &server.url]);
    let cure = house.path("cure");
    let body = json!({"definition": "mail/poison", "kind": "task", "input": {"cure": cure}, "retries": 5});
    let run = post(&server.url, "/v1/runs", &body.to_string())["run_id"].as_str().expect("a run").to_owned();
    let others = batch(&server, 20, &json!({}));
    all_succeeded(&house, &server, &others);
    house.run(&["runs", "attach", &run, "--server", &server.url]).expect(1);
    assert_eq!((house.calls("mail/poison"), house.calls("mail/send")), (3, 20));
    let dead =
        house.run(&["queue", "dead", "list", "--error", "WorkerCrashed", "--server", &server.url]).expect(0);
    assert!(dead.stdout.contains(&run) && dead.stdout.contains("mail/poison"), "{}", dead.stdout);
    house.write("cure", "");
    house.run(&["queue", "dead", "retry", "--all", "--server", &server.url]).expect(0);
    let output = house.run(&["runs", "attach", &run, "--server", &server.url]).expect(0).json();
    assert_eq!(output, "cured");
    let none = house.run(&["queue", "dead", "list", "--json", "--server", &server.url]).expect(0).json();
    assert_eq!(none["items"], json!([]));
}

#[test]
fn top_without_a_terminal_shows_queues_and_workers_once() {
    let house = house();
    let server = house.server(&[]);
    batch(&server, 3, &json!({"queue": "nobody"}));
    let shown = house.run(&["queue", "top", "--server", &server.url]).expect(0);
    assert!(shown.stdout.contains("3 waiting, 0 running"), "{}", shown.stdout);
    assert!(shown.stdout.contains("nobody") && shown.stdout.contains("unserved"), "{}", shown.stdout);
    assert!(!shown.stdout.contains('\u{1b}'), "{}", shown.stdout);
    let listed = house.run(&["queue", "list", "--server", &server.url]).expect(0);
    assert!(listed.stderr.contains("no worker takes mail/send"), "{}", listed.stderr);
    let refused = house.run(&["queue", "empty", "nobody", "--server", &server.url]).expect(2);
    assert!(refused.stderr.contains("3 in queue nobody would be cancelled"), "{}", refused.stderr);
    house.run(&["queue", "empty", "nobody", "--yes", "--server", &server.url]).expect(0);
    assert_eq!(queue(&house, &server, "nobody")["waiting"], 0);
}

#[test]
fn a_task_is_run_with_the_options_of_its_queue() {
    let house = House::new();
    house.write(
        "jobs.py",
        "import riverrun\n\n\n@riverrun.task\ndef count(n):\n    for at in range(n):\n        riverrun.progress(at + 1, n, 'counting')\n    if riverrun.current_context().attempt == 1:\n        raise riverrun.Retry('not yet', after=0)\n    return n\n",
    );
    let args = ["run", "jobs.py:count", "--input", r#"{"n": 3}"#, "--queue", "slow", "--priority", "5"];
    let mut all = args.to_vec();
    all.extend(["--retries", "1", "--max-running", "1", "--rate", "10/s", "--unique", "--result-ttl", "1h"]);
    assert_eq!(house.run(&all).expect(0).json(), 3);
    let bad = house.run(&["run", "jobs.py:count", "--rate", "often"]).expect(2);
    assert!(bad.stderr.contains("30/s"), "{}", bad.stderr);
}

#[test]
fn what_needs_a_person_or_is_deleted_or_backfilled_is_told_on_the_command_line() {
    let house = house();
    house.write("hello.yaml", "version: v1\ntype: flow\nsteps:\n  - {type: pass, name: Hello}\n");
    let server = house.server(&[]);
    let at = |args: &[&str], code| house.run(&[args, &["--server", &server.url]].concat()).expect(code);
    let run = batch(&server, 1, &json!({"queue": "nobody"})).remove(0);
    batch(&server, 2, &json!({"queue": "later", "delay": "1h"}));
    let found = at(&["runs", "list", "--needs-attention", "--json"], 0).json();
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found["items"][0]["run_id"], run);
    assert!(at(&["queue", "empty", "later", "--yes"], 0).stderr.contains("2 cancelled"));

    at(&["deploy", "hello.yaml"], 0);
    at(&["schedule", "create", "hourly", "0 * * * *", "--run", "hello"], 0);
    let refused = at(&["definitions", "delete", "hello"], 1);
    assert!(refused.stderr.contains("the schedule `hourly`"), "{}", refused.stderr);
    let backfill =
        ["schedule", "backfill", "hourly", "--from", "2025-03-01T00:00:00Z", "--to", "2025-03-01T02:00:00Z"];
    let dry = at(&[&backfill[..], &["--dry-run"]].concat(), 0);
    assert!(
        dry.stdout.contains("would be started") && dry.stderr.contains("3 would be started"),
        "{}",
        dry.stderr
    );
    assert!(at(&backfill, 0).stderr.contains("3 started"));
    assert!(at(&backfill, 0).stderr.contains("0 started"));
    at(&["schedule", "delete", "hourly"], 0);
    for open in
        at(&["runs", "list", "--definition", "hello", "--json"], 0).json()["items"].as_array().expect("runs")
    {
        at(&["runs", "attach", open["run_id"].as_str().expect("an id")], 0);
    }
    assert!(at(&["definitions", "list"], 0).stdout.contains("hello"));
    at(&["definitions", "delete", "hello"], 0);
    assert!(!at(&["definitions", "list"], 0).stdout.contains("hello"));
}
