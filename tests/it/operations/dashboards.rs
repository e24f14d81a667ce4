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
fn the_manual_of_operations_has_every_metric_and_only_variables_that_exist() {
    let manual = read("docs/operations.md");
    assert_eq!(names(&manual), table());
    for metric in METRICS {
        let row = format!("| `{}` |", metric.name);
        let line = manual.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no row for {}", metric.name));
        assert!(line.contains(metric.description), "{line}");
        assert!(metric.labels.iter().all(|label| line.contains(&format!("`{label}`"))), "{line}");
    }
    let known: BTreeSet<&str> = VARIABLES.iter().map(|(name, _, _)| *name).collect();
    let is_variable = |word: &&str| word.len() > 5 && word.contains('_') && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let compose = read("compose.yaml");
    let words = compose.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(is_variable);
    let of_the_product = |word: &&str| {
        !["POSTGRES_", "AWS_", "VGW_", "ROOT_", "REDIS_PASSWORD", "CLAIMWRIGHT_TAG", "CLAIMWRIGHT_PORT", "LOCAL_", "NET_BIND"]
            .iter()
            .any(|other| word.starts_with(other))
    };
    for word in words.filter(of_the_product) {
        assert!(known.contains(word), "compose.yaml sets {word}, which nothing reads");
    }
}
