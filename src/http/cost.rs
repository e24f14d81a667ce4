//! What an operation costs, in points, before it runs: one for each field, more for the few that take more, times the items
//! of every list above it. What points take is measured by `make bench` (see docs/limits.md). The document is turned into a
//! small plan once; what is left for each request is to put sizes of pages from its variables in. It relies on the guard
//! having bounded the document, fragments expanded, and must not decide what is too much.

use super::types::{Items, SchemaTypes, named};
use crate::domain::paging;
use async_graphql::{
    Name, Variables,
    parser::types::{ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet},
};
use async_graphql_value::{ConstValue, Value};

/// Cost of changing an object, with a transaction and its locks: of a root field of a mutation, or of each of its `ids`.
pub const MUTATION_COST: u64 = 50;
/// Cost of a root field that opens a stream: its first event. Later ones are free, the number of streams is limited.
pub const SUBSCRIPTION_COST: u64 = 10;
/// Cost of `__schema`, besides the fields below it: its answer is the largest that a short document can have.
pub const SCHEMA_COST: u64 = 200;
/// Cost of `__type`, besides the fields below it.
pub const TYPE_COST: u64 = 20;
/// Items that a list is taken to have if nothing tells before it is read, such as the sections of a project.
pub const UNKNOWN_ITEMS: u64 = 7;
/// Cost of a text of some pages: it is read, escaped and perhaps compressed.
pub const TEXT_COST: u64 = 5;
/// Cost of a field that looks at all projects of a batch, or at every word of a text.
pub const SCAN_COST: u64 = 50;
/// Cost of looking for a text in a list, besides the list itself: no index helps.
pub const SEARCH_COST: u64 = 400;
/// Most lists of an operation, wherever they stand and however many items are around them: each is a statement, which takes
/// about a millisecond before it gives its first row.
pub const MAX_LISTS: u64 = 30;
/// Most lists of an operation that are searched for a text.
pub const MAX_SEARCHES: u64 = 4;
/// Fields that are texts. Names are enough: no other type has them for something short.
const TEXTS: [&str; 9] =
    ["text", "advanceSought", "baseline", "uncertainties", "workUndertaken", "outcome", "guidance", "instructions", "description"];
/// Fields that go through much to answer little.
const SCANS: [&str; 2] = ["aifSelection", "checkNarrative"];
/// The root field that is free, so that a caller who has nothing left can ask when there will be more.
const FREE_ROOT: &str = "rateLimit";

/// The cost of an operation up to its variables.
#[derive(Debug, Default)]
pub struct Plan {
    fixed: u64,
    lists: Vec<(Size, Plan)>,
    /// Pages, counted once for their place.
    pages: u64,
    /// For each filter whether it searches for a text.
    searches: Vec<Size>,
}

/// How many items a list has.
#[derive(Debug, Clone)]
enum Size {
    Fixed(u64),
    /// By the arguments of a page.
    Page {
        first: Given,
        last: Given,
        default: u64,
    },
    /// By a variable that holds a list.
    LengthOf(Name),
    /// One if a variable holds a filter with a text, else none.
    HasText(Name),
}

/// An argument as the document has it.
#[derive(Debug, Clone)]
enum Given {
    Absent,
    Null,
    Number(u64),
    Variable(Name),
}

impl Plan {
    /// The plan of an operation.
    pub fn of(document: &ExecutableDocument, operation: &OperationDefinition, types: &SchemaTypes) -> Self {
        let planner = Planner { document, types, root: types.root(operation.ty), kind: operation.ty };
        planner.selections(&operation.selection_set.node, Some(planner.root), &Size::Fixed(1))
    }

    /// The cost with these variables. Never overflows.
    pub fn cost(&self, variables: &Variables) -> u64 {
        self.lists
            .iter()
            .fold(self.fixed, |sum, (size, each)| sum.saturating_add(size.items(variables).saturating_mul(each.cost(variables))))
    }

    /// The number of lists that are read a page of.
    pub fn pages(&self) -> u64 {
        self.lists.iter().fold(self.pages, |sum, (_, each)| sum.saturating_add(each.pages()))
    }

    /// The number of lists that are searched for a text with these variables.
    pub fn searches(&self, variables: &Variables) -> u64 {
        let own: u64 = self.searches.iter().map(|search| search.items(variables)).sum();
        self.lists.iter().fold(own, |sum, (_, each)| sum.saturating_add(each.searches(variables)))
    }

    fn fixed(fixed: u64) -> Self {
        Self { fixed, ..Self::default() }
    }

    fn add(&mut self, other: Self) {
        self.fixed = self.fixed.saturating_add(other.fixed);
        self.pages = self.pages.saturating_add(other.pages);
        self.lists.extend(other.lists);
        self.searches.extend(other.searches);
    }

    /// Adds what is selected of each item of a list.
    fn add_each(&mut self, size: Size, each: Self) {
        match size {
            Size::Fixed(1) => self.add(each),
            Size::Fixed(items) if each.lists.is_empty() => {
                self.add(Self { fixed: items.saturating_mul(each.fixed), ..each });
            }
            _ => self.lists.push((size, each)),
        }
    }
}

struct Planner<'a> {
    document: &'a ExecutableDocument,
    types: &'a SchemaTypes,
    root: &'a str,
    kind: OperationType,
}

impl Planner<'_> {
    /// `page` is the size of the connection that these are selections of. What `@skip` leaves out is charged all the same.
    fn selections(&self, set: &SelectionSet, parent: Option<&str>, page: &Size) -> Plan {
        let mut plan = Plan::default();
        for item in &set.items {
            match &item.node {
                Selection::Field(field) => self.field(&field.node, parent, page, &mut plan),
                Selection::InlineFragment(fragment) => {
                    let on = fragment.node.type_condition.as_ref().map_or(parent, |condition| Some(condition.node.on.node.as_str()));
                    plan.add(self.selections(&fragment.node.selection_set.node, on, page));
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.document.fragments.get(&spread.node.fragment_name.node) {
                        let on = fragment.node.type_condition.node.on.node.as_str();
                        plan.add(self.selections(&fragment.node.selection_set.node, Some(on), page));
                    }
                }
            }
        }
        plan
    }

    fn field(&self, field: &Field, parent: Option<&str>, page: &Size, plan: &mut Plan) {
        let is_root = parent == Some(self.root);
        let own = match field.name.node.as_str() {
            "__typename" => return,
            FREE_ROOT if is_root => return,
            "__schema" => SCHEMA_COST,
            "__type" => TYPE_COST,
            name if SCANS.contains(&name) => SCAN_COST,
            name if TEXTS.contains(&name) => TEXT_COST,
            _ if is_root && self.kind == OperationType::Mutation => {
                // once for each of its ids, or once
                plan.add_each(length(field), Plan::fixed(MUTATION_COST));
                0
            }
            _ if is_root && self.kind == OperationType::Subscription => SUBSCRIPTION_COST,
            _ => 1,
        };
        plan.fixed = plan.fixed.saturating_add(own);
        if let Some(search) = search(field) {
            plan.searches.push(search.clone());
            plan.add_each(search, Plan::fixed(SEARCH_COST));
        }
        let shape = self.types.field(parent, &field.name.node);
        let below = |page: &Size| self.selections(&field.selection_set.node, shape.map(|shape| named(&shape.ty)), page);
        let items = shape.map_or(Items::One, |shape| shape.items);
        plan.pages += u64::from(matches!(items, Items::Connection { .. } | Items::Page { .. }));
        match items {
            Items::One => plan.add(below(&Size::Fixed(1))),
            Items::Connection { default } => plan.add(below(&page_size(field, default))),
            Items::OfConnection => plan.add_each(page.clone(), below(&Size::Fixed(1))),
            Items::Page { default } => plan.add_each(page_size(field, default), below(&Size::Fixed(1))),
            Items::Ids => plan.add_each(length(field), below(&Size::Fixed(1))),
            Items::Unknown => plan.add_each(Size::Fixed(UNKNOWN_ITEMS), below(&Size::Fixed(1))),
        }
    }
}

fn page_size(field: &Field, default: u64) -> Size {
    let given = |name: &str| match field.get_argument(name).map(|value| &value.node) {
        Some(Value::Variable(name)) => Given::Variable(name.clone()),
        Some(Value::Number(number)) => Given::Number(within_page(number.as_i64())),
        Some(Value::Null) => Given::Null,
        _ => Given::Absent,
    };
    let size = Size::Page { first: given("first"), last: given("last"), default };
    let is_known = !matches!(&size, Size::Page { first: Given::Variable(_), .. } | Size::Page { last: Given::Variable(_), .. });
    if is_known { Size::Fixed(size.items(&Variables::default())) } else { size }
}

fn length(field: &Field) -> Size {
    match field.get_argument("ids").map(|value| &value.node) {
        Some(Value::Variable(name)) => Size::LengthOf(name.clone()),
        Some(Value::List(items)) => Size::Fixed(within_list(items.len())),
        _ => Size::Fixed(1),
    }
}

/// Whether a field looks for a text in its list.
fn search(field: &Field) -> Option<Size> {
    match &field.get_argument("filter")?.node {
        Value::Variable(name) => Some(Size::HasText(name.clone())),
        Value::Object(filter) => filter.contains_key("text").then_some(Size::Fixed(1)),
        _ => None,
    }
}

/// A size out of range is refused when it is read, by its argument's name; here it must only not matter.
fn within_page(number: Option<i64>) -> u64 {
    number.unwrap_or(1).clamp(1, paging::MAX_PAGE_SIZE.into()).unsigned_abs()
}

fn within_list(length: usize) -> u64 {
    within_page(Some(i64::try_from(length).unwrap_or(i64::MAX)))
}

impl Size {
    fn items(&self, variables: &Variables) -> u64 {
        match self {
            Self::Fixed(items) => *items,
            Self::LengthOf(name) => match variables.get(name) {
                Some(ConstValue::List(items)) => within_list(items.len()),
                _ => 1,
            },
            Self::HasText(name) => match variables.get(name) {
                Some(ConstValue::Object(filter)) => u64::from(filter.get("text").is_some_and(|text| !matches!(text, ConstValue::Null))),
                _ => 0,
            },
            Self::Page { first, last, default } => {
                let (first, last) = (first.value(variables), last.value(variables));
                match first.flatten().max(last.flatten()) {
                    Some(items) => items,
                    // An explicit null is not the schema's default but no wish at all.
                    None if first.is_some() || last.is_some() => within_page(Some(paging::DEFAULT_PAGE_SIZE.into())),
                    None => *default,
                }
            }
        }
    }
}

impl Given {
    /// `None` if it is as if the argument were not there, `Some(None)` if it is null.
    fn value(&self, variables: &Variables) -> Option<Option<u64>> {
        match self {
            Self::Absent => None,
            Self::Null => Some(None),
            Self::Number(number) => Some(Some(*number)),
            Self::Variable(name) => match variables.get(name)? {
                ConstValue::Number(number) => Some(Some(within_page(number.as_i64()))),
                _ => Some(None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;
    use serde_json::json;

    const SDL: &str = "
        type Query { pets(first: Int, last: Int): PetConnection! dogs(first: Int = 50): PetConnection! nodes(ids: [ID!]!): [Pet]! checkNarrative: Row!
            found(filter: Filter): [Row!]!
            rows(first: Int = 5): [Row!]! me: Pet rateLimit: Row! }
        type Mutation { save: Pet! drop(ids: [ID!]!): Pet! }
        type Subscription { changes: Pet! }
        type PetConnection { nodes: [Pet!]! edges: [PetEdge!]! totalCount: Int! pageInfo: Row! }
        type PetEdge { cursor: String! node: Pet! }
        type Pet { id: ID! names: [String!]! toys: [Row!]! friends(first: Int = 10): PetConnection! }
        type Row { a: Int b: Int text: String }
        input Filter { text: String other: Int }
    ";

    fn cost_with(query: &str, variables: serde_json::Value) -> u64 {
        let document = parse_query(query).unwrap();
        let types = SchemaTypes::of(SDL).unwrap();
        let (_, operation) = document.operations.iter().next().unwrap();
        Plan::of(&document, &operation.node, &types).cost(&Variables::from_json(variables))
    }

    fn cost(query: &str) -> u64 {
        cost_with(query, json!({}))
    }

    #[test]
    fn a_field_is_a_point_and_typename_is_free() {
        assert_eq!(cost("{ me { id names __typename } __typename }"), 3);
        assert_eq!(cost("{ rateLimit { a b } }"), 0);
        assert_eq!(cost("{ ...f me { id } } fragment f on Query { rateLimit { a } }"), 2);
    }

    #[test]
    fn what_is_selected_of_items_is_charged_by_the_size_of_the_page() {
        // pets and nodes are one each, whatever the page; so are totalCount, pageInfo and what is in it
        assert_eq!(cost("{ pets(first: 30) { nodes { id } } }"), 2 + 30);
        assert_eq!(cost("{ pets(last: 30) { edges { cursor node { id } } } }"), 2 + 30 * 3);
        assert_eq!(cost("{ pets(first: 30) { totalCount pageInfo { a } } }"), 4);
        assert_eq!(cost("{ pets(first: 10) { nodes { friends(first: 10) { nodes { id } } } } }"), 2 + 10 * (2 + 10));
    }

    #[test]
    fn a_page_whose_size_is_not_said_has_the_size_of_the_schema() {
        assert_eq!(cost("{ pets { nodes { id } } }"), 2 + 20);
        assert_eq!(cost("{ dogs { nodes { id } } }"), 2 + 50);
        assert_eq!(cost("{ dogs(first: null) { nodes { id } } }"), 2 + 20);
        assert_eq!(cost("{ rows { a } }"), 1 + 5);
    }

    #[test]
    fn what_takes_more_than_a_value_at_hand_costs_more() {
        assert_eq!(cost("{ me { toys { text a } } }"), 2 + UNKNOWN_ITEMS * (TEXT_COST + 1));
        assert_eq!(cost("{ checkNarrative { a } }"), SCAN_COST + 1);
        let found = 1 + UNKNOWN_ITEMS;
        assert_eq!(cost("{ found(filter: { other: 1 }) { a } }"), found);
        assert_eq!(cost("{ found(filter: { text: \"x\" }) { a } }"), found + SEARCH_COST);
        let by_variable = |filter: serde_json::Value| cost_with("query($f: Filter) { found(filter: $f) { a } }", json!({ "f": filter }));
        assert_eq!(by_variable(json!({ "text": "x" })), found + SEARCH_COST);
        assert_eq!((by_variable(json!({ "text": null })), by_variable(json!(null))), (found, found));
    }

    #[test]
    fn variables_count_as_they_come() {
        let query = "query($n: Int, $m: Int) { dogs(first: $n) { nodes { id friends(first: $m) { nodes { id } } } } }";
        assert_eq!(cost_with(query, json!({"n": 2, "m": 3})), 2 + 2 * (3 + 3));
        assert_eq!(cost_with(query, json!({})), 2 + 50 * (3 + 10));
        assert_eq!(cost_with(query, json!({"n": null, "m": 1})), 2 + 20 * (3 + 1));
        let nodes = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }";
        assert_eq!(cost_with(nodes, json!({"ids": ["a", "b", "c"]})), 1 + 3);
        assert_eq!(cost("{ nodes(ids: [\"a\", \"b\"]) { id } }"), 1 + 2);
    }

    #[test]
    fn sizes_out_of_range_neither_overflow_nor_pay_off() {
        for (size, items) in [(-1_i64, 1), (0, 1), (101, 100), (i64::MAX, 100), (i64::MIN, 1)] {
            assert_eq!(cost(&format!("{{ pets(first: {size}) {{ nodes {{ id }} }} }}")), 2 + items, "{size}");
            assert_eq!(cost_with("query($n: Int) { pets(first: $n) { nodes { id } } }", json!({ "n": size })), 2 + items, "{size}");
        }
        let deep =
            format!("{{ pets(first: 100) {{ nodes {{ {} id {} }} }} }}", "friends(first: 100) { nodes { ".repeat(30), "} }".repeat(30));
        assert_eq!(cost(&deep), u64::MAX);
    }

    #[test]
    fn lists_of_unknown_length_count_for_some_items() {
        assert_eq!(cost("{ me { toys { a b } } }"), 2 + UNKNOWN_ITEMS * 2);
    }

    #[test]
    fn what_changes_or_listens_costs_more() {
        assert_eq!(cost("mutation { save { id } other: save { id } }"), 2 * (MUTATION_COST + 1));
        assert_eq!(cost("mutation { drop(ids: [1, 2, 3]) { id } }"), 3 * MUTATION_COST + 1);
        assert_eq!(cost_with("mutation($i: [ID!]!) { drop(ids: $i) { id } }", json!({ "i": [1, 2] })), 2 * MUTATION_COST + 1);
        assert_eq!(cost("subscription { changes { id } }"), SUBSCRIPTION_COST + 1);
        assert_eq!(cost("{ __schema { types { name } } __type(name: \"Pet\") { name } }"), SCHEMA_COST + 2 + TYPE_COST + 1);
    }

    #[test]
    fn lists_and_searches_are_counted_by_their_places() {
        let plan = |query: &str| {
            let document = parse_query(query).unwrap();
            let (_, operation) = document.operations.iter().next().unwrap();
            Plan::of(&document, &operation.node, &SchemaTypes::of(SDL).unwrap())
        };
        let nested = plan(
            "query($n: Int) { pets(first: $n) { nodes { friends(first: 100) { totalCount } friends { totalCount } } } dogs { totalCount } }",
        );
        assert_eq!(nested.pages(), 4);
        assert_eq!(plan("{ a: rows { a } ...f } fragment f on Query { b: rows { a } me { id } nodes(ids: [1]) { id } }").pages(), 2);
        let search = plan("query($f: Filter) { a: found(filter: $f) { a } b: found(filter: { text: \"x\" }) { a } c: found { a } }");
        let with = |filter: serde_json::Value| search.searches(&Variables::from_json(json!({ "f": filter })));
        assert_eq!((with(json!({ "text": "x" })), with(json!({ "other": 1 }))), (2, 1));
    }

    #[test]
    fn fragments_cost_what_they_select_wherever_they_are_used() {
        assert_eq!(
            cost("{ pets(first: 3) { ...page } } fragment page on PetConnection { nodes { ...pet } } fragment pet on Pet { id }"),
            2 + 3
        );
        assert_eq!(cost("{ me { ... on Pet { id ... { names } } } }"), 3);
    }
}
