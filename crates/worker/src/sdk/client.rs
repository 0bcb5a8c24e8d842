//! A client of a server: starts runs, waits for them, signals and cancels them.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Method, Response};
use riverrun_kernel::{Json, RunId, Slot, State};
use riverrun_wire::http::{CancelBody, Duration as WireDuration, ErrorView, Problem, Run, SignalBody, Start};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::{encode, random};
use super::error::Error;
use super::wait::{Target, ms};

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it may take to answer, beyond what was asked to wait.
const ANSWER: Duration = Duration::from_secs(30);
/// How long one question for a result waits; then it is asked again.
const WAIT: Duration = Duration::from_secs(30);
/// A server that is not there is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// Why a call of a server came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The run ended without an output.
    #[error("run {run} {state}: {error}")]
    Ended {
        /// Which run.
        run: RunId,
        /// `failed`, `timed_out`, `cancelled` or `expired`.
        state: String,
        /// How.
        error: Error,
    },
    /// The server did not want that.
    #[error("{message} ({code})")]
    Refused {
        /// Its stable code; see `docs/errors`.
        code: String,
        /// What it said.
        message: String,
    },
    /// The server did not answer. What was asked may have happened.
    #[error("the server at {server} does not answer: {reason}")]
    Unavailable {
        /// Which server.
        server: String,
        /// What went wrong.
        reason: String,
    },
    /// What was given cannot be sent, or what was answered cannot be read.
    #[error("{0}")]
    Value(String),
}

/// A client of one server. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    url: String,
    token: Option<String>,
    namespace: String,
    http: reqwest::Client,
}

impl Client {
    /// A client of the server at `http://HOST:PORT`.
    pub fn new(server: &str) -> Result<Self, ClientError> {
        let url = server.trim_end_matches('/').to_owned();
        let parsed = reqwest::Url::parse(&url).ok();
        if parsed.is_none_or(|url| url.scheme() != "http" || !url.has_host()) {
            let text = format!("`{server}` is not the address of a server: expected http://HOST:PORT");
            return Err(ClientError::Value(text));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .no_proxy()
            .build()
            .map_err(|error| ClientError::Value(format!("no HTTP client: {error}")))?;
        Ok(Client { url, token: None, namespace: "default".to_owned(), http })
    }

    /// The server's access token, if it wants one.
    #[must_use]
    pub fn token(mut self, token: impl Into<Option<String>>) -> Self {
        self.token = token.into();
        self
    }

    /// The namespace that definitions and keys are looked up in; `default` unless given.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Starts a run. Await it for its [`Handle`].
    pub fn start(&self, definition: impl Into<Target>, input: &impl Serialize) -> Starting {
        let (kind, definition, version) = definition.into().into_parts();
        let (input, refused) = match encode(input) {
            Ok(input) => (Some(input), None),
            Err(failure) => (None, Some(failure.to_string())),
        };
        let start = Start {
            definition,
            kind: Some(kind),
            version: Some(version).filter(|version| !version.is_empty()),
            namespace: Some(self.namespace.clone()),
            input,
            ..Start::default()
        };
        Starting { client: self.clone(), start, refused }
    }

    /// Starts a run, waits for its end and returns its output.
    pub async fn run<O: DeserializeOwned>(
        &self,
        definition: impl Into<Target>,
        input: &impl Serialize,
    ) -> Result<O, ClientError> {
        self.start(definition, input).output().await
    }

    /// A run that was started before.
    pub fn handle(&self, run: RunId) -> Handle {
        Handle { client: self.clone(), run }
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<Response, ClientError> {
        let body = serde_json::to_string(body).map_err(|error| ClientError::Value(error.to_string()))?;
        self.send(Method::POST, path, Some(&body)).await
    }

    /// Every request may be sent again: starts carry an id, and the others change nothing the second time.
    async fn send(&self, method: Method, path: &str, body: Option<&str>) -> Result<Response, ClientError> {
        let since = tokio::time::Instant::now();
        loop {
            let error = match self.send_once(method.clone(), path, body).await {
                Err(error @ ClientError::Unavailable { .. }) => error,
                other => return other,
            };
            if since.elapsed() >= PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn send_once(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
    ) -> Result<Response, ClientError> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).timeout(WAIT + ANSWER);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        let response = request.send().await.map_err(|error| self.unavailable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response.bytes().await.map_err(|error| self.unavailable(&error))?;
        let problem = serde_json::from_slice::<Problem>(&bytes).ok();
        if matches!(status.as_u16(), 429 | 503) {
            let reason = problem.map_or_else(|| status.to_string(), |problem| problem.detail);
            return Err(ClientError::Unavailable { server: self.url.clone(), reason });
        }
        Err(match problem {
            Some(problem) => ClientError::Refused { code: problem.code, message: problem.detail },
            None => ClientError::Value(format!("{} answered {status}: is it a Riverrun server?", self.url)),
        })
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let bytes = response.bytes().await.map_err(|error| self.unavailable(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            ClientError::Value(format!("{} answered with something unexpected: {error}", self.url))
        })
    }

    fn unavailable(&self, error: &reqwest::Error) -> ClientError {
        let mut inner: &dyn std::error::Error = error;
        while let Some(source) = inner.source() {
            inner = source;
        }
        ClientError::Unavailable { server: self.url.clone(), reason: inner.to_string() }
    }
}

impl std::fmt::Debug for Client {
    /// Without the access token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.url).finish_non_exhaustive()
    }
}

/// A start, to be awaited.
#[derive(Debug)]
#[must_use = "nothing is started unless it is awaited"]
pub struct Starting {
    client: Client,
    start: Start,
    refused: Option<String>,
}

impl Starting {
    /// The key that makes the start idempotent: the same key finds the run that it stands for.
    pub fn continue_id(mut self, id: impl Into<String>) -> Self {
        self.start.continue_id = Some(id.into());
        self
    }

    /// A text pair to find the run by.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.start.labels.insert(name.into(), value.into());
        self
    }

    /// Not before so long from now.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.start.delay = Some(wire(delay));
        self
    }

    /// Waits for the end and returns the output: one question to the server, where that is enough.
    pub async fn output<O: DeserializeOwned>(mut self) -> Result<O, ClientError> {
        self.start.wait = Some(wire(WAIT));
        let (client, run) = self.send().await?;
        match outcome(&run) {
            Some(outcome) => outcome,
            None => client.handle(run.item.run_id).output().await,
        }
    }

    async fn send(mut self) -> Result<(Client, Run), ClientError> {
        if let Some(text) = self.refused {
            return Err(ClientError::Value(text));
        }
        if self.start.continue_id.is_none() {
            self.start.run_id = Some(fresh());
        }
        let response = self.client.post("/v1/runs", &self.start).await?;
        let run = self.client.read(response).await?;
        Ok((self.client, run))
    }
}

impl IntoFuture for Starting {
    type Output = Result<Handle, ClientError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (client, run) = self.send().await?;
            Ok(client.handle(run.item.run_id))
        })
    }
}

/// A run.
#[derive(Debug, Clone)]
pub struct Handle {
    client: Client,
    run: RunId,
}

impl Handle {
    /// Its id.
    pub fn run_id(&self) -> RunId {
        self.run
    }

    /// Waits for its end and returns its output.
    pub async fn output<O: DeserializeOwned>(&self) -> Result<O, ClientError> {
        loop {
            let path = format!("/v1/runs/{}?wait={}s", self.run, WAIT.as_secs());
            let response = self.client.send(Method::GET, &path, None).await?;
            let run: Run = self.client.read(response).await?;
            if let Some(outcome) = outcome(&run) {
                return outcome;
            }
        }
    }

    /// Its state now: `running`, `suspended`, `succeeded`, ….
    pub async fn state(&self) -> Result<State, ClientError> {
        let response = self.client.send(Method::GET, &format!("/v1/runs/{}", self.run), None).await?;
        Ok(self.client.read::<Run>(response).await?.item.state)
    }

    /// Sends it a signal, once, however often the connection breaks.
    pub async fn signal(&self, name: &str, payload: &impl Serialize) -> Result<(), ClientError> {
        let payload = encode(payload).map_err(|failure| ClientError::Value(failure.to_string()))?;
        let id = format!("{:016x}{:016x}", random(), random());
        let body = SignalBody { name: name.to_owned(), payload: Some(payload), id: Some(id) };
        self.client.post(&format!("/v1/runs/{}/signal", self.run), &body).await.map(drop)
    }

    /// Asks it to stop.
    pub async fn cancel(&self, reason: &str) -> Result<(), ClientError> {
        let body = CancelBody { reason: reason.to_owned() };
        self.client.post(&format!("/v1/runs/{}/cancel", self.run), &body).await.map(drop)
    }
}

fn outcome<O: DeserializeOwned>(run: &Run) -> Option<Result<O, ClientError>> {
    let state = run.item.state;
    if !state.is_closed() {
        return None;
    }
    if state == State::Succeeded {
        let output = run.output.as_ref().map_or("null", Json::get);
        let read = serde_json::from_str(output);
        return Some(
            read.map_err(|error| ClientError::Value(format!("the output is not what was expected: {error}"))),
        );
    }
    let error = match &run.error {
        Some(ErrorView { kind, message, .. }) => Error::new(kind, message),
        None => Error::new("Ended", "without an error"),
    };
    Some(Err(ClientError::Ended { run: run.item.run_id, state: state.to_string(), error }))
}

fn wire(duration: Duration) -> WireDuration {
    WireDuration { ms: ms(duration) }
}

/// A run id that nobody else has.
fn fresh() -> RunId {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RunId::new(ms(now), Slot((random() & 0xFFFF) as u16), random())
}
