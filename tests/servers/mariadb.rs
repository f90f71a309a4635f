//! A private `MariaDB` server: how it is started, and databases of a test's own in it.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use secrecy::SecretString;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use super::{Server, folder, free_port, listens, program, start};

/// The server that all tests of a process share.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| launch(&[]))
}

/// A server of a test's own, with more options.
pub(crate) fn launch(options: &[&str]) -> Server {
    let folder = folder("mariadb");
    let data = folder.join("data");
    // A server that starts clears its folder of temporary tables, also of those that another one has open there.
    let temporary = folder.join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let install = program(&["/usr/bin/mariadb-install-db", "/usr/local/bin/mariadb-install-db"]);
    let done = Command::new(install)
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .args(user())
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--tmpdir={}", temporary.display()))
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let port = free_port();
    let mut command =
        vec![program(&["/usr/sbin/mariadbd", "/usr/local/sbin/mariadbd"]), "--no-defaults".into()];
    command.extend(user());
    command.extend([
        format!("--datadir={}", data.display()),
        format!("--tmpdir={}", temporary.display()),
        format!("--port={port}"),
        format!("--socket={}", folder.join("s.sock").display()),
        format!("--pid-file={}", folder.join("server.pid").display()),
        format!("--log-bin={}", data.join("binlog").display()),
    ]);
    let fixed = [
        "--skip-networking=0",
        "--bind-address=127.0.0.1",
        "--innodb-buffer-pool-size=64M",
        "--innodb-log-file-size=16M",
        "--innodb-flush-method=nosync",
        "--sync-frm=0",
        "--server-id=1",
        "--binlog-format=ROW",
    ];
    command.extend(fixed.iter().chain(options).map(|&option| option.to_owned()));
    start(&command, folder, port, listens)
}

/// Only root may run it as root, and must say so.
fn user() -> Option<String> {
    rustix::process::getuid().is_root().then(|| "--user=root".to_owned())
}

/// A database of a test's own.
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) port: u16,
}

impl Database {
    /// A new, empty one on the shared server.
    pub(crate) async fn new() -> Self {
        Self::on(server()).await
    }

    /// A new, empty one on a server.
    pub(crate) async fn on(server: &Server) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("calls_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let options = MySqlConnectOptions::new().host("127.0.0.1").port(server.port).username("root");
        let mut connection = options.connect().await.unwrap();
        let create = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
        Self { name, port: server.port }
    }

    /// Its address, for root.
    pub(crate) fn url(&self) -> SecretString {
        self.url_of("root")
    }

    /// Its address, for `USER` or `USER:PASSWORD`.
    pub(crate) fn url_of(&self, user: &str) -> SecretString {
        SecretString::from(format!("mysql://{user}@127.0.0.1:{}/{}", self.port, self.name))
    }

    /// Its address behind a port that leads to it.
    pub(crate) fn url_through(&self, port: u16) -> SecretString {
        SecretString::from(format!("mysql://root@127.0.0.1:{port}/{}", self.name))
    }

    /// A connection as an application has one.
    pub(crate) async fn connect(&self) -> MySqlConnection {
        let options = MySqlConnectOptions::new()
            .host("127.0.0.1")
            .port(self.port)
            .username("root")
            .database(&self.name);
        options.disable_statement_logging().connect().await.unwrap()
    }

    /// Runs statements.
    pub(crate) async fn run(&self, script: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(script.to_owned())).execute(&mut connection).await.unwrap();
    }
}
