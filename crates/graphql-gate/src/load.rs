//! Loads relations level by level. All objects of one plan, wherever they lie in what was loaded before, are the rows of
//! one load. What it gives is written as text at once, and copied where its row is written. So the number of loads grows
//! with the depth of a selection and not with its rows, and nothing has to be kept in the objects themselves.

use crate::Output;
use crate::plan::{Plan, Step};
use crate::write::{Loaded, Writer};
use async_graphql::{Context, ServerError};
use futures_util::future::{BoxFuture, join_all};
use std::any::Any;

/// A row of any type.
pub type Row<'r> = &'r (dyn Any + Send + Sync);

/// Loads one relation for all rows of a plan and writes what it gives.
pub type Loader = for<'r> fn(&'r [Row<'r>], &'r Step, &'r Context<'r>) -> BoxFuture<'r, Column>;

/// What a relation gave for each row, as text.
#[derive(Debug, Default)]
pub struct Column {
    text: String,
    /// Where the text of each row ends, and whether it has failed.
    cells: Vec<(usize, bool)>,
    pub(crate) errors: Vec<(usize, ServerError)>,
    /// True if a failed row is null; else whatever is around it has failed too.
    pub(crate) nullable: bool,
}

impl Column {
    /// What a relation gave that failed before anything was loaded: a failure for each row.
    #[must_use]
    pub fn failed<T: Output>(rows: usize, error: &ServerError) -> Self {
        let errors = (0..rows).map(|row| (row, error.clone())).collect();
        Self { text: String::new(), cells: vec![(0, true); rows], errors, nullable: T::NULLABLE }
    }

    /// The text of a row; `None` if it has failed.
    pub(crate) fn text_of(&self, row: usize) -> Option<&str> {
        let start = row.checked_sub(1).map_or(Some(0), |before| self.cells.get(before).map(|(end, _)| *end))?;
        let (end, failed) = self.cells.get(row).copied()?;
        (!failed).then(|| &self.text[start..end])
    }

    /// The text of the only row, and its errors.
    pub(crate) fn into_one(self) -> (Option<String>, Vec<ServerError>) {
        let failed = self.cells.first().is_none_or(|(_, failed)| *failed);
        ((!failed).then_some(self.text), self.errors.into_iter().map(|(_, error)| error).collect())
    }
}

/// The objects whose relations are asked for, by their plan and in the order in which they will be written.
#[derive(Default)]
pub struct Rows<'r> {
    of_plans: Vec<Option<(&'r Plan, Vec<Row<'r>>)>>,
}

impl<'r> Rows<'r> {
    /// Adds an object, before what is within it.
    pub fn push<T: Any + Send + Sync>(&mut self, plan: &'r Plan, row: &'r T) {
        let Some(relations) = plan.relations else { return };
        if self.of_plans.len() <= relations.index {
            self.of_plans.resize_with(relations.index + 1, || None);
        }
        self.of_plans[relations.index].get_or_insert_with(|| (plan, Vec::new())).1.push(row);
    }
}

/// Loads all that is asked of these values, and writes each of them.
pub async fn render<T: Output>(values: &[T], step_plan: &Plan, pos: async_graphql::Pos, ctx: &Context<'_>) -> Column {
    let mut rows = Rows::default();
    for value in values {
        value.gather(step_plan, &mut rows);
    }
    let mut loads = Vec::new();
    for (plan, rows) in rows.of_plans.iter().flatten() {
        if let Some(relations) = plan.relations {
            loads.extend(plan.steps.iter().filter(|step| step.is_relation()).map(|step| (relations.load)(rows, step, ctx)));
        }
    }
    let mut columns = join_all(loads).await.into_iter();
    let load = |of_plan: &Option<(&Plan, Vec<Row<'_>>)>| {
        let relations = of_plan.as_ref().map_or(0, |(plan, _)| plan.steps.iter().filter(|step| step.is_relation()).count());
        Loaded { next_row: 0, columns: columns.by_ref().take(relations).collect() }
    };
    let loaded = rows.of_plans.iter().map(load).collect();

    let mut writer = Writer::new(loaded, pos, step_plan.room());
    let mut column = Column { nullable: T::NULLABLE, cells: Vec::with_capacity(values.len()), ..Column::default() };
    for (row, value) in values.iter().enumerate() {
        let failed = value.write(step_plan, &mut writer).is_err();
        column.cells.push((writer.out.len(), failed));
        column.errors.extend(writer.errors.drain(..).map(|error| (row, error)));
    }
    step_plan.has_taken(writer.out.len());
    column.text = writer.out;
    column
}

/// As [`render`], for a step.
pub async fn render_step<T: Output>(values: &[T], step: &Step, ctx: &Context<'_>) -> Column {
    render(values, step.plan(), step.pos, ctx).await
}
