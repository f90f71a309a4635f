//! Rollovers: what happened since the last one goes to the tenant's own bucket, on a schedule. It owns the spans, which
//! meet and never overlap; carrying one out is the same as any export.
//!
//! A record belongs to the span in which it happened, by its own event time, so that it is in one rollover and in no other.
//! Each span ends [`LATENESS`] before its instant: a record that is written within that time after it happened is in it. One
//! that is written later is in none, and a record without an event time neither; an export takes both.

use chrono::{DateTime, TimeDelta, Utc};

use super::door::require_apart;
use super::place::Place;
use crate::config::RolloverConfig;
use crate::gather::{Trouble, World};
use crate::ledger::{ExportRow, Ledger, NewExport};
use crate::plan::due::FAR_PAST;
use crate::schedule::CronExpr;

/// How long a record may take from when it happened until it is written. A call is written when it ends, and hardly any
/// lasts longer; recordings are uploaded within minutes after that.
pub const LATENESS: TimeDelta = TimeDelta::hours(4);

/// How far back the last instant of a schedule is looked for; a process that was away for longer makes one rollover of it.
const LOOK_BACK: [TimeDelta; 4] =
    [TimeDelta::hours(2), TimeDelta::days(2), TimeDelta::days(40), TimeDelta::days(800)];

/// Asks for every rollover whose instant has come, once, however many processes do; [`super::work_off`] carries them out.
/// Answers with those that were asked for. What was missed is made up by one.
///
/// # Errors
/// Where the ledger cannot be reached, or a rollover's target is none.
pub async fn due_rollovers(
    world: &World,
    ledger: &dyn Ledger,
    now: DateTime<Utc>,
) -> Result<Vec<ExportRow>, Trouble> {
    let (mut asked, mut first) = (Vec::new(), None);
    for (name, rollover) in &world.config.rollovers {
        let Some(tick) = last_instant(world, rollover, now) else { continue };
        match roll_over(world, ledger, name, tick, now).await {
            Ok(row) => asked.extend(row),
            // The others are asked for all the same.
            Err(trouble) => first = first.or(Some(trouble)),
        }
    }
    first.map_or(Ok(asked), Err)
}

/// Asks for the rollover of an instant; `None` where somebody has done so, or nothing is left to take.
///
/// # Errors
/// As [`due_rollovers`].
pub async fn roll_over(
    world: &World,
    ledger: &dyn Ledger,
    name: &str,
    tick: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Option<ExportRow>, Trouble> {
    let Some(rollover) = world.config.rollovers.get(name) else {
        return Err(Trouble::Schema(format!("there is no rollover `{name}`")));
    };
    let base = format!("{}/{name}/", rollover.to.trim_end_matches('/'));
    let up_to = tick - LATENESS;
    let target = format!("{base}{}", up_to.format("%Y%m%dT%H%M%SZ"));
    let place = Place::of(world, &target)?;
    let mut others = ledger.exports().await?;
    // That of this instant may have been asked for already.
    others.retain(|row| row.target != target);
    require_apart(world, &others, &place).await?;
    if !ledger.claim_tick(&format!("rollover/{name}"), tick, now).await? {
        return Ok(None);
    }
    // From where the last one ended, whatever became of it: one that failed is tried again by itself.
    let rows = ledger.exports().await?;
    let ends = rows.iter().filter(|row| row.tenant == rollover.tenant && row.target.starts_with(&base));
    let after = ends.filter_map(|row| row.between.map(|(_, end)| end)).max().unwrap_or(FAR_PAST);
    if up_to <= after {
        return Ok(None);
    }
    let new = NewExport {
        tenant: rollover.tenant.clone(),
        categories: rollover.categories.clone(),
        target,
        between: Some((after, up_to)),
    };
    Ok(Some(ledger.ask_export(&new, now).await?))
}

/// The last instant of its schedule up to now.
fn last_instant(world: &World, rollover: &RolloverConfig, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let cron = CronExpr::parse(&rollover.cron).ok()?;
    let zone = world.config.schedule.time_zone;
    for back in LOOK_BACK {
        let mut last = None;
        let mut at = now - back;
        while let Some(next) = cron.next_after(at, zone).filter(|next| *next <= now) {
            (last, at) = (Some(next), next);
        }
        if last.is_some() {
            return last;
        }
    }
    None
}
