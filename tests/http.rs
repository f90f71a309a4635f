//! The HTTP interface over real sockets: who may, what is accepted, framing, limits, idempotency, two persons, the document.
//! It owns the client and the served world; what is recorded behind it has tests of its own.

mod api;
mod auth;
mod document;
mod framing;
mod kill;
mod limits;
mod once;
mod pairs;
mod tls;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use retentiond::clock::Clock;
use retentiond::config::StoreConfig;
use retentiond::http::{self, Limits, new_token};
use retentiond::id::{StoreId, TenantId};
use retentiond::ledger::{self, Ledger, NewToken, Role, TokenRow};
use retentiond::service::Service;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::harness::{World, instant};

/// What a call was answered.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
}

impl Answered {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same, where the status must be this one.
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// Refused with this status and code, in the one shape of errors.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.is(status);
        assert_eq!(body["error"]["code"], code, "{self:?}");
        assert!(body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        assert_eq!(body["error"]["request"], self.headers["x-request-id"], "{self:?}");
        body
    }
}

/// A world whose interface is served in this process.
pub(crate) struct Served {
    pub(crate) world: World,
    pub(crate) address: SocketAddr,
    pub(crate) ledger: Arc<dyn Ledger>,
    service: Arc<Service>,
    task: Option<JoinHandle<()>>,
    runtime: Runtime,
}

impl Served {
    /// The center of the harness, with the limits that are shipped but a rate that no test reaches by accident.
    pub(crate) fn new() -> Self {
        Self::with(World::center(), Limits { rate: 100_000, ..Limits::default() }, Clock::System)
    }

    pub(crate) fn with(world: World, limits: Limits, clock: Clock) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        let mut loaded = world.load(instant("2026-01-01T00:00:00Z"));
        loaded.clock = clock;
        loaded.config.http.listen = "127.0.0.1:0".to_owned();
        let takeaway = world.path("takeaway");
        std::fs::create_dir_all(&takeaway).unwrap();
        loaded.config.stores.insert(StoreId::new("takeaway"), StoreConfig::Files { path: takeaway });
        let (address, ledger, service, task) = runtime.block_on(async {
            let ledger: Arc<dyn Ledger> = Arc::from(ledger::open(&loaded.config.ledger).await.unwrap());
            let bound = http::bind(&loaded.config.http).await.unwrap().limits(limits);
            let address = bound.address().unwrap();
            let service = Arc::new(Service::new(loaded, Arc::clone(&ledger)));
            let task = tokio::spawn(http::serve(Arc::clone(&service), bound));
            (address, ledger, service, task)
        });
        Self { world, address, ledger, service, task: Some(task), runtime }
    }

    /// Carries out the exports whose turn it is, as the daemon does; how many.
    pub(crate) fn work_off_exports(&self) -> usize {
        let world = self.service.world();
        let now = world.clock.now();
        self.wait(retentiond::export::work_off(&world, self.ledger.as_ref(), now)).unwrap().len()
    }

    /// Runs a question to the ledger.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// A new token.
    pub(crate) fn token(&self, principal: &str, role: Role, tenant: Option<&str>) -> String {
        self.token_until(principal, role, tenant, None).0
    }

    pub(crate) fn token_until(
        &self,
        principal: &str,
        role: Role,
        tenant: Option<&str>,
        expires_at: Option<&str>,
    ) -> (String, TokenRow) {
        let (token, digest) = new_token().unwrap();
        let new = NewToken {
            principal: principal.to_owned(),
            role,
            tenant: tenant.map(|tenant| TenantId::parse(tenant).unwrap()),
            digest,
            expires_at: expires_at.map(instant),
        };
        let row = self.wait(self.ledger.make_token(&new, Clock::System.now())).unwrap();
        (token.expose_secret().to_owned(), row)
    }

    pub(crate) fn operator(&self) -> String {
        self.token("olga", Role::Operator, None)
    }

    /// A call without a body.
    pub(crate) fn get(&self, token: &str, path: &str) -> Answered {
        call(self.address, "GET", path, &[("Authorization", &format!("Bearer {token}"))], None)
    }

    /// A call that changes something.
    pub(crate) fn send(&self, method: &str, token: &str, path: &str, key: &str, body: &Value) -> Answered {
        send(self.address, method, token, path, key, &body.to_string())
    }

    pub(crate) fn post(&self, token: &str, path: &str, key: &str, body: &Value) -> Answered {
        self.send("POST", token, path, key, body)
    }

    /// Audit entries of a kind.
    pub(crate) fn entries(&self, kind: &str) -> Vec<Value> {
        let entries = self.wait(self.ledger.entries(0, 100_000)).unwrap();
        let bodies = entries.iter().map(|entry| serde_json::from_str::<Value>(&entry.body).unwrap());
        bodies.filter(|body| body["kind"] == kind).collect()
    }

    /// How many requests the ledger has.
    pub(crate) fn requests(&self) -> usize {
        self.wait(self.ledger.requests()).unwrap().len()
    }

    /// Stops serving in order; the world stays.
    pub(crate) fn stop(mut self) -> World {
        self.service.stop.cancel();
        if let Some(task) = self.task.take() {
            self.runtime.block_on(task).unwrap();
        }
        let world = std::mem::replace(&mut self.world, World::empty());
        drop(self);
        world
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.service.stop.cancel();
        if let Some(task) = self.task.take() {
            drop(self.runtime.block_on(task));
        }
    }
}

/// The request that most tests make.
pub(crate) fn caller_of(tenant: &str) -> Value {
    json!({"tenant": tenant, "subjects": [{"kind": "phone", "value": "+6591110001"}]})
}

/// A call that changes something, with a body as it is.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    token: &str,
    path: &str,
    key: &str,
    body: &str,
) -> Answered {
    let bearer = format!("Bearer {token}");
    let headers =
        [("Authorization", bearer.as_str()), ("Idempotency-Key", key), ("Content-Type", "application/json")];
    call(address, method, path, &headers, Some(body.as_bytes()))
}

/// One call on a connection of its own.
pub(crate) fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Answered {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: retentiond\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    answered(&raw(address, &bytes)).unwrap_or_else(|| panic!("{method} {path} was not answered"))
}

/// Sends bytes and reads until the other side closes. Empty where it closed without a word.
pub(crate) fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    // Whoever is refused early may close before everything was sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Reads the first answer in some bytes.
pub(crate) fn answered(bytes: &[u8]) -> Option<Answered> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = &bytes[end + 4..];
    if let Some(length) = headers.get("content-length").and_then(|text| text.parse::<usize>().ok()) {
        body = &body[..length.min(body.len())];
    }
    let body = if headers.get("transfer-encoding").is_some_and(|how| how == "chunked") {
        whole(body)
    } else {
        body.to_vec()
    };
    Some(Answered { status, headers, text: String::from_utf8_lossy(&body).into_owned() })
}

/// What came in chunks; a last one must be there.
fn whole(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n").expect("a chunk");
        let length = std::str::from_utf8(&body[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).expect("a length");
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 2 + length + 2..];
    }
}
