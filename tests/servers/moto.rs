//! The moto server, for object lock and for keys that other servers refuse. One server for all tests, each with buckets
//! of its own.

use std::sync::OnceLock;

use super::seaweedfs::{says, tool};
use super::{Server, folder, free_port, listens, start};

/// The endpoint of the one server.
pub(crate) fn endpoint() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let port = free_port();
        let arguments = ["-H", "127.0.0.1", "-p", &port.to_string()];
        let mut command = vec![tool("python"), tool("moto_server")];
        command.extend(arguments.map(ToOwned::to_owned));
        start(&command, folder("moto"), port, |server| {
            listens(server) && says(server.port, "/", "ListAllMyBucketsResult")
        })
    });
    format!("http://{}", server.address())
}
