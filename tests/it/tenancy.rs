//! Another practice's objects are as if they did not exist, in every root field of the schema. The table below has to
//! name every one: a root field that is added without a line here fails the test, so nobody can forget it.

use crate::on_both;
use crate::support::{Client, accepted};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Words that nobody but the owner may ever read.
pub const SECRET: &str = "Sealed Orchid";

/// Ids to ask for, and one batch that is the asker's own.
#[derive(Clone, Debug)]
pub struct Ids {
    pub batch: String,
    pub project: String,
    pub section: String,
    revision: String,
    pub run: String,
    attempt: String,
    pub import: String,
    pub upload: String,
    pub export: String,
    pub template: String,
    version: String,
    user: String,
    workspace: String,
    pub cursor: String,
    /// Of the asker.
    own_batch: String,
}

impl Ids {
    /// The same text for every id but the asker's own; the cursor stays, because a malformed one is another error.
    fn all(&self, id: &str) -> Self {
        let id = || id.to_owned();
        Self {
            batch: id(),
            project: id(),
            section: id(),
            revision: id(),
            run: id(),
            attempt: id(),
            import: id(),
            upload: id(),
            export: id(),
            template: id(),
            version: id(),
            user: id(),
            workspace: id(),
            cursor: self.cursor.clone(),
            own_batch: self.own_batch.clone(),
        }
    }

    pub fn nodes(&self) -> [&String; 12] {
        let Self { batch, project, section, revision, run, attempt, import, export, template, version, user, workspace, .. } = self;
        [batch, project, section, revision, run, attempt, import, export, template, version, user, workspace]
    }
}

/// What somebody gets who asks for what is not theirs.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// `null`, or a list of nothing but `null`.
    Null,
    /// A connection without anything in it.
    Empty,
    /// A top-level error about an argument.
    BadArgument,
    /// No object, and `NOT_FOUND` as the only problem.
    NotFound,
    /// The asker's own batch as it was, and `NOT_FOUND` as the only problem.
    OwnKept,
    /// Nothing done, and `NOT_FOUND` for the item.
    ItemNotFound,
    /// `NOT_FOUND` as the error of a subscription.
    StreamNotFound,
    /// It has no id of an object: the asker's own answer.
    Own,
}

/// A root field, a document that uses ids, and what must come of it.
struct Case {
    root: &'static str,
    document: &'static str,
    variables: fn(&Ids) -> Value,
    outcome: Outcome,
}

macro_rules! cases {
    ($($root:ident $document:literal $outcome:ident |$ids:ident| $variables:tt;)*) => {
        vec![$(Case { root: stringify!($root), document: $document, variables: |$ids| json!($variables), outcome: Outcome::$outcome }),*]
    };
}

fn queries() -> Vec<Case> {
    cases! {
        aifSelectionFor "query($input: AifSelectionInput!) { aifSelectionFor(input: $input) { selected } }" Own
            |_ids| { "input": { "projects": [{ "ref": "P-1", "expenditure": "1.00" }] } };
        apiInfo "{ apiInfo { version } }" Own |_ids| {};
        batch "query($id: ID!) { batch(id: $id) { id name projects(first: 5) { nodes { name } } } }" Null |ids| { "id": ids.batch };
        batches "query($filter: BatchFilter) { batches(first: 10, filter: $filter) { totalCount nodes { id name } edges { cursor } } }" Empty
            |_ids| { "filter": { "text": SECRET, "lifecycle": ["ACTIVE", "ARCHIVED"] } };
        checkNarrative "query($input: CheckNarrativeInput!) { checkNarrative(input: $input) { score issues { message } } }" BadArgument
            |ids| { "input": { "sections": [{ "key": "advance", "text": "Text." }], "templateId": ids.template } };
        estimateGeneration "query($input: GenerationInput!) { estimateGeneration(input: $input) { projectCount } }" BadArgument
            |ids| { "input": { "batchId": ids.batch } };
        estimateGeneration "query($input: GenerationInput!) { estimateGeneration(input: $input) { projectCount } }" BadArgument
            |ids| { "input": { "batchId": ids.own_batch, "scope": "LISTED", "projectIds": [ids.project] } };
        estimateGeneration "query($input: GenerationInput!) { estimateGeneration(input: $input) { projectCount } }" BadArgument
            |ids| { "input": { "batchId": ids.own_batch, "templateId": ids.template } };
        node "query($id: ID!) { node(id: $id) { id __typename } }" Null |ids| { "id": ids.batch };
        nodes "query($ids: [ID!]!) { nodes(ids: $ids) { id __typename } }" Null |ids| { "ids": ids.nodes() };
        project "query($id: ID!) { project(id: $id) { id name facts { baseline } sections { text } } }" Null |ids| { "id": ids.project };
        projectByRef "query($id: ID!) { projectByRef(batchId: $id, externalRef: \"P-1\") { id name } }" Null |ids| { "id": ids.batch };
        projects "query($filter: ProjectFilter) { projects(first: 10, filter: $filter) { totalCount nodes { id name } edges { cursor } } }" Empty
            |ids| { "filter": { "ids": [ids.project], "includeDeleted": true } };
        rateLimit "{ rateLimit { remaining } }" Own |_ids| {};
        template "query($by: TemplateBy!) { template(by: $by) { id name } }" Null |ids| { "by": { "id": ids.template } };
        template "query($by: TemplateBy!) { template(by: $by) { id name } }" Null |_ids| { "by": { "key": "sealed-orchid" } };
        templates "query($filter: TemplateFilter) { templates(filter: $filter) { totalCount nodes { id name } edges { cursor } } }" Empty
            |_ids| { "filter": { "text": SECRET, "includeArchived": true } };
        viewer "{ viewer { user { id email } workspace { id name } } }" Own |_ids| {};
    }
}

fn mutations_of_batches() -> Vec<Case> {
    cases! {
        archiveBatch "mutation($id: ID!) { archiveBatch(id: $id) { batch { id } userErrors { code message } } }" NotFound |ids| { "id": ids.batch };
        createBatch "mutation($input: CreateBatchInput!) { createBatch(input: $input) { batch { id } userErrors { code message } } }" NotFound
            |ids| { "input": { "name": "Mine", "templateId": ids.template } };
        deleteBatch "mutation($id: ID!) { deleteBatch(id: $id) { deletedId userErrors { code message } } }" NotFound |ids| { "id": ids.batch };
        deleteBatch "mutation($id: ID!) { deleteBatch(id: $id, permanently: true) { deletedId userErrors { code message } } }" NotFound
            |ids| { "id": ids.batch };
        renameBatch "mutation($id: ID!) { renameBatch(id: $id, name: \"Taken over\") { batch { id } userErrors { code message } } }" NotFound
            |ids| { "id": ids.batch };
        restoreBatch "mutation($id: ID!) { restoreBatch(id: $id) { batch { id } userErrors { code message } } }" NotFound |ids| { "id": ids.batch };
        updateBatch "mutation($input: UpdateBatchInput!) { updateBatch(input: $input) { batch { id } userErrors { code message } } }" NotFound
            |ids| { "input": { "id": ids.batch, "name": "Taken over" } };
        pinAifProjects "mutation($id: ID!, $pin: [ID!]) { pinAifProjects(batchId: $id, pin: $pin) { batch { id } userErrors { code message } } }" NotFound
            |ids| { "id": ids.batch, "pin": [ids.project] };
        updateBatch "mutation($input: UpdateBatchInput!) { updateBatch(input: $input) { batch { id } userErrors { code message } } }" OwnKept
            |ids| { "input": { "id": ids.own_batch, "templateId": ids.template } };
        pinAifProjects "mutation($id: ID!, $pin: [ID!]) { pinAifProjects(batchId: $id, pin: $pin) { batch { id } userErrors { code message } } }" OwnKept
            |ids| { "id": ids.own_batch, "pin": [ids.project] };
        importProjects "mutation($input: ImportProjectsInput!) { importProjects(input: $input) { import { id } userErrors { code message } } }" NotFound
            |ids| { "input": { "batchId": ids.batch, "source": { "rows": [{ "name": "Smuggled", "facts": {} }] } } };
        createUpload "mutation { createUpload(input: { fileName: \"a.csv\", contentType: \"text/csv\", bytes: 1 }) \
            { target { uploadId } userErrors { code message } } }" Own |_ids| {};
        importProjects "mutation($input: ImportProjectsInput!) { importProjects(input: $input) { import { id } userErrors { code message } } }" NotFound
            |ids| { "input": { "batchId": ids.own_batch, "source": { "uploadId": ids.upload } } };
        startGeneration "mutation($input: StartGenerationInput!) { startGeneration(input: $input) { run { id } userErrors { code message } } }" NotFound
            |ids| { "input": { "generation": { "batchId": ids.batch } } };
        startGeneration "mutation($input: StartGenerationInput!) { startGeneration(input: $input) { run { id } userErrors { code message } } }" NotFound
            |ids| { "input": { "generation": { "batchId": ids.own_batch, "scope": "LISTED", "projectIds": [ids.project] } } };
        startGeneration "mutation($input: StartGenerationInput!) { startGeneration(input: $input) { run { id } userErrors { code message } } }" NotFound
            |ids| { "input": { "generation": { "batchId": ids.own_batch, "templateId": ids.template } } };
        resumeGeneration "mutation($id: ID!) { resumeGeneration(runId: $id, budgetCap: { amount: \"1\", currency: USD }) { run { id } userErrors { code message } } }"
            NotFound |ids| { "id": ids.run };
        cancelGeneration "mutation($id: ID!) { cancelGeneration(runId: $id) { run { id } userErrors { code message } } }" NotFound |ids| { "id": ids.run };
        retryFailed "mutation($id: ID!) { retryFailed(runId: $id) { run { id } userErrors { code message } } }" NotFound |ids| { "id": ids.run };
        createExport "mutation($input: CreateExportInput!) { createExport(input: $input) { export { id } userErrors { code message } } }" NotFound
            |ids| { "input": { "batchId": ids.batch, "format": "DOCX", "approvedOnly": false } };
    }
}

fn mutations_of_projects_and_templates() -> Vec<Case> {
    cases! {
        approveProject "mutation($id: ID!) { approveProject(id: $id) { project { id } userErrors { code message } } }" NotFound |ids| { "id": ids.project };
        approveProjects "mutation($ids: [ID!]!) { approveProjects(ids: $ids) { done failed { id error { code message } } userErrors { code } } }" ItemNotFound
            |ids| { "ids": [ids.project] };
        createProject "mutation($input: CreateProjectInput!) { createProject(input: $input) { project { id } userErrors { code message } } }" NotFound
            |ids| { "input": { "batchId": ids.batch, "name": "Smuggled" } };
        deleteProjects "mutation($ids: [ID!]!) { deleteProjects(ids: $ids) { done failed { id error { code message } } userErrors { code } } }" ItemNotFound
            |ids| { "ids": [ids.project] };
        restoreProjects "mutation($ids: [ID!]!) { restoreProjects(ids: $ids) { done failed { id error { code message } } userErrors { code } } }" ItemNotFound
            |ids| { "ids": [ids.project] };
        unapproveProject "mutation($id: ID!) { unapproveProject(id: $id, reason: \"No\") { project { id } userErrors { code message } } }" NotFound
            |ids| { "id": ids.project };
        updateProject "mutation($input: UpdateProjectInput!) { updateProject(input: $input) { project { id } userErrors { code message } } }" NotFound
            |ids| { "input": { "id": ids.project, "name": "Taken over" } };
        editSection "mutation($input: EditSectionInput!) { editSection(input: $input) { section { id } quality { score } userErrors { code message } } }" NotFound
            |ids| { "input": { "sectionId": ids.section, "expectedRevision": 1, "text": "Taken over." } };
        regenerateSection "mutation($input: RegenerateSectionInput!) { regenerateSection(input: $input) { section { id text } attempt { id } userErrors { code message } } }"
            NotFound |ids| { "input": { "sectionId": ids.section, "wish": "Say whose it is." } };
        restoreSectionRevision "mutation($id: ID!) { restoreSectionRevision(sectionId: $id, number: 1) { section { id text } userErrors { code message } } }"
            NotFound |ids| { "id": ids.section };
        archiveTemplate "mutation($id: ID!) { archiveTemplate(id: $id) { template { id } userErrors { code message } } }" NotFound |ids| { "id": ids.template };
        createTemplate "mutation { createTemplate(input: { name: \"Mine\", sections: [{ key: \"a\", title: \"A\", guidance: \"Write.\" }] }) \
            { template { key } userErrors { code message } } }" Own |_ids| {};
        deleteTemplate "mutation($id: ID!) { deleteTemplate(id: $id) { deletedId userErrors { code message } } }" NotFound |ids| { "id": ids.template };
        duplicateTemplate "mutation($id: ID!) { duplicateTemplate(id: $id, name: \"Copy\") { template { id } userErrors { code message } } }" NotFound
            |ids| { "id": ids.template };
        restoreTemplate "mutation($id: ID!) { restoreTemplate(id: $id) { template { id } userErrors { code message } } }" NotFound |ids| { "id": ids.template };
        updateTemplate "mutation($input: UpdateTemplateInput!) { updateTemplate(input: $input) { template { id } userErrors { code message } } }" NotFound
            |ids| { "input": { "id": ids.template, "name": "Taken over" } };
    }
}

fn subscriptions() -> Vec<Case> {
    cases! {
        batchProgress "subscription($id: ID!) { batchProgress(batchId: $id) { __typename } }" StreamNotFound |ids| { "id": ids.batch };
        batchProgress "subscription($id: ID!, $after: EventCursor) { batchProgress(batchId: $id, after: $after) { __typename } }" StreamNotFound
            |ids| { "id": ids.batch, "after": ids.cursor };
        exportProgress "subscription($id: ID!) { exportProgress(exportId: $id) { sequence export { fileName } } }" StreamNotFound |ids| { "id": ids.export };
        projectDraft "subscription($id: ID!) { projectDraft(projectId: $id) { __typename } }" StreamNotFound |ids| { "id": ids.project };
        projectDraft "subscription($id: ID!, $after: EventCursor) { projectDraft(projectId: $id, after: $after) { __typename } }" StreamNotFound
            |ids| { "id": ids.project, "after": ids.cursor };
        importProgress "subscription($id: ID!) { importProgress(importId: $id) { sequence import { rowCount } } }" StreamNotFound |ids| { "id": ids.import };
    }
}

fn cases() -> Vec<Case> {
    [queries(), mutations_of_batches(), mutations_of_projects_and_templates(), subscriptions()].into_iter().flatten().collect()
}

/// A batch with two narratives, an export, a template: what the owner has. Gives its ids and the project that is asked for.
pub async fn furnish(owner: &Client, name: &str) -> Ids {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("an id: {value}")).to_owned();
    let key = name.to_lowercase().replace(' ', "-");
    let input = json!({ "name": format!("{name} template"), "key": key, "sections": [{ "key": "a", "title": "A", "guidance": "Write." }] });
    let query = "mutation($input: CreateTemplateInput!) { createTemplate(input: $input) { template { id currentVersion { id } } userErrors { code message } } }";
    let data = owner.run(query, json!({ "input": input })).await;
    let template = accepted(&data, "createTemplate")["template"].clone();
    let (batch, projects) = owner.generated(&format!("{name} 2026"), 2).await;
    let query = "mutation($input: CreateExportInput!) { createExport(input: $input) { export { id } userErrors { code message } } }";
    let data = owner.run(query, json!({ "input": { "batchId": batch, "format": "CSV", "approvedOnly": false } })).await;
    let export = text(&accepted(&data, "createExport")["export"]["id"]);
    let query = "mutation { createUpload(input: { fileName: \"Sealed Orchid.csv\", contentType: \"text/csv\", bytes: 1 }) \
        { target { uploadId } userErrors { code message } } }";
    let upload = text(&accepted(&owner.run(query, json!({})).await, "createUpload")["target"]["uploadId"]);
    let (mut socket, query) = (owner.socket().await, "subscription($id: ID!) { exportProgress(exportId: $id) { export { status } } }");
    let mut events = socket.subscribe(query, json!({ "id": export })).await;
    while events.next().await.is_some() {}
    let query = "query($batch: ID!, $project: ID!) { viewer { user { id } workspace { id } } project(id: $project) { \
        sections { id revisions(first: 1) { nodes { id attempt { id } } } } } \
        batch(id: $batch) { eventCursor runs(first: 1) { nodes { id } } imports(first: 1) { nodes { id } } } }";
    let data = owner.run(query, json!({ "batch": batch, "project": projects[0] })).await;
    let section = &data["project"]["sections"][0];
    Ids {
        project: projects[0].clone(),
        section: text(&section["id"]),
        revision: text(&section["revisions"]["nodes"][0]["id"]),
        attempt: text(&section["revisions"]["nodes"][0]["attempt"]["id"]),
        run: text(&data["batch"]["runs"]["nodes"][0]["id"]),
        upload,
        import: text(&data["batch"]["imports"]["nodes"][0]["id"]),
        template: text(&template["id"]),
        version: text(&template["currentVersion"]["id"]),
        user: text(&data["viewer"]["user"]["id"]),
        workspace: text(&data["viewer"]["workspace"]["id"]),
        cursor: text(&data["batch"]["eventCursor"]),
        export,
        batch,
        own_batch: String::new(),
    }
}

/// Everything that the owner can see of it.
pub async fn inventory(owner: &Client, ids: &Ids) -> Value {
    let query = "query($batch: ID!, $ids: [ID!]!) { batches(first: 100, filter: { lifecycle: [ACTIVE, ARCHIVED] }) { totalCount } \
        templates(first: 50, filter: { includeArchived: true }) { totalCount nodes { key name archived currentVersion { number } } } \
        batch(id: $batch) { name revision lifecycle eventCursor counts { total needsReview approved } updatedAt purgeAfter \
        projects(first: 100, filter: { includeDeleted: true }) { totalCount nodes { name revision status deleted aifPinned \
        sections { text state revision revisions(first: 5) { totalCount } } } } \
        runs(first: 5) { totalCount nodes { status } } imports(first: 5) { totalCount } exports(first: 5) { totalCount nodes { status } } } \
        nodes(ids: $ids) { __typename id } }";
    owner.run(query, json!({ "batch": ids.batch, "ids": ids.nodes() })).await
}

/// Asks as the case says and compares; gives what is wrong.
async fn ask(client: &Client, case: &Case, ids: &Ids) -> Result<(), String> {
    let variables = (case.variables)(ids);
    let root = case.root;
    let wrong = |seen: &Value| Err(format!("{root} ({:?}) with {variables}\n  gave {seen}", case.outcome));
    if matches!(case.outcome, Outcome::StreamNotFound) {
        let mut socket = client.socket().await;
        let mut events = socket.subscribe(case.document, variables.clone()).await;
        return match events.next_or_errors().await {
            Err(errors) if errors[0]["extensions"]["code"] == "NOT_FOUND" && !errors.to_string().contains(SECRET) => Ok(()),
            Err(errors) => wrong(&errors),
            Ok(event) => wrong(&json!(event)),
        };
    }
    let (status, body) = client.send(case.document, variables.clone()).await;
    let answer = &body["data"][root];
    let is_found = |problems: &Value| !problems.as_array().is_some_and(|all| all.len() == 1 && all[0]["code"] == "NOT_FOUND");
    let has_object = answer.as_object().is_some_and(|answer| answer.iter().any(|(name, value)| name != "userErrors" && !value.is_null()));
    let is_right = !body.to_string().contains(SECRET)
        && match case.outcome {
            Outcome::BadArgument => status == 200 && body["errors"][0]["extensions"]["code"] == "VALIDATION_FAILED" && answer.is_null(),
            _ if status != 200 || body.get("errors").is_some() => false,
            Outcome::Null => answer.is_null() || answer.as_array().is_some_and(|all| all.iter().all(Value::is_null)),
            Outcome::Empty => *answer == json!({ "totalCount": 0, "nodes": [], "edges": [] }),
            Outcome::OwnKept => !is_found(&answer["userErrors"]) && answer["batch"]["id"] == ids.own_batch,
            Outcome::NotFound => !is_found(&answer["userErrors"]) && !has_object,
            Outcome::ItemNotFound => {
                let item = &answer["failed"][0]["error"];
                answer["done"] == json!([]) && item["code"] == "NOT_FOUND" && answer["userErrors"] == json!([])
            }
            Outcome::Own => answer.is_object(),
            Outcome::StreamNotFound => false,
        };
    if is_right { Ok(()) } else { wrong(&body) }
}

async fn ask_all(client: &Client, ids: &Ids) {
    let mut wrong = Vec::new();
    for case in cases() {
        wrong.extend(ask(client, &case, ids).await.err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

on_both! {
    async fn the_table_of_root_fields_is_complete(app: TestApp) {
        let query = "{ __schema { queryType { fields { name } } mutationType { fields { name } } subscriptionType { fields { name } } } }";
        let schema = app.anonymous().run(query, json!({})).await["__schema"].clone();
        let tables = [("queryType", queries()), ("mutationType", [mutations_of_batches(), mutations_of_projects_and_templates()].into_iter().flatten().collect()),
            ("subscriptionType", subscriptions())];
        for (kind, table) in tables {
            let listed: BTreeSet<&str> = table.iter().map(|case| case.root).collect();
            let fields = schema[kind]["fields"].as_array().expect("fields");
            let fields: BTreeSet<&str> = fields.iter().map(|field| field["name"].as_str().expect("a name")).collect();
            assert_eq!(listed, fields, "{kind}: add a line to the table for what is new");
        }
        app.stop().await;
    }

    async fn a_stranger_finds_nothing_and_changes_nothing_through_any_root_field(app: TestApp) {
        let (owner, stranger) = (app.adviser(), app.stranger());
        let mut ids = furnish(&owner, SECRET).await;
        (ids.own_batch, _) = stranger.batch_of("Of the stranger", 1).await;
        let before = inventory(&owner, &ids).await;
        assert!(before.to_string().contains(SECRET) && before["nodes"].as_array().is_some_and(|all| !all.contains(&Value::Null)), "{before}");
        ask_all(&stranger, &ids).await;
        assert_eq!(inventory(&owner, &ids).await, before, "the stranger changed something");

        // What is in the stranger's own workspace is not changed by what was refused.
        let query = "query($id: ID!) { batch(id: $id) { name counts { total draft } runs(first: 1) { totalCount } template { key } } }";
        let own = stranger.run(query, json!({ "id": ids.own_batch })).await;
        let expected = json!({ "name": "Of the stranger", "counts": { "total": 1, "draft": 1 }, "runs": { "totalCount": 0 },
            "template": { "key": "aif-project-description" } });
        assert_eq!(own["batch"], expected);
        app.stop().await;
    }

    async fn a_colleague_of_the_same_practice_finds_everything(app: TestApp) {
        let ids = furnish(&app.adviser(), SECRET).await;
        let colleague = app.member("colleague@practice.example", "practice");
        let data = colleague.run("query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }", json!({ "ids": ids.nodes() })).await;
        let kinds: Vec<&str> = data["nodes"].as_array().expect("nodes").iter().map(|node| node["__typename"].as_str().unwrap_or("nothing")).collect();
        let expected = ["Batch", "Project", "Section", "SectionRevision", "GenerationRun", "GenerationAttempt", "ImportJob", "Export", "Template",
            "TemplateVersion", "User", "Workspace"];
        assert_eq!(kinds, expected);
        let found: Vec<&str> = data["nodes"].as_array().expect("nodes").iter().map(|node| node["id"].as_str().expect("an id")).collect();
        assert_eq!(found, ids.nodes().map(String::as_str));
        app.stop().await;
    }

    async fn an_id_that_is_malformed_or_of_another_kind_is_as_if_it_did_not_exist(app: TestApp) {
        let owner = app.adviser();
        let batch = owner.create_batch("Mine").await;
        owner.import(&batch, crate::support::rows(1)).await;
        let data = owner.run("query($id: ID!) { batch(id: $id) { eventCursor } }", json!({ "id": batch })).await;
        let cursor = data["batch"]["eventCursor"].as_str().expect("a cursor").to_owned();
        let nothing = String::new();
        let blank = Ids { own_batch: batch, cursor, ..Ids {
            batch: nothing.clone(), project: nothing.clone(), section: nothing.clone(), revision: nothing.clone(), run: nothing.clone(),
            attempt: nothing.clone(), import: nothing.clone(), upload: nothing.clone(), export: nothing.clone(), template: nothing.clone(), version: nothing.clone(),
            user: nothing.clone(), workspace: nothing.clone(), cursor: nothing.clone(), own_batch: nothing } };
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let malformed = [
            "not an id".to_owned(),
            String::new(),
            "0".repeat(2_000),
            uuid::Uuid::new_v4().to_string(),
            encoded("Batch:12"),
            encoded(&format!("Nothing:{}", uuid::Uuid::new_v4())),
            encoded(&format!("Batch:{}'; DROP TABLE batches; --", uuid::Uuid::new_v4())),
        ];
        for id in malformed {
            ask_all(&owner, &blank.all(&id)).await;
        }
        // Well-formed ids of objects that never were, and the id of the right object under the name of another kind.
        for kind in ["Batch", "Project", "Section", "Template", "GenerationRun", "ImportJob", "Export", "User"] {
            ask_all(&owner, &blank.all(&encoded(&format!("{kind}:{}", uuid::Uuid::new_v4())))).await;
        }
        let bytes = URL_SAFE_NO_PAD.decode(&blank.own_batch).expect("base64");
        let uuid = String::from_utf8(bytes).expect("text").split_once(':').expect("a kind").1.to_owned();
        ask_all(&owner, &blank.all(&encoded(&format!("Export:{uuid}")))).await;
        app.stop().await;
    }

    async fn without_a_token_no_root_field_but_the_public_one_is_answered(app: TestApp) {
        let ids = furnish(&app.adviser(), SECRET).await;
        let anonymous = app.anonymous();
        let mut seen = BTreeMap::new();
        for case in cases() {
            let (status, body) = anonymous.send(case.document, (case.variables)(&ids)).await;
            seen.insert(case.root, status);
            if case.root == "apiInfo" {
                assert!(status == 200 && body["data"]["apiInfo"]["version"].is_string(), "{body}");
                continue;
            }
            let error = &body["errors"][0];
            assert_eq!((status, &error["extensions"]["code"]), (401, &json!("UNAUTHENTICATED")), "{}: {body}", case.root);
            assert!(body["data"].is_null() && error["message"].as_str().is_some_and(|message| message.len() > 10), "{}: {body}", case.root);
        }
        assert_eq!(seen.values().filter(|status| **status == 200).count(), 1);
        // one closed field among public ones, whatever hides it
        for mixed in ["{ apiInfo { version } viewer { user { id } } }", "{ __typename ...f } fragment f on Query { v: viewer { user { id } } }",
            "{ apiInfo { version } ... @include(if: false) { viewer { user { id } } } }"] {
            let (status, body) = anonymous.send(mixed, json!({})).await;
            assert_eq!((status, &body["data"]), (401, &Value::Null), "{mixed}: {body}");
        }
        app.stop().await;
    }
}
