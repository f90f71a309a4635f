//! One set of cases, run over every kind of store in the table. A kind without a stanza fails the suite.
//! It owns what all stores must have in common; what only one kind can do is tested beside it.

mod cases;
mod elasticsearch_bench;
mod files;
mod files_bench;
mod fixture;
mod memory_bench;
mod mysql_bench;
mod reading;
mod redis_bench;
mod s3_bench;
mod sqlite_bench;

use retentiond::stores::KINDS;

use self::fixture::{Bench, Shape, Time};

/// The shapes in which a kind is tried.
fn shapes_of(kind: &str) -> Vec<Shape> {
    let tables = vec![
        Shape::table(Time::Text),
        Shape::table(Time::Text).without_key(),
        Shape::table(Time::IsoText).with_index(),
        Shape::table(Time::Seconds).with_index(),
        Shape::table(Time::Milliseconds).without_key(),
        Shape::table(Time::None),
    ];
    let keys = vec![
        Shape::keys(Time::Text),
        Shape::keys(Time::Seconds),
        Shape::keys(Time::Milliseconds),
        Shape::keys(Time::None),
    ];
    let files = vec![Shape::prefix(Time::Key), Shape::prefix(Time::Modified)];
    let indices = vec![
        Shape::index(Time::Text),
        Shape::index(Time::IsoText),
        Shape::index(Time::IsoText).with_index(),
        Shape::index(Time::Seconds),
        Shape::index(Time::Milliseconds).with_index(),
        Shape::index(Time::None),
    ];
    match kind {
        "elasticsearch" => indices,
        "memory" => [tables, files].concat(),
        "sqlite" => tables,
        "files" => files,
        "redis" => keys,
        "s3" => vec![
            Shape::prefix(Time::Key),
            Shape::prefix(Time::Key).with_index(),
            Shape::prefix(Time::Text).without_key().with_index(),
        ],
        "mysql" => {
            let own = [
                Shape::table(Time::Wall).with_index(),
                Shape::table(Time::Timestamp),
                Shape::table(Time::Wall).without_key(),
            ];
            [tables, own.to_vec()].concat()
        }
        other => panic!("the kind `{other}` has no stanza in the conformance suite"),
    }
}

/// The stanza: an empty store of a kind, in a shape.
async fn bench(kind: &str, shape: Shape) -> Box<dyn Bench> {
    match kind {
        "elasticsearch" => Box::new(elasticsearch_bench::ElasticsearchBench::new(shape).await),
        "memory" => Box::new(memory_bench::MemoryBench::new(shape)),
        "sqlite" => Box::new(sqlite_bench::SqliteBench::new(shape).await),
        "s3" => Box::new(s3_bench::S3Bench::new(shape).await),
        "files" => Box::new(files_bench::FilesBench::new(shape)),
        "redis" => Box::new(redis_bench::RedisBench::new(shape).await),
        "mysql" => Box::new(mysql_bench::MysqlBench::new(shape).await),
        other => panic!("the kind `{other}` has no stanza in the conformance suite"),
    }
}

#[test]
fn every_kind_has_a_stanza() {
    for kind in &KINDS {
        let shapes = shapes_of(kind.name);
        assert!(!shapes.is_empty());
        assert_eq!((kind.capability)().kind, kind.name, "the capability names its own kind");
        println!("conformance: kind `{}` in {} shapes", kind.name, shapes.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    keeps_the_contract("memory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_contract() {
    keeps_the_contract("sqlite").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_keep_the_contract() {
    keeps_the_contract("files").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn elasticsearch_keeps_the_contract() {
    let _alone = crate::servers::opensearch::alone_with_the_marker().await;
    keeps_the_contract("elasticsearch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_contract() {
    keeps_the_contract("redis").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract() {
    keeps_the_contract("s3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_keeps_the_contract() {
    keeps_the_contract("mysql").await;
}

async fn keeps_the_contract(kind: &str) {
    assert!(KINDS.iter().any(|known| known.name == kind), "the kind is in the table");
    for shape in shapes_of(kind) {
        let case = cases::Suite { kind, shape };
        case.every_selection_is_counted_found_erased_and_read_back_exactly().await;
        case.small_budgets_cover_the_same_records_in_order().await;
        case.a_record_that_changed_in_between_survives().await;
        case.every_method_reaches_the_level_that_is_claimed().await;
        case.rows_carry_what_they_name().await;
        case.what_is_not_there_is_an_error_and_never_an_empty_answer().await;
        case.a_subject_without_its_value_is_an_error().await;
        case.the_marker_is_left_once_and_read_back().await;
        case.one_record_is_found_by_its_key().await;
        case.population_stops_counting_where_it_may().await;
        case.everything_of_a_tenant_is_read_out_whole().await;
        case.bytes_are_read_only_where_the_place_proves_the_tenant().await;
    }
}
