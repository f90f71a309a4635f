//! `entitlement`: longer storage is granted, ended and listed. It shapes the answers; which rule an entitlement
//! suspends is said by the policies.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::json;

use super::context::Context;
use super::output::{Answer, Failure};
use super::values;
use crate::desk::{self, AskedGrant};
use crate::id::EntitlementId;
use crate::ledger::EntitlementRow;
use crate::plan::text::{Column, moment, table};

/// The verbs of `entitlement`.
#[derive(Debug, Subcommand)]
pub(super) enum EntitlementVerb {
    /// Grant longer storage.
    Grant(GrantArgs),
    /// End it; what is over age is due.
    End {
        /// The entitlement.
        id: String,
    },
    /// List all entitlements.
    List,
}

impl EntitlementVerb {
    /// What fails when it fails.
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::Grant(_) => "grant the entitlement",
            Self::End { .. } => "end the entitlement",
            Self::List => "list entitlements",
        }
    }
}

/// What `entitlement grant` takes.
#[derive(Debug, Args)]
pub(super) struct GrantArgs {
    /// The name that age rules refer to.
    name: String,
    /// Whose data.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    tenant: String,
    /// Only this category, or another one given.
    #[arg(long = "category", value_name = "C")]
    categories: Vec<String>,
    /// Until when it runs, as RFC 3339; until it is ended where left out.
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    until: Option<DateTime<Utc>>,
}

/// Answers `entitlement …`.
pub(super) async fn answer(context: &Context, verb: EntitlementVerb) -> Result<Answer, Failure> {
    match verb {
        EntitlementVerb::Grant(args) => grant(context, args).await,
        EntitlementVerb::End { id } => end(context, id).await,
        EntitlementVerb::List => list(context).await,
    }
}

async fn grant(context: &Context, args: GrantArgs) -> Result<Answer, Failure> {
    let tenant = values::tenant(&args.tenant)?;
    if args.until.is_some_and(|until| until <= context.now) {
        return Err(Failure::usage("--until lies in the past, so it would never run".to_owned()));
    }
    let categories = values::categories(&args.categories);
    let world = context.world()?;
    let asked = AskedGrant { name: args.name, tenant, categories, until: args.until };
    let new = desk::grant_of(&world.policies, asked, context.now).map_err(|error| Failure::desk(&error))?;
    let desk = context.desk(&world.config).await?;
    let row = desk::grant_entitlement(&*desk.ledger, &new, desk.now)
        .await
        .map_err(|error| Failure::desk(&error))?;
    let until = row.until.map_or("until it is ended".to_owned(), |until| {
        format!("until {}", moment(until, desk.zone, desk.now))
    });
    let answer = Answer::new(&row, format!("{}\nruns {until}\n", row.entitlement_id))?;
    Ok(desk.close(answer).await)
}

async fn end(context: &Context, id: String) -> Result<Answer, Failure> {
    let config = context.config()?;
    let desk = context.desk(&config).await?;
    let row = desk::end_entitlement(&*desk.ledger, &EntitlementId::new(id), desk.now)
        .await
        .map_err(|error| Failure::desk(&error))?;
    let text = format!("{} is ended; what is over age is due\n", row.entitlement_id);
    let answer = Answer::new(&row, text)?;
    Ok(desk.close(answer).await)
}

async fn list(context: &Context) -> Result<Answer, Failure> {
    let config = context.config()?;
    let entitlements = match context.ledger_to_read(&config).await? {
        Some(ledger) => ledger.entitlements().await.map_err(|error| Failure::ledger(&error))?,
        None => Vec::new(),
    };
    let zone = config.schedule.time_zone;
    let when = |at: Option<DateTime<Utc>>| at.map(|at| moment(at, zone, context.now)).unwrap_or_default();
    let columns = [
        Column::Left("entitlement"),
        Column::Left("name"),
        Column::Left("tenant"),
        Column::Left("categories"),
        Column::Left("granted"),
        Column::Left("until"),
        Column::Left("ended"),
    ];
    let row = |row: &EntitlementRow| {
        let categories = row.categories.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        vec![
            row.entitlement_id.to_string(),
            row.name.clone(),
            row.tenant.to_string(),
            if categories.is_empty() { "all that name it".to_owned() } else { categories },
            when(Some(row.granted_at)),
            when(row.until),
            when(row.ended_at),
        ]
    };
    let rows: Vec<Vec<String>> = entitlements.iter().map(row).collect();
    let text = if rows.is_empty() {
        "No entitlement was ever granted.\n".to_owned()
    } else {
        table(&columns, &rows)
    };
    Answer::new(&json!({"entitlements": entitlements}), text)
}
