//! Tables as they are: keys of every kind, neighbours under a folding collation, no key at all, foreign keys, triggers,
//! and users who may do too little or too much.

use retentiond::stores::{Batch, ErrorKind, Finding, Key, SeenTime, Value};

use super::*;

const SMALL: Budget = Budget { records_max: 2, window_keys: 3 };
const UNTIL: &str = "2025-06-01T00:00:00Z";

#[tokio::test]
async fn tenants_that_a_collation_takes_for_equal_are_told_apart() {
    let database = with(CALLS).await;
    let store = store(&database).await;
    let everybody = store.survey(&query(calls(), everyone(), before(UNTIL))).await.unwrap();
    let expected = map([("t-1", 2), ("t-10", 1), ("T-1", 1), ("t-1x", 1), ("t-1 ", 1), ("t-\u{ed}", 1)]);
    assert_eq!(counted(&everybody), expected);
    let nobody = store.survey(&query(calls(), TenantScope::Nameless, before(UNTIL))).await.unwrap();
    assert_eq!((nobody.nameless, nobody.tenants.len()), (2, 0));
    let one = query(calls(), of("t-1"), before(UNTIL));
    assert_eq!(erase_all(&store, &one, SMALL, Method::Delete).await, map([("t-1", 2)]));
    assert_eq!(ids(&database).await, ["2", "3", "4", "5", "6", "7", "8", "9", "10", "12"]);
    for stranger in ["t_1", "%", "1", "t-1\0", "x' OR '1'='1", "t-1\\"] {
        let survey = store.survey(&query(calls(), of(stranger), Times::Any)).await.unwrap();
        assert_eq!(counted(&survey), BTreeMap::new(), "{stranger}");
    }
    let others = query(calls(), TenantScope::AllExcept(vec![tenant("T-1")]), before(UNTIL));
    assert_eq!(erase_all(&store, &others, SMALL, Method::OverwriteThenDelete).await.len(), 4);
    assert_eq!(ids(&database).await, ["3", "7", "8", "9", "10", "12"]);
}

#[tokio::test]
async fn a_number_as_tenant_is_no_text_that_begins_like_it() {
    let database = with(
        "CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id INT, started_at DATETIME, caller TEXT);
         INSERT INTO call_record VALUES (1, 1, '2025-01-01', ''), (2, 10, '2025-01-01', ''), (3, 0, '2025-01-01', '');",
    )
    .await;
    let store = store(&database).await;
    for other in ["1abc", "01", "1.0", "abc", "1 "] {
        let survey = store.survey(&query(calls(), of(other), Times::Any)).await.unwrap();
        assert_eq!(counted(&survey), BTreeMap::new(), "{other}");
    }
    let one = query(calls(), of("1"), before(UNTIL));
    assert_eq!(erase_all(&store, &one, WIDE, Method::Delete).await, map([("1", 1)]));
    assert_eq!(ids(&database).await, ["2", "3"]);
}

/// Every kind of key finds, erases and reads back exactly its rows, in batches of two.
#[tokio::test]
async fn keys_of_every_kind_name_their_rows() {
    let kinds = [
        (
            "id BIGINT UNSIGNED",
            vec!["0", "1", "9223372036854775807", "9223372036854775808", "18446744073709551615"],
        ),
        ("id BIGINT", vec!["-9223372036854775808", "-1", "0", "5", "9223372036854775807"]),
        ("id VARCHAR(20) COLLATE utf8mb4_unicode_ci", vec!["'b'", "'C'", "'a'", "'\u{e9}'", "'f'"]),
        (
            "id CHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci",
            vec!["'b'", "'C'", "'a'", "'\u{e9}'", "'f'"],
        ),
        ("id VARCHAR(20) COLLATE utf8mb4_bin", vec!["'b'", "'B'", "'a'", "'\u{e9}'", "'e'"]),
        ("id BINARY(16)", vec!["x'00'", "x'01'", "UNHEX(REPEAT('ff', 16))", "x'4100'", "x'80'"]),
        ("id UUID", vec!["UUID()", "UUID()", "UUID()", "UUID()", "UUID()"]),
        ("id DECIMAL(20,3)", vec!["1", "-1.5", "100.125", "1.001", "0"]),
        (
            "id DATETIME(6)",
            vec![
                "'2025-01-01'",
                "'2024-02-29 00:00:00.000001'",
                "'2024-02-29'",
                "'2023-01-01'",
                "'1000-01-01'",
            ],
        ),
        ("id DATE", vec!["'2025-01-01'", "'2024-02-29'", "'2023-01-01'", "'1000-01-01'", "'2030-01-01'"]),
    ];
    for (column, keys) in kinds {
        for method in [Method::Delete, Method::OverwriteThenDelete] {
            let mut rows: Vec<String> =
                keys.iter().map(|key| format!("({key}, 't-1', '2025-01-01', 'value')")).collect();
            rows[4] = rows[4].replace("t-1", "T-1");
            let database = with(&format!(
                "CREATE TABLE call_record ({column} NOT NULL PRIMARY KEY, tenant_id VARCHAR(40), started_at DATETIME, caller TEXT);
                 INSERT INTO call_record VALUES {}",
                rows.join(", ")
            ))
            .await;
            let store = store(&database).await;
            let due = query(calls(), of("t-1"), before(UNTIL));
            for naming in [vec![], vec!["caller".to_owned()]] {
                let (mut seen, mut after) = (0, None);
                while let Some(found) = store.find(&due, after.as_ref(), SMALL, &naming).await.unwrap() {
                    seen += found.batch.records();
                    let still = store.absent(&due, &found.batch).await.unwrap();
                    assert_eq!(still.tenants.values().sum::<u64>(), found.batch.records(), "{column}");
                    after = Some(found.position);
                }
                assert_eq!(seen, 4, "{column}: nothing is skipped");
            }
            assert_eq!(erase_all(&store, &due, SMALL, method).await, map([("t-1", 4)]), "{column}");
            let left = texts(&database, "SELECT CONCAT(tenant_id, caller) FROM call_record").await;
            assert_eq!(left, ["T-1value"], "{column}");
        }
    }
}

#[tokio::test]
async fn composite_keys_with_odd_names_are_paged_without_a_gap() {
    let mut values = Vec::new();
    for number in 0..40 {
        values.push(format!("({}, 'x{}', 't-1', '2025-01-01', {number})", number / 7, number % 7));
    }
    let database = with(&format!(
        "CREATE TABLE `order` (`end` INT UNSIGNED, `st``art` VARCHAR(20) COLLATE utf8mb4_unicode_ci, tenant_id VARCHAR(40),
           `key` DATETIME, `select` INT, PRIMARY KEY (`end`, `st``art`)) PARTITION BY HASH (`end`) PARTITIONS 3;
         INSERT INTO `order` VALUES {}",
        values.join(", ")
    ))
    .await;
    let store = store(&database).await;
    let placement = placement("order", &["end", "st`art"], local_time("key", SINGAPORE));
    let findings = store.inspect(&placement).await.unwrap();
    assert!(!findings.iter().any(|finding| finding.fatal), "{findings:?}");
    assert!(says(&findings, "is partitioned"), "{findings:?}");
    let due = query(placement, of("t-1"), before(UNTIL));
    let seen = store.look(&due, &["3".into(), "x1".into()]).await.unwrap().unwrap();
    assert_eq!(
        (seen.tenant, seen.event_time),
        (Some(tenant("t-1")), SeenTime::Usable(at("2024-12-31T16:00:00Z")))
    );
    assert_eq!(store.look(&due, &["3".into(), "X1".into()]).await.unwrap(), None, "compared in binary");
    assert_eq!(erase_all(&store, &due, SMALL, Method::Delete).await, map([("t-1", 40)]));
}

#[tokio::test]
async fn a_key_that_only_folds_to_the_listed_one_is_another_record() {
    let database = with(
        "CREATE TABLE call_record (id VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, tenant_id VARCHAR(40), started_at DATETIME, caller TEXT);
         INSERT INTO call_record VALUES ('a', 't-1', '2025-01-01', '');",
    )
    .await;
    let store = store(&database).await;
    let due = query(calls(), of("t-1"), before(UNTIL));
    let found = store.find(&due, None, WIDE, &[]).await.unwrap().unwrap();
    database
        .run("DELETE FROM call_record; INSERT INTO call_record VALUES ('A', 't-1', '2025-01-01', '')")
        .await;
    let erased = store.erase(&due, &found.batch, Method::Delete).await.unwrap();
    assert_eq!((erased.counts[&tenant("t-1")].erased, erased.counts[&tenant("t-1")].already_absent), (0, 1));
    assert_eq!(ids(&database).await, ["A"]);
    let Batch::List(listed) = found.batch else { panic!("text keys are listed") };
    assert_eq!(listed[0].key, Key(vec![Value::Text("a".into())]));
}

const CDR: &str = "
    CREATE TABLE cdr (`start` DATETIME NULL, `end` DATETIME NULL, src VARCHAR(20), dst VARCHAR(20), accountcode VARCHAR(20),
        note TEXT, price DECIMAL(8,3), made TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY by_start (`start`));
    INSERT INTO cdr (`start`, `end`, src, dst, accountcode, note, price) VALUES
      ('2025-01-01 10:00:00', '2025-01-01 10:01:00', '+6591', '+6592', 't-1', 'a', 1.5),
      ('2025-01-01 10:00:00', '2025-01-01 10:01:00', '+6591', '+6592', 't-1', 'a', 1.5),
      ('2025-01-01 10:00:00', '2025-01-01 10:01:00', '+6591', '+6592', 't-1', 'a', 1.5),
      ('2025-01-01 10:00:00', '2025-01-01 10:01:00', '+6591', '+6592', 'T-1', 'a', 1.5),
      ('2025-01-02 10:00:00', NULL, '+6591', '+6592', 't-1', NULL, NULL),
      ('2025-01-02 10:00:00', NULL, '+6591', '+6593', 't-1', 'b', 0),
      ('2026-01-02 10:00:00', NULL, '+6591', '+6592', 't-1', 'c', 2),
      (NULL, NULL, '+6591', '+6592', 't-1', 'd', 3);";

fn cdr() -> Placement {
    let mut placement = placement("cdr", &[], local_time("start", SINGAPORE));
    placement.tenant = TenantSource::Column("accountcode".into());
    placement
}

#[tokio::test]
async fn a_table_without_a_key_is_erased_by_what_is_in_its_rows() {
    for method in [Method::Delete, Method::OverwriteThenDelete] {
        for records_max in [1, 2, 1_000] {
            let database = with(CDR).await;
            let store = store(&database).await;
            assert!(says(&store.inspect(&cdr()).await.unwrap(), "no primary key"));
            let due = query(cdr(), of("t-1"), before(UNTIL));
            let budget = Budget { records_max, window_keys: 1 };
            assert_eq!(erase_all(&store, &due, budget, method).await, map([("t-1", 5)]), "{records_max}");
            let left = texts(&database, "SELECT CONCAT(accountcode, note) FROM cdr ORDER BY 1").await;
            assert_eq!(left, ["T-1a", "t-1c", "t-1d"], "{method:?}");
            let all = query(cdr(), of("t-1"), Times::Any);
            assert_eq!(erase_all(&store, &all, budget, method).await, map([("t-1", 2)]));
        }
    }
}

#[tokio::test]
async fn of_rows_that_agree_in_everything_no_more_go_than_were_found() {
    let database = with(CDR).await;
    let store = store(&database).await;
    let due = query(cdr(), of("t-1"), before(UNTIL));
    let found =
        store.find(&due, None, Budget { records_max: 2, window_keys: 1 }, &[]).await.unwrap().unwrap();
    // One more of the same kind comes in, and one of those found goes.
    let erased = store.erase(&due, &found.batch, Method::OverwriteThenDelete).await.unwrap();
    assert_eq!(erased.counts[&tenant("t-1")].erased, 2);
    let left = texts(
        &database,
        "SELECT note FROM cdr WHERE `start` = '2025-01-01 10:00:00' AND BINARY accountcode = 't-1'",
    )
    .await;
    assert_eq!(left, ["a"], "the third of its kind is whole");
}

#[tokio::test]
async fn an_overwritten_row_was_zeros_before_it_went() {
    let database = with(
        "CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(40), started_at DATETIME, caller VARCHAR(40) CHARACTER SET latin1,
           audio BLOB, meta JSON, kind ENUM('in','out'), tags SET('a','b'), seconds FLOAT, price DECIMAL(10,4), is_on BIT(3), seen DATETIME(3),
           on_day DATE, at_time TIME, code UUID, words TEXT GENERATED ALWAYS AS (CONCAT(caller, 'x')) STORED, serial VARCHAR(20) UNIQUE);
         INSERT INTO call_record (id, tenant_id, started_at, caller, audio, meta, kind, tags, seconds, price, is_on, seen, on_day, at_time, code, serial)
         VALUES (1, 't-1', '2025-01-01', '\u{e9}+6591', x'0102ff', '{\"a\": 1}', 'out', 'a,b', 1.5, 12.3456, b'101', '2025-01-01 00:00:00.123',
           '2025-01-01', '12:00:00', UUID(), 'S1'), (2, 't-1', '2025-01-01', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'S2');
         CREATE TABLE seen (what LONGTEXT);",
    )
    .await;
    let store = store(&database).await;
    let due = query(calls(), of("t-1"), before(UNTIL));
    assert_eq!(erase_all(&store, &due, WIDE, Method::OverwriteThenDelete).await, map([("t-1", 2)]));
    assert_eq!(ids(&database).await, Vec::<String>::new());
    // A value that does not become zeros is found out, and the row stays as it was.
    database
        .run(
            "CREATE TABLE other (id BIGINT PRIMARY KEY, tenant_id VARCHAR(40), started_at DATETIME, caller VARCHAR(40) CHECK (caller LIKE '+%'));
             INSERT INTO other VALUES (1, 't-1', '2025-01-01', '+6591');",
        )
        .await;
    let other =
        query(placement("other", &["id"], local_time("started_at", SINGAPORE)), of("t-1"), before(UNTIL));
    let found = store.find(&other, None, WIDE, &[]).await.unwrap().unwrap();
    let error = store.erase(&other, &found.batch, Method::OverwriteThenDelete).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert!(error.message.contains("check constraint"), "{error}");
    assert_eq!(texts(&database, "SELECT caller FROM other").await, ["+6591"]);
}

fn says(findings: &[Finding], text: &str) -> bool {
    findings.iter().any(|finding| finding.message.contains(text))
}

fn fatal(findings: &[Finding], text: &str) -> bool {
    findings.iter().any(|finding| finding.fatal && finding.message.contains(text))
}

#[tokio::test]
async fn cascades_and_triggers_are_refused_and_children_are_named() {
    let database = with(CALLS).await;
    let store = store(&database).await;
    let due = query(calls(), of("t-1"), before(UNTIL));
    let found = store.find(&due, None, WIDE, &[]).await.unwrap().unwrap();
    for (schema, message) in [
        (
            "CREATE TABLE part (call_id BIGINT, FOREIGN KEY (call_id) REFERENCES call_record (id) ON DELETE CASCADE)",
            "on delete: cascade",
        ),
        (
            "CREATE TABLE part (call_id BIGINT, FOREIGN KEY (call_id) REFERENCES call_record (id) ON DELETE SET NULL)",
            "on delete: set null",
        ),
        (
            "CREATE TABLE part (call_id BIGINT); CREATE TRIGGER gone AFTER DELETE ON call_record FOR EACH ROW DELETE FROM part",
            "trigger `gone`",
        ),
    ] {
        database.run(schema).await;
        // A look is believed for a minute, so each of these is a store of its own.
        let fresh = super::store(&database).await;
        assert!(fatal(&fresh.inspect(&calls()).await.unwrap(), message), "{schema}");
        let error = fresh.erase(&due, &found.batch, Method::Delete).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused, "{error}");
        assert!(error.message.contains(message), "{error}");
        database.run("DROP TRIGGER IF EXISTS gone; DROP TABLE part").await;
    }
    database
        .run(
            "CREATE TABLE part (call_id BIGINT, CONSTRAINT of_call FOREIGN KEY (call_id) REFERENCES call_record (id));
             INSERT INTO part VALUES (1);",
        )
        .await;
    let reader = reader(&database).await;
    let children = reader.children(&calls()).await.unwrap();
    assert_eq!((children[0].table.as_str(), children[0].column.as_str()), ("part", "call_id"));
    assert!(fatal(
        &reader.inspect(&calls()).await.unwrap(),
        "rows of `part` refer to `call_record` by column `call_id`"
    ));
    let error = super::store(&database).await.erase(&due, &found.batch, Method::Delete).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert!(error.message.contains("of_call") && error.message.contains("part"), "{error}");
    assert_eq!(ids(&database).await.len(), 12, "nothing was erased");
    // Without the child's row the parent goes.
    database.run("DELETE FROM part").await;
    assert_eq!(erase_all(&store, &due, WIDE, Method::Delete).await, map([("t-1", 2)]));
}

#[tokio::test]
async fn check_tells_of_types_indexes_and_tables_that_cannot_be_enforced_on() {
    let database = with(
        "CREATE TABLE plain (id INT PRIMARY KEY, tenant_id VARCHAR(9), started_at DATETIME);
         CREATE TABLE counted (id INT PRIMARY KEY, tenant_id VARCHAR(9), started_at BIGINT);
         CREATE TABLE floating (id INT PRIMARY KEY, tenant_id VARCHAR(9), started_at DOUBLE);
         CREATE TABLE old (id INT PRIMARY KEY, tenant_id VARCHAR(9), started_at DATETIME) ENGINE = MyISAM;
         CREATE VIEW seen AS SELECT * FROM plain;",
    )
    .await;
    let reader = reader(&database).await;
    let inspect = async |table: &str, time| reader.inspect(&placement(table, &["id"], time)).await.unwrap();
    let wall = || local_time("started_at", SINGAPORE);
    let epoch = || {
        Some(EventTime::Epoch { column: "started_at".into(), unit: retentiond::policy::EpochUnit::Seconds })
    };
    let findings = inspect("plain", wall()).await;
    assert!(
        says(&findings, "no index begins with `started_at`") && !findings.iter().any(|f| f.fatal),
        "{findings:?}"
    );
    assert!(fatal(&inspect("counted", wall()).await, "no row would have a usable time"));
    assert!(fatal(&inspect("plain", epoch()).await, "holds no whole numbers"));
    assert!(fatal(&inspect("floating", epoch()).await, "holds no whole numbers"));
    assert!(fatal(&inspect("old", wall()).await, "no transactions"));
    assert!(fatal(&inspect("seen", wall()).await, "not an ordinary table"));
    assert!(fatal(&inspect("PLAIN", wall()).await, "there is no table"));
    database.run("CREATE INDEX t ON plain (tenant_id, started_at)").await;
    assert!(!says(&inspect("plain", wall()).await, "no index"));
}

#[tokio::test]
async fn a_user_who_may_too_little_is_refused_and_told_so() {
    let database = with(CALLS).await;
    let name = format!("u_{}", database.name);
    database
        .run(&format!("CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT SELECT ON {}.* TO {name}@'127.0.0.1'", database.name))
        .await;
    let url = database.url_of(&format!("{name}:secret"));
    let store = MysqlStore::open(&id(), &url).await.unwrap();
    assert!(fatal(&store.inspect(&calls()).await.unwrap(), "may not DELETE"));
    let due = query(calls(), of("t-1"), before(UNTIL));
    let found = store.find(&due, None, WIDE, &[]).await.unwrap().unwrap();
    let error = store.erase(&due, &found.batch, Method::Delete).await.unwrap_err();
    assert_eq!((error.kind, error.retry), (ErrorKind::Refused, retentiond::stores::Retry::Never), "{error}");
    assert!(error.message.contains("DELETE command denied"), "{error}");
    database
        .run(&format!(
            "GRANT DELETE, UPDATE, TRIGGER ON {0}.call_record TO {name}@'127.0.0.1'",
            database.name
        ))
        .await;
    let store = MysqlStore::open(&id(), &url).await.unwrap();
    let findings = store.inspect(&calls()).await.unwrap();
    assert_eq!(findings, [], "just enough");
    assert_eq!(erase_all(&store, &due, WIDE, Method::OverwriteThenDelete).await, map([("t-1", 2)]));
    // An administrator makes the table of the marker, and lets the user write its one row.
    assert!(store.mark("ledger-1", &id()).await.is_err());
    super::store(&database).await.mark("ledger-1", &id()).await.unwrap();
    assert_eq!(store.identity().await.unwrap().ledger_id.as_deref(), Some("ledger-1"));
    let wrong = database.url_of(&format!("{name}:wrong"));
    let error = MysqlStore::open(&id(), &wrong).await.unwrap_err();
    assert!(!format!("{error:?}").contains("wrong") && error.kind == ErrorKind::Refused, "{error:?}");
}
