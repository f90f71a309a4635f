//! The certificate as a page that prints. It owns the look; every text is escaped, and nothing is fetched.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};

use super::{About, Certificate, Certified};
use crate::plan::Residual;

const STYLE: &str = "body{font:11pt/1.5 Georgia,serif;max-width:62em;margin:2em auto;padding:0 1em;color:#111}\
h1{font-size:1.6em;margin-bottom:0}table{border-collapse:collapse;width:100%;margin:1em 0}\
th,td{border-bottom:1px solid #bbb;padding:.35em .6em;text-align:left;vertical-align:top}\
td.n{text-align:right;font-variant-numeric:tabular-nums}pre{white-space:pre-wrap;overflow-wrap:anywhere;\
background:#f4f4f4;padding:.8em}.failed{color:#a00}@media print{body{margin:0}pre{border:1px solid #bbb}}";

/// A whole HTML document, without scripts and without anything from elsewhere.
pub fn html(certificate: &Certificate) -> String {
    let mut page = String::new();
    let title = if certificate.erasure_claimed {
        "Certificate of erasure"
    } else {
        "Record of an erasure not completed"
    };
    let about = match &certificate.about {
        About::Request(id) => format!("Request {id}"),
        About::Run(id) => format!("Run {id}"),
    };
    push(
        &mut page,
        format_args!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style></head>\n\
         <body><h1>{title}</h1>\n<p>{0}</p>\n<p><strong>{1}</strong></p>\n",
            escaped(&about),
            escaped(&certificate.statement),
        ),
    );
    facts(&mut page, certificate);
    placements(&mut page, certificate);
    push(&mut page, format_args!("<p>{}</p>\n", escaped(certificate.sanitization)));
    let log = &certificate.log;
    push(
        &mut page,
        format_args!("<h2>Evidence</h2>\n<p>To check it: <code>{}</code></p>\n", escaped(log.verify)),
    );
    for (title, text) in [("Entry", &log.body), ("Proof", &log.proof)] {
        if let Some(text) = text {
            push(&mut page, format_args!("<h3>{title}</h3><pre>{}</pre>\n", escaped(text)));
        }
    }
    page.push_str("</body></html>\n");
    page
}

fn facts(page: &mut String, certificate: &Certificate) {
    let mut rows = vec![
        ("Certificate", certificate.certificate_id.clone()),
        ("Made", instant(certificate.made_at)),
        ("Tool", certificate.tool.clone()),
        ("State", certificate.state.clone()),
        ("Received or begun", instant(certificate.received_at)),
    ];
    rows.extend(certificate.tenant.as_ref().map(|tenant| ("Tenant", tenant.to_string())));
    rows.extend(certificate.deadline.map(|deadline| ("Deadline", instant(deadline))));
    rows.extend(certificate.completed_at.map(|completed| ("Completed", instant(completed))));
    for subject in &certificate.subjects {
        rows.push(("Subject (keyed fingerprint)", format!("{} {}", subject.kind, subject.fingerprint)));
    }
    let categories: Vec<&str> = certificate.categories.iter().map(|category| category.as_str()).collect();
    rows.push(("Categories", categories.join(", ")));
    if let Some(head) = &certificate.log.head {
        rows.push(("Audit log", format!("{} entries, root {}", head.size, head.root)));
    }
    page.push_str("<table>\n");
    for (name, value) in rows {
        push(page, format_args!("<tr><th scope=\"row\">{name}</th><td>{}</td></tr>\n", escaped(&value)));
    }
    page.push_str("</table>\n");
}

fn placements(page: &mut String, certificate: &Certificate) {
    page.push_str(
        "<h2>What was done where</h2>\n<table><thead><tr><th>Placement</th><th>Why</th><th>Method</th><th>Erased</th>\
         <th>Absent before</th><th>Changed</th><th>Failed</th><th>Shown absent</th><th>Level</th><th>Verified</th><th>Residual</th></tr></thead><tbody>\n",
    );
    for placement in &certificate.placements {
        row(page, placement);
    }
    page.push_str("</tbody></table>\n");
}

fn row(page: &mut String, placement: &Certified) {
    let joined = |words: &std::collections::BTreeSet<String>| {
        words.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    };
    let why = format!("{} {}", joined(&placement.reasons), joined(&placement.clauses));
    let counts = &placement.counts;
    push(
        page,
        format_args!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escaped(placement.placement.as_str()),
            escaped(&why),
            escaped(&joined(&placement.methods)),
            counts.erased,
            counts.already_absent,
            counts.changed,
            counts.failed,
            counts.verified_absent,
            level(placement),
            placement.verified_at.map_or("–".to_owned(), instant),
            escaped(&placement.residual.iter().map(residual).collect::<Vec<_>>().join("; ")),
        ),
    );
    for failure in &placement.failures {
        push(
            page,
            format_args!("<tr><td></td><td colspan=\"10\" class=\"failed\">{}</td></tr>\n", escaped(failure)),
        );
    }
}

fn level(placement: &Certified) -> String {
    match (placement.level, placement.level_required) {
        (Some(level), Some(needed)) if level < needed => {
            format!("{} ({} required)", level.word(), needed.word())
        }
        (Some(level), _) => level.word().to_owned(),
        (None, _) => "–".to_owned(),
    }
}

fn residual(residual: &Residual) -> String {
    match residual.until {
        Some(until) => format!("{} until {}", residual.what, instant(until)),
        None => residual.what.clone(),
    }
}

fn instant(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    if page.write_fmt(text).is_err() {
        page.push_str("<!-- -->");
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_text_stays_text() {
        assert_eq!(escaped("<script>\"&'"), "&lt;script&gt;&quot;&amp;&#39;");
    }
}
