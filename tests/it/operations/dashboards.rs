//! What is written for operators keeps to what there is: the dashboard and the documentation name metrics and variables
//! that exist, and every one of them.

use crate::support::root;
use claimwright::config::VARIABLES;
use claimwright::telemetry::{Kind, METRICS};
use serde_json::Value;
use std::collections::BTreeSet;

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names of metrics in a text, without what a histogram adds to them.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_').filter(|word| word.starts_with("claimwright_"));
    let base = |word: &str| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        let is_histogram = |name: &&str| METRICS.iter().any(|metric| metric.name == *name && matches!(metric.kind, Kind::Histogram(_)));
        histogram.filter(is_histogram).unwrap_or(word).to_owned()
    };
    words.map(base).filter(|name| name != "claimwright_service").collect()
}

fn table() -> BTreeSet<String> {
    METRICS.iter().map(|metric| metric.name.to_owned()).collect()
}

#[test]
fn the_dashboard_shows_every_metric_and_none_that_does_not_exist() {
    let dashboard: Value = serde_json::from_str(&read("docs/grafana-dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries: Vec<&str> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .filter_map(|target| target["expr"].as_str())
        .collect();
    assert!(queries.len() > 15, "{} queries", queries.len());
    assert_eq!(names(&queries.join("\n")), table());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(panel["description"].as_str().is_some_and(|text| text.len() > 10), "{} says nothing", panel["title"]);
    }
    let ids: BTreeSet<i64> = panels.iter().filter_map(|panel| panel["id"].as_i64()).collect();
    assert_eq!(ids.len(), panels.len(), "ids of panels are unique");
}

#[test]
fn the_manual_of_operations_explains_every_metric() {
    let manual = read("docs/operations.md");
    assert_eq!(names(&manual), table());
    for metric in METRICS {
        let row = format!("| `{}` |", metric.name);
        let line = manual.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no row for {}", metric.name));
        assert!(line.contains(metric.description), "{line}");
        assert!(metric.labels.iter().all(|label| line.contains(&format!("`{label}`"))), "{line}");
    }
}

#[test]
fn the_manual_and_the_compose_file_set_only_variables_that_exist() {
    let known: BTreeSet<&str> = VARIABLES.iter().map(|(name, _, _)| *name).collect();
    let is_known = |name: &str| known.contains(name) || ["AWS_", "OTEL_TRACES_"].iter().any(|others| name.starts_with(others));
    let compose = read("compose.yaml");
    let (ours, _) = compose.split_once("\nservices:").expect("services");
    let set = ours.lines().filter_map(|line| line.trim().split_once(':')).map(|(name, _)| name);
    let is_name = |name: &&str| name.len() > 3 && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let set: Vec<&str> = set.filter(is_name).collect();
    assert!(set.len() > 20, "{set:?}");
    let manual = read("docs/operations.md");
    let words = manual.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.contains('_')).filter(is_name);
    for name in set.into_iter().chain(words) {
        assert!(is_known(name), "nothing reads {name}");
    }
}
