//! OpenAI-compatible endpoints against a stub on the wire.

use super::{SHORT, Verdict, draft, judged, model, request, verdict};
use crate::support::providers::openai::{TEXT, USAGE, closing, ended, error, finish, opening, refusal, story, text};
use crate::support::providers::{Reply, Step, Stub, begin, chunk, end, nobody, respond, start_untrusted, start_without_tls};
use claimwright::adapters::ai::openai::{OpenAi, Settings};
use claimwright::adapters::ai::timed::{Patience, Timed};
use claimwright::adapters::ai::{DraftPiece, Drafter, Headroom};
use claimwright::domain::jobs::JobFailureCode::{ProviderBadAnswer, ProviderRateLimited, ProviderRefused, ProviderUnavailable, TimedOut};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;

const MODEL: &str = "stub-1";

fn client(base_url: &str, patience: Duration) -> Timed {
    let settings =
        Settings { base_url: base_url.into(), api_key: Some("sk-of-a-test".into()), models: vec![model(MODEL)], mask_personal_data: true };
    let client = OpenAi::new(settings).expect("a client");
    Timed::new(Arc::new(client), Patience { first: patience, idle: patience })
}

async fn stub(script: Vec<Reply>) -> (Stub, Timed) {
    let stub = Stub::start(script, |_| story(TEXT)).await;
    let client = client(&format!("{}/v1", stub.url), Duration::from_secs(20));
    (stub, client)
}

#[tokio::test]
async fn an_answer_streams_and_its_tokens_are_the_providers() {
    let (stub, client) = stub(vec![]).await;
    let mut pieces = client.draft(request(MODEL)).await.expect("an answer");
    let (mut told, mut deltas, mut last) = (String::new(), 0, None);
    while let Some(piece) = pieces.next().await {
        match piece.expect("a piece") {
            DraftPiece::Delta(delta) => {
                told.push_str(&delta);
                deltas += 1;
            }
            DraftPiece::Finished(usage) => last = Some(usage),
        }
    }
    let usage = last.expect("an end");
    assert_eq!(told, TEXT);
    assert!(deltas > 10, "{deltas} pieces");
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.estimated), (USAGE.0, USAGE.1, false));
    assert_eq!(usage.model, "stub-1-2026-01-01", "as the provider reported it");
    assert_eq!(usage.headroom, Some(Headroom { requests: Some(59), tokens: Some(149_000), resets_after: None }));
    let sent = stub.requests().remove(0);
    assert_eq!(sent.target, "/v1/chat/completions");
    assert_eq!(sent.header("authorization"), Some("Bearer sk-of-a-test"));
    assert_eq!((&sent.body["stream"], &sent.body["stream_options"]["include_usage"]), (&true.into(), &true.into()));
    assert_eq!((&sent.body["model"], &sent.body["messages"][0]["role"]), (&MODEL.into(), &"system".into()));
    assert!(sent.body["max_tokens"].as_i64().is_some_and(|most| most > 200) && sent.body.get("max_completion_tokens").is_none());
    let prompt = request(MODEL).prompt;
    assert_eq!(sent.body["messages"][1]["content"], prompt.user.as_str(), "exactly the prompt that is hashed");
}

#[tokio::test]
async fn azure_is_asked_by_its_own_header_and_address() {
    let stub = Stub::start(vec![], |_| story(TEXT)).await;
    let client = client(&format!("{}/openai/deployments/{{model}}?api-version=2024-10-21", stub.url), Duration::from_secs(20));
    draft(&client, MODEL).await.expect("an answer");
    let sent = stub.requests().remove(0);
    assert_eq!(sent.target, "/openai/deployments/stub-1/chat/completions?api-version=2024-10-21");
    assert_eq!((sent.header("api-key"), sent.header("authorization")), (Some("sk-of-a-test"), None));
}

#[tokio::test]
async fn tokens_are_counted_here_when_the_provider_gives_none() {
    let silent_at_the_end = [opening(), vec![text(TEXT), finish("stop"), end()]].concat();
    let never_ending = [opening(), vec![text(TEXT), finish("stop"), Step::Hang]].concat();
    for reply in [silent_at_the_end, never_ending] {
        let (_stub, client) = stub(vec![reply]).await;
        let (told, usage) = draft(&client, MODEL).await.expect("an answer");
        assert_eq!(told, TEXT);
        assert!(usage.estimated && usage.input_tokens > 500 && usage.output_tokens > 50, "{usage:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let body = serde_json::json!({ "object": "chat.completion", "model": "stub-1", "usage": { "prompt_tokens": 5, "completion_tokens": 2 },
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": TEXT }, "finish_reason": "stop" }] });
    let (_stub, client) = stub(vec![respond(200, &[("content-type", "application/json")], body.to_string().as_bytes())]).await;
    let (told, usage) = draft(&client, MODEL).await.expect("an answer");
    assert_eq!((told.as_str(), usage.input_tokens, usage.output_tokens), (TEXT, 5, 2));
}

#[tokio::test]
async fn each_fault_has_its_code_and_its_verdict() {
    let after = |seconds, verdict: Verdict| Verdict { retry_after: Some(Duration::from_secs(seconds)), ..verdict };
    let limited = || verdict(ProviderRateLimited, true, false);
    let date = [("date", "Wed, 25 Nov 2026 10:00:00 GMT"), ("retry-after", "Wed, 25 Nov 2026 10:00:09 GMT")];
    let used_up = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6s")];
    let endless = [opening(), vec![text(&"word ".repeat(40_000))]].concat();
    let one_line = vec![begin(&[("content-type", "text/event-stream")]), chunk(&vec![b'x'; 2 << 20])];
    let in_the_stream = r#"{"error":{"message":"Cones crazed","type":"server_error","code":"server_error"}}"#;
    let cases: Vec<(&str, Reply, Verdict)> = vec![
        ("429 without a wait", error(429, "rate_limit_exceeded", &[]), limited()),
        ("429 with seconds", error(429, "rate_limit_exceeded", &[("retry-after", "7")]), after(7, limited())),
        ("429 with a date", error(429, "rate_limit_exceeded", &date), after(9, limited())),
        ("429 with a reset", error(429, "rate_limit_exceeded", &used_up), after(6, limited())),
        ("429 without credit", error(429, "insufficient_quota", &[]), verdict(ProviderRateLimited, false, false)),
        ("500", error(500, "server_error", &[]), verdict(ProviderUnavailable, true, true)),
        ("503 with a wait", error(503, "overloaded", &[("retry-after", "20")]), after(20, verdict(ProviderUnavailable, true, true))),
        ("503 with a page", respond(503, &[("content-type", "text/html")], b"<h1>Cones</h1>"), verdict(ProviderUnavailable, true, true)),
        ("401", error(401, "invalid_api_key", &[]), verdict(ProviderUnavailable, false, false)),
        ("a redirect", respond(307, &[("location", "http://elsewhere.example/")], b""), verdict(ProviderUnavailable, false, false)),
        ("400 content filter", error(400, "content_filter", &[]), verdict(ProviderRefused, false, false)),
        ("400 too long", error(400, "context_length_exceeded", &[]), verdict(ProviderRefused, false, false)),
        ("closed before an answer", vec![Step::Close], verdict(ProviderUnavailable, true, true)),
        ("cut in the middle", [opening(), vec![text("Half a"), Step::Close]].concat(), verdict(ProviderBadAnswer, true, true)),
        ("ended without an end", [opening(), vec![text("Half a"), end()]].concat(), verdict(ProviderBadAnswer, true, true)),
        (
            "[DONE] without an end",
            [opening(), vec![text("Half a"), chunk(b"data: [DONE]\n\n"), end()]].concat(),
            verdict(ProviderBadAnswer, true, true),
        ),
        ("malformed JSON", [opening(), vec![chunk(b"data: {\"choices\": [\n\n"), end()]].concat(), verdict(ProviderBadAnswer, true, true)),
        ("no event stream", [opening(), vec![chunk(b"data: \xff\xfe\n\n"), end()]].concat(), verdict(ProviderBadAnswer, true, true)),
        (
            "an error in the stream",
            [opening(), vec![text("Half"), chunk(format!("data: {in_the_stream}\n\n").as_bytes())]].concat(),
            verdict(ProviderUnavailable, true, true),
        ),
        ("empty answer", ended("", "stop"), verdict(ProviderBadAnswer, true, false)),
        ("refusal", [opening(), vec![refusal("I cannot"), finish("stop")], closing()].concat(), verdict(ProviderRefused, false, false)),
        ("content filter", ended("Half a", "content_filter"), verdict(ProviderRefused, false, false)),
        ("over the limit of tokens", ended("Half a", "length"), verdict(ProviderBadAnswer, true, false)),
        ("endless text", endless, verdict(ProviderBadAnswer, true, false)),
        ("an endless event", one_line, verdict(ProviderBadAnswer, true, true)),
    ];
    for (name, reply, expected) in cases {
        let (_stub, client) = stub(vec![reply]).await;
        let failure = draft(&client, MODEL).await.expect_err(name);
        assert_eq!(judged(&failure), expected, "{name}: {failure:?}");
    }
}

#[tokio::test]
async fn what_a_refusal_took_is_told() {
    for reply in [ended("Half a", "length"), ended("", "stop"), ended("Half a", "content_filter")] {
        let (_stub, client) = stub(vec![reply]).await;
        let usage = draft(&client, MODEL).await.expect_err("no text").usage.expect("tokens");
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.estimated), (USAGE.0, USAGE.1, false));
    }
}

#[tokio::test]
async fn who_cannot_be_reached_or_trusted_is_unavailable() {
    for (base_url, says) in [
        (nobody().await, "cannot be reached"),
        (start_untrusted(), "secure connection"),
        (start_without_tls(), "secure connection"),
        ("http://nowhere.invalid".to_owned(), "cannot be reached"),
    ] {
        let failure = draft(&client(&base_url, Duration::from_secs(20)), MODEL).await.expect_err("nobody there");
        assert_eq!(judged(&failure), verdict(ProviderUnavailable, true, true), "{base_url}: {failure:?}");
        assert!(failure.message.contains(says), "{base_url}: {}", failure.message);
    }
}

#[tokio::test]
async fn silence_ends_in_a_time_out_and_the_connection_with_it() {
    let silent: Vec<(&str, Reply, &str)> = vec![
        ("no answer", vec![Step::Hang], "begin to answer"),
        ("no first token", [opening(), vec![Step::Hang]].concat(), "begin to answer"),
        ("idle", [opening(), vec![text("Half a"), Step::Hang]].concat(), "nothing more"),
    ];
    for (name, reply, says) in silent {
        let stub = Stub::start(vec![reply], |_| story(TEXT)).await;
        let failure = draft(&client(&stub.url, SHORT), MODEL).await.expect_err(name);
        assert_eq!(judged(&failure), verdict(TimedOut, true, true), "{name}");
        assert!(failure.message.contains(says), "{name}: {}", failure.message);
        stub.has_aborted(1).await;
    }
}

#[tokio::test]
async fn a_slow_answer_is_waited_for() {
    let words = ["The ", "kiln ", "held ", "the ", "heat."];
    let slow: Vec<Step> = words.iter().flat_map(|word| [Step::Pause(SHORT / 3), text(word)]).collect();
    let reply = [opening(), slow, vec![finish("stop")], closing()].concat();
    let stub = Stub::start(vec![reply], |_| story(TEXT)).await;
    let (told, _) = draft(&client(&stub.url, SHORT * 10), MODEL).await.expect("an answer");
    assert_eq!(told, words.concat());
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_provider() {
    let (stub, client) = stub(vec![[opening(), vec![text("Half a"), Step::Hang]].concat()]).await;
    let mut pieces = client.draft(request(MODEL)).await.expect("an answer");
    assert!(matches!(pieces.next().await, Some(Ok(DraftPiece::Delta(_)))));
    drop(pieces);
    stub.has_aborted(1).await;
}
