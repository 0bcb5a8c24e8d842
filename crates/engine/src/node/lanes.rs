//! Threads that take blocking work off others.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{Builder, JoinHandle};

use crate::hub::lock;

type Work = Box<dyn FnOnce() + Send>;

/// Does something; a panic in it is told by its text. What it was working on must not be used any more.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| text_of(&*panic))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a text".to_owned())
}

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
                            // A thread that ended here would leave the rest undone. Who waits for this is answered by what
                            // the work owns and drops.
                            Ok(work) => {
                                if let Err(panic) = caught(work) {
                                    tracing::error!("a call of the store ended by a panic: {panic}");
                                }
                            }
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
