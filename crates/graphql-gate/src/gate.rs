//! The output type whose whole answer is one text. It compiles what is asked, has it loaded and written, and hands the
//! text through async-graphql's executor. It must not know how a response is sent.

use crate::load::render;
use crate::plans::plan;
use crate::{Output, failures};
use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{Context, ContextSelectionSet, Name, OutputType, Positioned, ServerResult, Value};
use std::borrow::Cow;
use std::slice;
use std::sync::LazyLock;

/// The only key of an object that stands for JSON text: with its feature `raw_value`, async-graphql writes the text as it is.
pub(crate) const RAW: &str = "$serde_json::private::RawValue";
static RAW_NAME: LazyLock<Name> = LazyLock::new(|| Name::new(RAW));

/// Data of a request whose document asks twice for one key of its root: then async-graphql has to merge values, which it
/// cannot do with texts. See [`crate::respond::repeats_a_root_key`].
#[derive(Debug, Clone, Copy, Default)]
pub struct MergedRoots;

/// Data of a request that async-graphql's own executor is to answer, to compare the two.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stock;

/// What a resolver gives whose type is a [`trait@Output`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate<T>(pub T);

impl<T: Output + OutputType> OutputType for Gate<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn qualified_type_name() -> String {
        T::qualified_type_name()
    }

    fn introspection_type_name(&self) -> Cow<'static, str> {
        self.0.introspection_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, set: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        if set.data_opt::<Stock>().is_some() {
            return self.0.resolve(set, field).await;
        }
        let plan = plan::<T>(set, field)?;
        let ctx: Context<'_> = set.query_env.create_context(set.schema_env, set.path_node, field, set.execute_data);
        let (text, errors) = render(slice::from_ref(&self.0), &plan, field.pos, &ctx).await.into_one();
        let root = || set.path_node.as_ref().map(failures::path_of).unwrap_or_default();
        let mut errors: Vec<_> = errors
            .into_iter()
            .map(|mut error| {
                let within = std::mem::take(&mut error.path);
                error.path = root();
                error.path.extend(within.into_iter().rev());
                let path = error.path.clone();
                failures::marked(error, || path)
            })
            .collect();
        let fatal = if text.is_none() && !T::NULLABLE { errors.pop() } else { None };
        for error in errors {
            set.add_error(error);
        }
        if let Some(error) = fatal {
            return Err(error);
        }
        let Some(text) = text else { return Ok(Value::Null) };
        if set.data_opt::<MergedRoots>().is_some() {
            return serde_json::from_str(&text).map_err(|error| async_graphql::Error::new_with_source(error).into_server_error(field.pos));
        }
        let mut raw = IndexMap::with_capacity(1);
        raw.insert(RAW_NAME.clone(), Value::String(text));
        Ok(Value::Object(raw))
    }
}
