//! `https://` upstreams: a certificate that is believed, and ones that are not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use breakerbox::config::load::Sources;
use breakerbox::gateway::{ConnectorChoice, Gateway, Start};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::http::call;
use crate::stage::{CHAT, Files, MODEL_PATH, SALES_KEY, allocations, any_port};

const ANSWER: &str =
    r#"{"generationDetails":{"generations":[],"parameters":{"usage":{"total_tokens":10}}}}"#;

/// A TLS server for `name` that answers every connection once; and the roots that believe it.
fn serve(name: &str) -> (SocketAddr, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a server");
    let config = Arc::new(config);
    let listener = TcpListener::bind(any_port()).expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = StreamOwned::new(connection, stream);
            let mut seen = Vec::new();
            let mut buffer = [0; 4096];
            while !String::from_utf8_lossy(&seen).contains("Hello") {
                match stream.read(&mut buffer) {
                    Ok(read) if read > 0 => seen.extend_from_slice(&buffer[..read]),
                    _ => break, // the client does not believe us
                }
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ANSWER}",
                ANSWER.len()
            );
            let _closed = stream.write_all(answer.as_bytes());
        }
    });
    (address, roots)
}

fn check(certificate_for: &str, roots: Option<RootCertStore>, want: (u16, Option<&str>)) {
    let (address, own_roots) = serve(certificate_for);
    let files = Files::write(address, &allocations("guide", "12_000"));
    let config = std::fs::read_to_string(files.config()).expect("read");
    let config = config.replace(
        &format!("http://{address}"),
        &format!("https://localhost:{}", address.port()),
    );
    std::fs::write(files.config(), config).expect("write");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots.unwrap_or(own_roots))
        .with_no_client_auth();
    let sources = Sources::new(files.config());
    let start = Start {
        sources,
        connector: ConnectorChoice::Tls(Arc::new(tls)),
    };
    let gateway = Gateway::start(start).unwrap_or_else(|error| panic!("{error}"));
    let reply = call(
        gateway.proxy,
        "POST",
        MODEL_PATH,
        &[("Breakerbox-Key", SALES_KEY)],
        CHAT,
    );
    assert_eq!(
        (reply.status, reply.refusal()),
        want,
        "{certificate_for}: {}",
        reply.text()
    );
    let used = crate::http::get(gateway.admin, "/api/v1/teams/sales").json()["used"].to_string();
    assert_eq!(
        used,
        if want.0 == 200 { "1" } else { "0" },
        "what was not sent costs nothing"
    );
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}

#[test]
fn an_upstream_is_believed_by_its_certificate_only() {
    check("localhost", None, (200, None));
    check("other.example", None, (502, Some("upstream_unreachable")));
    check(
        "localhost",
        Some(RootCertStore::empty()),
        (502, Some("upstream_unreachable")),
    );
}
