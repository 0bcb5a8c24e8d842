//! Threads that take blocking work off others.

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{Builder, JoinHandle};

use crate::hub::lock;

type Work = Box<dyn FnOnce() + Send>;

/// A few threads that do what they are given, in order. Dropping it waits for what was given.
#[derive(Debug)]
pub(crate) struct Lane {
    work: Option<mpsc::Sender<Work>>,
    threads: Vec<JoinHandle<()>>,
}

impl Lane {
    pub(crate) fn new(name: &str, threads: usize) -> io::Result<Lane> {
        let (sender, receiver) = mpsc::channel::<Work>();
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = (0..threads)
            .map(|_| {
                let receiver = receiver.clone();
                Builder::new().name(name.to_owned()).spawn(move || {
                    loop {
                        // The lock is held while waiting, so that one thread at a time waits for work.
                        let work = lock(&receiver).recv();
                        match work {
                            Ok(work) => work(),
                            Err(mpsc::RecvError) => return,
                        }
                    }
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Lane { work: Some(sender), threads })
    }

    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) {
        if let Some(sender) = &self.work {
            // The threads end only when the sender is dropped.
            let _ = sender.send(Box::new(work));
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.work = None;
        for thread in self.threads.drain(..) {
            // A lane may be dropped by its own thread, which cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a call of the store ended by a panic");
            }
        }
    }
}
