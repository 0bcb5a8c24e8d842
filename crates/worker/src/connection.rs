//! The connection to the server: an HTTP/1.1 upgrade, then frames both ways.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use riverrun_wire::frame::{self, MAX_FRAME};
use riverrun_wire::worker::ToWorker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::error::WorkerError;

const PATH: &str = "/v1/worker";
const UPGRADE: &str = "riverrun-worker/1";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 16 << 10;
/// What was sent and is not acknowledged by the peer's machine for so long ends the connection: it has vanished.
const SILENCE: Duration = Duration::from_secs(30);

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// As it was given.
    pub url: String,
    host: String,
    port: u16,
}

impl Address {
    pub fn parse(url: &str) -> Result<Self, WorkerError> {
        let wrong = |reason| WorkerError::Address { server: url.to_owned(), reason };
        if url.starts_with("https://") {
            return Err(wrong("a worker does not speak TLS; put a tunnel or a proxy on the worker's side"));
        }
        let rest = url.strip_prefix("http://").ok_or_else(|| wrong("it does not begin with http://"))?;
        let authority = rest.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ', '\r', '\n']) {
            return Err(wrong("only a host and a port may follow http://"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("its port is no number up to 65535"))?)
            }
            _ => (authority, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Address { url: url.to_owned(), host, port })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The server does not want this worker, and gives no hope that it will.
    Refused(WorkerError),
    /// Worth another try.
    Passing(String),
}

/// An upgraded connection. Nothing has been said on it yet.
#[derive(Debug)]
pub(crate) struct Upgraded {
    stream: TcpStream,
    /// What came right behind the answer's head.
    input: BytesMut,
}

/// Connects and upgrades.
pub(crate) async fn connect(address: &Address, token: Option<&str>) -> Result<Upgraded, ConnectError> {
    match tokio::time::timeout(CONNECT_TIMEOUT, upgrade(address, token)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Passing(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
    }
}

async fn upgrade(address: &Address, token: Option<&str>) -> Result<Upgraded, ConnectError> {
    let passing = |error: io::Error| ConnectError::Passing(error.to_string());
    let mut stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(passing)?;
    stream.set_nodelay(true).map_err(passing)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(SILENCE)).map_err(passing)?;
    let authorization = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: {UPGRADE}\r\nuser-agent: riverrun/{}\r\n{authorization}\r\n",
        address.authority(),
        env!("CARGO_PKG_VERSION"),
    );
    stream.write_all(request.as_bytes()).await.map_err(passing)?;
    let mut input = BytesMut::new();
    let head = loop {
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            break input.split_to(end + 4);
        }
        if input.len() > MAX_ANSWER {
            return Err(ConnectError::Passing("its answer has no end".to_owned()));
        }
        if stream.read_buf(&mut input).await.map_err(passing)? == 0 {
            return Err(ConnectError::Passing("the connection was closed before an answer".to_owned()));
        }
    };
    let head = String::from_utf8_lossy(&head).into_owned();
    match status(&head) {
        Some(101) => Ok(Upgraded { stream, input }),
        Some(code) => Err(refusal(address, code, body(&mut stream, input).await)),
        None => Err(ConnectError::Passing("something that does not speak HTTP answers there".to_owned())),
    }
}

fn status(head: &str) -> Option<u16> {
    head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.trim().parse().ok()
}

/// What a refusal says, as far as it comes within a moment.
async fn body(stream: &mut TcpStream, mut input: BytesMut) -> BytesMut {
    let _ = tokio::time::timeout(Duration::from_millis(500), async {
        while serde_json::from_slice::<serde::de::IgnoredAny>(&input).is_err() && input.len() < MAX_ANSWER {
            if !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
                break;
            }
        }
    })
    .await;
    input
}

fn refusal(address: &Address, status: u16, body: BytesMut) -> ConnectError {
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |name: &str| problem[name].as_str().map(str::to_owned);
    let message = text("detail").or_else(|| text("title")).unwrap_or_else(|| match status {
        401 | 403 => "a valid access token is needed: give it with --token or RIVERRUN_TOKEN".to_owned(),
        404 => "there is no worker endpoint: is this a Riverrun server?".to_owned(),
        _ => format!("it answered with HTTP status {status}"),
    });
    // Load and time-outs pass, and so does whatever a server says while it starts or stops.
    if status >= 500 || status == 408 || status == 429 {
        return ConnectError::Passing(message);
    }
    ConnectError::Refused(WorkerError::Refused {
        server: address.url.clone(),
        code: text("code").unwrap_or_else(|| format!("HTTP {status}")),
        message,
    })
}

/// What came over a connection.
#[derive(Debug)]
pub(crate) enum Received {
    /// The messages of one frame.
    Messages(Vec<ToWorker>),
    /// It has ended.
    Closed(String),
}

/// Takes frames apart until the connection ends.
pub(crate) async fn read(mut half: OwnedReadHalf, mut input: BytesMut, events: mpsc::Sender<Received>) {
    let reason = loop {
        match frame::decode::<ToWorker>(&mut input, MAX_FRAME) {
            Ok(Some(messages)) => {
                if events.send(Received::Messages(messages)).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => break error.to_string(),
        }
        match half.read_buf(&mut input).await {
            Ok(0) => break "the server closed the connection".to_owned(),
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
    };
    let _ = events.send(Received::Closed(reason)).await;
}

/// Writes frames until there are no more, then says that it is over.
pub(crate) async fn write(mut half: OwnedWriteHalf, mut frames: mpsc::Receiver<BytesMut>) {
    while let Some(mut bytes) = frames.recv().await {
        while bytes.has_remaining() {
            if half.write_buf(&mut bytes).await.is_err() {
                // The reading side learns of it too, and says why.
                return;
            }
        }
    }
    let _ = half.shutdown().await;
}

impl Upgraded {
    pub fn into_parts(self) -> (OwnedReadHalf, OwnedWriteHalf, BytesMut) {
        let (read, write) = self.stream.into_split();
        (read, write, self.input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused_with_a_reason() {
        let address = Address::parse("http://127.0.0.1:7733/").expect("a host and a port");
        assert_eq!(address.authority(), "127.0.0.1:7733");
        assert_eq!(Address::parse("http://[::1]:80").expect("IPv6").authority(), "[::1]:80");
        assert_eq!(Address::parse("http://river").expect("a name").authority(), "river:80");
        for wrong in
            ["river:80", "https://river", "http://", "http://river/x", "http://river:port", "http://a\r\nb"]
        {
            let error = Address::parse(wrong).expect_err(wrong).to_string();
            assert!(error.contains("http://HOST:PORT"), "{error}");
        }
    }
}
