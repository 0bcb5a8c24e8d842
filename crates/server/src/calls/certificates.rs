//! Whose certificates are believed when an address is called over TLS: the machine's authorities, and those of the configuration.

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::{ClientConfig, RootCertStore};

/// Authorities that are trusted beside the machine's.
pub(super) struct Authorities(RootCertStore);

impl Authorities {
    /// Reads certificates in PEM; the text says what is wrong with them.
    pub(super) fn read(pem: Option<&str>) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.unwrap_or_default().as_bytes()) {
            let certificate = certificate.map_err(|error| match error {
                Error::MissingSectionEnd { .. } => "has a certificate that is not whole".to_owned(),
                error => format!("has a certificate that cannot be read: {error}"),
            })?;
            store
                .add(certificate)
                .map_err(|error| format!("has a certificate that cannot be used: {error}"))?;
        }
        if pem.is_some() && store.is_empty() {
            return Err("holds no certificate: it must be PEM, with `-----BEGIN CERTIFICATE-----`".to_owned());
        }
        Ok(Authorities(store))
    }

    /// Connects with TLS and nothing else. Where the machine keeps its authorities can be said by `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    pub(super) fn encrypt(&self, connector: HttpConnector) -> Result<HttpsConnector<HttpConnector>, String> {
        let mut store = self.0.clone();
        let found = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            let why = if errors.is_empty() { String::new() } else { format!(" ({})", errors.join("; ")) };
            return Err(format!(
                "this machine has no certificates of authorities{why}: install them (`ca-certificates`), name them in SSL_CERT_FILE, or in \
                 ca_file of `[http]` in the configuration"
            ));
        }
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(store)
            .with_no_client_auth();
        let builder = HttpsConnectorBuilder::new().with_tls_config(config);
        Ok(builder.https_only().enable_http1().wrap_connector(connector))
    }
}

/// What to do about a certificate that was refused.
pub(super) fn advice(text: &str) -> Option<&'static str> {
    let is = |reason: &str| text.contains(reason);
    if !is("invalid peer certificate") {
        return None;
    }
    Some(if is("UnknownIssuer") || is("BadSignature") {
        "no authority that is trusted here has signed it: name the certificate of one that has in ca_file of `[http]` in the configuration"
    } else if is("not valid for name") || is("NotValidForName") {
        "it is for another name: write the address with a name that the certificate has"
    } else if is("xpired") {
        "it has expired, or a clock is wrong"
    } else {
        "whoever answers there must be given another certificate"
    })
}
