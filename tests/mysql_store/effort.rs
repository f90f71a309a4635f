//! What is asked costs what is due, and not what is kept: counted in the rows that the server itself says it read.

use retentiond::stores::Batch;

use super::*;
use crate::servers::mariadb::launch;

const ROWS: u64 = 60_000;

/// Rows read since the server was started.
async fn rows_read(database: &Database) -> u64 {
    // The question itself reads some hundred rows, of a temporary table.
    let sql = "SELECT CAST(CAST(SUM(VARIABLE_VALUE) AS UNSIGNED) AS CHAR) FROM information_schema.GLOBAL_STATUS \
               WHERE VARIABLE_NAME LIKE 'HANDLER_READ%'";
    texts(database, sql).await[0].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_kept_are_not_read() {
    let server = launch(&["--innodb-stats-persistent=ON"]);
    for index in ["(tenant_id, started_at)", "(started_at)"] {
        let database = Database::on(&server).await;
        // Twenty tenants, one row in six hundred due.
        database
            .run(&format!(
                "CREATE TABLE call_record (id BIGINT UNSIGNED PRIMARY KEY, tenant_id VARCHAR(40), started_at DATETIME, caller VARCHAR(40));
                 INSERT INTO call_record SELECT seq, CONCAT('t-', seq % 20), '2025-12-01' + INTERVAL seq SECOND, CONCAT('+65', seq)
                   FROM seq_1_to_{ROWS};
                 UPDATE call_record SET started_at = '2025-01-01' + INTERVAL id SECOND WHERE id % 600 = 7;
                 CREATE INDEX by_time ON call_record {index}; ANALYZE TABLE call_record;"
            ))
            .await;
        let store = store(&database).await;
        let read = async || rows_read(&database).await;
        let asked = [
            (everyone(), before("2025-06-01T00:00:00Z"), 100),
            (everyone(), before("2024-06-01T00:00:00Z"), 0),
            (of("t-7"), before("2025-06-01T00:00:00Z"), 100),
            (TenantScope::Nameless, before("2025-06-01T00:00:00Z"), 0),
            (everyone(), Times::UnusableBefore(at("2025-06-01T00:00:00Z")), 0),
        ];
        for (tenants, times, due) in asked {
            let query = query(calls(), tenants, times);
            let start = read().await;
            let survey = store.survey(&query).await.unwrap();
            let cost = read().await - start;
            assert_eq!(survey.total().records, due, "{index} {:?}", query.selection);
            assert!(cost < 1_500, "{index} {:?}: {cost} rows read", query.selection);
        }
        let due = query(calls(), of("t-7"), before("2025-06-01T00:00:00Z"));
        let small = Budget { records_max: 1_000, window_keys: 1_000 };
        let start = read().await;
        let found = store.find(&due, None, small, &[]).await.unwrap().unwrap();
        assert!(matches!(found.batch, Batch::List(_)) && found.batch.records() == 100);
        let erased = store.erase(&due, &found.batch, Method::Delete).await.unwrap();
        assert_eq!(erased.counts[&tenant("t-7")].erased, 100);
        assert_eq!(store.absent(&due, &found.batch).await.unwrap().indexes, Vec::<usize>::new());
        assert!(store.find(&due, Some(&found.position), small, &[]).await.unwrap().is_none());
        let cost = read().await - start;
        println!("{index}: {cost} rows read to find, erase and read back 100 of {ROWS}");
        // The first window of a table is looked at before an index is asked.
        assert!(cost < 8_000, "{index}: {cost} rows read");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_due_is_walked_once() {
    let server = launch(&[]);
    let database = Database::on(&server).await;
    database
        .run(&format!(
            "CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(40), started_at DATETIME, caller VARCHAR(40),
               KEY (tenant_id, started_at));
             INSERT INTO call_record SELECT seq, CONCAT('t-', seq % 4), '2025-01-01' + INTERVAL seq SECOND, '' FROM seq_1_to_{ROWS};
             ANALYZE TABLE call_record"
        ))
        .await;
    let store = store(&database).await;
    let due = query(calls(), of("t-1"), before("2025-06-01T00:00:00Z"));
    let start = rows_read(&database).await;
    let budget = Budget { records_max: 5_000, window_keys: 8_000 };
    assert_eq!(erase_all(&store, &due, budget, Method::Delete).await, map([("t-1", ROWS / 4)]));
    let cost = rows_read(&database).await - start;
    println!("{} rows read per erased row", cost / (ROWS / 4));
    // Found, erased and read back: three looks at each of four rows, and a few more.
    assert!(cost <= ROWS / 4 * 14, "{cost} rows read");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_share_a_pass_are_found_erased_and_read_back_together() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(40), started_at DATETIME, caller VARCHAR(40),
               KEY (tenant_id, started_at));
             INSERT INTO call_record SELECT seq, ELT(1 + seq % 4, 't-1', 't-10', 'T-1', 't-1x'), '2025-01-01' + INTERVAL seq SECOND, ''
               FROM seq_1_to_4000",
        )
        .await;
    let store = store(&database).await;
    // Of the one what is old, of the others everything; of the fourth nothing.
    let mut joint = query(calls(), of("t-1"), before("2024-12-31T16:16:40Z"));
    joint.also = ["t-10", "T-1"].map(|name| query(calls(), of(name), Times::Any).selection).to_vec();
    for method in [Method::Delete, Method::OverwriteThenDelete] {
        let budget = Budget { records_max: 700, window_keys: 1_000 };
        let erased = erase_all(&store, &joint, budget, method).await;
        let expected = map([("t-1", 249), ("t-10", 1_000), ("T-1", 1_000)]);
        assert_eq!(erased, if method == Method::Delete { expected } else { map([]) });
    }
    let left = texts(
        &database,
        "SELECT CONCAT(BINARY tenant_id, ' ', COUNT(*)) FROM call_record GROUP BY BINARY tenant_id",
    )
    .await;
    assert_eq!(left, ["t-1 751", "t-1x 1000"]);
}
