//! How many files of exports are pulled at the same time: a few, and fewer by one principal, so that slow readers hold
//! neither memory nor disk. It owns the counting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ApiError, Limits, locked};

/// Pulls under way.
pub(super) struct Pulls {
    all: Arc<Semaphore>,
    each: usize,
    by: Arc<Mutex<HashMap<String, usize>>>,
}

/// The place of one pull, until dropped.
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    by: Arc<Mutex<HashMap<String, usize>>>,
    principal: String,
}

impl Pulls {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { all: Arc::new(Semaphore::new(limits.pulls)), each: limits.pulls_each, by: Arc::default() }
    }

    /// A place for one more.
    ///
    /// # Errors
    /// 429 where the principal has its share already, 503 where all are taken.
    pub(super) fn begin(&self, principal: &str) -> Result<Place, ApiError> {
        let mut by = locked(&self.by);
        if by.get(principal).is_some_and(|count| *count >= self.each) {
            let message = "this principal pulls as many files at once as it may";
            return Err(ApiError::later(StatusCode::TOO_MANY_REQUESTS, "too-many-pulls", message, 5));
        }
        let busy = || {
            let message = "too many files are being pulled; ask again";
            ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "busy", message, 5)
        };
        let of_all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| busy())?;
        *by.entry(principal.to_owned()).or_default() += 1;
        Ok(Place { _of_all: of_all, by: Arc::clone(&self.by), principal: principal.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by = locked(&self.by);
        if let Some(count) = by.get_mut(&self.principal) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                by.remove(&self.principal);
            }
        }
    }
}
