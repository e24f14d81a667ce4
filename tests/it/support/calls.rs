//! Calls that the tests of several concepts make: a mutation by its name, a project as it stands, jobs to their end.

use super::Client;
use serde_json::{Value, json};

/// What every payload says of problems.
const PROBLEMS: &str = "userErrors { code message field retryable }";

impl Client {
    /// Runs a mutation whose only argument is `input`; gives its payload.
    pub async fn input(&self, mutation: &str, fields: &str, input: Value) -> Value {
        let kind = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
        self.change(&format!("{mutation}(input: $input)"), &format!("$input: {kind}!"), fields, json!({ "input": input })).await
    }

    /// Runs a mutation with its arguments, such as `archiveBatch(id: $id)` and `$id: ID!`; gives its payload.
    pub async fn change(&self, call: &str, variables: &str, fields: &str, values: Value) -> Value {
        let variables = if variables.is_empty() { String::new() } else { format!("({variables})") };
        let query = format!("mutation{variables} {{ {call} {{ {fields} {PROBLEMS} }} }}");
        let data = self.run(&query, values).await;
        let name = call.split('(').next().expect("a name");
        data[name].clone()
    }

    /// Runs a mutation of one object by its id; gives its payload.
    pub async fn by_id(&self, mutation: &str, fields: &str, id: &str) -> Value {
        self.change(&format!("{mutation}(id: $id)"), "$id: ID!", fields, json!({ "id": id })).await
    }

    /// Runs a mutation of several projects; gives ids that are done and those that are not with their codes.
    pub async fn bulk(&self, mutation: &str, ids: &[&str]) -> (Value, Vec<(String, String)>) {
        let fields = "done failed { id error { code message field } }";
        let payload = self.change(&format!("{mutation}(ids: $ids)"), "$ids: [ID!]!", fields, json!({ "ids": ids })).await;
        assert_eq!(payload["userErrors"], json!([]), "{mutation}");
        let failed = payload["failed"].as_array().expect("a list").iter().map(|failure| {
            let problem = json!({ "userErrors": [failure["error"]] });
            (text(&failure["id"]), refusal(&problem).0)
        });
        (payload["done"].clone(), failed.collect())
    }

    /// Creates a project; gives its id.
    pub async fn create_project(&self, batch: &str, mut row: Value) -> String {
        row["batchId"] = json!(batch);
        let payload = self.input("createProject", "project { id }", row).await;
        text(&done(&payload)["project"]["id"])
    }

    /// Renames a batch without a look at its revision.
    pub async fn rename(&self, batch: &str, name: &str) -> Value {
        let call = "renameBatch(id: $id, name: $name)";
        self.change(call, "$id: ID!, $name: String!", "batch { name revision }", json!({ "id": batch, "name": name })).await
    }

    /// A project as it stands, with its sections and its last check.
    pub async fn project(&self, id: &str) -> Value {
        let query = "query($id: ID!) { project(id: $id) { id name externalRef revision status deleted aifPinned approvedAt \
            approvedBy { displayName } templateVersion { number template { id } } costs { staff consumables software total } \
            facts { sector baseline workStatus startDate competentProfessionalYears } \
            sections { id key title state revision text wordCount charCount } \
            quality { score issues { code severity sectionKey message } } } }";
        self.run(query, json!({ "id": id })).await["project"].clone()
    }

    /// What a batch says of its projects.
    pub async fn batch(&self, id: &str) -> Value {
        let query = "query($id: ID!) { batch(id: $id) { name revision activity lifecycle template { id } \
            counts { total draft queued generating needsReview approved failed withErrors } totalQualifyingExpenditure { amount currency } } }";
        self.run(query, json!({ "id": id })).await["batch"].clone()
    }

    /// Changes the text of a section; gives the payload.
    pub async fn edit(&self, section: &Value, words: &str) -> Value {
        let input = json!({ "sectionId": section["id"], "text": words, "expectedRevision": section["revision"], "note": "By hand." });
        let fields = "section { id key state revision text wordCount charCount } quality { score issues { code sectionKey } }";
        self.input("editSection", fields, input).await
    }

    /// Writes every section of a project by hand, so that it has a narrative that can be approved.
    pub async fn write_by_hand(&self, project: &str) {
        let sections = self.project(project).await["sections"].as_array().expect("sections").clone();
        for section in &sections {
            let words = format!("The team wrote about {} in words of its own.", text(&section["title"]).to_lowercase());
            done(&self.edit(section, &words).await);
        }
    }

    /// Starts an import of these values beside the batch and waits for its end; gives it as it is then.
    pub async fn import_of(&self, input: Value) -> Value {
        let payload = self.input("importProjects", "import { id }", input).await;
        self.follow_import(&text(&done(&payload)["import"]["id"])).await
    }

    /// Starts an export and waits for its end; gives it as it is then.
    pub async fn export_of(&self, input: Value) -> Value {
        let payload = self.input("createExport", "export { id }", input).await;
        self.follow_export(&text(&done(&payload)["export"]["id"])).await.pop().expect("an event")["export"].clone()
    }

    /// Every event of an export's progress until it is complete.
    pub async fn follow_export(&self, export: &str) -> Vec<Value> {
        let query = "subscription($id: ID!) { exportProgress(exportId: $id) { sequence cursor export { id status progress format \
            projectCount fileName bytes sha256 downloadUrl downloadUrlExpiresAt expiresAt failure { code message } \
            skipped { reason project { id } } } } }";
        let mut socket = self.socket().await;
        let mut events = socket.subscribe(query, json!({ "id": export })).await;
        let mut all = Vec::new();
        while let Some(event) = events.next().await {
            all.push(event["exportProgress"].clone());
        }
        all
    }
}

/// A payload that must have no problems.
pub fn done(payload: &Value) -> &Value {
    assert_eq!(payload["userErrors"], json!([]), "{payload:#}");
    payload
}

/// Code and path of the first problem of a payload; it must say in a sentence what is wrong.
pub fn refusal(payload: &Value) -> (String, String) {
    let problem = &payload["userErrors"][0];
    let message = problem["message"].as_str().unwrap_or_else(|| panic!("nothing was refused: {payload:#}"));
    assert!(message.len() > 10 && message.ends_with(['.', ']']), "not a sentence: {message}");
    let field = problem["field"].as_array().map(|path| path.iter().map(text).collect::<Vec<_>>().join("."));
    (text(&problem["code"]), field.unwrap_or_default())
}

/// The text of a value.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

/// The texts of one field of a list's items.
pub fn texts(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap_or_else(|| panic!("not a list: {list}")).iter().map(|item| text(&item[field])).collect()
}
