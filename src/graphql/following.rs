//! How whoever runs a subscription to a batch follows where its stream stands, takes it up again by itself, and has single
//! items shown. All of it goes through the data of a request, because only the resolver knows what the document asks for.

use crate::domain::ids::BatchId;
use crate::error::Result;
use crate::services::progress::BatchItem;
use std::sync::{Arc, Mutex, PoisonError};

/// The subscription whose events may be written once for all who ask for the same.
pub const SHARED: &str = "batchProgress";
/// Its argument that says where to begin.
pub const RESUMED_BY: &str = "after";

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whose stream it is.
    pub batch: BatchId,
    /// Sequence of the last event that was told or is contained in what was told.
    pub sequence: i64,
    /// True if nothing that happened before the stream began is still to be told, and no snapshot is owed.
    pub is_live: bool,
}

/// Put into the data of a request, it is kept up to date by the stream.
#[derive(Debug, Clone, Default)]
pub struct Course(Arc<Mutex<Option<Place>>>);

impl Course {
    /// Where the stream stands, once something was told.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is told next of a stream that had so many events when it began.
    pub(super) fn note(&self, batch: BatchId, had: i64, item: &BatchItem) {
        let (sequence, is_live) = match item {
            BatchItem::Snapshot { sequence, .. } => (*sequence, true),
            BatchItem::Event(event) => (event.sequence, event.sequence >= had),
            BatchItem::Lagged { sequence, .. } | BatchItem::Ended { sequence, .. } => (*sequence, false),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Place { batch, sequence, is_live });
    }
}

/// Data of a request that takes a stream up again behind a sequence, whatever its arguments say.
#[derive(Debug, Clone, Copy)]
pub struct Behind(pub i64);

/// Data of a request that is to show one item and then end, whatever its arguments say.
#[derive(Debug)]
pub struct Given(Mutex<Option<Result<BatchItem>>>);

impl Given {
    /// The item.
    #[must_use]
    pub const fn new(item: Result<BatchItem>) -> Self {
        Self(Mutex::new(Some(item)))
    }

    pub(super) fn take(&self) -> Option<Result<BatchItem>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
