//! The Serverless Workflow RPC API: who may call, and what is refused. The vendor's own clients are in `python/tests`.

use std::sync::Arc;

use reqwest::Method;
use riverrun_engine::Settings;
use riverrun_plan::Limits as FlowLimits;
use riverrun_server::{AccessKey, FnfConfig, Limits, ServerConfig};
use riverrun_store::{MemoryStore, Store};
use serde_json::json;

use crate::support::{Answer, PATIENCE, SLEEPER, Server};

const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "secret-EXAMPLE";
const TOKEN: &str = "correct-horse-battery";

fn with_keys() -> ServerConfig {
    let key = |id: &str, secret: &str| AccessKey { id: id.to_owned(), secret: secret.to_owned() };
    let access_keys = vec![key("AKIDOTHER", "another-secret"), key(ID, SECRET)];
    ServerConfig { fnf: FnfConfig { access_keys, ..FnfConfig::default() }, ..ServerConfig::default() }
}

#[track_caller]
fn is_fault(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.body["Code"].as_str()), (status, Some(code)), "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/json");
    for field in ["RequestId", "HostId", "Message"] {
        assert!(answer.body[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {}", answer.text);
    }
}

/// A call as the clients send it, unsigned.
async fn call(server: &Server, action: &str, parameters: &str) -> Answer {
    let path = format!("/?Action={action}&Version=2019-03-15&Format=JSON");
    let request = server.request(Method::POST, &path).header("x-acs-action", action);
    let form = request.header("content-type", "application/x-www-form-urlencoded");
    server.send(form.body(parameters.to_owned())).await
}

/// Signs as version 1 does, by the server's own rules turned round: the query is already in order and encoded.
fn signed(method: &str, query: &str, secret: &str) -> String {
    use base64::Engine as _;
    use hmac::{Hmac, KeyInit, Mac};
    let encode = |text: &str| text.replace('%', "%25").replace('=', "%3D").replace('&', "%26");
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(format!("{secret}&").as_bytes()).unwrap();
    mac.update(format!("{method}&%2F&{}", encode(query)).as_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("/?{query}&Signature={signature}")
}

/// The query of a signed `ListFlows`, its parameters in the order of their names.
fn query(id: &str, nonce: &str, seconds_from_now: i64) -> String {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds_from_now);
    let time = now.strftime("%Y-%m-%dT%H%%3A%M%%3A%SZ");
    format!(
        "AccessKeyId={id}&Action=ListFlows&Format=JSON&SignatureMethod=HMAC-SHA1&SignatureNonce={nonce}&SignatureType=&SignatureVersion=1.0\
         &Timestamp={time}&Version=2019-03-15"
    )
}

#[tokio::test]
async fn a_right_signature_is_taken_once_and_within_the_window() {
    let server = Server::with(with_keys()).await;
    let path = signed("GET", &query(ID, "n-1", 0), SECRET);
    server.get(&path).await.is(200);
    is_fault(&server.get(&path).await, 400, "SignatureNonceUsed");
    // The same nonce under another key is another nonce.
    server.get(&signed("GET", &query("AKIDOTHER", "n-1", 0), "another-secret")).await.is(200);
    for (nonce, ahead) in [("a", 14 * 60), ("b", -14 * 60)] {
        server.get(&signed("GET", &query(ID, nonce, ahead), SECRET)).await.is(200);
    }
    for (nonce, ahead) in [("c", 16 * 60), ("d", -16 * 60)] {
        let answer = server.get(&signed("GET", &query(ID, nonce, ahead), SECRET)).await;
        is_fault(&answer, 400, "RequestTimeTooSkewed");
    }
    // A refused request uses up no nonce.
    is_fault(&server.get(&signed("GET", &query(ID, "e", 0), "wrong")).await, 400, "SignatureDoesNotMatch");
    server.get(&signed("GET", &query(ID, "e", 0), SECRET)).await.is(200);
}

#[tokio::test]
async fn a_wrong_signature_is_told_with_what_had_to_be_signed() {
    let server = Server::with(with_keys()).await;
    let answer = server.get(&signed("GET", &query(ID, "n-1", 0), "wrong")).await;
    is_fault(&answer, 400, "SignatureDoesNotMatch");
    // The older client takes the message apart at its colon.
    let message = answer.body["Message"].as_str().unwrap();
    let (_, signed_text) = message.split_once(':').unwrap();
    assert!(signed_text.starts_with("GET&%2F&AccessKeyId%3DAKIDEXAMPLE%26Action%3DListFlows"), "{message}");
    assert!(!signed_text.contains(':') && !message.contains(SECRET), "{message}");

    let unknown = server.get(&signed("GET", &query("NOBODY", "n-2", 0), SECRET)).await;
    is_fault(&unknown, 403, "InvalidAccessKeyID");
    is_fault(&server.get("/?Action=ListFlows").await, 403, "AccessDenied");
    let rsa = server.get("/?Action=ListFlows&Signature=x&SignatureMethod=SHA256withRSA").await;
    is_fault(&rsa, 400, "InvalidArgument");
    let half =
        server.get("/?Action=ListFlows&Signature=x&SignatureMethod=HMAC-SHA1&SignatureVersion=1.0").await;
    is_fault(&half, 400, "MissingRequiredParams");
    // Another method, another parameter: another request.
    let path = signed("GET", &query(ID, "n-3", 0), SECRET);
    is_fault(&server.send(server.request(Method::POST, &path)).await, 400, "SignatureDoesNotMatch");
    is_fault(&server.get(&format!("{path}&Limit=5")).await, 400, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn too_many_nonces_are_refused_and_none_is_forgotten() {
    let mut config = with_keys();
    config.fnf.max_nonces = 2;
    let server = Server::with(config).await;
    for nonce in ["a", "b"] {
        server.get(&signed("GET", &query(ID, nonce, 0), SECRET)).await.is(200);
    }
    let answer = server.get(&signed("GET", &query(ID, "c", 0), SECRET)).await;
    is_fault(&answer, 429, "Throttling");
    assert_eq!(answer.headers["x-acs-retry-after"], "1000");
}

#[tokio::test]
async fn an_access_token_opens_the_api_too_and_nothing_else_does_without_keys() {
    let config = ServerConfig { tokens: vec![TOKEN.to_owned()], ..ServerConfig::default() };
    let server = Server::with(config).await;
    server.get(&format!("/?Action=ListFlows&SignatureType=BEARERTOKEN&BearerToken={TOKEN}")).await.is(200);
    server.send(server.request(Method::GET, "/?Action=ListFlows").bearer_auth(TOKEN)).await.is(200);
    let wrong = server.get("/?Action=ListFlows&BearerToken=correct-horse-batterz").await;
    is_fault(&wrong, 403, "AccessDenied");
    is_fault(&call(&server, "ListFlows", "").await, 403, "InvalidAccessKeyID");
    let signed = server.get(&signed("GET", &query(ID, "n", 0), SECRET)).await;
    is_fault(&signed, 403, "InvalidAccessKeyID");
}

#[tokio::test]
async fn a_web_page_cannot_call() {
    let server = Server::new().await;
    let start = "/?Action=StartExecution&FlowName=quick";
    // What a page can send to another site without asking: an image, a link, a form.
    is_fault(&server.get(start).await, 403, "AccessDenied");
    let form = server.request(Method::POST, "/").header("content-type", "application/x-www-form-urlencoded");
    is_fault(&server.send(form.body("Action=StartExecution&FlowName=quick")).await, 403, "AccessDenied");
    let named = |request: reqwest::RequestBuilder| request.header("x-acs-action", "StartExecution");
    let foreign = named(server.request(Method::POST, start)).header("origin", "http://evil.example");
    is_fault(&server.send(foreign).await, 403, "AccessDenied");
    // A page whose name was turned to this address.
    let rebound = named(server.request(Method::POST, start)).header("host", "evil.example");
    is_fault(&server.send(rebound).await, 403, "AccessDenied");
    assert_eq!(server.get("/v1/runs/count").await.body["count"], 0);
    // Clients write their endpoint into it as they were given it.
    for host in ["localhost:1", "http://127.0.0.1:8080", "127.0.0.1:8080/fnf"] {
        let request = named(server.request(Method::POST, start)).header("host", host);
        server.send(request).await.is(200);
    }
    let page = server.get("/").await;
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
}

#[tokio::test]
async fn parameters_are_read_wherever_they_stand() {
    let server = Server::new().await;
    let send = async |method: Method, query: &str, form: &str| {
        let request = server.request(method, &format!("/{query}")).header("x-acs-action", "StartExecution");
        let kind =
            if form.is_empty() { "application/octet-stream" } else { "application/x-www-form-urlencoded" };
        server.send(request.header("content-type", kind).body(form.to_owned())).await
    };
    let all = "FlowName=quick&Input=%7B%22a%22%3A+%22+%E6%B5%81%22%7D";
    for (method, query, form) in [
        (Method::GET, format!("?Action=StartExecution&{all}"), ""),
        (Method::POST, format!("?{all}"), ""),
        (Method::POST, String::new(), all),
        (Method::GET, String::new(), all),
        (
            Method::POST,
            "?FlowName=quick".to_owned(),
            "Input=%7B%22a%22%3A%20%22%20流%22%7D&Version=2019-03-15",
        ),
    ] {
        let answer = send(method, &query, form).await;
        answer.is(200);
        assert_eq!(answer.body["Input"], "{\"a\": \" 流\"}", "{query} {form}");
    }
    is_fault(&send(Method::POST, "?FlowName=quick", "FlowName=quick").await, 400, "InvalidArgument");
    is_fault(&send(Method::POST, "?FlowName=%ff", "").await, 400, "InvalidArgument");
    is_fault(&send(Method::POST, "?Version=2020-01-01", all).await, 400, "APIVersionNotSupported");
    is_fault(&call(&server, "PublishFlowVersion", "").await, 400, "ActionNotSupported");
    is_fault(&call(&server, "StartExecution", "").await, 400, "MissingRequiredParams");
    let json = server.request(Method::POST, "/?FlowName=quick").header("x-acs-action", "StartExecution");
    is_fault(&server.send(json.json(&json!({"FlowName": "quick"}))).await, 400, "InvalidArgument");
    let other = server.request(Method::PUT, "/?Action=ListFlows").header("x-acs-action", "ListFlows");
    is_fault(&server.send(other).await, 405, "ActionNotSupported");
}

#[tokio::test]
async fn what_is_too_large_or_too_long_is_refused() {
    let server = Server::limited(Limits {
        max_body: 2_000,
        max_wait: std::time::Duration::from_secs(5),
        ..Limits::default()
    })
    .await;
    let large = format!("FlowName=quick&Input=%7B%22a%22%3A%22{}%22%7D", "x".repeat(3_000));
    is_fault(&call(&server, "StartExecution", &large).await, 400, "EntityTooLarge");
    let started = call(&server, "StartExecution", "FlowName=sleeper&ExecutionName=long").await;
    started.is(200);
    let cause = format!("FlowName=sleeper&ExecutionName=long&Cause={}", "x".repeat(1_000).repeat(5));
    is_fault(&call(&server, "StopExecution", &cause).await, 400, "EntityTooLarge");
    let error = format!("FlowName=sleeper&ExecutionName=long&Error={}", "x".repeat(129));
    is_fault(&call(&server, "StopExecution", &error).await, 400, "InvalidArgument");
    let wait = "FlowName=sleeper&ExecutionName=long&WaitTimeSeconds=20";
    let answer = call(&server, "DescribeExecution", wait).await;
    is_fault(&answer, 400, "InvalidArgument");
    assert!(answer.text.contains("max_wait"), "{}", answer.text);
}

#[tokio::test]
async fn both_apis_see_the_same_runs() {
    let server = Server::new().await;
    let mine = server.start(json!({"definition": "sleeper", "continue_id": "order-1"})).await;
    let same = call(&server, "StartExecution", "FlowName=sleeper&ExecutionName=order-1").await;
    assert_eq!((&same.body["Name"], &same.body["Status"]), (&json!("order-1"), &json!("Running")));
    let run = server.get(&format!("/v1/runs/{}", mine.run_id())).await;
    assert_eq!(run.body["continue_id"], "order-1");
    assert_eq!(server.get("/v1/runs/count").await.body["count"], 1);
    // A run without a name goes by its id, and cannot be started by it once more.
    let plain = server.start(json!({"definition": "sleeper"})).await.run_id();
    let found = call(&server, "DescribeExecution", &format!("FlowName=sleeper&ExecutionName={plain}")).await;
    assert_eq!(found.body["Name"], plain);
    let again = call(&server, "StartExecution", &format!("FlowName=sleeper&ExecutionName={plain}")).await;
    assert_eq!(again.body["Name"], plain);
    let other = call(&server, "DescribeExecution", &format!("FlowName=quick&ExecutionName={plain}")).await;
    is_fault(&other, 404, "ExecutionNotExists");
    let unknown = "FlowName=sleeper&ExecutionName=run_00000000000000000000000000";
    is_fault(&call(&server, "StartExecution", unknown).await, 400, "InvalidArgument");
}

#[tokio::test]
async fn a_flow_knows_its_execution_by_its_name() {
    let server = Server::new().await;
    let source = "version: v1\ntype: flow\nsteps:\n  - type: pass\n    name: A\n    outputMappings: [{target: me, source: $context.execution.name}]\n";
    server.post("/v1/definitions", json!({"name": "me", "source": source})).await.is(201);
    for name in ["ExecutionName=order-1", ""] {
        let started = call(&server, "StartExecution", &format!("FlowName=me&{name}")).await;
        let name = started.body["Name"].as_str().unwrap();
        let asked = format!("FlowName=me&ExecutionName={name}&WaitTimeSeconds=20");
        let ended = call(&server, "DescribeExecution", &asked).await;
        assert_eq!(ended.body["Output"], json!({"me": name}).to_string());
    }
}

#[tokio::test]
async fn what_is_kept_with_a_flow_outlives_a_deployment_from_elsewhere() {
    let server = Server::new().await;
    let made = "Name=mine&Definition=version%3A%20v1%0Atype%3A%20flow%0Asteps%3A%0A-%20%7Btype%3A%20pass%2C%20name%3A%20A%7D&Type=FDL&Description=kept";
    let made = call(&server, "CreateFlow", made).await;
    made.is(200);
    server.post("/v1/definitions", json!({"name": "mine", "source": SLEEPER})).await.is(201);
    let found = call(&server, "DescribeFlow", "Name=mine").await;
    assert_eq!((&found.body["Description"], &found.body["Definition"]), (&json!("kept"), &json!(SLEEPER)));
    assert_eq!(found.body["Id"], made.body["Id"]);
    // One that was never created here is shown as well.
    let plain = call(&server, "DescribeFlow", "Name=quick").await;
    assert_eq!((&plain.body["Type"], &plain.body["Description"]), (&json!("FDL"), &json!("")));

    call(&server, "StartExecution", "FlowName=mine&ExecutionName=one").await.is(200);
    call(&server, "DeleteFlow", "Name=mine").await.is(200);
    server.get("/v1/definitions?name=mine").await.is_problem(404, "unknown_definition");
    server.start(json!({"definition": "mine", "kind": "flow"})).await.is_problem(404, "unknown_definition");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while server.get("/v1/runs/count?definition=mine").await.body["count"] != 0 {
        assert!(tokio::time::Instant::now() < deadline, "the runs of a deleted flow go");
        tokio::task::yield_now().await;
    }
    // Deployed again it is another flow, and its names are free.
    server.post("/v1/definitions", json!({"name": "mine", "source": SLEEPER})).await.is(201);
    let found = call(&server, "DescribeFlow", "Name=mine").await;
    assert_eq!(found.body["Description"], "");
    assert_ne!(found.body["Id"], made.body["Id"]);
    call(&server, "StartExecution", "FlowName=mine&ExecutionName=one").await.is(200);
}

#[tokio::test]
async fn schedules_are_kept_with_their_flow_and_wrap_the_payload() {
    let server = Server::new().await;
    let create = "FlowName=quick&ScheduleName=nightly&CronExpression=0+0+3+*+*+*&Payload=%7B%22serviceName%22%3A%22a%22%7D&Description=d";
    let created = call(&server, "CreateSchedule", create).await;
    created.is(200);
    assert_eq!(created.body["CronExpression"], "0 0 3 * * *");
    assert_eq!(
        (&created.body["Enable"], &created.body["Payload"]),
        (&json!(true), &json!("{\"serviceName\":\"a\"}"))
    );
    is_fault(&call(&server, "CreateSchedule", create).await, 409, "ScheduleAlreadyExists");
    let one = "FlowName=quick&ScheduleName=nightly";
    let updated =
        call(&server, "UpdateSchedule", &format!("{one}&Enable=false&CronExpression=@every+1m")).await;
    updated.is(200);
    assert_eq!(
        (&updated.body["Enable"], &updated.body["CronExpression"]),
        (&json!(false), &json!("@every 1m"))
    );
    assert_eq!(updated.body["Payload"], created.body["Payload"], "what is not sent stays");
    let shown = call(&server, "DescribeSchedule", one).await;
    assert_eq!(
        (&shown.body["Description"], &shown.body["ScheduleId"]),
        (&json!("d"), &created.body["ScheduleId"])
    );

    let run = server.post("/v1/schedules/trigger", json!({"name": "quick/nightly"})).await;
    let ended = server.get(&format!("/v1/runs/{}?wait=20s", run.run_id())).await;
    assert_eq!(ended.body["input"]["payload"], json!({"serviceName": "a"}));
    assert_eq!(ended.body["input"]["triggerName"], "nightly");
    assert!(ended.body["input"]["triggerTime"].is_string());

    call(&server, "CreateSchedule", "FlowName=quick&ScheduleName=other&CronExpression=@every+1h")
        .await
        .is(200);
    let page = call(&server, "ListSchedules", "FlowName=quick&Limit=1").await;
    assert_eq!(page.body["Schedules"][0]["ScheduleName"], "nightly");
    let token = page.body["NextToken"].as_str().unwrap();
    let rest = call(&server, "ListSchedules", &format!("FlowName=quick&Limit=1&NextToken={token}")).await;
    assert_eq!(
        (&rest.body["Schedules"][0]["ScheduleName"], &rest.body["NextToken"]),
        (&json!("other"), &json!(null))
    );

    call(&server, "DeleteSchedule", one).await.is(200);
    is_fault(&call(&server, "DescribeSchedule", one).await, 404, "ScheduleNotExists");
    is_fault(
        &call(&server, "CreateSchedule", "FlowName=gone&ScheduleName=a&CronExpression=@daily").await,
        404,
        "FlowNotExists",
    );
    let wrong =
        call(&server, "CreateSchedule", "FlowName=quick&ScheduleName=a&CronExpression=0+0+0+30+2+?").await;
    is_fault(&wrong, 400, "InvalidArgument");
    assert!(wrong.body["Message"].as_str().unwrap().contains("column 7"), "{}", wrong.text);
    call(&server, "DeleteFlow", "Name=quick").await.is(200);
    assert_eq!(server.get("/v1/schedules").await.body["items"], json!([]), "schedules go with their flow");
}

#[tokio::test]
async fn a_flow_is_told_that_an_ended_execution_keeps_its_name() {
    let server = Server::new().await;
    let starter = |more: &str| {
        format!(
            "version: v1\ntype: flow\nsteps:\n  - type: task\n    name: Start\n    action: fnf:StartExecution\n{more}    \
             serviceParams: {{FlowName: $.flow, ExecutionName: $.name, Input: $.with}}\n    \
             catch: [{{errors: [fnf.ExecutionAlreadyExists], goto: Taken}}]\n    \
             errorMappings: [{{target: why, source: $local.error}}]\n  - {{type: succeed, name: Done}}\n  - {{type: pass, name: Taken}}\n"
        )
    };
    for (name, more) in [("starter", ""), ("waiter", "    pattern: sync\n")] {
        server.post("/v1/definitions", json!({"name": name, "source": starter(more)})).await.is(201);
    }
    let play = async |flow: &str, input: serde_json::Value| {
        let answer = server.start(json!({"definition": flow, "input": input, "wait": "20s"})).await;
        assert_eq!(answer.body["state"], "succeeded", "{}", answer.text);
        answer.body["output"].clone()
    };
    let taken = json!({"why": "fnf.ExecutionAlreadyExists"});
    call(&server, "StartExecution", "FlowName=quick&ExecutionName=over").await.is(200);
    call(&server, "DescribeExecution", "FlowName=quick&ExecutionName=over&WaitTimeSeconds=20").await.is(200);
    let again = call(&server, "StartExecution", "FlowName=quick&ExecutionName=over").await;
    is_fault(&again, 400, "ExecutionAlreadyExists");
    for flow in ["starter", "waiter"] {
        assert_eq!(play(flow, json!({"flow": "quick", "name": "over", "with": {"other": 1}})).await, taken);
        // A name that nobody has is given once.
        let fresh = json!({"flow": "failing", "name": format!("by-{flow}"), "with": {}});
        if flow == "starter" {
            assert!(play(flow, fresh.clone()).await["run_id"].is_string());
            let asked = "FlowName=failing&ExecutionName=by-starter&WaitTimeSeconds=20";
            assert_eq!(call(&server, "DescribeExecution", asked).await.body["Status"], "Failed");
            assert_eq!(play(flow, fresh).await, taken);
        }
    }
    // In flight it is found, whatever its input.
    let mine = call(&server, "StartExecution", "FlowName=sleeper&ExecutionName=long").await;
    mine.is(200);
    let found = play("starter", json!({"flow": "sleeper", "name": "long", "with": {"other": 1}})).await;
    assert!(found["run_id"].is_string(), "{found}");
    assert_eq!(server.get("/v1/runs/count?definition=sleeper").await.body["count"], 1);
}

#[tokio::test]
async fn a_run_keeps_the_limits_that_it_began_under() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let fnf = || Settings { flow_limits: FlowLimits::FNF, ..Settings::default() };
    let source = "version: v1\ntype: flow\nsteps:\n  - {type: task, name: T, resourceArn: a/b}\n  - {type: pass, name: P}\n";
    let long = "version: v1\ntype: flow\nsteps:\n  - {type: wait, name: W, duration: 172801}\n";
    let large = json!({"x": "a".repeat(20_000)});

    let server = Server::set(store.clone(), fnf(), ServerConfig::default()).await;
    let refused = server.post("/v1/definitions", json!({"name": "long", "source": long})).await;
    assert!(refused.is_problem(422, "invalid_definition").text.contains("wait_seconds"), "{}", refused.text);
    let years = server.start(json!({"definition": "quick", "timeout": "20000h"})).await;
    assert!(years.is_problem(400, "invalid_request").detail().contains("run_seconds"), "{}", years.text);
    server.post("/v1/definitions", json!({"name": "two", "source": source})).await.is(201);
    let limited = server.start(json!({"definition": "two"})).await.run_id();
    server.engine.shutdown().await;
    drop(server);

    let server = Server::set(store.clone(), Settings::default(), ServerConfig::default()).await;
    server.post("/v1/definitions", json!({"name": "long", "source": long})).await.is(201);
    let free = server.start(json!({"definition": "two"})).await.run_id();
    server.engine.shutdown().await;
    drop(server);

    let server = Server::set(store, fnf(), ServerConfig::default()).await;
    let late = server.ended("long").await;
    assert_eq!(late.body["error_type"], "FnF.RuntimeError", "{}", late.text);
    let mut worker = server.worker(&["a/b"]).await;
    for _ in 0..2 {
        let offer = worker.offer().await;
        worker.done(&offer, large.clone()).await;
    }
    let limited = server.get(&format!("/v1/runs/{limited}?wait=20s")).await;
    assert_eq!(limited.body["error_type"], "FnF.PayloadTooLarge", "{}", limited.text);
    let free = server.get(&format!("/v1/runs/{free}?wait=20s")).await;
    assert_eq!(free.body["state"], "succeeded", "{}", free.text);
}
