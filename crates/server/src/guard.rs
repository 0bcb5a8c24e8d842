//! Who may ask: the one place where access is decided (invariant 9 of `ARCHITECTURE.md`).
//!
//! Beyond loopback, and wherever a token is set, a request must carry an access token. On the loopback a web page in the user's browser must
//! not be able to start code: `Host` must be a name of the loopback (against DNS rebinding), a foreign `Origin` is refused, and a body must be of a
//! type that a page cannot send without asking first.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use riverrun_wire::http::Code;
use sha2::{Digest, Sha256};

use crate::app::{App, Shared};
use crate::extract::is_media_type;
use crate::problem::Refused;

/// The media types of a YAML body. No web page can send them to another site without being allowed to.
pub(crate) const YAML: &[&str] = &["text/yaml", "application/yaml", "application/x-yaml"];

/// The middleware.
pub(crate) async fn guard(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let verdict = check_host(&app, &request)
        .and_then(|()| check_origin(&app, request.headers()))
        .and_then(|()| check_token(&app, &request))
        .and_then(|()| check_body_type(&request));
    let mut response = match verdict {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.entry("cache-control").or_insert(HeaderValue::from_static("no-store"));
    response
}

fn check_host(app: &App, request: &Request) -> Result<(), Refused> {
    if !app.loopback {
        return Ok(());
    }
    let header = request.headers().get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let known = |authority: &Authority| is_own_name(app, authority.host());
    let by_header = header.as_ref().is_some_and(known);
    let by_uri = request.uri().authority().is_none_or(known);
    if by_header && by_uri {
        return Ok(());
    }
    Err(Refused::new(
        Code::HostNotAllowed,
        "this server listens on the loopback and is not known by the name in the Host header: address it as localhost or \
         127.0.0.1, or add the name (riverrun server --allow-host NAME)",
    ))
}

fn is_own_name(app: &App, host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        || app.config.allowed_hosts.iter().any(|name| name.eq_ignore_ascii_case(host))
}

fn check_origin(app: &App, headers: &HeaderMap) -> Result<(), Refused> {
    let Some(origin) = headers.get(ORIGIN).filter(|_| app.loopback) else {
        return Ok(());
    };
    // The origin's place must be exactly the one this request was sent to: another port is another program.
    let place = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    match (place, host) {
        (Some(place), Some(host)) if place.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(Refused::new(
            Code::OriginNotAllowed,
            "the request comes from a web page of another site: only this server's own pages may use it",
        )),
    }
}

fn check_token(app: &App, request: &Request) -> Result<(), Refused> {
    if app.config.tokens.is_empty() || is_open(request.uri().path()) {
        return Ok(());
    }
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let Some(given) = given else {
        return Err(Refused::new(
            Code::Unauthorized,
            "this server wants an access token: send `Authorization: Bearer TOKEN` (RIVERRUN_TOKEN for the command line and the clients)",
        ));
    };
    // Every token is looked at, and digests are compared, so that the time says nothing about any of them.
    let matches = app.config.tokens.iter().fold(0, |found, token| found | u8::from(is_same(token, given)));
    if matches == 0 {
        return Err(Refused::new(Code::Unauthorized, "the access token is not one of this server's"));
    }
    Ok(())
}

/// Paths that need no token: health for the machine that watches, the pages on errors, and callbacks, which carry their own right.
fn is_open(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
        || path.starts_with("/errors/")
        || path.starts_with("/v1/callbacks/")
}

fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.iter().zip(b.iter()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn check_body_type(request: &Request) -> Result<(), Refused> {
    let headers = request.headers();
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != HeaderValue::from_static("0"));
    let yaml_too = request.uri().path() == "/v1/definitions";
    if !has_body
        || is_media_type(headers, &["application/json"])
        || (yaml_too && is_media_type(headers, YAML))
    {
        return Ok(());
    }
    let wanted = if yaml_too {
        "`content-type: application/json`, or `text/yaml` with the name in the query"
    } else {
        "`content-type: application/json`"
    };
    Err(Refused::new(Code::UnsupportedMediaType, format!("a body must be sent with {wanted}")))
}
