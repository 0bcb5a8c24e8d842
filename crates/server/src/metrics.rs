//! Health, readiness and metrics.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use riverrun_engine::Health;
use riverrun_wire::http::Code;

use crate::app::Shared;
use crate::config::INSTANCE_HEADER;
use crate::problem::Refused;

/// What the HTTP interface counts.
#[derive(Default)]
pub(crate) struct Counters {
    /// Responses by the hundreds of their status, from 1xx.
    responses: [AtomicU64; 5],
    connections: AtomicU64,
    requests: AtomicU64,
    workers: AtomicU64,
}

/// Counts something while it is there.
pub(crate) struct Open<'a>(&'a AtomicU64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Counters {
    /// Counts a connection until it ends.
    pub fn connection(&self) -> Open<'_> {
        self.connections.fetch_add(1, Relaxed);
        Open(&self.connections)
    }

    /// Counts a request until it is answered.
    pub fn request(&self) -> Open<'_> {
        self.requests.fetch_add(1, Relaxed);
        Open(&self.requests)
    }

    /// Counts a worker's connection until it ends.
    pub fn worker(&self) -> Open<'_> {
        self.workers.fetch_add(1, Relaxed);
        Open(&self.workers)
    }

    /// Counts a response.
    pub fn response(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        self.responses[class - 1].fetch_add(1, Relaxed);
    }

    fn write(&self, text: &mut String) {
        head(text, "riverrun_http_responses_total", "Responses, by class of status", true);
        for (class, count) in self.responses.iter().enumerate() {
            let count = count.load(Relaxed);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "riverrun_http_responses_total{{class=\"{}xx\"}} {count}", class + 1);
        }
        for (name, help, gauge) in [
            ("riverrun_http_connections", "Open connections", &self.connections),
            (
                "riverrun_http_requests_open",
                "Requests not yet answered, long polls among them",
                &self.requests,
            ),
            ("riverrun_worker_connections", "Connected workers", &self.workers),
        ] {
            head(text, name, help, false);
            let _ = writeln!(text, "{name} {}", gauge.load(Relaxed));
        }
    }
}

pub(crate) fn head(text: &mut String, name: &str, help: &str, is_counter: bool) {
    let kind = if is_counter { "counter" } else { "gauge" };
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// `GET /metrics`: Prometheus' text format.
pub(crate) async fn metrics(State(app): State<Shared>) -> Response {
    let mut text = String::new();
    let others = app.config.metrics.iter().flat_map(|source| source());
    for (name, help, is_counter, value) in app.engine.metrics().into_iter().chain(others) {
        head(&mut text, name, help, is_counter);
        let _ = writeln!(text, "{name} {value}");
    }
    app.counters.write(&mut text);
    app.queue_metrics.write(&app, &mut text).await;
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// `GET /healthz`: whether the process is worth keeping.
pub(crate) async fn healthz(State(app): State<Shared>) -> Result<Response, Refused> {
    if let Health::Broken(why) = app.engine.health() {
        return Err(Refused::new(Code::Unavailable, format!("the storage is broken: {why}")));
    }
    let mut response = "ok\n".into_response();
    let instance = HeaderValue::from_str(&app.config.instance).ok().filter(|value| !value.is_empty());
    if let Some(instance) = instance {
        response.headers_mut().insert(INSTANCE_HEADER, instance);
    }
    Ok(response)
}

/// `GET /readyz`: whether it takes work.
pub(crate) async fn readyz(State(app): State<Shared>) -> Result<&'static str, Refused> {
    if app.stopping.is_cancelled() {
        return Err(Refused::new(Code::Stopping, "the server is stopping"));
    }
    match app.engine.health() {
        Health::Serving => Ok("ready\n"),
        Health::ReadOnly(why) => {
            Err(Refused::new(Code::Unavailable, format!("only reads are served: {why}")))
        }
        Health::Stopping => Err(Refused::new(Code::Stopping, "the server is stopping")),
        Health::Broken(why) => Err(Refused::new(Code::Unavailable, format!("the storage is broken: {why}"))),
    }
}
