//! How fast placements on `MariaDB`, Redis and object storage are enforced, as ratios to what an administrator would use
//! instead, on private servers. It owns figures, no assertion of speed; it does assert that everything due is gone and
//! everything kept is there.
//!
//! ```text
//! cargo bench --bench servers                          all of it, three rounds
//! cargo bench --bench servers -- mariadb ROWS ROUNDS [SHAPE…]
//! cargo bench --bench servers -- redis KEYS ROUNDS
//! cargo bench --bench servers -- objects OBJECTS ROUNDS
//! ```
//!
//! Each technique runs on a freshly restored copy in each round. Needs `percona-toolkit`, `redis-tools`, `rclone` and
//! what `tests/run` installs; `s5cmd` is put beside the build.
#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

#[path = "servers/mariadb.rs"]
mod mariadb;
#[path = "servers/objects.rs"]
mod objects;
#[path = "servers/redis.rs"]
mod redis;
#[path = "servers/runs.rs"]
mod runs;

/// The servers of the tests.
#[path = "../tests"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "written for tests, of which a bench needs a part"
)]
mod tests {
    pub(crate) mod servers;
}

use self::mariadb::SHAPES;
use self::runs::Outcome;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["mariadb", rows, rounds] => mariadb::measure(rows.parse()?, rounds.parse()?, &SHAPES),
        ["mariadb", rows, rounds, names @ ..] => {
            let shapes: Vec<_> = SHAPES.into_iter().filter(|shape| names.contains(&shape.letter)).collect();
            mariadb::measure(rows.parse()?, rounds.parse()?, &shapes)
        }
        ["redis", keys, rounds] => redis::measure(keys.parse()?, rounds.parse()?),
        ["objects", objects, rounds] => objects::measure(objects.parse()?, rounds.parse()?),
        [] => {
            mariadb::measure(2_000_000, 3, &SHAPES)?;
            redis::measure(1_000_000, 3)?;
            objects::measure(50_000, 3)
        }
        _ => Err("see the head of benches/servers.rs for what can be given".into()),
    }
}
