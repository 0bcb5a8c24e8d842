//! Accepting connections, and stopping.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use riverrun_engine::Engine;
use riverrun_wire::http::{Code, Problem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::calls::{self, Caller};
use crate::config::{ServeError, ServerConfig, is_strong_token};
use crate::history::Histories;
use crate::logbook::LogBook;
use crate::metrics::Counters;
use crate::queue_metrics::QueueMetrics;
use crate::read_once::{self, ReadOnce};
use crate::room::Room;
use crate::stall::Stalling;

/// How long to wait after the system refused another connection (no file descriptors) before asking again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the first connections wait for the server's own worker.
const FIRST_CONNECT: Duration = Duration::from_secs(1);

/// Serves the HTTP interface on `listener` until `shutdown`; then no connection is accepted, long polls are answered, event streams
/// end, workers are told, and after at most `shutdown_grace` the rest is cut.
pub async fn serve(
    engine: Engine,
    listener: TcpListener,
    config: ServerConfig,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    let loopback = address.ip().is_loopback();
    if !loopback && config.tokens.is_empty() {
        return Err(ServeError::NoToken { address });
    }
    if !config.tokens.iter().all(|token| is_strong_token(token)) {
        return Err(ServeError::WeakToken);
    }
    if let Some(weak) = config.fnf.access_keys.iter().find(|key| !key.is_strong()) {
        return Err(ServeError::WeakAccessKey { id: weak.id.clone() });
    }
    let caller = Arc::new(Caller::new(&config.calls)?.with_callbacks(&config.callbacks));
    let signs = !config.callbacks.secrets.is_empty();
    let limits = config.limits.clone();
    let tasks = TaskTracker::new();
    let app = Arc::new(App {
        engine,
        loopback,
        port: address.port(),
        stopping: shutdown.clone(),
        tasks: tasks.clone(),
        workers: Arc::new(Semaphore::new(limits.max_workers)),
        bodies: Room::new(limits.max_body_memory.max(limits.max_body)),
        read_once: ReadOnce::new(limits.read_grace),
        logs: LogBook::new(limits.max_run_log, limits.max_log_memory),
        histories: Histories::default(),
        counters: Counters::default(),
        queue_metrics: QueueMetrics::default(),
        fnf: crate::fnf::Memory::new(&config.fnf),
        config,
    });
    tasks.spawn(read_once::sweep(app.clone()));
    let (asked, has_asked) = oneshot::channel();
    tasks.spawn(calls::serve(app.clone(), caller.clone(), asked));
    if signs {
        tasks.spawn(calls::serve_callbacks(app.clone(), caller));
    }
    // Who asks right after the start which functions are served is told of those with an address, too.
    let _ = tokio::time::timeout(FIRST_CONNECT, has_asked).await;
    let connections = Connections {
        service: TowerToHyperService::new(crate::routes::router(app.clone())),
        places: Arc::new(Semaphore::new(limits.max_connections)),
        cut: CancellationToken::new(),
        app,
    };
    crate::fnf::clear(&connections.app);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => connections.take(stream, Peer(peer.ip())),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(limits.shutdown_grace, tasks.wait()).await.is_err() {
        tracing::warn!(open = tasks.len(), "cutting connections that did not end within shutdown_grace");
        connections.cut.cancel();
        tasks.wait().await;
    }
    Ok(())
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(IpAddr);

impl Peer {
    /// From where a request comes, for people: a proxy in front of the server may say so, and so may anybody else.
    pub fn ip(request: &Request<Body>) -> String {
        let told =
            request.headers().get("x-real-ip").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let ip: Option<IpAddr> = told.or_else(|| request.extensions().get::<Peer>().map(|peer| peer.0));
        ip.map_or_else(String::new, |ip| ip.to_string())
    }
}

/// What each connection needs.
struct Connections {
    app: Arc<App>,
    service: TowerToHyperService<axum::Router>,
    places: Arc<Semaphore>,
    cut: CancellationToken,
}

impl Connections {
    fn take(&self, stream: TcpStream, peer: Peer) {
        // Without this a small answer waits for the acknowledgement of the one before: 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection went away at once");
            return;
        }
        match self.places.clone().try_acquire_owned() {
            Ok(place) => self.serve(stream, peer, place),
            Err(_) => self.refuse(stream),
        }
    }

    fn serve(&self, stream: TcpStream, peer: Peer, place: OwnedSemaphorePermit) {
        let limits = &self.app.config.limits;
        let service = self.service.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            service.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .serve_connection(TokioIo::new(Stalling::new(stream, limits.write_timeout)), service)
            .with_upgrades();
        let (app, cut) = (self.app.clone(), self.cut.clone());
        self.app.tasks.spawn(async move {
            let _place = place;
            let _open = app.counters.connection();
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = app.stopping.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection.as_mut() => ended,
                        () = cut.cancelled() => Ok(()),
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke");
            }
        });
    }

    fn refuse(&self, stream: TcpStream) {
        tracing::warn!(max_connections = self.app.config.limits.max_connections, "refused a connection");
        self.app.tasks.spawn(async move {
            let answer = full_answer();
            let tell = tell_and_close(stream, &answer);
            if !matches!(tokio::time::timeout(Duration::from_secs(1), tell).await, Ok(Ok(()))) {
                tracing::debug!("a refused connection did not take its answer");
            }
        });
    }
}

/// Writes an answer and waits for the peer to close. A connection that is closed while its request is unread is reset, and the answer
/// lost on the way.
async fn tell_and_close(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// The answer to a connection too many: written without waiting for its request.
fn full_answer() -> String {
    let problem = Problem::new(
        Code::TooManyConnections,
        "the server has max_connections connections open: close some, or raise it (riverrun server --max-connections)",
    )
    .with("limit", "max_connections");
    let body = serde_json::to_string(&problem).unwrap_or_default();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
