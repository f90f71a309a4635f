//! Redis: one server for all tests, each in a logical database of its own; a replica of it; a cluster of three; a
//! sentinel. It owns how they are started and spoken to behind the program's back.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use redis::{Cmd, Connection, Value};
use retentiond::config::StoreConfig;

use super::{Server, folder, free_port, listens, program, start};

/// Logical databases of the one server; each test takes some.
const DATABASES: u32 = 10_000;

fn server_program() -> String {
    program(&["/usr/bin/redis-server", "/usr/local/bin/redis-server"])
}

fn launch(name: &str, more: &[&str]) -> Server {
    let (port, folder) = (free_port(), folder(name));
    let mut command = vec![server_program()];
    let dir = folder.display().to_string();
    let port_text = port.to_string();
    let common =
        ["--port", &port_text, "--bind", "127.0.0.1", "--dir", &dir, "--save", "", "--appendonly", "no"];
    command.extend(common.iter().chain(more).map(|&word| word.to_owned()));
    start(&command, folder, port, |server| listens(server) && answers(server))
}

fn answers(server: &Server) -> bool {
    let client = redis::Client::open(format!("redis://{}", server.address())).unwrap();
    let ping = |mut connection| redis::cmd("PING").query::<String>(&mut connection);
    match client.get_connection().and_then(ping) {
        Ok(_) => true,
        // It is there, and asks for a password.
        Err(error) => error.code() == Some("NOAUTH"),
    }
}

/// The server that all tests share.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| launch("redis", &["--databases", &DATABASES.to_string()]))
}

/// A server of a test's own, with more settings.
pub(crate) fn own_server(more: &[&str]) -> Server {
    launch("redis-own", more)
}

/// A replica of another server.
pub(crate) fn replica_of(primary: &Server) -> Server {
    let replica = launch("redis-replica", &["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let mut connection = connect(&format!("redis://{}", replica.address()));
    wait_until(|| {
        let facts: String = redis::cmd("INFO").arg("replication").query(&mut connection).unwrap();
        facts.contains("master_link_status:up")
    });
    replica
}

/// A sentinel that watches a server under these names.
pub(crate) fn sentinel_of(primary: &Server, names: &[&str]) -> Server {
    let (port, folder) = (free_port(), folder("redis-sentinel"));
    let file = folder.join("sentinel.conf");
    let mut lines = format!("port {port}\nbind 127.0.0.1\ndir {}\n", folder.display());
    for name in names {
        lines.push_str(&format!("sentinel monitor {name} 127.0.0.1 {} 1\n", primary.port));
    }
    std::fs::write(&file, lines).unwrap();
    let command = vec![server_program(), file.display().to_string(), "--sentinel".to_owned()];
    start(&command, folder, port, |server| listens(server) && answers(server))
}

/// The nodes of a cluster of three primaries, made once.
pub(crate) fn cluster() -> &'static [Server] {
    static CLUSTER: OnceLock<Vec<Server>> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let settings = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"];
        let nodes: Vec<Server> = (0..3).map(|_| launch("redis-cluster", &settings)).collect();
        let cli = program(&["/usr/bin/redis-cli", "/usr/local/bin/redis-cli"]);
        let made = Command::new(cli)
            .args(["--cluster", "create"])
            .args(nodes.iter().map(Server::address))
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        for node in &nodes {
            let mut connection = connect(&format!("redis://{}", node.address()));
            wait_until(|| {
                let facts: String = redis::cmd("CLUSTER").arg("INFO").query(&mut connection).unwrap();
                let nodes: String = redis::cmd("CLUSTER").arg("NODES").query(&mut connection).unwrap();
                facts.contains("cluster_state:ok") && nodes.matches("connected").count() == 3
            });
        }
        nodes
    })
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("it did not come about in 30 seconds");
}

/// The address of a logical database that nobody else uses.
pub(crate) fn database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number < DATABASES, "the tests need more databases");
    format!("redis://{}/{number}", server().address())
}

/// A connection, as an application has one.
pub(crate) fn connect(url: &str) -> Connection {
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

/// A stanza with a `url`.
pub(crate) fn config(url: &str) -> StoreConfig {
    StoreConfig::Redis { url: Some(url.into()), nodes: vec![], sentinel: vec![], user: None, password: None }
}

/// A stanza of a cluster.
pub(crate) fn cluster_config() -> StoreConfig {
    let nodes = cluster().iter().map(Server::address).collect();
    StoreConfig::Redis { url: None, nodes, sentinel: vec![], user: None, password: None }
}

/// Sends a command of plain words.
pub(crate) fn send(connection: &mut Connection, words: &[&str]) -> Value {
    let mut command = Cmd::new();
    words.iter().for_each(|word| {
        command.arg(*word);
    });
    command.query(connection).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Every key with its value, as the server itself writes both out; the marker is left out.
pub(crate) fn everything(connection: &mut Connection) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(connection).unwrap();
    keys.retain(|key| key != b"retentiond:marker");
    keys.sort();
    keys.into_iter()
        .map(|key| {
            let value: Vec<u8> = redis::cmd("DUMP").arg(&key).query(connection).unwrap();
            (key, value)
        })
        .collect()
}
