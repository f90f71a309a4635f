//! `SeaweedFS`, for object storage with versions. One server for all tests, each with buckets of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use super::{Server, folder, free_port, program, start};

/// A program that `tests/run` puts beside the build.
pub(super) fn tool(name: &str) -> String {
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    program(&[&build.join("tools/bin").join(name).display().to_string()])
}

/// True where a plain request is answered by 200 and these words.
pub(super) fn says(port: u16, path: &str, words: &str) -> bool {
    let ask = || -> Result<String, std::io::Error> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| {
        answer.lines().next().is_some_and(|l| l.contains(" 200")) && answer.contains(words)
    })
}

/// The endpoint of the one server.
pub(crate) fn endpoint() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let folder = folder("seaweedfs");
        let [master, volume, filer, port] = [free_port(), free_port(), free_port(), free_port()];
        let words = [
            format!("-dir={}", folder.display()),
            "-ip=127.0.0.1".into(),
            format!("-master.port={master}"),
            "-master.telemetry=false".into(),
            "-master.volumeSizeLimitMB=64".into(),
            format!("-volume.port={volume}"),
            // Each bucket takes seven volumes at its first write.
            "-volume.max=1000".into(),
            format!("-filer.port={filer}"),
            format!("-s3.port={port}"),
            "-s3.port.iceberg=0".into(),
            "-s3.port.lance=0".into(),
        ];
        let mut command = vec![tool("weed"), "server".into(), "-s3".into()];
        command.extend(words);
        start(&command, folder, port, |server| {
            says(master, "/dir/assign", "fid") && says(server.port, "/", "ListAllMyBucketsResult")
        })
    });
    format!("http://{}", server.address())
}
