//! How streams of texts end: with the project, with its batch, with the caller's token, with the server.

use super::one_section;
use crate::on_both;
use crate::support::accepted;
use crate::support::drafts::Page;
use crate::support::socket::Socket;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::oneshot;

on_both! {
    async fn deleting_the_project_or_its_batch_ends_the_stream(app: TestApp) {
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 2).await;
        let (mut one, mut two) = (adviser.socket().await, adviser.socket().await);
        let (mut first, _) = Page::open(&mut one, &projects[0], &Value::Null).await;
        let (mut second, _) = Page::open(&mut two, &projects[1], &Value::Null).await;
        let delete = "mutation($ids: [ID!]!) { deleteProjects(ids: $ids) { userErrors { code } } }";
        accepted(&adviser.run(delete, json!({ "ids": [projects[0]] })).await, "deleteProjects");
        first.ends_with("DELETED").await;
        assert_eq!(first.next_or_end().await, None, "and the operation is complete");
        let delete = "mutation($id: ID!) { deleteBatch(id: $id) { userErrors { code } } }";
        accepted(&adviser.run(delete, json!({ "id": batch })).await, "deleteBatch");
        second.ends_with("DELETED").await;
        assert_eq!(second.next_or_end().await, None);
        drop((one, two));
        app.stop().await;
    }

    async fn a_token_that_ends_ends_the_stream(app: TestApp) {
        let (_, project) = one_section(&app.adviser()).await;
        let token = app.token(Duration::ZERO);
        let mut socket = Socket::connect(&app.url(), Some(&token)).await;
        let (mut page, _) = Page::open(&mut socket, &project, &Value::Null).await;
        page.ends_with("NOT_ALLOWED").await;
        assert_eq!(socket.receive().await, Err(Some(4403)), "clients get a new token and come back on this code");
        app.stop().await;
    }

    async fn a_shutdown_tells_the_stream_and_the_cursor_is_good_after_it(app: TestApp) {
        let adviser = app.adviser();
        let (_, project) = one_section(&adviser).await;
        let (seen, has_seen) = oneshot::channel();
        let watched = async {
            let mut socket = adviser.socket().await;
            let (mut page, _) = Page::open(&mut socket, &project, &Value::Null).await;
            seen.send(page.cursor.clone()).expect("heard");
            page.ends_with("SHUTTING_DOWN").await;
        };
        let restarted = async {
            let cursor = has_seen.await.expect("a cursor");
            (Box::pin(app.restart()).await, cursor)
        };
        let ((app, cursor), ()) = tokio::join!(restarted, watched);
        let mut socket = app.adviser().socket().await;
        Page::open(&mut socket, &project, &cursor).await;
        drop(socket);
        app.stop().await;
    }
}
