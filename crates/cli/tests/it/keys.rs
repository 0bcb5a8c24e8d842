//! The same start again: stored results, runs in flight, interrupted and taken up.

use serde_json::json;

use crate::support::{House, until};

const ONE_STEP: &str =
    "version: v1\ntype: flow\nsteps:\n  - {type: task, name: Work, resourceArn: shop/work}\n";

#[test]
fn a_second_start_with_the_same_key_returns_the_stored_result() {
    let house = House::new();
    house.write("nightly/flow.yaml", ONE_STEP);
    house.write("functions/.keep", "");
    house.function("shop/work", "return {'sum': event['a'] + 1}");
    let args = [
        "run",
        "nightly/flow.yaml",
        "--functions",
        "functions",
        "--input",
        r#"{"a": 1}"#,
        "--continue-id",
        "n-1",
    ];
    let first = house.run(&args).expect(0);
    let second = house.run(&args).expect(0);
    assert_eq!(first.json(), json!({"sum": 2}));
    assert_eq!(second.stdout, first.stdout);
    assert!(second.stderr.contains("stored result"), "{}", second.stderr);
    assert_eq!(house.calls("shop/work"), 1);

    let key = house.run(&["keys", "show", "nightly", "n-1", "--json"]).expect(0).json();
    assert_eq!((&key["state"], &key["generations"]), (&json!("succeeded"), &json!(1)));

    let mut other = args;
    other[5] = r#"{"a": 2}"#;
    let refused = house.run(&other).expect(1);
    for part in ["another input", "--force", "--on-input ignore", "--allow-new-input", " --data "] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert_eq!(house.calls("shop/work"), 1);

    let forced = house.run(&[&other[..], &["--force"]].concat()).expect(0);
    assert_eq!(forced.json(), json!({"sum": 3}));
    assert_eq!(house.calls("shop/work"), 2);
}

#[test]
fn a_stored_result_needs_no_functions_and_no_python() {
    let house = House::new();
    house.write("flow.yaml", ONE_STEP);
    house.function("shop/work", "return {'sum': event['a'] + 1}");
    let args = ["run", "flow.yaml:work", "--input", r#"{"a": 1}"#, "--continue-id", "n-1"];
    house.run(&args).expect(0);
    std::fs::remove_dir_all(house.path("functions")).expect("the functions are gone");
    let without = [&args[..], &["--python", "/nowhere/python"]].concat();
    let again = house.run(&without).expect(0);
    assert_eq!(again.json(), json!({"sum": 2}));
    let mut other = without.clone();
    other[3] = r#"{"a": 2}"#;
    assert!(house.run(&other).expect(1).stderr.contains("another input"));
    let rejected = house.run(&[&without[..], &["--on-success", "reject"]].concat()).expect(1);
    assert!(rejected.stderr.contains("runs attach run_"), "{}", rejected.stderr);
    assert!(rejected.stderr.contains(" --data "), "hints lead to the same server: {}", rejected.stderr);
    let forced = house.run(&[&without[..], &["--force"]].concat()).expect(2);
    assert!(forced.stderr.contains("functions"), "a new run needs them: {}", forced.stderr);
}

#[test]
fn a_failed_run_can_be_resumed_under_its_key_with_finished_steps_kept() {
    let house = House::new();
    house.write(
        "flow.yaml",
        "version: v1\ntype: flow\nsteps:\n  - {type: task, name: A, resourceArn: shop/a}\n  - {type: task, name: B, resourceArn: shop/b}\n",
    );
    house.function("shop/a", "return {'a': 1}");
    house.function(
        "shop/b",
        "if not os.path.exists(event['mended']):\n    raise ValueError('not mended')\nreturn {'b': 2}",
    );
    let input = json!({"mended": house.path("mended")}).to_string();
    let args = ["run", "flow.yaml:ab", "--input", &input, "--continue-id", "k", "--on-failure", "resume"];
    let failed = house.run(&args).expect(1);
    assert!(failed.stderr.contains("ValueError: not mended"), "{}", failed.stderr);
    house.write("mended", "");
    let mended = house.run(&args).expect(0);
    assert_eq!(mended.json(), json!({"a": 1, "b": 2}));
    assert!(mended.stderr.contains("was reopened"), "{}", mended.stderr);
    assert_eq!((house.calls("shop/a"), house.calls("shop/b")), (1, 2));
}

#[test]
fn an_interrupted_run_goes_on_with_attach() {
    let house = House::new();
    house.write(
        "flow.yaml",
        "version: v1\ntype: flow\nsteps:\n  - {type: task, name: A, resourceArn: shop/a}\n  - {type: wait, name: Nap, duration: 4}\n  - {type: task, name: B, resourceArn: shop/b}\n",
    );
    house.function("shop/a", "return {'a': 1}");
    house.function("shop/b", "return {'b': 2}");
    let mut running = house.spawn(&["run", "flow.yaml:nap"]);
    let run = until("the run is there", || {
        running.expect_running();
        let page = house.run(&["runs", "list", "--json", "--waiting", "timer"]);
        let page: serde_json::Value = serde_json::from_str(&page.stdout).ok()?;
        Some(page["items"].get(0)?["run_id"].as_str()?.to_owned())
    });
    running.signal("INT");
    let done = running.wait().expect(130);
    assert!(done.stderr.contains(&format!("riverrun runs attach {run}")), "{}", done.stderr);
    assert_eq!(house.run(&["runs", "attach", &run]).expect(0).json(), json!({"a": 1, "b": 2}));
    assert_eq!((house.calls("shop/a"), house.calls("shop/b")), (1, 1));
}

#[test]
fn a_second_command_joins_the_run_in_flight() {
    let house = House::new();
    house.write("flow.yaml", ONE_STEP);
    house.function(
        "shop/work",
        "while not os.path.exists(event['gate']):\n    time.sleep(0.02)\nreturn {'done': 1}",
    );
    let input = json!({"gate": house.path("gate")}).to_string();
    let args = ["run", "flow.yaml:work", "--input", &input, "--continue-id", "k"];
    let first = house.spawn(&args);
    until("the first calls the function", || (house.calls("shop/work") == 1).then_some(()));
    let second = house.spawn(&args);
    until("the second has joined", || {
        let key = house.run(&["keys", "show", "work", "k", "--json"]);
        let key: serde_json::Value = serde_json::from_str(&key.stdout).ok()?;
        (key["hits"] == 1).then_some(())
    });
    house.write("gate", "");
    // The second may lose its server when the first ends; it then opens the directory itself.
    assert_eq!(first.wait().expect(0).json(), json!({"done": 1}));
    assert_eq!(second.wait().expect(0).json(), json!({"done": 1}));
    assert_eq!(house.calls("shop/work"), 1);
}

#[test]
fn a_command_whose_server_was_another_command_goes_on_when_that_is_killed() {
    let house = House::new();
    let nap = "version: v1\ntype: flow\nsteps:\n  - {type: wait, name: Nap, duration: 600}\n";
    house.write("nap.yaml", nap);
    house.write("flow.yaml", ONE_STEP);
    house.function(
        "shop/work",
        "while not os.path.exists(event['gate']):\n    time.sleep(0.02)\nreturn {'done': 1}",
    );
    let input = json!({"gate": house.path("gate")}).to_string();
    let first = house.spawn(&["run", "nap.yaml"]);
    until("the first serves the directory", || house.data().join("server.json").exists().then_some(()));
    // Each start by `--force` is another run: it must not be repeated.
    let second = house.spawn(&["run", "flow.yaml", "--input", &input, "--continue-id", "k", "--force"]);
    until("the second executes its function", || (house.calls("shop/work") == 1).then_some(()));
    first.kill();
    house.write("gate", "");
    let done = second.wait().expect(0);
    assert_eq!(done.json(), json!({"done": 1}));
    assert!(done.stderr.contains("goes on from here"), "{}", done.stderr);
    let key = house.run(&["keys", "list", "--json"]).expect(0).json();
    assert_eq!(key["items"][0]["generations"], 1, "{key}");
}

#[test]
fn a_killed_command_goes_on_with_the_same_key() {
    let house = House::new();
    house.write(
        "flow.yaml",
        "version: v1\ntype: flow\nsteps:\n  - {type: task, name: A, resourceArn: shop/a}\n  - {type: task, name: B, resourceArn: shop/b}\n",
    );
    house.function("shop/a", "return {'a': 1}");
    house.function(
        "shop/b",
        "while not os.path.exists(event['gate']):\n    time.sleep(0.02)\nreturn {'b': 2}",
    );
    let input = json!({"gate": house.path("gate")}).to_string();
    let args = ["run", "flow.yaml:pair", "--input", &input, "--continue-id", "k"];
    let first = house.spawn(&args);
    until("the first calls the second function", || (house.calls("shop/b") == 1).then_some(()));
    first.kill();
    house.write("gate", "");
    let second = house.run(&args).expect(0);
    assert!(second.stderr.contains("goes on"), "{}", second.stderr);
    assert_eq!(second.json()["b"], 2);
    // What was in flight at the kill is done again, what was recorded is not.
    assert_eq!((house.calls("shop/a"), house.calls("shop/b")), (1, 2));
}
