//! (being built)
use crate::{
    facts::Facts,
    plan::{Plan, Selection},
    policy::Policies,
};
use chrono::{DateTime, Utc};
/// (being built)
pub fn plan(_policies: &Policies, _facts: &Facts, _now: DateTime<Utc>) -> Plan {
    unimplemented!()
}
/// (being built)
pub fn selections(_policies: &Policies, _facts: &Facts, _now: DateTime<Utc>) -> Vec<Selection> {
    unimplemented!()
}
