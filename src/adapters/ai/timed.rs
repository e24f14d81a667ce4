//! Time-outs around any provider: until the first sign of an answer, and between two pieces of it. It must not know what
//! it waits for. A call that runs into one is dropped, which cancels it.

use super::{DraftFailure, DraftRequest, DraftStream, Drafter, Profile};
use crate::domain::jobs::JobFailureCode;
use async_trait::async_trait;
use futures::{StreamExt, stream};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a provider may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the call to the first piece: connection, queue of the provider, and its reading of the prompt.
    pub first: Duration,
    /// Between two pieces.
    pub idle: Duration,
}

/// A provider that is waited for only so long.
pub struct Timed {
    inner: Arc<dyn Drafter>,
    patience: Patience,
}

impl Timed {
    /// Puts the time-outs around a provider.
    #[must_use]
    pub fn new(inner: Arc<dyn Drafter>, patience: Patience) -> Self {
        Self { inner, patience }
    }
}

fn silent(what: &str, limit: Duration) -> DraftFailure {
    let message = format!("The provider {what} within {} seconds.", limit.as_secs_f64());
    DraftFailure::new(JobFailureCode::TimedOut, message)
}

#[async_trait]
impl Drafter for Timed {
    fn profile(&self) -> Profile {
        self.inner.profile()
    }

    async fn draft(&self, request: DraftRequest) -> Result<DraftStream, DraftFailure> {
        let Patience { first, idle } = self.patience;
        let no_answer = move || silent("did not begin to answer", first);
        let deadline = Instant::now() + first;
        let pieces = timeout_at(deadline, self.inner.draft(request)).await.map_err(|_| no_answer())??;
        Ok(Box::pin(stream::unfold(Some((pieces, true)), move |state| async move {
            let (mut pieces, is_first) = state?;
            let next = if is_first {
                timeout_at(deadline, pieces.next()).await.map_err(|_| no_answer())
            } else {
                timeout(idle, pieces.next()).await.map_err(|_| silent("sent nothing more", idle))
            };
            match next {
                Ok(Some(Ok(piece))) => Some((Ok(piece), Some((pieces, false)))),
                Ok(Some(Err(failure))) | Err(failure) => Some((Err(failure), None)),
                Ok(None) => None,
            }
        })))
    }
}
