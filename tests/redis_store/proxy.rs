//! A way to a server on which something happens when a certain command passes. It owns the interfering; it knows
//! nothing of what is stored.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What happens, once.
pub(super) enum Rule {
    /// This is done before bytes that hold the needle go on to the server.
    Before(&'static [u8], Box<dyn FnOnce() + Send>),
    /// The connection is cut instead of passing them on.
    CutBefore(&'static [u8]),
    /// They are passed on, and the connection is cut before the answer comes back.
    CutAfter(&'static [u8]),
}

/// The proxy; it lives as long as the test process.
pub(super) struct Proxy {
    port: u16,
    struck: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens on a port of its own before the server of `url`.
    pub(super) fn start(url: &str, rule: Rule) -> Self {
        let server: SocketAddr =
            url.trim_start_matches("redis://").split('/').next().unwrap().parse().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (rule, struck) = (Arc::new(Mutex::new(Some(rule))), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&struck);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else { continue };
                let (back, forth) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let muted = Arc::new(AtomicBool::new(false));
                let is_muted = Arc::clone(&muted);
                thread::spawn(move || copy(back, client, &is_muted));
                let (rule, flag) = (Arc::clone(&rule), Arc::clone(&flag));
                thread::spawn(move || pass(forth, server, &rule, &flag, &muted));
            }
        });
        Self { port, struck }
    }

    /// The same address by way of the proxy.
    pub(super) fn url(&self, url: &str) -> String {
        let database = url.rsplit_once('/').map_or("0", |(_, database)| database);
        format!("redis://127.0.0.1:{}/{database}", self.port)
    }

    /// True when it has happened.
    pub(super) fn has_struck(&self) -> bool {
        self.struck.load(Ordering::SeqCst)
    }
}

/// Answers on their way back. Once muted they go nowhere, and the client sees the end when the server is done.
fn copy(mut server: TcpStream, mut client: TcpStream, muted: &AtomicBool) {
    let mut buffer = [0; 1 << 16];
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        if !muted.load(Ordering::SeqCst) && client.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    client.shutdown(Shutdown::Both).ok();
}

fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    rule: &Mutex<Option<Rule>>,
    struck: &AtomicBool,
    muted: &AtomicBool,
) {
    let mut buffer = [0; 1 << 16];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..length];
        let mut rule = rule.lock().unwrap();
        let is_met = match rule.as_ref() {
            Some(Rule::Before(needle, _) | Rule::CutBefore(needle) | Rule::CutAfter(needle)) => {
                bytes.windows(needle.len()).any(|window| window == *needle)
            }
            None => false,
        };
        match if is_met { rule.take() } else { None } {
            None => {}
            Some(Rule::Before(_, act)) => act(),
            Some(Rule::CutBefore(_)) => {
                struck.store(true, Ordering::SeqCst);
                break;
            }
            Some(Rule::CutAfter(_)) => {
                muted.store(true, Ordering::SeqCst);
                struck.store(true, Ordering::SeqCst);
                server.write_all(bytes).ok();
                server.shutdown(Shutdown::Write).ok();
                return;
            }
        }
        if is_met {
            struck.store(true, Ordering::SeqCst);
        }
        drop(rule);
        if server.write_all(bytes).is_err() {
            break;
        }
    }
    client.shutdown(Shutdown::Both).ok();
    server.shutdown(Shutdown::Both).ok();
}
