//! The terminal client as a process, against a server in another: what is printed where, what is left in folders, and
//! the exit codes of `src/client/mod.rs`.

use crate::support::process::{Finished, Server, run, settings};
use crate::support::root;
use serde_json::json;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// A server with its data folder, and commands that talk to it.
struct Desk {
    folder: tempfile::TempDir,
    server: Server,
}

impl Desk {
    async fn open(more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(&folder.path().join("data"), &settings(more)).await;
        Self { folder, server }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        run(arguments, &self.data(), &settings(&[("CLAIMWRIGHT_URL", self.server.url())])).await
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }
}

fn sample() -> String {
    root().join("samples/projects.csv").to_str().expect("UTF-8").to_owned()
}

/// One complaint: a line with words, and nothing that steers a terminal.
fn assert_one_sentence(finished: &Finished) {
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    assert!(finished.stderr.split_whitespace().count() > 4, "{finished:?}");
    assert_plain(finished);
}

fn assert_plain(finished: &Finished) {
    let steers = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');
    assert!(!steers(&finished.stdout) && !steers(&finished.stderr), "control characters: {finished:?}");
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

#[tokio::test]
async fn the_whole_job_is_done_from_a_terminal_and_leaves_the_document() {
    let desk = Desk::open(&[]).await;
    let out = desk.folder.path().join("out");
    let finished = desk.run(&["import", &sample(), "--generate", "--watch", "--export", out.to_str().expect("UTF-8")]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_plain(&finished);
    assert!(finished.stdout.contains("SUCCEEDED") && finished.stdout.contains("Mean score"), "{finished:?}");
    let saved = files_in(&out);
    let [document] = saved.as_slice() else { panic!("not one document: {saved:?}") };
    assert!(finished.stdout.contains(document.to_str().expect("UTF-8")), "{finished:?}");
    assert_eq!(document.extension().and_then(|end| end.to_str()), Some("docx"));
    let mut text = String::new();
    let mut archive = zip::ZipArchive::new(std::fs::File::open(document).expect("opened")).expect("an archive");
    archive.by_name("word/document.xml").expect("a document").read_to_string(&mut text).expect("read");
    assert!(text.contains("Recyclable barrier film for chilled food trays"));

    let query = "{ batches(first: 10) { nodes { name meanScore counts { total needsReview } } } }";
    let data = desk.server.adviser().run(query, json!({})).await;
    let [batch] = data["batches"]["nodes"].as_array().expect("batches").as_slice() else { panic!("not one batch: {data}") };
    assert_eq!(batch["name"], "projects", "a batch is named after its file");
    assert_eq!(batch["counts"]["total"], batch["counts"]["needsReview"]);
    assert!(batch["counts"]["total"].as_u64().is_some_and(|total| total >= 12), "{batch}");

    let again = desk.run(&["import", &sample(), "--format", "csv", "--export", out.to_str().expect("UTF-8")]).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.contains("\"projects 2\""), "the name is taken, so it gets a number: {again:?}");
    assert_eq!(files_in(&out).len(), 2, "the first document stays");
}

#[tokio::test]
async fn watch_ends_at_once_when_nothing_runs_and_follows_what_does() {
    let desk = Desk::open(&[("OFFLINE_DELAY_MS", "30"), ("WORKER_CONCURRENCY", "2")]).await;
    let adviser = desk.server.adviser();
    let (batch, _) = adviser.batch_of("Quiet one", 2).await;
    let idle = desk.run(&["watch", "Quiet one"]).await;
    assert_eq!((idle.code, idle.stdout.as_str()), (Some(0), "Batch \"Quiet one\" has no run.\n"), "{idle:?}");

    let run = adviser.start(&batch).await;
    let followed = desk.run(&["watch", &batch]).await;
    assert_eq!(followed.code, Some(0), "{followed:?}");
    assert!(followed.stdout.contains(&format!("Run {run}: SUCCEEDED, 2 of 2 projects written, 0 failed")), "{followed:?}");
    assert_plain(&followed);
    let afterwards = desk.run(&["watch", "Quiet one"]).await;
    assert_eq!(afterwards.code, Some(0));
    assert!(afterwards.stdout.contains("No run of batch \"Quiet one\" is active"), "{afterwards:?}");

    let unknown = desk.run(&["watch", "No such batch"]).await;
    assert_eq!(unknown.code, Some(1));
    assert_one_sentence(&unknown);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_in_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let nowhere = settings(&[("CLAIMWRIGHT_URL", &format!("http://127.0.0.1:{port}"))]);
    for arguments in [["import", &sample()], ["watch", "Acme"]] {
        let finished = run(&arguments, &folder.path().join("data"), &nowhere).await;
        assert_eq!(finished.code, Some(6), "{finished:?}");
        assert_one_sentence(&finished);
        assert!(finished.stderr.contains(&port.to_string()), "which server? {finished:?}");
    }
    let health = run(&["healthcheck"], &folder.path().join("data"), &nowhere).await;
    assert_eq!(health.code, Some(1));
    assert_one_sentence(&health);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_refused_with_its_reason() {
    let desk = Desk::open(&[]).await;
    let missing = desk.run(&["import", "no-such-file.csv"]).await;
    assert_eq!(missing.code, Some(1));
    assert_one_sentence(&missing);
    let nothing = desk.server.adviser().run("{ batches { totalCount } }", json!({})).await;
    assert_eq!(nothing["batches"]["totalCount"], 0, "the server was not asked for anything");

    let strange = desk.file("strange.csv", "colour,height\nred,1\n");
    let refused = desk.run(&["import", &strange, "--name", "Strange \u{1b}[31m"]).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert_plain(&refused);
    let strange = desk.run(&["import", &strange, "--generate"]).await;
    assert_eq!(strange.code, Some(4), "the import failed: {strange:?}");
    assert_one_sentence(&strange);
    assert!(strange.stdout.contains("MISSING_COLUMN"), "{strange:?}");

    let health = desk.run(&["healthcheck"]).await;
    assert_eq!((health.code, health.stdout.as_str(), health.stderr.as_str()), (Some(0), "", ""));
}

#[tokio::test]
async fn a_token_that_the_server_does_not_know_is_a_sentence_too() {
    let (desk, other) = (Desk::open(&[]).await, tempfile::tempdir().expect("a folder"));
    let foreign = run(&["token"], &other.path().join("data"), &[]).await.stdout;
    let more = settings(&[("CLAIMWRIGHT_URL", desk.server.url()), ("CLAIMWRIGHT_TOKEN", foreign.trim())]);
    let refused = run(&["import", &sample()], &desk.data(), &more).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_one_sentence(&refused);
    assert!(refused.stderr.contains("CLAIMWRIGHT_TOKEN") && !refused.stderr.contains(foreign.trim()), "{refused:?}");
}

#[tokio::test]
async fn token_prints_exactly_one_token_with_or_without_a_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let before = run(&["token"], &data, &[]).await;
    let server = Server::start(&data, &[]).await;
    let during = run(&["token", "--email", "Partner@Practice.example", "--workspace", "practice", "--ttl", "60"], &data, &[]).await;
    for finished in [&before, &during] {
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
        let token = finished.stdout.strip_suffix('\n').expect("one line");
        assert!(token.split('.').count() == 3 && token.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "{token}");
    }
    let of = |finished: &Finished| crate::support::Client::new(server.url().to_owned(), Some(finished.stdout.trim().to_owned()));
    let query = "{ viewer { user { email } workspace { id } } }";
    let default = of(&before).run(query, json!({})).await;
    let partner = of(&during).run(query, json!({})).await;
    assert_eq!(default["viewer"]["user"]["email"], "adviser@claimwright.local");
    assert_eq!(partner["viewer"]["user"]["email"], "partner@practice.example");
    assert_ne!(default["viewer"]["workspace"], partner["viewer"]["workspace"]);
    for wrong in [vec!["token", "--ttl", "0"], vec!["token", "--workspace", ""], vec!["token", "--email", "nobody"]] {
        let refused = run(&wrong, &data, &[]).await;
        assert_ne!(refused.code, Some(0), "{wrong:?}");
        assert_eq!(refused.stdout, "", "{wrong:?}");
    }
}

#[tokio::test]
async fn schema_prints_the_schema_without_any_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let printed = run(&["schema"], &folder.path().join("data"), &settings(&[("PORT", "wrong")])).await;
    assert_eq!((printed.code, printed.stdout.trim_end()), (Some(0), claimwright::graphql::sdl().trim_end()));
}
