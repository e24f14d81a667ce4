//! Whether the service can work at the moment.

use super::core::Core;
use crate::error::Result;
use crate::on;

/// Use cases of health.
#[derive(Debug, Clone)]
pub struct Health {
    core: Core,
}

impl Health {
    pub(super) const fn new(core: Core) -> Self {
        Self { core }
    }

    /// Asks the database a trivial question.
    ///
    /// # Errors
    /// `UNAVAILABLE` if it does not answer.
    pub async fn check(&self) -> Result<()> {
        let mut tx = self.core.db.read().await?;
        let _: i32 = on!(tx, c => sqlx::query_scalar("SELECT 1").fetch_one(c).await?);
        Ok(())
    }
}
