//! AWS Bedrock against a stub that sends its frames.

use super::{SHORT, Verdict, draft, judged, model, request, verdict};
use crate::support::providers::bedrock::{USAGE, closing, ended, error, exception, frame, opening, stop, story, text};
use crate::support::providers::openai::TEXT;
use crate::support::providers::{Reply, Step, Stub, chunk, end, nobody, start_untrusted, start_without_tls};
use aws_config::{BehaviorVersion, Region};
use aws_sdk_bedrockruntime::Config;
use aws_sdk_bedrockruntime::config::Credentials;
use claimwright::adapters::ai::bedrock::{Bedrock, Settings};
use claimwright::adapters::ai::timed::{Patience, Timed};
use claimwright::adapters::ai::{DraftPiece, Drafter};
use claimwright::domain::jobs::JobFailureCode::{ProviderBadAnswer, ProviderRateLimited, ProviderRefused, ProviderUnavailable, TimedOut};
use futures::StreamExt;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const MODEL: &str = "eu.amazon.nova-lite-v1:0";

fn client(endpoint: &str, patience: Duration) -> Timed {
    let builder = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-west-2"))
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "secret", None, None, "test"));
    let guardrail = Some(("gr1".to_owned(), "2".to_owned()));
    let settings =
        Settings { endpoint: Some(endpoint.into()), region: None, guardrail, models: vec![model(MODEL)], mask_personal_data: true };
    Timed::new(Arc::new(Bedrock::with(builder, settings)), Patience { first: patience, idle: patience })
}

async fn stub(script: Vec<Reply>) -> (Stub, Timed) {
    let stub = Stub::start(script, |_| story(TEXT)).await;
    let client = client(&stub.url, Duration::from_secs(20));
    (stub, client)
}

#[tokio::test]
async fn an_answer_streams_and_its_tokens_are_the_providers() {
    let (stub, client) = stub(vec![]).await;
    let (told, usage) = draft(&client, MODEL).await.expect("an answer");
    assert_eq!(told, TEXT);
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.estimated, usage.model.as_str()), (USAGE.0, USAGE.1, false, MODEL));
    let sent = stub.requests().remove(0);
    assert_eq!(sent.target, "/model/eu.amazon.nova-lite-v1%3A0/converse-stream");
    assert!(sent.header("authorization").is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")));
    assert_eq!(sent.body["messages"][0]["content"][0]["text"], request(MODEL).prompt.user.as_str());
    assert_eq!(sent.body["system"][0]["text"], request(MODEL).prompt.system);
    assert_eq!(sent.body["guardrailConfig"]["guardrailIdentifier"], "gr1");
    assert!(sent.body["inferenceConfig"]["maxTokens"].as_i64().is_some_and(|most| most > 200));
}

#[tokio::test]
async fn tokens_are_counted_here_when_the_provider_gives_none() {
    let reply = [opening(), vec![text(TEXT)], stop("end_turn"), vec![end()]].concat();
    let (_stub, client) = stub(vec![reply]).await;
    let (_, usage) = draft(&client, MODEL).await.expect("an answer");
    assert!(usage.estimated && usage.input_tokens > 500 && usage.output_tokens > 50, "{usage:?}");
}

#[tokio::test]
async fn each_fault_has_its_code_and_its_verdict_and_is_asked_once() {
    let mut broken = frame("event", "contentBlockDelta", &json!({ "delta": { "text": "Half" } }));
    let last = broken.len() - 1;
    broken[last] ^= 0xff;
    let down = || verdict(ProviderUnavailable, true, true);
    let waiting = Verdict { retry_after: Some(Duration::from_secs(4)), ..verdict(ProviderRateLimited, true, false) };
    let cases: Vec<(&str, Reply, Verdict)> = vec![
        ("throttled", error(429, "ThrottlingException", &[]), verdict(ProviderRateLimited, true, false)),
        ("throttled with a wait", error(429, "ThrottlingException", &[("retry-after", "4")]), waiting),
        ("model timed out", error(408, "ModelTimeoutException", &[]), verdict(TimedOut, true, true)),
        ("invalid", error(400, "ValidationException", &[]), verdict(ProviderRefused, false, false)),
        ("denied", error(403, "AccessDeniedException", &[]), verdict(ProviderUnavailable, false, false)),
        ("unknown model", error(404, "ResourceNotFoundException", &[]), verdict(ProviderUnavailable, false, false)),
        ("500", error(500, "InternalServerException", &[]), down()),
        ("503", error(503, "ServiceUnavailableException", &[]), down()),
        ("not ready", error(429, "ModelNotReadyException", &[]), down()),
        ("closed before an answer", vec![Step::Close], down()),
        (
            "throttled in the stream",
            [opening(), vec![text("Half"), exception("throttlingException"), end()]].concat(),
            verdict(ProviderRateLimited, true, false),
        ),
        ("failed in the stream", [opening(), vec![text("Half"), exception("modelStreamErrorException"), end()]].concat(), down()),
        ("cut in the middle", [opening(), vec![text("Half"), Step::Close]].concat(), verdict(ProviderBadAnswer, true, true)),
        ("ended without an end", [opening(), vec![text("Half"), end()]].concat(), verdict(ProviderBadAnswer, true, true)),
        ("a damaged frame", [opening(), vec![chunk(&broken), end()]].concat(), verdict(ProviderBadAnswer, true, true)),
        (
            "malformed JSON",
            [opening(), vec![chunk(&frame("event", "contentBlockDelta", &json!("no object"))), end()]].concat(),
            verdict(ProviderBadAnswer, true, true),
        ),
        ("empty answer", ended("", "end_turn"), verdict(ProviderBadAnswer, true, false)),
        ("refusal", ended("I cannot", "refusal"), verdict(ProviderRefused, false, false)),
        ("content filter", ended("Half", "content_filtered"), verdict(ProviderRefused, false, false)),
        ("guardrail", ended("Blocked.", "guardrail_intervened"), verdict(ProviderRefused, false, false)),
        ("over the limit of tokens", ended("Half", "max_tokens"), verdict(ProviderBadAnswer, true, false)),
        ("endless text", [opening(), vec![text(&"word ".repeat(40_000))]].concat(), verdict(ProviderBadAnswer, true, false)),
    ];
    for (name, reply, expected) in cases {
        let (stub, client) = stub(vec![reply]).await;
        let failure = draft(&client, MODEL).await.expect_err(name);
        assert_eq!(judged(&failure), expected, "{name}: {failure:?}");
        assert_eq!(stub.requests().len(), 1, "{name}: the SDK must not retry");
    }
}

#[tokio::test]
async fn who_cannot_be_reached_or_trusted_is_unavailable() {
    let nobody = nobody().await;
    for (endpoint, says) in
        [(nobody, "cannot be reached"), (start_untrusted(), "secure connection"), (start_without_tls(), "secure connection")]
    {
        let failure = draft(&client(&endpoint, Duration::from_secs(20)), MODEL).await.expect_err("nobody there");
        assert_eq!(judged(&failure), verdict(ProviderUnavailable, true, true), "{endpoint}: {failure:?}");
        assert!(failure.message.contains(says), "{endpoint}: {}", failure.message);
    }
}

#[tokio::test]
async fn silence_ends_in_a_time_out_and_the_connection_with_it() {
    for reply in [vec![Step::Hang], [opening(), vec![Step::Hang]].concat(), [opening(), vec![text("Half"), Step::Hang]].concat()] {
        let stub = Stub::start(vec![reply], |_| story(TEXT)).await;
        let failure = draft(&client(&stub.url, SHORT), MODEL).await.expect_err("silence");
        assert_eq!(judged(&failure), verdict(TimedOut, true, true));
        stub.has_aborted(1).await;
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_provider() {
    let (stub, client) = stub(vec![[opening(), vec![text("Half"), Step::Hang], closing()].concat()]).await;
    let mut pieces = client.draft(request(MODEL)).await.expect("an answer");
    assert!(matches!(pieces.next().await, Some(Ok(DraftPiece::Delta(_)))));
    drop(pieces);
    stub.has_aborted(1).await;
}
