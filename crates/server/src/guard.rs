//! Who may ask: the one place where access is decided (invariant 9 of `ARCHITECTURE.md`).
//!
//! Beyond loopback, and wherever a token is set, a request must carry an access token; a call of the Serverless Workflow API may be signed with an
//! access key instead. On the loopback a web page in the user's browser must
//! not be able to start code: `Host` must be a name of the loopback (against DNS rebinding), a foreign `Origin` is refused, and a body must be of a
//! type that a page cannot send without asking first.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use riverrun_wire::http::{Code, time};
use sha2::{Digest, Sha256};

use crate::app::{App, Shared, now};
use crate::extract::is_media_type;
use crate::fnf::{self, Call, Claim, Fault, Trace};
use crate::problem::Refused;
use crate::start::read_date;

/// The media types of a YAML body. No web page can send them to another site without being allowed to.
pub(crate) const YAML: &[&str] = &["text/yaml", "application/yaml", "application/x-yaml"];

/// The middleware.
pub(crate) async fn guard(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = if fnf::is_call(request.method(), request.uri(), request.headers()) {
        guard_call(&app, request, next).await
    } else {
        let verdict = check_host(&app, &request)
            .and_then(|()| check_origin(&app, request.headers(), !request.method().is_safe()))
            .and_then(|()| check_token(&app, &request))
            .and_then(|()| check_body_type(&request));
        match verdict {
            Ok(()) => next.run(request).await,
            Err(refused) => refused.into_response(),
        }
    };
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.entry("cache-control").or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A call of the Serverless Workflow API. Its signature covers the body, so that this is read here.
async fn guard_call(app: &Shared, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let trace = Trace::of(&parts.headers);
    let mut read = Request::from_parts(parts.clone(), Body::empty());
    let call = Call::read(app, Request::from_parts(parts, body), &trace).await;
    match call.and_then(|call| check_call(app, &call).map(|()| call)) {
        Ok(call) => {
            read.extensions_mut().insert(Arc::new(call));
            fnf::translate(next.run(read).await, &trace).await
        }
        Err(fault) => fault.answer(&trace),
    }
}

/// A call is taken with the signature of an access key, or with an access token; without either only on a loopback address where none
/// are configured, and then not from a web page.
fn check_call(app: &App, call: &Call) -> Result<(), Fault> {
    let keys = &app.config.fnf.access_keys;
    if !app.config.tokens.is_empty() {
        let in_query = call.given("BearerToken");
        let in_header = bearer(&call.headers);
        if let Some(token) = in_query.or(in_header) {
            return if is_token(app, token) {
                Ok(())
            } else {
                Err(Fault::denied("The access token is not one of this server's."))
            };
        }
    }
    if !keys.is_empty() {
        return check_signature(app, call);
    }
    if app.config.tokens.is_empty() && app.loopback {
        return check_unsigned(app, call);
    }
    Err(Fault::unknown_key(
        "This server has no access keys: configure some ([fnf] access_keys), or send one of its access tokens as BearerToken.",
    ))
}

/// What no web page of another site can send: a header of the clients' own, to a name of the loopback.
fn check_unsigned(app: &App, call: &Call) -> Result<(), Fault> {
    check_origin(app, &call.headers, true)?;
    if call.header(fnf::ACTION_HEADER).is_none() {
        return Err(Fault::denied(format!(
            "Without access keys a call must carry the header {}, which no web page can send: the vendor's clients do.",
            fnf::ACTION_HEADER
        )));
    }
    // Clients put their whole endpoint here, with its scheme and its path. No browser does.
    let host = call.trace.host.as_str();
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let known = Authority::try_from(host).is_ok_and(|authority| is_own_name(app, authority.host()));
    if known {
        return Ok(());
    }
    Err(Fault::denied(
        "This server listens on the loopback and is not known by the name in the Host header: address it as localhost or 127.0.0.1, or \
         add the name (riverrun server --allow-host NAME).",
    ))
}

fn check_signature(app: &App, call: &Call) -> Result<(), Fault> {
    let claim = Claim::of(call)?;
    let claim =
        claim.ok_or_else(|| Fault::denied("The request is not signed: this server has access keys."))?;
    let key = app.config.fnf.access_keys.iter().find(|key| key.id == claim.key_id);
    let key = key.ok_or_else(|| {
        Fault::unknown_key(format!("The access key '{}' is not one of this server's.", claim.key_id))
    })?;
    if !is_same(&claim.sign(&key.secret), &claim.signature) {
        return Err(Fault::bad_signature(&claim.string_to_sign));
    }
    let made = read_date("Timestamp", &claim.date)?;
    let now = now();
    if made.0.abs_diff(now.0) > fnf::WINDOW.as_millis() as u64 {
        return Err(Fault::skewed(format!(
            "The request was made at {}, and it is {} here: they may be {} minutes apart. Set the clock of the client.",
            claim.date,
            time(now),
            fnf::WINDOW.as_secs() / 60
        )));
    }
    app.fnf.nonces.take(&key.id, &claim.nonce, made, now)
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

fn check_origin(app: &App, headers: &HeaderMap, may_change: bool) -> Result<(), Refused> {
    let Some(origin) = headers.get(ORIGIN).filter(|_| app.loopback) else {
        // Browsers send an `Origin` with whatever can change something, and say by another header too where a request comes from.
        let site = headers.get("sec-fetch-site").filter(|_| app.loopback && may_change);
        return match site.map(HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err(foreign_page()),
        };
    };
    // The origin's place must be exactly the one this request was sent to: another port is another program.
    let place = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    match (place, host) {
        (Some(place), Some(host)) if place.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(foreign_page()),
    }
}

fn foreign_page() -> Refused {
    Refused::new(
        Code::OriginNotAllowed,
        "the request comes from a web page of another site: only this server's own pages may use it",
    )
}

fn check_token(app: &App, request: &Request) -> Result<(), Refused> {
    if app.config.tokens.is_empty() || is_open(request.uri().path()) {
        return Ok(());
    }
    let Some(given) = bearer(request.headers()) else {
        return Err(Refused::new(
            Code::Unauthorized,
            "this server wants an access token: send `Authorization: Bearer TOKEN` (RIVERRUN_TOKEN for the command line and the clients)",
        ));
    };
    if !is_token(app, given) {
        return Err(Refused::new(Code::Unauthorized, "the access token is not one of this server's"));
    }
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Every token is looked at, and digests are compared, so that the time says nothing about any of them.
fn is_token(app: &App, given: &str) -> bool {
    app.config.tokens.iter().fold(0, |found, token| found | u8::from(is_same(token, given))) != 0
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
    // Clients of BaiChuan send what `curl -d` sends. A page of another site can do so too, and is told apart by its `Origin`.
    let any_type = request.uri().path().starts_with("/baichuan/");
    if !has_body
        || any_type
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
