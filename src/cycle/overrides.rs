//! People's holds and pins. In: requests from the API. Out: an override that is durable before anybody is told so, and
//! that ends by itself.

use super::Cycle;
use crate::control::{OverrideAsk, OverrideRefused};
use crate::store::OverrideRow;
use contract::{CAPACITY_MAX, Timestamp};
use policies::facts::Override;
use std::sync::Arc;
use std::time::Duration;

/// The longest override: one that outlives everybody's memory of it is a policy.
const LASTS_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// One request for an override.
pub(crate) struct Asked {
    pub fleet: Arc<str>,
    pub ask: OverrideAsk,
    pub lasts: Duration,
    pub reason: Arc<str>,
    pub by: Arc<str>,
}

impl Cycle {
    /// Holds or pins a fleet.
    pub async fn override_fleet(&mut self, asked: Asked) -> Result<OverrideRow, OverrideRefused> {
        let Asked { fleet, ask, lasts, reason, by } = asked;
        let at = self.find(&fleet)?;
        if lasts == Duration::ZERO || lasts > LASTS_MAX {
            return Err(OverrideRefused::Invalid("an override lasts from a moment up to a year".into()));
        }
        if reason.trim().is_empty() {
            return Err(OverrideRefused::Invalid("an override needs a reason: others will see it".into()));
        }
        let now = self.clock.now();
        let until = now.after(lasts);
        let what = match ask {
            OverrideAsk::Hold { scale_in_only } => Override::Hold { until, scale_in_only, reason },
            OverrideAsk::Pin { n, .. } if n > CAPACITY_MAX => {
                return Err(OverrideRefused::Invalid(format!("{n} instances are more than {CAPACITY_MAX}")));
            }
            OverrideAsk::Pin { n, now } => Override::Pin { n, until, now, reason },
        };
        let row = OverrideRow { fleet: Arc::clone(&fleet), what, by, at: now };
        self.keep_override(fleet, Some(row.clone())).await?;
        tracing::info!(fleet = %row.fleet, by = %row.by, what = ?row.what, "A person overrides the fleet.");
        self.set_override(at, Some(Arc::new(row.clone())));
        Ok(row)
    }

    /// Ends a fleet's override.
    pub async fn release_fleet(&mut self, fleet: Arc<str>, by: &str) -> Result<Option<OverrideRow>, OverrideRefused> {
        let at = self.find(&fleet)?;
        let released = self.fleets[at as usize].override_now.as_deref().cloned();
        if released.is_some() {
            self.keep_override(Arc::clone(&fleet), None).await?;
            tracing::info!(%fleet, by, "A person releases the fleet.");
            self.set_override(at, None);
        }
        Ok(released)
    }

    fn find(&self, fleet: &Arc<str>) -> Result<u32, OverrideRefused> {
        let found = self.fleets.binary_search_by(|known| known.id.cmp(fleet));
        found.map(|at| at as u32).map_err(|_| OverrideRefused::NoFleet(Arc::clone(fleet)))
    }

    async fn keep_override(&mut self, fleet: Arc<str>, row: Option<OverrideRow>) -> Result<(), OverrideRefused> {
        self.store.put_override(fleet, row).await.map_err(|error| {
            self.note_store_error(&error);
            OverrideRefused::Store(error.to_string())
        })
    }

    /// Puts an override in force and has the fleet decided soon.
    fn set_override(&mut self, at: u32, row: Option<Arc<OverrideRow>>) {
        self.fleets[at as usize].override_now.clone_from(&row);
        let mut status = (*self.fleets[at as usize].status).clone();
        status.override_now = row;
        let status = Arc::new(status);
        self.fleets[at as usize].status = Arc::clone(&status);
        self.published.write(|view| view.fleets[at as usize] = status);
        self.due_now(at, self.clock.monotonic());
    }

    /// Drops an override whose time is over. A store that fails keeps the row, which is expired all the same.
    pub(super) async fn end_expired_override(&mut self, at: u32, now: Timestamp) {
        let fleet = &mut self.fleets[at as usize];
        if fleet.override_now.as_ref().is_none_or(|row| row.what.until() > now) {
            return;
        }
        fleet.override_now = None;
        tracing::info!(fleet = %fleet.id, "An override ended.");
        let id = Arc::clone(&fleet.id);
        if let Err(error) = self.store.put_override(id, None).await {
            self.note_store_error(&error);
        }
    }
}
