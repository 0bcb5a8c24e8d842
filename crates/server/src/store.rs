//! What concerns the store as a whole: checkpoints and backups.

use std::io::Read;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use riverrun_engine::EngineError;
use riverrun_store::Snapshot;

use crate::app::Shared;
use crate::problem::Refused;

/// Bytes of a backup that are read and sent at once.
const CHUNK: usize = 256 << 10;

/// `POST /v1/store/checkpoint`
pub(crate) async fn checkpoint(State(app): State<Shared>) -> Result<StatusCode, Refused> {
    app.engine.checkpoint().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/store/backup`: a line with the manifest (or with an `error`), then the database. The answer begins at once and its
/// body when the copy is made, however long that takes.
pub(crate) async fn backup(State(app): State<Shared>) -> Response {
    let body = unfold(Backup::Making(app), |backup| async move {
        match backup {
            Backup::Making(app) => Some(made(app.engine.snapshot().await)),
            Backup::Sending(snapshot) => {
                let read = tokio::task::spawn_blocking(move || next_chunk(snapshot)).await;
                match read.unwrap_or_else(|ended| Err(std::io::Error::other(ended))) {
                    Ok(None) => None,
                    Ok(Some((chunk, snapshot))) => Some((Ok(chunk), Backup::Sending(snapshot))),
                    Err(error) => Some((Err(error), Backup::Done)),
                }
            }
            Backup::Done => None,
        }
    });
    let mut response = Response::new(Body::from_stream(body));
    let media = HeaderValue::from_static("application/vnd.riverrun.backup");
    response.headers_mut().insert(CONTENT_TYPE, media);
    response
}

/// How far a backup has come.
enum Backup {
    Making(Shared),
    Sending(Snapshot),
    Done,
}

/// The first line, and what follows it.
fn made(snapshot: Result<Snapshot, EngineError>) -> (std::io::Result<Bytes>, Backup) {
    let (mut line, next) = match snapshot {
        Ok(snapshot) => (serde_json::json!(snapshot.manifest).to_string(), Backup::Sending(snapshot)),
        Err(error) => (serde_json::json!({ "error": error.to_string() }).to_string(), Backup::Done),
    };
    line.push('\n');
    (Ok(line.into()), next)
}

fn next_chunk(mut snapshot: Snapshot) -> std::io::Result<Option<(Bytes, Snapshot)>> {
    let mut chunk = Vec::with_capacity(CHUNK);
    snapshot.file.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
    Ok((!chunk.is_empty()).then(|| (chunk.into(), snapshot)))
}
