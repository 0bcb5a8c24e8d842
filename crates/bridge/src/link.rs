//! The connection to Redis: kept, told about, and asked again until it answers.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::counters::Counters;

/// How long a connection or an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The shortest and the longest wait before something is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The bridge stops: whoever waits gives up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopped;

/// A connection, and which of all that there were.
#[derive(Clone)]
pub(crate) struct Live {
    pub generation: u64,
    connection: MultiplexedConnection,
}

/// The connection to Redis.
pub(crate) struct Link {
    client: Client,
    address: String,
    counters: Arc<Counters>,
    stopping: CancellationToken,
    live: watch::Sender<Option<Live>>,
}

impl Link {
    pub fn new(
        client: Client,
        address: String,
        counters: Arc<Counters>,
        stopping: CancellationToken,
    ) -> Self {
        Link { client, address, counters, stopping, live: watch::Sender::new(None) }
    }

    /// Connects, and connects again, until the bridge stops. An outage is told once when it begins and once when it is over.
    pub async fn keep(&self) {
        let mut backoff = Backoff::new(&self.stopping);
        let mut outage: Option<(Instant, String)> = None;
        for generation in 1.. {
            let connection = loop {
                let error = match self.connect().await {
                    Ok(connection) => break connection,
                    Err(error) => explain(&error),
                };
                if outage.as_ref().is_none_or(|(_, told)| *told != error) {
                    tracing::error!(
                        redis = self.address,
                        "Redis cannot be reached: {error}; messages wait there, nothing is lost, and it is tried again until it answers"
                    );
                    let since = outage.as_ref().map_or_else(Instant::now, |(since, _)| *since);
                    outage = Some((since, error));
                }
                if backoff.pause().await.is_err() {
                    return;
                }
            };
            if let Some((since, _)) = outage.take() {
                tracing::info!(redis = self.address, "Redis answers again after {:.1?}", since.elapsed());
            } else {
                tracing::info!(redis = self.address, "connected to Redis");
            }
            backoff.reset();
            self.counters.connected.store(1, Relaxed);
            self.live.send_replace(Some(Live { generation, connection }));
            let mut lost = self.live.subscribe();
            let lost = async move { lost.wait_for(Option::is_none).await.map(drop) };
            if self.unless_stopped(lost).await.is_err() {
                return;
            }
            outage = Some((Instant::now(), String::new()));
        }
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let mut connection = self.dedicated().await?;
        // One that has just started accepts connections before it has read its data.
        redis::cmd("PING").query_async::<()>(&mut connection).await?;
        Ok(connection)
    }

    /// A connection for commands that block for less than [`PATIENCE`].
    pub async fn dedicated(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// The connection, as soon as there is one.
    pub async fn live(&self) -> Result<Live, Stopped> {
        let mut live = self.live.subscribe();
        let live = async move { live.wait_for(Option::is_some).await.ok().and_then(|live| live.clone()) };
        self.unless_stopped(live).await?.ok_or(Stopped)
    }

    /// Tells that a connection is of no use any more; whether that is news.
    pub fn lost(&self, generation: u64, error: &RedisError) {
        let ended = self.live.send_if_modified(|live| {
            let ended = live.as_ref().is_some_and(|live| live.generation == generation);
            if ended {
                *live = None;
            }
            ended
        });
        if ended {
            self.counters.connected.store(0, Relaxed);
            Counters::add(&self.counters.outages);
            tracing::warn!(redis = self.address, "the connection to Redis was lost: {}", explain(error));
        }
    }

    /// Asks until there is an answer. Everything that is asked so may be done twice: a connection can be lost before the answer comes.
    pub async fn ask<T: FromRedisValue>(&self, what: &str, commands: &Pipeline) -> Result<T, Stopped> {
        let mut backoff = Backoff::new(&self.stopping);
        let mut told = String::new();
        loop {
            let mut live = self.live().await?;
            let error = match commands.query_async(&mut live.connection).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            self.trouble(live.generation, &error, what, &mut told);
            backoff.pause().await?;
        }
    }

    /// What to do about an error: a connection that is gone is made anew; what Redis refuses is told once.
    pub fn trouble(&self, generation: u64, error: &RedisError, what: &str, told: &mut String) {
        if is_of_connection(error) {
            self.lost(generation, error);
            return;
        }
        let text = explain(error);
        if *told != text {
            tracing::error!(redis = self.address, "Redis refuses to {what}: {text}; it is tried again");
            *told = text;
        }
    }

    /// Waits for something unless the bridge stops.
    pub async fn unless_stopped<T>(&self, wait: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::select! {
            () = self.stopping.cancelled() => Err(Stopped),
            answer = wait => Ok(answer),
        }
    }
}

fn is_of_connection(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse)
}

/// The error, and what to do about it where that is known.
fn explain(error: &RedisError) -> String {
    let text = error.to_string();
    if text.contains("unknown command") {
        return format!("{text} (Redis 6.2 or newer is needed)");
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => format!("{text} (set the password in the url of [bridge.redis])"),
        _ if text.contains("NOAUTH") || text.contains("WRONGPASS") => {
            format!("{text} (set the password in the url of [bridge.redis])")
        }
        _ => text,
    }
}

/// Growing waits between tries.
pub(crate) struct Backoff<'a> {
    stopping: &'a CancellationToken,
    next: Duration,
}

impl<'a> Backoff<'a> {
    pub fn new(stopping: &'a CancellationToken) -> Self {
        Backoff { stopping, next: BACKOFF.0 }
    }

    pub fn reset(&mut self) {
        self.next = BACKOFF.0;
    }

    pub async fn pause(&mut self) -> Result<(), Stopped> {
        let wait = self.next;
        self.next = (wait * 2).min(BACKOFF.1);
        tokio::time::timeout(wait, self.stopping.cancelled()).await.map_or(Ok(()), |()| Err(Stopped))
    }
}
