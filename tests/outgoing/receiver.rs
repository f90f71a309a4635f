//! Somebody who receives messages: a socket on loopback that records what arrives and answers as it is told.
//! It owns the parsing of what arrives, byte by byte; it knows nothing of who sent it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// One message, as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    /// `POST /path HTTP/1.1`.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The bytes.
    pub(crate) body: Vec<u8>,
}

impl Arrived {
    /// The one header of this name.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found: Vec<_> = self.headers.iter().filter(|(other, _)| other == name).collect();
        assert_eq!(found.len(), 1, "{name} in {:?}", self.headers);
        &found[0].1
    }
}

/// What is answered to a message.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Status line and headers, then the end.
    Status(&'static str),
    /// A redirect.
    Redirect(String),
    /// Nothing, ever.
    Silence,
    /// A body without an end.
    Endless,
}

/// The receiver; it stops with the test's runtime.
pub(crate) struct Receiver {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    answers: Arc<Mutex<Vec<Answer>>>,
}

impl Receiver {
    /// Listens on an address of loopback, plain or with TLS; answers `202` until told otherwise.
    pub(crate) async fn start(ip: &str, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (sender, arrived) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&answers);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, answers, tls) = (sender.clone(), Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &sender, &answers).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &sender, &answers).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, arrived, answers }
    }

    /// On 127.0.0.1, plain.
    pub(crate) async fn plain() -> Self {
        Self::start("127.0.0.1", None).await
    }

    /// `http://ADDRESS/path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What is answered from now on; the last one stays.
    pub(crate) fn answer(&self, answers: &[Answer]) {
        *self.answers.lock().unwrap() = answers.iter().rev().cloned().collect();
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Arrived {
        self.arrived.recv().await.expect("a message")
    }

    /// Nothing has arrived that was not asked for.
    pub(crate) fn assert_nothing(&mut self) {
        assert!(self.arrived.try_recv().is_err(), "a message arrived");
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    sender: &mpsc::UnboundedSender<Arrived>,
    answers: &Mutex<Vec<Answer>>,
) {
    let Some(arrived) = read(&mut stream).await else { return };
    sender.send(arrived).expect("the test listens");
    let answer = {
        let mut answers = answers.lock().unwrap();
        match answers.len() {
            0 => Answer::Status("202 Accepted"),
            1 => answers[0].clone(),
            _ => answers.pop().unwrap(),
        }
    };
    let text = match answer {
        Answer::Status(status) => {
            format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}")
        }
        Answer::Redirect(to) => format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
        Answer::Silence => return std::future::pending().await,
        Answer::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n").await;
            while stream.write_all(&[b'x'; 4_096]).await.is_ok() {}
            return;
        }
    };
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Arrived> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut part = [0; 4_096];
        let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a head");
    let mut lines = head.split("\r\n").map(str::to_owned);
    let line = lines.next().expect("a line");
    let headers: Vec<_> = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_lowercase(), value.to_owned())
        })
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, length)| length);
    let length: usize = length.parse().expect("a length");
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length {
        let mut part = [0; 4_096];
        let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
        body.extend_from_slice(&part[..count]);
    }
    Some(Arrived { line, headers, body })
}
