//! `certificate`: what was erased, where, how, verified when, and what is residual until when.
//! It shapes the document; what it says comes from recorded outcomes only.

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::output::{Answer, Failure, bold, with_headings};
use crate::audit::certify::certify;
use crate::evidence::{About, Certificate, Certified, html};
use crate::plan::text::{Column, absolute, count, moment, shown, table};

/// What `certificate` takes.
#[derive(Debug, Args)]
pub(super) struct CertificateArgs {
    /// A request or a run.
    #[arg(value_name = "REQUEST_OR_RUN_ID")]
    id: String,
    /// Also write it as a page that prints.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Answers `certificate`.
pub(super) async fn certificate(context: &Context, args: CertificateArgs) -> Result<Answer, Failure> {
    let config = context.config()?;
    let ledger = context.ledger_to_read(&config).await?.ok_or_else(|| {
        Failure::usage(format!("there is no request or run `{}`: nothing was ever recorded", shown(&args.id)))
    })?;
    let certificate = certify(ledger.as_ref(), &config.audit, &args.id, context.now)
        .await
        .map_err(|error| Failure::trouble(&error.into()))?;
    if let Some(file) = &args.html {
        std::fs::write(file, html(&certificate))
            .map_err(|error| Failure::unmet(format!("failed to write {}: {error}", file.display())))?;
    }
    let text = text_of(&certificate, context, config.schedule.time_zone);
    Answer::new(&certificate, with_headings(&text))
}

fn text_of(certificate: &Certificate, context: &Context, zone: chrono_tz::Tz) -> String {
    let about = match &certificate.about {
        About::Request(id) => format!("request {id}"),
        About::Run(id) => format!("run {id}"),
    };
    let mut text = format!("{} of {about}\n  {}\n\n", bold("Certificate of erasure"), certificate.statement);
    let mut facts = vec![
        ("certificate", certificate.certificate_id.clone()),
        ("state", certificate.state.clone()),
        ("begun", absolute(certificate.received_at, zone)),
    ];
    facts.extend(certificate.tenant.as_ref().map(|tenant| ("tenant", shown(tenant.as_str()))));
    facts.extend(certificate.deadline.map(|deadline| ("gone by", moment(deadline, zone, context.now))));
    facts.extend(certificate.completed_at.map(|completed| ("completed", absolute(completed, zone))));
    for subject in &certificate.subjects {
        facts.push(("subject", format!("{} {}", subject.kind, subject.fingerprint)));
    }
    for (name, value) in facts {
        text.push_str(&format!("  {name:<12} {value}\n"));
    }
    let columns = [
        Column::Left("placement"),
        Column::Left("method"),
        Column::Right("erased"),
        Column::Right("absent before"),
        Column::Right("shown absent"),
        Column::Left("level"),
        Column::Left("verified"),
        Column::Left("residual"),
    ];
    let rows: Vec<Vec<String>> = certificate.placements.iter().map(|p| row(p, zone)).collect();
    text.push_str(&format!("\nWhat was done where\n{}", table(&columns, &rows)));
    for placement in &certificate.placements {
        for failure in &placement.failures {
            text.push_str(&format!("  {}: {}\n", placement.placement, shown(failure)));
        }
    }
    text.push_str(&format!("\n  {}\n", certificate.sanitization));
    if let Some(entry) = certificate.log.entry {
        text.push_str(&format!("  Evidence: entry {entry} of the audit log; `--json` holds its proof\n"));
    }
    text
}

fn row(placement: &Certified, zone: chrono_tz::Tz) -> Vec<String> {
    let residual: Vec<String> = placement
        .residual
        .iter()
        .map(|left| match left.until {
            Some(until) => format!("{} until {}", left.what, absolute(until, zone)),
            None => left.what.clone(),
        })
        .collect();
    vec![
        placement.placement.to_string(),
        placement.methods.iter().cloned().collect::<Vec<_>>().join(", "),
        count(placement.counts.erased),
        count(placement.counts.already_absent),
        count(placement.counts.verified_absent),
        placement.level.map_or(String::new(), |level| level.word().to_owned()),
        placement.verified_at.map_or(String::new(), |instant| absolute(instant, zone)),
        residual.join("; "),
    ]
}
