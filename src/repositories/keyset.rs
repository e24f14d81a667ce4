//! Keyset conditions: turns sort keys and a page request into `WHERE` and `ORDER BY`. It must not know tables.

use super::db::{Arg, Sql};
use crate::domain::paging::{Direction, KeyValue, Page, PageRequest, Position};
use chrono::DateTime;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

/// A key of a sort: an expression that is never NULL, and its direction. The last key of a list is its id.
#[derive(Debug, Clone, Copy)]
pub struct SortKey {
    /// SQL expression that runs on both databases.
    pub expression: &'static str,
    /// Direction.
    pub direction: Direction,
}

impl SortKey {
    /// A key with the smallest first.
    #[must_use]
    pub const fn asc(expression: &'static str) -> Self {
        Self { expression, direction: Direction::Asc }
    }

    /// A key with the largest first.
    #[must_use]
    pub const fn desc(expression: &'static str) -> Self {
        Self { expression, direction: Direction::Desc }
    }
}

/// Appends `AND (…)` for the positions of the request, `ORDER BY` and `LIMIT` (one row more than asked for, to know
/// whether there is more).
pub fn push_page(sql: &mut Sql, keys: &[SortKey], request: &PageRequest) {
    if let Some(position) = &request.after {
        push_beyond(sql, keys, position, false);
    }
    if let Some(position) = &request.before {
        push_beyond(sql, keys, position, true);
    }
    sql.push(" ORDER BY ").push(&order(keys, request)).push(" LIMIT ").bind(Arg::Int(request.limit + 1));
}

/// A statement that reads a page for each of several parents at once: rows are numbered within their parent. `from` holds
/// everything from `FROM` on, `parent` is the column of the parent, and the rows come back by parent, in page order.
#[must_use]
pub fn pages_of_parents(columns: &str, from: Sql, parent: &str, keys: &[SortKey], request: &PageRequest) -> Sql {
    let mut sql =
        from.before(&format!("SELECT {columns}, row_number() OVER (PARTITION BY {parent} ORDER BY {}) AS place", order(keys, request)));
    if let Some(position) = &request.after {
        push_beyond(&mut sql, keys, position, false);
    }
    if let Some(position) = &request.before {
        push_beyond(&mut sql, keys, position, true);
    }
    let mut sql = sql.before("SELECT * FROM (");
    sql.push(") pages WHERE place <= ").bind(Arg::Int(request.limit + 1)).push(" ORDER BY place");
    sql
}

/// Rows of [`pages_of_parents`] as a page for each parent; parents without rows are absent.
#[must_use]
pub fn group_pages<K: Eq + Hash, T>(rows: Vec<(K, T, Position)>, request: &PageRequest) -> HashMap<K, Page<T>> {
    let rows = rows.into_iter().map(|(parent, row, at)| (parent, (row, at)));
    grouped(rows, 0).into_iter().map(|(parent, rows)| (parent, Page::from_rows(rows, request))).collect()
}

/// Rows by their key, of which about so many are expected. Those of one key mostly come one after the other, so a key is looked for
/// once for all of them.
pub fn grouped<K: Eq + Hash, T>(rows: impl IntoIterator<Item = (K, T)>, keys: usize) -> HashMap<K, Vec<T>> {
    let mut all: HashMap<K, Vec<T>> = HashMap::with_capacity(keys);
    let mut put = |key, mut rows| match all.entry(key) {
        Entry::Vacant(place) => drop(place.insert(rows)),
        Entry::Occupied(mut known) => known.get_mut().append(&mut rows),
    };
    let (mut current, mut group) = (None, Vec::new());
    for (key, row) in rows {
        if let Some(ended) = current.take_if(|current| *current != key) {
            // the next one is probably as long
            let next = Vec::with_capacity(group.len());
            put(ended, std::mem::replace(&mut group, next));
        }
        current.get_or_insert(key);
        group.push(row);
    }
    if let Some(ended) = current {
        put(ended, group);
    }
    all
}

fn order(keys: &[SortKey], request: &PageRequest) -> String {
    let direction = |key: &SortKey| if (key.direction == Direction::Asc) == request.backward { "DESC" } else { "ASC" };
    let mut order = String::with_capacity(keys.len() * 32);
    for key in keys {
        let comma = if order.is_empty() { "" } else { ", " };
        order.extend([comma, key.expression, " ", direction(key)]);
    }
    order
}

fn push_beyond(sql: &mut Sql, keys: &[SortKey], position: &Position, reverse: bool) {
    let places: Vec<usize> = position.values.iter().map(|value| sql.place(arg(value))).collect();
    let comparison = |key: &SortKey| if (key.direction == Direction::Asc) == reverse { "<" } else { ">" };
    // one direction for all keys: a row value, which an index can answer
    if keys.windows(2).all(|pair| pair[0].direction == pair[1].direction) {
        let columns: Vec<_> = keys.iter().map(|key| key.expression).collect();
        let values: Vec<_> = places.iter().map(|n| format!("${n}")).collect();
        let operator = keys.first().map_or(">", comparison);
        sql.push(&format!(" AND ({}) {operator} ({})", columns.join(", "), values.join(", ")));
        return;
    }
    let mut alternatives = Vec::new();
    for depth in 0..keys.len() {
        let mut terms: Vec<String> = (0..depth).map(|i| format!("{} = ${}", keys[i].expression, places[i])).collect();
        terms.push(format!("{} {} ${}", keys[depth].expression, comparison(&keys[depth]), places[depth]));
        alternatives.push(format!("({})", terms.join(" AND ")));
    }
    sql.push(&format!(" AND ({})", alternatives.join(" OR ")));
}

fn arg(value: &KeyValue) -> Arg {
    match value {
        KeyValue::Text(text) => Arg::Text(text.clone()),
        KeyValue::Int(number) => Arg::Int(*number),
        KeyValue::Micros(micros) => Arg::Time(DateTime::from_timestamp_micros(*micros).unwrap_or_default()),
        KeyValue::Id(id) => Arg::Id(*id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_grouped_in_their_order_whether_or_not_those_of_a_key_come_together() {
        let rows = [(1, 'a'), (1, 'b'), (2, 'c'), (1, 'd'), (3, 'e'), (3, 'f')];
        assert_eq!(grouped(rows, 2), HashMap::from([(1, vec!['a', 'b', 'd']), (2, vec!['c']), (3, vec!['e', 'f'])]));
        assert_eq!(grouped(Vec::<(i32, char)>::new(), 0), HashMap::new());
    }
}
