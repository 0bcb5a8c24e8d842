//! Settings of the bridge, and what is wrong with them.

use std::collections::BTreeSet;
use std::time::Duration;

use redis::{Client, ConnectionAddr, IntoConnectionInfo};

/// How the bridge serves a Redis.
#[derive(Clone)]
pub struct Settings {
    /// Where it is, as in `redis://:password@localhost:6379/0`.
    pub url: String,
    /// The queues whose messages are taken: names such as `/demo_api/ping`, which are those of the tasks that run.
    pub queues: Vec<String>,
    /// The namespace that the runs are in.
    pub namespace: String,
    /// What the bridge's own lists in Redis begin with. Two servers on one Redis need two names.
    pub name: String,
    /// Messages taken from a queue whose outcome is not written yet; more stay where other workers can take them.
    pub max_taken: usize,
    /// The longest `data`, in bytes.
    pub max_data: usize,
    /// The port that `handle_worker` tells.
    pub port: u16,
    /// How often the entries of messages that are being worked on are made new, so that the original's cleaners leave them alone: these declare
    /// a message failed an hour after its entry was made.
    pub refresh: Duration,
}

impl Settings {
    /// The defaults.
    pub fn new(url: impl Into<String>, queues: Vec<String>) -> Self {
        Settings {
            url: url.into(),
            queues,
            namespace: "default".to_owned(),
            name: "riverrun".to_owned(),
            max_taken: 100,
            max_data: 16 << 20,
            port: 0,
            refresh: Duration::from_mins(10),
        }
    }

    /// Checks them, and makes the client that will connect.
    pub(crate) fn client(&self) -> Result<(Client, String), InvalidSettings> {
        if self.queues.is_empty() {
            return Err(InvalidSettings::NoQueues);
        }
        let mut seen = BTreeSet::new();
        for queue in &self.queues {
            if queue.is_empty() || queue.len() > 255 || queue.chars().any(char::is_control) {
                return Err(InvalidSettings::Queue(queue.clone()));
            }
            if !seen.insert(queue) {
                return Err(InvalidSettings::Twice(queue.clone()));
            }
        }
        if self.max_taken == 0 {
            return Err(InvalidSettings::NoneTaken);
        }
        // The URL may hold a password: what is wrong with it is told without it.
        let info = self.url.as_str().into_connection_info();
        let info = info.map_err(|error| InvalidSettings::Url(error.to_string()))?;
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) => format!("{host}:{port}"),
            other => other.to_string(),
        };
        let client = Client::open(info).map_err(|error| InvalidSettings::Url(error.to_string()))?;
        Ok((client, address))
    }
}

impl std::fmt::Debug for Settings {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("queues", &self.queues)
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("max_taken", &self.max_taken)
            .field("max_data", &self.max_data)
            .finish_non_exhaustive()
    }
}

/// Settings that no bridge can be made with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    /// The address.
    #[error("the url is not that of a Redis, such as redis://:password@localhost:6379/0: {0}")]
    Url(String),
    /// Nothing to take.
    #[error("queues names no queue: list those whose messages are to be taken, such as [\"/demo_api/ping\"]")]
    NoQueues,
    /// A name that no task can have.
    #[error("`{0}` in queues is no name of a queue: it must have 1 to 255 bytes and no control characters")]
    Queue(String),
    /// A name that stands there again.
    #[error("`{0}` stands twice in queues")]
    Twice(String),
    /// No message could ever be taken.
    #[error("max_taken is 0: no message would be taken; the default is 100")]
    NoneTaken,
}
