//! A gateway between the store and the node: it passes requests on, and where a test says so it answers itself, changes the
//! answer or loses it. It owns no rule of either side.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::servers::opensearch;

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: String,
}

impl Request {
    /// True for a request to this part of the API.
    pub(super) fn is(&self, what: &str) -> bool {
        self.path.split('?').next().unwrap().ends_with(what)
    }
}

/// What is done with a request.
pub(super) enum Does {
    Pass,
    /// Answers without asking the node.
    Say(u16, Value),
    /// Passes it on and changes the answer.
    Change(fn(&mut Value)),
    /// Passes it on and breaks the connection instead of answering.
    Lose,
    /// Breaks the connection.
    Drop,
}

type Rule = dyn Fn(&Request) -> Does + Send + Sync;

/// Where the gateway listens, and what went through.
pub(super) struct Gateway {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Gateway {
    pub(super) async fn start(rule: impl Fn(&Request) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let node = opensearch::url().await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (rule, log): (Arc<Rule>, _) = (Arc::new(rule), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, node.clone(), Arc::clone(&rule), Arc::clone(&log)));
            }
        });
        Self { url, seen }
    }

    /// Every request so far.
    pub(super) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, node: String, rule: Arc<Rule>, log: Arc<Mutex<Vec<Request>>>) {
    let Some(request) = read(&mut stream).await else { return };
    log.lock().unwrap().push(request.clone());
    let (status, body) = match rule(&request) {
        Does::Drop => return,
        Does::Say(status, body) => (status, body.to_string()),
        Does::Pass => pass(&node, &request).await,
        Does::Lose => {
            pass(&node, &request).await;
            return;
        }
        Does::Change(change) => {
            let (status, body) = pass(&node, &request).await;
            let mut body = serde_json::from_str(&body).unwrap();
            change(&mut body);
            (status, body.to_string())
        }
    };
    let head = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    drop(stream.write_all(format!("{head}{body}").as_bytes()).await);
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length = head
        .lines()
        .find_map(|line| {
            line.to_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse::<usize>())
        })
        .map_or(0, Result::unwrap);
    while bytes.len() < end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let mut words = head.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    Some(Request { method, path, body: String::from_utf8(bytes[end + 4..].to_vec()).unwrap() })
}

async fn pass(node: &str, request: &Request) -> (u16, String) {
    let mut sent =
        opensearch::http().request(request.method.parse().unwrap(), format!("{node}{}", request.path));
    if !request.body.is_empty() {
        let kind = if request.is("_bulk") { "application/x-ndjson" } else { "application/json" };
        sent = sent.header("content-type", kind).body(request.body.clone());
    }
    let response = sent.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}
