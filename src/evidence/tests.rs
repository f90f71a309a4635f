//! What a certificate may claim, and what it must not.

use super::*;
use crate::id::{Fingerprint, PlanId, StepId};
use crate::ledger::rows::{ErasedScope, RequestPlacement};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("2026-01-31T05:00:00Z")
}

fn tenant(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}

fn counts(erased: u64, verified_absent: u64) -> Counts {
    Counts { erased, verified_absent, ..Counts::default() }
}

fn outcome(tenants: &[(&str, Counts)], level: Level) -> StepOutcome {
    StepOutcome {
        run_id: RunId::new("run-1"),
        step_id: StepId::new("0123456789abcdef"),
        placement: PlacementId::new("call-records"),
        store: StoreId::new("calls"),
        category: Category::new("call-data"),
        reason: "request".into(),
        clause: "DPSM §5; SLA §1.8".into(),
        method: "zero".into(),
        request_id: Some(RequestId::new("req-1")),
        counts: tenants.iter().map(|(whose, counts)| (tenant(whose), *counts)).collect(),
        level,
        residual: Vec::new(),
        verified_at: at("2026-01-31T04:00:00Z"),
        scope: ErasedScope { subjects: Vec::new(), up_to: None },
        failure: None,
    }
}

fn request(state: RequestState) -> RequestRow {
    RequestRow {
        request_id: RequestId::new("req-1"),
        tenant: tenant("t-1"),
        known: true,
        state,
        received_at: at("2026-01-02T04:00:00Z"),
        recorded_at: at("2026-01-02T04:00:00Z"),
        deadline: at("2026-02-01T04:00:00Z"),
        completed_at: (state == RequestState::Completed).then(now),
        categories: vec![Category::new("call-data")],
        subjects: vec![NamedSubject { kind: "phone".into(), fingerprint: Fingerprint::new("f".repeat(32)) }],
        everything: false,
        placements: vec![RequestPlacement {
            placement: PlacementId::new("call-records"),
            state,
            erased: 3,
            verified_absent: 3,
            residual: Vec::new(),
        }],
    }
}

fn run(status: &str) -> RunRow {
    RunRow {
        run_id: RunId::new("run-1"),
        plan_id: PlanId::new("0".repeat(32)),
        at: now(),
        status: status.into(),
        started_at: now(),
        ended_at: Some(now()),
    }
}

fn log() -> LogPlace {
    LogPlace {
        head: Some(Head { size: 7, root: "ab".repeat(32) }),
        entry: Some(6),
        body: Some("{}".into()),
        proof: Some("c2sp.org/tlog-proof@v1\n".into()),
        verify: "retentiond audit verify",
    }
}

fn certificate(row: &RequestRow, outcomes: &[StepOutcome]) -> Certificate {
    of_request(row, outcomes, log(), now())
}

#[test]
fn a_completed_request_whose_records_were_all_seen_gone_is_certified() {
    let done = [outcome(&[("t-1", counts(3, 3))], Level::Scrubbed)];
    let certificate = certificate(&request(RequestState::Completed), &done);
    assert!(certificate.erasure_claimed);
    assert!(certificate.statement.starts_with("Every placement was asked"));
    assert_eq!(certificate.placements[0].level, Some(Level::Scrubbed));
    assert!(certificate.sanitization.contains("not media sanitization under NIST SP 800-88"));
    assert!(html(&certificate).contains("<h1>Certificate of erasure</h1>"));
}

#[test]
fn erasure_is_claimed_only_where_state_and_counts_both_say_so() {
    let done = [outcome(&[("t-1", counts(3, 3))], Level::Scrubbed)];
    for state in
        [RequestState::Received, RequestState::Waiting, RequestState::Enforcing, RequestState::Cancelled]
    {
        let certificate = certificate(&request(state), &done);
        assert!(!certificate.erasure_claimed, "{state:?}");
        assert!(html(&certificate).contains("<h1>Record of an erasure not completed</h1>"));
    }
    assert!(certificate(&request(RequestState::Residual), &done).erasure_claimed);
    let already = Counts { already_absent: 1, ..counts(3, 3) };
    for unseen in [counts(3, 2), already] {
        let certificate =
            certificate(&request(RequestState::Completed), &[outcome(&[("t-1", unseen)], Level::Scrubbed)]);
        assert!(!certificate.erasure_claimed);
        assert_eq!(certificate.statement, NOT_SHOWN);
    }
    let mut one_open = request(RequestState::Completed);
    one_open.placements[0].state = RequestState::Enforcing;
    assert!(!certificate(&one_open, &done).erasure_claimed);
    let mut one_unseen = request(RequestState::Residual);
    one_unseen.placements[0].verified_absent = 2;
    assert!(!certificate(&one_unseen, &done).erasure_claimed);
}

#[test]
fn a_level_is_the_lowest_of_the_outcomes_and_a_shortfall_is_shown() {
    let one = [("t-1", counts(1, 1))];
    let done =
        [outcome(&one, Level::Verified), outcome(&one, Level::Deleted), outcome(&one, Level::Scrubbed)];
    let certificate = certificate(&request(RequestState::Completed), &done);
    assert_eq!(certificate.placements.len(), 1);
    assert_eq!(certificate.placements[0].level, Some(Level::Deleted));
    assert_eq!(certificate.placements[0].level_required, Some(Level::Scrubbed));
    assert!(html(&certificate).contains("deleted (scrubbed required)"));
    let absent = Counts { already_absent: 1, verified_absent: 1, ..Counts::default() };
    let found = [outcome(&one, Level::Scrubbed), outcome(&[("t-1", absent)], Level::Deleted)];
    assert_eq!(of_run(&run("done"), &found, log(), now()).placements[0].level, Some(Level::Deleted));
    let nothing = [outcome(&[("t-1", Counts::default())], Level::Verified)];
    assert_eq!(of_run(&run("done"), &nothing, log(), now()).placements[0].level, None);
}

#[test]
fn a_request_certificate_counts_its_own_tenant_and_names_no_neighbour() {
    let neighbours = [
        ("t-1", counts(3, 3)),
        ("t-10", counts(100, 100)),
        ("T-1", counts(100, 100)),
        ("t-1x", counts(100, 100)),
    ];
    let done = [outcome(&neighbours, Level::Scrubbed)];
    let certificate = certificate(&request(RequestState::Completed), &done);
    assert_eq!(certificate.placements[0].counts, counts(3, 3));
    let text = serde_json::to_string(&certificate).unwrap() + &html(&certificate);
    for neighbour in ["t-10", "T-1", "t-1x"] {
        assert!(!text.contains(neighbour), "{neighbour}");
    }
    let of_all = of_run(&run("done"), &done, log(), now());
    assert_eq!(of_all.placements[0].counts.erased, 303);
    assert!(!serde_json::to_string(&of_all).unwrap().contains("t-1"));
}

#[test]
fn a_run_is_certified_only_when_it_is_done_without_failure() {
    let one = [("t-1", counts(1, 1))];
    let done = [outcome(&one, Level::Scrubbed)];
    assert!(of_run(&run("done"), &done, log(), now()).erasure_claimed);
    for status in ["running", "failed", "refused", "interrupted"] {
        assert!(!of_run(&run(status), &done, log(), now()).erasure_claimed, "{status}");
    }
    let failure = Some("the store is out of reach".to_owned());
    let failed = [StepOutcome { failure, ..outcome(&one, Level::Scrubbed) }];
    let certificate = of_run(&run("done"), &failed, log(), now());
    assert!(!certificate.erasure_claimed);
    assert!(html(&certificate).contains("the store is out of reach"));
}

#[test]
fn the_id_changes_with_any_number_and_not_with_the_time_of_making() {
    let done = [outcome(&[("t-1", counts(3, 3))], Level::Scrubbed)];
    let first = certificate(&request(RequestState::Completed), &done);
    let later = of_request(&request(RequestState::Completed), &done, log(), at("2027-01-01T00:00:00Z"));
    assert_eq!(first.certificate_id, later.certificate_id);
    let altered = [outcome(&[("t-1", counts(2, 3))], Level::Scrubbed)];
    assert_ne!(certificate(&request(RequestState::Completed), &altered).certificate_id, first.certificate_id);
}

#[test]
fn every_text_from_outside_is_escaped_in_the_page() {
    let evil = "<script>alert(\"1\")</script>&'";
    let mut done = outcome(&[("t-1", counts(1, 1))], Level::Scrubbed);
    done.clause = evil.into();
    done.placement = PlacementId::new(evil);
    done.failure = Some(evil.into());
    let mut row = request(RequestState::Residual);
    row.request_id = RequestId::new(evil);
    row.subjects[0].kind = evil.into();
    row.categories = vec![Category::new(evil)];
    row.placements[0].placement = PlacementId::new(evil);
    row.placements[0].residual = vec![Residual { what: evil.into(), until: None }];
    let place = LogPlace { body: Some(evil.into()), ..log() };
    let page = html(&of_request(&row, &[done], place, now()));
    assert!(!page.contains("<script"));
    assert!(!page.contains("&'"));
    // Title, heading, subject, category, placement, clause, residual, failure, entry.
    assert_eq!(page.matches("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;").count(), 9);
}
