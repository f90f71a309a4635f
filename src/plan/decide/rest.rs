//! Until when what could go rests all the same: for an export that its tenant waits for, and after a termination that was
//! told late. It owns these two instants; which records they concern is the parent's.

use chrono::{DateTime, Utc};

use super::names;
use crate::facts::{LedgerFacts, OpenExport, TerminatedTenant};
use crate::id::TenantId;
use crate::plan::due;
use crate::policy::{Period, Policy};

/// So long before the deadline a tenant that still waits for its export no longer delays destruction: an operator has
/// these days to finish the export or to decide without it. With the promised 30 days it is day 27.
const EXPORT_LEAD: Period = Period { months: 0, days: 3 };

/// Until when a tenant's data rests since the tenant waits for an export: a fixed distance before the deadline. Only
/// what takes all of a category rests; a person's request is never delayed by an export.
pub(in crate::plan) fn awaited_until(
    policy: &Policy,
    tenant: &TenantId,
    ledger: &LedgerFacts,
    deadline: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let waits = |export: &OpenExport| &export.tenant == tenant && names(&export.categories, &policy.category);
    let until = || due::lead_deadline(deadline, EXPORT_LEAD, policy.time_zone);
    ledger.exports.iter().any(waits).then(until)
}

/// Until when a termination rests whose grace was over already when it was recorded; the end of its grace otherwise.
pub(in crate::plan) fn rests_until(
    ledger: &LedgerFacts,
    ended: &TerminatedTenant,
    grace_until: DateTime<Utc>,
) -> DateTime<Utc> {
    let rest = ledger.untouched.get(&ended.tenant).copied().filter(|_| grace_until <= ended.recorded_at);
    rest.unwrap_or(grace_until)
}
