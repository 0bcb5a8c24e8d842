//! Flows from the command line, without a server: their cases, and their pictures.

use crate::support::{House, repository};

const FLOW: &str =
    "version: v1\ntype: flow\nsteps:\n  - type: task\n    name: Charge\n    resourceArn: shop/charge\n";

fn house() -> House {
    let house = House::new();
    house.write("order.yaml", FLOW);
    house
}

#[test]
fn every_example_passes_its_cases_and_is_drawn() {
    let house = House::new();
    let folder = repository("examples/flows");
    let mut flows = 0;
    for entry in std::fs::read_dir(&folder).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        flows += 1;
        let flow = path.display().to_string();
        house.run(&["check", &flow]).expect(0);
        let tested = house.run(&["test", &flow, "--json"]).expect(0).json();
        assert!(tested.as_array().is_some_and(|cases| !cases.is_empty()), "{tested}");
        let drawn = house.run(&["graph", &flow]).expect(0);
        assert!(drawn.stdout.starts_with("<svg"), "{}", drawn.stdout);
    }
    assert!(flows >= 13, "{flows} flows in {folder}");
}

#[test]
fn a_case_that_fails_says_where_and_exits_with_1() {
    let house = house();
    house.write(
        "order.case.yaml",
        "- name: paid\n  functions: {shop/charge: {result: {paid: 7}}}\n  expect: {output: {paid: 8}}\n\
         - name: refused\n  functions: {shop/charge: {error: Refused}}\n  expect: {error: Refused}\n",
    );
    let failed = house.run(&["test", "order.yaml"]).expect(1);
    assert!(failed.stdout.contains("FAIL paid order.case.yaml:1"), "{}", failed.stdout);
    assert!(failed.stdout.contains("output.paid: expected 8, but it is 7"), "{}", failed.stdout);
    assert!(failed.stdout.contains("pass refused"), "{}", failed.stdout);
    assert!(failed.stderr.contains("1 case failed, 1 passed"), "{}", failed.stderr);
    house.run(&["test", "order.yaml", "--only", "refused"]).expect(0);
    let journal = house.run(&["test", "order.yaml", "--only", "refused", "--journal"]).expect(0);
    assert!(journal.stdout.contains("AttemptStarted Charge"), "{}", journal.stdout);
}

#[test]
fn case_files_with_mistakes_or_without_a_flow_exit_with_2() {
    let house = house();
    let nothing = house.run(&["test", "order.yaml"]).expect(2);
    assert!(nothing.stderr.contains("order.case.yaml"), "{}", nothing.stderr);
    house.write("wrong.yaml", "- functions: {shop/chrage: {result: {}}}\n  expect: {}\n");
    let wrong = house.run(&["test", "order.yaml", "--case", "wrong.yaml"]).expect(2);
    assert!(wrong.stderr.contains("no step calls the function `shop/chrage`"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("did you mean `shop/charge`?"), "{}", wrong.stderr);
    std::fs::write(house.path("latin.yaml"), b"- name: caf\xe9\n").expect("a file");
    let latin = house.run(&["test", "order.yaml", "--case", "latin.yaml"]).expect(2);
    assert!(latin.stderr.contains("is not UTF-8 text: byte 11 is wrong"), "{}", latin.stderr);
    house.run(&["test", "nowhere.yaml"]).expect(2);
    house.write("order.case.yaml", "- functions: {shop/charge: {result: {}}}\n  expect: {}\n");
    house.run(&["test", "order.yaml", "--only", "nothing"]).expect(2);
}

#[test]
fn a_picture_goes_where_it_is_wanted() {
    let house = house();
    for (file, begins) in [("a.svg", "<svg"), ("a.dot", "digraph"), ("a.mmd", "---")] {
        house.run(&["graph", "order.yaml", "-o", file]).expect(0);
        let text = std::fs::read_to_string(house.path(file)).expect("a picture");
        assert!(text.starts_with(begins), "{text}");
    }
    let dot = house.run(&["graph", "order.yaml", "--format", "dot"]).expect(0);
    assert!(dot.stdout.contains("Charge"), "{}", dot.stdout);
    house.write("broken.yaml", "version: v1\ntype: flow\nsteps: 7\n");
    let broken = house.run(&["graph", "broken.yaml"]).expect(2);
    assert_eq!(broken.stdout, "");
}

#[test]
fn a_run_is_drawn_by_its_journal() {
    let house = House::new();
    house.write("quick.yaml", "version: v1\ntype: flow\nsteps:\n  - {type: pass, name: Hello}\n");
    house.run(&["run", "quick.yaml"]).expect(0);
    let runs = house.run(&["runs", "list", "--json"]).expect(0).json();
    let run = runs["items"][0]["run_id"].as_str().expect("a run").to_owned();
    let drawn = house.run(&["runs", "graph", &run]).expect(0);
    assert!(drawn.stdout.contains("rr-succeeded") && drawn.stdout.contains("Hello"), "{}", drawn.stdout);
    house.run(&["runs", "graph", "run_01kv2a7bcd000000000000000z"]).expect(1);
}

#[test]
fn the_limits_of_the_cloud_service_are_switched_on_by_name() {
    let house = House::new();
    let wait = |seconds: &str| {
        format!("version: v1\ntype: flow\nsteps:\n  - {{type: wait, name: Long, duration: {seconds}}}\n")
    };
    house.write("long.yaml", &wait("200000"));
    house.write("asked.yaml", &wait("$.seconds"));
    house.run(&["check", "long.yaml", "asked.yaml"]).expect(0);
    let refused = house.run(&["check", "long.yaml", "asked.yaml", "--limits", "fnf"]).expect(2);
    assert!(
        refused.stderr.contains("wait_seconds") && refused.stderr.contains("long.yaml:4"),
        "{}",
        refused.stderr
    );
    house.write("asked.case.yaml", "- input: {seconds: 200000}\n  expect: {error: FnF.InvalidInput}\n");
    house.run(&["test", "asked.yaml"]).expect(1);
    house.run(&["test", "asked.yaml", "--limits", "fnf"]).expect(0);
    let input = ["--input", "{\"seconds\": 200000}"];
    let failed = house.run(&["run", "asked.yaml", input[0], input[1], "--flow-limits", "fnf"]).expect(1);
    assert!(failed.stderr.contains("over the limit of 172800"), "{}", failed.stderr);
    house.write("riverrun.toml", "[flows]\nlimits = \"fnf\"\nwait_seconds = 7\n");
    let failed = house.run(&["run", "asked.yaml", input[0], input[1]]).expect(1);
    assert!(failed.stderr.contains("over the limit of 7"), "{}", failed.stderr);
}
