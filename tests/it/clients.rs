//! Clients that others write, as their users install them, against a running server: one script each in
//! `tests/clients/`, one line of output for every check.

use crate::support::{Mode, TestApp, root};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// The folder of Python's packages, which `make clients` fills.
const PYTHON: &str = "target/clients-python/bin/python";

/// Whether clients are to be tried here. Where they are, one that is missing is a failure: nothing else would tell that it
/// was not tried.
fn is_wanted(needed: &Path) -> bool {
    let is_wanted = std::env::var_os("CLIENTS_E2E").is_some_and(|value| value == "1");
    assert!(!is_wanted || needed.exists(), "{} is missing: run `make clients`, or unset CLIENTS_E2E", needed.display());
    is_wanted
}

/// Runs a script, which must pass at least so many checks.
async fn try_client(script: &str, checks: usize) {
    let folder = root().join("tests/clients");
    let is_python = Path::new(script).extension().is_some_and(|end| end == "py");
    let python = std::env::var_os("CLIENTS_PYTHON").map_or_else(|| root().join(PYTHON), PathBuf::from);
    let needed = if is_python { python.clone() } else { folder.join("node_modules") };
    if !is_wanted(&needed) {
        eprintln!("!!! {script} was NOT run: CLIENTS_E2E=1 is not set (`make test` sets it). !!!");
        return;
    }
    let app = TestApp::start(Mode::Embedded).await;
    let mut command = tokio::process::Command::new(if is_python { python } else { "node".into() });
    command.arg(script).current_dir(folder).env("CLAIMWRIGHT_URL", app.url());
    command.env("CLAIMWRIGHT_TOKEN", app.adviser().token().expect("a token")).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(2), command.output()).await.expect("it ends").expect("it runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{stdout}\n{stderr}");
    let passed = stdout.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(passed >= checks, "{script}: {passed} of {checks} checks\n{stdout}\n{stderr}");
    app.stop().await;
}

macro_rules! clients {
    ($($name:ident: $script:literal, $checks:literal;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                try_client($script, $checks).await;
            }
        )*
    };
}

clients! {
    the_audits_of_graphql_http_pass: "graphql-http.mjs", 61;
    graphql_ws_works: "graphql-ws.mjs", 7;
    graphql_sse_works: "graphql-sse.mjs", 5;
    urql_works: "urql.mjs", 8;
    apollo_client_works: "apollo.mjs", 7;
    the_network_layer_of_relay_works: "relay.mjs", 6;
    graphql_request_works: "graphql-request.mjs", 4;
    the_client_of_the_older_dialect_works: "subscriptions-transport-ws.mjs", 5;
    gql_of_python_works: "gql_python.py", 19;
}
