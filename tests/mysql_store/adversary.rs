//! What somebody tried in order to make the store erase too much, claim too much or forget to erase; each test is named
//! after what must not happen.

use retentiond::stores::{Batch, ErrorKind};

use super::*;
use crate::servers::mariadb::launch;

const UNTIL: &str = "2025-06-01T00:00:00Z";

/// Several steps share a pass, one tenant each.
fn shared(tenants: &[&str]) -> Query {
    let mut joint = query(calls(), of(tenants[0]), before(UNTIL));
    joint.also = tenants[1..].iter().map(|name| query(calls(), of(name), before(UNTIL)).selection).collect();
    joint
}

const DENSE: &str = "
    CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(40), started_at DATETIME(6) NULL, caller VARCHAR(40));
    INSERT INTO call_record VALUES (1, 'a', '2025-01-01', ''), (2, 'b', '2025-01-01', ''), (3, 'a', '2025-01-01', ''),
      (4, 'b', '2026-01-01', ''), (5, 'b', '2025-01-01', ''), (6, 'c', '2026-01-01', '');";

#[tokio::test]
async fn what_one_step_lost_another_step_of_the_pass_does_not_take() {
    let database = with(DENSE).await;
    let store = store(&database).await;
    for method in [Method::Delete, Method::OverwriteThenDelete] {
        let due = shared(&["a", "b", "c"]);
        let found = store.find(&due, None, WIDE, &[]).await.unwrap().unwrap();
        assert!(matches!(found.batch, Batch::Window { .. }), "{:?}", found.batch);
        // One of the first goes, and one of another becomes due: together as many as were found.
        for (gone, come) in [(1, 4), (1, 6)] {
            database
                .run(&format!(
                    "UPDATE call_record SET started_at = '2026-01-01' WHERE id = {gone};
                     UPDATE call_record SET started_at = '2025-01-01' WHERE id = {come}"
                ))
                .await;
            let error = store.erase(&due, &found.batch, method).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Refused, "{error}");
            assert_eq!(ids(&database).await, ["1", "2", "3", "4", "5", "6"]);
            database
                .run(&format!(
                    "UPDATE call_record SET started_at = '2025-01-01' WHERE id = {gone};
                     UPDATE call_record SET started_at = '2026-01-01' WHERE id = {come}"
                ))
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cuts_answers_short_hides_no_record() {
    let server = launch(&[]);
    let database = Database::on(&server).await;
    let rows: Vec<String> = (0..20).map(|n| format!("('k{n}', 't-{n}', '2025-01-01', '')")).collect();
    database
        .run(&format!(
            "CREATE TABLE call_record (id VARCHAR(20) PRIMARY KEY, tenant_id VARCHAR(40), started_at DATETIME, caller TEXT);
             INSERT INTO call_record VALUES {}; SET GLOBAL sql_select_limit = 3",
            rows.join(", ")
        ))
        .await;
    let store = store(&database).await;
    let due = query(calls(), everyone(), before(UNTIL));
    assert_eq!(store.survey(&due).await.unwrap().tenants.len(), 20);
    let found = store.find(&due, None, WIDE, &[]).await.unwrap().unwrap();
    assert_eq!(found.batch.records(), 20);
    assert_eq!(store.absent(&due, &found.batch).await.unwrap().indexes.len(), 20);
    let erased = store.erase(&due, &found.batch, Method::Delete).await.unwrap();
    assert_eq!(erased.counts.values().map(|counts| counts.erased).sum::<u64>(), 20);
}

#[tokio::test]
async fn numbers_that_are_shown_with_zeros_in_front_are_the_same_numbers() {
    let database = with(
        "CREATE TABLE call_record (id INT(8) ZEROFILL PRIMARY KEY, tenant_id INT(6) ZEROFILL, started_at DATETIME, caller TEXT);
         INSERT INTO call_record VALUES (1, 1, '2025-01-01', ''), (2, 2, '2025-01-01', ''), (900, 2, '2025-01-01', '');",
    )
    .await;
    let store = store(&database).await;
    let others = query(calls(), TenantScope::AllExcept(vec![tenant("1")]), before(UNTIL));
    assert_eq!(counted(&store.survey(&others).await.unwrap()), map([("2", 2)]));
    let one = query(calls(), of("2"), before(UNTIL));
    assert_eq!(erase_all(&store, &one, WIDE, Method::OverwriteThenDelete).await, map([("2", 2)]));
    assert_eq!(ids(&database).await, ["00000001"]);
}

#[tokio::test]
async fn a_name_that_cannot_be_read_is_nobodys_and_stops_nobody_elses_erasure() {
    for (column, bad) in [
        ("VARCHAR(40)", "'t\u{fffd}'"),
        ("VARBINARY(40)", "x'74ff'"),
        ("VARBINARY(40)", "x'74efbfbd'"),
        ("TEXT", "'\u{3000}\u{2003}'"),
        ("VARCHAR(40)", "'\u{85}\u{a0}'"),
    ] {
        let database = with(&format!(
            "CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id {column}, started_at DATETIME, caller TEXT);
             INSERT INTO call_record VALUES (1, 't-1', '2025-01-01', ''), (2, {bad}, '2025-01-01', ''), (3, 't-2', '2025-01-01', '');"
        ))
        .await;
        let store = store(&database).await;
        let all = query(calls(), TenantScope::AllExcept(vec![tenant("t-2")]), before(UNTIL));
        assert_eq!(counted(&store.survey(&all).await.unwrap()), map([("t-1", 1)]), "{column} {bad}");
        let nobody = query(calls(), TenantScope::Nameless, before(UNTIL));
        assert_eq!(store.survey(&nobody).await.unwrap().nameless, 1, "{column} {bad}");
        assert_eq!(erase_all(&store, &all, WIDE, Method::Delete).await, map([("t-1", 1)]));
        assert_eq!(ids(&database).await, ["2", "3"]);
    }
}

#[tokio::test]
async fn any_number_of_tenants_may_be_excepted() {
    let database = with(CALLS).await;
    let store = store(&database).await;
    let mut excepted: Vec<TenantId> = (0..20_000).map(|n| tenant(&format!("other-{n}"))).collect();
    excepted.push(tenant("T-1"));
    let others = query(calls(), TenantScope::AllExcept(excepted), before(UNTIL));
    assert_eq!(counted(&store.survey(&others).await.unwrap()).len(), 5);
    assert_eq!(erase_all(&store, &others, WIDE, Method::Delete).await.len(), 5);
    assert_eq!(ids(&database).await, ["3", "7", "8", "9", "10", "12"]);
}

#[tokio::test]
async fn the_largest_number_is_not_minus_one() {
    let database = with(
        "CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id BIGINT, started_at DATETIME, caller TEXT);
         INSERT INTO call_record VALUES (1, -1, '2025-01-01', ''), (2, 5, '2025-01-01', ''), (3, -9223372036854775808, '2025-01-01', '');",
    )
    .await;
    let store = store(&database).await;
    for other in ["18446744073709551615", "9223372036854775808", "-0", "00"] {
        let survey = store.survey(&query(calls(), of(other), Times::Any)).await.unwrap();
        assert_eq!(counted(&survey), BTreeMap::new(), "{other}");
    }
    let due = query(calls(), of("-1"), before(UNTIL));
    assert_eq!(erase_all(&store, &due, WIDE, Method::Delete).await, map([("-1", 1)]));
    assert_eq!(ids(&database).await, ["2", "3"]);
}

/// Characters without a place in Unicode, and two that share one.
#[tokio::test]
async fn a_key_that_does_not_survive_conversion_is_neither_missed_nor_taken_for_gone() {
    for (charset, keys) in [
        ("cp1251", ["x'98'", "x'6198'", "'a'", "'\u{44f}'"]),
        ("cp932", ["x'81CA'", "x'EEF9'", "'a'", "'\u{65e5}'"]),
        ("gbk", ["x'A2AB'", "x'61A2AB'", "'a'", "'\u{4e2d}'"]),
        ("utf16", ["'b'", "'\u{1f600}'", "'a'", "'\u{4e2d}'"]),
    ] {
        for method in [Method::Delete, Method::OverwriteThenDelete] {
            let rows: Vec<String> = keys
                .iter()
                .map(|key| {
                    let key =
                        if key.starts_with('x') { format!("_{charset} {key}") } else { (*key).to_owned() };
                    format!("({key}, 't-1', '2025-01-01', 'rec/t-1/a')")
                })
                .collect();
            let database = with(&format!(
                "CREATE TABLE call_record (id VARCHAR(20) CHARACTER SET {charset} COLLATE {charset}_bin PRIMARY KEY,
                   tenant_id VARCHAR(40), started_at DATETIME, caller VARCHAR(40) CHARACTER SET {charset});
                 INSERT INTO call_record VALUES {}",
                rows.join(", ")
            ))
            .await;
            let store = store(&database).await;
            let due = query(calls(), of("t-1"), before(UNTIL));
            let named = store.naming_rows(&calls(), "caller", &["rec/t-1/a".to_owned()], &[]).await.unwrap();
            assert_eq!(named["rec/t-1/a"].values().sum::<u64>(), 4, "{charset}");
            let small = Budget { records_max: 3, window_keys: 1 };
            assert_eq!(erase_all(&store, &due, small, method).await, map([("t-1", 4)]), "{charset}");
            assert_eq!(
                texts(&database, "SELECT CAST(COUNT(*) AS CHAR) FROM call_record").await,
                ["0"],
                "{charset}"
            );
        }
    }
}
