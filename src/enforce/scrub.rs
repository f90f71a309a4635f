//! After the batches: scrubs that are owed, the level that each step reached, and what is left where nobody can reach it.
//! It owns no batch; levels are the stores' own word.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Run;
use super::settle;
use super::step::reached;
use super::unit::insist;
use crate::gather::Trouble;
use crate::id::PlacementId;
use crate::plan::{Residual, due};
use crate::policy::Method;
use crate::stores::{Store, StoreError};

impl Run<'_> {
    /// Rebuilds what stores still keep of zeroed bytes, once per placement, and settles each step's level.
    /// Once the process is to stop nothing is rebuilt, nor where a run that others help with was stopped: their last batches
    /// may end later. The scrub stays owed then, and the next run begins with it.
    pub(super) async fn scrub(&mut self) -> Result<(), Trouble> {
        for placement in self.ledger.scrubs_owed().await? {
            if self.is_to_stop() || (self.is_shared && self.stop.is_some()) {
                self.leave_scrub(&placement);
                continue;
            }
            let Some((_, known)) = self.world.policies.placement(&placement) else {
                self.failures.push(format!(
                    "placement `{placement}` is to be scrubbed, but no policy names it any more: put it back"
                ));
                continue;
            };
            let id = known.store.clone();
            let store = match self.stores.get(&id) {
                Some(store) => Arc::clone(store),
                None => match self.reopen(&id).await? {
                    Some(store) => store,
                    None => continue,
                },
            };
            let sign = self.sign;
            let scrubbed = tokio::select! {
                biased;
                // Rebuilding may take hours and can be begun anew at any time.
                () = sign.cancelled() => None,
                scrubbed = insist(|| store.scrub(known)) => Some(scrubbed),
            };
            match scrubbed {
                None => self.leave_scrub(&placement),
                Some(Ok(scrubbed)) => {
                    let wanted =
                        known.accept_level.map_or(Method::Zero.level(), |l| l.min(Method::Zero.level()));
                    let reached = reached(&store.capability(), known, scrubbed.level);
                    if reached >= wanted {
                        self.ledger.scrub_paid(&placement).await?;
                    } else {
                        self.failures.push(format!(
                            "placement `{placement}` was not scrubbed; the next run tries again"
                        ));
                    }
                    for draft in self.drafts.iter_mut().filter(|draft| draft.is_zero_on(&placement)) {
                        draft.residual.extend(scrubbed.residual.iter().cloned());
                        draft.reach(reached);
                    }
                }
                Some(Err(error)) => {
                    self.failures.push(error.to_string());
                    for draft in self.drafts.iter_mut().filter(|draft| draft.is_zero_on(&placement)) {
                        draft.fail(error.to_string());
                    }
                }
            }
        }
        let stores = &self.stores;
        for draft in self.drafts.iter_mut().filter(|draft| draft.step.method != Method::Zero) {
            let levels = stores.get(&draft.step.store).map(|store| store.capability().levels);
            let level = levels.and_then(|levels| levels.get(&draft.step.method).copied());
            draft.reach(level.unwrap_or(crate::policy::Level::Deleted).min(draft.step.method.level()));
        }
        self.state_residual().await;
        Ok(())
    }

    /// The steps that need the scrub have not reached their level.
    fn leave_scrub(&mut self, placement: &PlacementId) {
        for draft in self.drafts.iter_mut().filter(|draft| draft.is_zero_on(placement)) {
            draft.fail("the run was interrupted before the scrub that it needs");
        }
    }

    /// States what is left of erased records where nobody can reach it: what the store keeps by itself, and the sets of
    /// backups of the category that rotate.
    async fn state_residual(&mut self) {
        let now = self.world.clock.now();
        let mut asked: BTreeMap<PlacementId, Result<Vec<Residual>, StoreError>> = BTreeMap::new();
        for draft in self.drafts.iter_mut().filter(|draft| draft.total().erased > 0) {
            let Some((policy, placement)) = self.world.policies.placement(&draft.step.placement) else {
                continue;
            };
            if !asked.contains_key(&placement.name)
                && let Some(store) = self.stores.get(&placement.store)
            {
                let answer = insist(|| store.residual(placement, now)).await;
                asked.insert(placement.name.clone(), answer);
            }
            match asked.get(&placement.name) {
                Some(Ok(residual)) => draft.residual.extend(residual.iter().cloned()),
                Some(Err(error)) => draft.fail(error.to_string()),
                None => {}
            }
            let rotating = policy.placements.iter().filter_map(|backup| Some((backup, backup.rotation?)));
            draft.residual.extend(rotating.map(|(backup, rotation)| Residual {
                what: settle::rotating(backup),
                until: Some(due::due_at(now, rotation, policy.time_zone)),
            }));
        }
    }

    /// A store whose scrub is owed from an earlier run; it must be the one meant as well.
    pub(super) async fn reopen(
        &mut self,
        id: &crate::id::StoreId,
    ) -> Result<Option<Arc<dyn Store>>, Trouble> {
        let Some(config) = self.world.config.stores.get(id) else { return Ok(None) };
        let opened = match crate::stores::open_store(id, config).await {
            Ok(store) => self.identify(id, store.as_ref()).await.map(|()| store),
            Err(error) => Err(Trouble::from(error)),
        };
        match opened {
            Ok(store) => {
                self.stores.insert(id.clone(), Arc::clone(&store));
                Ok(Some(store))
            }
            Err(trouble) => {
                self.failures.push(trouble.to_string());
                Ok(None)
            }
        }
    }
}
