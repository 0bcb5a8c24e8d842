//! Frames in and frames out: the two halves of a worker's connection.

use bytes::BytesMut;
use riverrun_wire::frame::{FrameError, decode, encode_within};
use riverrun_wire::worker::{FromWorker, ToWorker};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Frames that may wait to be written.
const WRITE_AHEAD: usize = 4;
/// A frame begins with its length, which does not count.
const HEADER: usize = 4;

/// Why nothing more comes in.
#[derive(Debug)]
pub(super) enum Broken {
    /// The peer is gone.
    Gone,
    /// What it sent cannot be read.
    Frame(FrameError),
}

/// The reading half.
pub(super) struct Frames<R> {
    stream: R,
    buffer: BytesMut,
    limit: usize,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Reads frames of at most `limit` bytes.
    pub fn new(stream: R, limit: usize) -> Self {
        Frames { stream, buffer: BytesMut::with_capacity(16 << 10), limit }
    }

    /// The next frame. Cancel-safe: what was read so far is kept.
    pub async fn next(&mut self) -> Result<Vec<FromWorker>, Broken> {
        loop {
            if let Some(messages) = decode(&mut self.buffer, self.limit).map_err(Broken::Frame)? {
                return Ok(messages);
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(Broken::Gone),
                Ok(_) => {}
            }
        }
    }
}

/// The writing half: a queue of encoded frames before a task that writes them. The task ends when the queue is dropped or the peer does
/// not take anything for the write time limit; then sending fails.
pub(super) fn writer<W: AsyncWrite + Unpin + Send + 'static>(
    stream: W,
) -> (Sender<BytesMut>, impl Future<Output = ()> + Send) {
    let (sender, receiver) = channel(WRITE_AHEAD);
    (sender, write(stream, receiver))
}

async fn write<W: AsyncWrite + Unpin>(mut stream: W, mut frames: Receiver<BytesMut>) {
    while let Some(mut frame) = frames.recv().await {
        // What is at hand goes out in one write.
        while let Ok(more) = frames.try_recv() {
            frame.unsplit(more);
        }
        let written = async {
            stream.write_all(&frame).await?;
            stream.flush().await
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "a worker does not take what is sent to it");
            return;
        }
    }
    if let Err(error) = stream.shutdown().await {
        tracing::debug!(%error, "a worker's connection did not end well");
    }
}

/// All of these messages, in as few frames of at most `limit` bytes as hold them.
pub(super) fn frames_of(messages: &[ToWorker], limit: usize) -> Option<BytesMut> {
    let mut bytes = BytesMut::new();
    encode_within(messages, limit, &mut bytes)
        .inspect_err(|error| tracing::error!(%error, "a frame cannot be written"))
        .ok()
        .map(|()| bytes)
}

/// Whether a frame of at most `limit` bytes can hold it.
pub(super) fn fits(message: &ToWorker, limit: usize) -> bool {
    frames_of(std::slice::from_ref(message), limit).is_some_and(|frame| frame.len() - HEADER <= limit)
}
