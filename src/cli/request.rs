//! `request`: erasure requests are recorded, listed, shown and cancelled. It reads what is asked for and shapes the
//! answers; what a request covers, by when, and how it is recorded is [`crate::desk`]'s.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use clap::{Args, Subcommand};
use serde_json::json;

use super::context::Context;
use super::output::{Answer, Failure, warn};
use super::values;
use crate::desk::{self, AskedRequest, word as state_word};
use crate::id::RequestId;
use crate::ledger::{LedgerError, NewScope, RequestRow};
use crate::plan::text::{Column, count, moment, table};

/// The verbs of `request`.
#[derive(Debug, Subcommand)]
pub(super) enum RequestVerb {
    /// Record an erasure request; prints its id and its deadline.
    Create(CreateArgs),
    /// List all requests.
    List,
    /// Show one request, by placement.
    Show {
        /// The request.
        id: String,
    },
    /// Withdraw a request that is not yet completed.
    Cancel {
        /// The request.
        id: String,
    },
}

impl RequestVerb {
    /// What fails when it fails.
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::Create(_) => "record the request",
            Self::List => "list requests",
            Self::Show { .. } => "show the request",
            Self::Cancel { .. } => "cancel the request",
        }
    }
}

/// What `request create` takes.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Whose data.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    tenant: String,
    /// A subject; records that name one of several are meant.
    #[arg(long = "subject", value_name = "KIND=VALUE")]
    subjects: Vec<String>,
    /// A whole category.
    #[arg(long = "category", value_name = "C")]
    categories: Vec<String>,
    /// All data of the tenant.
    #[arg(long)]
    everything: bool,
    /// When it was received, as RFC 3339; now where left out.
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    received: Option<DateTime<Utc>>,
    /// Given again, it makes no second request.
    #[arg(long, value_name = "IDEMPOTENCY_KEY")]
    key: Option<String>,
}

/// Answers `request …`.
pub(super) async fn answer(context: &Context, verb: RequestVerb) -> Result<Answer, Failure> {
    match verb {
        RequestVerb::Create(args) => create(context, args).await,
        RequestVerb::List => list(context).await,
        RequestVerb::Show { id } => show(context, &id).await,
        RequestVerb::Cancel { id } => cancel(context, id).await,
    }
}

async fn create(context: &Context, args: CreateArgs) -> Result<Answer, Failure> {
    let tenant = values::tenant(&args.tenant)?;
    if let Some(received_at) = args.received {
        values::not_in_future("--received", received_at, context.now)?;
    }
    let idempotency_key = args.key.as_deref().map(|key| values::words("--key", key)).transpose()?;
    let scope = scope_of(args.subjects, &args.categories, args.everything)?;
    let world = context.world()?;
    let received_at = args.received;
    let asked = AskedRequest { tenant, scope, received_at, submitted_at: None, idempotency_key };
    let new = desk::request_of(&world, asked, context.now).await.map_err(|error| Failure::desk(&error))?;
    for warning in &new.warnings {
        warn(warning);
    }
    let desk = context.desk(&world.config).await?;
    let row = desk::record_request(&*desk.ledger, &new.row, desk.now)
        .await
        .map_err(|error| Failure::desk(&error))?;
    let text = format!("{}\ngone by {}\n", row.request_id, moment(row.deadline, desk.zone, desk.now));
    let answer = Answer::new(&row, text)?;
    Ok(desk.close(answer).await)
}

/// What is asked for: exactly one of the three.
fn scope_of(subjects: Vec<String>, categories: &[String], everything: bool) -> Result<NewScope, Failure> {
    match (subjects.is_empty(), categories.is_empty(), everything) {
        (false, true, false) => Ok(NewScope::Subjects(values::subjects(&subjects)?)),
        (true, false, false) => Ok(NewScope::Categories(values::categories(categories))),
        (true, true, true) => Ok(NewScope::Everything),
        (true, true, false) => Err(Failure::usage("nothing says what is to be erased".to_owned())
            .hint("give --subject KIND=VALUE, --category C or --everything")),
        (false, false, _) | (false, true, true) | (true, false, true) => {
            Err(Failure::usage("more than one of --subject, --category and --everything is given".to_owned())
                .hint("make a request for each"))
        }
    }
}

async fn list(context: &Context) -> Result<Answer, Failure> {
    let config = context.config()?;
    let requests = match context.ledger_to_read(&config).await? {
        Some(ledger) => ledger.requests().await.map_err(|error| Failure::ledger(&error))?,
        None => Vec::new(),
    };
    let columns = [
        Column::Left("request"),
        Column::Left("tenant"),
        Column::Left("state"),
        Column::Left("asks for"),
        Column::Left("received"),
        Column::Left("gone by"),
    ];
    let zone = config.schedule.time_zone;
    let rows: Vec<Vec<String>> = requests
        .iter()
        .map(|row| {
            vec![
                row.request_id.to_string(),
                row.tenant.to_string(),
                state_word(row.state).to_owned(),
                asks_for(row),
                moment(row.received_at, zone, context.now),
                moment(row.deadline, zone, context.now),
            ]
        })
        .collect();
    let text =
        if rows.is_empty() { "No request was ever made.\n".to_owned() } else { table(&columns, &rows) };
    Answer::new(&json!({"requests": requests}), text)
}

async fn show(context: &Context, id: &str) -> Result<Answer, Failure> {
    let config = context.config()?;
    let unknown = || LedgerError::Unknown { what: "request", id: id.to_owned() };
    let ledger = context.ledger_to_read(&config).await?.ok_or_else(|| Failure::ledger(&unknown()))?;
    let row = ledger.request(&RequestId::new(id)).await.map_err(|error| Failure::ledger(&error))?;
    Answer::new(&row, text_of(&row, config.schedule.time_zone, context.now))
}

async fn cancel(context: &Context, id: String) -> Result<Answer, Failure> {
    let config = context.config()?;
    let desk = context.desk(&config).await?;
    let row = desk::cancel_request(&*desk.ledger, &RequestId::new(id), desk.now)
        .await
        .map_err(|error| Failure::desk(&error))?;
    let answer =
        Answer::new(&row, format!("{} is cancelled; no batch serves it from now on\n", row.request_id))?;
    Ok(desk.close(answer).await)
}

fn text_of(row: &RequestRow, zone: Tz, now: DateTime<Utc>) -> String {
    let mut text = format!(
        "{} of tenant {}: {}\n  asks for   {}\n  received   {}\n  gone by    {}\n",
        row.request_id,
        row.tenant,
        state_word(row.state),
        asks_for(row),
        moment(row.received_at, zone, now),
        moment(row.deadline, zone, now)
    );
    if let Some(at) = row.completed_at {
        text.push_str(&format!("  completed  {}\n", moment(at, zone, now)));
    }
    if !row.known {
        text.push_str("  no store knew this tenant when it was recorded\n");
    }
    let columns = [
        Column::Left("placement"),
        Column::Left("state"),
        Column::Right("erased"),
        Column::Right("verified absent"),
        Column::Left("residual"),
    ];
    let rows: Vec<Vec<String>> = row
        .placements
        .iter()
        .map(|placement| {
            let residual: Vec<String> = placement
                .residual
                .iter()
                .map(|left| match left.until {
                    Some(until) => format!("{} until {}", left.what, moment(until, zone, now)),
                    None => left.what.clone(),
                })
                .collect();
            vec![
                placement.placement.to_string(),
                state_word(placement.state).to_owned(),
                count(placement.erased),
                count(placement.verified_absent),
                residual.join("; "),
            ]
        })
        .collect();
    text.push_str(&format!("\n{}", table(&columns, &rows)));
    text
}

fn asks_for(row: &RequestRow) -> String {
    if row.everything {
        return "everything".to_owned();
    }
    if row.subjects.is_empty() {
        return row.categories.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    }
    let subject = |subject: &crate::plan::NamedSubject| {
        format!("{} {:.8}…", subject.kind, subject.fingerprint.as_str())
    };
    row.subjects.iter().map(subject).collect::<Vec<_>>().join(" or ")
}
