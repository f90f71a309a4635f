//! What `check --online` finds in servers that were set up wrongly.

use retentiond::policy::{Placement, SubjectFormat, SubjectSource};
use retentiond::stores::{Finding, Reader as _};

use super::{named, put_old, reader, timed};
use crate::servers::redis::{connect, database, own_server, send};

const TEMPLATE: &str = "agent:{tenant}:{id}";

async fn findings(url: &str, placement: &Placement) -> Vec<Finding> {
    reader(url).await.inspect(placement).await.unwrap()
}

fn one<'f>(findings: &'f [Finding], message: &str) -> &'f Finding {
    let found = findings.iter().find(|finding| finding.message.contains(message));
    found.unwrap_or_else(|| panic!("no `{message}` in {findings:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn eviction_persistence_and_too_many_privileges_are_warned_of() {
    let server =
        own_server(&["--appendonly", "yes", "--save", "3600 1", "--maxmemory-policy", "allkeys-lru"]);
    let url = format!("redis://{}", server.address());
    let all = findings(&url, &named(TEMPLATE)).await;
    for message in
        ["evicts any key", "append-only file", "snapshots (RDB)", "may run FLUSHALL, FLUSHDB, KEYS"]
    {
        let finding = one(&all, message);
        assert!(!finding.fatal && !finding.help.is_empty(), "{finding:?}");
    }
    let plain = own_server(&[]);
    let all = findings(&format!("redis://{}", plain.address()), &named(TEMPLATE)).await;
    assert!(one(&all, "nothing over a restart").help.contains("persistence"));
    assert!(!all.iter().any(|finding| finding.message.contains("evicts")), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_privileges_are_fatal_and_the_least_are_enough() {
    let server = own_server(&[]);
    let mut connection = connect(&format!("redis://{}", server.address()));
    let least = [
        "on",
        ">pw",
        "~agent:*",
        "~retentiond:*",
        "+@read",
        "+unlink",
        "+watch",
        "+unwatch",
        "+multi",
        "+exec",
    ];
    let user = |connection: &mut redis::Connection, name: &str, rules: &[&str]| {
        send(connection, &[&["ACL", "SETUSER", name], rules].concat());
    };
    user(&mut connection, "least", &least);
    user(&mut connection, "informed", &[&least[..], &["+info"]].concat());
    user(&mut connection, "nosy", &[&least[..], &["+acl", "-unlink"]].concat());
    user(&mut connection, "blind", &["on", ">pw", "~agent:*", "~retentiond:*", "+exists", "+type"]);
    user(&mut connection, "elsewhere", &["on", ">pw", "~other:*", "+@read"]);
    let of = |name: &str| format!("redis://{name}:pw@{}", server.address());
    let placement = named(TEMPLATE);
    let all = findings(&of("least"), &placement).await;
    assert!(all.iter().all(|finding| !finding.fatal), "{all:?}");
    assert!(one(&all, "may not run INFO").help.contains("+info"));
    let all = findings(&of("informed"), &placement).await;
    assert!(!all.iter().any(|finding| finding.message.contains("may")), "{all:?}");
    assert!(one(&findings(&of("nosy"), &placement).await, "may not run UNLINK").fatal);
    assert!(one(&findings(&of("blind"), &placement).await, "may not run SCAN, HMGET").fatal);
    let all = findings(&of("elsewhere"), &placement).await;
    assert!(one(&all, "may not run EXISTS, HMGET, HMGET on the marker").fatal);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_hold_the_field_are_told() {
    let url = database();
    let mut connection = connect(&url);
    put_old(&mut connection, "agent:t-1:1");
    send(&mut connection, &["SET", "agent:t-1:2", "v"]);
    send(&mut connection, &["SET", "other:t-1:2", "v"]);
    let finding = one(&findings(&url, &timed(TEMPLATE)).await, "1 of 2 keys").clone();
    assert_eq!((finding.fatal, finding.field.as_str()), (false, "event_time"));
    let all = findings(&url, &named(TEMPLATE)).await;
    assert!(
        !all.iter().any(|finding| finding.message.contains("of 2 keys")),
        "names are in the key: {all:?}"
    );
    let phone = SubjectSource { columns: vec!["phone".into()], format: SubjectFormat::AsIs };
    let by_field = Placement { subjects: [("phone".to_owned(), phone)].into(), ..named(TEMPLATE) };
    assert_eq!(one(&findings(&url, &by_field).await, "1 of 2 keys").field, "subjects");
}
