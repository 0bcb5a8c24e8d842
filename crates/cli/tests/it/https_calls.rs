//! Addresses over TLS: whose certificates are believed, and what is said of others.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::support::{Done, House};

/// An authority of its own.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// A service with a certificate of that authority for `name`: its port. It answers every request alike.
fn service(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> u16 {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a certificate with its key");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever does not believe the certificate goes away in the middle.
            drop(answer(&config, stream));
        }
    });
    port
}

fn answer(config: &Arc<ServerConfig>, stream: TcpStream) -> std::io::Result<()> {
    let connection = ServerConnection::new(config.clone()).map_err(std::io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap_or_default();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let asked = String::from_utf8_lossy(&body);
    let said = format!("{{\"asked\": {asked}}}");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", said.len());
    let stream = reader.get_mut();
    stream.write_all(format!("{head}{said}").as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn flow(host: &str, port: u16) -> String {
    format!(
        "version: v1\ntype: flow\nsteps:\n  - {{type: task, name: Ask, resourceArn: 'https://{host}:{port}/ask', timeoutSeconds: 60}}\n"
    )
}

/// Runs the flow; `trusted` is what the machine has in place of its own authorities.
fn run(house: &House, trusted: &str) -> Done {
    let mut command = house.command(&["run", "flow.yaml", "--input", "{\"n\": 1}"]);
    command.env("SSL_CERT_FILE", house.path(trusted)).env_remove("SSL_CERT_DIR");
    Done::of(command.output().expect("the binary starts"))
}

#[test]
fn certificates_of_an_authority_that_is_named_are_believed_and_no_others() {
    let house = House::new();
    let (own, foreign) = (authority("own"), authority("foreign"));
    house.write("own.pem", &own.pem());
    house.write("foreign.pem", &foreign.pem());
    house.write("none.pem", "");
    house.write("flow.yaml", &flow("localhost", service(&own, "localhost")));

    let unknown = run(&house, "foreign.pem").expect(1);
    for says in ["FC.InternalServerError", "UnknownIssuer", "ca_file of `[http]`"] {
        assert!(unknown.stderr.contains(says), "no `{says}`: {}", unknown.stderr);
    }
    let by_machine = run(&house, "own.pem").expect(0);
    let output: Value = serde_json::from_str(&by_machine.stdout).expect("JSON");
    assert_eq!(output["asked"]["n"], 1);
    let nobody = run(&house, "none.pem").expect(1);
    assert!(nobody.stderr.contains("no certificates of authorities"), "{}", nobody.stderr);

    house.write("riverrun.toml", "[http]\nca_file = \"own.pem\"\n");
    run(&house, "foreign.pem").expect(0);
    run(&house, "none.pem").expect(0);
    house.write("riverrun.toml", "[http]\nca_file = \"foreign.pem\"\n");
    run(&house, "none.pem").expect(1);
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let house = House::new();
    let own = authority("own");
    house.write("own.pem", &own.pem());
    house.write("flow.yaml", &flow("localhost", service(&own, "elsewhere.example")));
    let refused = run(&house, "own.pem").expect(1);
    assert!(refused.stderr.contains("it is for another name"), "{}", refused.stderr);
}

#[test]
fn an_address_of_tls_that_speaks_plain_http_is_no_answer() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"));
        }
    });
    house.write("own.pem", &authority("own").pem());
    house.write("flow.yaml", &flow("127.0.0.1", port));
    let refused = run(&house, "own.pem").expect(1);
    assert!(refused.stderr.contains("FC.InternalServerError"), "{}", refused.stderr);
}
