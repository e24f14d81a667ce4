//! Settings of the provider that writes narratives, and the models with their sizes and prices. A price is never guessed:
//! a model that neither the built-in table nor `AI_MODELS_FILE` knows costs nothing in the accounts, and that is said.

use super::is_loopback_url;
use super::reader::Reader;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use secrecy::SecretString;
use serde::Deserialize;
use std::time::Duration;

/// OpenAI's own endpoint.
const OPENAI: &str = "https://api.openai.com/v1";
/// Context of a model that nothing is known of.
const UNKNOWN_CONTEXT: i32 = 32_768;
/// Most bytes of `AI_MODELS_FILE`.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// List prices in dollars per million tokens (input, output) and context sizes, as the providers published them in 2025.
/// They change, and differ by region and contract: `AI_MODELS_FILE` replaces them.
const KNOWN: &[(&str, &str, &str, i32)] = &[
    ("gpt-4o", "2.50", "10.00", 128_000),
    ("gpt-4o-mini", "0.15", "0.60", 128_000),
    ("gpt-4.1", "2.00", "8.00", 1_047_576),
    ("gpt-4.1-mini", "0.40", "1.60", 1_047_576),
    ("gpt-4.1-nano", "0.10", "0.40", 1_047_576),
    ("amazon.nova-micro-v1:0", "0.035", "0.14", 128_000),
    ("amazon.nova-lite-v1:0", "0.06", "0.24", 300_000),
    ("amazon.nova-pro-v1:0", "0.80", "3.20", 300_000),
    ("anthropic.claude-3-haiku-20240307-v1:0", "0.25", "1.25", 200_000),
    ("anthropic.claude-3-5-sonnet-20240620-v1:0", "3.00", "15.00", 200_000),
    ("anthropic.claude-sonnet-4-20250514-v1:0", "3.00", "15.00", 200_000),
];

/// Which provider writes unless a run names another.
#[derive(Debug, Clone)]
pub enum Provider {
    /// The offline one.
    Offline,
    /// An endpoint that speaks OpenAI's chat completions.
    OpenAi {
        /// Base URL up to `/chat/completions`.
        base_url: String,
        /// Key; none for servers of one's own.
        api_key: Option<SecretString>,
    },
    /// AWS Bedrock.
    Bedrock {
        /// Base URL; AWS's own for the region if absent.
        endpoint: Option<String>,
        /// Guardrail and its version.
        guardrail: Option<(String, String)>,
    },
}

/// A model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSettings {
    /// Name, as the provider calls it.
    pub model: String,
    /// Price of a million input tokens, in millionths of a dollar.
    pub input_price: i64,
    /// Price of a million output tokens, in millionths of a dollar.
    pub output_price: i64,
    /// Most tokens of a request and its answer.
    pub context_tokens: i32,
    /// Most tokens of an answer; from the section's limits if absent.
    pub max_output_tokens: Option<i32>,
    /// Temperature; the provider's own if absent.
    pub temperature: Option<f32>,
    /// False if nobody said what it costs.
    pub is_priced: bool,
}

/// What writes narratives, and within which limits.
#[derive(Debug, Clone)]
pub struct AiSettings {
    /// The provider.
    pub provider: Provider,
    /// Its models, the default one first; empty for the offline one.
    pub models: Vec<ModelSettings>,
    /// Requests in a minute; 0 for no limit.
    pub requests_per_minute: u32,
    /// Tokens in a minute, both directions; 0 for no limit.
    pub tokens_per_minute: u32,
    /// Calls at the same time, of all processes that share Redis.
    pub concurrency: usize,
    /// Longest wait for the first piece of an answer.
    pub timeout: Duration,
    /// Longest wait between two pieces.
    pub idle_timeout: Duration,
    /// Whether personal data in prompts is replaced by placeholders.
    pub mask_personal_data: bool,
    /// Whether a section that breaks a rule is written once more, with what was found.
    pub redraft: bool,
}

/// An entry of `AI_MODELS_FILE`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    model: String,
    input_price_per_million: Decimal,
    output_price_per_million: Decimal,
    context_tokens: i32,
    max_output_tokens: Option<i32>,
    temperature: Option<f32>,
}

/// What the file must look like.
const FILE_EXAMPLE: &str =
    r#"[{"model": "gpt-4.1-mini", "inputPricePerMillion": "0.40", "outputPricePerMillion": "1.60", "contextTokens": 1047576}]"#;

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    pub(super) fn ai(&mut self) -> AiSettings {
        let provider = match self.text("AI_PROVIDER").as_deref() {
            None | Some("offline") => Provider::Offline,
            Some("openai") => self.openai(),
            Some("bedrock") => self.bedrock(),
            Some(other) => {
                self.object(format!("AI_PROVIDER is \"{other}\"; it must be offline, openai or bedrock."));
                Provider::Offline
            }
        };
        let models = match provider {
            Provider::Offline => {
                self.complain_of_what_offline_ignores();
                Vec::new()
            }
            _ => self.models(),
        };
        AiSettings {
            provider,
            models,
            requests_per_minute: self.number("AI_REQUESTS_PER_MINUTE", 0, 0, 10_000_000),
            tokens_per_minute: self.number("AI_TOKENS_PER_MINUTE", 0, 0, u32::MAX),
            concurrency: self.number("AI_CONCURRENCY", 8, 1, 1_024),
            timeout: Duration::from_secs(self.number("AI_TIMEOUT", 90, 1, 3_600)),
            idle_timeout: Duration::from_secs(self.number("AI_IDLE_TIMEOUT", 30, 1, 3_600)),
            mask_personal_data: self.switch("MASK_PERSONAL_DATA", true),
            redraft: self.switch("AI_REDRAFT", true),
        }
    }

    fn complain_of_what_offline_ignores(&mut self) {
        let names =
            ["AI_BASE_URL", "AI_API_KEY", "AI_MODEL", "AI_MODELS_FILE", "AI_REQUESTS_PER_MINUTE", "AI_TOKENS_PER_MINUTE", "AI_GUARDRAIL"];
        for name in names {
            if self.text(name).is_some() {
                self.object(format!("{name} has no effect with AI_PROVIDER=offline; set AI_PROVIDER=openai or bedrock, or take it away."));
            }
        }
    }

    fn openai(&mut self) -> Provider {
        let base_url = self.text("AI_BASE_URL").unwrap_or_else(|| OPENAI.into());
        let api_key = self.text("AI_API_KEY");
        // `{model}` is not a character of a URL, and the name that replaces it is
        let uri = base_url.replace("{model}", "model").parse::<http::Uri>().ok();
        let scheme = uri.as_ref().and_then(http::Uri::scheme_str).unwrap_or_default();
        let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default().to_ascii_lowercase();
        if !matches!(scheme, "http" | "https") || host.is_empty() || base_url.contains('@') {
            self.object(format!("AI_BASE_URL must be a URL up to /chat/completions, such as {OPENAI} or http://127.0.0.1:11434/v1."));
        } else if uri.as_ref().is_some_and(|uri| uri.path().trim_end_matches('/').ends_with("/chat/completions")) {
            self.object(format!("AI_BASE_URL must end before /chat/completions, such as {OPENAI}."));
        } else if host.ends_with(".openai.azure.com") && base_url.contains("/deployments/") && !base_url.contains("api-version=") {
            self.object(
                "AI_BASE_URL lacks Azure's api-version, such as https://NAME.openai.azure.com/openai/deployments/{model}?api-version=2024-10-21.",
            );
        }
        let needs_key = host == "api.openai.com" || host.ends_with(".azure.com");
        match &api_key {
            None if needs_key => self.object(format!("AI_API_KEY is missing: {host} answers nobody without one.")),
            Some(key) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                self.object("AI_API_KEY has characters that no key has; it is one word of ASCII, such as sk-….");
            }
            Some(_) if scheme == "http" && !is_loopback_url(&base_url.replace("{model}", "model")) => {
                self.object(
                    "AI_BASE_URL begins with http://, so AI_API_KEY and the clients' facts could be read on the way; use https://, such as \
                     https://vllm.internal/v1, or leave AI_API_KEY away on a network of your own.",
                );
            }
            _ => {}
        }
        Provider::OpenAi { base_url, api_key: api_key.map(Into::into) }
    }

    fn bedrock(&mut self) -> Provider {
        if self.text("AI_API_KEY").is_some() {
            self.object(
                "AI_API_KEY has no effect with AI_PROVIDER=bedrock; credentials come from AWS_ACCESS_KEY_ID, a profile, a role, or \
                 AWS_BEARER_TOKEN_BEDROCK.",
            );
        }
        let guardrail = self.text("AI_GUARDRAIL").and_then(|text| {
            let parts = text.rsplit_once(':').filter(|(id, version)| !id.is_empty() && !version.is_empty());
            if parts.is_none() {
                self.object(format!("AI_GUARDRAIL is \"{text}\"; it must be an id and a version, such as gr1234abcd:1."));
            }
            parts.map(|(id, version)| (id.to_owned(), version.to_owned()))
        });
        Provider::Bedrock { endpoint: self.base_url("AI_BASE_URL"), guardrail }
    }

    /// The models that may be used: those of `AI_MODEL`, else all of `AI_MODELS_FILE`.
    fn models(&mut self) -> Vec<ModelSettings> {
        let described = self.models_file();
        let names = self.list("AI_MODEL");
        if names.is_empty() && described.is_empty() && self.text("AI_MODELS_FILE").is_none() {
            self.object("AI_MODEL is missing: name the model, such as gpt-4.1-mini, or several with commas, the default one first.");
        }
        if names.is_empty() {
            return described;
        }
        let find = |name: &String| described.iter().find(|model| model.model == *name).cloned().unwrap_or_else(|| known(name));
        names.iter().map(find).collect()
    }

    fn models_file(&mut self) -> Vec<ModelSettings> {
        let Some(path) = self.text("AI_MODELS_FILE") else { return Vec::new() };
        let size = std::fs::metadata(&path).map(|found| found.len());
        let text = match size {
            Ok(bytes) if bytes > MAX_FILE_BYTES => {
                self.object(format!(
                    "AI_MODELS_FILE is {bytes} bytes long, which no list of models is; name a file such as {FILE_EXAMPLE}."
                ));
                return Vec::new();
            }
            Ok(_) => std::fs::read_to_string(&path),
            Err(error) => Err(error),
        };
        let read = text.map_err(|error| error.to_string());
        let entries = read.and_then(|text| serde_json::from_str::<Vec<Entry>>(&text).map_err(|error| error.to_string()));
        match entries {
            Ok(entries) if entries.is_empty() => self.object(format!("AI_MODELS_FILE names no model; it must be as {FILE_EXAMPLE}.")),
            Ok(entries) => return entries.into_iter().filter_map(|entry| self.model(entry)).collect(),
            Err(error) => self.object(format!("AI_MODELS_FILE cannot be read: {error}. It must be JSON such as {FILE_EXAMPLE}.")),
        }
        Vec::new()
    }

    fn model(&mut self, entry: Entry) -> Option<ModelSettings> {
        let micros = |price: Decimal| (price * Decimal::from(1_000_000)).to_i64().filter(|micros| (0..=1_000_000_000_000).contains(micros));
        let (input_price, output_price) = (micros(entry.input_price_per_million), micros(entry.output_price_per_million));
        let is_sound = !entry.model.trim().is_empty()
            && entry.context_tokens >= 1_000
            && entry.max_output_tokens.is_none_or(|tokens| tokens > 0)
            && entry.temperature.is_none_or(|temperature| (0.0..=2.0).contains(&temperature));
        let (Some(input_price), Some(output_price), true) = (input_price, output_price, is_sound) else {
            self.object(format!(
                "AI_MODELS_FILE describes \"{}\" in a way that cannot be: prices are dollars from 0, contextTokens 1000 or more, \
                 maxOutputTokens above 0, temperature 0 to 2.",
                entry.model
            ));
            return None;
        };
        Some(ModelSettings {
            model: entry.model,
            input_price,
            output_price,
            context_tokens: entry.context_tokens,
            max_output_tokens: entry.max_output_tokens,
            temperature: entry.temperature,
            is_priced: true,
        })
    }
}

/// A model by the built-in table. An inference profile of Bedrock has the region before the model's name, and a dated
/// version of OpenAI's the date after it.
fn known(name: &str) -> ModelSettings {
    let is = |known: &str| {
        let rest = name.strip_prefix(known).or_else(|| name.split_once('.').and_then(|(_, rest)| rest.strip_prefix(known)));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("-20"))
    };
    let found = KNOWN.iter().find(|(known, ..)| is(known));
    let micros = |price: &str| price.parse::<Decimal>().ok().and_then(|price| (price * Decimal::from(1_000_000)).to_i64()).unwrap_or(0);
    ModelSettings {
        model: name.to_owned(),
        input_price: found.map_or(0, |(_, input, ..)| micros(input)),
        output_price: found.map_or(0, |(_, _, output, _)| micros(output)),
        context_tokens: found.map_or(UNKNOWN_CONTEXT, |(.., context)| *context),
        max_output_tokens: None,
        temperature: None,
        is_priced: found.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(variables: &[(&str, &str)]) -> Result<AiSettings, Vec<String>> {
        let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::from_env(lookup).map(|config| config.ai)
    }

    #[test]
    fn an_endpoint_needs_no_more_than_its_model() {
        let ai =
            read(&[("AI_PROVIDER", "openai"), ("AI_BASE_URL", "http://127.0.0.1:11434/v1"), ("AI_MODEL", "llama3.1, gpt-4o-2024-11-20")])
                .unwrap();
        assert!(matches!(ai.provider, Provider::OpenAi { ref base_url, api_key: None } if base_url == "http://127.0.0.1:11434/v1"));
        assert_eq!(ai.models.iter().map(|model| model.model.as_str()).collect::<Vec<_>>(), ["llama3.1", "gpt-4o-2024-11-20"]);
        assert_eq!((ai.models[0].input_price, ai.models[0].is_priced), (0, false));
        assert_eq!((ai.models[1].input_price, ai.models[1].output_price, ai.models[1].is_priced), (2_500_000, 10_000_000, true));
        assert!(ai.mask_personal_data && ai.requests_per_minute == 0);
        let profile = known("eu.anthropic.claude-sonnet-4-20250514-v1:0");
        assert_eq!((profile.input_price, profile.context_tokens), (3_000_000, 200_000));
        assert!(!known("gpt-4o-audio").is_priced, "another model with a name that begins the same");
    }

    #[test]
    fn a_file_of_models_has_the_last_word_on_prices() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("models.json");
        let of = |json: &str| {
            std::fs::write(&path, json).unwrap();
            read(&[("AI_PROVIDER", "bedrock"), ("AI_MODELS_FILE", path.to_str().unwrap())])
        };
        let ai = of(r#"[{"model": "m", "inputPricePerMillion": "0.1234567", "outputPricePerMillion": 2, "contextTokens": 8192, "temperature": 0.2}]"#).unwrap();
        assert_eq!((ai.models[0].input_price, ai.models[0].output_price, ai.models[0].temperature), (123_456, 2_000_000, Some(0.2)));
        for wrong in [
            "[]",
            "{",
            r#"[{"model": "m"}]"#,
            r#"[{"model": "m", "inputPricePerMillion": "-1", "outputPricePerMillion": 2, "contextTokens": 8192}]"#,
            r#"[{"model": "m", "inputPricePerMillion": "1", "outputPricePerMillion": 2, "contextTokens": 10}]"#,
            r#"[{"model": "m", "inputPricePerMillion": "1", "outputPricePerMillion": 2, "contextTokens": 9000, "price": 1}]"#,
        ] {
            let problems = of(wrong).unwrap_err();
            assert!(problems.len() == 1 && problems[0].starts_with("AI_MODELS_FILE"), "{wrong}: {problems:?}");
        }
    }

    #[test]
    fn every_problem_of_a_provider_is_named_at_once_and_no_key_is_shown() {
        let problems = read(&[
            ("AI_PROVIDER", "openai"),
            ("AI_BASE_URL", "http://gateway.example/v1/chat/completions"),
            ("AI_API_KEY", "hidden key"),
            ("AI_CONCURRENCY", "0"),
            ("AI_TIMEOUT", "soon"),
            ("AI_IDLE_TIMEOUT", "-1"),
            ("AI_REQUESTS_PER_MINUTE", "many"),
            ("AI_TOKENS_PER_MINUTE", "1.5"),
            ("MASK_PERSONAL_DATA", "yes"),
        ])
        .unwrap_err();
        let names =
            ["AI_BASE_URL", "AI_API_KEY", "AI_MODEL", "AI_REQUESTS", "AI_TOKENS", "AI_CONCURRENCY", "AI_TIMEOUT", "AI_IDLE", "MASK_"];
        for name in names {
            assert!(problems.iter().any(|problem| problem.starts_with(name)), "{name}: {problems:?}");
        }
        assert_eq!(problems.len(), names.len(), "{problems:?}");
        assert!(!problems.concat().contains("hidden"));
    }

    #[test]
    fn what_is_dangerous_or_without_effect_is_refused() {
        let refused = |variables: &[(&str, &str)], name: &str| {
            let problems = read(variables).unwrap_err();
            assert!(problems.len() == 1 && problems[0].starts_with(name), "{name}: {problems:?}");
        };
        let openai = |more: &[(&'static str, &'static str)]| [&[("AI_PROVIDER", "openai"), ("AI_MODEL", "m")], more].concat();
        refused(&openai(&[]), "AI_API_KEY is missing");
        refused(&openai(&[("AI_BASE_URL", "http://gateway.example/v1"), ("AI_API_KEY", "k")]), "AI_BASE_URL begins with http://");
        refused(&openai(&[("AI_BASE_URL", "https://user:pass@gateway.example/v1")]), "AI_BASE_URL must be");
        refused(
            &openai(&[("AI_BASE_URL", "https://p.openai.azure.com/openai/deployments/{model}"), ("AI_API_KEY", "k")]),
            "AI_BASE_URL lacks Azure's api-version",
        );
        assert!(read(&openai(&[("AI_BASE_URL", "http://vllm:8000/v1")])).is_ok());
        refused(&[("AI_PROVIDER", "bedrock"), ("AI_MODEL", "m"), ("AI_API_KEY", "k")], "AI_API_KEY");
        refused(&[("AI_PROVIDER", "bedrock"), ("AI_MODEL", "m"), ("AI_GUARDRAIL", "gr1")], "AI_GUARDRAIL");
        refused(&[("AI_MODEL", "m")], "AI_MODEL has no effect");
        refused(&[("AI_PROVIDER", "magic")], "AI_PROVIDER is \"magic\"");
        let azure = "https://p.openai.azure.com/openai/deployments/{model}?api-version=2024-10-21";
        let ai = read(&openai(&[("AI_BASE_URL", azure), ("AI_API_KEY", "secret")])).unwrap();
        assert!(!format!("{ai:?}").contains("secret"));
    }
}
