//! Whether the service can work at the moment.

use super::core::Core;
use crate::error::Result;

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
        self.core.db.ping().await
    }
}
