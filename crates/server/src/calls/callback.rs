//! Telling an address how a run has ended: what is sent, and how it is signed.
//!
//! Headers and signature are those of the Standard Webhooks specification, for whose receivers there are libraries in every language.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine as _};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri, body::Incoming};
use riverrun_kernel::callback::{Delivery, wait_ms};
use riverrun_kernel::{Failure, Json, Offer, RunId, Wall};
use riverrun_wire::http::Run;
use sha2::Sha256;

use super::answer::retry_after;
use super::request::{Caller, shown, uri};
use crate::app::now;
use crate::config::{CallConfig, CallbackSecret};

/// The error of a run that told nobody.
const FAILED: &str = "CallbackFailed";
/// The longest address.
pub(crate) const MAX_URL: usize = 2_048;
/// Of an answer that is no agreement, so much is read, and so much of that is told.
const READ: usize = 16 << 10;
const TOLD: usize = 300;

/// What a secret begins with; the rest is Base64.
const PREFIX: &str = "whsec_";
/// How many bytes a secret may have.
const STRENGTH: std::ops::RangeInclusive<usize> = 24..=64;

impl CallbackSecret {
    /// Reads `whsec_…`. The text says what is wrong, and nothing of the secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        const LENIENT: GeneralPurpose = GeneralPurpose::new(
            &alphabet::STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
        let key = LENIENT.decode(encoded).map_err(|_| {
            format!("it is not Base64: make one with `echo {PREFIX}$(openssl rand -base64 32)`")
        })?;
        if STRENGTH.contains(&key.len()) {
            return Ok(CallbackSecret(key));
        }
        Err(format!(
            "it has {} bytes, and must have {} to {}: make one with `echo {PREFIX}$(openssl rand -base64 32)`",
            key.len(),
            STRENGTH.start(),
            STRENGTH.end()
        ))
    }

    /// `v1,` and the signature.
    fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        for part in [id, ".", &timestamp.to_string(), ".", body] {
            mac.update(part.as_bytes());
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// Makes sure that an address can be told.
pub(crate) fn check(url: &str, config: &CallConfig) -> Result<(), String> {
    if url.len() > MAX_URL {
        return Err(format!("it has {} bytes, and may have {MAX_URL} (limit max_callback_url)", url.len()));
    }
    if url.contains('#') {
        return Err("what stands behind `#` is never sent: leave it out".to_owned());
    }
    uri(url, config).map(drop)
}

/// Where a run's end is told, for people: without the query, which may hold a key.
pub(super) fn place(offer: &Offer) -> String {
    let delivery: Option<Delivery> = serde_json::from_str(offer.call.input.get()).ok();
    delivery.map_or_else(String::new, |delivery| hide_query(&delivery.url).to_owned())
}

/// An address without its query.
fn hide_query(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

impl Caller {
    /// Tells an address how a run has ended, once.
    pub(super) async fn tell(&self, offer: &Offer) -> Result<Json, Failure> {
        let fail = |text: String| Failure::new(FAILED, text);
        let delivery: Delivery = serde_json::from_str(offer.call.input.get())
            .map_err(|error| fail(format!("what is to be told cannot be read: {error}")).not_retryable())?;
        let uri = uri(&delivery.url, self.config()).map_err(|problem| fail(problem).not_retryable())?;
        let place = shown(&uri);
        let body = serde_json::to_string(&Run::from(delivery.run))
            .map_err(|error| fail(format!("the run cannot be written: {error}")).not_retryable())?;
        let request = self
            .signed(&uri, offer.attempt.run, now(), body)
            .map_err(|error| fail(format!("{place} cannot be told: {error}")).not_retryable())?;
        let limit = self.callbacks().timeout;
        let exchange = async {
            let response = self.dispatch(&uri, request).await.map_err(|failure| fail(failure.message))?;
            let (parts, body) = response.into_parts();
            if parts.status.is_success() {
                return Ok(Json::from(serde_json::json!({ "status": parts.status.as_u16() })));
            }
            let text = format!("{place} answered {}{}", parts.status, told(body).await);
            let details = Some(Json::from(serde_json::json!({ "status": parts.status.as_u16() })));
            let tries = offer.attempt.attempt;
            let retry_after_ms = retry_after(&parts.headers).map(|asked| wait_ms(asked, tries));
            let failure = Failure { details, retry_after_ms, ..fail(text) };
            // The one answer by which a receiver says that it wants nothing more.
            Err(if parts.status == StatusCode::GONE { failure.not_retryable() } else { failure })
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| {
            Err(fail(format!("{place} did not answer within {} seconds", limit.as_secs_f64())))
        })
    }

    /// The request: the same id for each try, so that a receiver knows what it was told before.
    fn signed(
        &self,
        uri: &Uri,
        delivery: RunId,
        at: Wall,
        body: String,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let (id, timestamp) = (delivery.to_string(), at.0 / 1_000);
        let secrets = &self.callbacks().secrets;
        let signatures: Vec<String> =
            secrets.iter().map(|secret| secret.sign(&id, timestamp, &body)).collect();
        Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(ACCEPT, "*/*")
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("riverrun/", env!("CARGO_PKG_VERSION")))
            .header(HeaderName::from_static("webhook-id"), id)
            .header(HeaderName::from_static("webhook-timestamp"), timestamp)
            .header(HeaderName::from_static("webhook-signature"), signatures.join(" "))
            .body(Full::from(body))
    }
}

/// The beginning of an answer, for people.
async fn told(body: Incoming) -> String {
    let Ok(body) = Limited::new(body, READ).collect().await else { return String::new() };
    let body = body.to_bytes();
    let text: String = String::from_utf8_lossy(&body).chars().take(TOLD).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() { text } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = CallbackSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_none_is_not_repeated() {
        for text in ["whsec_not!base64", "whsec_c2hvcnQ=", ""] {
            let problem = CallbackSecret::parse(text).unwrap_err();
            assert!(problem.contains("openssl") && !problem.contains("not!"), "{problem}");
        }
        let unpadded = format!("whsec_{}", STANDARD.encode([7; 32]).trim_end_matches('='));
        assert_eq!(CallbackSecret::parse(&unpadded).unwrap().0, [7; 32]);
    }

    #[test]
    fn an_address_that_cannot_be_told_is_refused_with_the_reason() {
        let config = CallConfig { allowed_hosts: vec!["ok.example".to_owned()], ..CallConfig::default() };
        assert_eq!(check("https://ok.example/hook?x=1", &config), Ok(()));
        for (url, reason) in [
            ("ftp://ok.example/", "https://HOST/PATH"),
            ("/hook", "https://HOST/PATH"),
            ("https://me:secret@ok.example/", "holds a user"),
            ("https://other.example/", "allowed_hosts"),
            ("https://ok.example/#here", "never sent"),
            ("https://ok.example/ with space", "no address"),
        ] {
            let problem = check(url, &config).unwrap_err();
            assert!(problem.contains(reason) && !problem.contains("secret"), "{url}: {problem}");
        }
        assert!(check(&format!("https://ok.example/{}", "x".repeat(MAX_URL)), &config).is_err());
    }
}
