//! What has to be done from time to time: remove what has outlived its time. One process does it in each period.

use super::batches::Batches;
use super::core::Core;
use super::exports::Exports;
use super::uploads::Uploads;
use crate::domain::events::RETENTION_HOURS;
use crate::error::Result;
use crate::repositories::db::Scope;
use crate::repositories::{events, idempotency, jobs};
use chrono::Duration;

/// How often upkeep is done.
pub const EVERY: std::time::Duration = std::time::Duration::from_mins(10);
/// Hours that an idempotency key is kept.
const KEY_HOURS: i64 = 24;

/// Use cases of upkeep.
#[derive(Debug, Clone)]
pub struct Upkeep {
    core: Core,
    batches: Batches,
    exports: Exports,
    uploads: Uploads,
}

impl Upkeep {
    pub(super) const fn new(core: Core, batches: Batches, exports: Exports, uploads: Uploads) -> Self {
        Self { core, batches, exports, uploads }
    }

    /// Does what is due, if this process is the one to do it.
    ///
    /// # Errors
    /// As the database says.
    pub async fn run_if_due(&self) -> Result<()> {
        let now = self.core.now();
        if !jobs::take_slot(&self.core.db, "upkeep", EVERY, now).await? {
            return Ok(());
        }
        let mut unit = self.core.begin(Scope::Everything).await?;
        let events = events::purge_in(&mut unit.tx, now - Duration::hours(RETENTION_HOURS.into())).await?;
        let keys = idempotency::purge_in(&mut unit.tx, now - Duration::hours(KEY_HOURS)).await?;
        unit.commit().await?;
        let batches = self.batches.purge().await?;
        let exports = self.exports.expire().await?;
        let uploads = self.uploads.expire().await?;
        if events + keys > 0 || batches + exports + uploads > 0 {
            tracing::info!(events, keys, batches, exports, uploads, "upkeep removed what has outlived its time");
        }
        Ok(())
    }
}
