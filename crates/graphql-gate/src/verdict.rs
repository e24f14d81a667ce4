//! What validation said of a document, so that it is not asked again for the same one. It must not know how documents are
//! remembered: whoever keeps them keeps a [`Verdict`] beside each.

use crate::direct::Slot;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation};
use async_graphql::{SchemaEnv, ServerError, ValidationResult};
use std::sync::{Arc, OnceLock};

/// What validation said of one document and operation. Put a clone into the data of each request that has it.
///
/// Validation looks at values of variables too, and at what `visible` says for a request. So coerce variables before, and do
/// not share a verdict between callers to whom different schemas are shown.
#[derive(Debug, Clone, Default)]
pub struct Verdict(Arc<OnceLock<ValidationResult>>);

impl Verdict {
    /// True once the document was found valid.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.0.get().is_some()
    }
}

/// The extension that asks for verdicts, and gives them. Requests without one are validated as ever.
#[derive(Debug, Clone, Copy, Default)]
pub struct Verdicts;

impl ExtensionFactory for Verdicts {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(*self)
    }
}

#[async_trait::async_trait]
impl Extension for Verdicts {
    async fn validation(&self, ctx: &ExtensionContext<'_>, next: NextValidation<'_>) -> Result<ValidationResult, Vec<ServerError>> {
        if let Some(asked_for) = ctx.data_opt::<Slot<SchemaEnv>>() {
            asked_for.put(ctx.schema_env.clone());
        }
        let Some(Verdict(verdict)) = ctx.data_opt::<Verdict>() else { return next.run(ctx).await };
        if let Some(known) = verdict.get() {
            return Ok(*known);
        }
        let result = next.run(ctx).await?;
        Ok(*verdict.get_or_init(|| result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::{EmptyMutation, EmptySubscription, Object, Request, Schema};

    struct Query;

    #[Object]
    impl Query {
        async fn a(&self) -> i32 {
            1
        }
    }

    #[tokio::test]
    async fn a_document_that_was_valid_is_not_validated_again() {
        let schema = Schema::build(Query, EmptyMutation, EmptySubscription).extension(Verdicts).finish();
        let ask = async |query: &str, verdict: &Verdict| schema.execute(Request::new(query).data(verdict.clone())).await;
        let verdict = Verdict::default();
        assert!(ask("{ b }", &verdict).await.is_err());
        assert!(verdict.0.get().is_none(), "what is wrong is not remembered");
        assert!(ask("{ a }", &verdict).await.is_ok());
        assert!(verdict.0.get().is_some());
        // a caller who gives the verdict of another document gets what the executor makes of it
        let unvalidated = ask("{ b }", &verdict).await;
        assert!(!unvalidated.errors.iter().any(|error| error.message.contains("Unknown field")), "{unvalidated:?}");
        assert!(schema.execute("{ b }").await.is_err());
    }
}
