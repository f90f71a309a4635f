//! TLS, and what may be listened on without it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use retentiond::clock::Clock;
use retentiond::config::HttpConfig;
use retentiond::http::{self, Limits};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use super::Served;
use crate::harness::World;

fn config(listen: &str) -> HttpConfig {
    HttpConfig { listen: listen.to_owned(), certificate: None, key: None, metrics: None, rate: None }
}

#[test]
fn an_address_that_others_reach_is_not_served_in_the_clear() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(http::bind(&config("0.0.0.0:0"))).err().unwrap();
    assert_eq!(refused.exit_code(), 2);
    assert!(runtime.block_on(http::bind(&config("localhost:0"))).is_ok());
    let taken = runtime.block_on(http::bind(&config("127.0.0.1:0"))).unwrap().address().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let again = runtime.block_on(http::bind(&config(&listener.local_addr().unwrap().to_string()))).err();
    assert_eq!(again.unwrap().exit_code(), 1, "{taken} is free, the other is not");
    let world = World::center();
    world.edit("retentiond.toml", "[limits]", "[http]\nlisten = \"0.0.0.0:8787\"\n[limits]");
    let ran = world.exits(2, "check");
    assert!(ran.json.to_string().contains("http.listen"), "{}", ran.json);
}

#[test]
fn over_tls_a_client_that_knows_the_certificate_is_answered_and_one_in_the_clear_is_not() {
    let world = World::center();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    world.write("http.pem", &made.cert.pem());
    world.write("http.key", &made.signing_key.serialize_pem());
    world.edit(
        "retentiond.toml",
        "[limits]",
        "[http]\nlisten = \"0.0.0.0:8787\"\ncertificate = \"http.pem\"\nkey = \"http.key\"\n[limits]",
    );
    world.ok("check");
    let served = Served::with(world, Limits::default(), Clock::System);
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut socket = TcpStream::connect(served.address).unwrap();
    let mut stream = Stream::new(&mut session, &mut socket);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(String::from_utf8_lossy(&answer).ends_with(r#"{"live":true}"#));
    let clear = super::raw(served.address, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(!String::from_utf8_lossy(&clear).contains("live"));
}
