//! How requests, holds and batches print: without what they name.
//! It owns those `Debug` implementations, so that no log line and no panic shows a subject's value; nothing else.

use std::fmt::{Debug, Formatter, Result};

use super::{Intent, NewHold, NewRequest, NewScope, OpenIntent};

impl Debug for NewScope {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Everything => f.write_str("Everything"),
            Self::Categories(categories) => f.debug_tuple("Categories").field(categories).finish(),
            Self::Subjects(subjects) => {
                write!(f, "Subjects({} of kinds {:?})", subjects.len(), kinds(subjects))
            }
        }
    }
}

impl Debug for NewRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("NewRequest")
            .field("tenant", &self.tenant)
            .field("scope", &self.scope)
            .field("received_at", &self.received_at)
            .field("deadline", &self.deadline)
            .field("covers", &self.covers)
            .field("placements", &self.placements)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Debug for NewHold {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("NewHold")
            .field("tenant", &self.tenant)
            .field("subjects", &kinds(&self.subjects))
            .field("categories", &self.categories)
            .field("authority", &self.authority)
            .finish()
    }
}

impl Debug for Intent {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Intent")
            .field("run_id", &self.run_id)
            .field("step_id", &self.step_id)
            .field("tenant", &self.tenant)
            .field("generation", &self.generation)
            .field("policy", &self.policy)
            .field("placement", &self.placement)
            .finish_non_exhaustive()
    }
}

impl Debug for OpenIntent {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("OpenIntent")
            .field("number", &self.number)
            .field("run_id", &self.run_id)
            .field("step_id", &self.step_id)
            .field("placement", &self.placement)
            .finish_non_exhaustive()
    }
}

fn kinds(subjects: &[(String, String)]) -> Vec<&str> {
    subjects.iter().map(|(kind, _)| kind.as_str()).collect()
}
