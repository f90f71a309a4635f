//! Private servers for tests: started on first use, on loopback, on ports and in folders of their own, and gone with the
//! test process, however that ends. It owns how a server is supervised; each server's file says how it is started.
//!
//! A server that cannot be started fails the test that asked for it: a store that did not run is never skipped.

pub(crate) mod between;
pub(crate) mod mariadb;
pub(crate) mod moto;
pub(crate) mod objects;
pub(crate) mod opensearch;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod seaweedfs;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retentiond::clock::Stopwatch;

/// How long a server may take until it answers. A Java virtual machine on a busy machine is slow.
const READY: Duration = Duration::from_secs(180);

/// Ends the server and removes its folder as soon as its own standard input closes, which it does when the test process
/// ends, even by a signal that nobody can catch.
const SUPERVISOR: &str = r#"folder=$1; shift
"$@" </dev/null >"$folder/server.log" 2>&1 &
server=$!
cat >/dev/null
kill -KILL "$server" 2>/dev/null
wait "$server" 2>/dev/null
rm -rf "$folder""#;

/// Supervisors, kept so that their standard input stays open.
static SUPERVISORS: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// A server that runs until the test process ends.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it keeps its data; `server.log` in it holds what it printed.
    pub(crate) folder: PathBuf,
    /// Its main port on loopback.
    pub(crate) port: u16,
}

impl Server {
    /// Its address as `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// A folder for a server, below the build folder. Removed when the server ends.
pub(crate) fn folder(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = base.join(format!("{name}-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A port that nobody listens on, whose neighbour 10,000 above is free too (some servers open that one by themselves).
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Below the range from which the system gives ports away, and spread by process.
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_000 + (std::process::id() * 37 + turn) % 12_000).unwrap();
        let is_free = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

/// Starts a command and waits until `is_ready` says so. `folder` is removed when it ends.
///
/// # Panics
/// Where it does not become ready; the panic shows what it printed.
pub(crate) fn start(
    command: &[String],
    folder: PathBuf,
    port: u16,
    is_ready: impl Fn(&Server) -> bool,
) -> Server {
    let supervisor = Command::new("sh")
        .args(["-c", SUPERVISOR, "supervisor"])
        .arg(&folder)
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    SUPERVISORS.lock().unwrap().push(supervisor);
    let server = Server { folder, port };
    let watch = Stopwatch::start();
    while !is_ready(&server) {
        if watch.elapsed() > READY {
            let log = fs::read_to_string(server.folder.join("server.log")).unwrap_or_default();
            panic!("{command:?} did not become ready:\n{log}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    server
}

/// True where somebody listens on the server's port.
pub(crate) fn listens(server: &Server) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

/// The first of these paths that exists: where Debian and others put a program.
///
/// # Panics
/// Where none does: `tests/run` installs what is missing.
pub(crate) fn program(paths: &[&str]) -> String {
    let found = paths.iter().find(|path| Path::new(path).is_file());
    (*found.unwrap_or_else(|| panic!("none of {paths:?} is installed; run tests/run, which installs it")))
        .to_owned()
}
