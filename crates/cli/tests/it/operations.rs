//! Backups, restores, repairs and questions in SQL, with whole processes.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{House, post, until};

/// A flow that sleeps for an hour: its runs are open.
const NAP: &str = "version: v1\ntype: flow\nsteps:\n  - {type: wait, name: Nap, duration: 3600}\n";
/// A flow of one call.
const WORK: &str = "version: v1\ntype: flow\nsteps:\n  - {type: task, name: Work, resourceArn: shop/work}\n";

fn start(server: &str, input: Value) -> String {
    let body = json!({"definition": "nap", "input": input}).to_string();
    post(server, "/v1/runs", &body)["run_id"].as_str().expect("a run id").to_owned()
}

/// A house whose server knows the sleeping flow.
fn napping() -> (House, crate::support::Server) {
    let house = House::new();
    house.write("flow.yaml", NAP);
    let server = house.server(&[]);
    house.run(&["deploy", "flow.yaml", "--name", "nap", "--server", &server.url]).expect(0);
    (house, server)
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).map_or_else(|_| Vec::new(), |entries| entries.flatten().collect());
    entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The ids of all runs in a data directory that nobody holds.
fn runs_in(house: &House, data: &str) -> Vec<String> {
    let done = house.run(&["sql", "SELECT run_id FROM runs", "--json", "--data", data]).expect(0);
    let run = |line| serde_json::from_str::<Value>(line).expect("JSON")["run_id"].as_str().map(str::to_owned);
    done.stdout.lines().filter_map(run).collect()
}

#[test]
fn a_backup_under_load_has_every_run_that_was_acknowledged_before_it() {
    let (house, server) = napping();
    let before: Vec<String> = (0..40).map(|n| start(&server.url, json!({"n": n}))).collect();
    let stop = AtomicBool::new(false);
    let backup = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut more = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                more.push(start(&server.url, json!({"more": more.len()})));
            }
            more
        });
        let backup = house.run(&["backup", "copy", "--json"]).expect(0).json();
        stop.store(true, Ordering::Relaxed);
        load.join().expect("the load ends");
        backup
    });
    assert_eq!(backup["bytes"], fs::metadata(house.path("copy/backup.db")).expect("it is there").len());
    assert!(names_in(&house.data()).iter().all(|name| !name.starts_with("snapshot")), "nothing stays behind");
    drop(server);

    let restored = house.run(&["restore", "copy", "--data", "restored"]).expect(0);
    assert!(restored.stdout.contains("restored"), "{}", restored.stdout);
    let found = runs_in(&house, "restored");
    assert!(before.iter().all(|run| found.contains(run)), "{} of {}", found.len(), before.len());
    house.run(&["store", "verify", "--data", "restored"]).expect(0);
    let again = house.run(&["restore", "copy", "--data", "restored"]).expect(2);
    assert!(again.stderr.contains("is not empty"), "{}", again.stderr);
}

#[test]
fn a_restored_store_goes_on_with_the_same_runs_keys_and_results() {
    let house = House::new();
    house.write("flow.yaml", WORK);
    house.function("shop/work", "return {'sum': event['a'] + 1}");
    let args = ["run", "flow.yaml:work", "--input", r#"{"a": 1}"#, "--continue-id", "k"];
    house.run(&args).expect(0);
    // Nobody holds the directory: the copy is made without a server.
    house.run(&["backup", "copy"]).expect(0);
    assert!(house.run(&["backup", "copy"]).expect(2).stderr.contains("is not empty"));
    house.run(&["restore", "copy", "--data", "elsewhere"]).expect(0);
    let again = house.run(&[&args[..], &["--data", "elsewhere"]].concat()).expect(0);
    assert_eq!(again.json(), json!({"sum": 2}));
    assert_eq!(house.calls("shop/work"), 1);
}

#[test]
fn a_changed_or_shortened_or_unfinished_backup_is_refused() {
    let (house, server) = napping();
    start(&server.url, json!({}));
    house.run(&["backup", "copy"]).expect(0);
    let path = house.path("copy/backup.db");
    let whole = fs::read(&path).expect("read");
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for damaged in [&changed[..], &whole[..whole.len() - 100], &[]] {
        fs::write(&path, damaged).expect("written");
        let refused = house.run(&["restore", "copy", "--data", "restored"]).expect(1);
        assert!(refused.stderr.contains("nothing was restored"), "{}", refused.stderr);
        assert_eq!(names_in(&house.path("restored")), ["lock"]);
    }
    fs::write(&path, whole).expect("written");
    let manifest = fs::read(house.path("copy/manifest.json")).expect("read");
    fs::remove_file(house.path("copy/manifest.json")).expect("removed");
    let refused = house.run(&["restore", "copy", "--data", "restored"]).expect(1);
    assert!(refused.stderr.contains("no backup"), "{}", refused.stderr);
    fs::write(house.path("copy/manifest.json"), manifest).expect("written");
    house.run(&["restore", "copy", "--data", "restored"]).expect(0);
}

#[test]
fn a_backup_is_cut_off_by_kill_9_and_made_again() {
    let (house, server) = napping();
    let mut random = 1_u64;
    for n in 0..10 {
        let text: String = std::iter::repeat_with(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'0' + (random >> 33) as u8 % 75).to_string().replace('\\', "/")
        })
        .take(4 << 20)
        .collect();
        start(&server.url, json!({"n": n, "text": text}));
    }
    // The server dies while it copies.
    let client = house.spawn(&["backup", "copy"]);
    let begun = || names_in(&house.data()).iter().any(|name| name.starts_with("snapshot")).then_some(());
    until("the copy has begun", begun);
    server.process.kill();
    let failed = client.wait();
    assert_ne!(failed.code, 0, "{}", failed.stderr);
    assert!(!house.path("copy/manifest.json").exists());
    let refused = house.run(&["restore", "copy", "--data", "restored"]).expect(1);
    assert!(refused.stderr.contains("no backup"), "{}", refused.stderr);

    // The client dies while it writes.
    let server = house.server(&[]);
    assert!(begun().is_none(), "what the killed server left is gone");
    let client = house.spawn(&["backup", "copy"]);
    let written = || fs::metadata(house.path("copy/backup.db.part")).is_ok_and(|part| part.len() > 0);
    until("the client writes", || written().then_some(()));
    client.kill();
    assert!(!house.path("copy/manifest.json").exists());
    house.run(&["backup", "copy"]).expect(0);
    drop(server);
    house.run(&["restore", "copy", "--data", "restored"]).expect(0);
    assert_eq!(runs_in(&house, "restored").len(), 10);
}

#[test]
fn runs_that_a_repaired_store_knows_an_older_state_of_wait_for_a_person() {
    let (house, server) = napping();
    let first = start(&server.url, json!({"n": 1}));
    let stop = |mut server: crate::support::Server| {
        server.process.signal("TERM");
        server.process.wait().expect(0);
    };
    stop(server);
    let old = fs::read(house.data().join("riverrun.db")).expect("read");
    let server = house.server(&[]);
    let second = start(&server.url, json!({"n": 2}));
    stop(server);
    fs::write(house.data().join("riverrun.db"), old).expect("an older copy");

    let refused = house.run(&["runs", "list"]).expect(1);
    assert!(refused.stderr.contains("store repair"), "{}", refused.stderr);
    let seen = house.run(&["store", "repair"]).expect(1);
    assert!(seen.stdout.contains("would be suspended") && seen.stdout.contains(&first), "{}", seen.stdout);
    let done = house.run(&["store", "repair", "--accept-loss"]).expect(0);
    assert!(done.stdout.contains("are suspended") && done.stdout.contains(&first), "{}", done.stdout);
    let shown = house.run(&["runs", "show", &first, "--json"]).expect(0).json();
    assert_eq!((&shown["state"], &shown["waiting"]["kind"]), (&json!("suspended"), &json!("repair")));
    house.run(&["runs", "show", &second]).expect(1);
    house.run(&["runs", "resume", &first]).expect(0);
    let shown = house.run(&["runs", "show", &first, "--json"]).expect(0).json();
    assert_eq!(shown["waiting"]["kind"], "timer");
    house.run(&["store", "repair"]).expect(0);
}

#[test]
fn sql_sees_everything_that_was_acknowledged_and_changes_nothing() {
    let house = House::new();
    house.write("flow.yaml", WORK);
    house.function("shop/work", "return {'sum': event['a'] + 1}");
    let key = ["--continue-id", "k", "--label", "who=me"];
    house.run(&[&["run", "flow.yaml:work", "--input", r#"{"a": 1}"#], &key[..]].concat()).expect(0);
    let server = house.server(&[]);
    let ask = |query: &str| {
        let done = house.run(&["sql", query, "--json"]).expect(0);
        done.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>()
    };
    let runs = ask(
        "SELECT definition, state, continue_id, labels ->> 'who' AS who, input ->> 'a' AS a, output ->> 'sum' AS sum, ended FROM runs",
    );
    assert_eq!(runs.len(), 1);
    assert_eq!(
        [
            &runs[0]["definition"],
            &runs[0]["state"],
            &runs[0]["continue_id"],
            &runs[0]["who"],
            &runs[0]["a"],
            &runs[0]["sum"]
        ],
        [&json!("work"), &json!("succeeded"), &json!("k"), &json!("me"), &json!(1), &json!(2)]
    );
    assert!(runs[0]["ended"].as_str().is_some_and(|date| date.ends_with('Z')), "{}", runs[0]);
    assert_eq!(
        ask("SELECT path, state, attempts FROM steps"),
        [json!({"path": "Work", "state": "succeeded", "attempts": 1})]
    );
    let first = ask("SELECT entry FROM journal ORDER BY seq LIMIT 1");
    assert_eq!(first, [json!({"entry": "RunCreated"})]);
    assert_eq!(ask("SELECT state, generations FROM keys"), [json!({"state": "succeeded", "generations": 1})]);
    assert_eq!(
        ask("SELECT kind, name FROM definitions ORDER BY kind"),
        [json!({"kind": "flow", "name": "work"}), json!({"kind": "task", "name": "shop/work"})]
    );
    assert_eq!(ask("SELECT name, value FROM labels"), [json!({"name": "who", "value": "me"})]);
    let table = house.run(&["sql", "SELECT state, count(*) AS runs FROM runs GROUP BY state"]).expect(0);
    assert!(table.stdout.contains("succeeded  1"), "{}", table.stdout);

    for no_question in
        ["DELETE FROM main.runs", "SELECT 1; SELECT 2", "PRAGMA user_version = 7", "CREATE TABLE t (a)"]
    {
        house.run(&["sql", no_question]).expect(2);
    }
    let unknown = house.run(&["sql", "SELECT nowhere FROM runs"]).expect(2);
    assert!(
        unknown.stderr.contains("no such column: nowhere") && unknown.stderr.contains("runs, steps"),
        "{}",
        unknown.stderr
    );
    drop(server);
    assert_eq!(runs_in(&house, "data").len(), 1);
}
