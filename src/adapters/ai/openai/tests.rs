//! The client without a network: addresses, and chunks as several servers send them.

use super::*;
use crate::adapters::ai::ModelInfo;
use crate::domain::jobs::JobFailureCode;
use crate::domain::money::Spend;

fn client(base_url: &str) -> OpenAi {
    OpenAi::new(Settings { base_url: base_url.into(), api_key: Some("key".into()), models: vec![], mask_personal_data: true }).unwrap()
}

fn answer() -> Answer {
    let text = Text { has_any: false, estimated: 0, bytes: 0, most: 1_000 };
    Answer { text, ending: None, is_refusal: false, usage: None, model: "asked".into(), sent: 40, headroom: None }
}

#[test]
fn a_base_url_says_where_each_kind_of_server_listens() {
    for (base, url, names_limit_anew) in [
        ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions", true),
        ("http://localhost:11434/v1/", "http://localhost:11434/v1/chat/completions", false),
        (
            "https://p.openai.azure.com/openai/deployments/{model}?api-version=2024-10-21",
            "https://p.openai.azure.com/openai/deployments/m/chat/completions?api-version=2024-10-21",
            true,
        ),
        ("https://p.openai.azure.com/openai/v1", "https://p.openai.azure.com/openai/v1/chat/completions", true),
    ] {
        let client = client(base);
        assert_eq!((client.url("m").as_str(), client.names_limit_anew), (url, names_limit_anew));
    }
}

#[test]
fn chunks_of_several_servers_are_understood() {
    let mut openai = answer();
    assert_eq!(
        openai.take(
            br#"{"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#
        ),
        Ok(None)
    );
    assert_eq!(openai.take(br#"{"choices":[{"delta":{"content":"Kiln"}}]}"#), Ok(Some("Kiln".into())));
    assert_eq!(openai.take(br#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#), Ok(None));
    assert_eq!(openai.take(br#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#), Ok(None));
    let usage = Usage { input_tokens: 9, output_tokens: 2, model: "m-1".into(), estimated: false, headroom: None };
    assert_eq!(openai.conclude(), Ok(DraftPiece::Finished(usage)));

    let mut azure = answer();
    assert_eq!(azure.take(br#"{"choices":[],"prompt_filter_results":[{"prompt_index":0}],"model":""}"#), Ok(None));
    let mut thinking = answer();
    assert_eq!(thinking.take(br#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#), Ok(Some(String::new())), "a sign of life");
    let mut whole = answer();
    assert_eq!(whole.take(br#"{"choices":[{"message":{"content":"Kiln"},"finish_reason":"eos"}]}"#), Ok(Some("Kiln".into())));
    let Ok(DraftPiece::Finished(usage)) = whole.conclude() else { panic!("finished") };
    assert!(usage.estimated && usage.input_tokens == 40 && usage.output_tokens == 1);
}

#[test]
fn each_ending_is_a_verdict_of_its_own_and_keeps_what_it_took() {
    use JobFailureCode::{ProviderBadAnswer, ProviderRefused};
    for (chunk, code, retryable) in [
        (r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"length"}]}"#, ProviderBadAnswer, true),
        (r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"content_filter"}]}"#, ProviderRefused, false),
        (r#"{"choices":[{"delta":{"refusal":"I cannot"},"finish_reason":"stop"}]}"#, ProviderRefused, false),
        (r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, ProviderBadAnswer, true),
        (r#"{"choices":[{"delta":{"content":" \n"},"finish_reason":"stop"}]}"#, ProviderBadAnswer, true),
        (r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#, ProviderBadAnswer, true),
    ] {
        let mut answer = answer();
        answer.take(chunk.as_bytes()).unwrap();
        let failure = answer.conclude().unwrap_err();
        assert_eq!((failure.code, failure.retryable, failure.outage), (code, retryable, false), "{chunk}");
        assert!(failure.usage.is_some_and(|usage| usage.input_tokens == 40 && usage.estimated), "{chunk}");
    }
    assert!(answer().conclude().unwrap_err().outage, "an answer without an end was cut");
    let mut endless = answer();
    let failure = endless.take(format!(r#"{{"choices":[{{"delta":{{"content":"{}"}}}}]}}"#, "a".repeat(2_000)).as_bytes()).unwrap_err();
    assert_eq!(failure.code, ProviderBadAnswer);
}

#[test]
fn a_limit_of_tokens_follows_the_section_and_the_model() {
    let limits = crate::domain::templates::Limits { min_words: 1, max_words: 300, max_chars: 20_000 };
    let section = crate::domain::templates::TemplateSection {
        key: "k".into(),
        title: "K".into(),
        guidance: String::new(),
        aif_question: None,
        source_facts: vec![],
        required: true,
        limits,
    };
    let info = ModelInfo {
        model: "m".into(),
        input_price_per_million: Spend(0),
        output_price_per_million: Spend(0),
        context_tokens: 900,
        max_output_tokens: None,
        streams: true,
    };
    assert_eq!(super::super::expected_tokens(&section), 400);
    assert_eq!(info.output_limit(&section), 900, "no more than the model has");
    assert_eq!(ModelInfo { max_output_tokens: Some(700), ..info }.output_limit(&section), 700);
}
