//! Bad input, and surroundings that are not as they should be: each gets a clear error with a next step, kept as a snapshot.

use std::fs;

use insta::assert_snapshot;

use crate::support::{House, free_port, repository};

const ONE_STEP: &str =
    "version: v1\ntype: flow\nsteps:\n  - {type: task, name: Work, resourceArn: shop/work}\n";

/// A house with one flow and one function that works.
fn house() -> House {
    let house = House::new();
    house.write("flow.yaml", ONE_STEP);
    house.function("shop/work", "return {'done': True}");
    house
}

#[test]
fn three_mistakes_in_three_places_are_all_shown() {
    let house = House::new();
    let flow = "\
version: v1
type: flow
steps:
  - type: task
    name: Work
  - type: wait
    name: Nap
    duration: soon
  - type: choice
    name: Which
    choices:
      - condition: $.a ==
        goto: Nowhere
";
    house.write("flow.yaml", flow);
    assert_snapshot!(house.said(&["check", "flow.yaml"], 2));
    let found = house.run(&["check", "flow.yaml", "--json"]).expect(2).json();
    assert!(found.as_array().expect("a list").len() >= 3, "{found}");
}

#[test]
fn yaml_that_is_none() {
    let house = House::new();
    house.write("flow.yaml", "version: v1\ntype: flow\nsteps:\n  - type: pass\n   name: Bad\n");
    assert_snapshot!(house.said(&["run", "flow.yaml"], 2));
}

#[test]
fn a_file_that_is_not_there() {
    assert_snapshot!(House::new().said(&["run", "no.yaml"], 2));
}

#[test]
fn a_file_that_is_no_flow() {
    assert_snapshot!(house().said(&["run", "functions"], 2));
}

#[test]
fn input_that_is_not_json() {
    assert_snapshot!(house().said(&["run", "flow.yaml", "--input", "{delay: 20}"], 2));
}

#[test]
fn input_that_is_not_an_object() {
    assert_snapshot!(house().said(&["run", "flow.yaml", "--input", "[1]"], 2));
}

#[test]
fn a_function_that_nobody_has() {
    let house = house();
    house.write("typo.yaml", &ONE_STEP.replace("shop/work", "shop/wrok"));
    assert_snapshot!(house.said(&["run", "typo.yaml"], 2));
    assert_eq!(house.calls("shop/work"), 0);
}

#[test]
fn a_functions_folder_that_is_not_there() {
    let house = House::new();
    house.write("flow.yaml", ONE_STEP);
    assert_snapshot!(house.said(&["run", "flow.yaml"], 2));
}

#[test]
fn a_file_of_functions_without_a_handler() {
    let house = House::new();
    house.write("flow.yaml", ONE_STEP);
    house.write("functions/shop/work.py", "def work(event, context):\n    return {}\n");
    assert_snapshot!(house.said(&["run", "flow.yaml"], 2));
}

#[test]
fn an_input_file_that_is_not_there() {
    house().run(&["run", "flow.yaml", "--input", "@missing.json"]).expect(2);
}

#[test]
fn an_empty_continue_id() {
    let house = house();
    assert_snapshot!(house.said(&["run", "flow.yaml", "--continue-id", ""], 2));
    assert_eq!(house.calls("shop/work"), 0);
}

#[test]
fn a_token_that_anybody_guesses() {
    let house = House::new();
    house.write("token", "short\n");
    let listen = format!("127.0.0.1:{}", free_port());
    assert_snapshot!(house.said(&["server", "--listen", &listen, "--token-file", "token"], 2));
    let mut command = house.command(&["server", "--listen", &listen]);
    let done = command.env("RIVERRUN_TOKEN", "short").output().expect("the binary starts");
    assert_eq!(done.status.code(), Some(2));
    assert!(!house.data().exists(), "nothing was opened");
}

#[test]
fn a_run_that_is_not_there() {
    let house = house();
    house.run(&["run", "flow.yaml"]).expect(0);
    assert_snapshot!(house.said(&["runs", "show", "run_01aaaaaaaaaaaaaaaaaaaaaaaa"], 1));
}

#[test]
fn a_text_that_is_no_run() {
    assert_snapshot!(house().said(&["runs", "show", "latest"], 2));
}

#[test]
fn a_data_directory_that_is_not_there() {
    assert_snapshot!(House::new().said(&["runs", "list"], 1));
}

#[test]
fn a_server_that_is_not_there() {
    let url = format!("http://127.0.0.1:{}", free_port());
    assert_snapshot!(house().said(&["runs", "list", "--server", &url], 7));
}

#[test]
fn a_definition_that_is_not_there() {
    let house = house();
    let server = house.server(&[]);
    let answer = crate::support::post(&server.url, "/v1/runs", r#"{"definition": "nope", "input": {}}"#);
    assert_eq!(answer["code"], "unknown_definition", "{answer}");
}

#[test]
fn a_second_server_on_the_same_directory() {
    let house = house();
    let _server = house.server(&[]);
    assert_snapshot!(house.said(&["server", "--listen", &format!("127.0.0.1:{}", free_port())], 1));
}

#[test]
fn a_data_directory_of_a_newer_version() {
    let house = house();
    house.run(&["run", "flow.yaml"]).expect(0);
    let script = "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as db:\n    \
                  db.execute(\"UPDATE meta SET value = 9999 WHERE name = 'format'\")\n";
    let changed = std::process::Command::new("python3")
        .args(["-c", script, house.data().join("riverrun.db").to_str().expect("text")])
        .status()
        .expect("Python starts");
    assert!(changed.success());
    assert_snapshot!(house.said(&["runs", "list"], 1));
}

#[test]
fn a_damaged_data_directory_is_refused_until_told_otherwise() {
    let house = house();
    house.run(&["run", "flow.yaml"]).expect(0);
    fs::write(house.data().join("riverrun.db"), "this is no database").expect("a file");
    let said = house.run(&["runs", "list"]);
    assert!(said.code == 1 && said.stderr.contains("next:"), "{}: {}", said.code, said.stderr);
}

#[test]
fn a_port_in_use() {
    let house = house();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    assert_snapshot!(house.said(&["server", "--listen", &address], 2));
}

#[test]
fn an_open_address_without_a_token() {
    let listen = format!("0.0.0.0:{}", free_port());
    assert_snapshot!(house().said(&["server", "--listen", &listen], 2));
}

#[test]
fn an_interpreter_that_is_not_there() {
    assert_snapshot!(house().said(&["run", "flow.yaml", "--python", "/no/python"], 1));
}

#[test]
fn an_interpreter_that_is_too_old() {
    let house = house();
    let old =
        house.write("old-python", "#!/bin/sh\necho '{\"major\": 3, \"minor\": 8, \"installed\": null}'\n");
    fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    assert_snapshot!(house.said(&["run", "flow.yaml", "--python", &old], 1));
}

#[test]
fn an_installed_package_of_another_version() {
    let house = house();
    let other = house
        .write("other-python", "#!/bin/sh\necho '{\"major\": 3, \"minor\": 12, \"installed\": \"9.9.9\"}'\n");
    fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    assert_snapshot!(house.said(&["run", "flow.yaml", "--python", &other], 1));
}

#[test]
fn a_function_that_returns_a_number() {
    let house = House::new();
    house.write("flow.yaml", ONE_STEP);
    house.function("shop/work", "return 7");
    assert_snapshot!(house.said(&["run", "flow.yaml", "--quiet"], 1));
}

#[test]
fn a_function_that_raises() {
    let house = House::new();
    house.write("flow.yaml", ONE_STEP);
    house.function("shop/work", "raise ValueError('the shop is closed')");
    assert_snapshot!(house.said(&["run", "flow.yaml", "--quiet"], 1));
}

#[test]
fn a_function_that_calls_sys_exit() {
    let house = House::new();
    house.write("flow.yaml", ONE_STEP);
    house.function("shop/work", "sys.exit(3)");
    assert_snapshot!(house.said(&["run", "flow.yaml", "--quiet"], 1));
}

#[test]
fn a_function_that_never_returns_is_killed_at_its_time_limit() {
    let house = House::new();
    house.write("flow.yaml", &ONE_STEP.replace("shop/work}", "shop/work, timeoutSeconds: 1}"));
    house.function("shop/work", "while True:\n    pass");
    assert_snapshot!(house.said(&["run", "flow.yaml", "--quiet"], 1));
}

#[test]
fn a_function_that_prints_ten_megabytes() {
    let house = House::new();
    house.write("flow.yaml", ONE_STEP);
    house.function("shop/work", "print('x' * 10_000_000)\nreturn {'printed': True}");
    assert_eq!(house.run(&["run", "flow.yaml", "--quiet"]).expect(0).stdout, "{\"printed\":true}\n");
}

#[test]
fn a_syntax_error_in_one_file_leaves_the_others_working() {
    let house = house();
    house.write("functions/shop/broken.py", "def handler(event, context):\n    return {\n");
    house.write("broken.yaml", &ONE_STEP.replace("shop/work", "shop/broken"));
    assert_eq!(house.run(&["run", "flow.yaml"]).expect(0).json(), serde_json::json!({"done": true}));
    let said = house.run(&["run", "broken.yaml"]).expect(1).stderr;
    assert!(said.contains("SyntaxError") && said.contains("broken.py"), "{said}");
}

#[test]
fn a_page_of_another_site_cannot_start_code() {
    let house = house();
    let server = house.server(&[]);
    let refused = crate::support::request(
        &server.url,
        "POST /v1/runs",
        &[("content-type", "application/json"), ("origin", "https://example.com")],
        r#"{"definition": "flow", "input": {}}"#,
    );
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
}

#[test]
fn a_body_over_the_limit() {
    let house = house();
    let server = house.server(&[]);
    let refused = crate::support::request(
        &server.url,
        "POST /v1/runs",
        &[("content-type", "application/json"), ("content-length", "300000000")],
        "",
    );
    assert!(refused.starts_with("HTTP/1.1 413") && refused.contains("max_body"), "{refused}");
}

#[test]
fn the_examples_are_without_mistakes() {
    let house = House::new();
    for name in ["polling", "nightly", "retry", "callback"] {
        house.run(&["check", &repository(&format!("examples/{name}/flow.yaml"))]).expect(0);
    }
}

#[test]
fn a_body_over_the_limit_that_the_server_was_given() {
    let house = House::new();
    let server = house.server(&["--max-body", "100"]);
    let body = serde_json::json!({"definition": "none", "input": {"text": "x".repeat(100)}}).to_string();
    let answer =
        crate::support::request(&server.url, "POST /v1/runs", &[("content-type", "application/json")], &body);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("max_body 100 bytes"), "{answer}");
}
