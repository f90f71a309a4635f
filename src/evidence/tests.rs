//! What a certificate may claim, and what it must not.

use super::*;
use crate::id::Fingerprint;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn counts(erased: u64, verified_absent: u64) -> Counts {
    Counts { erased, verified_absent, ..Counts::default() }
}

fn done(tenants: &[(&str, Counts)], level: Level) -> Done {
    Done {
        placement: PlacementId::new("call-records"),
        store: StoreId::new("calls"),
        category: Category::new("call-data"),
        reason: "request".into(),
        clause: "DPSM §5; SLA §1.8".into(),
        method: "zero".into(),
        counts: tenants.iter().map(|(tenant, counts)| (TenantId::parse(tenant).unwrap(), *counts)).collect(),
        level,
        level_required: Some(Level::Scrubbed),
        residual: Vec::new(),
        verified_at: at("2026-01-31T04:00:00Z"),
        failure: None,
    }
}

fn asked(progress: Progress) -> Asked {
    Asked {
        request_id: RequestId::new("req-1"),
        tenant: TenantId::parse("t-1").unwrap(),
        progress,
        received_at: at("2026-01-02T04:00:00Z"),
        deadline: at("2026-02-01T04:00:00Z"),
        completed_at: (progress == Progress::Completed).then(|| at("2026-01-31T04:00:00Z")),
        everything: false,
        categories: vec![Category::new("call-data")],
        subjects: vec![NamedSubject { kind: "phone".into(), fingerprint: Fingerprint::new("f".repeat(32)) }],
        placements: vec![Covered {
            placement: PlacementId::new("call-records"),
            progress,
            erased: 3,
            verified_absent: 3,
            residual: Vec::new(),
        }],
    }
}

fn ran(status: &str) -> Occasion {
    Occasion::Run(Ran {
        run_id: RunId::new("run-1"),
        plan_id: PlanId::new("0".repeat(32)),
        at: at("2026-01-31T04:00:00Z"),
        status: status.into(),
        started_at: at("2026-01-31T04:00:00Z"),
        ended_at: Some(at("2026-01-31T04:01:00Z")),
    })
}

fn logged() -> Logged {
    Logged {
        size: 7,
        root: "ab".repeat(32),
        index: 6,
        entry: "{}".into(),
        proof: "c2sp.org/tlog-proof@v1\n".into(),
    }
}

fn of_request(asked: Asked, done: &[Done]) -> Certificate {
    Certificate::new(Occasion::Request(asked), done, Some(logged()), at("2026-01-31T05:00:00Z"))
}

fn of_run(status: &str, done: &[Done]) -> Certificate {
    Certificate::new(ran(status), done, None, at("2026-01-31T05:00:00Z"))
}

#[test]
fn a_completed_request_whose_records_were_all_seen_gone_is_certified() {
    let certificate =
        of_request(asked(Progress::Completed), &[done(&[("t-1", counts(3, 3))], Level::Scrubbed)]);
    assert_eq!(certificate.progress, Progress::Completed);
    assert_eq!(
        certificate.statement,
        "Every record that the request covers has been erased and was verified absent."
    );
    assert_eq!(certificate.level, Some(Level::Scrubbed));
    assert_eq!(certificate.media, "This is not media sanitization under NIST SP 800-88.");
    assert_eq!(certificate.totals, counts(3, 3));
}

#[test]
fn completion_is_claimed_only_where_state_and_counts_both_say_so() {
    for progress in [Progress::Open, Progress::Cancelled] {
        let certificate = of_request(asked(progress), &[done(&[("t-1", counts(3, 3))], Level::Scrubbed)]);
        assert_eq!(certificate.progress, progress);
        assert!(html(&certificate).contains("Record of an erasure that is not complete"));
    }
    let unseen = of_request(asked(Progress::Completed), &[done(&[("t-1", counts(3, 2))], Level::Scrubbed)]);
    assert_eq!(unseen.progress, Progress::Open);
    assert!(unseen.statement.starts_with("This certifies no completed erasure"));
    let absent = Counts { already_absent: 1, ..counts(3, 3) };
    assert_eq!(
        of_request(asked(Progress::Completed), &[done(&[("t-1", absent)], Level::Scrubbed)]).progress,
        Progress::Open
    );
    let mut one_open = asked(Progress::Completed);
    one_open.placements[0].progress = Progress::Residual;
    assert_eq!(of_request(one_open, &[]).progress, Progress::Residual);
    let mut unseen_placement = asked(Progress::Residual);
    unseen_placement.placements[0].verified_absent = 2;
    assert_eq!(of_request(unseen_placement, &[]).progress, Progress::Open);
}

#[test]
fn the_level_is_the_lowest_of_all_outcomes_and_a_shortfall_is_said() {
    let tenants = [("t-1", counts(1, 1))];
    let certificate = of_request(
        asked(Progress::Completed),
        &[done(&tenants, Level::Verified), done(&tenants, Level::Deleted), done(&tenants, Level::Scrubbed)],
    );
    assert_eq!(certificate.level, Some(Level::Deleted));
    assert_eq!(certificate.lines.len(), 1);
    assert_eq!(certificate.lines[0].level, Level::Deleted);
    assert!(
        certificate.statement.ends_with("In 1 of 1 lines the level reached is below the level required.")
    );
    assert!(html(&certificate).contains("deleted (scrubbed required)"));
    assert_eq!(of_request(asked(Progress::Completed), &[]).level, None);
    let cleared = of_request(asked(Progress::Completed), &[done(&tenants, Level::MediaCleared)]);
    assert!(!cleared.media.contains("NIST"));
}

#[test]
fn a_request_certificate_counts_its_own_tenant_only() {
    let neighbours = [
        ("t-1", counts(3, 3)),
        ("t-10", counts(100, 100)),
        ("T-1", counts(100, 100)),
        ("t-1x", counts(100, 100)),
    ];
    let certificate = of_request(asked(Progress::Completed), &[done(&neighbours, Level::Scrubbed)]);
    assert_eq!(certificate.totals.erased, 3);
    let text = serde_json::to_string(&certificate).unwrap() + &html(&certificate);
    for neighbour in ["t-10", "T-1", "t-1x"] {
        assert!(!text.contains(neighbour), "{neighbour}");
    }
    assert_eq!(of_run("done", &[done(&neighbours, Level::Scrubbed)]).totals.erased, 303);
}

#[test]
fn a_run_is_certified_only_when_it_is_done_without_failure() {
    let tenants = [("t-1", counts(1, 1))];
    assert_eq!(of_run("done", &[done(&tenants, Level::Scrubbed)]).progress, Progress::Completed);
    for status in ["running", "failed", "refused", "interrupted"] {
        assert_eq!(of_run(status, &[done(&tenants, Level::Scrubbed)]).progress, Progress::Open, "{status}");
    }
    let failed =
        Done { failure: Some("the store is out of reach".into()), ..done(&tenants, Level::Scrubbed) };
    assert_eq!(of_run("done", std::slice::from_ref(&failed)).progress, Progress::Open);
    assert!(html(&of_run("done", &[failed])).contains("Not done in call-records: the store is out of reach"));
    let residual = Residual { what: "write-ahead log".into(), until: Some(at("2026-02-14T00:00:00Z")) };
    let left = Done { residual: vec![residual], ..done(&tenants, Level::Scrubbed) };
    let certificate = of_run("done", &[left]);
    assert_eq!(certificate.progress, Progress::Residual);
    assert!(html(&certificate).contains("<td>write-ahead log<td>2026-02-14T00:00:00Z"));
}

#[test]
fn the_id_changes_with_any_number_and_is_stable_otherwise() {
    let certificate =
        of_request(asked(Progress::Completed), &[done(&[("t-1", counts(3, 3))], Level::Scrubbed)]);
    assert_eq!(certificate.certificate_id, certificate.expected_id());
    let read: Certificate = serde_json::from_str(&serde_json::to_string(&certificate).unwrap()).unwrap();
    assert_eq!(read, certificate);
    assert_eq!(read.certificate_id, read.expected_id());
    let mut altered = read.clone();
    altered.totals.erased += 1;
    assert_ne!(altered.certificate_id, altered.expected_id());
    let mut altered = read;
    altered.log.as_mut().unwrap().proof.push('x');
    assert_ne!(altered.certificate_id, altered.expected_id());
}

#[test]
fn every_text_from_outside_is_escaped_in_the_page() {
    let evil = "<script>alert(\"1\")</script>&'";
    let mut outcome = done(&[("t-1", counts(1, 1))], Level::Scrubbed);
    outcome.clause = evil.into();
    outcome.placement = PlacementId::new(evil);
    outcome.failure = Some(evil.into());
    outcome.residual = vec![Residual { what: evil.into(), until: None }];
    let mut asked = asked(Progress::Residual);
    asked.subjects[0].kind = evil.into();
    asked.placements[0].placement = PlacementId::new(evil);
    let mut log = logged();
    log.entry = evil.into();
    let certificate =
        Certificate::new(Occasion::Request(asked), &[outcome], Some(log), at("2026-01-31T05:00:00Z"));
    let page = html(&certificate);
    assert!(!page.contains("<script"));
    assert!(!page.contains("&'"));
    assert_eq!(page.matches("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;").count(), 9);
}

#[test]
fn evidence_that_is_not_signed_yet_says_so() {
    let certificate = of_run("done", &[]);
    assert_eq!(certificate.log, None);
    assert!(certificate.how_to_verify[0].contains("not yet in a signed checkpoint"));
    assert!(html(&of_request(asked(Progress::Completed), &[])).contains("c2sp.org/tlog-proof@v1"));
}
