//! The two ways to sign a request: version 1 (HMAC-SHA1 over the parameters) and version 3 (ACS3-HMAC-SHA256 over the request).
//!
//! Both are computed from what arrived, decoded and encoded again: clients differ in how they write a space. What a request claims is read
//! here; whether its key is known and its signature right is the guard's to say.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::fault::Fault;
use super::request::Call;

const ACS3: &str = "ACS3-HMAC-SHA256";
/// What a signature of version 3 must cover, so that none can be used for another request.
const MUST_SIGN: &[&str] =
    &["host", "x-acs-action", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"];

/// What a request claims.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Whose it says it is.
    pub key_id: String,
    /// When it says it was made.
    pub date: String,
    /// What makes it unique.
    pub nonce: String,
    /// The signature that it carries.
    pub signature: String,
    /// What that must be a signature of.
    pub string_to_sign: String,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V3,
}

impl Claim {
    /// What a request claims; `None` if it is not signed at all.
    pub fn of(call: &Call) -> Result<Option<Claim>, Fault> {
        match call.header("authorization") {
            Some(value) if value.starts_with("ACS3-") => version_3(call, value).map(Some),
            _ if call.sent("Signature").is_some() => version_1(call).map(Some),
            _ => Ok(None),
        }
    }

    /// The signature that the owner of this secret would have made.
    pub fn sign(&self, secret: &str) -> String {
        match self.version {
            Version::V1 => {
                let key = format!("{secret}&");
                let mut mac =
                    Hmac::<Sha1>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
                mac.update(self.string_to_sign.as_bytes());
                STANDARD.encode(mac.finalize().into_bytes())
            }
            Version::V3 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
                    .expect("HMAC takes a key of any length");
                mac.update(self.string_to_sign.as_bytes());
                hex(&mac.finalize().into_bytes())
            }
        }
    }
}

fn version_1(call: &Call) -> Result<Claim, Fault> {
    let method = call.required("SignatureMethod")?;
    if method != "HMAC-SHA1" {
        return Err(Fault::invalid(format!(
            "SignatureMethod '{method}' is not supported: sign with an access key, as HMAC-SHA1 or {ACS3}."
        )));
    }
    let version = call.required("SignatureVersion")?;
    if version != "1.0" {
        return Err(Fault::invalid(format!(
            "SignatureVersion is '{version}': it must be 1.0 with HMAC-SHA1."
        )));
    }
    let pairs = call.query.iter().chain(&call.form).filter(|(name, _)| name != "Signature");
    let canonical = canonical(pairs);
    Ok(Claim {
        key_id: call.required("AccessKeyId")?.to_owned(),
        date: call.required("Timestamp")?.to_owned(),
        nonce: call.required("SignatureNonce")?.to_owned(),
        signature: call.required("Signature")?.to_owned(),
        string_to_sign: format!("{}&%2F&{}", call.method, encode(&canonical)),
        version: Version::V1,
    })
}

fn version_3(call: &Call, authorization: &str) -> Result<Claim, Fault> {
    let form = || {
        Fault::invalid(format!(
            "The Authorization header must read '{ACS3} Credential=…,SignedHeaders=…,Signature=…'."
        ))
    };
    let (algorithm, fields) = authorization.split_once(' ').ok_or_else(form)?;
    if algorithm != ACS3 {
        return Err(Fault::invalid(format!(
            "The signature algorithm '{algorithm}' is not supported: use {ACS3}."
        )));
    }
    let field = |name: &str| {
        let mut fields = fields.split(',').filter_map(|field| field.trim().split_once('='));
        fields.find(|(key, _)| *key == name).map(|(_, value)| value).ok_or_else(form)
    };
    let signed: Vec<&str> = field("SignedHeaders")?.split(';').collect();
    for name in MUST_SIGN {
        if !signed.contains(name) || !call.headers.contains_key(*name) {
            return Err(Fault::missing_header(name));
        }
    }
    let body = hex(&Sha256::digest(&call.body));
    if call.header("x-acs-content-sha256") != Some(&body) {
        return Err(Fault::invalid("The header 'x-acs-content-sha256' is not the SHA-256 of the body."));
    }
    let mut headers = String::new();
    for name in &signed {
        let value = call.headers.get(*name).ok_or_else(|| Fault::missing_header(name))?;
        let value = String::from_utf8_lossy(value.as_bytes());
        // Writing into a text cannot fail.
        let _ = writeln!(headers, "{name}:{}", value.trim());
    }
    let request = format!(
        "{}\n/\n{}\n{headers}\n{}\n{body}",
        call.method,
        canonical(call.query.iter()),
        signed.join(";")
    );
    Ok(Claim {
        key_id: field("Credential")?.to_owned(),
        date: call.header("x-acs-date").unwrap_or_default().to_owned(),
        nonce: call.header("x-acs-signature-nonce").unwrap_or_default().to_owned(),
        signature: field("Signature")?.to_owned(),
        string_to_sign: format!("{ACS3}\n{}", hex(&Sha256::digest(request))),
        version: Version::V3,
    })
}

/// `name=value` joined by `&`, in the order of the names' bytes.
fn canonical<'a>(pairs: impl Iterator<Item = &'a (String, String)>) -> String {
    let mut sorted: Vec<_> = pairs.collect();
    sorted.sort();
    let encoded: Vec<String> =
        sorted.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    encoded.join("&")
}

/// Percent-encodes everything but letters, digits and `-_.~`.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, Method};

    use super::*;

    const SECRET: &str = "secret-EXAMPLE";

    fn signed(method: Method, query: &str, headers: &[(&str, &str)], body: &str) -> Claim {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        Claim::of(&Call::made(method, query, headers, body)).unwrap().unwrap()
    }

    #[test]
    fn version_1_of_the_newer_client() {
        let claim = signed(
            Method::POST,
            "Action=StartExecution&Format=json&Version=2019-03-15&Timestamp=2026-01-02T03%3A04%3A05Z&SignatureNonce=n-1\
             &SignatureMethod=HMAC-SHA1&SignatureVersion=1.0&AccessKeyId=AKIDEXAMPLE&Signature=cYBpyYvHnoFr2ZySC37zWxLhsoQ%3D",
            &[],
            "FlowName=f&Input=%7B%22delay%22%3A+20%7D",
        );
        assert_eq!(
            claim.string_to_sign,
            "POST&%2F&AccessKeyId%3DAKIDEXAMPLE%26Action%3DStartExecution%26FlowName%3Df%26Format%3Djson%26Input%3D%257B%2522delay%2522\
             %253A%252020%257D%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3Dn-1%26SignatureVersion%3D1.0%26Timestamp%3D2026-01-02T03\
             %253A04%253A05Z%26Version%3D2019-03-15"
        );
        assert_eq!(claim.signature, "cYBpyYvHnoFr2ZySC37zWxLhsoQ=");
        assert_eq!(claim.sign(SECRET), claim.signature);
        assert_ne!(claim.sign("another-secret"), claim.signature);
        assert_eq!(
            (&*claim.key_id, &*claim.nonce, &*claim.date),
            ("AKIDEXAMPLE", "n-1", "2026-01-02T03:04:05Z")
        );
    }

    #[test]
    fn version_1_of_the_older_client_signs_what_is_empty() {
        let claim = signed(
            Method::GET,
            "Name=a%20b%2A~%C3%A9%2F%2B&RegionId=cn-hangzhou&Format=JSON&SignatureType=&SignatureNonce=n-2&Action=DescribeFlow\
             &AccessKeyId=AKIDEXAMPLE&SignatureMethod=HMAC-SHA1&SignatureVersion=1.0&Timestamp=2026-01-02T03:04:05Z&Version=2019-03-15\
             &Signature=Tq%2BXlOGg%2F0PAi622i45KvPrGmdY%3D",
            &[],
            "",
        );
        assert_eq!(
            claim.string_to_sign,
            "GET&%2F&AccessKeyId%3DAKIDEXAMPLE%26Action%3DDescribeFlow%26Format%3DJSON%26Name%3Da%2520b%252A~%25C3%25A9%252F%252B\
             %26RegionId%3Dcn-hangzhou%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3Dn-2%26SignatureType%3D%26SignatureVersion%3D1.0\
             %26Timestamp%3D2026-01-02T03%253A04%253A05Z%26Version%3D2019-03-15"
        );
        assert_eq!(claim.sign(SECRET), "Tq+XlOGg/0PAi622i45KvPrGmdY=");
        assert_eq!(claim.signature, claim.sign(SECRET));
        // What the older client splits at the first colon must have one before the text, and none in it.
        assert!(!claim.string_to_sign.contains(':'));
    }

    const BODY: &str = "FlowName=f&Input=%7B%22delay%22%3A+20%7D";
    const HEADERS: [(&str, &str); 8] = [
        ("accept", "application/json"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", "127.0.0.1:8080"),
        ("x-acs-action", "StartExecution"),
        ("x-acs-content-sha256", "a0c89f6186e51524f0c3f556608b2c01550b01af7bfb910a1386f8ebbda62538"),
        ("x-acs-date", "2026-01-02T03:04:05Z"),
        ("x-acs-signature-nonce", "n-1"),
        ("x-acs-version", "2019-03-15"),
    ];

    fn version_3_of(signed: &[&str], without: &str, body: &str) -> Result<Option<Claim>, Fault> {
        let names = HEADERS.map(|(name, _)| name);
        let signed = if signed.is_empty() { &names[..] } else { signed };
        let authorization =
            format!("{ACS3} Credential=AKIDEXAMPLE,SignedHeaders={},Signature=00", signed.join(";"));
        let headers = HEADERS.iter().copied().filter(|(name, _)| *name != without);
        let headers = headers
            .chain([("authorization", &*authorization)])
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        Claim::of(&Call::made(Method::POST, "", headers, body))
    }

    #[test]
    fn version_3() {
        let claim = version_3_of(&[], "", BODY).unwrap().unwrap();
        assert_eq!(claim.sign(SECRET), "839f65543463e420166df90c8e3dbab0dfb9f4f38b46324afd178015be1ec907");
        assert_eq!(
            (&*claim.key_id, &*claim.nonce, &*claim.date),
            ("AKIDEXAMPLE", "n-1", "2026-01-02T03:04:05Z")
        );
    }

    #[test]
    fn version_3_must_cover_what_makes_the_request_what_it_is() {
        for name in MUST_SIGN {
            let names: Vec<&str> =
                HEADERS.iter().map(|(name, _)| *name).filter(|other| other != name).collect();
            assert!(version_3_of(&names, "", BODY).is_err(), "{name} is not signed");
            assert!(version_3_of(&[], name, BODY).is_err(), "{name} is not there");
        }
        assert!(version_3_of(&[], "", "FlowName=g").is_err(), "another body");
    }

    #[test]
    fn what_is_not_signed_makes_no_claim_and_what_is_signed_otherwise_is_refused_by_name() {
        let call = |query: &str| Call::made(Method::GET, query, HeaderMap::new(), "");
        assert!(Claim::of(&call("Action=ListFlows")).unwrap().is_none());
        let other = "Signature=x&SignatureMethod=SHA256withRSA&SignatureVersion=1.0";
        let fault = format!("{:?}", Claim::of(&call(other)).unwrap_err());
        assert!(fault.contains("SHA256withRSA"), "{fault}");
    }
}
