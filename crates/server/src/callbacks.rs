//! Callbacks: completing a step from outside with its one-time token.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use riverrun_engine::EngineError;
use riverrun_kernel::{Failure, Json};
use riverrun_wire::http::CallbackBody;

use crate::app::{App, Shared};
use crate::extract::Payload;
use crate::problem::Refused;

/// `POST /v1/callbacks/{token}`
pub(crate) async fn complete(
    State(app): State<Shared>,
    Path(token): Path<String>,
    Payload(body): Payload<CallbackBody>,
) -> Result<StatusCode, Refused> {
    let outcome = match (body.output, body.error) {
        (Some(output), None) => Ok(output),
        (None, Some(error)) => Err(error.into()),
        _ => {
            return Err(Refused::invalid(
                r#"a callback says either {"output": …} or {"error": {"type": "…", "message": "…"}}"#,
            ));
        }
    };
    complete_step(&app, &token, outcome).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Completes the step that a token stands for: for all who take reports.
pub(crate) async fn complete_step(
    app: &App,
    token: &str,
    outcome: Result<Json, Failure>,
) -> Result<(), EngineError> {
    // The token is a secret: only its beginning, which names the run, is logged.
    let prefix: String = token.chars().take(30).collect();
    tracing::debug!(prefix, "a callback came in");
    app.engine.complete_callback(token, outcome).await
}
