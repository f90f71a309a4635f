//! An HTTP server between the program and a real server: it notes every request, and answers some itself or changes what
//! comes back. It owns no rule about what is a fault; each test says that.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a test does to a request: by its head and body, an answer of its own.
pub(crate) type Answers = dyn Fn(&str, &[u8]) -> Option<(u16, String)> + Send + Sync;

/// What a test does to an answer: by the head of the request, and the body that came back.
pub(crate) type Changes = dyn Fn(&str, String) -> String + Send + Sync;

/// The server between.
pub(crate) struct Between {
    /// Where it listens.
    pub(crate) endpoint: String,
    /// The heads of all requests so far.
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
}

impl Between {
    /// Starts one before the server at `upstream` (`http://HOST:PORT`). It ends with the test process.
    pub(crate) fn start(upstream: &str, answers: Box<Answers>, changes: Box<Changes>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heads);
        let (answers, changes): (Arc<Answers>, Arc<Changes>) = (answers.into(), changes.into());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (upstream, noted) = (upstream.clone(), Arc::clone(&noted));
                let (answers, changes) = (Arc::clone(&answers), Arc::clone(&changes));
                std::thread::spawn(move || {
                    // A client that goes away in the middle is no trouble of ours.
                    drop(serve(stream, &upstream, &noted, &*answers, &*changes));
                });
            }
        });
        Self { endpoint, heads }
    }

    /// Only notes requests.
    pub(crate) fn noting(upstream: &str) -> Self {
        Self::start(upstream, Box::new(|_, _| None), Box::new(|_, body| body))
    }

    /// The heads of requests that begin so.
    pub(crate) fn requests(&self, beginning: &str) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        heads.iter().filter(|head| head.starts_with(beginning)).cloned().collect()
    }
}

fn read_until_blank(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let mut block = [0; 8192];
    loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = read.split_off(at + 4);
            return Ok((String::from_utf8_lossy(&read).into_owned(), body));
        }
        match stream.read(&mut block)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => read.extend_from_slice(&block[..n]),
        }
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|h| h.1.trim())
}

fn serve(
    mut stream: TcpStream,
    upstream: &str,
    noted: &Mutex<Vec<String>>,
    answers: &Answers,
    changes: &Changes,
) -> std::io::Result<()> {
    let (head, mut body) = read_until_blank(&mut stream)?;
    if header(&head, "expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length: usize = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut rest = vec![0; length.saturating_sub(body.len())];
    stream.read_exact(&mut rest)?;
    body.extend(rest);
    noted.lock().unwrap().push(head.clone());
    if let Some((status, text)) = answers(&head, &body) {
        let answer = format!(
            "HTTP/1.1 {status} So\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
        return stream.write_all(answer.as_bytes());
    }
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    lines.retain(|line| {
        let lower = line.to_ascii_lowercase();
        !lower.starts_with("connection:") && !lower.starts_with("expect:")
    });
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n")).as_bytes())?;
    server.write_all(&body)?;
    let (answer_head, mut answer_body) = read_until_blank(&mut server)?;
    server.read_to_end(&mut answer_body)?;
    if header(&answer_head, "transfer-encoding").is_some() {
        answer_body = unchunked(&answer_body);
    }
    let is_head = head.starts_with("HEAD ");
    let text = String::from_utf8(answer_body).map(|text| changes(&head, text).into_bytes());
    let answer_body = text.unwrap_or_else(|error| error.into_bytes());
    let mut lines: Vec<String> = answer_head.trim_end().split("\r\n").map(ToOwned::to_owned).collect();
    lines.retain(|line| {
        let lower = line.to_ascii_lowercase();
        let is_length = lower.starts_with("content-length:") && !is_head;
        !is_length && !lower.starts_with("transfer-encoding:") && !lower.starts_with("connection:")
    });
    if !is_head {
        lines.push(format!("Content-Length: {}", answer_body.len()));
    }
    stream.write_all(format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n")).as_bytes())?;
    stream.write_all(&answer_body)
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(at) = body.windows(2).position(|window| window == b"\r\n") {
        let size = String::from_utf8_lossy(&body[..at]);
        let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
        whole.extend_from_slice(&body[at + 2..at + 2 + size]);
        body = &body[at + 4 + size..];
        if size == 0 {
            break;
        }
    }
    whole
}
