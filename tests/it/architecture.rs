//! The rules of the source itself: imports run one way, transactions begin in services, SQL stays in repositories, the
//! two sets of migrations are twins. It reads the files as text and knows nothing of what they do.

use crate::support::root;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const MOST_LINES: usize = 600;

/// What each part of `src/` may import besides itself. `part/module` allows that module alone.
const ARROWS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("trace", &[]),
    ("telemetry", &["error", "trace"]),
    ("domain", &["error"]),
    ("adapters", &["domain", "error"]),
    ("render", &["domain", "error"]),
    ("repositories", &["domain", "error"]),
    ("services", &["adapters", "render", "repositories", "domain", "error", "trace"]),
    ("graphql", &["services", "domain", "error"]),
    ("identity", &["domain", "error"]),
    ("http", &["graphql", "services", "identity", "domain", "error", "trace"]),
    ("workers", &["services", "repositories/jobs", "adapters/events", "domain", "error", "trace"]),
    ("client", &["error", "domain/ids"]),
    ("config", &[]),
    (
        "app",
        &[
            "http",
            "graphql",
            "workers",
            "identity",
            "services",
            "adapters",
            "repositories",
            "render",
            "config",
            "telemetry",
            "domain",
            "error",
        ],
    ),
    ("main", &["app", "client", "config", "telemetry", "error", "graphql"]),
    ("lib", &[]),
];

/// Macros live at the root of the crate but belong to a part.
const MACROS: &[(&str, &str)] = &[("word_enum", "error"), ("on", "repositories/db"), ("narrow_row", "repositories/db")];

/// A source file: its path below `src/`, and its text without comments and tests.
struct Source {
    path: String,
    text: String,
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target" && name != "node_modules") {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|end| end == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_test_file(path: &str) -> bool {
    let stem = path.trim_end_matches(".rs");
    stem.ends_with("tests") || stem.ends_with("scenarios")
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let all = files(&src, "rs").into_iter().map(|file| {
        let path = file.strip_prefix(&src).expect("below src").to_str().expect("UTF-8").to_owned();
        let text = std::fs::read_to_string(&file).expect("read");
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        Source { path, text: text.lines().filter(is_code).collect::<Vec<_>>().join("\n") }
    });
    let all: Vec<Source> = all.filter(|source| !is_test_file(&source.path)).collect();
    assert!(all.len() > 80, "only {} files were found", all.len());
    all
}

/// The part that a file belongs to.
fn part(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

/// Paths that begin at the root of the crate, as `part/module`; groups in braces are taken apart.
fn imports(source: &Source) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let root_name = if source.path == "main.rs" { "claimwright::" } else { "crate::" };
    for (at, _) in source.text.match_indices(root_name) {
        let before = source.text[..at].chars().next_back();
        // in a literal it names a target of the log, not a module
        if before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '"' | ',')) {
            found.extend(targets(&source.text[at + root_name.len()..]));
        }
    }
    // `super::super::…` that reaches the root: a file `a/b/c.rs` is three modules below it
    let depth = source.path.trim_end_matches("/mod.rs").split('/').count();
    let climb = "super::".repeat(depth);
    found.extend(source.text.match_indices(&climb).flat_map(|(at, _)| targets(&source.text[at + climb.len()..])));
    found
}

fn targets(rest: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else {
        let first = word(rest);
        let after = &rest[first.len()..];
        let seconds: Vec<String> = match after.strip_prefix("::") {
            Some(inner) if inner.starts_with('{') => split_group(&inner[1..]).iter().map(|item| word(item)).collect(),
            Some(inner) => vec![word(inner)],
            None => vec![String::new()],
        };
        return seconds.into_iter().map(|second| format!("{first}/{second}")).collect();
    };
    split_group(group).iter().flat_map(|item| targets(item)).collect()
}

/// The items of a group, up to its closing brace.
fn split_group(text: &str) -> Vec<String> {
    let (mut depth, mut items, mut item) = (0, Vec::new(), String::new());
    for c in text.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                item.push(c);
            }
        }
    }
    items.push(item);
    items.iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty() && item != "self").collect()
}

#[test]
fn groups_of_imports_are_taken_apart() {
    let text = "use crate::{\n  domain::{actor::Actor, ids},\n  error::Error,\n};\nuse crate::services::core;\nlet x = $crate::on!();";
    let found = imports(&Source { path: "graphql/a.rs".into(), text: text.into() });
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["domain/actor", "domain/ids", "error/Error", "on/", "services/core"]);
    let climbs = Source { path: "domain/a/b.rs".into(), text: "use super::super::super::services::x; use super::c;".into() };
    assert_eq!(imports(&climbs).into_iter().collect::<Vec<_>>(), ["services/x"]);
}

#[test]
fn imports_run_one_way() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let macros: BTreeMap<&str, &str> = MACROS.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let part = part(&source.path);
        let allowed =
            arrows.get(part).unwrap_or_else(|| panic!("{}: no arrow is drawn for {part}; add it here and in the design", source.path));
        for import in imports(&source) {
            let import = match import.split_once('/') {
                Some((name, _)) if macros.contains_key(name) => macros[name].to_owned(),
                _ => import,
            };
            let target = import.split('/').next().unwrap_or_default();
            let is_allowed = allowed.iter().any(|arrow| *arrow == target || *arrow == import);
            if target != part && !is_allowed {
                wrong.push(format!("{} imports {import}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn adapters_do_not_import_each_other() {
    let sources = sources();
    for source in sources.iter().filter(|source| part(&source.path) == "adapters") {
        let own = source.path.split('/').nth(1).unwrap_or_default();
        for import in imports(source).iter().filter_map(|import| import.strip_prefix("adapters/").map(str::to_owned)) {
            // the way to Redis is no port: all forms over Redis share it
            assert!(import == own || import == "redis", "{}", source.path);
        }
        let others = ["ai", "cache", "events", "pace", "storage", "rate_limit"].into_iter().filter(|other| *other != own);
        for other in others.filter(|_| own != "mod.rs") {
            assert!(!source.text.contains(&format!("super::{other}::")), "{} imports {other}", source.path);
        }
    }
}

#[test]
fn only_services_and_the_queue_begin_transactions() {
    let mut wrong = Vec::new();
    let sources = sources();
    let is_below = |source: &&Source| source.path.starts_with("repositories/db/") || source.path == "repositories/jobs.rs";
    for source in sources.iter().filter(|source| !is_below(source)) {
        let begins = source.text.contains(".begin(") || source.text.contains("begin_with(");
        let straight = source.text.contains("db.begin(") && source.path != "services/core.rs";
        if (begins && part(&source.path) != "services") || straight {
            wrong.push(&source.path);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn sql_stands_in_repositories_alone() {
    let verbs = ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "WITH ", "CREATE ", "ALTER ", "LISTEN ", "NOTIFY ", "PRAGMA "];
    let mut wrong = Vec::new();
    let sources = sources();
    for source in sources.iter().filter(|source| part(&source.path) != "repositories") {
        let has_text = verbs.iter().any(|verb| source.text.contains(&format!("\"{verb}")));
        if has_text || source.text.contains("sqlx::query") {
            wrong.push(&source.path);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn nothing_is_unsafe() {
    for source in sources() {
        let words = source.text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
        assert_eq!(words.filter(|word| *word == "unsafe").count(), 0, "{}", source.path);
    }
}

#[test]
fn every_file_begins_with_what_it_owns_and_is_short_enough_to_read() {
    let mut wrong = Vec::new();
    for folder in ["src", "crates", "tests"] {
        for file in files(&root().join(folder), "rs") {
            let text = std::fs::read_to_string(&file).expect("read");
            let lines = text.lines().count();
            if lines > MOST_LINES {
                wrong.push(format!("{} has {lines} lines; at most {MOST_LINES}", file.display()));
            }
            if !text.starts_with("//!") {
                wrong.push(format!("{} does not begin with //!", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn there_is_no_place_for_what_belongs_nowhere() {
    for file in files(&root().join("src"), "rs") {
        let stray =
            file.iter().any(|name| ["utils", "common", "helpers", "utils.rs", "common.rs", "helpers.rs"].iter().any(|bad| name == *bad));
        assert!(!stray, "{}", file.display());
    }
}

/// Tables with their columns and whether those may not be null.
type Tables = BTreeMap<String, Vec<(String, bool)>>;

/// The tables, and the indexes by name with the table of each, as the migrations so far have left them.
#[derive(Default, Clone, PartialEq, Debug)]
struct Shape {
    tables: Tables,
    indexes: BTreeMap<String, String>,
}

impl Shape {
    /// Reads one more migration.
    fn read(&mut self, sql: &str) {
        let mut current = None;
        for line in sql.lines().map(|line| line.split("--").next().unwrap_or_default().trim()) {
            let words: Vec<&str> = line.trim_end_matches(';').split_whitespace().collect();
            match words.as_slice() {
                ["CREATE", "TABLE", name, ..] => current = Some((*name).to_owned()),
                ["CREATE", "INDEX", name, "ON", table, ..] | ["CREATE", "UNIQUE", "INDEX", name, "ON", table, ..] => {
                    self.indexes.insert((*name).to_owned(), (*table).to_owned());
                }
                ["ALTER", "TABLE", name, "ADD", "COLUMN", column, ..] => {
                    self.tables.entry((*name).to_owned()).or_default().push(((*column).to_owned(), line.contains("NOT NULL")));
                }
                ["ALTER", "TABLE", name, "ALTER", "COLUMN", column, change @ ("DROP" | "SET"), "NOT", "NULL"] => {
                    let columns = self.tables.get_mut(*name).expect("a table that was made before");
                    columns.iter_mut().find(|(name, _)| name == column).expect("a column of it").1 = *change == "SET";
                }
                // the way of SQLite to change a column: a new table takes the place of the old one
                ["DROP", "TABLE", name] => {
                    self.tables.remove(*name);
                    self.indexes.retain(|_, table| table != name);
                }
                ["ALTER", "TABLE", name, "RENAME", "TO", new] => {
                    let columns = self.tables.remove(*name).expect("a table that was made before");
                    self.tables.insert((*new).to_owned(), columns);
                }
                [end, ..] if end.starts_with(')') => current = None,
                ["PRIMARY" | "UNIQUE" | "FOREIGN" | "CHECK" | "CONSTRAINT", ..] | [] => {}
                [column, ..] => {
                    if let Some(table) = &current {
                        let columns = self.tables.entry(table.clone()).or_default();
                        columns.push(((*column).to_owned(), line.contains("NOT NULL")));
                    }
                }
            }
        }
    }
}

/// Migrations for what `SQLite` does not have.
const POSTGRES_ALONE: &[&str] = &["0002_row_level_security.sql"];

#[test]
fn changes_of_tables_are_seen() {
    let mut shape = Shape::default();
    shape.read("CREATE TABLE t (\n  a int NOT NULL,\n  b text\n);\nCREATE INDEX t_a ON t (a);");
    shape.read("ALTER TABLE t ADD COLUMN n int NOT NULL DEFAULT 0;\nALTER TABLE t ENABLE ROW LEVEL SECURITY;");
    let column = |name: &str, required| (name.to_owned(), required);
    assert_eq!(shape.tables["t"], [column("a", true), column("b", false), column("n", true)]);
    let mut altered = shape.clone();
    altered.read("ALTER TABLE t ALTER COLUMN a DROP NOT NULL;");
    assert_eq!(altered.tables["t"], [column("a", false), column("b", false), column("n", true)]);
    let anew = "CREATE TABLE u (\n  a int,\n  b text,\n  n int NOT NULL\n);\nINSERT INTO u SELECT a, b, n FROM t;\nDROP TABLE t;\nALTER TABLE u RENAME TO t;";
    shape.read(anew);
    assert_ne!(shape, altered, "the index went with the old table");
    shape.read("CREATE INDEX t_a ON t (a);");
    assert_eq!(shape, altered);
}

#[test]
fn migrations_are_twins() {
    let names = |folder: &str| -> Vec<String> {
        let paths = files(&root().join("migrations").join(folder), "sql");
        paths.iter().map(|path| path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned()).collect()
    };
    assert_eq!(names("postgres"), names("sqlite"));
    let (mut postgres, mut sqlite) = (Shape::default(), Shape::default());
    for name in names("sqlite") {
        let read = |folder: &str| std::fs::read_to_string(root().join("migrations").join(folder).join(&name)).expect("read");
        let before = sqlite.clone();
        postgres.read(&read("postgres"));
        sqlite.read(&read("sqlite"));
        assert!(sqlite != before || POSTGRES_ALONE.contains(&name.as_str()), "{name}: nothing was recognised");
        assert_eq!(postgres, sqlite, "{name}");
    }
}
