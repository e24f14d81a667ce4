//! What is being written in this process, and who wants to see it. A writer puts its text down here piece by piece; only
//! while somebody watches the project it is published too, joined to a piece every 100 ms at most. So a text that nobody
//! watches costs a copy of it and no message. It must not know how a text is written or what becomes of it.

use crate::adapters::events::{Bell, EventBus, Topic};
use crate::domain::drafts::{TextPiece, TextSoFar};
use crate::domain::generations::Attempt;
use crate::domain::ids::{AttemptId, ProjectId};
use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Least time between two pieces of a section that are published.
pub const JOINED_FOR: Duration = Duration::from_millis(100);
/// How long a wish to see what is written holds. Watchers repeat theirs well before.
pub const WISH_HOLDS: Duration = Duration::from_secs(10);

/// The sections that are being written in this process.
pub struct Desk {
    bus: Arc<dyn EventBus>,
    sheets: Mutex<HashMap<ProjectId, Vec<Arc<Sheet>>>>,
    /// Projects that somebody wants to see and of which nothing is written here (yet): who watches hears that a call begins
    /// before the call is on the desk. Taken with the lock of the sheets held.
    wishes: Mutex<HashMap<ProjectId, Instant>>,
}

/// One section that is being written.
#[derive(Debug, Default)]
struct Sheet {
    state: Mutex<State>,
    /// Somebody has come who wants to see it.
    asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    text: TextSoFar,
    /// How much of it was published, in bytes and in characters.
    told: (usize, usize),
    /// Publish it from the beginning.
    whole: bool,
    told_at: Option<Instant>,
    wanted_until: Option<Instant>,
}

/// The hand that writes a section. Dropped, the section is not being written any more.
pub struct Pen {
    desk: Arc<Desk>,
    project: ProjectId,
    attempt: AttemptId,
    section_key: String,
    sheet: Arc<Sheet>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    /// An empty desk that publishes on this bus.
    #[must_use]
    pub fn new(bus: Arc<dyn EventBus>) -> Self {
        Self { bus, sheets: Mutex::default(), wishes: Mutex::default() }
    }

    fn wishes(&self) -> MutexGuard<'_, HashMap<ProjectId, Instant>> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sheets(&self) -> MutexGuard<'_, HashMap<ProjectId, Vec<Arc<Sheet>>>> {
        self.sheets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to write a section.
    #[must_use]
    pub fn begin(self: &Arc<Self>, attempt: &Attempt) -> Pen {
        let sheet = Arc::new(Sheet::default());
        let mut sheets = self.sheets();
        let of_project = sheets.entry(attempt.project).or_default();
        // who watches one section of a project watches all
        let of_others = of_project.iter().filter_map(|sheet| sheet.state().wanted_until).max();
        sheet.state().wanted_until = of_others.max(self.wishes().remove(&attempt.project));
        of_project.push(Arc::clone(&sheet));
        drop(sheets);
        Pen { desk: Arc::clone(self), project: attempt.project, attempt: attempt.id, section_key: attempt.section_key.clone(), sheet }
    }

    /// Somebody wants to see what is written of a project; `whole` if from the beginning.
    pub fn want(&self, project: ProjectId, whole: bool) {
        let (now, sheets) = (Instant::now(), self.sheets());
        let Some(of_project) = sheets.get(&project) else {
            let mut wishes = self.wishes();
            wishes.retain(|_, until| *until > now);
            wishes.insert(project, now + WISH_HOLDS);
            return;
        };
        for sheet in of_project {
            let mut state = sheet.state();
            state.wanted_until = Some(now + WISH_HOLDS);
            state.whole |= whole;
            drop(state);
            sheet.asked.notify_one();
        }
    }
}

impl Sheet {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When to publish; none while there is nothing to be published or nobody to hear it.
    fn due_at(&self) -> Option<Instant> {
        let now = Instant::now();
        if !self.is_due(now) {
            return None;
        }
        Some(self.told_at.map_or(now, |at| at + JOINED_FOR))
    }

    fn is_due(&self, now: Instant) -> bool {
        self.wanted_until.is_some_and(|until| until > now) && (self.whole || self.told.0 < self.text.text().len())
    }

    /// What is to be published: a place and the text from there.
    fn take(&mut self) -> (usize, String) {
        let (bytes, offset) = if std::mem::take(&mut self.whole) { (0, 0) } else { self.told };
        self.told = (self.text.text().len(), self.text.chars());
        self.told_at = Some(Instant::now());
        (offset, self.text.text().get(bytes..).unwrap_or_default().to_owned())
    }
}

impl Pen {
    /// Writes more text.
    pub fn push(&self, text: &str) {
        self.sheet.state().text.push(text);
    }

    /// Waits for something and publishes meanwhile what is due.
    pub async fn publishing<T>(&self, awaited: impl Future<Output = T>) -> T {
        let mut awaited = pin!(awaited);
        // what is always ready would never let the other branch run
        if self.sheet.state().due_at().is_some_and(|at| at <= Instant::now()) {
            self.publish().await;
        }
        loop {
            tokio::select! {
                biased;
                done = &mut awaited => return done,
                () = self.due() => self.publish().await,
            }
        }
    }

    /// Publishes what is left, if somebody wants to see it.
    pub async fn finish(self) {
        if self.sheet.state().is_due(Instant::now()) {
            self.publish().await;
        }
    }

    async fn due(&self) {
        loop {
            let due_at = self.sheet.state().due_at();
            match due_at {
                Some(at) => return sleep_until(at).await,
                None => self.sheet.asked.notified().await,
            }
        }
    }

    async fn publish(&self) {
        let (offset, text) = self.sheet.state().take();
        let piece = TextPiece { attempt: self.attempt, section_key: self.section_key.clone(), offset, text };
        self.desk.bus.publish(Topic::Draft(self.project), vec![Bell::Piece(Arc::new(piece))]).await;
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        let mut sheets = self.desk.sheets();
        if let Some(of_project) = sheets.get_mut(&self.project) {
            of_project.retain(|sheet| !Arc::ptr_eq(sheet, &self.sheet));
            if of_project.is_empty() {
                sheets.remove(&self.project);
            }
        }
    }
}

#[cfg(test)]
mod tests;
