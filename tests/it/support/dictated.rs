//! A provider that writes what a test dictates, piece by piece.

use super::PATIENCE;
use async_trait::async_trait;
use claimwright::adapters::ai::offline::Offline;
use claimwright::adapters::ai::{DraftFailure, DraftPiece, DraftRequest, DraftStream, Drafter, Profile, Usage};
use claimwright::domain::jobs::JobFailureCode;
use futures::stream;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

type Piece = Result<DraftPiece, DraftFailure>;

/// The provider.
pub struct DictatedDrafter {
    masks_personal_data: bool,
    calls: UnboundedSender<Call>,
}

/// Calls that wait to be dictated to, in their order.
pub struct Calls(UnboundedReceiver<Call>);

/// A call for one section. Dropped, the answer breaks off.
pub struct Call {
    /// Key of the section.
    pub section: String,
    /// What the prompt asks.
    pub prompt: String,
    pieces: UnboundedSender<Piece>,
}

impl DictatedDrafter {
    /// A provider, with the calls that are made to it.
    pub fn new(masks_personal_data: bool) -> (Arc<Self>, Calls) {
        let (sender, calls) = unbounded_channel();
        (Arc::new(Self { masks_personal_data, calls: sender }), Calls(calls))
    }
}

impl Calls {
    /// The next call.
    pub async fn next(&mut self) -> Call {
        timeout(PATIENCE, self.0.recv()).await.expect("a call in time").expect("a provider")
    }
}

impl Call {
    fn send(&self, piece: Piece) {
        assert!(self.pieces.send(piece).is_ok(), "the call was dropped");
    }

    /// Writes more.
    pub fn say(&self, text: &str) {
        self.send(Ok(DraftPiece::Delta(text.to_owned())));
    }

    /// Ends the text.
    pub fn finish(self) {
        let usage = Usage { input_tokens: 10, output_tokens: 10, model: "dictated".into(), estimated: false, headroom: None };
        self.send(Ok(DraftPiece::Finished(usage)));
    }

    /// Fails in a way that is tried again at once.
    pub fn break_off(self) {
        let failure = DraftFailure::new(JobFailureCode::ProviderUnavailable, "The provider went away.");
        self.send(Err(failure.after(Some(Duration::ZERO))));
    }

    /// Fails for good.
    pub fn refuse(self) {
        self.send(Err(DraftFailure::new(JobFailureCode::ProviderRefused, "The provider refused.").lasting()));
    }
}

#[async_trait]
impl Drafter for DictatedDrafter {
    fn profile(&self) -> Profile {
        Profile { provenance: Some("Dictated."), masks_personal_data: self.masks_personal_data, ..Offline::default().profile() }
    }

    async fn draft(&self, request: DraftRequest) -> Result<DraftStream, DraftFailure> {
        let (pieces, answer) = unbounded_channel();
        let call = Call { section: request.section.key.clone(), prompt: request.prompt.user.clone(), pieces };
        assert!(self.calls.send(call).is_ok(), "the test does not listen any more");
        Ok(Box::pin(stream::unfold(answer, |mut answer| async move { Some((answer.recv().await?, answer)) })))
    }
}
