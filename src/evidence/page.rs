//! The certificate as a printable page: one self-contained HTML file without scripts.
//! It owns layout and escaping; what is said is decided before.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::evidence::{Asked, Certificate, Line, Logged, Occasion, Progress, Ran, level_word};
use crate::plan::Residual;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}\
h1{font-size:1.5rem;margin-bottom:0}h2{font-size:1.1rem;margin-top:2rem}\
.id,pre{font-family:ui-monospace,monospace;font-size:.8rem}.id{color:#555}\
.statement{border-left:.3rem solid #1f6f43;padding:.5rem 1rem;margin:1.5rem 0}.statement.open{border-color:#a33}\
table{border-collapse:collapse;width:100%;font-size:.85rem}th,td{text-align:left;padding:.3rem .6rem .3rem 0;\
border-bottom:1px solid #ccc;vertical-align:top}td.n,th.n{text-align:right}dt{color:#555}dd{margin:0 0 .4rem}\
dl{display:grid;grid-template-columns:12rem 1fr}pre{white-space:pre-wrap;word-break:break-all;background:#f5f5f5;\
padding:.8rem}@media print{body{margin:0;max-width:none}h2,tr,pre{break-inside:avoid}}";

/// The certificate as HTML. Everything that comes from outside is escaped.
pub fn html(certificate: &Certificate) -> String {
    let title = match certificate.progress {
        Progress::Completed | Progress::Residual => "Certificate of erasure",
        Progress::Open | Progress::Cancelled => "Record of an erasure that is not complete",
    };
    let class = match certificate.progress {
        Progress::Completed | Progress::Residual => "statement",
        Progress::Open | Progress::Cancelled => "statement open",
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <h1>{title}</h1>\n<p class=\"id\">{}</p>\n<p class=\"{class}\">{}<br>{}</p>\n",
        escaped(&certificate.certificate_id),
        escaped(&certificate.statement),
        escaped(&certificate.media),
    );
    page.push_str("<dl>\n");
    match &certificate.occasion {
        Occasion::Request(asked) => request(&mut page, asked),
        Occasion::Run(ran) => run(&mut page, ran),
    }
    term(&mut page, "Level reached", certificate.level.map_or("none: there is no outcome", level_word));
    term(&mut page, "Issued", &instant(certificate.issued_at));
    term(&mut page, "Made by", &certificate.tool);
    page.push_str("</dl>\n");
    if let Occasion::Request(asked) = &certificate.occasion {
        covered(&mut page, asked);
    }
    outcomes(&mut page, certificate);
    residuals(&mut page, certificate);
    if let Some(logged) = &certificate.log {
        log(&mut page, logged);
    }
    page.push_str("<h2>How to verify</h2>\n<ol>\n");
    for step in &certificate.how_to_verify {
        page.push_str(&format!("<li>{}</li>\n", escaped(step)));
    }
    page.push_str("</ol>\n</html>\n");
    page
}

fn request(page: &mut String, asked: &Asked) {
    term(page, "Request", asked.request_id.as_str());
    term(page, "Tenant", asked.tenant.as_str());
    term(page, "Received", &instant(asked.received_at));
    term(page, "Deadline", &instant(asked.deadline));
    term(page, "Completed", &asked.completed_at.map_or("not yet".to_owned(), instant));
    let categories: Vec<&str> = asked.categories.iter().map(|category| category.as_str()).collect();
    term(page, "Categories", &categories.join(", "));
    let scope = if asked.everything {
        "all data of the tenant".to_owned()
    } else if asked.subjects.is_empty() {
        "everything in these categories".to_owned()
    } else {
        let subjects =
            asked.subjects.iter().map(|subject| format!("{} {}", subject.kind, subject.fingerprint));
        format!("{} (keyed fingerprints)", subjects.collect::<Vec<_>>().join(", "))
    };
    term(page, "Scope", &scope);
}

fn run(page: &mut String, ran: &Ran) {
    term(page, "Run", ran.run_id.as_str());
    term(page, "Plan", ran.plan_id.as_str());
    term(page, "As of", &instant(ran.at));
    term(page, "Status", &ran.status);
    term(page, "Started", &instant(ran.started_at));
    term(page, "Ended", &ran.ended_at.map_or("not yet".to_owned(), instant));
}

fn covered(page: &mut String, asked: &Asked) {
    page.push_str("<h2>What the request covers</h2>\n<table><tr><th>Placement<th>State<th class=\"n\">Erased<th class=\"n\">Verified absent</tr>\n");
    for placement in &asked.placements {
        let state = match placement.progress {
            Progress::Cancelled => "cancelled",
            Progress::Open => "open",
            Progress::Residual => "residual",
            Progress::Completed => "completed",
        };
        page.push_str(&format!(
            "<tr><td>{}<td>{state}<td class=\"n\">{}<td class=\"n\">{}</tr>\n",
            escaped(placement.placement.as_str()),
            placement.erased,
            placement.verified_absent
        ));
    }
    page.push_str("</table>\n");
}

fn outcomes(page: &mut String, certificate: &Certificate) {
    page.push_str(
        "<h2>What was done</h2>\n<table><tr><th>Placement<th>Store<th>Category<th>Reason<th>Clause<th>Method\
         <th>Level<th class=\"n\">Erased<th class=\"n\">Already absent<th class=\"n\">Changed<th class=\"n\">Failed\
         <th class=\"n\">Verified absent<th>Verified at</tr>\n",
    );
    for line in &certificate.lines {
        row(page, line);
    }
    let totals = &certificate.totals;
    page.push_str(&format!(
        "<tr><th colspan=\"7\">Together<th class=\"n\">{}<th class=\"n\">{}<th class=\"n\">{}<th class=\"n\">{}<th class=\"n\">{}<th></tr>\n</table>\n",
        totals.erased, totals.already_absent, totals.changed, totals.failed, totals.verified_absent
    ));
    for line in &certificate.lines {
        for failure in &line.failures {
            page.push_str(&format!(
                "<p>Not done in {}: {}</p>\n",
                escaped(line.placement.as_str()),
                escaped(failure)
            ));
        }
    }
}

fn row(page: &mut String, line: &Line) {
    let level = match line.level_required {
        Some(needed) if line.level < needed => {
            format!("{} ({} required)", level_word(line.level), level_word(needed))
        }
        Some(_) | None => level_word(line.level).to_owned(),
    };
    page.push_str("<tr>");
    for text in [
        line.placement.as_str(),
        line.store.as_str(),
        line.category.as_str(),
        &line.reason,
        &line.clause,
        &line.method,
        &level,
    ] {
        page.push_str("<td>");
        page.push_str(&escaped(text));
    }
    let counts = &line.counts;
    for count in [counts.erased, counts.already_absent, counts.changed, counts.failed, counts.verified_absent]
    {
        page.push_str(&format!("<td class=\"n\">{count}"));
    }
    page.push_str(&format!("<td>{}</tr>\n", instant(line.verified_at)));
}

fn residuals(page: &mut String, certificate: &Certificate) {
    let of_lines = certificate.lines.iter().map(|line| (line.placement.as_str(), &line.residual));
    let of_request = match &certificate.occasion {
        Occasion::Request(asked) => asked.placements.as_slice(),
        Occasion::Run(_) => &[],
    };
    let all = of_lines.chain(of_request.iter().map(|p| (p.placement.as_str(), &p.residual)));
    let mut rows: Vec<(&str, &Residual)> =
        all.flat_map(|(placement, residual)| residual.iter().map(move |left| (placement, left))).collect();
    rows.sort();
    rows.dedup();
    page.push_str("<h2>What remains, until when</h2>\n");
    if rows.is_empty() {
        page.push_str("<p>Nothing is known to remain.</p>\n");
        return;
    }
    page.push_str("<table><tr><th>Placement<th>What<th>Until</tr>\n");
    for (placement, left) in rows {
        page.push_str(&format!(
            "<tr><td>{}<td>{}<td>{}</tr>\n",
            escaped(placement),
            escaped(&left.what),
            left.until.map_or("nobody can say".to_owned(), instant)
        ));
    }
    page.push_str("</table>\n");
}

fn log(page: &mut String, logged: &Logged) {
    page.push_str(&format!(
        "<h2>Evidence in the audit log</h2>\n<p>Entry {} of {}, root <span class=\"id\">{}</span>:</p>\n\
         <pre>{}</pre>\n<p>Its inclusion proof and the signed checkpoint:</p>\n<pre>{}</pre>\n",
        logged.index,
        logged.size,
        escaped(&logged.root),
        escaped(&logged.entry),
        escaped(&logged.proof)
    ));
}

fn term(page: &mut String, name: &str, text: &str) {
    page.push_str(&format!("<dt>{name}</dt><dd>{}</dd>\n", escaped(text)));
}

fn instant(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
