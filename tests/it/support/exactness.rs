//! What must be true of a batch whose run is over, whatever happened while it was written: everything is there once, and
//! everything that counts agrees.

use super::Client;
use serde_json::{Value, json};

impl Client {
    /// Asserts that every section of so many projects has its text and one revision; gives how many sections there are.
    pub async fn has_each_section_once(&self, batch: &str, projects: usize) -> usize {
        let query = "query($id: ID!) { batch(id: $id) { activity activeRun { id } counts { total draft queued generating needsReview approved failed } \
            projects(first: 100) { totalCount nodes { status quality { score } sections { state text revision revisions(first: 2) { totalCount nodes { number } } } } } } }";
        let data = self.run(query, json!({ "id": batch })).await;
        let batch = &data["batch"];
        assert_eq!((&batch["activity"], &batch["activeRun"]), (&json!("IN_REVIEW"), &Value::Null));
        let counts =
            json!({ "total": projects, "draft": 0, "queued": 0, "generating": 0, "needsReview": projects, "approved": 0, "failed": 0 });
        assert_eq!(batch["counts"], counts);
        assert_eq!(batch["projects"]["totalCount"], projects);
        let mut written = 0;
        for project in batch["projects"]["nodes"].as_array().expect("projects") {
            assert_eq!(project["status"], "NEEDS_REVIEW");
            assert!(project["quality"]["score"].is_u64(), "no score: {project}");
            for section in project["sections"].as_array().expect("sections") {
                assert_eq!((&section["state"], &section["revision"]), (&json!("GENERATED"), &json!(1)), "{section}");
                assert_eq!(section["revisions"], json!({ "totalCount": 1, "nodes": [{ "number": 1 }] }));
                assert!(section["text"].as_str().is_some_and(|text| text.len() > 40), "no text: {section}");
                written += 1;
            }
        }
        assert!(written >= projects * 5, "only {written} sections");
        written
    }

    /// Asserts that the numbers of a run agree with so many projects and sections; gives how many attempts were lost with
    /// a worker.
    pub async fn has_a_run_that_adds_up(&self, run: &str, projects: usize, sections: usize) -> usize {
        let query = "query($id: ID!) { node(id: $id) { ... on GenerationRun { progress failure { code } \
            counts { total succeeded failed cancelled skipped queued running } good: attempts(first: 1, status: [SUCCEEDED]) { totalCount } \
            open: attempts(first: 1, status: [RUNNING]) { totalCount } lost: attempts(first: 100, status: [FAILED, RETRYING]) { nodes { failure { code } } } } } }";
        let data = self.run(query, json!({ "id": run })).await;
        let run = &data["node"];
        let counts =
            json!({ "total": projects, "succeeded": projects, "failed": 0, "cancelled": 0, "skipped": 0, "queued": 0, "running": 0 });
        assert_eq!((&run["counts"], &run["progress"], &run["failure"]), (&counts, &json!(1.0), &Value::Null));
        assert_eq!(run["good"]["totalCount"], sections, "each section has one attempt that counts");
        assert_eq!(run["open"]["totalCount"], 0, "no attempt is left open");
        let lost = run["lost"]["nodes"].as_array().expect("attempts");
        assert!(lost.iter().all(|attempt| attempt["failure"]["code"] == "WORKER_LOST"), "{lost:?}");
        lost.len()
    }
}
