//! Names of keys that are like patterns, like neighbours, or like nothing a person would type.

use retentiond::plan::{TenantScope, Times};
use retentiond::policy::{Method, TenantSource};
use retentiond::stores::{Batch, Budget, Key, Reader as _, Store as _, Survival, Value};

use super::{WIDE, all_of, found, listed, marked, named, names, query, reader, set, tenant};
use crate::servers::redis::{connect, database, send};

const TEMPLATE: &str = "agent:{tenant}:{id}";

/// Names that mean something to a pattern, with names that such a pattern would take along.
const ODD: [&str; 24] = [
    "*", "acme*", "acme", "acmex", "ac?e", "acxe", "acm[e]", "acm[^e]", "acm[a-z]", "acm\\e", "acm\\*",
    "{a,b}", "a", "b", "{a}", "{a}b", "t-1", "t-10", "T-1", "t-1x", "null", "0", "-1", " t-1",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_like_a_pattern_is_that_tenant_and_no_other() {
    let url = database();
    let mut connection = connect(&url);
    for name in ODD {
        for key in ["1", "2", "*", "{x}"] {
            set(&mut connection, format!("agent:{name}:{key}").as_bytes());
        }
    }
    let store = marked(&url).await;
    let mut left = names(&url);
    for name in ODD {
        let query = all_of(TEMPLATE, name);
        let survey = store.survey(&query).await.unwrap();
        assert_eq!(survey.total().records, 4, "{name}");
        assert_eq!(survey.tenants.keys().collect::<Vec<_>>(), [&tenant(name)], "{name}");
        let batch = Batch::List(found(&store, &query, 3).await);
        assert_eq!(batch.records(), 4, "{name}");
        let erased = store.erase(&query, &batch, Method::Delete).await.unwrap();
        assert_eq!(erased.counts[&tenant(name)].erased, 4, "{name}");
        left.retain(|key| !key.starts_with(format!("agent:{name}:").as_bytes()));
        assert_eq!(names(&url), left, "{name}: only its own keys went");
        assert_eq!(store.absent(&query, &batch).await.unwrap().indexes, Vec::<usize>::new(), "{name}");
    }
    assert_eq!(left, Vec::<Vec<u8>>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_any_bytes_is_exact_and_one_whose_tenant_is_no_text_is_counted_and_left() {
    let url = database();
    let mut connection = connect(&url);
    let own: [&[u8]; 6] = [
        b"agent:t-1:\0",
        b"agent:t-1:a\0b",
        b"agent:t-1:line\nline\r\n",
        b"agent:t-1:\xff\xfe",
        b"agent:t-1:\xed\xa0\x80",
        b"agent:t-1:",
    ];
    let others: [&[u8]; 8] = [
        b"agent:t-1",
        b"agent:t-1:a:b",
        b"agent:t-1\0:a",
        b"agent:t-1\n:a",
        b"agent:\xff:a",
        b"agent::a",
        b"agent:\t:a",
        b"agent:t-1\xff:a",
    ];
    own.iter().chain(&others).for_each(|key| set(&mut connection, key));
    let store = marked(&url).await;
    let query_own = all_of(TEMPLATE, "t-1");
    let batch = Batch::List(found(&store, &query_own, 1).await);
    let Batch::List(listed) = &batch else { panic!() };
    assert_eq!(listed.len(), own.len());
    assert!(listed.iter().any(|one| one.key == Key(vec![Value::Bytes(b"agent:t-1:\xff\xfe".to_vec())])));
    assert_eq!(
        store.erase(&query_own, &batch, Method::Delete).await.unwrap().counts[&tenant("t-1")].erased,
        6
    );
    let mut left: Vec<Vec<u8>> = others.iter().map(|key| key.to_vec()).collect();
    left.sort();
    assert_eq!(names(&url), left);

    let nameless = query(named(TEMPLATE), TenantScope::Nameless, Times::Any);
    assert_eq!(store.survey(&nameless).await.unwrap().nameless, 4);
    let everybody = query(named(TEMPLATE), TenantScope::AllExcept(vec![]), Times::Any);
    let found: Vec<_> = found(&store, &everybody, 100).await.into_iter().map(|one| one.tenant).collect();
    assert_eq!(found.len(), 2, "what names nobody is not found: {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_marker_is_never_found_counted_or_erased() {
    let url = database();
    let mut connection = connect(&url);
    set(&mut connection, b"retentiond:t-1");
    let store = marked(&url).await;
    for template in ["retentiond:{tenant}", "{tenant}:marker", "ret{tenant}:marker"] {
        let everybody = query(named(template), TenantScope::AllExcept(vec![]), Times::Any);
        let records = store.survey(&everybody).await.unwrap().total().records;
        assert_eq!(records, u64::from(template.starts_with("retentiond:")), "{template}");
        assert_eq!(store.population(&named(template), 100).await.unwrap(), records, "{template}");
        assert_eq!(found(&store, &everybody, 100).await.len() as u64, records, "{template}");
        for name in ["marker", "retentiond"] {
            let batch = Batch::List(vec![listed(name, "retentiond:marker")]);
            let erased = store.erase(&everybody, &batch, Method::Delete).await.unwrap();
            assert_eq!(erased.counts[&tenant(name)].failed, 1, "{template}");
        }
    }
    assert_eq!(store.identity().await.unwrap().ledger_id.as_deref(), Some("ledger-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_key_that_does_not_prove_its_tenant_fails_and_stays() {
    let url = database();
    let mut connection = connect(&url);
    for key in ["agent:t-10:1", "agent:t-1:1:2", "other"] {
        set(&mut connection, key.as_bytes());
    }
    let store = marked(&url).await;
    let before = names(&url);
    let batch =
        Batch::List(before.iter().map(|key| listed("t-1", std::str::from_utf8(key).unwrap())).collect());
    for method in [Method::Delete, Method::OverwriteThenDelete] {
        let erased = store.erase(&all_of(TEMPLATE, "t-1"), &batch, method).await.unwrap();
        assert_eq!((erased.counts[&tenant("t-1")].failed, erased.survivors.len()), (3, 3));
        assert!(erased.survivors.iter().all(|survivor| matches!(survivor.why, Survival::Failed(_))));
        assert_eq!(names(&url), before);
    }
    let still = store.absent(&all_of(TEMPLATE, "t-1"), &batch).await.unwrap();
    assert_eq!((still.indexes, still.tenants[&tenant("t-1")]), (vec![0, 1, 2], 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constant_tenant_owns_every_key_that_fits() {
    let url = database();
    let mut connection = connect(&url);
    for key in ["status:1", "status:2", "status:1:2", "statusx:1"] {
        set(&mut connection, key.as_bytes());
    }
    let store = marked(&url).await;
    let placement = retentiond::policy::Placement {
        tenant: TenantSource::Constant(tenant("acme")),
        ..named("status:{id}")
    };
    let mine = query(placement.clone(), TenantScope::One(tenant("acme")), Times::Any);
    let stranger = query(placement, TenantScope::One(tenant("acm")), Times::Any);
    assert_eq!(store.survey(&stranger).await.unwrap().total().records, 0);
    let batch = Batch::List(found(&store, &mine, 10).await);
    assert_eq!(store.erase(&mine, &batch, Method::Delete).await.unwrap().counts[&tenant("acme")].erased, 2);
    assert_eq!(names(&url), [b"status:1:2".to_vec(), b"statusx:1".to_vec()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_keys_are_counted_and_erased_while_the_table_shrinks() {
    let url = database();
    let mut connection = connect(&url);
    for chunk in 0..100 {
        let mut command = redis::cmd("MSET");
        for number in 0..1000 {
            let name = if number % 2 == 0 { "t-1" } else { "t-10" };
            command.arg(format!("agent:{name}:{chunk}-{number}")).arg("v");
        }
        command.exec(&mut connection).unwrap();
    }
    let (store, reader) = (marked(&url).await, reader(&url).await);
    let query = all_of(TEMPLATE, "t-1");
    assert_eq!(reader.survey(&query).await.unwrap().total().records, 50_000);
    assert_eq!(reader.population(&named(TEMPLATE), 70_000).await.unwrap(), 70_000);
    let (mut erased, mut position) = (0, None);
    while let Some(next) = store.find(&query, position.as_ref(), WIDE, &[]).await.unwrap() {
        let counts = store.erase(&query, &next.batch, Method::Delete).await.unwrap().counts[&tenant("t-1")];
        assert_eq!(counts.erased + counts.already_absent, next.batch.records());
        assert_eq!(store.absent(&query, &next.batch).await.unwrap().indexes, Vec::<usize>::new());
        erased += counts.erased;
        position = Some(next.position);
    }
    assert_eq!(erased, 50_000);
    assert_eq!(reader.survey(&query).await.unwrap().total().records, 0);
    let size = send(&mut connection, &["DBSIZE"]);
    assert_eq!(size, redis::Value::Int(50_001), "the neighbour's keys and the marker stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_ends_within_a_step_passes_over_no_key() {
    // After a part of a step was erased, the same step reaches further: what is new in it must not be skipped.
    for budget in [1, 7, 300, 700, 999] {
        let url = database();
        let mut connection = connect(&url);
        for chunk in 0..4 {
            let mut command = redis::cmd("MSET");
            for number in 0..1000 {
                let name = if number % 3 == 0 { "t-10" } else { "t-1" };
                command.arg(format!("agent:{name}:{chunk}-{number}")).arg("v");
            }
            command.exec(&mut connection).unwrap();
        }
        let store = marked(&url).await;
        let query = all_of(TEMPLATE, "t-1");
        let (mut erased, mut position) = (0, None);
        let budget = Budget { records_max: budget, window_keys: 1 };
        while let Some(next) = store.find(&query, position.as_ref(), budget, &[]).await.unwrap() {
            erased +=
                store.erase(&query, &next.batch, Method::Delete).await.unwrap().counts[&tenant("t-1")].erased;
            position = Some(next.position);
        }
        assert_eq!(erased, 2_664, "{budget:?}: one pass takes all that was there from its beginning");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_can_be_read_in_two_ways_is_nobodys_and_stays() {
    for (template, sure, unsure) in [
        ("agent-{tenant}-{id}", "agent-t1-7", ["agent-t1-2-7", "agent-t1--7"]),
        ("agent{tenant}id{id}", "agentacid7", ["agentacidid7", "agentidid7"]),
    ] {
        let url = database();
        let mut connection = connect(&url);
        for key in [sure].iter().chain(&unsure) {
            set(&mut connection, key.as_bytes());
        }
        let store = marked(&url).await;
        let nameless = query(named(template), TenantScope::Nameless, Times::Any);
        assert_eq!(store.survey(&nameless).await.unwrap().nameless, 2, "{template}: parked, not passed over");
        let everybody = query(named(template), TenantScope::AllExcept(vec![]), Times::Any);
        let own = found(&store, &everybody, 9).await;
        assert_eq!(own.len(), 1, "{template}: {own:?}");
        let erased = store.erase(&everybody, &Batch::List(own), Method::Delete).await.unwrap();
        assert_eq!(erased.counts.values().map(|counts| counts.erased).sum::<u64>(), 1, "{template}");
        let mut left: Vec<Vec<u8>> = unsure.iter().map(|key| key.as_bytes().to_vec()).collect();
        left.sort();
        assert_eq!(names(&url), left, "{template}");
    }
}
