//! What is told of a run: while it is followed, and afterwards.

use crate::support::House;

const ONE_STEP: &str =
    "version: v1\ntype: flow\nsteps:\n  - {type: task, name: Work, resourceArn: shop/work}\n";
const NAP: &str = "version: v1\ntype: flow\nsteps:\n  - {type: wait, name: Nap, duration: 600}\n";

#[test]
fn a_run_that_is_still_open_says_what_it_waits_for() {
    let house = House::new();
    house.write("flow.yaml", ONE_STEP);
    let said = house.run(&["run", "flow.yaml", "--no-worker", "--wait", "300ms"]).expect(8).stderr;
    assert!(said.contains("waits for a worker with shop/work"), "{said}");
    house.write("nap.yaml", NAP);
    let said = house.run(&["run", "nap.yaml", "--wait", "4s"]).expect(8).stderr;
    assert_eq!(
        said.matches("waits for timer Nap, due 2").count(),
        2,
        "once on the way, once at the end: {said}"
    );
}

#[test]
fn numbers_are_told_as_they_are() {
    let house = House::new();
    house.write("flow.yaml", ONE_STEP);
    house.function("shop/work", "return {'n': 12345678901234567890123}");
    let done = house.run(&["run", "flow.yaml:big"]).expect(0);
    assert!(done.stdout.contains("12345678901234567890123"), "{}", done.stdout);
    assert!(done.stderr.contains("12345678901234567890123"), "{}", done.stderr);
    let page = house.run(&["runs", "list", "--json"]).expect(0).json();
    let run = page["items"][0]["run_id"].as_str().expect("a run").to_owned();
    let journal = house.run(&["runs", "journal", &run, "--json"]).expect(0).stdout;
    assert!(
        journal.starts_with(r#"{"seq":1,"at":"#) && journal.contains(":12345678901234567890123"),
        "{journal}"
    );
}

#[test]
fn a_flows_history_is_a_table_or_a_line_of_json_per_event() {
    let house = House::new();
    house.write("flow.yaml", ONE_STEP);
    house.function("shop/work", "return {'n': 12345678901234567890123}");
    house.run(&["run", "flow.yaml"]).expect(0);
    let page = house.run(&["runs", "list", "--json"]).expect(0).json();
    let run = page["items"][0]["run_id"].as_str().expect("a run").to_owned();
    let table = house.run(&["runs", "history", &run]).expect(0).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with('#') && lines[1].contains("ExecutionStarted"), "{table}");
    assert_eq!(lines.len(), 10, "{table}");
    let json = house.run(&["runs", "history", &run, "--json", "--follow"]).expect(0).stdout;
    assert!(json.lines().next().is_some_and(|line| line.starts_with(r#"{"event_id":1,"#)), "{json}");
    assert!(json.contains(r#""type":"TaskSucceeded","step_name":"Work""#), "{json}");
    assert!(json.contains(":12345678901234567890123"), "numbers are told as they are: {json}");
}

#[test]
fn a_function_that_failed_shows_where() {
    let house = House::new();
    house.write("flow.yaml", ONE_STEP);
    house.function("shop/work", "raise ValueError('the shop is closed')");
    house.run(&["run", "flow.yaml"]).expect(1);
    let page = house.run(&["runs", "list", "--json"]).expect(0).json();
    let run = page["items"][0]["run_id"].as_str().expect("a run").to_owned();
    for args in [&["runs", "show", &run][..], &["runs", "journal", &run, "--all"]] {
        let text = house.run(args).expect(0).stdout;
        assert!(text.contains("Traceback") && text.contains("shop/work.py"), "{args:?}: {text}");
    }
    let brief = house.run(&["runs", "journal", &run]).expect(0).stdout;
    assert!(!brief.contains("Traceback"), "{brief}");
    let said = house.run(&["runs", "resume", &run]).expect(0).stderr;
    assert!(said.contains(&format!("riverrun runs attach {run} --data ")), "nobody executes it: {said}");
}

#[test]
fn a_time_limit_is_told_by_the_name_that_a_catch_sees() {
    let house = House::new();
    house.write("flow.yaml", &ONE_STEP.replace("shop/work}", "shop/work, timeoutSeconds: 1}"));
    house.function(
        "shop/work",
        "while True:\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass",
    );
    let said = house.run(&["run", "flow.yaml"]).expect(1).stderr;
    assert!(said.contains("FnF.TaskTimeout: ") && !said.contains(" Timeout: "), "{said}");
    assert!(said.contains("killed by its worker") && !said.contains("want of memory"), "{said}");
}

#[test]
fn another_try_is_offered_only_where_it_can_help() {
    let house = House::new();
    house.write(
        "jobs.py",
        "import riverrun\n\n\nclass InvalidInput(Exception):\n    pass\n\n\n@riverrun.task\ndef double(n: int):\n    raise InvalidInput('odd')\n",
    );
    let said = house.run(&["run", "jobs.py:double", "--input", r#"{"m": 1}"#]).expect(1).stderr;
    assert!(said.contains("there is no parameter `m` (did you mean `n`?); `n` is missing"), "{said}");
    let said = house.run(&["run", "jobs.py:double", "--input", r#"{"n": 1}"#]).expect(1).stderr;
    assert!(said.contains("InvalidInput") && said.contains("with an input that fits"), "{said}");
    assert!(!said.contains("runs resume"), "{said}");
}

#[test]
fn what_a_server_has_is_run_by_its_name() {
    let house = House::new();
    house.write("sleep.yaml", "version: v1\ntype: flow\nsteps:\n  - {type: pass, name: Pass, end: true}\n");
    let said = house.said(&["run", "sleep"], 2);
    assert!(said.contains("there is no file sleep, and no server runs here"), "{said}");

    let server = house.strict_server(&[]);
    let run = |name, code| house.said(&["run", name, "--server", &server.url], code);
    assert!(run("sleep", 1).contains("there is no `sleep`"), "{}", run("sleep", 1));
    house.run(&["deploy", "sleep.yaml", "--server", &server.url]).expect(0);
    house.run(&["run", "sleep", "--server", &server.url]).expect(0);
    assert!(run("sleeps", 1).contains("did you mean `sleep`?"));

    house.write("notes.txt", "");
    assert!(run("notes.txt", 2).contains("is neither a flow (.yaml) nor a Python file (.py)"));
}
