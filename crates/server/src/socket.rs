//! The worker socket: `GET /v1/worker` with `Upgrade: riverrun-worker/1`. `docs/worker-protocol.md` tells the conversation.
//!
//! One task per connection owns its state; a second one writes, behind a bounded queue, so that a worker that does not read is noticed and
//! costs no memory. Reports are handed to the engine at once and acknowledged in their order.

mod announced;
mod conversation;
mod transport;
mod workflows;

use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use riverrun_wire::http::Code;

use crate::app::Shared;
use crate::problem::Refused;

/// The protocol's name on the wire.
const NAME: &str = "riverrun-worker/1";

/// `GET /v1/worker`
pub(crate) async fn upgrade(State(app): State<Shared>, mut request: Request) -> Result<Response, Refused> {
    if !wants_upgrade(request.headers()) {
        return Err(Refused::new(
            Code::UpgradeRequired,
            format!(
                "workers connect here: send `Connection: upgrade` and `Upgrade: {NAME}`, or run `riverrun worker`"
            ),
        ));
    }
    let place = app.workers.clone().try_acquire_owned().map_err(|_| {
        Refused::new(
            Code::TooManyConnections,
            "the server has max_workers workers connected: stop some, or raise it (riverrun server --max-workers)",
        )
        .with("limit", "max_workers")
    })?;
    let upgraded = hyper::upgrade::on(&mut request);
    let tasks = app.tasks.clone();
    tasks.spawn(async move {
        let _place = place;
        match upgraded.await {
            Ok(stream) => conversation::run(app, TokioIo::new(stream)).await,
            Err(error) => tracing::debug!(%error, "a worker went away before its connection was upgraded"),
        }
    });
    let headers =
        [(CONNECTION, HeaderValue::from_static("upgrade")), (UPGRADE, HeaderValue::from_static(NAME))];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    let has = |name, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(wanted))
    };
    has(UPGRADE, NAME) && has(CONNECTION, "upgrade")
}
