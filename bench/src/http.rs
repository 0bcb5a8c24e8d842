//! A client that costs little: one connection, one request at a time, HTTP/1.1 by hand.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request, ready to be sent.
#[derive(Debug, Clone)]
pub struct Request(Vec<u8>);

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// A connection that stays open between requests.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    input: Vec<u8>,
}

impl Request {
    /// A `GET`.
    pub fn get(path: &str) -> Request {
        Request(format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").into_bytes())
    }

    /// A `POST` of JSON.
    pub fn post(path: &str, body: &Value) -> Request {
        Request::post_with(path, body, "")
    }

    /// A `POST` of JSON with further header lines, each ended by CR LF.
    pub fn post_with(path: &str, body: &Value, headers: &str) -> Request {
        let body = body.to_string();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        Request((head + &body).into_bytes())
    }
}

impl Answer {
    /// Whether it went well.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The answer, unless it is a refusal.
    pub fn accepted(self) -> io::Result<Answer> {
        if self.is_ok() {
            return Ok(self);
        }
        let text = String::from_utf8_lossy(&self.body);
        Err(io::Error::other(format!("it answered {}: {text}", self.status)))
    }
}

impl Connection {
    /// A connection that is opened when it is first used.
    pub fn new(address: SocketAddr) -> Connection {
        Connection { address, stream: None, input: Vec::with_capacity(4096) }
    }

    /// Sends a request and reads its answer. After an error the next request opens a new connection.
    pub async fn send(&mut self, request: &Request) -> io::Result<Answer> {
        let answer = self.exchange(request).await;
        if answer.is_err() {
            self.stream = None;
            self.input.clear();
        }
        answer
    }

    async fn exchange(&mut self, request: &Request) -> io::Result<Answer> {
        let stream = if let Some(stream) = &mut self.stream {
            stream
        } else {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            self.stream.insert(stream)
        };
        stream.write_all(&request.0).await?;
        let head = loop {
            if let Some(end) = find(&self.input, b"\r\n\r\n") {
                break end + 4;
            }
            more(stream, &mut self.input).await?;
        };
        let (status, length) = read_head(&self.input[..head])?;
        let (body, end) = match length {
            Some(length) => {
                while self.input.len() < head + length {
                    more(stream, &mut self.input).await?;
                }
                (self.input[head..head + length].to_vec(), head + length)
            }
            None => chunks(stream, &mut self.input, head).await?,
        };
        self.input.drain(..end);
        Ok(Answer { status, body })
    }
}

/// Sends a request on a new connection until it is answered well; how long that took.
pub async fn until_ok(address: SocketAddr, request: &Request, limit: Duration) -> io::Result<Duration> {
    let start = Instant::now();
    let mut connection = Connection::new(address);
    loop {
        let problem = match connection.send(request).await {
            Ok(answer) if answer.is_ok() => return Ok(start.elapsed()),
            Ok(answer) => io::Error::other(format!("it answered {}", answer.status)),
            Err(error) => error,
        };
        if start.elapsed() > limit {
            return Err(problem);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn read_head(head: &[u8]) -> io::Result<(u16, Option<usize>)> {
    let text = std::str::from_utf8(head).map_err(io::Error::other)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("this is no HTTP"))?;
    let mut length = Some(0);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            length = None;
        }
    }
    Ok((status, length))
}

/// Reads a body that comes in chunks, from `from` on; and where it ends.
async fn chunks(stream: &mut TcpStream, input: &mut Vec<u8>, from: usize) -> io::Result<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = from;
    loop {
        let line = loop {
            if let Some(end) = find(&input[at..], b"\r\n") {
                break end;
            }
            more(stream, input).await?;
        };
        let size = std::str::from_utf8(&input[at..at + line]).ok();
        let size = size.and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
        let size = size.ok_or_else(|| io::Error::other("a chunk has no length"))?;
        let start = at + line + 2;
        while input.len() < start + size + 2 {
            more(stream, input).await?;
        }
        body.extend_from_slice(&input[start..start + size]);
        at = start + size + 2;
        if size == 0 {
            return Ok((body, at));
        }
    }
}

async fn more(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(input).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
