use super::*;
use crate::alarms::forecast::Throughput;
use crate::alarms::known::{AuditState, Ending, Place};
use crate::gather::Look;
use crate::id::{ExportId, PlanId, RunId};
use crate::ledger::{DeliveryRow, ExportRow, ExportState, Head, RequestPlacement, RunRow, Stop};
use crate::plan::Residual;
use crate::plan::cover::Falling;

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).expect("an instant").to_utc()
}

fn now() -> DateTime<Utc> {
    at("2026-03-10T00:00:00Z")
}

fn hours(hours: i64) -> DateTime<Utc> {
    now() + TimeDelta::hours(hours)
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("a tenant")
}

fn promise(name: &str, reason: Reason, records: u64) -> Promise {
    Promise {
        category: Category::new("call-data"),
        placement: PlacementId::new("call-records"),
        store: StoreId::new("calls"),
        tenant: Some(tenant(name)),
        reason,
        clause: Some("DPSM §5".to_owned()),
        request_id: None,
        records,
        overdue: 0,
        at_risk: 0,
        deadline: Some(hours(100)),
        gone_by: Some(hours(100)),
        until: None,
    }
}

fn seen(promises: Vec<Promise>) -> Sight {
    Sight::Seen(Look {
        promises,
        surveyed: BTreeSet::from([PlacementId::new("call-records")]),
        ..Look::default()
    })
}

fn blind() -> Sight {
    Sight::Blind { code: "unreachable", message: "the host of a password".to_owned() }
}

/// A quiet center: everything asked, nothing due, one run that did everything.
fn known(sight: Sight) -> Known {
    let place = Place {
        category: Category::new("call-data"),
        store: StoreId::new("calls"),
        methods: BTreeSet::new(),
    };
    Known {
        at: now(),
        sight,
        placements: [(PlacementId::new("call-records"), place)].into(),
        requests: Vec::new(),
        endings: Vec::new(),
        runs: vec![run("done", hours(-10))],
        refused: Refused::Otherwise,
        exports: Vec::new(),
        undelivered: Vec::new(),
        audit: AuditState::default(),
        stopped: None,
        speed: None,
        next_run: Some(hours(2)),
        lead: TimeDelta::hours(72),
        before: Vec::new(),
    }
}

fn run(status: &str, started_at: DateTime<Utc>) -> RunRow {
    RunRow {
        run_id: RunId::new("run-1"),
        plan_id: PlanId::new("plan-1"),
        at: started_at,
        status: status.to_owned(),
        started_at,
        ended_at: Some(started_at + TimeDelta::minutes(5)),
    }
}

fn request(state: RequestState, deadline: DateTime<Utc>) -> RequestRow {
    RequestRow {
        request_id: RequestId::new("req-1"),
        tenant: tenant("acme"),
        known: true,
        state,
        received_at: deadline - TimeDelta::days(30),
        recorded_at: deadline - TimeDelta::days(30),
        deadline,
        completed_at: None,
        categories: vec![Category::new("call-data")],
        subjects: Vec::new(),
        everything: true,
        placements: vec![RequestPlacement {
            placement: PlacementId::new("call-records"),
            state,
            erased: 0,
            verified_absent: 0,
            residual: Vec::new(),
        }],
    }
}

fn keys(known: &Known) -> Vec<String> {
    keys_at(known, now())
}

fn keys_at(known: &Known, now: DateTime<Utc>) -> Vec<String> {
    standing(known, &Notes::default(), now).into_iter().map(|alarm| alarm.key).collect()
}

fn standing_before(known: &Known, raised_at: DateTime<Utc>) -> Vec<AlarmRow> {
    let alarms = standing(known, &Notes::default(), raised_at);
    let row = |(number, alarm)| AlarmRow { number, alarm, raised_at, cleared_at: None };
    (1..).zip(alarms).map(row).collect()
}

#[test]
fn a_quiet_center_has_no_alarm() {
    let promises = vec![
        promise("acme", Reason::Age, 7),
        promise("acme", Reason::Grace, 7),
        promise("acme", Reason::Entitlement, 7),
        promise("acme", Reason::Hold, 7),
    ];
    assert_eq!(keys(&known(seen(promises))), Vec::<String>::new());
}

#[test]
fn a_tenant_whose_records_are_late_has_one_alarm_and_its_neighbour_none() {
    let late = Promise { overdue: 2, at_risk: 0, ..promise("t-1", Reason::Age, 5) };
    let asked = Promise { overdue: 3, deadline: Some(hours(-9)), ..promise("t-1", Reason::Request, 3) };
    let soon = Promise { at_risk: 4, ..promise("t-10", Reason::Termination, 4) };
    let kept = Promise { overdue: 6, ..promise("t-2", Reason::Hold, 6) };
    let found = standing(&known(seen(vec![late, asked, soon, kept])), &Notes::default(), now());
    let keys: Vec<&str> = found.iter().map(|alarm| alarm.key.as_str()).collect();
    assert_eq!(
        keys,
        ["at-risk/call-records/t-10", "held-past-deadline/call-records/t-2", "overdue/call-records/t-1"]
    );
    let overdue = &found[2].fields;
    assert_eq!(overdue["records"], 5);
    assert_eq!(overdue["reasons"], json!(["age", "request"]));
    assert_eq!(overdue["deadline"], "2026-03-09T15:00:00Z", "the earliest");
}

#[test]
fn above_a_hundred_tenants_one_alarm_speaks_of_all() {
    let late = |count: usize| {
        let one = |n| Promise { overdue: 1, ..promise(&format!("t-{n}"), Reason::Age, 1) };
        standing(&known(seen((0..count).map(one).collect())), &Notes::default(), now())
    };
    assert_eq!(late(100).len(), 100);
    let many = late(101);
    assert_eq!(many.len(), 1);
    assert_eq!(many[0].key, "overdue/call-records");
    assert_eq!((&many[0].fields["records"], &many[0].fields["tenants"]), (&json!(101), &json!(101)));
    assert_eq!(many[0].fields["among_them"].as_array().map(Vec::len), Some(20));
}

#[test]
fn what_cannot_be_done_in_time_is_at_risk_now_with_the_arithmetic() {
    let slow = Throughput { records: 1_000, seconds: 3_600, runs: 1 };
    let due = |records| {
        let facts =
            Known { speed: Some(slow), ..known(seen(vec![promise("acme", Reason::Request, records)])) };
        standing(&facts, &Notes::default(), now())
    };
    // 98 hours are left from the next run on, at a thousand records an hour.
    assert_eq!(due(98_000), Vec::new());
    let found = due(98_001 + 999);
    assert_eq!(found[0].key, "at-risk/call-records/acme");
    assert_eq!(
        found[0].fields["forecast"],
        json!({"due_now": 99_000, "falls_due": 0, "per_hour": 1_000, "measured_runs": 1,
               "needed_seconds": 356_400, "left_seconds": 352_800})
    );
}

#[test]
fn parked_records_are_told_of_again_when_they_have_become_more() {
    let parked = |records, before: &[AlarmRow]| {
        let facts =
            Known { before: before.to_vec(), ..known(seen(vec![promise("acme", Reason::Parked, records)])) };
        (keys(&facts), standing_before(&facts, hours(-30)))
    };
    let (keys_3, at_3) = parked(3, &[]);
    assert_eq!(keys_3, ["parked/call-records/3"]);
    assert_eq!(parked(2, &at_3).0, ["parked/call-records/3"], "fewer is no news");
    assert_eq!(parked(4, &at_3).0, ["parked/call-records/4"], "more, and a day later");
    let young: Vec<AlarmRow> =
        at_3.iter().map(|row| AlarmRow { raised_at: hours(-1), ..row.clone() }).collect();
    assert_eq!(parked(4, &young).0, ["parked/call-records/3"], "more, but just told");
    assert_eq!(parked(6, &young).0, ["parked/call-records/6"], "twice as many");
    assert_eq!(keys(&Known { before: at_3, ..known(seen(Vec::new())) }), Vec::<String>::new());
}

#[test]
fn what_was_known_stands_while_a_store_is_silent_and_becomes_overdue_in_its_time() {
    let soon = Promise { at_risk: 4, deadline: Some(hours(5)), ..promise("t-1", Reason::Age, 4) };
    let late = Promise { overdue: 1, ..promise("t-2", Reason::Age, 1) };
    let before = standing_before(&known(seen(vec![soon, late])), now());
    let silent = Known { before, ..known(blind()) };
    let expected = ["at-risk/call-records/t-1", "overdue/call-records/t-2", "store-unreachable/plan"];
    assert_eq!(keys_at(&silent, hours(5) - TimeDelta::microseconds(1)), expected);
    let expected = ["overdue/call-records/t-1", "overdue/call-records/t-2", "store-unreachable/plan"];
    assert_eq!(keys_at(&silent, hours(5)), expected);
    let one_store = Look {
        unreachable: [(StoreId::new("calls"), "the host of a password".to_owned())].into(),
        ..Look::default()
    };
    let found = standing(&Known { sight: Sight::Seen(one_store), ..silent }, &Notes::default(), hours(5));
    assert_eq!(found[2].key, "store-unreachable/calls");
    assert!(!format!("{found:?}").contains("password"), "what a store says is not passed on");
}

#[test]
fn a_request_is_watched_by_the_ledger_alone_where_the_stores_say_nothing() {
    let with =
        |state, deadline, sight| keys(&Known { requests: vec![request(state, deadline)], ..known(sight) });
    let tick = TimeDelta::microseconds(1);
    for sight in [blind(), seen(Vec::new())] {
        let found = |state, deadline| {
            let mut keys = with(state, deadline, sight.clone());
            keys.retain(|key| key.contains("/request/"));
            keys
        };
        assert_eq!(found(RequestState::Received, now()), ["overdue/request/req-1"]);
        assert_eq!(found(RequestState::Received, now() + tick), ["at-risk/request/req-1"]);
        assert_eq!(found(RequestState::Enforcing, hours(72)), ["at-risk/request/req-1"]);
        assert_eq!(found(RequestState::Enforcing, hours(72) + tick), Vec::<String>::new());
    }
    let counted = Promise {
        request_id: Some(RequestId::new("req-1")),
        overdue: 2,
        ..promise("acme", Reason::Request, 2)
    };
    let keys = with(RequestState::Enforcing, hours(-1), seen(vec![counted]));
    assert_eq!(keys, ["overdue/call-records/acme"], "it is not told twice");
    let waits = with(RequestState::Waiting, hours(-1), blind());
    assert_eq!(waits, ["store-unreachable/plan"], "a hold kept it when it was last seen");
}

#[test]
fn a_backup_that_rotates_beyond_the_deadline_is_at_risk_at_once_and_one_that_does_not_is_not() {
    let residual = |until| {
        let mut row = request(RequestState::Residual, hours(48));
        row.placements[0].residual =
            vec![Residual { what: "rotating backup".to_owned(), until: Some(until) }];
        keys(&Known { requests: vec![row], ..known(seen(Vec::new())) })
    };
    assert_eq!(residual(hours(48)), Vec::<String>::new());
    assert_eq!(residual(hours(49)), ["at-risk/request/req-1"]);
}

#[test]
fn a_termination_is_watched_by_the_ledger_alone_while_a_store_is_silent() {
    let ending = |grace_until, deadline| Ending {
        tenant: tenant("acme"),
        terminated_at: hours(-20 * 24),
        recorded_at: hours(-20 * 24),
        falling: vec![Falling {
            category: Category::new("call-data"),
            grace_until,
            deadline,
            clause: "SLA §7.5".to_owned(),
        }],
    };
    let with = |ending: Ending, sight| {
        let mut keys = keys(&Known { endings: vec![ending], ..known(sight) });
        keys.retain(|key| key.contains("/termination/"));
        keys
    };
    assert_eq!(with(ending(hours(-5), now()), blind()), ["overdue/termination/acme"]);
    assert_eq!(with(ending(hours(-5), hours(24)), blind()), ["at-risk/termination/acme"]);
    assert_eq!(with(ending(hours(-5), hours(24 * 9)), blind()), Vec::<String>::new());
    assert_eq!(with(ending(hours(-10), now()), blind()), Vec::<String>::new(), "a run has done it since");
    assert_eq!(with(ending(hours(-5), now()), seen(Vec::new())), Vec::<String>::new(), "nothing is left");
}

#[test]
fn runs_that_did_not_do_everything_and_plans_that_wait_are_told() {
    let with = |status: &str, refused| {
        keys(&Known { runs: vec![run(status, now())], refused, ..known(seen(Vec::new())) })
    };
    assert_eq!(with("failed", Refused::Otherwise), ["run-failed"]);
    assert_eq!(with("interrupted", Refused::Otherwise), Vec::<String>::new(), "the next one goes on with it");
    assert_eq!(with("running", Refused::Otherwise), Vec::<String>::new());
    assert_eq!(with("refused", Refused::Otherwise), ["run-refused"]);
    assert_eq!(with("refused", Refused::Approved), Vec::<String>::new());
    let waiting = crate::alarms::known::Waiting {
        plan_id: PlanId::new("p"),
        records: 200_000,
        codes: ["limit-records".to_owned()].into(),
    };
    assert_eq!(with("failed", Refused::Waiting(waiting)), ["run-failed", "run-refused/p"]);
}

#[test]
fn stop_audit_clock_and_exports_are_told_only_once_they_last() {
    let quiet = || known(seen(Vec::new()));
    let stop = |since| Some(Stop { stopped_at: since, reason: "call +6591110001".to_owned() });
    assert_eq!(keys(&Known { stopped: stop(hours(-1)), ..quiet() }), Vec::<String>::new());
    let long = Known { stopped: stop(hours(-2)), ..quiet() };
    assert_eq!(keys(&long), ["stopped"]);
    assert!(!format!("{:?}", standing(&long, &Notes::default(), now())).contains("6591"));
    let unsigned = |since| {
        let head = Some(Head { size: 4, root: "00".to_owned() });
        let audit = AuditState { head, entries: 5, head_at: None, unsigned_since: Some(since) };
        keys(&Known { audit, ..quiet() })
    };
    assert_eq!((unsigned(hours(-1)), unsigned(hours(-2))), (Vec::new(), vec!["audit-stale".to_owned()]));
    let clock = |started| keys(&Known { runs: vec![run("done", started)], ..quiet() });
    assert_eq!(clock(now() + TimeDelta::minutes(5)), Vec::<String>::new());
    assert_eq!(clock(now() + TimeDelta::minutes(6)), ["in-doubt/clock"]);
    let export = |asked_at| {
        let row = ExportRow {
            export_id: ExportId::new("exp-1"),
            tenant: tenant("acme"),
            categories: Vec::new(),
            target: "x".to_owned(),
            between: None,
            state: ExportState::Running,
            asked_at,
            settled_at: None,
            records: 0,
            manifest: None,
            failure: None,
        };
        keys(&Known { exports: vec![row], ..quiet() })
    };
    assert_eq!(
        (export(hours(-23)), export(hours(-24))),
        (Vec::new(), vec!["export-unfinished/exp-1".to_owned()])
    );
}

#[test]
fn messages_given_up_make_one_alarm_for_each_host_without_the_rest_of_the_address() {
    let row = |number, failure: &str| DeliveryRow {
        number,
        key: format!("alarm/{number}"),
        kind: "alarm".to_owned(),
        tenant: None,
        url: "https://user:hunter2@hooks.example.com/T0/B0/token?k=token".to_owned(),
        body: String::new(),
        enqueued_at: hours(-90),
        tries: 9,
        delivered_at: None,
        given_up_at: Some(hours(-2)),
        failure: Some(failure.to_owned()),
    };
    let withdrawn = row(3, crate::alarms::notices::WITHDRAWN);
    let facts = Known { undelivered: vec![row(1, "x"), row(2, "y"), withdrawn], ..known(seen(Vec::new())) };
    let found = standing(&facts, &Notes::default(), now());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, "delivery-given-up/hooks.example.com");
    assert_eq!(found[0].fields["messages"], 2);
    let text = format!("{found:?}");
    assert!(!text.contains("token") && !text.contains("hunter2"), "{text}");
    assert_eq!(keys_at(&facts, hours(7 * 24)), Vec::<String>::new());
}

#[test]
fn what_another_process_said_stands_until_it_has_been_silent_for_a_while() {
    let note = |node: &str| Notes {
        node: node.to_owned(),
        alarms: vec![alarm(format!("policy-broken/{node}"), "policy-broken", "faulty".to_owned(), json!({}))],
    };
    let facts = known(seen(Vec::new()));
    let of_a = standing(&facts, &note("a"), now());
    assert_eq!(of_a[0].fields, json!({"node": "a", "seen_at": "2026-03-10T00:00:00Z"}));
    let row = AlarmRow { number: 1, alarm: of_a[0].clone(), raised_at: now(), cleared_at: None };
    let facts = Known { before: vec![row], ..facts };
    let keys = |notes: &Notes, minutes| -> Vec<String> {
        let at = now() + TimeDelta::minutes(minutes);
        standing(&facts, notes, at).into_iter().map(|alarm| alarm.key).collect()
    };
    assert_eq!(keys(&note("b"), 14), ["policy-broken/a", "policy-broken/b"]);
    assert_eq!(keys(&note("b"), 15), ["policy-broken/b"]);
    let healed = Notes { node: "a".to_owned(), alarms: Vec::new() };
    assert_eq!(keys(&healed, 1), Vec::<String>::new());
}

#[test]
fn every_kind_that_is_raised_is_known() {
    let source = include_str!("../standing.rs").to_owned() + include_str!("outward.rs");
    for kind in KINDS {
        assert!(source.matches(&format!("\"{kind}\"")).count() >= 2, "{kind} is never raised");
    }
}
