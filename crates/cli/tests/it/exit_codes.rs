//! The exit code says how a run ended.

use crate::support::House;

const NAP: &str = "version: v1\ntype: flow\nsteps:\n  - {type: wait, name: Nap, duration: 600}\n";

#[test]
fn a_run_that_succeeds_ends_with_0_and_its_output_alone_on_stdout() {
    let house = House::new();
    house.write("flow.yaml", "version: v1\ntype: flow\nsteps:\n  - type: pass\n    name: P\n    outputMappings:\n      - {target: a, source: 1}\n");
    assert_eq!(house.run(&["run", "flow.yaml"]).expect(0).stdout, "{\"a\":1}\n");
}

#[test]
fn a_run_that_fails_ends_with_1() {
    let house = House::new();
    house.write(
        "flow.yaml",
        "version: v1\ntype: flow\nsteps:\n  - {type: fail, name: F, error: Closed, cause: it is Sunday}\n",
    );
    let done = house.run(&["run", "flow.yaml"]).expect(1);
    assert!(done.stdout.is_empty() && done.stderr.contains("Closed: it is Sunday"), "{}", done.stderr);
}

#[test]
fn wrong_usage_ends_with_2() {
    House::new().run(&["run"]).expect(2);
    House::new().run(&["fly"]).expect(2);
}

#[test]
fn a_run_over_its_time_limit_ends_with_3() {
    let house = House::new();
    house.write("flow.yaml", NAP);
    house.run(&["run", "flow.yaml", "--timeout", "200ms"]).expect(3);
}

#[test]
fn a_cancelled_run_ends_with_4() {
    let house = House::new();
    house.write("flow.yaml", NAP);
    let server = house.server(&[]);
    let open = house.run(&["run", "flow.yaml", "--server", &server.url, "--wait", "0s"]).expect(8);
    assert!(open.stderr.contains("has not ended yet"), "{}", open.stderr);
    let page = house.run(&["runs", "list", "--json"]).expect(0).json();
    let id = page["items"][0]["run_id"].as_str().expect("a run").to_owned();
    house.run(&["runs", "cancel", &id]).expect(0);
    house.run(&["runs", "attach", &id]).expect(4);
}
