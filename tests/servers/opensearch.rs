//! A private `OpenSearch` node: one for the test process, in one Java virtual machine. It owns how it is started and spoken
//! to as an application would; tests share it, each with indices of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::{Server, folder, listens, program, start};

/// The node answers on the port above the one it is given, and refuses ports above 9299.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(8_301 + (std::process::id() * 37 + turn) % 900).unwrap();
        if TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok() {
            return port;
        }
    }
}

fn start_node() -> Server {
    let folder = folder("opensearch");
    let port = free_port();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let classes = fs::read_to_string(target.join("opensearch/class-path.txt"))
        .expect("tests/run fetches the class path of OpenSearch");
    let name = format!("retentiond-{}", std::process::id());
    let given = (port - 1).to_string();
    let command: Vec<String> = [
        &program(&["/usr/bin/java"]),
        "-Xms512m",
        "-Xmx512m",
        // Up sooner, and no more than the two cores that a small machine has.
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        classes.trim(),
        "org.codelibs.opensearch.runner.OpenSearchRunner",
        "-basePath",
        folder.to_str().unwrap(),
        "-numOfNode",
        "1",
        "-baseHttpPort",
        &given,
        "-clusterName",
        &name,
    ]
    .map(str::to_owned)
    .to_vec();
    start(&command, folder, port, listens)
}

/// The node, ready for requests.
pub(crate) async fn node() -> &'static Server {
    static NODE: OnceLock<Server> = OnceLock::new();
    static READY: OnceCell<()> = OnceCell::const_new();
    let server = tokio::task::spawn_blocking(|| NODE.get_or_init(start_node)).await.unwrap();
    READY
        .get_or_init(|| async {
            let settings = json!({ "persistent": {
                // A full disk of the machine is not what is tested.
                "cluster.routing.allocation.disk.threshold_enabled": false,
                "cluster.max_shards_per_node": 5000,
            }});
            let (status, answer) = request_to(server, "PUT", "/_cluster/settings", Some(&settings)).await;
            assert_eq!(status, 200, "{answer}");
        })
        .await;
    server
}

/// Its address for a configuration.
pub(crate) async fn url() -> String {
    format!("http://{}", node().await.address())
}

/// For tests that leave the marker: a cluster has one, so they take turns. It is gone when the guard is given.
pub(crate) async fn alone_with_the_marker() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    let guard = TURN.lock().await;
    forget_the_marker().await;
    guard
}

/// Takes the marker away; its index stays, since making one takes a cluster long.
pub(crate) async fn forget_the_marker() {
    let path = "/retentiond-marker/_doc/retentiond-marker?refresh=true";
    let (status, answer) = request("DELETE", path, None).await;
    assert!([200, 404].contains(&status), "{answer}");
}

/// A request as an application makes it: status and answer.
pub(crate) async fn request(method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    request_to(node().await, method, path, body).await
}

async fn request_to(server: &Server, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let url = format!("http://{}{path}", server.address());
    let mut request = http().request(method.parse().unwrap(), url);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

/// A request that must succeed.
pub(crate) async fn done(method: &str, path: &str, body: Value) -> Value {
    let body = (!body.is_null()).then_some(&body);
    let (status, answer) = request(method, path, body).await;
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    answer
}

/// Writes documents at once and makes them searchable: index, id, routing (none: empty), document.
pub(crate) async fn write(documents: &[(&str, &str, &str, Value)]) {
    let mut lines = String::new();
    for (index, id, routing, document) in documents {
        let mut action = json!({ "index": { "_index": index, "_id": id } });
        if !routing.is_empty() {
            action["index"]["routing"] = json!(routing);
        }
        lines.push_str(&format!("{action}\n{document}\n"));
    }
    let url = format!("{}/_bulk?refresh=true", url().await);
    let request = http().post(url).header("content-type", "application/x-ndjson").body(lines);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["errors"], false, "{answer}");
}

/// Every document of a pattern, by index, id and routing.
pub(crate) async fn all(pattern: &str) -> Vec<(String, String, Option<String>, Value)> {
    done("POST", &format!("/{pattern}/_refresh"), Value::Null).await;
    let search = json!({ "size": 10_000, "query": { "match_all": {} }, "track_total_hits": true });
    let answer = done("POST", &format!("/{pattern}/_search"), search).await;
    let hits = answer["hits"]["hits"].as_array().unwrap();
    assert_eq!(answer["hits"]["total"]["value"], hits.len());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut all: Vec<_> = hits
        .iter()
        .map(|hit| {
            let (index, id) = (text(&hit["_index"]).unwrap(), text(&hit["_id"]).unwrap());
            (index, id, text(&hit["_routing"]), hit["_source"].clone())
        })
        .collect();
    all.sort_by(|a, b| (&a.0, &a.1, &a.2).cmp(&(&b.0, &b.1, &b.2)));
    all
}

/// One client for all, since making one takes long. It keeps no connection: those belong to the runtime of one test.
pub(crate) fn http() -> reqwest::Client {
    static HTTP: OnceLock<reqwest::Client> = OnceLock::new();
    let make = || {
        drop(rustls::crypto::ring::default_provider().install_default());
        let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        builder.tls_certs_only([]).build().unwrap()
    };
    HTTP.get_or_init(make).clone()
}
