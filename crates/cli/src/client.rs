//! A client of one server: every command goes through here, whether the server is far away or in this process.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use riverrun_kernel::{Json, RunId};
use riverrun_server::INSTANCE_HEADER;
use riverrun_store::Manifest;
use riverrun_wire::http::{
    BackfillSchedule, Backfilled, CancelBody, Changed, DeadQuery, Definitions, DeleteDefinitionQuery, Deploy,
    Deployed, GraphQuery, HistoryQuery, HistoryView, KeyView, Keys, LimitBody, Logs, OneSchedule,
    PauseSchedule, Problem, PutSchedule, QueueBody, QueueItem, Queues, Run, Runs, ScheduleView, Schedules,
    SignalBody, Start, StateAnswer, TriggerSchedule, Workers,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::args::Target;
use crate::data_dir::private_file;
use crate::entries::Part;
use crate::error::CliError;
use crate::exit::Exit;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it may take to answer, beyond what was asked to wait.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it is asked to wait for news.
const NEWS: riverrun_wire::http::Duration = riverrun_wire::http::Duration::from_ms(15_000);
/// The same for a checkpoint.
const CHECKPOINT: Duration = Duration::from_mins(5);

/// A client.
#[derive(Debug, Clone)]
pub struct Client {
    url: String,
    token: Option<String>,
    namespace: String,
    options: String,
    http: reqwest::Client,
}

impl Client {
    /// A client of the server at `url`.
    pub fn new(url: &str, token: Option<String>, namespace: &str) -> Result<Self, CliError> {
        let url = url.trim_end_matches('/').to_owned();
        if url.starts_with("https://") {
            return Err(CliError::usage(
                format!("{url}: this binary speaks plain HTTP only"),
                "reach the server through a local port that ends TLS, such as an SSH tunnel or a reverse proxy",
            ));
        }
        let parsed =
            reqwest::Url::parse(&url).ok().filter(|parsed| parsed.scheme() == "http" && parsed.has_host());
        if parsed.is_none() {
            return Err(CliError::usage(
                format!("`{url}` is not the address of a server"),
                "write it as http://127.0.0.1:7733",
            ));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .no_proxy()
            .build()
            .map_err(|error| CliError::failed(format!("no HTTP client: {error}"), "report this"))?;
        Ok(Client { url, token, namespace: namespace.to_owned(), options: String::new(), http })
    }

    /// The same, knowing which options lead to it.
    #[must_use]
    pub fn reached_by(self, target: &Target) -> Self {
        Client { options: target.options(), ..self }
    }

    /// Another command on the same server, as a person types it: every hint names commands so.
    pub fn command(&self, command: &str) -> String {
        format!("`riverrun {command}{}`", self.options)
    }

    /// The server's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The access token.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The namespace that definitions and keys are looked up in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether it is this server that answers there. It is asked without the token: another program may have got the port.
    pub async fn is(&self, instance: &str) -> bool {
        let request = self.http.get(format!("{}/healthz", self.url)).timeout(Duration::from_secs(2));
        let answer = request.send().await;
        let told = answer.as_ref().ok().and_then(|answer| answer.headers().get(INSTANCE_HEADER));
        !instance.is_empty() && told.is_some_and(|told| told == instance)
    }

    /// Starts a run, or finds the one that its key or id stands for.
    pub async fn start(&self, start: &Start) -> Result<Run, CliError> {
        self.json(self.body(Method::POST, "/v1/runs", start)?).await
    }

    /// A run as it stands.
    pub async fn run(&self, run: RunId) -> Result<Run, CliError> {
        self.json(self.request(Method::GET, &format!("/v1/runs/{run}"))).await
    }

    /// A page of runs.
    pub async fn runs(&self, query: &[(&str, String)]) -> Result<Runs, CliError> {
        self.json(self.query(Method::GET, "/v1/runs", query)).await
    }

    /// Part of a journal.
    pub async fn journal(&self, run: RunId, after: u64, internal: bool) -> Result<Part, CliError> {
        let query = [("after", after.to_string()), ("internal", internal.to_string())];
        self.json(self.query(Method::GET, &format!("/v1/runs/{run}/journal"), &query)).await
    }

    /// The picture of a run of a flow.
    pub async fn graph(&self, run: RunId, query: &GraphQuery) -> Result<String, CliError> {
        let request = self.request(Method::GET, &format!("/v1/runs/{run}/graph")).query(query);
        let response = self.send(request).await?;
        response.text().await.map_err(|error| self.lost(&error))
    }

    /// Part of a flow run's history; waits for it a little, where there is none yet.
    pub async fn history(&self, run: RunId, after: u64, wait: bool) -> Result<HistoryView, CliError> {
        let wait = wait.then_some(NEWS);
        let query = HistoryQuery { after: Some(after), limit: None, wait };
        let request = self.request(Method::GET, &format!("/v1/runs/{run}/history")).query(&query);
        self.json(request).await
    }

    /// What its attempts printed.
    pub async fn logs(&self, run: RunId) -> Result<Logs, CliError> {
        self.json(self.request(Method::GET, &format!("/v1/runs/{run}/logs"))).await
    }

    /// A stream of the run's journal from an entry on, as server-sent events.
    pub async fn events(&self, run: RunId, after: u64) -> Result<Response, CliError> {
        let query = [("after", after.to_string())];
        let request = self
            .query(Method::GET, &format!("/v1/runs/{run}/events"), &query)
            .header("accept", "text/event-stream")
            .timeout(Duration::MAX);
        self.send(request).await
    }

    /// Asks a run to stop.
    pub async fn cancel(&self, run: RunId, reason: &str) -> Result<StateAnswer, CliError> {
        let body = CancelBody { reason: reason.to_owned() };
        self.json(self.body(Method::POST, &format!("/v1/runs/{run}/cancel"), &body)?).await
    }

    /// Pauses or resumes a run.
    pub async fn steer(&self, run: RunId, what: &str) -> Result<StateAnswer, CliError> {
        let path = format!("/v1/runs/{run}/{what}");
        self.json(self.body(Method::POST, &path, &serde_json::json!({}))?).await
    }

    /// Sends a signal.
    pub async fn signal(
        &self,
        run: RunId,
        name: &str,
        payload: Json,
        id: Option<String>,
    ) -> Result<(), CliError> {
        let body = SignalBody { name: name.to_owned(), payload: Some(payload), id };
        self.done(self.body(Method::POST, &format!("/v1/runs/{run}/signal"), &body)?).await
    }

    /// Removes a closed run.
    pub async fn delete(&self, run: RunId) -> Result<(), CliError> {
        self.done(self.request(Method::DELETE, &format!("/v1/runs/{run}"))).await
    }

    /// The queues of the namespace, or one of them.
    pub async fn queues(&self, queue: Option<&str>) -> Result<Queues, CliError> {
        let mut query = vec![("namespace", self.namespace.clone())];
        query.extend(queue.map(|queue| ("queue", queue.to_owned())));
        self.json(self.query(Method::GET, "/v1/queues", &query)).await
    }

    /// Pauses, resumes or drains a queue.
    pub async fn steer_queue(&self, what: &str, body: &QueueBody) -> Result<QueueItem, CliError> {
        self.json(self.body(Method::POST, &format!("/v1/queues/{what}"), body)?).await
    }

    /// Cancels what waits in a queue.
    pub async fn empty_queue(&self, body: &QueueBody) -> Result<Changed, CliError> {
        // It begins with a checkpoint.
        self.json(self.body(Method::POST, "/v1/queues/empty", body)?.timeout(CHECKPOINT)).await
    }

    /// Sets limits.
    pub async fn limit(&self, body: &LimitBody) -> Result<Changed, CliError> {
        self.json(self.body(Method::POST, "/v1/queues/limit", body)?).await
    }

    /// A page of dead letters.
    pub async fn dead(&self, query: &DeadQuery) -> Result<Runs, CliError> {
        self.json(self.request(Method::GET, "/v1/dead").query(query)).await
    }

    /// Retries or deletes dead letters.
    pub async fn change_dead(&self, what: &str, query: &DeadQuery) -> Result<Changed, CliError> {
        self.json(self.body(Method::POST, &format!("/v1/dead/{what}"), query)?).await
    }

    /// Keeps a flow.
    pub async fn deploy(&self, name: &str, source: &str) -> Result<Deployed, CliError> {
        let body = Deploy {
            name: name.to_owned(),
            source: source.to_owned(),
            namespace: Some(self.namespace.clone()),
        };
        self.json(self.body(Method::POST, "/v1/definitions", &body)?).await
    }

    /// The newest version of each definition.
    pub async fn definitions(&self) -> Result<Definitions, CliError> {
        let query = [("namespace", self.namespace.clone())];
        self.json(self.query(Method::GET, "/v1/definitions", &query)).await
    }

    /// Deletes a definition.
    pub async fn delete_definition(&self, query: &DeleteDefinitionQuery) -> Result<(), CliError> {
        self.done(self.request(Method::DELETE, "/v1/definitions").query(query)).await
    }

    /// A key.
    pub async fn key(&self, definition: &str, continue_id: &str) -> Result<KeyView, CliError> {
        self.json(self.query(Method::GET, "/v1/keys", &self.key_query(definition, continue_id))).await
    }

    /// Keys.
    pub async fn keys(&self, query: &[(&str, String)]) -> Result<Keys, CliError> {
        self.json(self.query(Method::GET, "/v1/keys", query)).await
    }

    /// Forgets a key.
    pub async fn delete_key(
        &self,
        definition: &str,
        continue_id: &str,
        cancel: bool,
    ) -> Result<(), CliError> {
        let mut query = self.key_query(definition, continue_id).to_vec();
        query.push(("cancel", cancel.to_string()));
        self.done(self.query(Method::DELETE, "/v1/keys", &query)).await
    }

    /// Writes a schedule.
    pub async fn put_schedule(&self, put: &PutSchedule) -> Result<ScheduleView, CliError> {
        self.json(self.body(Method::PUT, "/v1/schedules", put)?).await
    }

    /// Schedules.
    pub async fn schedules(&self, query: &[(&str, String)]) -> Result<Schedules, CliError> {
        self.json(self.query(Method::GET, "/v1/schedules", query)).await
    }

    /// A schedule.
    pub async fn schedule(&self, name: &str) -> Result<ScheduleView, CliError> {
        self.json(self.query(Method::GET, "/v1/schedules", &self.schedule_query(name))).await
    }

    /// Lets nothing of a schedule fire.
    pub async fn pause_schedule(&self, name: &str, reason: Option<String>) -> Result<ScheduleView, CliError> {
        let body = PauseSchedule { namespace: Some(self.namespace.clone()), name: name.to_owned(), reason };
        self.json(self.body(Method::POST, "/v1/schedules/pause", &body)?).await
    }

    /// Lets a schedule fire again.
    pub async fn resume_schedule(&self, name: &str) -> Result<ScheduleView, CliError> {
        let body = OneSchedule { namespace: Some(self.namespace.clone()), name: name.to_owned() };
        self.json(self.body(Method::POST, "/v1/schedules/resume", &body)?).await
    }

    /// Starts a run of a schedule.
    pub async fn trigger_schedule(&self, trigger: &TriggerSchedule) -> Result<Run, CliError> {
        self.json(self.body(Method::POST, "/v1/schedules/trigger", trigger)?).await
    }

    /// Starts the runs of planned times that have none.
    pub async fn backfill_schedule(&self, backfill: &BackfillSchedule) -> Result<Backfilled, CliError> {
        self.json(self.body(Method::POST, "/v1/schedules/backfill", backfill)?).await
    }

    /// Forgets a schedule.
    pub async fn delete_schedule(&self, name: &str) -> Result<(), CliError> {
        self.done(self.query(Method::DELETE, "/v1/schedules", &self.schedule_query(name))).await
    }

    fn schedule_query(&self, name: &str) -> [(&'static str, String); 2] {
        [("namespace", self.namespace.clone()), ("name", name.to_owned())]
    }

    /// Has the store's rows brought up to date.
    pub async fn checkpoint(&self) -> Result<(), CliError> {
        // A checkpoint of a full log may take longer than other answers.
        let request = self.body(Method::POST, "/v1/store/checkpoint", &serde_json::json!({}))?;
        self.done(request.timeout(CHECKPOINT)).await
    }

    /// Writes a copy of the store to `to`, and says what it must look like.
    pub async fn backup(&self, to: &Path) -> Result<Manifest, CliError> {
        let request = self.body(Method::POST, "/v1/store/backup", &serde_json::json!({}))?;
        let mut response = self.send(request.timeout(Duration::MAX)).await?;
        let mut file = private_file(to).map_err(|error| CliError::io("write", to, &error))?;
        let (mut head, mut expected) = (Some(Vec::new()), None);
        while let Some(chunk) = response.chunk().await.map_err(|error| self.lost(&error))? {
            let database = match &mut head {
                None => &chunk[..],
                Some(line) => match chunk.iter().position(|byte| *byte == b'\n') {
                    None => {
                        line.extend_from_slice(&chunk);
                        continue;
                    }
                    Some(end) => {
                        line.extend_from_slice(&chunk[..end]);
                        expected = Some(manifest(line)?);
                        head = None;
                        &chunk[end + 1..]
                    }
                },
            };
            file.write_all(database).map_err(|error| CliError::io("write", to, &error))?;
        }
        expected.ok_or_else(|| {
            CliError::unavailable(format!("{} ended the backup before it began", self.url), "try again")
        })
    }

    /// The connected workers.
    pub async fn workers(&self) -> Result<Workers, CliError> {
        self.json(self.request(Method::GET, "/v1/workers")).await
    }

    fn key_query(&self, definition: &str, continue_id: &str) -> [(&'static str, String); 3] {
        [
            ("namespace", self.namespace.clone()),
            ("definition", definition.to_owned()),
            ("continue_id", continue_id.to_owned()),
        ]
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url)).timeout(ANSWER);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn query(&self, method: Method, path: &str, query: &[(&str, String)]) -> RequestBuilder {
        self.request(method, path).query(query)
    }

    fn body(&self, method: Method, path: &str, body: &impl Serialize) -> Result<RequestBuilder, CliError> {
        let text = serde_json::to_string(body).map_err(|error| {
            CliError::usage(format!("the request cannot be written as JSON: {error}"), "check the input")
        })?;
        Ok(self.request(method, path).header("content-type", "application/json").body(text))
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, CliError> {
        let response = self.send(request).await?;
        let bytes = response.bytes().await.map_err(|error| self.lost(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            CliError::failed(
                format!("{} answered with something unexpected: {error}", self.url),
                "check that it is a Riverrun server of the same version as this binary",
            )
        })
    }

    async fn done(&self, request: RequestBuilder) -> Result<(), CliError> {
        self.send(request).await.map(drop)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request.send().await.map_err(|error| self.lost(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response.bytes().await.map_err(|error| self.lost(&error))?;
        Err(match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => self.refused(&problem),
            Err(_) => CliError::failed(
                format!("{} answered {status}", self.url),
                "check that it is a Riverrun server, and not another program at that address",
            ),
        })
    }

    fn lost(&self, error: &reqwest::Error) -> CliError {
        let (what, next) = if error.is_connect() {
            (
                format!("no server answers at {}", self.url),
                "start one with `riverrun server`, or give another address with --server",
            )
        } else if error.is_timeout() {
            (format!("{} took too long to answer", self.url), "try again")
        } else {
            (format!("the connection to {} broke: {}", self.url, root(error)), "try again")
        };
        CliError::unavailable(what, next)
    }

    /// What the server refused, with the command that comes next.
    fn refused(&self, problem: &Problem) -> CliError {
        let run = problem.more.get("run_id").and_then(serde_json::Value::as_str).unwrap_or("RUN");
        let show = || self.command(&format!("runs show {run}"));
        let (exit, next) = match problem.code.as_str() {
            "unauthorized" => {
                (Exit::Failed, "give the server's token with --token-file or RIVERRUN_TOKEN".to_owned())
            }
            "unknown_run" => {
                (Exit::Failed, format!("{} shows the runs there are", self.command("runs list")))
            }
            "unknown_definition" => (
                Exit::Failed,
                format!(
                    "{} deploys one; `riverrun run FILE` does so by itself",
                    self.command("deploy flow.yaml --name NAME")
                ),
            ),
            "unknown_key" => {
                (Exit::Failed, format!("{} shows the keys there are", self.command("keys list")))
            }
            "key_mismatch" => (
                Exit::Failed,
                format!(
                    "{} shows the first input; use another --continue-id, or --force for a new run, --on-input ignore if the key alone \
                     is to decide, --allow-new-input if only a failed run may be followed by one with another input",
                    show()
                ),
            ),
            "key_rejected" | "key_in_flight" => {
                (Exit::Failed, format!("{} follows it", self.command(&format!("runs attach {run}"))))
            }
            "too_many_generations" => {
                (Exit::Failed, format!("{} tells why; mend the cause, then start with --force", show()))
            }
            "too_many_signals" => {
                (Exit::Failed, format!("{} says what it waits for; send it again later", show()))
            }
            "key_purged" => {
                (Exit::Failed, "start with --on-success rerun or --force to run it again".to_owned())
            }
            "invalid_request" | "over_limit" | "body_too_large" => {
                (Exit::Usage, "change the request as the message says".to_owned())
            }
            "busy" | "unavailable" | "stopping" | "too_many_connections" => {
                (Exit::Unavailable, "try again in a moment; nothing is done twice".to_owned())
            }
            _ => (Exit::Failed, String::new()),
        };
        CliError { exit, code: Some(problem.code.clone()), ..CliError::failed(problem.detail.clone(), next) }
    }
}

/// The first line of a backup that is sent.
fn manifest(line: &[u8]) -> Result<Manifest, CliError> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Head {
        Manifest(Manifest),
        Failed { error: String },
    }
    match serde_json::from_slice(line) {
        Ok(Head::Manifest(manifest)) => Ok(manifest),
        Ok(Head::Failed { error }) => Err(CliError::unavailable(
            format!("the server made no backup: {error}"),
            "mend the cause, then try again",
        )),
        Err(error) => Err(CliError::failed(
            format!("the backup begins with something unexpected: {error}"),
            "check that server and command are of the same version",
        )),
    }
}

/// The innermost cause: reqwest's own text repeats the address and little else.
fn root(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// Whether it is worth asking again after this error.
pub fn is_worth_another_try(error: &CliError) -> bool {
    error.exit == Exit::Unavailable
}

/// Whether nobody answers there any more.
pub fn is_gone(error: &CliError) -> bool {
    error.exit == Exit::Unavailable && matches!(error.code.as_deref(), None | Some("stopping"))
}
