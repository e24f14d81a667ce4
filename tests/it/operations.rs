//! What operators see: metrics, health, logs and traces, through what the product shows to everybody and in processes of
//! their own, where numbers are exact.

mod dashboards;
mod health;
mod logs;
mod metrics;
mod traces;

use reqwest::StatusCode;

/// Fetches an address; gives status and text.
async fn get(url: &str) -> (StatusCode, String) {
    let response = reqwest::get(url).await.expect("an answer");
    (response.status(), response.text().await.expect("a text"))
}
