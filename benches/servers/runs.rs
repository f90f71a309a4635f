//! One run of a program: how it is started, watched and shown. It owns no server and no figure's meaning.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use retentiond::clock::{Clock, Stopwatch};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Ticks per second in `/proc/PID/stat`, the same on every Linux.
const TICKS: f64 = 100.0;

/// What one run took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measured {
    /// Seconds until the program ended.
    pub(crate) wall: f64,
    /// CPU seconds of the program.
    pub(crate) cpu: f64,
    /// Peak of its resident memory.
    pub(crate) memory_mib: f64,
    /// CPU seconds of the server, what it put off included.
    pub(crate) server_cpu: f64,
    /// What 99 of 100 operations of somebody else took at most, in milliseconds.
    pub(crate) p99_ms: f64,
    /// Rows that the server says it read.
    pub(crate) reads: f64,
}

/// Runs a command to its end; it must succeed. Its standard output goes into a file of the folder.
pub(crate) fn run(mut command: Command, folder: &Path) -> Outcome<Measured> {
    let output = fs::File::create(folder.join("output"))?;
    let watch = Stopwatch::start();
    let mut child = command.stdin(Stdio::null()).stdout(output).spawn()?;
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let mut measured = Measured::default();
    loop {
        if let Ok(status) = fs::read_to_string(process.join("status"))
            && let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:"))
            && let Some(kib) = line.split_whitespace().nth(1)
        {
            measured.memory_mib = kib.parse::<f64>()? / 1024.0;
        }
        let (state, cpu) = stat(child.id())?;
        measured.cpu = cpu;
        if state == "Z" {
            measured.wall = watch.elapsed().as_secs_f64();
            let status = child.wait()?;
            return if status.success() {
                Ok(measured)
            } else {
                Err(format!("{command:?}: {status}").into())
            };
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// State and CPU seconds of a process and of those of its children that have ended.
fn stat(process: u32) -> Outcome<(String, f64)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ').collect();
    let mut ticks = 0.0;
    for field in fields.iter().skip(11).take(4) {
        ticks += field.parse::<f64>()?;
    }
    Ok((fields.first().copied().unwrap_or_default().to_owned(), ticks / TICKS))
}

/// CPU seconds that a server has used.
pub(crate) fn cpu_of(process: u32) -> Outcome<f64> {
    Ok(stat(process)?.1)
}

/// A folder with a configuration of one store `center` and one policy.
pub(crate) fn configured(store: &str, policy: &str) -> Outcome<tempfile::TempDir> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    fs::create_dir(folder.path().join("policies"))?;
    fs::write(
        folder.path().join("retentiond.toml"),
        format!(
            "[ledger]\nurl = \"sqlite://retentiond.db\"\n[policies]\npath = \"policies\"\n\
             [limits]\nrecords = 100000000\nshare = \"100%\"\n[stores.center]\n{store}\n"
        ),
    )?;
    fs::write(folder.path().join("policies/calls.toml"), policy)?;
    Ok(folder)
}

/// The program with a verb, on the configuration of a folder.
pub(crate) fn retentiond(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retentiond"));
    command.args(words).arg("--json").arg("--config").arg(folder.join("retentiond.toml"));
    command.current_dir(folder);
    command
}

/// Tells the program that the accounts of these tenants ended long ago.
pub(crate) fn terminate(folder: &Path, tenants: &[String]) -> Outcome<()> {
    let ended = (Clock::System.now() - chrono::TimeDelta::days(60)).to_rfc3339();
    for tenant in tenants {
        let output = retentiond(folder, &["tenant", "terminate", tenant, "--at", &ended]).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
    }
    Ok(())
}

/// Fails where the report of a run does not say that so many records were read back as gone.
pub(crate) fn assert_reported(folder: &Path, records: u64) -> Outcome<()> {
    let report: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("output"))?)?;
    let said = &report["totals"]["verified_absent"];
    if said.as_u64() == Some(records) {
        Ok(())
    } else {
        Err(format!("{records} due, report: {report}").into())
    }
}

/// Median and range.
pub(crate) fn spread(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return String::new() };
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
    if sorted.len() == 1 {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} [{first:.digits$}..{last:.digits$}]")
}

/// Prints one line per technique; how many times as fast the last one was is taken inside each round.
pub(crate) fn show(title: &str, techniques: &[&str], results: &[Vec<Measured>], records: u64) {
    println!("\n{title}: {records} due\n");
    println!(
        "| technique | records/s | `enforce` is faster by | CPU µs/record | server CPU µs/record | read/record | p99 ms | peak MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let count = records.max(1) as f64;
    for (technique, runs) in techniques.iter().zip(results) {
        let each = |pick: &dyn Fn(&Measured) -> f64, digits| {
            spread(&runs.iter().map(pick).collect::<Vec<_>>(), digits)
        };
        let ours = results.last().map(Vec::as_slice).unwrap_or_default();
        let ratios: Vec<f64> = runs.iter().zip(ours).map(|(run, own)| run.wall / own.wall).collect();
        println!(
            "| {technique} | {} | {} | {} | {} | {} | {} | {} |",
            each(&|run| count / run.wall, 0),
            spread(&ratios, 2),
            each(&|run| run.cpu * 1e6 / count, 1),
            each(&|run| run.server_cpu * 1e6 / count, 1),
            each(&|run| run.reads / count, 1),
            each(&|run| run.p99_ms, 1),
            each(&|run| run.memory_mib, 0),
        );
    }
}

/// One line while it goes on.
pub(crate) fn say(title: &str, technique: &str, run: &Measured) {
    println!(
        "{title}, {technique}: {:.3} s, {:.2} s of CPU, {:.2} s of the server's, {:.0} read, p99 {:.1} ms, {:.0} MiB",
        run.wall, run.cpu, run.server_cpu, run.reads, run.p99_ms, run.memory_mib
    );
}
