//! A closed loop: so many clients, each of which sends its next request when the last one was answered.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::http::{Answer, Connection, Request};

/// Between two tries of a client that got no good answer.
const PAUSE: Duration = Duration::from_millis(2);

/// What came of a load.
#[derive(Debug)]
pub struct Load {
    /// From the first request to the last answer.
    pub wall: Duration,
    /// How long each answer took, from the first try on.
    pub took: Vec<Duration>,
}

impl Load {
    /// The latencies in milliseconds.
    pub fn latencies_ms(&self) -> Vec<f64> {
        self.took.iter().map(|took| took.as_secs_f64() * 1e3).collect()
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        self.took.len() as f64 / self.wall.as_secs_f64()
    }
}

/// What a client does about a request that was not answered, or not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It gives up, and the benchmark with it.
    Stop,
    /// It sends it again: the server was killed on purpose.
    Again,
}

/// Sends `count` requests from `clients` connections. `seen` is shown each answer, with its request's number.
pub async fn closed_loop(
    address: SocketAddr,
    clients: usize,
    count: usize,
    request: impl Fn(usize) -> Request + 'static,
    otherwise: Otherwise,
    seen: impl Fn(usize, Answer) + 'static,
) -> io::Result<Load> {
    let start = Instant::now();
    let next = Rc::new(Cell::new(0));
    let took = Rc::new(RefCell::new(Vec::with_capacity(count)));
    let (request, seen) = (Rc::new(request), Rc::new(seen));
    let set = LocalSet::new();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (next, took, request, seen) = (next.clone(), took.clone(), request.clone(), seen.clone());
            set.spawn_local(async move {
                let mut connection = Connection::new(address);
                loop {
                    let number = next.get();
                    if number >= count {
                        return Ok::<(), io::Error>(());
                    }
                    next.set(number + 1);
                    let request = request(number);
                    let sent = Instant::now();
                    let answer = insist(&mut connection, &request, otherwise).await?;
                    took.borrow_mut().push(sent.elapsed());
                    seen(number, answer);
                }
            })
        })
        .collect();
    let finished = async {
        for task in tasks {
            task.await.map_err(io::Error::other)??;
        }
        Ok::<(), io::Error>(())
    };
    set.run_until(finished).await?;
    let wall = start.elapsed();
    Ok(Load { wall, took: took.take() })
}

async fn insist(connection: &mut Connection, request: &Request, otherwise: Otherwise) -> io::Result<Answer> {
    loop {
        let result = connection.send(request).await.and_then(Answer::accepted);
        if result.is_ok() || otherwise == Otherwise::Stop {
            return result;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
