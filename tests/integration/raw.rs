//! An upstream that does exactly what a test says, byte for byte, and a gateway in front of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use breakerbox::config::load::Sources;
use breakerbox::gateway::{ConnectorChoice, Gateway, Start};

use crate::stage::{Files, allocations, any_port};

/// Each connection is handed to `serve`, one after the other.
pub(crate) fn upstream(mut serve: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(any_port()).expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.expect("accept"));
        }
    });
    address
}

/// An upstream that answers each request with these bytes, in these pieces, and closes.
pub(crate) fn in_pieces(pieces: Vec<Vec<u8>>, pause: Duration) -> SocketAddr {
    upstream(move |mut stream| {
        read_head(&mut stream);
        for piece in &pieces {
            stream.write_all(piece).expect("write");
            std::thread::park_timeout(pause);
        }
    })
}

/// Reads until the head is there; what is read includes whatever came with it.
pub(crate) fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).expect("read");
        assert!(read > 0, "the connection ended within a head");
        seen.extend_from_slice(&buffer[..read]);
    }
    seen
}

/// A gateway with these lines under `[limits]`.
pub(crate) fn gateway_before(salesforce: SocketAddr, limits: &str) -> (Files, Gateway) {
    let files = Files::write(salesforce, &allocations("guide", "12_000"));
    let config = std::fs::read_to_string(files.config()).expect("read");
    std::fs::write(files.config(), format!("{config}\n[limits]\n{limits}\n")).expect("write");
    let start = Start {
        sources: Sources::new(files.config()),
        connector: ConnectorChoice::Platform,
    };
    let gateway = Gateway::start(start).unwrap_or_else(|error| panic!("{error}"));
    (files, gateway)
}
