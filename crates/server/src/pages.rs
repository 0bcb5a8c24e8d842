//! The few pages for people: the start page and the pages on errors.

use axum::extract::Path;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use riverrun_wire::http::Code;

use crate::error_pages::page;
use crate::problem::Refused;

/// Nothing is loaded from anywhere, nothing is run, nobody frames it.
const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const INDEX: &str = include_str!("index.html");

/// The start page.
pub(crate) fn index() -> Response {
    ([(CONTENT_SECURITY_POLICY, CSP)], Html(INDEX)).into_response()
}

/// `GET /errors/{code}`
pub(crate) async fn error(Path(code): Path<String>) -> Result<Response, Refused> {
    let code = code.trim_end_matches(".md");
    match page(code) {
        Some(text) => Ok(([(CONTENT_TYPE, "text/markdown; charset=utf-8")], text).into_response()),
        None => Err(Refused::new(Code::NotFound, format!("there is no error code `{code}`"))),
    }
}
