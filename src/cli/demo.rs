//! `retentiond demo`: builds a small contact center and walks through the main job with the very commands that an
//! operator types. It owns the story; every claim in it is checked, and the demo fails where one is not true.

mod build;

use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use self::build::{FORGOTTEN, HELD};
use super::context::Context;
use super::output::{Answer, Failure};

/// What can go wrong in a demo; a lower-case fragment after "failed to run the demo: ".
type DemoError = Box<dyn std::error::Error>;

/// Where the demo is built unless somebody says otherwise.
const DEFAULT_DIR: &str = "retentiond-demo";

/// Builds the contact center and tells the story; to standard error where the answer is JSON.
pub(super) async fn demo(context: &Context, dir: Option<PathBuf>) -> Result<Answer, Failure> {
    let dir = dir.unwrap_or_else(|| PathBuf::from(DEFAULT_DIR));
    let voice = if context.json { Voice::Aside } else { Voice::Aloud };
    run(&dir, context.now, voice)
        .await
        .map_err(|error| Failure::unmet(format!("failed to run the demo: {error}")))?;
    Answer::new(&json!({"dir": dir, "ok": true}), "")
}

/// Where the story is told.
#[derive(Clone, Copy)]
enum Voice {
    Aloud,
    Aside,
}

async fn run(dir: &Path, now: DateTime<Utc>, voice: Voice) -> Result<(), DemoError> {
    if dir.exists() && std::fs::read_dir(dir)?.next().is_some() {
        return Err(format!("`{}` is not empty; choose another folder with --dir", dir.display()).into());
    }
    std::fs::create_dir_all(dir)?;
    let story = Story { dir: dir.canonicalize()?, program: std::env::current_exe()?, voice };
    story.say("A contact center in one folder");
    story.tell("Three tenants (acme, beta, gamma), five categories: agents, calls with recordings, service records with");
    story.tell("voicemail, configuration and logs, in two SQLite files and a folder of objects. The backup rotates by itself.");
    build::build(&story.dir, now).await?;
    story.tell(&format!(
        "Built in {}. Every command below is one that an operator types there.",
        story.dir.display()
    ));
    story.look_around()?;
    story.age().await?;
    story.request().await?;
    story.termination(now).await?;
    story.release().await?;
    story.tampering()?;
    story.say("That was the main job");
    story
        .tell("Nothing was erased early, every kept record says why, and each erasure was looked for again.");
    story.tell(&format!(
        "The folder stays for you to play with: cd {} && retentiond status",
        story.dir.display()
    ));
    Ok(())
}

struct Story {
    dir: PathBuf,
    program: PathBuf,
    voice: Voice,
}

impl Story {
    fn look_around(&self) -> Result<(), DemoError> {
        self.say("1. Do the policies fit the stores?");
        self.show(&["check", "--online"], 0)?;
        self.say("2. Lawful orders and longer storage come first");
        self.tell("A court wants one caller's records of gamma kept. acme's analytics are on trial for longer storage.");
        self.show(
            &[
                "hold",
                "place",
                "--tenant",
                "gamma",
                "--subject",
                &phone(HELD),
                "--authority",
                "court order 17",
            ],
            0,
        )?;
        let name = "extended-storage";
        self.show(&["entitlement", "grant", name, "--tenant", "acme", "--category", "call-analytics"], 0)?;
        self.say("3. What is due, and what is kept?");
        self.tell("A plan changes nothing. Each kept group says why.");
        self.show(&["plan"], 0)?;
        Ok(())
    }

    async fn age(&self) -> Result<(), DemoError> {
        self.say("4. Age: six calendar months, counted for every single record");
        self.tell(
            "A first backlog is larger than any ordinary day, so the limit on shares stops it and asks.",
        );
        let refused = self.show(&["enforce"], 3)?;
        let plan = text(&refused, "/refusals/0/approve").or_else(|_| text(&refused, "/plan_id"))?;
        let held = self
            .count("SELECT count(*) FROM call_record WHERE tenant_id = 'gamma' AND caller = ?", HELD)
            .await?;
        self.show(&["enforce", "--approve", &plan], 0)?;
        let plan = self.ask(&["plan"], 0)?;
        let age_left =
            plan["steps"].as_array().map_or(0, |steps| steps.iter().filter(|s| s["reason"] == "age").count());
        self.claim(age_left == 0, "nothing that is over age is left to erase")?;
        let kept = self
            .count("SELECT count(*) FROM call_record WHERE tenant_id = 'gamma' AND caller = ?", HELD)
            .await?;
        self.claim(
            kept == held && held > 0,
            &format!("all {held} calls of the held caller are still there"),
        )?;
        let dangling = self.dangling().await?;
        self.claim(
            dangling == 0,
            "no row names a recording that is gone, and no recording is left that no row names",
        )
    }

    async fn request(&self) -> Result<(), DemoError> {
        self.say("5. A person asks to be forgotten");
        self.tell(&format!("{FORGOTTEN} called acme, beta and gamma; only acme is asked to forget."));
        let beta = self
            .count("SELECT count(*) FROM call_record WHERE tenant_id = 'beta' AND caller = ?", FORGOTTEN)
            .await?;
        let args = ["request", "create", "--tenant", "acme", "--subject", &phone(FORGOTTEN)];
        let made = self.show(&args, 0)?;
        let id = text(&made, "/request_id")?;
        self.show(&["enforce"], 0)?;
        self.show(&["request", "show", &id], 0)?;
        self.show(&["certificate", &id], 0)?;
        let gone = self
            .count("SELECT count(*) FROM call_record WHERE tenant_id = 'acme' AND caller = ?", FORGOTTEN)
            .await?;
        self.claim(gone == 0, "no call record of acme names that number any more")?;
        let after = self
            .count("SELECT count(*) FROM call_record WHERE tenant_id = 'beta' AND caller = ?", FORGOTTEN)
            .await?;
        self.claim(
            after == beta && beta > 0,
            &format!("beta's {beta} calls of the same number were not touched"),
        )
    }

    async fn termination(&self, now: DateTime<Utc>) -> Result<(), DemoError> {
        self.say("6. Termination: 15 days in which nothing may be touched, gone by day 30");
        self.show(&["tenant", "terminate", "beta"], 0)?;
        self.tell("In the grace everything stays, age rules rest too:");
        self.show(&["enforce"], 0)?;
        let there = self.count("SELECT count(*) FROM call_record WHERE tenant_id = ?", "beta").await?;
        self.claim(there > 0, &format!("beta's {there} calls are all there"))?;
        self.tell("What would be due in 16 days, as everything is known now?");
        let ahead = (now + Duration::days(16)).to_rfc3339();
        self.show(&["plan", "--at", &ahead], 0)?;
        self.tell("beta comes back: the termination is cancelled. Weeks later it is found to have ended long ago after all.");
        self.show(&["tenant", "reinstate", "beta"], 0)?;
        let past = (now - Duration::days(20)).to_rfc3339();
        self.show(&["tenant", "terminate", "beta", "--at", &past], 0)?;
        self.show(&["enforce"], 0)?;
        let left = self.count("SELECT count(*) FROM call_record WHERE tenant_id = ?", "beta").await?;
        let other = self.count("SELECT count(*) FROM call_record WHERE tenant_id = ?", "acme").await?;
        self.claim(left == 0, "nothing of beta is left in the call records")?;
        self.claim(!self.has_files("beta")?, "no recording, voicemail or IVR audio of beta is left")?;
        self.claim(other > 0, &format!("acme still has its {other} calls"))
    }

    async fn release(&self) -> Result<(), DemoError> {
        self.say("7. The hold is released: what was due is due at once");
        let holds = self.ask(&["hold", "list"], 0)?;
        let hold = text(&holds, "/holds/0/hold_id")?;
        self.show(&["hold", "release", &hold], 0)?;
        self.show(&["enforce"], 0)?;
        let plan = self.ask(&["plan"], 0)?;
        self.claim(
            plan["totals"]["erase"] == 0 && plan["totals"]["held"] == 0,
            "nothing is due and nothing is held",
        )?;
        self.tell("And if something looks wrong at 3 a.m.:");
        self.show(&["stop", "--reason", "something looks wrong"], 0)?;
        self.show(&["enforce"], 3)?;
        self.show(&["go"], 0)?;
        self.show(&["status"], 0)?;
        Ok(())
    }

    fn tampering(&self) -> Result<(), DemoError> {
        self.say("8. The audit log: every decision and outcome, signed");
        self.show(&["audit", "verify"], 0)?;
        self.tell("Somebody edits history: one byte of one entry.");
        let tile = first_file(&self.dir.join("audit/tile/entries"))?;
        let honest = std::fs::read(&tile)?;
        let mut edited = honest.clone();
        let middle = edited.len() / 2;
        if let Some(byte) = edited.get_mut(middle) {
            *byte ^= 1;
        }
        std::fs::write(&tile, edited)?;
        self.show(&["audit", "verify"], 5)?;
        self.tell("The byte is put back.");
        std::fs::write(&tile, honest)?;
        self.show(&["audit", "verify"], 0)?;
        Ok(())
    }

    fn say(&self, title: &str) {
        let bold = anstyle::Style::new().bold();
        self.print(&format!("\n{bold}{title}{bold:#}"));
    }

    fn tell(&self, line: &str) {
        self.print(&format!("  {line}"));
    }

    /// States something that the story claims, or ends the demo where it is not so.
    fn claim(&self, holds: bool, what: &str) -> Result<(), DemoError> {
        if !holds {
            return Err(format!("the story is not true: {what}").into());
        }
        let green = anstyle::AnsiColor::Green.on_default();
        self.print(&format!("  {green}✓{green:#} {what}"));
        Ok(())
    }

    fn print(&self, line: &str) {
        match self.voice {
            Voice::Aloud => anstream::println!("{line}"),
            Voice::Aside => anstream::eprintln!("{line}"),
        }
    }

    /// Runs a command as the operator sees it, then answers its JSON where the verb only reads or has just been run.
    fn show(&self, args: &[&str], code: i32) -> Result<Value, DemoError> {
        let typed: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
        self.print(&format!("\n  $ retentiond {}", typed.join(" ")));
        // Verbs that record something are run once, with JSON, and shown from it; the others are shown as they are.
        let records =
            !matches!(args, ["check" | "plan" | "status" | "certificate", ..] | ["request", "show", ..])
                && !matches!(args, ["audit", "verify"]);
        let answer = if records { self.ask(args, code)? } else { Value::Null };
        if records {
            for line in brief(&answer) {
                self.print(&format!("    {line}"));
            }
            return Ok(answer);
        }
        let output = self.command(args).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        for line in text.lines().take(40) {
            self.print(&format!("    {line}"));
        }
        if output.status.code() != Some(code) {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!(
                "`{}` ended with {:?}, not {code}: {why}",
                typed.join(" "),
                output.status.code()
            )
            .into());
        }
        Ok(Value::Null)
    }

    /// Runs a command with `--json` and reads its answer.
    fn ask(&self, args: &[&str], code: i32) -> Result<Value, DemoError> {
        let output = self.command(args).arg("--json").output()?;
        if output.status.code() != Some(code) {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!(
                "`{}` ended with {:?}, not {code}: {why}",
                args.join(" "),
                output.status.code()
            )
            .into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.dir).env_remove("RETENTIOND_CONFIG");
        command
    }

    /// A count asked of the store itself, past retentiond.
    async fn count(&self, sql: &'static str, value: &str) -> Result<i64, DemoError> {
        let options = SqliteConnectOptions::new().filename(self.dir.join("center.db")).read_only(true);
        let mut db = options.connect().await?;
        Ok(sqlx::query_scalar(sql).bind(value).fetch_one(&mut db).await?)
    }

    /// Rows whose recording is gone, and recordings that no row names.
    async fn dangling(&self) -> Result<usize, DemoError> {
        let options = SqliteConnectOptions::new().filename(self.dir.join("center.db")).read_only(true);
        let mut db = options.connect().await?;
        let named: Vec<String> =
            sqlx::query_scalar("SELECT recording_key FROM call_record WHERE recording_key <> ''")
                .fetch_all(&mut db)
                .await?;
        let root = self.dir.join("objects");
        let gone = named.iter().filter(|key| !root.join(key).is_file()).count();
        let mut files = 0;
        for tenant in std::fs::read_dir(root.join("rec"))? {
            files += std::fs::read_dir(tenant?.path())?.count();
        }
        Ok(gone + files.abs_diff(named.len() - gone))
    }

    fn has_files(&self, tenant: &str) -> Result<bool, DemoError> {
        for kind in ["rec", "vm", "ivr"] {
            if first_file(&self.dir.join("objects").join(kind).join(tenant)).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The lines of an answer that a reader of the story needs.
fn brief(answer: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for placement in answer["placements"].as_array().into_iter().flatten() {
        if placement["erased"].as_u64().is_some_and(|erased| erased > 0) {
            lines.push(format!(
                "{:<18} erased {:>5}, shown absent {:>5}, level {}",
                placement["placement"].as_str().unwrap_or_default(),
                placement["erased"],
                placement["verified_absent"],
                placement["level"].as_str().unwrap_or("-"),
            ));
        }
    }
    for refusal in answer["refusals"].as_array().into_iter().flatten() {
        lines.push(format!("refused: {}", refusal["message"].as_str().unwrap_or_default()));
    }
    let words =
        ["request_id", "hold_id", "entitlement_id", "tenant", "state", "status", "deadline", "grace_until"];
    for word in words {
        if let Some(value) = answer[word].as_str() {
            lines.push(format!("{word:<14} {value}"));
        }
    }
    if let Some(why) = answer["error"]["message"].as_str() {
        lines.push(format!("refused: {why}"));
    }
    lines
}

fn phone(number: &str) -> String {
    format!("phone={number}")
}

fn quoted(arg: &str) -> String {
    if arg.contains(' ') { format!("'{arg}'") } else { arg.to_owned() }
}

fn text(answer: &Value, pointer: &str) -> Result<String, DemoError> {
    answer
        .pointer(pointer)
        .and_then(Value::as_str)
        .map(ToOwned::to_owned)
        .ok_or_else(|| format!("the answer has no {pointer}").into())
}

fn first_file(dir: &Path) -> Result<PathBuf, DemoError> {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    names.sort();
    for path in names {
        if path.is_file() {
            return Ok(path);
        }
        if let Ok(file) = first_file(&path) {
            return Ok(file);
        }
    }
    Err("there is no file".into())
}
