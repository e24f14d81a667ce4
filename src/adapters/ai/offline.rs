//! The offline provider: composes a section from the project's facts, without a model, and streams it as one would.
//! It must not say anything that is not in the facts, nor depend on anything but the request.

mod compose;
mod purposes;
mod sentences;
mod view;

use super::{DraftFailure, DraftPiece, DraftRequest, DraftStream, Drafter, ModelInfo, Profile, Usage, estimated_tokens};
use crate::domain::money::Spend;
use async_trait::async_trait;
use futures::stream;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What a revision says of its origin.
pub const PROVENANCE: &str = "Composed offline from the project's facts, without a model.";
/// Key of the provider.
pub const PROVIDER: &str = "offline";
/// Name of the composer; its number grows when the same facts give another text.
pub const MODEL: &str = "offline-composer-1";

/// Words of a piece: about what models send at a time, and few enough pieces to be cheap.
const WORDS_PER_PIECE: u32 = 6;

/// Composes sections from facts. The same request always gives the same text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offline {
    delay: Duration,
}

impl Offline {
    /// A provider that takes `delay` for each section, spread over its pieces, so that people can watch
    /// (`OFFLINE_DELAY_MS`); zero means no waiting and no timers.
    #[must_use]
    pub const fn new(delay: Duration) -> Self {
        Self { delay }
    }
}

#[async_trait]
impl Drafter for Offline {
    fn profile(&self) -> Profile {
        let model = ModelInfo {
            model: MODEL.into(),
            input_price_per_million: Spend(0),
            output_price_per_million: Spend(0),
            context_tokens: 1_000_000,
            max_output_tokens: None,
            streams: true,
        };
        Profile { provider: PROVIDER, models: vec![model], provenance: Some(PROVENANCE), masks_personal_data: false }
    }

    async fn draft(&self, request: DraftRequest) -> Result<DraftStream, DraftFailure> {
        let text = compose::compose(&request.section, &request.facts, &request.project_name);
        let usage = Usage {
            input_tokens: estimated_tokens(request.prompt.system).saturating_add(estimated_tokens(&request.prompt.user)),
            output_tokens: estimated_tokens(&text),
            model: MODEL.into(),
            estimated: true,
            headroom: None,
        };
        let pieces = Pieces { ends: ends_of_pieces(&text), text, sent: 0, usage: Some(usage) };
        if self.delay.is_zero() {
            return Ok(Box::pin(stream::iter(pieces.map(Ok))));
        }
        // Deadlines from a common start, because waits that are added up would each be rounded up to a millisecond.
        let (start, delay) = (Instant::now(), self.delay);
        Ok(Box::pin(stream::unfold(pieces, move |mut pieces| async move {
            if let Some(step) = pieces.next_step() {
                sleep_until(start + delay.mul_f64(step)).await;
            }
            pieces.next().map(|piece| (Ok(piece), pieces))
        })))
    }
}

/// Ends of the pieces of a text, in bytes: each takes its words and the white space after them.
fn ends_of_pieces(text: &str) -> Vec<usize> {
    let mut ends = Vec::with_capacity(text.len() / 32 + 1);
    let (mut words, mut after_space) = (0, true);
    for (at, c) in text.char_indices() {
        let space = c.is_whitespace();
        if after_space && !space {
            if words == WORDS_PER_PIECE {
                ends.push(at);
                words = 0;
            }
            words += 1;
        }
        after_space = space;
    }
    if !text.is_empty() {
        ends.push(text.len());
    }
    ends
}

/// What is still to be sent.
struct Pieces {
    text: String,
    ends: Vec<usize>,
    sent: usize,
    usage: Option<Usage>,
}

impl Pieces {
    /// Share of the section that the next piece completes; none if only the end is left.
    fn next_step(&self) -> Option<f64> {
        let end = *self.ends.get(self.sent)?;
        #[expect(clippy::cast_precision_loss, reason = "a share of a waiting time needs no more than 52 bits")]
        let share = end as f64 / self.text.len() as f64;
        Some(share)
    }
}

impl Iterator for Pieces {
    type Item = DraftPiece;

    fn next(&mut self) -> Option<DraftPiece> {
        let Some(&end) = self.ends.get(self.sent) else {
            return self.usage.take().map(DraftPiece::Finished);
        };
        let start = self.sent.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.sent += 1;
        Some(DraftPiece::Delta(self.text[start..end].to_owned()))
    }
}

#[cfg(test)]
mod tests;
