//! What a selection set asks of a type, compiled once and applied to every row. It must not see any data.

use crate::gate::Stock;
use crate::load::Loader;
use crate::plans::plan;
use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::{Context, ContextSelectionSet, InputType, Name, Pos, Positioned, ServerError, ServerResult};
use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most fields of a plan, counted for every type that they may be asked of.
const MAX_STEPS: usize = 50_000;

/// The number of a field in its type. Numbers from [`FIRST_RELATION`] on are relations.
pub type FieldNumber = u16;

/// The number of `__typename`.
pub(crate) const TYPENAME: FieldNumber = FieldNumber::MAX;
/// The number of a type's first relation.
pub const FIRST_RELATION: FieldNumber = 0x8000;

/// What is asked of a type.
#[derive(Default)]
pub struct Plan {
    pub(crate) steps: Vec<Step>,
    /// For interfaces and unions: one plan for each type, in the order of declaration.
    pub(crate) variants: Vec<Plan>,
    /// For objects of which relations are asked.
    pub(crate) relations: Option<Relations>,
    /// True if relations are asked for in it or, without crossing a relation, below it.
    has_relations: bool,
    /// True if nothing is known of what is asked for.
    is_open: bool,
    /// How long the text of all that was written by it was last time, in bytes.
    last_length: AtomicUsize,
}

/// Most room that is made for a text before it is written, in bytes.
const MOST_ROOM: usize = 1 << 20;

/// In place of names, where it is not known what is asked for: load everything.
pub const ANYTHING: &str = "*";

/// How the relations of an object are loaded.
#[derive(Clone, Copy)]
pub(crate) struct Relations {
    /// Dense among the plans that are reached without crossing a relation.
    pub index: usize,
    pub load: Loader,
}

/// One field of an answer.
pub struct Step {
    /// Response key.
    pub(crate) key: Name,
    /// `"key":`, with a comma before it if it is not the first.
    pub(crate) lead: String,
    pub(crate) name: Name,
    pub(crate) field: FieldNumber,
    /// Its number among the relations of its plan, if it is one.
    pub(crate) slot: usize,
    pub(crate) pos: Pos,
    pub(crate) args: Args,
    pub(crate) plan: Plan,
}

/// Arguments of a field, as a tuple, or why they cannot be read: that fails the field wherever it is executed, and no other.
pub type Args = ServerResult<Box<dyn Any + Send + Sync>>;

impl Step {
    /// The number of the field.
    #[must_use]
    pub const fn field(&self) -> FieldNumber {
        self.field
    }

    /// What is asked of the field's own type.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) const fn is_relation(&self) -> bool {
        self.field >= FIRST_RELATION && self.field != TYPENAME
    }
}

impl Plan {
    /// Room for what is written by it: a little more than last time.
    pub(crate) fn room(&self) -> usize {
        let last = self.last_length.load(Ordering::Relaxed);
        (last + last / 16).min(MOST_ROOM)
    }

    /// So long was what was written by it.
    pub(crate) fn has_taken(&self, length: usize) {
        self.last_length.store(length, Ordering::Relaxed);
    }

    /// Its fields, in the order of the answer.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The plan of a type of an interface or a union, by the order of declaration.
    #[must_use]
    pub fn variant(&self, index: usize) -> &Self {
        &self.variants[index]
    }

    /// True if there is anything to load.
    #[must_use]
    pub const fn has_relations(&self) -> bool {
        self.has_relations
    }

    /// What async-graphql's own executor asks for, which does not tell.
    fn open() -> Self {
        Self { is_open: true, ..Self::default() }
    }

    /// The names of its fields, as the schema has them, or [`ANYTHING`]. Load what they need, and everything for a name that
    /// is not known. For interfaces and unions see [`Plan::variant`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.name.as_str()).chain(self.is_open.then_some(ANYTHING))
    }

    /// What is asked of the fields of this name, under whatever keys.
    pub fn below(&self, name: &str) -> impl Iterator<Item = &Self> {
        let open = self.is_open.then_some(self);
        self.steps.iter().filter(move |step| step.name == name).map(Step::plan).chain(open)
    }
}

/// All fields of one response key in a selection set: nearly always one.
pub struct Fields<'a> {
    first: &'a Positioned<Field>,
    more: Vec<&'a Positioned<Field>>,
}

impl<'a> Fields<'a> {
    /// A field that stands alone.
    #[must_use]
    pub const fn one(field: &'a Positioned<Field>) -> Self {
        Self { first: field, more: Vec::new() }
    }

    fn selection_sets(&self) -> impl Iterator<Item = &'a SelectionSet> {
        std::iter::once(self.first).chain(self.more.iter().copied()).map(|field| &field.node.selection_set.node)
    }
}

/// Compiles plans.
pub struct Compiler<'c, 'a> {
    ctx: &'c ContextSelectionSet<'a>,
    /// Plans with relations so far, since the last relation was crossed.
    with_relations: Cell<usize>,
    /// Steps so far: types of interfaces within interfaces would multiply them.
    steps: Rc<Cell<usize>>,
}

/// A field as its type knows it: its number, what is asked of its own type, and its arguments.
pub type Found = Option<(FieldNumber, Plan, Args)>;

impl<'c, 'a> Compiler<'c, 'a> {
    pub(crate) fn new(ctx: &'c ContextSelectionSet<'a>) -> Self {
        Self { ctx, with_relations: Cell::new(0), steps: Rc::default() }
    }

    /// The plan of an object. `find` tells the fields of its type by name; `loader` loads its relations.
    ///
    /// # Errors
    /// Too many fields, or one that `find` does not know.
    pub fn object(
        &self,
        type_name: &str,
        fields: &Fields<'a>,
        loader: Option<Loader>,
        find: &dyn Fn(&Self, &str, &Fields<'a>) -> ServerResult<Found>,
    ) -> ServerResult<Plan> {
        let (mut by_key, mut seen) = (Vec::with_capacity(fields.first.node.selection_set.node.items.len()), Vec::new());
        for set in fields.selection_sets() {
            self.collect(type_name, set, &mut by_key, &mut seen);
        }
        // its own number comes before those of the plans within, as its rows come before theirs
        let index = self.with_relations.get();
        let mut plan = Plan { steps: Vec::with_capacity(by_key.len()), ..Plan::default() };
        let mut slots = 0;
        if loader.is_some() {
            self.with_relations.set(index + 1);
        }
        for (key, fields) in by_key {
            let name = &fields.first.node.name.node;
            let found: Found =
                if name == "__typename" { Some((TYPENAME, Plan::default(), Ok(Box::new(())))) } else { find(self, name, &fields)? };
            // what a type does not have was refused by validation: here the two do not agree on a name
            let unknown = || ServerError::new(format!("{type_name}.{name} is unknown to the gate"), Some(fields.first.pos));
            let (field, inner, args) = found.ok_or_else(unknown)?;
            let lead = [if plan.steps.is_empty() { "\"" } else { ",\"" }, key.as_str(), "\":"].concat();
            let step = Step { key: key.clone(), lead, name: name.clone(), field, slot: slots, pos: fields.first.pos, args, plan: inner };
            slots += usize::from(step.is_relation());
            self.steps.set(self.steps.get() + 1);
            if self.steps.get() > MAX_STEPS {
                return Err(ServerError::new("The selection has too many fields over the types that it may meet.", Some(step.pos)));
            }
            plan.steps.push(step);
        }
        plan.relations = loader.filter(|_| slots > 0).map(|load| Relations { index, load });
        plan.has_relations = slots > 0 || plan.steps.iter().any(|step| !step.is_relation() && step.plan.has_relations);
        Ok(plan)
    }

    /// The plan of an interface or a union, from those of its types.
    #[must_use]
    pub fn variants(plans: Vec<Plan>) -> Plan {
        Plan { has_relations: plans.iter().any(|plan| plan.has_relations), variants: plans, ..Plan::default() }
    }

    /// Compiles what lies behind a relation: it is loaded and written on its own.
    ///
    /// # Errors
    /// As `compile` says.
    pub fn behind_a_relation(&self, compile: impl FnOnce(&Self) -> ServerResult<Plan>) -> ServerResult<Plan> {
        compile(&Self { ctx: self.ctx, with_relations: Cell::new(0), steps: Rc::clone(&self.steps) })
    }

    /// An argument of a field, with variables and defaults applied.
    ///
    /// # Errors
    /// If it cannot be read; validation finds most of that before.
    pub fn argument<T: InputType>(&self, fields: &Fields<'a>, name: &str, default: Option<fn() -> T>) -> ServerResult<T> {
        let ctx: Context<'_> = self.ctx.query_env.create_context(self.ctx.schema_env, None, fields.first, None);
        Ok(ctx.param_value::<T>(name, default)?.1)
    }

    /// `CollectFields` of the specification (6.3.2); async-graphql takes `@skip` and `@include` out before execution.
    fn collect(&self, type_name: &str, set: &'a SelectionSet, into: &mut Vec<(&'a Name, Fields<'a>)>, seen: &mut Vec<&'a Name>) {
        for selection in &set.items {
            let (condition, inner) = match &selection.node {
                Selection::Field(field) => {
                    let key = &field.node.response_key().node;
                    match into.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, fields)) => fields.more.push(field),
                        None => into.push((key, Fields::one(field))),
                    }
                    continue;
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    // once for each selection set: else a short document could be of exponential size
                    if seen.contains(&name) {
                        continue;
                    }
                    let Some(fragment) = self.ctx.query_env.fragments.get(name) else { continue };
                    seen.push(name);
                    (Some(fragment.node.type_condition.node.on.node.as_str()), &fragment.node.selection_set.node)
                }
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref().map(|condition| condition.node.on.node.as_str());
                    (condition, &fragment.node.selection_set.node)
                }
            };
            if condition.is_none_or(|condition| self.applies(type_name, condition)) {
                self.collect(type_name, inner, into, seen);
            }
        }
    }

    fn applies(&self, type_name: &str, condition: &str) -> bool {
        let registry = &self.ctx.schema_env.registry;
        type_name == condition
            || registry.implements.get(type_name).is_some_and(|interfaces| interfaces.contains(condition))
            || registry.types.get(condition).is_some_and(|condition| condition.is_possible_type(type_name))
    }
}

/// What is asked of the field that a resolver is about to answer, so that it can load just that.
///
/// # Errors
/// As [`Output::compile`](crate::Output::compile) says.
pub fn selection<T: crate::Output>(ctx: &Context<'_>) -> ServerResult<Arc<Plan>> {
    if ctx.data_opt::<Stock>().is_some() {
        return Ok(Arc::new(Plan::open()));
    }
    plan::<T>(&ctx.with_selection_set(&ctx.item.node.selection_set), ctx.item)
}
