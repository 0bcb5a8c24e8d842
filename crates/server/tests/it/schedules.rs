//! Schedules over the wire.

use serde_json::{Value, json};

use crate::support::Server;

fn nightly() -> Value {
    json!({
        "name": "nightly/a ü",
        "when": "30 2 * * *",
        "zone": "europe/berlin",
        "start": {"definition": "quick", "input": {"a": 1}, "labels": {"team": "red"}},
        "overlap": "queue",
        "missed": "all",
        "missed_max": 5,
        "jitter": "10m",
        "planned_as": "at",
        "description": "tidies up",
    })
}

const ONE: &str = "/v1/schedules?name=nightly%2Fa%20%C3%BC";

#[tokio::test]
async fn a_schedule_is_written_shown_and_replaced() {
    let server = Server::new().await;
    let written = server.put("/v1/schedules", nightly()).await;
    written.is(201);
    let shown = server.get(ONE).await;
    shown.is(200);
    assert_eq!(shown.body["next"], written.body["next"]);
    assert_eq!(shown.body["zone"], "Europe/Berlin");
    assert_eq!((&shown.body["missed"], &shown.body["missed_max"]), (&json!("all"), &json!(5)));
    assert_eq!(shown.body["jitter_ms"], 600_000);
    let next = shown.body["next"].as_array().unwrap();
    assert_eq!(next.len(), 10);
    assert!(next.iter().all(|time| time["local"].as_str().unwrap().contains("T02:30:00+")
        || time["local"].as_str().unwrap().contains("T03:00:00+")));

    let again = server.put("/v1/schedules", nightly()).await;
    again.is(200);
    assert_eq!(again.body["updated_at"], shown.body["updated_at"], "nothing was changed");
    let mut other = nightly();
    other["when"] = json!("@hourly");
    let other = server.put("/v1/schedules", other).await;
    other.is(200);
    assert_eq!(other.body["settled_until"], shown.body["settled_until"]);
}

#[tokio::test]
async fn a_schedule_is_paused_triggered_resumed_and_forgotten() {
    let server = Server::new().await;
    server.put("/v1/schedules", nightly()).await.is(201);
    let name = json!({"name": "nightly/a ü"});
    let paused =
        server.post("/v1/schedules/pause", json!({"name": "nightly/a ü", "reason": "holiday"})).await;
    paused.is(200);
    assert_eq!((&paused.body["pause_reason"], &paused.body["next"]), (&json!("holiday"), &json!([])));

    let ask = json!({"name": "nightly/a ü", "request_id": "r1"});
    let run = server.post("/v1/schedules/trigger", ask.clone()).await;
    run.is(201);
    let again = server.post("/v1/schedules/trigger", ask).await;
    assert_eq!(again.is(202).run_id(), run.run_id());
    let ended = server.get(&format!("/v1/runs/{}?wait=20s", run.run_id())).await;
    assert_eq!(ended.body["state"], "succeeded");
    assert_eq!(ended.body["schedule"]["name"], "nightly/a ü");
    assert_eq!(ended.body["schedule"]["by"], "trigger");
    assert_eq!(ended.body["labels"], json!({"schedule": "nightly/a ü", "team": "red"}));
    assert_eq!(ended.body["input"]["a"], 1);
    assert!(ended.body["input"]["at"].as_str().unwrap().ends_with('Z'));
    let listed = server.get("/v1/runs?label=schedule%3Dnightly%2Fa%20%C3%BC").await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 1);

    server.post("/v1/schedules/resume", name.clone()).await.is(200);
    let shown = server.get(ONE).await;
    assert_eq!(shown.body["paused_at"], Value::Null);
    assert_eq!(shown.body["recent"][0]["run_id"], *run.run_id());
    server.delete(ONE).await.is(204);
    server.delete(ONE).await.is_problem(404, "unknown_schedule");
    server.get(ONE).await.is_problem(404, "unknown_schedule");
    server.post("/v1/schedules/trigger", name).await.is_problem(404, "unknown_schedule");
}

#[tokio::test]
async fn schedules_are_listed_page_by_page() {
    let server = Server::new().await;
    for name in ["b", "a/2", "a/1", "c"] {
        let body = json!({"name": name, "when": "@daily", "start": {"definition": "quick"}});
        server.put("/v1/schedules", body).await.is(201);
    }
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let page = server.get("/v1/schedules?limit=3").await;
    assert_eq!(names(&page.body), ["a/1", "a/2", "b"]);
    assert_eq!(page.body["items"][0]["next"].as_array().unwrap().len(), 1);
    let cursor = page.body["next_cursor"].as_str().unwrap();
    let rest = server.get(&format!("/v1/schedules?limit=3&cursor={cursor}")).await;
    assert_eq!((names(&rest.body), &rest.body["next_cursor"]), (vec!["c".to_owned()], &json!(null)));
    assert_eq!(names(&server.get("/v1/schedules?prefix=a%2F").await.body), ["a/1", "a/2"]);
    assert_eq!(names(&server.get("/v1/schedules?namespace=other").await.body), [] as [&str; 0]);
}

#[tokio::test]
async fn mistakes_are_refused_with_what_to_do() {
    let server = Server::new().await;
    let refuse = async |name: &str, value: Value, status: u16, code: &str, says: &str| {
        let mut body = nightly();
        body[name] = value;
        let refused = server.put("/v1/schedules", body).await;
        refused.is_problem(status, code);
        assert!(refused.detail().contains(says), "{}", refused.detail());
    };
    refuse("when", json!("0 0 30 2 *"), 422, "invalid_schedule", "column 5").await;
    refuse("when", json!("2020-01-01T00:00"), 422, "invalid_schedule", "has passed").await;
    refuse("when", json!("2027-03-28T02:30"), 422, "invalid_schedule", "skip this time").await;
    refuse("zone", json!("Europe/Berln"), 422, "invalid_schedule", "did you mean `Europe/Berlin`?").await;
    refuse("jitter", json!("2d"), 422, "invalid_schedule", "24h").await;
    refuse("missed", json!("one"), 400, "invalid_request", "missed_max").await;
    refuse("name", json!(""), 400, "invalid_request", "schedule").await;
    refuse("overlap", json!("sometimes"), 400, "invalid_request", "`cancel_other`").await;
    refuse("start", json!({"definition": "quik"}), 404, "unknown_definition", "`quick`").await;
    refuse(
        "start",
        json!({"definition": "quick", "run_id": "run_00000000000000000000000000"}),
        400,
        "invalid_request",
        "run_id",
    )
    .await;
    refuse("start", json!({"definition": "quick", "input": 5}), 400, "invalid_request", "object").await;
    refuse(
        "start",
        json!({"definition": "quick", "input": {"at": 1}}),
        422,
        "invalid_schedule",
        "has that already",
    )
    .await;
    server.get(ONE).await.is_problem(404, "unknown_schedule");
}

#[tokio::test]
async fn a_line_is_tried_without_writing_it() {
    let server = Server::new().await;
    let path =
        "/v1/schedules/next?when=*/15%20*%20*%20*%20*&zone=Europe/Berlin&after=2027-03-28T00:40:00Z&count=3";
    let next = server.get(path).await;
    next.is(200);
    let local: Vec<&str> =
        next.body["next"].as_array().unwrap().iter().map(|time| time["local"].as_str().unwrap()).collect();
    assert_eq!(
        local,
        ["2027-03-28T01:45:00+01:00", "2027-03-28T03:00:00+02:00", "2027-03-28T03:15:00+02:00"]
    );
    server.get("/v1/schedules/next?when=nonsense").await.is_problem(422, "invalid_schedule");
}

#[tokio::test]
async fn a_backfill_starts_each_planned_time_once_however_often_it_is_asked_for() {
    let server = Server::new().await;
    let put = json!({
        "name": "hourly", "when": "0 * * * *", "planned_as": "at",
        "start": {"definition": "quick", "labels": {"team": "red"}}
    });
    server.put("/v1/schedules", put).await.is(201);
    let backfill = |from: &str, to: &str, dry_run: bool| {
        let body = json!({"name": "hourly", "from": from, "to": to, "dry_run": dry_run});
        let server = &server;
        async move { server.post("/v1/schedules/backfill", body).await }
    };
    let (from, to) = ("2025-03-01T00:00:00Z", "2025-03-01T05:59:59Z");
    let dry = backfill(from, to, true).await;
    dry.is(200);
    let items = dry.body["items"].as_array().unwrap();
    assert!(items.len() == 6 && items.iter().all(|item| item["created"] == true && item["run_id"].is_null()));
    assert_eq!(server.get("/v1/runs/count").await.body["count"], 0);

    let first = backfill(from, "2025-03-01T02:00:00Z", false).await;
    assert!(
        first.body["items"].as_array().unwrap().iter().all(|item| item["created"] == true),
        "{}",
        first.text
    );
    let all = backfill(from, to, false).await;
    let items = all.body["items"].as_array().unwrap();
    let created: Vec<bool> = items.iter().map(|item| item["created"].as_bool().unwrap()).collect();
    assert_eq!(created, [false, false, false, true, true, true], "{}", all.text);
    let again = backfill(from, to, false).await;
    for (one, other) in items.iter().zip(again.body["items"].as_array().unwrap()) {
        assert_eq!((&one["run_id"], &other["created"]), (&other["run_id"], &json!(false)));
    }
    assert_eq!(server.get("/v1/runs/count?label=schedule=hourly").await.body["count"], 6);
    let run = server.get(&format!("/v1/runs/{}", items[3]["run_id"].as_str().unwrap())).await;
    assert_eq!(
        run.body["schedule"],
        json!({"name": "hourly", "planned_at": "2025-03-01T03:00:00.000Z", "by": "backfill"})
    );
    assert_eq!(run.body["input"], json!({"at": "2025-03-01T03:00:00Z"}));
    assert_eq!(run.body["labels"]["team"], "red");

    backfill(to, from, false).await.is_problem(400, "invalid_request");
    let far = backfill("2020-01-01T00:00:00Z", to, false).await;
    assert!(far.is_problem(400, "invalid_request").detail().contains("max_backfill"), "{}", far.text);
    let unknown = server.post("/v1/schedules/backfill", json!({"name": "nobody", "from": from})).await;
    unknown.is_problem(404, "unknown_schedule");
}

#[tokio::test]
async fn what_a_schedule_has_fired_itself_is_not_backfilled() {
    let server = Server::new().await;
    let put =
        json!({"name": "often", "when": "@every 1s", "overlap": "allow", "start": {"definition": "quick"}});
    let created = server.put("/v1/schedules", put).await.body["created_at"].as_str().unwrap().to_owned();
    loop {
        let shown = server.get("/v1/schedules?name=often").await;
        if shown.body["runs_started"].as_u64().is_some_and(|count| count >= 2) {
            break;
        }
        tokio::task::yield_now().await;
    }
    server.post("/v1/schedules/pause", json!({"name": "often"})).await.is(200);
    let started = server.get("/v1/schedules?name=often").await;
    let until = started.body["settled_until"].as_str().unwrap();
    let body = json!({"name": "often", "from": created, "to": until});
    let answer = server.post("/v1/schedules/backfill", body).await;
    let items = answer.body["items"].as_array().unwrap();
    assert_eq!(items.len() as u64, started.body["runs_started"].as_u64().unwrap(), "{}", answer.text);
    assert!(
        items.iter().all(|item| item["created"] == false && item["run_id"].is_string()),
        "{}",
        answer.text
    );
}
