//! Connections of `PostgreSQL` between two uses: nobody gets what another one was reading, sees rows for which it did not ask,
//! or waits for a connection that nobody uses. Below the public API, because no request can be stopped within a statement.

use crate::support::{PATIENCE, create_database, drop_database, has_postgres, server_url};
use claimwright::domain::ids::WorkspaceId;
use claimwright::error::Result;
use claimwright::on;
use claimwright::repositories::db::{Db, Scope, Tx};
use futures::future::join_all;
use sqlx::{Connection, PgConnection};
use tokio::task::yield_now;
use tokio::time::timeout;
use uuid::Uuid;

/// Runs a test on a database of its own, over this many connections.
async fn with(connections: u32, test: impl AsyncFnOnce(Db, String)) {
    if !has_postgres() {
        return;
    }
    let name = create_database().await;
    let url = server_url(&name);
    let db = Db::open(&url, connections).await.expect("a database");
    test(db.clone(), url).await;
    timeout(PATIENCE, db.close()).await.expect("all connections are given back");
    drop_database(&name).await;
}

/// Uses four connections at once and gives them back.
async fn rest_all(db: &Db) {
    let readers = join_all((0..4).map(|_| db.read(Scope::Everything))).await;
    assert!(readers.iter().all(Result::is_ok), "{readers:?}");
}

async fn number(tx: &mut Tx, number: i32) -> Result<i32> {
    Ok(on!(tx, c => sqlx::query_scalar("SELECT $1").bind(number).fetch_one(c).await?))
}

/// Whose rows a session may see, as the server knows it.
async fn seen(tx: &mut Tx) -> Result<String> {
    Ok(on!(tx, c => sqlx::query_scalar("SELECT current_setting('claimwright.workspace')").fetch_one(c).await?))
}

#[tokio::test]
async fn nobody_gets_the_answer_to_what_another_one_was_asking_when_it_was_interrupted() {
    with(2, async |db, _| {
        for round in 0..20 {
            let mut tx = db.read(Scope::Everything).await.expect("a session");
            let steps = async {
                for _ in 0..round % 4 {
                    yield_now().await;
                }
            };
            tokio::select! {
                biased;
                asked = number(&mut tx, -1) => drop(asked.expect("a number")),
                () = steps => {}
            }
            drop(tx);
            let mut next = db.read(Scope::Everything).await.expect("a session");
            assert_eq!(number(&mut next, round).await.expect("a number"), round);
        }
    })
    .await;
}

#[tokio::test]
async fn each_session_sees_what_it_asked_for_whoever_had_the_connection_before() {
    with(2, async |db, _| {
        let workspaces = [Uuid::from_u128(1), Uuid::from_u128(2)];
        for round in 0..12_usize {
            let (scope, expected) = match workspaces.get(round % 3) {
                Some(workspace) => (Scope::Workspace(WorkspaceId(*workspace)), workspace.to_string()),
                None => (Scope::Everything, "*".to_owned()),
            };
            for _ in 0..2 {
                let mut reader = db.read(scope).await.expect("a session");
                assert_eq!(seen(&mut reader).await.expect("a scope"), expected);
            }
            // of another one's, which must not remain
            let mut writer = db.begin(Scope::Workspace(WorkspaceId(Uuid::from_u128(3)))).await.expect("a transaction");
            assert_eq!(seen(&mut writer).await.expect("a scope"), Uuid::from_u128(3).to_string());
            if round % 2 == 0 {
                writer.commit().await.expect("a commit");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_is_given_up_holds_no_lock_and_its_connection_is_used_again() {
    with(1, async |db, url| {
        for _ in 0..3 {
            let mut tx = db.begin(Scope::Everything).await.expect("a transaction");
            let locked: Result<i32> =
                async { Ok(on!(tx, c => sqlx::query_scalar("SELECT 1 FROM pg_advisory_xact_lock(7)").fetch_one(c).await?)) }.await;
            assert_eq!(locked.expect("a lock"), 1);
            drop(tx);
            let mut other = PgConnection::connect(&url).await.expect("a connection");
            let released = sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut other);
            timeout(PATIENCE, released).await.expect("the lock is released").expect("a lock");
            other.close().await.expect("it closes");
            let mut reader = timeout(PATIENCE, db.read(Scope::Everything)).await.expect("no wait for ever").expect("a session");
            assert_eq!(number(&mut reader, 5).await.expect("a number"), 5);
        }
    })
    .await;
}

#[tokio::test]
async fn who_asks_the_pool_itself_does_not_wait_for_connections_that_rest() {
    with(4, async |db, _| {
        rest_all(&db).await;
        let own = timeout(PATIENCE, db.postgres().expect("PostgreSQL").acquire()).await.expect("no wait for ever");
        drop(own.expect("a connection"));
        // and all at once, more than there are
        let asked = (0..40).map(|round| {
            let db = db.clone();
            tokio::spawn(async move {
                if round % 2 == 0 {
                    let mut tx = db.begin(Scope::Everything).await.expect("a transaction");
                    number(&mut tx, round).await.expect("a number");
                    return tx.commit().await.expect("a commit");
                }
                number(&mut db.read(Scope::Everything).await.expect("a session"), round).await.map(drop).expect("a number");
            })
        });
        let all = timeout(PATIENCE, join_all(asked)).await.expect("nobody waits for ever");
        assert!(all.into_iter().all(|one| one.is_ok()));
    })
    .await;
}

#[tokio::test]
async fn connections_that_the_server_ended_are_met_once_each_and_then_replaced() {
    with(4, async |db, url| {
        rest_all(&db).await;
        let mut other = PgConnection::connect(&url).await.expect("a connection");
        let ended = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let ended: i64 = sqlx::query_scalar(ended).fetch_one(&mut other).await.expect("they end");
        assert!(ended >= 1, "{ended}");
        let mut failures = 0;
        // what was used a moment ago is not asked whether it lives, so it may fail its user, who is told to try again
        for round in 0..12 {
            let asked = async { number(&mut db.read(Scope::Everything).await?, round).await };
            match asked.await {
                Ok(answer) => assert_eq!(answer, round),
                Err(_) => failures += 1,
            }
        }
        assert!(failures <= ended, "{failures} of {ended}");
    })
    .await;
}
