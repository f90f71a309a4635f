//! `token`: bearer tokens of the HTTP interface are made, listed and revoked. It shapes the answers; a token is printed once
//! and kept nowhere.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::context::Context;
use super::output::{Answer, Failure, note};
use super::values;
use crate::http::new_token;
use crate::id::TokenId;
use crate::ledger::{NewToken, Role, TokenRow};
use crate::plan::text::{Column, moment, table};

/// The verbs of `token`.
#[derive(Debug, Subcommand)]
pub(super) enum TokenVerb {
    /// Make a token; it is printed once.
    Create(CreateArgs),
    /// List all tokens, without what opens anything.
    List,
    /// Revoke a token.
    Revoke {
        /// The token's id.
        id: String,
    },
}

impl TokenVerb {
    /// What fails when it fails.
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::Create(_) => "make the token",
            Self::List => "list tokens",
            Self::Revoke { .. } => "revoke the token",
        }
    }
}

/// What `token create` takes.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The person or service that bears it: two tokens of one principal are one person.
    #[arg(long, value_name = "P")]
    principal: String,
    /// What it may do.
    #[arg(long)]
    role: RoleWord,
    /// The one tenant of a requester.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    tenant: Option<String>,
    /// From when on it is no longer good, as RFC 3339; until it is revoked where left out.
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    expires: Option<DateTime<Utc>>,
}

/// A role, as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleWord {
    /// Asks for its own tenant.
    Requester,
    /// Runs the service; proposes what takes two persons.
    Operator,
    /// Approves what another person proposed.
    Approver,
    /// Reads.
    Auditor,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Requester => Self::Requester,
            RoleWord::Operator => Self::Operator,
            RoleWord::Approver => Self::Approver,
            RoleWord::Auditor => Self::Auditor,
        }
    }
}

/// Answers `token …`.
pub(super) async fn answer(context: &Context, verb: TokenVerb) -> Result<Answer, Failure> {
    match verb {
        TokenVerb::Create(args) => create(context, args).await,
        TokenVerb::List => list(context).await,
        TokenVerb::Revoke { id } => revoke(context, id).await,
    }
}

async fn create(context: &Context, args: CreateArgs) -> Result<Answer, Failure> {
    let principal = values::words("--principal", &args.principal)?;
    if principal.contains(':') || principal.contains(char::is_whitespace) {
        return Err(Failure::usage("--principal is not valid: it holds a colon or white space".to_owned()));
    }
    let role = Role::from(args.role);
    let tenant = args.tenant.as_deref().map(values::tenant).transpose()?;
    match (role, &tenant) {
        (Role::Requester, None) => {
            return Err(Failure::usage("a requester asks for one tenant, and none is given".to_owned())
                .hint("give --tenant T"));
        }
        (Role::Operator | Role::Approver | Role::Auditor, Some(_)) => {
            return Err(
                Failure::usage("only a requester is bound to a tenant".to_owned()).hint("leave --tenant out")
            );
        }
        (Role::Requester, Some(_)) | (Role::Operator | Role::Approver | Role::Auditor, None) => {}
    }
    if args.expires.is_some_and(|at| at <= context.now) {
        return Err(Failure::usage("--expires lies in the past, so it would never be good".to_owned()));
    }
    let config = context.config()?;
    let (token, digest) = new_token().map_err(|error| Failure::ledger(&error))?;
    let desk = context.desk(&config).await?;
    let new = NewToken { principal, role, tenant, digest, expires_at: args.expires };
    let row = desk.ledger.make_token(&new, desk.now).await.map_err(|error| Failure::ledger(&error))?;
    note("the token is shown this once; its id revokes it and opens nothing");
    let mut json = json_of(&row)?;
    if let Some(fields) = json.as_object_mut() {
        fields.insert("token".to_owned(), Value::from(token.expose_secret()));
    }
    let answer = Answer::new(&json, format!("{}\n{}\n", row.token_id, token.expose_secret()))?;
    Ok(desk.close(answer).await)
}

fn json_of(row: &TokenRow) -> Result<Value, Failure> {
    serde_json::to_value(row)
        .map_err(|error| Failure::unmet(format!("failed to write the answer as JSON: {error}")))
}

async fn revoke(context: &Context, id: String) -> Result<Answer, Failure> {
    let config = context.config()?;
    let desk = context.desk(&config).await?;
    let row = desk
        .ledger
        .revoke_token(&TokenId::new(id), desk.now)
        .await
        .map_err(|error| Failure::ledger(&error))?;
    let answer = Answer::new(&row, format!("{} is revoked; it opens nothing from now on\n", row.token_id))?;
    Ok(desk.close(answer).await)
}

async fn list(context: &Context) -> Result<Answer, Failure> {
    let config = context.config()?;
    let tokens = match context.ledger_to_read(&config).await? {
        Some(ledger) => ledger.tokens().await.map_err(|error| Failure::ledger(&error))?,
        None => Vec::new(),
    };
    let zone = config.schedule.time_zone;
    let when = |at: Option<DateTime<Utc>>| at.map(|at| moment(at, zone, context.now)).unwrap_or_default();
    let columns = ["token", "principal", "role", "tenant", "made", "expires", "revoked"].map(Column::Left);
    let row = |row: &TokenRow| {
        vec![
            row.token_id.to_string(),
            row.principal.clone(),
            role_word(row.role).to_owned(),
            row.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            when(Some(row.made_at)),
            when(row.expires_at),
            when(row.revoked_at),
        ]
    };
    let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
    let text = if rows.is_empty() { "No token was ever made.\n".to_owned() } else { table(&columns, &rows) };
    Answer::new(&json!({"tokens": tokens}), text)
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Requester => "requester",
        Role::Operator => "operator",
        Role::Approver => "approver",
        Role::Auditor => "auditor",
    }
}
