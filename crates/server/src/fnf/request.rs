//! A call as it came in: the operation and its parameters, wherever they stand.
//!
//! The vendor's clients put parameters into the query or into a form body, and generic requests put all of them into either, on GET as on
//! POST: both are read alike, and a name that stands twice is refused.

use std::collections::BTreeMap;

use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use bytes::Bytes;

use super::fault::Fault;
use crate::app::App;
use crate::extract::{is_media_type, read_body};

/// The API's version.
const VERSION: &str = "2019-03-15";
const FORM: &[&str] = &["application/x-www-form-urlencoded"];

/// Header that names the operation; its presence alone tells a client of this API from a web page, which cannot send it unasked.
pub(crate) const ACTION_HEADER: &str = "x-acs-action";

/// Pairs of name and value, decoded.
pub(crate) type Pairs = Vec<(String, String)>;

/// What every answer tells about its request.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// Names the request, in answers and logs.
    pub id: String,
    /// How the client addressed the server.
    pub host: String,
}

/// A call.
#[derive(Debug)]
pub(crate) struct Call {
    /// The method.
    pub method: Method,
    /// All headers.
    pub headers: HeaderMap,
    /// The query.
    pub query: Pairs,
    /// The form.
    pub form: Pairs,
    /// The body as it came in.
    pub body: Bytes,
    /// The operation.
    pub action: String,
    /// For the answer.
    pub trace: Trace,
    all: BTreeMap<String, String>,
}

/// Whether a request is a call of this API: `/` is the browser's too. Nothing else takes a POST there.
pub(crate) fn is_call(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    if uri.path() != "/" {
        return false;
    }
    let named = uri.query().is_some_and(|query| {
        query.split('&').any(|pair| pair.split('=').next().is_some_and(|name| name == "Action"))
    });
    *method == Method::POST
        || headers.contains_key(ACTION_HEADER)
        || *method == Method::GET && (named || has_body(headers) && is_media_type(headers, FORM))
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != HeaderValue::from_static("0"))
}

impl Trace {
    /// For a request that has just come in.
    pub fn of(headers: &HeaderMap) -> Trace {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        Trace { id: new_id().to_uppercase(), host: host.to_owned() }
    }
}

/// A random UUID, version 4.
pub(crate) fn new_id() -> String {
    let mut bytes = [0_u8; 16];
    // Without random numbers the server could not have started a run; an id that repeats only confuses a log.
    let _ = getrandom::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    uuid(bytes)
}

/// Sixteen bytes as UUIDs are written.
pub(crate) fn uuid(bytes: [u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl Call {
    /// Reads a request.
    pub async fn read(app: &App, request: Request, trace: &Trace) -> Result<Call, Fault> {
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let query = decode("query", request.uri().query().unwrap_or_default().as_bytes())?;
        let body = read_body(app, request).await?;
        // A type without a body says nothing: clients send GET with application/octet-stream.
        if !body.is_empty() && headers.contains_key(CONTENT_TYPE) && !is_media_type(&headers, FORM) {
            return Err(Fault::invalid("The body must be sent as application/x-www-form-urlencoded."));
        }
        let form = decode("body", &body)?;
        let mut all = BTreeMap::new();
        for (name, value) in query.iter().chain(&form) {
            if all.insert(name.clone(), value.clone()).is_some() {
                return Err(Fault::invalid(format!("The parameter '{name}' stands twice: send it once.")));
            }
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let version = all.get("Version").cloned().or_else(|| header("x-acs-version"));
        if let Some(version) = version.filter(|version| version != VERSION) {
            return Err(Fault::version(&version, VERSION));
        }
        let action = all.get("Action").cloned().or_else(|| header(ACTION_HEADER));
        let action = action.filter(|action| !action.is_empty()).ok_or_else(|| Fault::missing("Action"))?;
        Ok(Call { method, headers, query, form, body, action, trace: trace.clone(), all })
    }

    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A parameter that was sent, also an empty one.
    pub fn sent(&self, name: &str) -> Option<&str> {
        self.all.get(name).map(String::as_str)
    }

    /// A parameter that says something.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.sent(name).filter(|value| !value.is_empty())
    }

    /// A parameter that must say something.
    pub fn required(&self, name: &str) -> Result<&str, Fault> {
        self.given(name).ok_or_else(|| Fault::missing(name))
    }

    /// A whole number within bounds.
    pub fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Fault> {
        let Some(text) = self.given(name) else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(Fault::invalid(format!(
                "{name} is '{text}': it must be a whole number from {least} to {most}."
            ))),
        }
    }

    /// A truth value, which clients write as Python does.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        match self.given(name) {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(text) => Err(Fault::invalid(format!("{name} is '{text}': it must be true or false."))),
        }
    }
}

/// Takes `a=b&c=d` apart. What is not UTF-8 is refused, because a replaced character would be another value.
fn decode(place: &str, text: &[u8]) -> Result<Pairs, Fault> {
    let pairs = text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            let read = |part: &[u8]| {
                String::from_utf8(unescape(part))
                    .map_err(|_| Fault::invalid(format!("The {place} is not UTF-8, percent-encoded.")))
            };
            Ok((read(name)?, read(value)?))
        })
        .collect()
}

/// A plus is a space; a percent sign that no two digits follow stands for itself.
fn unescape(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => bytes.push(b' '),
            _ => bytes.push(*byte),
        }
        at += 1;
    }
    bytes
}

#[cfg(test)]
impl Call {
    /// A call that nobody sent.
    pub fn made(method: Method, query: &str, headers: HeaderMap, body: &str) -> Call {
        let query = decode("query", query.as_bytes()).expect("the test's query can be read");
        let form = decode("body", body.as_bytes()).expect("the test's body can be read");
        let all = query.iter().chain(&form).cloned().collect();
        let trace = Trace::of(&headers);
        let (action, body) = (String::new(), Bytes::copy_from_slice(body.as_bytes()));
        Call { method, headers, query, form, body, action, trace, all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_a_space_are_read_and_bad_escapes_stay() {
        let pairs = decode("query", b"a=b+c%20d&e&f=%zz%4&g=%E6%B5%81").unwrap();
        let expected = [("a", "b c d"), ("e", ""), ("f", "%zz%4"), ("g", "流")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(decode("query", b"a=%ff").is_err());
    }

    #[test]
    fn ids_are_version_4_uuids() {
        let id = new_id();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4", "{id}");
        assert!("89ab".contains(&id[19..20]), "{id}");
    }

    #[test]
    fn the_browsers_page_is_no_call() {
        let call = |method: Method, uri: &str, headers: &[(&'static str, &'static str)]| {
            let headers =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            is_call(&method, &uri.parse().unwrap(), &headers)
        };
        assert!(!call(Method::GET, "/", &[]));
        assert!(!call(Method::GET, "/?utm_source=Action", &[("content-length", "0")]));
        assert!(!call(Method::GET, "/v1/runs?Action=ListFlows", &[]));
        assert!(!call(Method::HEAD, "/?Action=ListFlows", &[]));
        assert!(call(Method::GET, "/?Format=JSON&Action=ListFlows", &[]));
        assert!(call(Method::GET, "/", &[("x-acs-action", "ListFlows")]));
        assert!(call(Method::POST, "/", &[]));
        let form = [("content-length", "16"), ("content-type", "application/x-www-form-urlencoded")];
        assert!(call(Method::GET, "/", &form));
    }
}
