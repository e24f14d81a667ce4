//! The second lock on `PostgreSQL`: whatever a statement says, a session sees and writes the rows of its own workspace
//! only. Raw SQL without any filter proves it, on every table that the catalogue knows, so that a new one without a
//! policy fails here. And the roles and races in which a database is set up.

use crate::support::calls::{done, text};
use crate::support::process::{run, settings};
use crate::support::{Client, Mode, TestApp, configure, create_database, drop_database, has_postgres, row, server_url, sql};
use claimwright::app::{App, Roles, Surroundings};
use claimwright::domain::ids::WorkspaceId;
use claimwright::repositories::db::{Conn, Scope};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Tables with a workspace that sessions of all workspaces share: the workers claim jobs of everybody.
const SHARED: &[&str] = &["job_queue"];
/// SQLSTATE of what a policy refuses.
const REFUSED: &str = "42501";

/// Makes rows in every table of a tenant.
async fn fill(client: &Client) {
    let input = json!({ "name": "Acme", "idempotencyKey": "once" });
    let batch = text(&done(&client.input("createBatch", "batch { id }", input).await)["batch"]["id"]);
    let mut nameless = row(2);
    nameless["name"] = json!("");
    client.import_of(json!({ "batchId": batch, "source": { "rows": [row(1), nameless] } })).await;
    client.generate(json!({ "batchId": batch })).await;
    let projects = client.project_ids(&batch).await;
    done(&client.by_id("approveProject", "project { id }", &projects[0]).await);
    client.export_of(json!({ "batchId": batch, "format": "CSV" })).await;
    let input = json!({ "fileName": "a.csv", "contentType": "text/csv", "bytes": 1 });
    done(&client.input("createUpload", "target { uploadId }", input).await);
}

/// The workspace of a person.
async fn workspace_of(app: &TestApp, client: &Client) -> Uuid {
    let email = text(&client.run("{ viewer { user { email } } }", json!({})).await["viewer"]["user"]["email"]);
    let mut tx = app.app().db().read(Scope::Everything).await.expect("a session");
    let Conn::Postgres(connection) = tx.conn() else { panic!("not PostgreSQL") };
    sqlx::query_scalar("SELECT workspace_id FROM users WHERE email = $1").bind(email).fetch_one(connection).await.expect("a person")
}

/// Tables that have a column of this name.
async fn tables_with(connection: &mut PgConnection, column: &str) -> BTreeSet<String> {
    let query = "SELECT CAST(relname AS text) FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
         WHERE attname = $1 AND NOT attisdropped AND relkind IN ('r', 'p') AND relnamespace = CAST('public' AS regnamespace)";
    sqlx::query_scalar(query).bind(column).fetch_all(connection).await.expect("tables").into_iter().collect()
}

/// Runs one statement in a scope and takes it back; gives the workspaces in the first column, or the SQLSTATE.
async fn attempt(app: &TestApp, scope: Scope, statement: &str) -> Result<Vec<Uuid>, String> {
    let mut tx = app.app().db().begin(scope).await.expect("a session");
    let Conn::Postgres(connection) = tx.conn() else { panic!("not PostgreSQL") };
    let found = sqlx::query_scalar(AssertSqlSafe(statement.to_owned())).fetch_all(connection).await;
    found.map_err(|error| match error.as_database_error().and_then(sqlx::error::DatabaseError::code) {
        Some(code) => code.into_owned(),
        None => panic!("{statement}: {error}"),
    })
}

/// Everything that the lock promises, on a service that runs as whoever it runs as.
async fn holds(app: &TestApp) {
    let (adviser, stranger) = (app.adviser(), app.stranger());
    fill(&adviser).await;
    fill(&stranger).await;
    let (theirs, own) = (workspace_of(app, &adviser).await, workspace_of(app, &stranger).await);
    assert_ne!(theirs, own);

    let mut tx = app.app().db().read(Scope::Everything).await.expect("a session");
    let Conn::Postgres(connection) = tx.conn() else { panic!("not PostgreSQL") };
    let tables = tables_with(connection, "workspace_id").await;
    drop(tx);
    assert!(tables.len() > 15 && SHARED.iter().all(|name| tables.contains(*name)), "{tables:?}");
    let scope = Scope::Workspace(WorkspaceId(own));
    for table in tables.iter().filter(|table| !SHARED.contains(&table.as_str())) {
        let select = format!("SELECT workspace_id FROM {table}");
        let all: BTreeSet<Uuid> = attempt(app, Scope::Everything, &select).await.expect("rows").into_iter().collect();
        assert!(all.contains(&own) && all.contains(&theirs), "{table}: `fill` makes no row of it, so nothing is proved");
        let seen: BTreeSet<Uuid> = attempt(app, scope, &select).await.expect("rows").into_iter().collect();
        assert_eq!(seen, BTreeSet::from([own]), "{table}: rows of another workspace were read");

        // the policy is asked before any constraint, so a row of nothing but its workspace is enough
        let insert = format!("INSERT INTO {table} (workspace_id) VALUES ('{theirs}') RETURNING workspace_id");
        assert_eq!(attempt(app, scope, &insert).await, Err(REFUSED.into()), "{table}: a row was given to another workspace");
        let update = format!("UPDATE {table} SET workspace_id = '{theirs}' RETURNING workspace_id");
        assert_eq!(attempt(app, scope, &update).await, Err(REFUSED.into()), "{table}: a row was moved to another workspace");
        let touch = format!("UPDATE {table} SET workspace_id = workspace_id WHERE workspace_id = '{theirs}' RETURNING workspace_id");
        assert_eq!(attempt(app, scope, &touch).await, Ok(vec![]), "{table}: a row of another workspace was changed");
        let delete = format!("DELETE FROM {table} WHERE workspace_id = '{theirs}' RETURNING workspace_id");
        assert_eq!(attempt(app, scope, &delete).await, Ok(vec![]), "{table}: a row of another workspace was deleted");
    }
    assert_eq!(attempt(app, scope, "SELECT id FROM workspaces").await, Ok(vec![own]));
    let everything = attempt(app, Scope::Everything, "SELECT id FROM workspaces").await.expect("rows");
    assert!(everything.contains(&own) && everything.contains(&theirs));
}

/// A connection that declares nothing sees nothing of any tenant.
async fn sees_nothing(connection: &mut PgConnection) {
    let tables = tables_with(connection, "workspace_id").await;
    assert!(tables.len() > 15, "{tables:?}");
    for table in tables.iter().map(String::as_str).filter(|table| !SHARED.contains(table)).chain(["workspaces"]) {
        let count: i64 =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}"))).fetch_one(&mut *connection).await.expect("a count");
        assert_eq!(count, 0, "{table}");
    }
}

#[tokio::test]
async fn no_session_reads_or_writes_rows_of_another_workspace_whatever_its_statement_says() {
    if has_postgres() {
        let app = TestApp::start(Mode::ScaledOut).await;
        holds(&app).await;
        let mut connection = PgConnection::connect(&server_url(app.database().expect("a database"))).await.expect("a connection");
        sqlx::query("SET ROLE claimwright_service").execute(&mut connection).await.expect("the role that the service steps down to");
        sees_nothing(&mut connection).await;
        app.stop().await;
    }
}

/// A database with an owner and a user of its own, neither of whom is a superuser.
struct Roleplay {
    database: String,
    password: String,
}

impl Roleplay {
    async fn begin() -> Self {
        let (database, password) = (create_database().await, Uuid::new_v4().simple().to_string());
        let (owner, user) = (format!("{database}_owner"), format!("{database}_user"));
        sql(&format!("CREATE ROLE {owner} LOGIN PASSWORD '{password}'")).await;
        sql(&format!("CREATE ROLE {user} LOGIN PASSWORD '{password}'")).await;
        sql(&format!("ALTER DATABASE {database} OWNER TO {owner}")).await;
        Self { database, password }
    }

    fn url(&self, role: &str) -> String {
        let mut url: reqwest::Url = server_url(&self.database).parse().expect("a URL");
        url.set_username(&format!("{}_{role}", self.database)).expect("a name");
        url.set_password(Some(&self.password)).expect("a password");
        url.into()
    }

    async fn end(self) {
        drop_database(&self.database).await;
        for role in ["owner", "user"] {
            sql(&format!("DROP ROLE {}_{role}", self.database)).await;
        }
    }
}

#[tokio::test]
async fn the_owner_of_the_tables_is_bound_like_everybody_else() {
    if has_postgres() {
        let roles = Roleplay::begin().await;
        let app = TestApp::start_on(Mode::Embedded, &[("DATABASE_URL", &roles.url("owner"))], |_| {}).await;
        holds(&app).await;
        let mut connection = PgConnection::connect(&roles.url("owner")).await.expect("a connection");
        sees_nothing(&mut connection).await;
        connection.close().await.expect("closed");
        app.stop().await;
        roles.end().await;
    }
}

#[tokio::test]
async fn a_role_that_may_not_change_tables_serves_what_their_owner_has_migrated() {
    if has_postgres() {
        let roles = Roleplay::begin().await;
        let folder = tempfile::tempdir().expect("a folder");
        let migrated = run(&["migrate"], &folder.path().join("data"), &settings(&[("DATABASE_URL", &roles.url("owner"))])).await;
        assert_eq!((migrated.code, migrated.stderr.as_str()), (Some(0), ""));
        let mut owner = PgConnection::connect(&roles.url("owner")).await.expect("a connection");
        let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}_user", roles.database);
        sqlx::query(AssertSqlSafe(grant)).execute(&mut owner).await.expect("granted");
        owner.close().await.expect("closed");
        let app = TestApp::start_on(Mode::Embedded, &[("DATABASE_URL", &roles.url("user"))], |_| {}).await;
        holds(&app).await;
        let ddl = attempt(&app, Scope::Everything, "CREATE TABLE more (id uuid)").await;
        assert_eq!(ddl, Err(REFUSED.into()), "the role may make tables, so nothing was proved");
        app.stop().await;
        roles.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_processes_may_migrate_and_start_at_once() {
    if has_postgres() {
        let database = create_database().await;
        let folder = tempfile::tempdir().expect("a folder");
        let url = settings(&[("DATABASE_URL", &server_url(&database))]);
        let all = (0..10).map(|n| {
            let data = folder.path().join(format!("{n}/data"));
            std::fs::create_dir_all(&data).expect("a folder");
            let url = &url;
            async move { run(&["migrate"], &data, url).await }
        });
        for migrated in futures::future::join_all(all).await {
            assert_eq!((migrated.code, migrated.stderr.as_str()), (Some(0), ""));
        }
        drop_database(&database).await;

        // and without that, on an empty one
        let database = create_database().await;
        let folders: Vec<_> = (0..10).map(|_| tempfile::tempdir().expect("a folder")).collect();
        let url = server_url(&database);
        let all = folders.iter().map(async |folder| {
            let (config, _) = configure(folder.path(), Mode::Embedded, &[("DATABASE_URL", &url), ("DATABASE_POOL", "2")]).await;
            App::start_in(&config, Roles::All, Surroundings::real()).await.expect("it starts")
        });
        for app in futures::future::join_all(all).await {
            let token = app.token(None, None, std::time::Duration::from_mins(5)).expect("a token");
            let client = Client::new(app.url().expect("an address"), Some(token));
            let viewer: Value = client.run("{ viewer { user { id } } }", json!({})).await;
            assert!(viewer["viewer"]["user"]["id"].is_string());
            app.stop().await.expect("it stops");
        }
        drop_database(&database).await;
    }
}
