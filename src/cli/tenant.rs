//! `tenant`: the end of an account, its return, and what falls due when. It shapes the answers; the calendar is
//! [`crate::plan::cover::falling`].

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;

use super::context::Context;
use super::output::{Answer, Failure, warn};
use super::values;
use crate::desk::{self, Cycle, Recorded, cycle_of};
use crate::id::TenantId;
use crate::ledger::{TenantRow, TenantState};
use crate::plan::cover::Falling;
use crate::plan::text::{Column, moment, table};

/// The verbs of `tenant`.
#[derive(Debug, Subcommand)]
pub(super) enum TenantVerb {
    /// Tell that the account has ended; prints what falls due when.
    Terminate {
        /// The tenant.
        #[arg(allow_negative_numbers = true)]
        tenant: String,
        /// When it ended, as RFC 3339; now where left out.
        #[arg(long, value_name = "TIME", value_parser = values::time)]
        at: Option<DateTime<Utc>>,
    },
    /// Tell that the account has come back.
    Reinstate {
        /// The tenant.
        #[arg(allow_negative_numbers = true)]
        tenant: String,
    },
    /// Show one tenant.
    Show {
        /// The tenant.
        #[arg(allow_negative_numbers = true)]
        tenant: String,
    },
    /// List the tenants whose account has ended or come back.
    List,
}

impl TenantVerb {
    /// What fails when it fails.
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::Terminate { .. } => "terminate the tenant",
            Self::Reinstate { .. } => "reinstate the tenant",
            Self::Show { .. } => "show the tenant",
            Self::List => "list tenants",
        }
    }
}

/// Answers `tenant …`.
pub(super) async fn answer(context: &Context, verb: TenantVerb) -> Result<Answer, Failure> {
    match verb {
        TenantVerb::Terminate { tenant, at } => terminate(context, &tenant, at).await,
        TenantVerb::Reinstate { tenant } => reinstate(context, &tenant).await,
        TenantVerb::Show { tenant } => show(context, &tenant).await,
        TenantVerb::List => list(context).await,
    }
}

/// A tenant as `contract.md` has it.
#[derive(Serialize)]
struct TenantView<'a> {
    tenant: &'a TenantId,
    state: TenantState,
    terminated_at: Option<DateTime<Utc>>,
    grace_until: Option<DateTime<Utc>>,
    deadline: Option<DateTime<Utc>>,
}

impl<'a> TenantView<'a> {
    fn new(Cycle { row, falling }: &'a Cycle) -> Self {
        Self {
            tenant: &row.tenant,
            state: row.state,
            terminated_at: row.terminated_at,
            grace_until: falling.iter().map(|one| one.grace_until).max(),
            deadline: falling.iter().map(|one| one.deadline).min(),
        }
    }
}

async fn terminate(context: &Context, tenant: &str, at: Option<DateTime<Utc>>) -> Result<Answer, Failure> {
    let tenant = values::tenant(tenant)?;
    let at = at.unwrap_or(context.now);
    values::not_in_future("--at", at, context.now)?;
    let world = context.world()?;
    let desk = context.desk(&world.config).await?;
    let Recorded { row: cycle, warnings } =
        desk::terminate(&world, &*desk.ledger, &tenant, Some(at), desk.now)
            .await
            .map_err(|error| Failure::desk(&error))?;
    for warning in &warnings {
        warn(warning);
    }
    let Cycle { row, falling: due } = &cycle;
    let mut text = format!("{tenant} is terminated as of {}\n", moment(at, desk.zone, desk.now));
    text.push_str(&calendar(due, desk.zone, desk.now));
    let backdated = row.recorded_at > at;
    if backdated && due.iter().any(|one| one.grace_until <= desk.now) {
        text.push_str(
            "\nAlready due: an explicit `enforce` erases it at once, the daemon from 24 hours after now.\n\
             `retentiond tenant reinstate` takes it back as long as the data is there.\n",
        );
    }
    let answer = Answer::new(&TenantView::new(&cycle), text)?;
    Ok(desk.close(answer).await)
}

async fn reinstate(context: &Context, tenant: &str) -> Result<Answer, Failure> {
    let tenant = values::tenant(tenant)?;
    let config = context.config()?;
    let desk = context.desk(&config).await?;
    let row =
        desk::reinstate(&*desk.ledger, &tenant, desk.now).await.map_err(|error| Failure::desk(&error))?;
    let text = format!("{tenant} is active again; no batch serves its termination from now on\n");
    let answer = Answer::new(&TenantView::new(&Cycle { row, falling: Vec::new() }), text)?;
    Ok(desk.close(answer).await)
}

async fn rows(context: &Context, config: &crate::config::Config) -> Result<Vec<TenantRow>, Failure> {
    match context.ledger_to_read(config).await? {
        Some(ledger) => ledger.tenants().await.map_err(|error| Failure::ledger(&error)),
        None => Ok(Vec::new()),
    }
}

async fn show(context: &Context, tenant: &str) -> Result<Answer, Failure> {
    let tenant = values::tenant(tenant)?;
    let world = context.world()?;
    let ledger = context.ledger_to_read(&world.config).await?;
    let row =
        desk::tenant(ledger.as_deref(), &tenant, context.now).await.map_err(|error| Failure::desk(&error))?;
    let cycle = cycle_of(&world.policies, row);
    let Cycle { row, falling: due } = &cycle;
    let zone = world.config.schedule.time_zone;
    let text = match (row.state, row.terminated_at) {
        (TenantState::Terminated, Some(at)) => {
            let when = moment(at, zone, context.now);
            format!("{tenant} is terminated as of {when}\n{}", calendar(due, zone, context.now))
        }
        (TenantState::Terminated, None) | (TenantState::Active, _) => format!("{tenant} is active\n"),
    };
    Answer::new(&TenantView::new(&cycle), text)
}

async fn list(context: &Context) -> Result<Answer, Failure> {
    let world = context.world()?;
    let tenants = rows(context, &world.config).await?;
    let cycles: Vec<Cycle> = tenants.into_iter().map(|row| cycle_of(&world.policies, row)).collect();
    let views: Vec<TenantView<'_>> = cycles.iter().map(TenantView::new).collect();
    let zone = world.config.schedule.time_zone;
    let when = |at: Option<DateTime<Utc>>| at.map(|at| moment(at, zone, context.now)).unwrap_or_default();
    let columns = [
        Column::Left("tenant"),
        Column::Left("state"),
        Column::Left("terminated"),
        Column::Left("untouched until"),
        Column::Left("gone by"),
    ];
    let rows: Vec<Vec<String>> = views
        .iter()
        .map(|view| {
            let state = match view.state {
                TenantState::Active => "active",
                TenantState::Terminated => "terminated",
            };
            vec![
                view.tenant.to_string(),
                state.to_owned(),
                when(view.terminated_at),
                when(view.grace_until),
                when(view.deadline),
            ]
        })
        .collect();
    let text = if rows.is_empty() { "No account has ended.\n".to_owned() } else { table(&columns, &rows) };
    Answer::new(&json!({"tenants": views}), text)
}

fn calendar(due: &[Falling], zone: Tz, now: DateTime<Utc>) -> String {
    if due.is_empty() {
        return "No policy has a termination rule, so nothing falls due.\n".to_owned();
    }
    let columns = [
        Column::Left("category"),
        Column::Left("untouched until"),
        Column::Left("gone by"),
        Column::Left("clause"),
    ];
    let rows: Vec<Vec<String>> = due
        .iter()
        .map(|one| {
            vec![
                one.category.to_string(),
                moment(one.grace_until, zone, now),
                moment(one.deadline, zone, now),
                one.clause.clone(),
            ]
        })
        .collect();
    table(&columns, &rows)
}
