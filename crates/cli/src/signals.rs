//! Requests to end: Ctrl-C, SIGTERM, and a closed terminal.

use tokio::signal::unix::{SignalKind, signal};

/// Completes when the process is asked to end.
pub async fn end_requested() {
    let listen = async |kind: SignalKind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        // Without a handler the signal ends the process by itself.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = listen(SignalKind::interrupt()) => {}
        () = listen(SignalKind::terminate()) => {}
        () = listen(SignalKind::hangup()) => {}
    }
}
