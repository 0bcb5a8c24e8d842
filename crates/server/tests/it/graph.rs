//! Pictures over HTTP.

use crate::support::Server;

#[tokio::test]
async fn a_run_is_drawn_with_what_became_of_its_steps() {
    let server = Server::new().await;
    let run = server.ended("quick").await.run_id();
    let drawing = server.get(&format!("/v1/runs/{run}/graph")).await;
    drawing.is(200);
    assert!(drawing.text.starts_with("<svg") && drawing.text.contains("rr-succeeded"), "{}", drawing.text);
    assert!(drawing.text.contains(&format!("{run} · succeeded")), "{}", drawing.text);
    let dot = server.get(&format!("/v1/runs/{run}/graph?format=dot")).await;
    assert!(dot.text.starts_with("digraph flow {"), "{}", dot.text);
    server.get(&format!("/v1/runs/{run}/graph?format=png")).await.is(400);
    server.get("/v1/runs/run_01kv2a7bcd000000000000000z/graph").await.is(404);
}

#[tokio::test]
async fn a_definition_is_drawn_by_name() {
    let server = Server::new().await;
    server.ended("quick").await;
    let chart = server.get("/v1/definitions/graph?name=quick&format=mermaid").await;
    chart.is(200);
    assert!(chart.text.contains("flowchart TD"), "{}", chart.text);
    server.get("/v1/definitions/graph?name=nothing").await.is(404);
}
