//! One who watches a project's texts: what was seen of the tables, what was heard of the texts that are being written,
//! and what follows from the difference. It must not wait for anything but the database.

use super::{DraftItem, DraftNews, SectionNow};
use crate::adapters::events::{Bell, Topic};
use crate::domain::actor::Actor;
use crate::domain::drafts::{DraftAttempt, Heard, TextPiece, TextSoFar};
use crate::domain::generations::AttemptStatus;
use crate::domain::ids::{AttemptId, BatchId, ProjectId};
use crate::domain::projects::Project;
use crate::domain::sections::{Section, SectionState};
use crate::error::Result;
use crate::repositories::{batches, drafts, projects, sections};
use crate::services::core::Core;
use crate::services::progress::LOOK_EVERY;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// Newest attempts of a project that are looked at; all that can be in work are among them.
const ATTEMPTS: i64 = 100;
/// How long an answer of a writer is waited for before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How often writers are told that somebody still watches; well below how long a wish holds.
const WISH_AGAIN: Duration = Duration::from_secs(4);

/// What a watcher knows.
pub(super) struct Watcher {
    core: Core,
    actor: Actor,
    project: ProjectId,
    batch: BatchId,
    /// Sequence of the last event.
    sequence: i64,
    sections: Vec<Section>,
    attempts: Vec<DraftAttempt>,
    looked_at: Option<Instant>,
    /// What attempts in work have written so far, as far as it was heard.
    texts: HashMap<AttemptId, TextSoFar>,
    /// Attempts of which something may have been missed.
    doubtful: HashSet<AttemptId>,
    /// When the writers of these attempts were last asked for all that they have written.
    asked: HashMap<AttemptId, Instant>,
    wished_at: Option<Instant>,
}

/// What is different from the last look.
#[derive(Default)]
pub(super) struct Changes {
    /// Events.
    pub news: Vec<DraftNews>,
    /// Something changed that no event tells: a snapshot has to.
    pub afresh: bool,
}

impl Watcher {
    /// Somebody who has seen nothing, or what was before a cursor.
    pub(super) async fn begin(core: Core, actor: Actor, project: &Project, after: Option<i64>) -> Result<Self> {
        let written = drafts::measure(&mut core.db.read(actor.workspace).await?, actor.workspace, project.id, core.now()).await?;
        Ok(Self {
            core,
            actor,
            project: project.id,
            batch: project.batch,
            sequence: written.max(after.unwrap_or_default()),
            sections: Vec::new(),
            attempts: Vec::new(),
            looked_at: None,
            texts: HashMap::new(),
            doubtful: HashSet::new(),
            asked: HashMap::new(),
            wished_at: None,
        })
    }

    /// Something that is no event: it stands where the last one stood.
    pub(super) fn item(&self, what: DraftNews) -> DraftItem {
        DraftItem { sequence: self.sequence, at: self.core.now(), what }
    }

    /// An event.
    pub(super) fn event(&mut self, what: DraftNews) -> DraftItem {
        self.sequence += 1;
        self.item(what)
    }

    /// True if an attempt was seen in the table.
    pub(super) fn knows(&self, attempt: AttemptId) -> bool {
        self.attempts.iter().any(|known| known.id == attempt)
    }

    /// True if the last look is so long ago that bells may have been lost since.
    pub(super) fn has_to_look(&self) -> bool {
        self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY)
    }

    /// Forgets what was heard, after events were left out.
    pub(super) fn start_afresh(&mut self, dropped: i64) {
        self.sequence = self.sequence.saturating_add(dropped);
        self.texts.clear();
        self.asked.clear();
    }

    /// Notes that pieces may have been lost, and that nobody knows which.
    pub(super) fn doubt(&mut self) {
        self.doubtful = self.texts.keys().copied().collect();
        self.asked.clear();
    }

    /// Looks at the tables; none if the project is not there any more.
    pub(super) async fn look(&mut self) -> Result<Option<Changes>> {
        let workspace = self.actor.workspace;
        let mut reader = self.core.db.read(workspace).await?;
        let project = projects::find(&mut reader, workspace, self.project).await?;
        let batch = batches::find(&mut reader, workspace, self.batch).await?;
        if project.is_none_or(|project| project.deleted_at.is_some()) || batch.is_none_or(|batch| batch.deleted_at.is_some()) {
            return Ok(None);
        }
        // in this order: whoever stores a text ends its attempt with it, so a new text is never seen beside an attempt in work
        let sections =
            sections::load_for_projects(&mut reader, workspace, &[self.project]).await?.remove(&self.project).unwrap_or_default();
        let attempts = drafts::list_attempts(&mut reader, workspace, self.project, ATTEMPTS).await?;
        drop(reader);
        let is_first = self.looked_at.replace(Instant::now()).is_none();
        let changes = if is_first { Changes::default() } else { self.compare(&sections, &attempts) };
        (self.sections, self.attempts) = (sections, attempts);
        let in_work: Vec<AttemptId> = self.in_work().map(|attempt| attempt.id).collect();
        self.texts.retain(|attempt, _| in_work.contains(attempt));
        self.asked.retain(|attempt, _| in_work.contains(attempt));
        self.doubtful.retain(|attempt| in_work.contains(attempt));
        Ok(Some(changes))
    }

    fn compare(&self, sections: &[Section], attempts: &[DraftAttempt]) -> Changes {
        let mut changes = Changes::default();
        // where one is taken back, another of long ago comes to the end of the list
        let is_cut = i64::try_from(self.attempts.len()).is_ok_and(|seen| seen >= ATTEMPTS);
        let oldest = self.attempts.last().filter(|_| is_cut).map(|attempt| attempt.started_at);
        for attempt in attempts.iter().rev() {
            let before = self.attempts.iter().find(|known| known.id == attempt.id);
            let is_news = match before {
                Some(before) => before.status == AttemptStatus::Running,
                None => oldest.is_none_or(|oldest| attempt.started_at >= oldest),
            };
            if let Some(failure) = attempt.failure.as_ref().filter(|_| is_news)
                && matches!(attempt.status, AttemptStatus::Retrying | AttemptStatus::Failed)
            {
                let (section_key, will_retry) = (attempt.section_key.clone(), attempt.status == AttemptStatus::Retrying);
                changes.news.push(DraftNews::Failed { section_key, failure: failure.clone(), will_retry });
            }
        }
        for section in sections {
            match self.sections.iter().find(|before| before.id == section.id) {
                Some(before) if section.revision > before.revision => changes.news.push(DraftNews::Stored(section.clone())),
                // that it is being written is told by its text; that it is no more, and what it has then, by nothing else
                Some(before) => changes.afresh |= section.state != before.state && section.state != SectionState::Generating,
                None => changes.afresh = true,
            }
        }
        changes.afresh |= sections.len() != self.sections.len();
        changes
    }

    /// Attempts that somebody is working on, as far as the table knows.
    fn in_work(&self) -> impl Iterator<Item = &DraftAttempt> {
        let is_written = |attempt: &DraftAttempt| {
            self.sections.iter().any(|section| section.id == attempt.section && section.state == SectionState::Generating)
        };
        self.attempts.iter().filter(move |attempt| attempt.status == AttemptStatus::Running && is_written(attempt))
    }

    /// True if it is known what all attempts in work have written so far.
    pub(super) fn has_all_texts(&self) -> bool {
        self.in_work().all(|attempt| self.texts.contains_key(&attempt.id))
    }

    /// Hears a piece of a text that was looked at before; gives what is new of it.
    pub(super) async fn hear(&mut self, piece: &TextPiece) -> Option<DraftNews> {
        // what comes late of an attempt that has ended would spoil what came after it
        if !self.in_work().any(|attempt| attempt.id == piece.attempt) {
            return None;
        }
        if piece.offset == 0 {
            self.doubtful.remove(&piece.attempt);
        }
        let mut text = self.texts.remove(&piece.attempt).unwrap_or_default();
        let is_first = text.chars() == 0;
        let heard = text.hear(piece);
        if !(is_first && heard == Heard::Gap) {
            self.texts.insert(piece.attempt, text);
        }
        match heard {
            Heard::More { offset, text } => {
                Some(DraftNews::More { section_key: piece.section_key.clone(), attempt: piece.attempt, offset, text })
            }
            Heard::Known => None,
            Heard::Gap => {
                self.doubtful.insert(piece.attempt);
                self.ask_for(&[piece.attempt]).await;
                None
            }
        }
    }

    /// Asks the writers of texts that are not known for all that they have written, and tells the others that somebody
    /// watches. An answer, like a question, may be lost: this is done after every look.
    pub(super) async fn ask_writers(&mut self) {
        let is_unknown = |id: &AttemptId| !self.texts.contains_key(id) || self.doubtful.contains(id);
        let unknown: Vec<AttemptId> = self.in_work().map(|attempt| attempt.id).filter(is_unknown).collect();
        if !unknown.is_empty() {
            self.ask_for(&unknown).await;
        } else if self.in_work().next().is_some() && self.wished_at.is_none_or(|at| at.elapsed() >= WISH_AGAIN) {
            self.wish(false).await;
        }
    }

    async fn ask_for(&mut self, attempts: &[AttemptId]) {
        let is_due = |attempt: &AttemptId| self.asked.get(attempt).is_none_or(|at| at.elapsed() >= ASK_AGAIN);
        if attempts.iter().any(is_due) {
            let now = Instant::now();
            self.asked.extend(attempts.iter().map(|attempt| (*attempt, now)));
            self.wish(true).await;
        }
    }

    async fn wish(&mut self, whole: bool) {
        self.wished_at = Some(Instant::now());
        self.core.bus.publish(Topic::DraftWishes, vec![Bell::Wanted { project: self.project, whole }]).await;
    }

    /// All texts as they are now, with what was written so far of those that are being written.
    pub(super) async fn snapshot(&self) -> Result<DraftItem> {
        let in_work: HashMap<_, _> = self.in_work().filter_map(|attempt| Some((attempt.section, self.texts.get(&attempt.id)?))).collect();
        let stored: Vec<_> = self
            .sections
            .iter()
            .filter(|section| section.revision > 0)
            .map(|section| section.id)
            .filter(|id| !in_work.contains_key(id))
            .collect();
        let workspace = self.actor.workspace;
        let mut texts = match &stored[..] {
            [] => HashMap::new(),
            ids => sections::load_texts(&mut self.core.db.read(workspace).await?, workspace, ids).await?,
        };
        let sections = self.sections.iter().map(|section| SectionNow {
            key: section.key.clone(),
            text: in_work.get(&section.id).map_or_else(|| texts.remove(&section.id).unwrap_or_default(), |text| text.text().to_owned()),
            state: section.state,
        });
        Ok(self.item(DraftNews::Snapshot(sections.collect())))
    }
}
