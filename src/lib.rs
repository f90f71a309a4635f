//! retentiond: a data retention and deletion enforcer.
//!
//! It reads declarative policies (one TOML file per data category), works out what must be forgotten when, erases
//! it in every store that holds it, looks again to see that it is gone, and keeps evidence that an outsider can
//! check. Three sentences decide every argument: never early; never late without an alarm; never say *erased*
//! unless we looked again where a restore would look.
//!
//! Read the modules in this order:
//!
//! 1. [`id`], [`clock`] — names and now
//! 2. [`policy`], [`facts`] — what was promised, what is known
//! 3. [`plan`] — what follows from the two; pure
//! 4. [`stores`], [`ledger`] — the traits and what implements them
//! 5. [`gather`], [`enforce`], [`audit`], [`evidence`] — facts in, outcomes out, proof of both
//! 6. [`desk`], [`alarms`], [`outgoing`] — what is asked for, what is not as promised, who is told
//! 7. [`service`], [`daemon`], [`http`], [`config`], [`cli`] — the outside
//! 6. [`alarms`], [`metrics`] — what is not as promised, and who is told
//! 7. [`service`], [`config`], [`telemetry`], [`cli`] — the outside
//! 6. [`service`], [`daemon`], [`config`], [`cli`] — the outside
//! 6. [`desk`], [`service`], [`http`], [`config`], [`cli`] — the outside
//! 6. [`export`] — a tenant takes its data along
//! 7. [`service`], [`config`], [`cli`] — the outside
//! 6. [`service`], [`daemon`], [`config`], [`cli`] — the outside
//! 6. [`desk`], [`service`], [`http`], [`config`], [`cli`] — the outside

pub mod alarms;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod deliveries;
pub mod desk;
pub mod enforce;
pub mod evidence;
pub mod export;
pub mod facts;
pub mod gather;
pub mod http;
pub mod id;
pub mod ledger;
pub mod metrics;
pub mod opendsr;
pub mod outgoing;
pub mod plan;
pub mod policy;
pub mod schedule;
pub mod service;
pub mod stores;
pub mod telemetry;
