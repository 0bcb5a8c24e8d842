//! One call of an address: what is sent, where to, and how much may come back.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri, body::Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use riverrun_kernel::callback::CALLBACK;
use riverrun_kernel::driver::is_address;
use riverrun_kernel::{Failure, Json, Offer};
use tokio::time::timeout;

use super::answer::{self, INTERNAL, INVALID, UNKNOWN};
use super::callback;
use super::certificates::{self, Authorities};
use crate::config::{CallConfig, CallbackConfig, ServeError};

/// How long a host may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Redirections of one call that are followed: the limit `max_redirects`.
const MAX_REDIRECTS: usize = 5;
/// Idle connections to one host that are kept.
const IDLE: usize = 16;

type Plain = Client<HttpConnector, Full<Bytes>>;
type Encrypted = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Calls addresses.
pub(crate) struct Caller {
    config: CallConfig,
    callbacks: CallbackConfig,
    plain: Plain,
    authorities: Authorities,
    /// Made for the first call that needs it: it reads the machine's certificates.
    encrypted: OnceLock<Result<Encrypted, String>>,
}

/// Where a call goes, and with what.
struct Target<'c> {
    uri: Uri,
    headers: &'c [(String, String)],
    limit: Duration,
}

impl Caller {
    /// Makes sure that every function can be called as it is configured.
    pub(crate) fn new(config: &CallConfig) -> Result<Self, ServeError> {
        for (name, address) in &config.functions {
            let refuse = |problem: String| ServeError::Function { name: name.clone(), problem };
            uri(&address.url, config).map_err(refuse)?;
            for (header, value) in &address.headers {
                let is_sendable =
                    header.parse::<HeaderName>().is_ok() && HeaderValue::from_str(value).is_ok();
                if !is_sendable {
                    return Err(refuse(format!("`{header}` is no header that can be sent")));
                }
            }
        }
        let authorities =
            Authorities::read(config.authorities.as_deref()).map_err(ServeError::Authorities)?;
        Ok(Caller {
            config: config.clone(),
            callbacks: CallbackConfig::default(),
            plain: client(connector()),
            authorities,
            encrypted: OnceLock::new(),
        })
    }

    /// With what callbacks are signed with.
    pub(crate) fn with_callbacks(self, callbacks: &CallbackConfig) -> Self {
        Caller { callbacks: callbacks.clone(), ..self }
    }

    pub(super) fn config(&self) -> &CallConfig {
        &self.config
    }

    pub(super) fn callbacks(&self) -> &CallbackConfig {
        &self.callbacks
    }

    /// Where a call goes, for people: without the query, which may hold a key.
    pub(crate) fn shown(&self, offer: &Offer) -> String {
        if offer.call.function == CALLBACK {
            return callback::place(offer);
        }
        match self.target(offer) {
            Ok(target) => shown(&target.uri),
            Err(_) => offer.call.function.split('?').next().unwrap_or_default().to_owned(),
        }
    }

    /// Sends a call's input, and takes what comes back.
    pub(crate) async fn call(&self, offer: &Offer) -> Result<Json, Failure> {
        if offer.call.function == CALLBACK {
            return self.tell(offer).await;
        }
        let target = self.target(offer).map_err(|problem| Failure::new(INVALID, problem).not_retryable())?;
        let limit = target.limit;
        let place = shown(&target.uri);
        timeout(limit, self.exchange(target, offer)).await.unwrap_or_else(|_| {
            let text = format!("{place} did not answer within {} seconds", limit.as_secs_f64());
            Err(Failure::new(Failure::TIMEOUT, text))
        })
    }

    fn target(&self, offer: &Offer) -> Result<Target<'_>, String> {
        let function = &offer.call.function;
        let known = self.config.functions.get(function);
        let url = match known {
            Some(address) => &address.url,
            None if is_address(function) => function,
            None => return Err(format!("`{function}` has no address in the server's configuration")),
        };
        let own = known.and_then(|address| address.timeout).unwrap_or(self.config.timeout);
        let limit = offer.call.timeout_ms.map_or(own, Duration::from_millis);
        Ok(Target {
            uri: uri(url, &self.config)?,
            headers: known.map_or(&[], |address| &address.headers),
            limit,
        })
    }

    async fn exchange(&self, mut target: Target<'_>, offer: &Offer) -> Result<Json, Failure> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&target, offer).await?;
            if !response.status().is_redirection() {
                let (parts, body) = response.into_parts();
                let body = self.body(&target.uri, body).await?;
                return answer::read(&shown(&target.uri), &parts, &body);
            }
            target.uri = self.redirected(&target.uri, &response)?;
        }
        let text =
            format!("{} redirects more than {MAX_REDIRECTS} times (limit max_redirects)", shown(&target.uri));
        Err(Failure::new(INVALID, text).not_retryable())
    }

    async fn send(&self, target: &Target<'_>, offer: &Offer) -> Result<Response<Incoming>, Failure> {
        let place = shown(&target.uri);
        let request = request(target, offer).map_err(|error| {
            Failure::new(INVALID, format!("{place} cannot be called: {error}")).not_retryable()
        })?;
        self.dispatch(&target.uri, request).await
    }

    /// Sends a request, and takes what the answer begins with.
    pub(super) async fn dispatch(
        &self,
        uri: &Uri,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let place = shown(uri);
        let sent = if uri.scheme_str() == Some("https") {
            match self.encrypted.get_or_init(|| self.authorities.encrypt(connector()).map(client)) {
                Ok(client) => client.request(request).await,
                Err(problem) => {
                    return Err(Failure::new(INTERNAL, format!("{place} cannot be called: {problem}")));
                }
            }
        } else {
            self.plain.request(request).await
        };
        sent.map_err(|error| {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(deeper) = source {
                text = format!("{text}: {deeper}");
                source = deeper.source();
            }
            if let Some(advice) = certificates::advice(&text) {
                text = format!("{text}; {advice}");
            }
            if error.is_connect() {
                Failure::new(INTERNAL, format!("{place} cannot be reached: {text}"))
            } else {
                Failure::new(UNKNOWN, format!("{place} gave no answer: {text}"))
            }
        })
    }

    async fn body(&self, uri: &Uri, body: Incoming) -> Result<Bytes, Failure> {
        let limit = self.config.max_answer;
        match Limited::new(body, limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                let text = format!(
                    "the answer of {} has more than {limit} bytes (limit max_answer of `[http]` in the configuration)",
                    shown(uri)
                );
                Err(Failure::new(INVALID, text).not_retryable())
            }
            Err(error) => {
                Err(Failure::new(UNKNOWN, format!("the answer of {} broke off: {error}", shown(uri))))
            }
        }
    }

    /// Where a redirection leads. Elsewhere than to the same host nothing is sent: neither the input nor the headers are for it.
    fn redirected<B>(&self, from: &Uri, response: &Response<B>) -> Result<Uri, Failure> {
        let refuse = |problem: &str| {
            let text = format!("{} answered {}: {problem}", shown(from), response.status());
            Failure::new(INVALID, text).not_retryable()
        };
        let keeps_method =
            matches!(response.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let Some(location) = location.filter(|_| keeps_method) else {
            return Err(refuse("it leads elsewhere; give the address that it leads to"));
        };
        let whole = if location.starts_with('/') && !location.starts_with("//") {
            format!("{}{location}", origin(from))
        } else {
            location.to_owned()
        };
        let to = uri(&whole, &self.config).map_err(|problem| refuse(&problem))?;
        if origin(&to) == origin(from) {
            Ok(to)
        } else {
            Err(refuse("it leads to another host; give that host's address"))
        }
    }
}

fn request(target: &Target<'_>, offer: &Offer) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&target.uri)
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("riverrun/", env!("CARGO_PKG_VERSION")))
        .header("idempotency-key", &offer.idempotency_key)
        .header("riverrun-run", offer.attempt.run.to_string())
        .header("riverrun-attempt", offer.attempt.attempt);
    if let Some(headers) = request.headers_mut() {
        for (name, value) in target.headers {
            headers.insert(name.parse::<HeaderName>()?, sensitive(value)?);
        }
    }
    request.body(Full::from(offer.call.input.get().to_owned()))
}

fn sensitive(value: &str) -> Result<HeaderValue, hyper::http::Error> {
    let mut value = HeaderValue::from_str(value)?;
    value.set_sensitive(true);
    Ok(value)
}

/// An address, if it may be called.
pub(super) fn uri(url: &str, config: &CallConfig) -> Result<Uri, String> {
    // What stands behind `#` is for browsers only.
    let url = url.split('#').next().unwrap_or_default();
    let bare = url.split('?').next().unwrap_or_default();
    let uri: Uri = url.parse().map_err(|error| format!("`{bare}` is no address: {error}"))?;
    let host = uri.host().unwrap_or_default();
    if !is_address(url) || host.is_empty() {
        return Err(format!("`{bare}` is no address: write it as https://HOST/PATH"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(format!("the address at {host} holds a user: send a header instead"));
    }
    if !is_allowed(host, &config.allowed_hosts) {
        return Err(format!(
            "the host {host} may not be called: it is not among allowed_hosts of `[http]` in the configuration"
        ));
    }
    Ok(uri)
}

fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let matches = |rule: &String| match rule.to_ascii_lowercase().strip_prefix("*.") {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
        None => host.eq_ignore_ascii_case(rule),
    };
    allowed.is_empty() || allowed.iter().any(matches)
}

fn origin(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{}://{}", uri.scheme_str().unwrap_or("http"), authority.to_ascii_lowercase())
}

pub(super) fn shown(uri: &Uri) -> String {
    format!("{}{}", origin(uri), uri.path())
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_nodelay(true);
    connector.enforce_http(false);
    connector
}

fn client<C: Connect + Clone>(connector: C) -> Client<C, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(IDLE)
        .pool_timer(TokioTimer::new())
        // A call that may have arrived is made again by the engine, which counts it, and by nobody else.
        .retry_canceled_requests(false)
        .build(connector)
}
