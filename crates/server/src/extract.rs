//! What handlers take out of a request: a JSON body, a query, a run id. Each fails with a clear problem.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use riverrun_kernel::RunId;
use riverrun_plan::nearest;
use riverrun_wire::http::{Code, check};
use serde::de::DeserializeOwned;

use crate::app::{App, Shared};
use crate::problem::Refused;
use crate::room::SMALL;

/// How long the rest of a refused body is read and thrown away, so that a client that only reads after it has written
/// everything still gets the answer.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// A JSON body. An empty one is read as `{}`.
pub(crate) struct Payload<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Shared> for Payload<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Refused> {
        let body = read_body(app, request).await?;
        parse_json(if body.is_empty() { b"{}" } else { &body }).map(Payload)
    }
}

/// A query string.
pub(crate) struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Shared> for Params<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Refused> {
        let query = parts.uri.query().unwrap_or_default();
        serde_html_form::from_str(query).map(Params).map_err(|error| {
            Refused::invalid(format!("the query is not valid: {}", improve(&error.to_string())))
        })
    }
}

/// The run id of a path.
pub(crate) struct RunPath(pub RunId);

impl FromRequestParts<Shared> for RunPath {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Refused> {
        let Path(text) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|error| Refused::invalid(error.body_text()))?;
        text.parse()
            .map(RunPath)
            .map_err(|error: riverrun_kernel::InvalidId| Refused::invalid(error.to_string()))
    }
}

/// Reads a JSON text into a request's type.
pub(crate) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    if let Err(error) = std::str::from_utf8(body) {
        return Err(Refused::invalid(format!(
            "the body is not UTF-8: the byte at {} is wrong",
            error.valid_up_to()
        )));
    }
    check(body).and_then(|()| serde_json::from_slice(body)).map_err(|error| {
        Refused::invalid(format!("the body is not valid: {}", improve(&error.to_string())))
            .with("line", error.line())
            .with("column", error.column())
    })
}

/// Adds "did you mean" to what serde says about an unknown name: it lists what it would have taken.
fn improve(message: &str) -> String {
    let known = ["unknown field `", "unknown variant `"];
    let Some(at) = known.iter().find_map(|start| message.find(start)) else {
        return message.to_owned();
    };
    let mut quoted = message[at..].split('`').skip(1).step_by(2);
    let word = quoted.next().unwrap_or_default();
    match nearest(word, quoted) {
        Some(near) => format!("{message}; did you mean `{near}`?"),
        None => message.to_owned(),
    }
}

/// Whether the body says that it is of this media type, whatever its parameters.
pub(crate) fn is_media_type(headers: &HeaderMap, wanted: &[&str]) -> bool {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let media = value.split(';').next().unwrap_or_default().trim();
        wanted.iter().any(|wanted| media.eq_ignore_ascii_case(wanted))
    })
}

/// Reads a body within the limits of size and time.
pub(crate) async fn read_body(app: &App, request: Request) -> Result<Bytes, Refused> {
    let limits = &app.config.limits;
    let (parts, body) = request.into_parts();
    let announced =
        parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = announced.filter(|length| *length > limits.max_body as u64) {
        // A client that asked first will not send the body at all.
        if parts.headers.get(EXPECT) != Some(&HeaderValue::from_static("100-continue")) {
            linger(app, body);
        }
        return Err(too_large(app, Some(length)));
    }
    let reading = collect(app, body, announced);
    match tokio::time::timeout(limits.body_timeout, reading).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(app, None)),
        Ok(Err(error)) => Err(Refused::invalid(format!("the body broke off: {error}"))),
        Err(_) => Err(Refused::new(
            Code::RequestTimeout,
            format!(
                "the body did not come in within {}s, the limit body_timeout; a large one waits for others where their sum is over \
                 max_body_memory (riverrun server --max-body-memory)",
                limits.body_timeout.as_secs_f64()
            ),
        )
        .with("limit", "body_timeout")),
    }
}

/// Reads a body to its end. A large one is not read before there is room for it: for all of it, so that no two wait for each other.
async fn collect(app: &App, body: Body, announced: Option<u64>) -> Result<Bytes, axum::BoxError> {
    let max = app.config.limits.max_body;
    let mut body = Limited::new(body, max);
    let mut room = None;
    if let Some(length) = announced {
        if length > SMALL as u64 {
            room = app.bodies.take(length as usize).await;
        }
        let whole = body.collect().await;
        drop(room);
        return Ok(whole?.to_bytes());
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if room.is_none() && whole.len() + data.len() > SMALL {
            room = app.bodies.take(max).await;
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

fn too_large(app: &App, length: Option<u64>) -> Refused {
    let max = app.config.limits.max_body;
    let size = length.map_or_else(|| "larger".to_owned(), |length| format!("{length} bytes long"));
    Refused::new(
        Code::BodyTooLarge,
        format!(
            "the body is {size}, and the limit max_body {max} bytes: keep large data in a file or an object store and \
             send its address, or raise max_body (riverrun server --max-body)"
        ),
    )
    .with("limit", "max_body")
    .with("max", max)
}

/// Reads and forgets what a client goes on sending, for a moment.
fn linger(app: &App, mut body: Body) {
    let stopping = app.stopping.clone();
    app.tasks.spawn(async move {
        let drain = async { while let Some(Ok(_)) = body.frame().await {} };
        tokio::select! {
            _ = tokio::time::timeout(LINGER, drain) => {}
            () = stopping.cancelled() => {}
        }
    });
}
