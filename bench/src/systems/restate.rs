//! Restate: its server as npm brings it, stock settings, and its Python SDK on hypercorn.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Stand;
use crate::http::{Connection, Request, until_ok};
use crate::process::Process;
use crate::settings::{Settings, here};

/// Where it takes calls.
pub const INGRESS: SocketAddr = at(8080);
const ADMIN: SocketAddr = at(9070);
const SERVICE: SocketAddr = at(9080);
const START: Duration = Duration::from_mins(1);

/// What it is called in the results.
pub const NAME: &str = "Restate 1.7.12, Python SDK";

/// A Restate with a data directory of its own, on its usual ports.
pub struct Restate {
    /// Its processes.
    pub stand: Stand,
}

const fn at(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Restate {
    /// Starts the server with nothing in it, and the service.
    pub async fn start(settings: &Settings) -> io::Result<Restate> {
        settings.fresh("restate")?;
        let engine = server(settings)?;
        let mut command = Command::new(settings.peer("restate-sdk/bin/hypercorn"));
        command
            .args(["--bind", &SERVICE.to_string(), "-w", "1", "--log-level", "error", "restate_service:app"])
            .current_dir(here("peers"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("RESTATE_LOGGING", "ERROR")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let worker = Process::start(&mut command, &settings.log("restate-service"))?;
        let restate = Restate { stand: Stand { address: INGRESS, engine, worker: Some(worker) } };
        until_ok(ADMIN, &Request::get("/health"), START).await?;
        until_ok(INGRESS, &Request::get("/restate/health"), START).await?;
        let deployment = json!({"uri": format!("http://{SERVICE}"), "force": true});
        until_ok(ADMIN, &Request::post("/deployments", &deployment), START).await?;
        // When the first call is answered its partitions are ready.
        until_ok(INGRESS, &steps(3), START).await?;
        Ok(restate)
    }

    /// Starts the server again on the same data; how long it took until it answered a call.
    pub async fn restart(&mut self, settings: &Settings) -> io::Result<Duration> {
        let start = Instant::now();
        self.stand.engine = server(settings)?;
        until_ok(INGRESS, &steps(1), START).await?;
        Ok(start.elapsed())
    }

    /// Asks its tables.
    pub async fn query(&self, sql: &str) -> io::Result<Value> {
        let request = Request::post_with("/query", &json!({"query": sql}), "accept: application/json\r\n");
        Ok(Connection::new(ADMIN).send(&request).await?.accepted()?.json())
    }

    /// Waits until no invocation of a handler is open. The query scans every invocation, so it is asked seldom.
    pub async fn until_idle(&self, handler: &str) -> io::Result<()> {
        let sql = format!(
            "select count(*) as open from sys_invocation where target_handler_name = '{handler}' and status <> 'completed'"
        );
        while self.query(&sql).await?["rows"][0]["open"] != 0 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}

fn server(settings: &Settings) -> io::Result<Process> {
    let data = settings.work.join("restate");
    let package = format!("restate/node_modules/@restatedev/restate-server-linux-{}", architecture());
    let mut command = Command::new(settings.peer(&package).join("bin/restate-server"));
    command
        .arg("--no-logo")
        .current_dir(&data)
        .env("RESTATE_BASE_DIR", &data)
        .env("RESTATE_DISABLE_TELEMETRY", "true")
        .env("DO_NOT_TRACK", "1")
        .env("RESTATE_LOG_FILTER", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Process::start(&mut command, &settings.log("restate"))
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" }
}

/// A run of so many steps, answered when it has ended.
pub fn steps(count: usize) -> Request {
    Request::post("/bench/steps", &json!(count))
}

/// The same under a key: only so is the result kept, as Riverrun's is.
pub fn kept_steps(count: usize, key: &str) -> Request {
    Request::post_with("/bench/steps", &json!(count), &format!("idempotency-key: {key}\r\n"))
}

/// A call of a handler that is answered when it was taken in.
pub fn send(handler: &str, input: &Value, key: &str) -> Request {
    Request::post_with(&format!("/bench/{handler}/send"), input, &format!("idempotency-key: {key}\r\n"))
}
