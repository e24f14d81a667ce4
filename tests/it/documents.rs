//! Documents that say what the source says: they are made from it, and fail when they are stale. `make docs` writes them.

use crate::support::root;
use claimwright::config::VARIABLES;
use std::fmt::Write;

/// Fails, or writes the file if that is what was asked for.
fn assert_fresh(path: &str, wanted: &str) {
    let file = root().join(path);
    if std::env::var_os("WRITE_DOCUMENTS").is_some() {
        std::fs::write(&file, wanted).expect("written");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == wanted, "{path} is missing or stale. Run: make docs");
}

#[test]
fn every_setting_is_in_the_manual() {
    let mut text = String::from(
        "# Configuration\n\n\
         By environment variables; an empty one is as one that is not set. A wrong configuration ends the program with exit code 2\n\
         and lists every problem, without repeating what may be a secret. This page is made from the table in\n\
         `src/config/variables.rs`; `claimwright --help` prints the same.\n\n\
         | variable | default | meaning |\n| --- | --- | --- |\n",
    );
    for (name, default, meaning) in VARIABLES {
        writeln!(text, "| `{name}` | {default} | {} |", meaning.replace('|', "\\|")).expect("written");
    }
    text.push_str(
        "\nThe access key and other `AWS_*` settings of S3 and Bedrock are read as the AWS SDK does. Several processes need PostgreSQL\n\
         **and** S3, because only one process may use a data folder; without `REDIS_URL` watchers in another process than the one that\n\
         does the work see events up to two seconds late, and limits are those of each process.\n",
    );
    assert_fresh("docs/configuration.md", &text);
}

#[test]
fn every_setting_can_be_copied_from_the_example() {
    let mut text = String::from(
        "# Every setting, with its default. The program reads the environment, not this file:\n\
         #   cp .env.example .env && set -a && . ./.env && set +a && make run\n\
         # A line that is commented out leaves the default.\n",
    );
    for (name, default, meaning) in VARIABLES {
        writeln!(text, "\n# {meaning}\n# Default: {default}.\n#{name}=").expect("written");
    }
    assert_fresh(".env.example", &text);
}
