//! The command line: what can be typed, and which handler answers. It owns the definitions and the exit codes on the
//! way out; each verb group has a file of its own below, which parses, calls one service and shapes the answer.

mod adopt;
mod audit;
mod certificate;
mod check;
mod complete;
mod context;
mod demo;
mod enforce;
mod entitlement;
mod explain;
mod export;
mod grants;
mod hold;
mod output;
mod plan;
mod request;
mod schema;
mod serve;
mod simulate;
mod status;
mod switch;
mod tenant;
mod token;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::clock::Clock;
use context::Context;
use output::{Answer, Failure, Logs};

/// Everything that can be typed.
#[derive(Debug, Parser)]
#[command(
    name = "retentiond",
    version,
    about = "Erases what must be forgotten, when it must be, in every store, and keeps evidence.",
    long_about = "retentiond reads declarative policies, works out what must be forgotten when, erases it in every \
                  store that holds a copy, looks again to see that it is gone, and keeps evidence that an outsider \
                  can check.\n\nNever early; never late without an alarm; never says erased unless it looked again.",
    after_help = "Exit codes: 0 done; 1 something that should have happened did not; 2 usage, configuration or \
                  policy error; 3 refused; 4 a promise is overdue (status); 5 audit log damaged (audit verify).",
    arg_required_else_help = true,
    disable_help_subcommand = true,
    infer_subcommands = false
)]
struct Cli {
    /// The configuration.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "RETENTIOND_CONFIG",
        default_value = "retentiond.toml"
    )]
    config: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// The verbs of `contract.md` that this version has.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Validate configuration and policies.
    Check {
        /// Also ask the stores: reachable, identity, columns and types, indexes, privileges.
        #[arg(long)]
        online: bool,
    },
    /// Show what is due and what is kept, and why. Changes nothing.
    Plan(plan::PlanArgs),
    /// Gather, plan, review, erase and verify, once.
    Enforce(enforce::EnforceArgs),
    /// Serve: run on the schedule, and whenever a request has waited long enough.
    Serve,
    /// Show the promises at a glance: due, overdue, at risk, held, parked, last run, audit head.
    Status,
    /// Explain one record: when it is due, why or why not, and which clause says so.
    Explain(explain::ExplainArgs),
    /// Show the calendar of what will be erased when.
    Simulate(SimulateArgs),
    /// Record, list and cancel erasure requests.
    #[command(subcommand)]
    Request(request::RequestVerb),
    /// Tell of the end of an account, and of its return.
    #[command(subcommand)]
    Tenant(tenant::TenantVerb),
    /// Place, release and list lawful orders to keep data.
    #[command(subcommand)]
    Hold(hold::HoldVerb),
    /// Grant, end and list longer storage.
    #[command(subcommand)]
    Entitlement(entitlement::EntitlementVerb),
    /// Let a tenant take its data along: records, objects and files, with a manifest.
    Export(export::ExportArgs),
    /// The emergency stop: no batch begins anywhere until `go`.
    Stop {
        /// Why; shown to whoever is stopped by it.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// End the emergency stop.
    Go,
    /// Make, list and revoke the tokens of the HTTP interface.
    #[command(subcommand)]
    Token(token::TokenVerb),
    /// Say that a store which was moved or restored is the one meant: it is refused until then.
    Adopt(adopt::AdoptArgs),
    /// Verify, show and export the tamper-evident log.
    #[command(subcommand)]
    Audit(audit::AuditVerb),
    /// Show what was erased, where, how, verified when, and what is residual until when.
    Certificate(certificate::CertificateArgs),
    /// Print the least privileges that the stores need, as SQL, ACL and bucket-policy text.
    Grants,
    /// Print a JSON Schema, for editors.
    Schema {
        /// Of which file.
        which: schema::Which,
    },
    #[command(about = "Build a small contact center on SQLite and files, and walk through the main job")]
    Demo {
        /// Where to build it.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, of a verb where one is named.
    Man {
        /// The verb.
        verb: Vec<String>,
    },
}

impl Verb {
    /// What fails when it fails, as it stands after "failed to".
    fn operation(&self) -> &'static str {
        match self {
            Self::Check { .. } => "check",
            Self::Plan(_) => "plan",
            Self::Enforce(_) => "enforce",
            Self::Serve => "serve",
            Self::Status => "show the status",
            Self::Explain(_) => "explain the record",
            Self::Simulate(_) => "simulate",
            Self::Request(verb) => verb.operation(),
            Self::Tenant(verb) => verb.operation(),
            Self::Hold(verb) => verb.operation(),
            Self::Entitlement(verb) => verb.operation(),
            Self::Export(args) => args.operation(),
            Self::Stop { .. } => "stop",
            Self::Go => "end the stop",
            Self::Token(verb) => verb.operation(),
            Self::Adopt(_) => "adopt the store",
            Self::Audit(verb) => verb.operation(),
            Self::Certificate(_) => "make the certificate",
            Self::Grants => "print the grants",
            Self::Schema { .. } => "print the schema",
            Self::Demo { .. } => "run the demo",
            Self::Completions { .. } => "print completions",
            Self::Man { .. } => "print the manual page",
        }
    }
}

/// From when to when the calendar goes.
#[derive(Debug, Args)]
struct SimulateArgs {
    /// The first instant, as RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    from: DateTime<Utc>,
    /// The last instant, as RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    to: DateTime<Utc>,
}

/// What was typed, read and found well-formed.
#[derive(Debug)]
pub struct Invocation(Cli);

/// Reads the arguments. Where they ask for help, it is printed and the answer is exit code 0.
///
/// # Errors
/// The exit code; what was wrong has been said.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, u8> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    Cli::try_parse_from(&arguments).map(Invocation).map_err(|error| output::usage(&error, &arguments))
}

/// Answers what was typed; the result is the exit code.
pub async fn run(invocation: Invocation) -> u8 {
    let Cli { config, json, verb } = invocation.0;
    let operation = verb.operation();
    let logs = if matches!(verb, Verb::Serve) { Logs::of_service(json) } else { Logs::Command };
    let answer = match output::start_logging(logs) {
        Ok(()) => answer(verb, Context::new(config, json, Clock::System)).await,
        Err(failure) => Err(failure),
    };
    output::deliver(answer.map_err(|failure| failure.during(operation)), json)
}

/// Says that the runtime could not be started; the result is the exit code.
pub fn failed_to_start(error: &std::io::Error) -> u8 {
    output::deliver(Err(Failure::unmet(format!("failed to start the runtime: {error}"))), false)
}

async fn answer(verb: Verb, context: Context) -> Result<Answer, Failure> {
    match verb {
        Verb::Check { online } => check::check(&context, online).await,
        Verb::Plan(args) => plan::plan(&context, args).await,
        Verb::Enforce(args) => enforce::enforce(&context, args).await,
        Verb::Serve => serve::serve(&context).await,
        Verb::Status => status::status(&context).await,
        Verb::Explain(args) => explain::explain(&context, args).await,
        Verb::Simulate(args) => simulate::simulate(&context, args.from, args.to).await,
        Verb::Request(verb) => request::answer(&context, verb).await,
        Verb::Tenant(verb) => tenant::answer(&context, verb).await,
        Verb::Hold(verb) => hold::answer(&context, verb).await,
        Verb::Entitlement(verb) => entitlement::answer(&context, verb).await,
        Verb::Export(args) => export::answer(&context, args).await,
        Verb::Stop { reason } => switch::stop(&context, reason.as_deref()).await,
        Verb::Go => switch::go(&context).await,
        Verb::Token(verb) => token::answer(&context, verb).await,
        Verb::Adopt(args) => adopt::adopt(&context, args).await,
        Verb::Audit(verb) => audit::answer(&context, verb).await,
        Verb::Certificate(args) => certificate::certificate(&context, args).await,
        Verb::Grants => grants::grants(&context),
        Verb::Schema { which } => schema::schema(which),
        Verb::Demo { dir } => demo::demo(&context, dir).await,
        Verb::Completions { shell } => Ok(complete::completions(shell, Cli::command())),
        Verb::Man { verb } => complete::man(&verb, Cli::command()),
    }
}
