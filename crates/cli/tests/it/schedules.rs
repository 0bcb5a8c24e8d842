//! Schedules as a user has them: a line is tried without a server, and what fires survives kill -9.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{House, until};

const HELLO: &str = "version: v1\ntype: flow\nsteps:\n  - {type: pass, name: Hello}\n";

/// The planned times that have runs, each as often as it has one.
fn planned(house: &House, server: &str) -> Vec<String> {
    let page = house.run(&["runs", "list", "-n", "1000", "--json", "--server", server]).expect(0).json();
    let items = page["items"].as_array().expect("items").iter();
    let time = |run: &Value| run["schedule"]["planned_at"].as_str().map(str::to_owned);
    let mut times: Vec<String> = items.filter_map(time).collect();
    times.sort();
    times
}

#[test]
fn each_second_has_one_run_although_the_server_is_killed_again_and_again() {
    let house = House::new();
    house.write("flow.yaml", HELLO);
    let mut server = house.server(&[]);
    let url = server.url.clone();
    house.run(&["deploy", "flow.yaml", "--name", "hello", "--server", &url]).expect(0);
    house
        .run(&[
            "schedule",
            "create",
            "tick",
            "@every 1s",
            "--run",
            "hello",
            "--overlap",
            "allow",
            "--server",
            &url,
        ])
        .expect(0);
    for round in 1..=4 {
        until("more has fired", || (planned(&house, &url).len() >= 2 * round).then_some(()));
        server.process.kill();
        server = house.server_at(&url, &[]);
    }
    house.run(&["schedule", "pause", "tick", "--server", &url]).expect(0);
    let times = planned(&house, &url);
    assert_eq!(
        times.iter().collect::<BTreeSet<_>>().len(),
        times.len(),
        "a planned time has two runs: {times:?}"
    );
    let moments: Vec<i64> =
        times.iter().map(|time| time.parse::<jiff::Timestamp>().expect("a time").as_millisecond()).collect();
    assert!(
        moments.windows(2).all(|pair| pair[1] - pair[0] == 1_000),
        "a planned time was forgotten over a kill: {times:?}"
    );
    let shown = house.run(&["schedule", "show", "tick", "--json", "--server", &url]).expect(0).json();
    assert_eq!(shown["runs_started"], times.len());
}

#[test]
fn a_line_is_tried_without_a_server() {
    let house = House::new();
    let after = ["--after", "2027-03-28T00:00:00Z", "-n", "3"];
    let tried = |line, zone| {
        let args =
            [["schedule", "next", line, "--zone", zone], ["--after", after[1], "-n", "3", "--json"]].concat();
        let done = house.run(&args).expect(0).json();
        let times = done["next"].as_array().expect("times").iter();
        times.map(|time| time["local"].as_str().expect("a time").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        tried("30 2 * * *", "Europe/Berlin"),
        ["2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00", "2027-03-30T02:30:00+02:00"]
    );
    assert!(!house.data().exists(), "nothing was opened for it");
    let wrong = house.run(&["schedule", "next", "0 25 * * *"]).expect(2).stderr;
    assert!(wrong.contains("  ^^") && wrong.contains("`25` is no hour"), "{wrong}");
    let zone = house.run(&["schedule", "next", "@daily", "--zone", "Europe/Berln"]).expect(2).stderr;
    assert!(zone.contains("did you mean `Europe/Berlin`?"), "{zone}");
}

#[test]
fn a_schedule_is_written_listed_triggered_and_deleted() {
    let house = House::new();
    house.write("flow.yaml", HELLO);
    let server = house.server(&[]);
    let url = &server.url;
    house.run(&["deploy", "flow.yaml", "--name", "hello", "--server", url]).expect(0);
    let create = ["schedule", "create", "nightly", "0 3 * * *", "--zone", "Europe/Berlin", "--run", "hello"];
    let text = house.run(&[&create[..], &["--planned-as", "at", "--server", url]].concat()).expect(0).stdout;
    assert!(text.contains("0 3 * * * (Europe/Berlin)") && text.contains("flow `hello`"), "{text}");
    let list = house.run(&["schedule", "list", "--server", url]).expect(0).stdout;
    assert!(list.contains("nightly"), "{list}");
    let run = house.run(&["schedule", "trigger", "nightly", "--server", url]).expect(0).stdout;
    house.run(&["runs", "attach", run.trim(), "--server", url]).expect(0);
    let shown = house.show(url, run.trim());
    assert!(shown["input"]["at"].is_string(), "{shown}");
    assert_eq!(shown["schedule"]["name"], "nightly");
    let rows = house.run(&["sql", "SELECT name, definition, started FROM schedules"]).expect(0).stdout;
    assert!(rows.contains("nightly") && rows.contains("hello"), "{rows}");
    house.run(&["schedule", "delete", "nightly", "--server", url]).expect(0);
    let gone = house.run(&["schedule", "show", "nightly", "--server", url]).stderr;
    assert!(gone.contains("there is no schedule `nightly`"), "{gone}");
}
