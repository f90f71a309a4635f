//! A small proxy between a store and its server, which fails as networks do: it is slow, cuts off after so many bytes, or
//! swallows everything. It knows no protocol.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A proxy; it serves until the test process ends.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    /// Nothing goes through in either direction, and nobody is told.
    is_black_hole: AtomicBool,
    /// No answer goes through.
    is_muted: AtomicBool,
    /// Each piece waits so many milliseconds.
    delay_ms: AtomicU64,
    /// The connection is cut when the client sends this, before or after it reaches the server.
    trap: Mutex<Option<Trap>>,
    /// How often it was.
    sprung: AtomicU32,
}

struct Trap {
    word: Vec<u8>,
    reaches_server: bool,
    after_bytes: Option<u64>,
}

impl Proxy {
    /// Leads to a port on loopback.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let proxy = Self { port: listener.local_addr().unwrap().port(), faults: Arc::default() };
        let faults = Arc::clone(&proxy.faults);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                let (client_2, server_2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (one, other) = (Arc::clone(&faults), Arc::clone(&faults));
                std::thread::spawn(move || one.carry(client, server, Way::ToServer));
                std::thread::spawn(move || other.carry(server_2, client_2, Way::ToClient));
            }
        });
        proxy
    }

    /// From now on the connection on which the client sends these bytes is cut before the server gets them.
    pub(crate) fn cut_before(&self, word: &str) {
        self.set(Some(Trap { word: word.into(), reaches_server: false, after_bytes: None }));
    }

    /// From now on the server gets these bytes, and the connection is cut before the client hears of it.
    pub(crate) fn cut_after(&self, word: &str) {
        self.set(Some(Trap { word: word.into(), reaches_server: true, after_bytes: None }));
    }

    /// From now on connections are cut when the server has answered with so many bytes.
    pub(crate) fn cut_after_bytes(&self, bytes: u64) {
        self.set(Some(Trap { word: Vec::new(), reaches_server: true, after_bytes: Some(bytes) }));
    }

    /// Nothing goes through any more.
    pub(crate) fn swallow(&self) {
        self.faults.is_black_hole.store(true, Ordering::SeqCst);
    }

    /// Each piece waits.
    pub(crate) fn delay(&self, delay: Duration) {
        self.faults.delay_ms.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// All is well again, for new connections.
    pub(crate) fn mend(&self) {
        self.set(None);
        self.faults.is_black_hole.store(false, Ordering::SeqCst);
        self.delay(Duration::ZERO);
    }

    /// How often a connection was cut.
    pub(crate) fn sprung(&self) -> u32 {
        self.faults.sprung.load(Ordering::SeqCst)
    }

    fn set(&self, trap: Option<Trap>) {
        *self.faults.trap.lock().unwrap() = trap;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

/// What becomes of a piece.
enum Fate {
    Pass,
    Drop,
    CutBefore,
    CutAfter,
}

impl Faults {
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, way: Way) {
        let mut buffer = vec![0; 65_536];
        let mut carried = 0;
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let piece = &buffer[..count];
            std::thread::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst)));
            carried += count as u64;
            match self.fate(piece, way, carried) {
                Fate::Pass => {}
                Fate::Drop => continue,
                Fate::CutBefore => break,
                Fate::CutAfter => {
                    // The server does its work; its answer is swallowed, and then there is no connection.
                    self.is_muted.store(true, Ordering::SeqCst);
                    to.write_all(piece).ok();
                    std::thread::sleep(Duration::from_millis(300));
                    from.shutdown(Shutdown::Both).ok();
                    to.shutdown(Shutdown::Both).ok();
                    self.is_muted.store(false, Ordering::SeqCst);
                    return;
                }
            }
            if to.write_all(piece).is_err() {
                break;
            }
        }
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
    }

    fn fate(&self, piece: &[u8], way: Way, carried: u64) -> Fate {
        let is_muted = way == Way::ToClient && self.is_muted.load(Ordering::SeqCst);
        if is_muted || self.is_black_hole.load(Ordering::SeqCst) {
            return Fate::Drop;
        }
        let trap = self.trap.lock().unwrap();
        let Some(trap) = &*trap else { return Fate::Pass };
        let has_word = !trap.word.is_empty()
            && piece.windows(trap.word.len()).any(|window| window == trap.word.as_slice());
        let is_cut = match (way, trap.after_bytes) {
            (Way::ToServer, None) => has_word,
            (Way::ToClient, Some(bytes)) => carried > bytes,
            (Way::ToServer, Some(_)) | (Way::ToClient, None) => false,
        };
        if !is_cut {
            return Fate::Pass;
        }
        self.sprung.fetch_add(1, Ordering::SeqCst);
        if trap.reaches_server && way == Way::ToServer { Fate::CutAfter } else { Fate::CutBefore }
    }
}
