//! Statements without the span of the operation: sqlx enters it for every row and whenever it waits, which costs more than a row. It
//! must not know what is read.

use std::future::poll_fn;
use std::pin::pin;
use tracing::{Dispatch, Level, dispatcher};

/// Runs a statement of many rows, or one that many requests have. Where statements are logged (`RUST_LOG=sqlx=debug`) they keep their span.
pub async fn unspanned<F: Future>(statement: F) -> F::Output {
    if tracing::enabled!(target: "sqlx::query", Level::DEBUG) {
        return statement.await;
    }
    let (mut statement, nobody) = (pin!(statement), Dispatch::none());
    poll_fn(|context| dispatcher::with_default(&nobody, || statement.as_mut().poll(context))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Span;

    #[tokio::test]
    async fn what_is_run_has_no_span_and_what_follows_has_it_again() {
        // a thread's own subscriber, as tests beside this one have others
        let _subscriber = tracing::subscriber::set_default(tracing_subscriber::fmt().with_max_level(Level::ERROR).finish());
        let _within = tracing::error_span!("operation").entered();
        assert!(!Span::current().is_none());
        let has_none = unspanned(async {
            tokio::task::yield_now().await;
            Span::current().is_none()
        });
        assert!(has_none.await);
        assert!(!Span::current().is_none());
    }
}
