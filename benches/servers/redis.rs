//! Redis: keys of one tenant of four go, by name.

use std::process::Command;

use redis::Connection;

use crate::runs::{
    Measured, Outcome, assert_reported, configured, cpu_of, retentiond, run, say, show, terminate,
};
use crate::tests::servers::Server;
use crate::tests::servers::redis::{connect, own_server};

const POLICY: &str = "category = \"sessions\"\ntitle = \"Sessions\"\ntime_zone = \"Asia/Singapore\"\nmethod = \"delete\"\n\
    [[rules]]\ntrigger = \"termination\"\ngrace = \"15 days\"\ndeadline = \"30 days\"\nclause = \"bench\"\n\
    [[placements]]\nname = \"sessions\"\nstore = \"center\"\nkeys = \"session:{tenant}:{session_id}\"\nsubjects = \"none\"\n";

const TECHNIQUES: [&str; 2] = ["`redis-cli --scan \\| xargs redis-cli unlink`", "`enforce`"];

/// Keys made in one call.
const AT_ONCE: u64 = 10_000;

/// Measures both techniques.
pub(crate) fn measure(keys: u64, rounds: u64) -> Outcome<()> {
    let server = own_server(&["--maxmemory", "0"]);
    let url = format!("redis://{}", server.address());
    let mut connection = connect(&url);
    let due = keys / 10 * 3;
    let mut results = vec![Vec::new(); TECHNIQUES.len()];
    for round in 1..=rounds {
        for (place, technique) in TECHNIQUES.iter().enumerate() {
            let measured = one_run(&server, &mut connection, place == 1, keys, due)?;
            say(&format!("Redis, round {round}"), technique, &measured);
            if let Some(results) = results.get_mut(place) {
                results.push(measured);
            }
        }
    }
    show(&format!("Redis, {keys} keys"), &TECHNIQUES, &results, due);
    Ok(())
}

fn one_run(
    server: &Server,
    connection: &mut Connection,
    ours: bool,
    keys: u64,
    due: u64,
) -> Outcome<Measured> {
    fill(connection, keys)?;
    let store = format!("kind = \"redis\"\nurl = \"redis://{}\"", server.address());
    let folder = configured(&store, POLICY)?;
    let command = if ours {
        terminate(folder.path(), &["t-1".to_owned()])?;
        retentiond(folder.path(), &["enforce"])
    } else {
        let mut command = Command::new("sh");
        let cli = format!("redis-cli -p {}", server.port);
        command.args(["-c", &format!("{cli} --scan --pattern 'session:t-1:*' | xargs {cli} unlink")]);
        command
    };
    let facts: String = redis::cmd("INFO").arg("server").query(connection)?;
    let process = facts.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap_or_default();
    let process: u32 = process.trim().parse()?;
    let before = cpu_of(process)?;
    let mut measured = run(command, folder.path())?;
    measured.server_cpu = cpu_of(process)? - before;
    if ours {
        assert_reported(folder.path(), due)?;
    }
    let mut left: u64 = 0;
    let mut kept: u64 = 0;
    let all: Vec<String> = redis::cmd("KEYS").arg("session:*").query(connection)?;
    for key in &all {
        if key.starts_with("session:t-1:") { left += 1 } else { kept += 1 }
    }
    if (left, kept) != (0, keys - due) {
        return Err(format!("{left} due keys are left, {kept} of {} kept ones", keys - due).into());
    }
    Ok(measured)
}

/// Three keys of ten are of tenant `t-1`; the others of seven more.
fn fill(connection: &mut Connection, keys: u64) -> Outcome<()> {
    let () = redis::cmd("FLUSHALL").arg("SYNC").query(connection)?;
    let script = "local value = string.rep('x', 100)
        for number = ARGV[1], ARGV[2] - 1 do
          local of = number % 10
          if of < 3 then of = 1 end
          redis.call('SET', 'session:t-' .. of .. ':' .. string.format('%08d', number), value)
        end";
    let mut from = 0;
    while from < keys {
        let to = (from + AT_ONCE).min(keys);
        let () = redis::cmd("EVAL").arg(script).arg(0).arg(from).arg(to).query(connection)?;
        from = to;
    }
    Ok(())
}
